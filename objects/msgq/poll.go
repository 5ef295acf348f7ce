package msgq

import "ipcfs/objects/ipc"

// Poll returns which of the POLL* bits hold now: POLLIN if a read would not wait, POLLOUT if a message of one byte could be sent, and after the end of the queue, when
// nothing waits, POLLERR and POLLHUP besides. With wake not nil it also asks for one delivery of wake at the next event that a poll for events would be woken
// for; asking again before it happened adds to the events and replaces wake. Never waits. Takes the queue's lock.
func (f *File) Poll(events uint32, wake ipc.Completion) uint32 {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.polls.Wait(&f.poll, f, events&f.side(), wake)
	var mask uint32
	if q.removed {
		mask |= ipc.POLLERR | ipc.POLLHUP
	}
	if f.read && (f.rest != 0 || q.removed || q.readableLocked(f)) {
		mask |= ipc.PollIn
	}
	if f.write && (q.removed || q.fits(1)) {
		mask |= ipc.PollOut
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
		mask |= ipc.PollIn
	}
	if f.write {
		mask |= ipc.PollOut
	}
	return mask
}
