package pipe

import (
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// Piece is a part of what a read got: N bytes at Off of Ref. Who has the piece holds a reference to Ref.
type Piece struct {
	Ref    page.Ref
	Off, N uint16
}

// ReadOp is a read(2) of a pipe.
type ReadOp struct {
	Size     int            // bytes wanted, at least 1
	NonBlock bool           // O_NONBLOCK
	More     bool           // continues a read that got all it asked for; it never waits
	Done     ipc.Completion // added to the completions when the result is there

	N      int     // the result: bytes read; 0 is the end of the file
	Pieces []Piece // where they are; the receiver releases the references. Room in the slice is used again
	Err    error   // nil or a syscall.Errno

	waitq.Entry[*ReadOp]
	file *File
}

// Read takes what the pipe holds, at most op.Size bytes, or the first packet. It completes op at once or, while the pipe is empty and has a
// writer, leaves it waiting until a write, the last writer's close or Cancel completes it. Without a writer it completes with 0 bytes.
//
// EAGAIN: it would wait and NonBlock is set. EBADF: not open for reading. Takes the pipe's lock (fs/pipe.c:pipe_read).
func (f *File) Read(op *ReadOp, done *ipc.Completions) {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	op.file = f
	switch {
	case !f.read:
		op.Err = syscall.EBADF
	case op.More && f.packetEnd:
	case !p.ring.empty():
		p.consumeLocked(op, done)
	case op.More:
	case p.writers == 0 && !f.needsPartnerLocked():
	case op.NonBlock:
		op.Err = syscall.EAGAIN
	case f.needsPartnerLocked():
		p.rdPartner.Push(&op.Entry, op)
		return
	default:
		p.rdWait.Push(&op.Entry, op)
		return
	}
	done.Add(op.Done)
	p.pumpLocked(done)
}

// needsPartnerLocked says whether the file, whose open created the pipe, still waits for the first open of the other side.
func (f *File) needsPartnerLocked() bool {
	if f.partner != nil && *f.partner != f.partnerAt {
		f.partner = nil
	}
	return f.partner != nil
}

// consumeLocked is the commit point of a read: it moves up to op.Size bytes out of the ring into op. An empty ring gives 0 bytes.
func (p *Pipe) consumeLocked(op *ReadOp, done *ipc.Completions) {
	verify.Held(&p.mu)
	wakeWriter := false
	for left := op.Size; left > 0 && !p.ring.empty(); {
		b := p.ring.first()
		n := min(int(b.n), left)
		op.Pieces = append(op.Pieces, Piece{Ref: b.ref, Off: b.off, N: uint16(n)})
		op.N += n
		left -= n
		packet := b.flags&bufFlagPacket != 0
		if packet || n == int(b.n) {
			// The slot's reference goes to the reader; what a reader leaves of a packet is gone.
			wakeWriter = wakeWriter || p.ring.full()
			*b = buffer{}
			p.ring.tail++
		} else {
			p.ns.Arena.Hold(b.ref)
			b.off += uint16(n)
			b.n -= uint16(n)
		}
		if op.file.packetEnd = packet; packet {
			break
		}
	}
	if op.N > 0 {
		p.times.Atime = p.ns.Now()
	}
	if wakeWriter {
		p.wakePollsLocked(ipc.PollOut, done)
	}
}

// Cancel ends the wait of the read. EINTR.
func (op *ReadOp) Cancel(done *ipc.Completions) {
	p := op.file.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rdWait.Remove(&op.Entry) || p.rdPartner.Remove(&op.Entry) {
		op.Err = syscall.EINTR
		done.Add(op.Done)
	}
}

// WriteOp is a write(2) to a pipe.
type WriteOp struct {
	Data     []byte         // what to write, at least 1 byte; not used after Write has returned
	NonBlock bool           // O_NONBLOCK
	Packet   bool           // O_DIRECT: each page of the write is a packet
	More     bool           // continues a write(2) that came in several pieces
	Done     ipc.Completion // added to the completions when the result is there

	N       int   // the result: bytes written
	Err     error // nil, or a syscall.Errno if N is 0
	SigPipe bool  // the caller is to get SIGPIPE, also after a part was written

	waitq.Entry[*WriteOp]
	file *File
	rest []buffer // of a waiting write: the slots that it still has to fill
}

// Write puts op.Data into the pipe. It completes op at once or, when it does not fit, leaves it waiting until readers have made room for all
// of it, the last reader closed, or Cancel. Up to BufSize bytes go in whole or not at all; more may be mixed with other writes.
//
// EPIPE, with SigPipe: no reader; after a part was written that part is the result. EAGAIN: nothing fits and NonBlock is set (with NonBlock a
// part is a result). ENOMEM: no page left in the arena; a part is a result. EBADF: not open for writing. Takes the pipe's lock
// (fs/pipe.c:pipe_write).
func (f *File) Write(op *WriteOp, done *ipc.Completions) {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	op.file = f
	switch {
	case !f.write:
		op.Err = syscall.EBADF
		done.Add(op.Done)
	case f.needsPartnerLocked() && op.NonBlock:
		op.Err = syscall.EAGAIN
		done.Add(op.Done)
	case f.needsPartnerLocked():
		if e := p.keepRestLocked(op, op.Data); e != 0 {
			op.Err = e
			done.Add(op.Done)
			return
		}
		p.wrPartner.Push(&op.Entry, op)
	default:
		p.writeLocked(op, done)
		p.pumpLocked(done)
	}
}

// writeLocked begins a write: now, or when the first reader that it waited for has come.
func (p *Pipe) writeLocked(op *WriteOp, done *ipc.Completions) {
	if p.readers == 0 {
		p.breakLocked(op, done)
		return
	}
	if len(op.rest) > 0 {
		op.Data = p.gatherRestLocked(op)
	}
	data := op.Data[p.mergeLocked(op):]
	for len(data) > 0 && !p.ring.full() {
		b, e := p.fillLocked(op, data)
		if e != 0 {
			p.endLocked(op, e, done)
			return
		}
		p.ring.push(b)
		op.N += int(b.n)
		data = data[b.n:]
	}
	switch {
	case len(data) == 0:
		p.endLocked(op, 0, done)
		return
	case op.NonBlock:
		p.endLocked(op, syscall.EAGAIN, done)
		return
	}
	if e := p.keepRestLocked(op, data); e != 0 {
		p.endLocked(op, e, done)
		return
	}
	p.wroteLocked(op, done)
	p.resumeLocked(op, done)
}

// mergeLocked appends the odd bytes of a write to the page that was written last, if they fit, and returns how many. The slots after it are
// then whole pages. A piece of a longer write goes on where the piece before ended, as one write would have.
func (p *Pipe) mergeLocked(op *WriteOp) int {
	if p.ring.empty() {
		return 0
	}
	last := p.ring.last()
	end := int(last.off) + int(last.n)
	n := len(op.Data) % page.Size
	if op.More {
		n = min(len(op.Data), page.Size-end)
	}
	if n == 0 || last.flags&bufFlagCanMerge == 0 || end+n > page.Size {
		return 0
	}
	copy(p.ns.Arena.Bytes(last.ref)[end:], op.Data[:n])
	last.n += uint16(n)
	op.N += n
	return n
}

// fillLocked makes the next slot of a write from the beginning of data. A packet takes only the memory it needs; other data a page, which
// later writes may fill up. ENOMEM.
func (p *Pipe) fillLocked(op *WriteOp, data []byte) (buffer, syscall.Errno) {
	n := min(len(data), page.Size)
	b := buffer{n: uint16(n), flags: bufFlagCanMerge}
	var err error
	if op.Packet {
		b.flags = bufFlagPacket
		b.ref, err = p.ns.Arena.Alloc(n)
	} else {
		b.ref, err = p.ns.Arena.AllocPage()
	}
	if err != nil {
		return b, syscall.ENOMEM
	}
	copy(p.ns.Arena.Bytes(b.ref), data[:n])
	return b, 0
}

// keepRestLocked makes the slots for what does not fit yet. If memory ends, what has a slot is the whole of the write; ENOMEM if that
// is nothing.
func (p *Pipe) keepRestLocked(op *WriteOp, data []byte) syscall.Errno {
	for len(data) > 0 {
		b, e := p.fillLocked(op, data)
		if e != 0 {
			if len(op.rest) == 0 {
				return e
			}
			break
		}
		op.rest = append(op.rest, b)
		data = data[b.n:]
	}
	return 0
}

// resumeLocked moves a waiting write on: as many of its slots as there is room for go into the ring. What is left waits again, behind the
// writes that wait already, as a task that wakes and sleeps again does.
func (p *Pipe) resumeLocked(op *WriteOp, done *ipc.Completions) {
	if p.readers == 0 {
		p.breakLocked(op, done)
		return
	}
	moved := 0
	for ; moved < len(op.rest) && !p.ring.full(); moved++ {
		p.ring.push(op.rest[moved])
		op.N += int(op.rest[moved].n)
	}
	op.rest = op.rest[:copy(op.rest, op.rest[moved:])]
	if moved > 0 {
		p.wroteLocked(op, done)
	}
	if len(op.rest) > 0 {
		p.wrWait.Push(&op.Entry, op)
		return
	}
	done.Add(op.Done)
}

// wroteLocked notes that op put something in: the commit point of a write.
func (p *Pipe) wroteLocked(op *WriteOp, done *ipc.Completions) {
	if op.N > 0 {
		now := p.ns.Now()
		p.times.Mtime, p.times.Ctime = now, now
		p.wakePollsLocked(ipc.PollIn, done)
	}
}

// endLocked completes a write that did not have to wait: with its count, or with e if that is 0.
func (p *Pipe) endLocked(op *WriteOp, e syscall.Errno, done *ipc.Completions) {
	if op.N == 0 {
		op.Err = errno(e)
	}
	p.wroteLocked(op, done)
	done.Add(op.Done)
}

// breakLocked completes a write that has no reader any more.
func (p *Pipe) breakLocked(op *WriteOp, done *ipc.Completions) {
	p.dropRestLocked(op)
	op.SigPipe = true
	if op.N == 0 {
		op.Err = syscall.EPIPE
	}
	done.Add(op.Done)
}

// gatherRestLocked copies what op kept while it waited for the first reader, so that it can begin like any other write: where its pages end depends on what
// is in the pipe by then.
func (p *Pipe) gatherRestLocked(op *WriteOp) []byte {
	var data []byte
	for _, b := range op.rest {
		data = append(data, p.ns.Arena.Bytes(b.ref)[:b.n]...)
	}
	p.dropRestLocked(op)
	return data
}

func (p *Pipe) dropRestLocked(op *WriteOp) {
	for _, b := range op.rest {
		p.ns.Arena.Release(b.ref)
	}
	op.rest = op.rest[:0]
}

// Cancel ends the wait of the write: with the count of what was written, or EINTR if that is 0.
func (op *WriteOp) Cancel(done *ipc.Completions) {
	p := op.file.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wrWait.Remove(&op.Entry) && !p.wrPartner.Remove(&op.Entry) {
		return
	}
	p.dropRestLocked(op)
	if op.N == 0 {
		op.Err = syscall.EINTR
	}
	done.Add(op.Done)
}
