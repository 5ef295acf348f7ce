package msgq

import (
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
)

// Bits of poll(2), include/uapi/asm-generic/poll.h.
const (
	POLLIN     = 0x1
	POLLOUT    = 0x4
	POLLERR    = 0x8
	POLLHUP    = 0x10
	POLLRDNORM = 0x40
	POLLWRNORM = 0x100
)

const (
	pollIn  = POLLIN | POLLRDNORM
	pollOut = POLLOUT | POLLWRNORM
)

// PollWaiter is a poll table entry: it asks to be told once when the file may have become ready. Each File has one.
type PollWaiter struct {
	waitq.Entry[*PollWaiter]
	file   *File
	events uint32 // what the polls since the last wake-up asked for
	done   ipc.Completion
}

// Poll returns which of the POLL* bits hold now: POLLIN if a read would not wait, POLLOUT if a message of one byte could be sent, and after the end of the queue, when
// nothing waits, POLLERR and POLLHUP besides. With wake not nil it also asks for one delivery of wake at the next event that a poll for events would be woken
// for; asking again before it happened adds to the events and replaces wake. Never waits. Takes the queue's lock.
func (f *File) Poll(events uint32, wake ipc.Completion) uint32 {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := &f.poll; wake != nil {
		if !w.Waiting() {
			w.events = 0
			q.polls.Push(&w.Entry, w)
		}
		w.events |= events & f.side()
		w.done = wake
	}
	var mask uint32
	if q.removed {
		mask |= POLLERR | POLLHUP
	}
	if f.read && (f.rest != 0 || q.removed || q.readableLocked(f)) {
		mask |= pollIn
	}
	if f.write && (q.removed || q.fits(1)) {
		mask |= pollOut
	}
	return mask
}

// readableLocked says whether a message is there that f would get.
func (q *Queue) readableLocked(f *File) bool {
	for m := q.first; m != 0; m = q.head(m).next {
		if head := q.head(m); f.takes(head.mtype, head.ts == 0) {
			return true
		}
	}
	return false
}

// takes says whether a read of f would end with a message of this type.
func (f *File) takes(mtype int64, empty bool) bool {
	bytes := f.view.Mode == ModeStream || f.view.Mode == ModeLines
	return f.read && f.view.Selector.match(mtype) && (!empty || !bytes)
}

// side is what may be ready on the file.
func (f *File) side() (mask uint32) {
	if f.read {
		mask |= pollIn
	}
	if f.write {
		mask |= pollOut
	}
	return mask
}

// wakePollsLocked tells the polls of each file that wait for any of what event says has happened to it; POLLERR is always waited for.
func (q *Queue) wakePollsLocked(event func(*File) uint32, done *ipc.Completions) {
	for w := range q.polls.All() {
		if event(w.file)&(w.events|POLLERR) != 0 {
			q.polls.Remove(&w.Entry)
			done.Add(w.done)
		}
	}
}
