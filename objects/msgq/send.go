package msgq

import (
	"syscall"
	"unsafe"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// SendOp is a write(2) to a queue.
type SendOp struct {
	Data     []byte         // what to send, at least 1 byte; not used after Send has returned
	NonBlock bool           // O_NONBLOCK
	Piece    bool           // Data is not all of a write(2)
	PID      uint32         // who sends
	Done     ipc.Completion // added to the completions when the result is there

	N   int   // the result: bytes sent; less than all only with ModeLines, and then whole lines
	Err error // nil, or a syscall.Errno if N is 0

	waitq.Entry[*SendOp]
	file *File
	size int      // msgsz: what it waits for room for
	msg  page.Ref // the message that waits; 0 with ModeLines, whose file has the bytes
	base int      // with ModeLines: how many bytes of the file's are not of this write
	kept buffer   // what is to be written when the file's write before is done
	last bool     // the line that a released file left; nobody waits for it
}

// Send sends op.Data: with ModeLines a message for each line (see sendLinesLocked), else one message. It completes op at once or, while the queue has no room for
// the message, leaves it waiting until receivers or a new limit have made room, Remove, or Cancel.
//
// EINVAL: longer than msgmax, or shorter than a type with ModeRaw; a type below 1; a view that sends none; or a piece of a message (Piece). EAGAIN: it would wait
// and NonBlock is set. ENOMEM: no memory left in the arena; or the beginning of a line, when released files have left more of them than the queue takes messages.
// EIDRM: the queue was removed. EBADF: not open for writing. Takes the queue's lock (ipc/msg.c:do_msgsnd).
func (f *File) Send(op *SendOp, done *ipc.Completions) {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	op.file = f
	switch {
	case !f.write:
		op.Err = syscall.EBADF
		done.Add(op.Done)
	case f.view.Mode == ModeLines:
		q.sendLinesLocked(op, done)
	default:
		if !q.sendLocked(op, done) {
			return
		}
		done.Add(op.Done)
	}
	q.checkInvariants()
}

// sendLocked sends one message and says whether op is complete; else it waits.
func (q *Queue) sendLocked(op *SendOp, done *ipc.Completions) bool {
	mtype, text := op.file.view.Selector.sends(), op.Data
	if op.file.view.Mode == ModeRaw {
		if len(text) < TypeSize {
			op.Err = syscall.EINVAL
			return true
		}
		mtype, text = nativeLong(text), text[TypeSize:]
	}
	size := len(text)
	switch {
	case op.Piece || mtype < 1 || size > q.msgMax():
		op.Err = syscall.EINVAL
		return true
	case q.removed:
		op.Err = syscall.EIDRM
		return true
	case op.NonBlock && !q.fits(size):
		op.Err = syscall.EAGAIN
		return true
	}
	m, err := q.loadMsg(mtype, op.PID, size, text)
	if err != nil {
		op.Err = err
		return true
	}
	if !q.fits(size) {
		op.msg, op.size, op.N = m, size, len(op.Data)
		q.senders.Push(&op.Entry, op)
		return false
	}
	op.N = len(op.Data)
	q.commitLocked(m, done)
	return true
}

// TypeSize is how many bytes the type before the text with ModeRaw has: a long of a 64-bit program.
const TypeSize = int(unsafe.Sizeof(int64(0)))

// nativeLong is the long that b begins with.
func nativeLong(b []byte) (n int64) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&n)), TypeSize), b)
	return n
}

// commitLocked is the commit point of a send: m, for which there is room, goes to a receiver that waits for it or into the queue.
func (q *Queue) commitLocked(m page.Ref, done *ipc.Completions) {
	verify.Held(&q.mu)
	head := q.head(m)
	now := q.ns.Now()
	q.lspid, q.stime, q.times.Mtime = head.pid, now, now
	if q.pipelinedSendLocked(m, done) {
		return
	}
	q.enqueueLocked(m)
	mtype, empty := head.mtype, head.ts == 0
	q.polls.Wake(func(f *File) uint32 {
		if f.takes(mtype, empty) {
			return ipc.PollIn
		}
		return 0
	}, done)
}

