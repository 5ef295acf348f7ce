// Package pipe is the kernel's pipe (fs/pipe.c, Linux 6.18) without the kernel: a ring of page buffers, the counts of its readers and
// writers, and the operations that wait for one another. Nothing here blocks: an operation completes at once or waits as a record
// in one of the pipe's queues until another operation completes it or it is cancelled.
//
// Lock order: Pipe.mu, then the leaf locks of ipc.Namespace and page.Arena. Completions are collected under Pipe.mu and delivered by the
// caller after it.
//
// Why no wait is missed: every change of the ring or of the counts is made under Pipe.mu by a method that ends with pumpLocked (or
// completes the waiters of the change itself), and pumpLocked stops only when no waiting operation can go on. So outside of Pipe.mu
// it always holds that nobody waits whose condition is met; checkInvariants says it in code.
//
// Differs from Linux:
//   - An open under a lock of the kernel (the one that creates the pipe holds its directory) does not wait for its partner; the file does, in its
//     first read or write (File.partner).
//   - The capacity belongs to the object and outlives its last close.
//   - One read(2) or write(2) may come in several pieces; ReadOp.More and WriteOp.More say so and make them act as one.
package pipe

import (
	"sync"
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// BufSize is PIPE_BUF: the most bytes that a write puts in whole, or waits.
const BufSize = 4096

// Slots of a pipe: PIPE_DEF_BUFFERS, and PIPE_MIN_DEF_BUFFERS for a user above the soft limit.
const (
	DefaultSlots = 16
	minDefSlots  = 2
)

// Pipe is struct pipe_inode_info. Make one with New.
type Pipe struct {
	ns *ipc.Namespace // set by New, never changed

	mu               sync.Mutex // guards all below
	ring             ring       // has slots only while files > 0
	slots            int        // max_usage that was asked for with SetCapacity; 0 is the default of the day
	files            int        // open files and waiting opens
	readers, writers int        // of those, the ones with FMODE_READ and FMODE_WRITE
	rCounter         uint       // r_counter: opens for reading since files was 0
	wCounter         uint       // w_counter: likewise for writing
	user             uint32     // who pays for the slots, set while files > 0
	nrAccounted      int        // pages accounted to user

	openWait  waitq.Queue[*OpenOp]  // opens that wait for their partner (the kernel keeps them in rd_wait)
	rdPartner waitq.Queue[*ReadOp]  // reads that wait for the first writer, of files whose open created the pipe
	wrPartner waitq.Queue[*WriteOp] // writes that wait for the first reader, likewise
	rdWait    waitq.Queue[*ReadOp]
	wrWait    waitq.Queue[*WriteOp]
	polls     ipc.Polls[*File]

	times ipc.Times
}

// New returns a pipe that nobody has open.
func New(ns *ipc.Namespace) *Pipe {
	now := ns.Now()
	return &Pipe{ns: ns, rCounter: 1, wCounter: 1, times: ipc.Times{Atime: now, Mtime: now, Ctime: now}}
}

// SetTimes replaces the times that are not zero.
func (p *Pipe) SetTimes(t ipc.Times) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times.Set(t)
}

// Times returns the times of the object.
func (p *Pipe) Times() ipc.Times {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.times
}

// Stat is a snapshot of a pipe.
type Stat struct {
	Readers, Writers int // open files with FMODE_READ and FMODE_WRITE, those that wait in open included
	Bytes            int // held, what FIONREAD would say
	Used, Slots      int // slots that hold data, and all of them
	WaitingOpens     int
	WaitingReads     int
	WaitingWrites    int
	Counters
}

// Counters are the fields of a pipe that say how it came to its state.
type Counters struct {
	Head, Tail  uint32 // slots ever filled and emptied since the ring was made; they wrap
	Files       int    // open files, those that wait in open included
	RCounter    uint   // r_counter: opens for reading since nobody had it open, and 1
	WCounter    uint   // w_counter
	NrAccounted int    // pages that count for the user who opened it first
}

