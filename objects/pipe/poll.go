package pipe

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

// Poll returns which of the POLL* bits hold now (fs/pipe.c:pipe_poll). With wake not nil it also asks for one delivery of wake at the next
// event that a poll for events would be woken for; asking again before it happened adds to the events and replaces wake. Never
// waits. Takes the pipe's lock.
func (f *File) Poll(events uint32, wake ipc.Completion) uint32 {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := &f.poll; wake != nil {
		if !w.Waiting() {
			w.events = 0
			p.polls.Push(&w.Entry, w)
		}
		w.events |= events
		w.done = wake
	}
	var mask uint32
	if f.read {
		if !p.ring.empty() {
			mask |= pollIn
		}
		if p.writers == 0 && f.fPipe != p.wCounter {
			mask |= POLLHUP
		}
	}
	if f.write && !f.needsPartnerLocked() {
		if !p.ring.full() {
			mask |= pollOut
		}
		if p.readers == 0 {
			mask |= POLLERR
		}
	}
	return mask
}

// wakePollsLocked tells the polls that wait for any of key, as wake_up_poll with that key does; POLLERR and POLLHUP are always waited for, and
// come with both keys at once.
func (p *Pipe) wakePollsLocked(key uint32, done *ipc.Completions) {
	for w := range p.polls.All() {
		side := uint32(0)
		if w.file.read {
			side |= pollIn
		}
		if w.file.write {
			side |= pollOut
		}
		if key == pollIn|pollOut || key&side&w.events != 0 {
			p.polls.Remove(&w.Entry)
			done.Add(w.done)
		}
	}
}
