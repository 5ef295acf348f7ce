package pipe

import "ipcfs/objects/ipc"

// Poll returns which of the POLL* bits hold now (fs/pipe.c:pipe_poll). With wake not nil it also asks for one delivery of wake at the next
// event that a poll for events would be woken for; asking again before it happened adds to the events and replaces wake. Never
// waits. Takes the pipe's lock.
func (f *File) Poll(events uint32, wake ipc.Completion) uint32 {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls.Wait(&f.poll, f, events, wake)
	var mask uint32
	if f.read {
		if !p.ring.empty() {
			mask |= ipc.PollIn
		}
		if p.writers == 0 && f.fPipe != p.wCounter {
			mask |= ipc.POLLHUP
		}
	}
	if f.write && !f.needsPartnerLocked() {
		if !p.ring.full() {
			mask |= ipc.PollOut
		}
		if p.readers == 0 {
			mask |= ipc.POLLERR
		}
	}
	return mask
}

// wakePollsLocked tells the polls that wait for any of key, as wake_up_poll with that key does; POLLERR and POLLHUP come with both keys at once.
func (p *Pipe) wakePollsLocked(key uint32, done *ipc.Completions) {
	p.polls.Wake(func(f *File) uint32 {
		side := uint32(0)
		if f.read {
			side |= ipc.PollIn
		}
		if f.write {
			side |= ipc.PollOut
		}
		if key == ipc.PollIn|ipc.PollOut {
			return ipc.POLLERR
		}
		return key & side
	}, done)
}