// Stat returns a snapshot. While nobody has the pipe open its slots are those asked for with SetCapacity, or the default; an ordinary user's limits may give
// the next open less.
func (p *Pipe) Stat() Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stat{
		Readers: p.readers, Writers: p.writers,
		Bytes: p.ring.bytes(), Used: p.ring.occupancy(), Slots: p.capacityLocked(),
		WaitingOpens:  p.openWait.Len(),
		WaitingReads:  p.rdWait.Len() + p.rdPartner.Len(),
		WaitingWrites: p.wrWait.Len() + p.wrPartner.Len(),
		Counters: Counters{
			Head: p.ring.head, Tail: p.ring.tail, Files: p.files, RCounter: p.rCounter, WCounter: p.wCounter, NrAccounted: p.nrAccounted,
		},
	}
}

// Buf is what is told of a slot that holds data: struct pipe_buffer without its page.
type Buf struct {
	Off, N   int  // the bytes in the page
	Packet   bool // PIPE_BUF_FLAG_PACKET
	CanMerge bool // PIPE_BUF_FLAG_CAN_MERGE: it is the last one, and a small write may be put behind it
}

// Bufs returns the slots that hold data, oldest first, at most limit of them. Takes the pipe's lock.
func (p *Pipe) Bufs(limit int) []Buf {
	p.mu.Lock()
	defer p.mu.Unlock()
	var bufs []Buf
	for slot := p.ring.tail; slot != p.ring.head && len(bufs) < limit; slot++ {
		b := p.ring.at(slot)
		bufs = append(bufs, Buf{
			Off: int(b.off), N: int(b.n), Packet: b.flags&bufFlagPacket != 0,
			CanMerge: b.flags&bufFlagCanMerge != 0 && slot+1 == p.ring.head && int(b.off)+int(b.n) < page.Size,
		})
	}
	return bufs
}

// pumpLocked lets waiting operations go on as far as they can: readers while there is data, writers while there is room, each in the order
// in which they began to wait. It is the one place where an operation completes another.
func (p *Pipe) pumpLocked(done *ipc.Completions) {
	verify.Held(&p.mu)
	for moved := true; moved; {
		moved = false
		for !p.ring.empty() || p.writers == 0 {
			r, ok := p.rdWait.Pop()
			if !ok {
				break
			}
			moved = true
			p.consumeLocked(r, done)
			done.Add(r.Done)
		}
		for !p.ring.full() || p.readers == 0 {
			w, ok := p.wrWait.Pop()
			if !ok {
				break
			}
			moved = true
			p.resumeLocked(w, done)
		}
	}
	if verify.On {
		p.checkInvariants()
	}
}

// releaseRingLocked drops what the pipe holds, when the last file is closed.
func (p *Pipe) releaseRingLocked() {
	for !p.ring.empty() {
		p.ns.Arena.Release(p.ring.first().ref)
		p.ring.tail++
	}
	p.ring = ring{}
	p.rCounter, p.wCounter = 1, 1
	p.ns.AccountPipeBuffers(p.user, p.nrAccounted, 0)
	p.nrAccounted = 0
}

// checkInvariants panics unless the pipe is in a state that may be seen from outside of its lock.
func (p *Pipe) checkInvariants() {
	verify.Held(&p.mu)
	verify.That(p.readers >= 0 && p.writers >= 0 && p.files >= max(p.readers, p.writers), "%d readers, %d writers, %d files", p.readers, p.writers, p.files)
	verify.That((p.files == 0) == (len(p.ring.bufs) == 0), "%d files, %d slots", p.files, len(p.ring.bufs))
	verify.That(p.ring.occupancy() <= len(p.ring.bufs), "%d of %d slots used", p.ring.occupancy(), len(p.ring.bufs))
	for slot := p.ring.tail; slot != p.ring.head; slot++ {
		b := p.ring.at(slot)
		verify.That(b.ref != 0 && b.n > 0 && int(b.off)+int(b.n) <= page.Size, "slot %d: %+v", slot, *b)
	}
	if r := p.rdWait.Len(); r > 0 {
		verify.That(p.ring.empty() && p.writers > 0, "%d reads wait for %d bytes, %d writers", r, p.ring.bytes(), p.writers)
	}
	if w := p.wrWait.Len(); w > 0 {
		verify.That(p.ring.full() && p.readers > 0, "%d writes wait, %d of %d slots used, %d readers", w, p.ring.occupancy(), len(p.ring.bufs), p.readers)
	}
}

// errno makes the error of a result: nil for 0, since Errno(0) in an error is not nil.
func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
