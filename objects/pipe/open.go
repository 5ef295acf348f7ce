package pipe

import (
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
)

// File is struct file as far as a pipe cares: one open of it.
type File struct {
	pipe        *Pipe
	read, write bool
	fPipe       uint                  // f_pipe: w_counter at an open that did not wait; no POLLHUP until it changed
	partner     *uint                 // the counter whose change the file still waits for, since its open did not; guarded by pipe.mu
	partnerAt   uint                  // its value then
	packetEnd   bool                  // the last read ended at the end of a packet; guarded by pipe.mu
	poll        ipc.PollWaiter[*File] // guarded by pipe.mu
}

// OpenOp is an open(2) of a pipe.
type OpenOp struct {
	ipc.Caller
	Flags  uint32         // O_RDONLY, O_WRONLY or O_RDWR, and O_NONBLOCK
	NoWait bool           // the open must not wait, since the caller of it holds a lock; the first read or write waits instead
	Done   ipc.Completion // added to the completions when the result is there

	File *File // the result if Err is nil
	Err  error // nil or a syscall.Errno

	waitq.Entry[*OpenOp]
	pipe *Pipe
	file *File
}

// Open opens the pipe as fifo_open does. It completes op at once, or leaves it waiting until the other side is opened (fifo(7)) or Cancel:
// O_RDONLY waits for a writer and O_WRONLY for a reader, O_RDWR never waits. With O_NONBLOCK or NoWait nothing waits.
//
// ENXIO: O_WRONLY with O_NONBLOCK and no reader. ENOMEM: the user is above the hard limit of pages. EINVAL: none of the three modes.
// Takes the pipe's lock (fs/pipe.c:fifo_open).
func (p *Pipe) Open(op *OpenOp, done *ipc.Completions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	op.pipe = p
	f := &File{pipe: p}
	nonBlock := op.Flags&syscall.O_NONBLOCK != 0
	switch op.Flags & syscall.O_ACCMODE {
	case syscall.O_RDONLY:
		f.read = true
	case syscall.O_WRONLY:
		f.write = true
	case syscall.O_RDWR:
		f.read, f.write = true, true
	default:
		op.failLocked(syscall.EINVAL, done)
		return
	}
	if p.files == 0 {
		if e := p.allocLocked(op.Caller); e != 0 {
			op.failLocked(e, done)
			return
		}
	}
	if nonBlock && !op.NoWait && f.write && !f.read && p.readers == 0 {
		if p.files == 0 {
			p.releaseRingLocked()
		}
		op.failLocked(syscall.ENXIO, done)
		return
	}
	p.files++
	p.countLocked(f, done)

	op.file = f
	switch {
	case f.read && !f.write && p.writers == 0:
		// The partner's open is seen by its counter, so one that came and went in between counts too.
		if nonBlock || op.NoWait {
			f.fPipe = p.wCounter
		}
		if op.NoWait && !nonBlock {
			f.partner, f.partnerAt = &p.wCounter, p.wCounter
		}
		if !nonBlock && !op.NoWait {
			p.openWait.Push(&op.Entry, op)
			return
		}
	case f.write && !f.read && p.readers == 0:
		if op.NoWait {
			f.partner, f.partnerAt = &p.rCounter, p.rCounter
			break
		}
		p.openWait.Push(&op.Entry, op)
		return
	}
	op.completeLocked(done)
}

// countLocked counts the new file and lets those go on that waited for its side. Who waits in openWait for a reader and who waits for a writer
// never wait together: the first of them would have been the other's partner.
func (p *Pipe) countLocked(f *File, done *ipc.Completions) {
	woken := false
	if f.read {
		p.rCounter++
		p.readers++
		woken = woken || p.readers == 1
	}
	if f.write {
		p.wCounter++
		p.writers++
		woken = woken || p.writers == 1
	}
	if !woken {
		return
	}
	for op := range p.openWait.All() {
		if (op.file.read && f.write) || (op.file.write && f.read) {
			p.openWait.Remove(&op.Entry)
			op.completeLocked(done)
		}
	}
	if f.write {
		for r, ok := p.rdPartner.Pop(); ok; r, ok = p.rdPartner.Pop() {
			p.rdWait.Push(&r.Entry, r)
		}
	}
	if f.read {
		for w, ok := p.wrPartner.Pop(); ok; w, ok = p.wrPartner.Pop() {
			p.writeLocked(w, done)
		}
	}
	p.wakePollsLocked(ipc.PollIn|ipc.PollOut, done) // wake_up_partner; a writer that was created alone has its reader now
	p.pumpLocked(done)
}

// Cancel ends the wait of the open: the file does not come to be, and its count goes back. EINTR.
func (op *OpenOp) Cancel(done *ipc.Completions) {
	p := op.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.openWait.Remove(&op.Entry) {
		return
	}
	op.failLocked(syscall.EINTR, done)
	p.closeLocked(op.file, done)
}

func (op *OpenOp) completeLocked(done *ipc.Completions) {
	op.File = op.file
	done.Add(op.Done)
}

func (op *OpenOp) failLocked(e syscall.Errno, done *ipc.Completions) {
	op.Err = e
	done.Add(op.Done)
}

// Release closes the file. What waits for the side that it was the last of goes on: reads end, writes fail. When it was the last file
// of the pipe, what the pipe holds is dropped. No operation of the file may be waiting. Takes the pipe's lock (fs/pipe.c:pipe_release).
func (f *File) Release(done *ipc.Completions) {
	f.pipe.mu.Lock()
	defer f.pipe.mu.Unlock()
	f.pipe.closeLocked(f, done)
}

func (p *Pipe) closeLocked(f *File, done *ipc.Completions) {
	p.polls.Forget(&f.poll)
	if f.read {
		p.readers--
	}
	if f.write {
		p.writers--
	}
	p.files--
	verify.That(p.readers >= 0 && p.writers >= 0 && p.files >= 0, "close: %d readers, %d writers, %d files", p.readers, p.writers, p.files)
	if (p.readers == 0) != (p.writers == 0) {
		p.wakePollsLocked(ipc.PollIn|ipc.PollOut, done)
	}
	if p.files == 0 {
		p.releaseRingLocked()
	}
	p.pumpLocked(done)
}
