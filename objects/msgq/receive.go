package msgq

import (
	"syscall"
	"unsafe"

	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// ReceiveOp is a read(2) of a queue.
type ReceiveOp struct {
	Size     int            // bytes that the reader has room for, at least 1
	NonBlock bool           // O_NONBLOCK
	More     bool           // continues a read that got all it asked for; it gets nothing
	PID      uint32         // who receives
	Done     ipc.Completion // added to the completions when the result is there

	N   int   // the result: bytes received, the type with ModeRaw included. Parts has them; Free gives their memory back
	Err error // nil or a syscall.Errno

	waitq.Entry[*ReceiveOp]
	file *File
	msg  page.Ref // what was received, with ModeMessage and ModeRaw
	copy []byte   // with the others
}

// Reset makes op a new operation, with the room of the old one for what it will receive.
func (op *ReceiveOp) Reset() { *op = ReceiveOp{copy: op.copy[:0]} }

// Receive takes the first message that the file's view selects: all of it, as much as there is room for (ModeStream, the rest is for the reads after it), or as many
// whole messages as there is room for (ModeLines). It completes op at once or, while there is none, leaves it waiting until a send, Remove or Cancel
// completes it. With ModeStream and ModeLines a message of no bytes is taken and passed over.
//
// EAGAIN: it would wait and NonBlock is set. E2BIG: the message is larger than Size; it stays, or goes to another. EINVAL: not even room for a type with ModeRaw.
// EIDRM: the queue was removed. EBADF: not open for reading. Takes the queue's lock (ipc/msg.c:do_msgrcv).
func (f *File) Receive(op *ReceiveOp, done *ipc.Completions) {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	op.file = f
	switch {
	case !f.read:
		op.Err = syscall.EBADF
	case op.More:
	case f.view.Mode == ModeRaw && op.Size < TypeSize:
		op.Err = syscall.EINVAL
	case f.rest != 0:
		op.takeRestLocked()
	case q.removed:
		op.Err = syscall.EIDRM
	case q.receiveLocked(op, done):
	case op.NonBlock:
		op.Err = syscall.EAGAIN
	default:
		q.receivers.Push(&op.Entry, op)
		q.checkInvariants()
		return
	}
	done.Add(op.Done)
	q.checkInvariants()
}

// receiveLocked takes what is there for op, and what waiting senders send meanwhile, and says whether op is complete.
func (q *Queue) receiveLocked(op *ReceiveOp, done *ipc.Completions) bool {
	complete := false
	for took := true; took && !complete; {
		took = false
		for !complete {
			before, m := q.findMsg(op.file.view.Selector)
			if m == 0 {
				break
			}
			if !op.holds(int(q.head(m).ts)) {
				if op.N == 0 {
					op.Err = syscall.E2BIG
				}
				complete = true
				break
			}
			q.dequeueLocked(before, m)
			q.receivedLocked(op)
			took = true
			complete = op.takeLocked(m) && op.file.view.Mode != ModeLines
		}
		if took {
			q.roomLocked(done)
		}
	}
	return complete || op.N > 0
}

// receivedLocked notes that op received a message: the commit point of a receive.
func (q *Queue) receivedLocked(op *ReceiveOp) {
	now := q.ns.Now()
	q.lrpid, q.rtime, q.times.Atime = op.PID, now, now
}

// holds says whether there is room for a message of n bytes.
func (op *ReceiveOp) holds(n int) bool {
	switch op.file.view.Mode {
	case ModeRaw:
		return n <= op.Size-TypeSize
	case ModeStream:
		return true
	case ModeLines:
		return n <= op.Size-op.N
	}
	return n <= op.Size
}

// takeLocked makes the message m, which is in no queue any more, op's. It says whether op has got something.
func (op *ReceiveOp) takeLocked(m page.Ref) bool {
	q, n := op.file.queue, int(op.file.queue.head(m).ts)
	switch op.file.view.Mode {
	case ModeRaw:
		op.msg, op.N = m, TypeSize+n
		return true
	case ModeMessage:
		op.msg, op.N = m, n
		return true
	}
	switch {
	case n == 0:
		q.freeMsg(m)
	case op.file.view.Mode == ModeStream:
		op.file.rest, op.file.off = m, 0
		op.takeRestLocked()
	default:
		op.copy = q.appendText(op.copy, m)
		op.N = len(op.copy)
		q.freeMsg(m)
	}
	return op.N > 0
}

// takeRestLocked gives op what it has room for of the message that its file has begun to read.
func (op *ReceiveOp) takeRestLocked() {
	f, q := op.file, op.file.queue
	skip := f.off
	var room [4][]byte
	for _, part := range q.text(f.rest, room[:0]) {
		n := min(skip, len(part))
		part, skip = part[n:], skip-n
		op.copy = append(op.copy, part[:min(len(part), op.Size-len(op.copy))]...)
	}
	op.N = len(op.copy)
	f.off += op.N
	if f.off == int(q.head(f.rest).ts) {
		q.freeMsg(f.rest)
		f.rest = 0
	}
}

// shareRestLocked lets the reads that wait on the same file have the rest of the message that one of them got, and tells those who poll it of what is left then.
func (q *Queue) shareRestLocked(f *File, done *ipc.Completions) {
	for r := range q.receivers.All() {
		if f.rest == 0 {
			return
		}
		if r.file == f {
			q.receivers.Remove(&r.Entry)
			r.takeRestLocked()
			done.Add(r.Done)
		}
	}
	if f.rest != 0 {
		q.polls.Wake(func(polled *File) uint32 {
			if polled == f {
				return ipc.PollIn
			}
			return 0
		}, done)
	}
}

// Parts appends what was received to parts, as it lies in memory; it is there until Free.
func (op *ReceiveOp) Parts(parts [][]byte) [][]byte {
	if op.msg == 0 {
		return append(parts, op.copy)
	}
	q := op.file.queue
	if op.file.view.Mode == ModeRaw {
		parts = append(parts, q.ns.Arena.Bytes(op.msg)[unsafe.Offsetof(msgMsg{}.mtype):][:TypeSize])
	}
	return q.text(op.msg, parts)
}

// Free gives the memory of what was received back.
func (op *ReceiveOp) Free() {
	if op.msg != 0 {
		op.file.queue.freeMsg(op.msg)
		op.msg = 0
	}
}

// Cancel ends the wait of the receive. EINTR.
func (op *ReceiveOp) Cancel(done *ipc.Completions) {
	q := op.file.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.receivers.Remove(&op.Entry) {
		op.Err = syscall.EINTR
		done.Add(op.Done)
	}
}
