package pipe

import (
	"math/bits"
	"syscall"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// allocLocked makes the ring for the first open, and the opener pay for it (fs/pipe.c:alloc_pipe_info). ENOMEM above the hard limit.
func (p *Pipe) allocLocked(c ipc.Caller) syscall.Errno {
	limits := p.ns.Limits()
	slots := p.slots
	if slots == 0 {
		slots = DefaultSlots
		if most := int(limits.PipeMaxSize / page.Size); slots > most && !c.Privileged() {
			slots = most
		}
	}
	sum := p.ns.AccountPipeBuffers(c.UID, 0, slots)
	if above(sum, limits.PipeUserPagesSoft) && !c.Privileged() && (p.slots == 0 || slots > minDefSlots) {
		sum = p.ns.AccountPipeBuffers(c.UID, slots, minDefSlots)
		slots = minDefSlots
	}
	if above(sum, limits.PipeUserPagesHard) && !c.Privileged() {
		p.ns.AccountPipeBuffers(c.UID, slots, 0)
		return syscall.ENOMEM
	}
	p.user, p.nrAccounted = c.UID, slots
	p.ring = ring{bufs: make([]buffer, slots)}
	return 0
}

// above says whether pages are more than a limit that 0 turns off.
func above(pages int, limit uint) bool { return limit != 0 && uint(pages) > limit }

// capacityLocked is max_usage, or what is asked for while nobody has the pipe open.
func (p *Pipe) capacityLocked() int {
	switch {
	case p.files > 0:
		return len(p.ring.bufs)
	case p.slots > 0:
		return p.slots
	}
	return DefaultSlots
}

// Capacity is the size of the pipe in bytes, the answer to F_GETPIPE_SZ. Takes the pipe's lock.
func (p *Pipe) Capacity() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.capacityLocked() * page.Size
}

// SetCapacity is F_SETPIPE_SZ (fcntl(2), fs/pipe.c:pipe_set_size): the capacity becomes bytes, rounded up to a power of two of pages. EBUSY if
// the pipe holds more than that; EPERM for an ordinary user above PipeMaxSize or, growing it, above the limits of pages; EINVAL
// above 2 GiB. Room that it makes goes to waiting writes. Takes the pipe's lock.
func (p *Pipe) SetCapacity(c ipc.Caller, bytes uint64, done *ipc.Completions) error {
	slots, e := roundPipeSize(bytes)
	if e != 0 {
		return e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	limits := p.ns.Limits()
	grows := slots > p.capacityLocked()
	if grows && uint(slots)*page.Size > limits.PipeMaxSize && !c.Privileged() {
		return syscall.EPERM
	}
	if p.files > 0 {
		sum := p.ns.AccountPipeBuffers(p.user, p.nrAccounted, slots)
		e := syscall.Errno(0)
		switch {
		case grows && (above(sum, limits.PipeUserPagesSoft) || above(sum, limits.PipeUserPagesHard)) && !c.Privileged():
			e = syscall.EPERM
		case slots < p.ring.occupancy():
			e = syscall.EBUSY
		}
		if e != 0 {
			p.ns.AccountPipeBuffers(p.user, slots, p.nrAccounted)
			return e
		}
		p.nrAccounted = slots
		p.ring.resize(slots)
		p.wakePollsLocked(ipc.PollOut, done)
		if p.ring.full() {
			// pipe_resize_ring wakes the first writer; it finds no room and sleeps again behind the others.
			if w, ok := p.wrWait.Pop(); ok {
				p.wrWait.Push(&w.Entry, w)
			}
		}
	}
	p.slots = slots
	p.times.Ctime = p.ns.Now()
	p.pumpLocked(done)
	return nil
}

// roundPipeSize is the number of slots for a size in bytes (fs/pipe.c:round_pipe_size).
func roundPipeSize(bytes uint64) (int, syscall.Errno) {
	switch {
	case bytes > 1<<31:
		return 0, syscall.EINVAL
	case bytes < page.Size:
		return 1, 0
	}
	return 1 << bits.Len64((bytes-1)/page.Size), 0
}
