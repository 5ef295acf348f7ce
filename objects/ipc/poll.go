package ipc

import "ipcfs/objects/internal/waitq"

// Bits of poll(2), include/uapi/asm-generic/poll.h.
const (
	POLLIN     = 0x1
	POLLOUT    = 0x4
	POLLERR    = 0x8
	POLLHUP    = 0x10
	POLLRDNORM = 0x40
	POLLWRNORM = 0x100
)

// What is said when a read, or a write, would not wait (EPOLLIN | EPOLLRDNORM in the kernel's code).
const (
	PollIn  = POLLIN | POLLRDNORM
	PollOut = POLLOUT | POLLWRNORM
)

// PollWaiter is the poll table entry of an open file of type F: it asks to be told once when the file may have become ready. Each open file has one.
type PollWaiter[F any] struct {
	waitq.Entry[*PollWaiter[F]]
	file   F
	events uint32 // what the polls since the last wake-up asked for
	done   Completion
}

// Polls are the open files of an object that wait to be told. The lock of the object guards them. The zero Polls is empty.
type Polls[F any] struct {
	queue waitq.Queue[*PollWaiter[F]]
}

// Wait asks for one delivery of wake at the next event of f that a poll for events is woken for; asking again before it happened adds to the events and replaces
// wake. It asks for nothing if wake is nil.
func (p *Polls[F]) Wait(w *PollWaiter[F], f F, events uint32, wake Completion) {
	if wake == nil {
		return
	}
	if !w.Waiting() {
		w.events = 0
		p.queue.Push(&w.Entry, w)
	}
	w.file, w.done = f, wake
	w.events |= events
}

// Forget is for an open file that is released.
func (p *Polls[F]) Forget(w *PollWaiter[F]) { p.queue.Remove(&w.Entry) }

// Wake tells those who wait for any of what event says has happened to their file, longest wait first; POLLERR and POLLHUP are always waited for.
func (p *Polls[F]) Wake(event func(f F) uint32, done *Completions) {
	for w := range p.queue.All() {
		if event(w.file)&(w.events|POLLERR|POLLHUP) != 0 {
			p.queue.Remove(&w.Entry)
			done.Add(w.done)
		}
	}
}