// pipelinedSendLocked gives m to the receiver that takes it and waited longest, and says whether there was one. Those before it that take it but have no room for it get
// E2BIG (ipc/msg.c:pipelined_send).
func (q *Queue) pipelinedSendLocked(m page.Ref, done *ipc.Completions) bool {
	head := q.head(m)
	for r := range q.receivers.All() {
		switch {
		case !r.file.view.Selector.match(head.mtype):
			continue
		case !r.holds(int(head.ts)):
			q.receivers.Remove(&r.Entry)
			r.Err = syscall.E2BIG
			done.Add(r.Done)
			continue
		}
		q.receivedLocked(r)
		if r.takeLocked(m) {
			q.receivers.Remove(&r.Entry)
			done.Add(r.Done)
			q.shareRestLocked(r.file, done)
		}
		return true
	}
	return false
}

// roomLocked tells that there may be more room now: to those who wait to send, and to those who poll.
func (q *Queue) roomLocked(done *ipc.Completions) {
	q.wakeSendersLocked(done)
	if q.fits(1) {
		q.polls.Wake(func(*File) uint32 { return ipc.PollOut }, done)
	}
}

// wakeSendersLocked lets those go on who wait to send (ipc/msg.c:ss_wakeup): each whose message fits into the room of this moment tries, in the order in which they
// began to wait. Who finds that those before him took the room waits again, behind the others; so does, behind those, who has sent some of his lines and has more,
// and last come the writes that waited for another of their file.
func (q *Queue) wakeSendersLocked(done *ipc.Completions) {
	verify.Held(&q.mu)
	woken := q.woken[:0]
	for op := range q.senders.All() {
		if q.fits(op.size) {
			q.senders.Remove(&op.Entry)
			woken = append(woken, op)
		}
	}
	more := woken[:0]
	var next []*File
	for _, op := range woken {
		f := op.file
		switch {
		case !q.fits(op.size):
			q.senders.Push(&op.Entry, op)
		case !q.resumeLocked(op, done):
			more = append(more, op)
		case f.behind.Len() > 0:
			next = append(next, f)
		}
	}
	for _, op := range more {
		q.senders.Push(&op.Entry, op)
	}
	for _, f := range next {
		q.nextLinesLocked(f, done)
	}
	clear(woken)
	q.woken = woken[:0]
}

// resumeLocked sends what op waited with, for which there is room now, and says whether op is complete.
func (q *Queue) resumeLocked(op *SendOp, done *ipc.Completions) bool {
	if op.msg == 0 {
		return q.resumeLinesLocked(op, done)
	}
	m := op.msg
	op.msg = 0
	q.commitLocked(m, done)
	if op.last {
		q.left--
	} else {
		done.Add(op.Done)
	}
	return true
}

// giveUpLocked ends a send that was waiting in the queue's senders: with what it sent of its lines, or err if that is nothing.
func (q *Queue) giveUpLocked(op *SendOp, err syscall.Errno, done *ipc.Completions) {
	switch {
	case op.msg == 0:
		q.endLinesLocked(op, err, done)
		q.nextLinesLocked(op.file, done)
		return
	case op.last:
		q.left--
	default:
		op.N, op.Err = 0, err
		done.Add(op.Done)
	}
	q.freeMsg(op.msg)
	op.msg = 0
}

// Cancel ends the wait of the send: with the bytes of the lines that it sent, or EINTR if it sent nothing.
func (op *SendOp) Cancel(done *ipc.Completions) {
	f := op.file
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.senders.Remove(&op.Entry):
		q.giveUpLocked(op, syscall.EINTR, done)
	case f.behind.Remove(&op.Entry):
		op.kept.truncate(q.ns.Arena, 0)
		op.Err = syscall.EINTR
		done.Add(op.Done)
	}
	q.checkInvariants()
}
