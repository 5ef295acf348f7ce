package msgq

import (
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// File is an open file of a queue. The queue's lock guards it.
type File struct {
	queue       *Queue // set by Open, like the next two
	view        View
	read, write bool

	poll ipc.PollWaiter[*File]

	// With ModeStream:
	rest page.Ref // the message that was read in part; 0 if there is none
	off  int      // bytes of it that were read

	// With ModeLines:
	carry   buffer               // the bytes that were written and not sent: those of a line whose newline has not come, and what sending waits to send
	sending *SendOp              // the write that waits in the queue's senders; its bytes are the end of carry
	behind  waitq.Queue[*SendOp] // the writes that wait for that one
	pid     uint32               // who wrote last
}

// Open opens the queue with the access mode of flags (O_ACCMODE). EINVAL with ModePeek, for which there is Peek; EIDRM. Takes the queue's lock.
func (q *Queue) Open(v View, flags uint32) (*File, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case v.Mode == ModePeek:
		return nil, syscall.EINVAL
	case q.removed:
		return nil, syscall.EIDRM
	}
	mode := flags & syscall.O_ACCMODE
	f := &File{queue: q, view: v, read: mode != syscall.O_WRONLY, write: mode != syscall.O_RDONLY}
	return f, nil
}

// Release ends the open file; no operation of it may be waiting. A line that was written without its newline is sent now, or when there is room; what is left of
// a message that was read in part is dropped. Takes the queue's lock.
func (f *File) Release(done *ipc.Completions) {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	verify.That(f.sending == nil && f.behind.Len() == 0, "release of a file with a write waiting")
	q.polls.Forget(&f.poll)
	if f.rest != 0 {
		q.freeMsg(f.rest)
		f.rest = 0
	}
	if f.carry.n > 0 {
		line := f.carry.bytes(q.ns.Arena)
		f.carry.truncate(q.ns.Arena, 0)
		q.sendLastLocked(f, line, done)
	}
	q.checkInvariants()
}

// sendLastLocked sends the last line of a file that is released. Nobody waits for the answer.
func (q *Queue) sendLastLocked(f *File, line []byte, done *ipc.Completions) {
	if q.removed {
		return
	}
	m, err := q.loadMsg(f.view.Selector.sends(), f.pid, len(line), line)
	if err != nil {
		return // it had more memory a moment ago, but that has been taken
	}
	if q.fits(len(line)) {
		q.commitLocked(m, done)
		return
	}
	op := &SendOp{file: f, msg: m, size: len(line), last: true}
	q.senders.Push(&op.Entry, op)
	q.left++
}
