package msgq

import (
	"bytes"
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/ipc"
)

// A file with ModeLines sends the lines of what is written to it, each a message with its newline. What comes after the last newline stays with the file until its rest
// comes or the file is released. A line longer than msgmax is refused, with all of it that was written before: what of it was said to be written was never
// sent.
//
// The writes of one file go one after the other, as their bytes may be parts of one line. The one whose lines wait for room is in the queue's senders, with its
// bytes at the end of the file's carry; those that come meanwhile are in File.behind, with their own.

// sendLinesLocked sends the lines of op. EAGAIN: the first line does not fit, or another write of the file waits, and NonBlock is set. A write with NonBlock
// that sent some of its lines is complete with those.
func (q *Queue) sendLinesLocked(op *SendOp, done *ipc.Completions) {
	f := op.file
	switch {
	case f.view.Selector.sends() == 0:
		op.Err = syscall.EINVAL
	case f.sending == nil:
		f.pid = op.PID
		q.beginLinesLocked(op, op.Data, done)
		return
	case op.NonBlock:
		op.Err = syscall.EAGAIN
	default:
		if op.Err = op.kept.append(q.ns.Arena, op.Data); op.Err == nil {
			f.behind.Push(&op.Entry, op)
			return
		}
	}
	done.Add(op.Done)
}

// mayBeginLocked says whether a file may keep the beginning of a line. What a released file leaves for want of room waits with nobody, so it is bounded: by the number of
// messages that the queue takes.
func (q *Queue) mayBeginLocked() bool { return q.left <= q.qbytes }

// beginLinesLocked sends the lines of data as far as they fit.
func (q *Queue) beginLinesLocked(op *SendOp, data []byte, done *ipc.Completions) {
	f, arena := op.file, q.ns.Arena
	if q.removed {
		op.Err = syscall.EIDRM
		done.Add(op.Done)
		return
	}
	err := error(nil)
	for err == nil && len(data) > 0 {
		n := bytes.IndexByte(data, '\n') + 1
		if n == 0 && f.carry.n+len(data) <= q.msgMax() {
			if f.carry.n == 0 && !q.mayBeginLocked() {
				err = syscall.ENOMEM
				break
			}
			if err = f.carry.append(arena, data); err == nil {
				op.N += len(data)
			}
			break
		}
		size := f.carry.n + n
		switch {
		case n == 0 || size > q.msgMax():
			if op.N == 0 {
				f.carry.truncate(arena, 0)
			}
			err = syscall.EINVAL
			continue
		case q.fits(size):
		case op.NonBlock:
			err = syscall.EAGAIN
			continue
		default:
			op.base, op.size = f.carry.n, size
			if err = f.carry.append(arena, data); err != nil {
				continue
			}
			f.sending = op
			q.senders.Push(&op.Entry, op)
			return
		}
		var room [5][]byte
		m, e := q.loadMsg(f.view.Selector.sends(), op.PID, size, append(f.carry.parts(arena, f.carry.n, room[:0]), data[:n])...)
		if err = e; err == nil {
			f.carry.truncate(arena, 0)
			q.commitLocked(m, done)
			op.N += n
			data = data[n:]
		}
	}
	if op.N == 0 {
		op.Err = err
	}
	done.Add(op.Done)
}

// resumeLinesLocked sends the lines that op waits with, the first of which fits now, as far as they fit, and says whether op is complete.
func (q *Queue) resumeLinesLocked(op *SendOp, done *ipc.Completions) bool {
	f, arena, msgmax := op.file, q.ns.Arena, q.msgMax()
	verify.That(f.sending == op, "a write waits that is not the file's")
	for q.fits(op.size) {
		var room [5][]byte
		m, err := q.loadMsg(f.view.Selector.sends(), op.PID, op.size, f.carry.parts(arena, op.size, room[:0])...)
		if err != nil {
			q.endLinesLocked(op, syscall.ENOMEM, done)
			return true
		}
		f.carry.discard(arena, op.size)
		op.N += op.size - op.base
		op.base = 0
		q.commitLocked(m, done)

		op.size = f.carry.line(arena, msgmax)
		if op.size == 0 && f.carry.n <= msgmax && q.mayBeginLocked() { // the beginning of a line, or nothing
			op.N += f.carry.n
			op.base = f.carry.n
		}
		if op.size == 0 {
			q.endLinesLocked(op, nil, done)
			return true
		}
	}
	return false
}

// endLinesLocked completes a write of lines that was waiting: what of its bytes was not sent is the file's no more. nextLinesLocked is to follow.
func (q *Queue) endLinesLocked(op *SendOp, err error, done *ipc.Completions) {
	f := op.file
	f.carry.truncate(q.ns.Arena, op.base)
	if op.N == 0 {
		op.Err = err
	}
	f.sending = nil
	done.Add(op.Done)
}

// nextLinesLocked begins the writes that waited for one of their file that is complete.
func (q *Queue) nextLinesLocked(f *File, done *ipc.Completions) {
	for f.sending == nil {
		op, ok := f.behind.Pop()
		if !ok {
			return
		}
		data := op.kept.bytes(q.ns.Arena)
		op.kept.truncate(q.ns.Arena, 0)
		f.pid = op.PID
		q.beginLinesLocked(op, data, done)
	}
}
