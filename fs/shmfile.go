package fs

import (
	"bytes"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// shmFile is an open file under shm/. With passthrough it gets neither reads nor writes.
type shmFile struct {
	object *shmObject
	caller ipc.Caller // who opened it or, of those who have closed a descriptor since, the last; the thread that handles the requests owns it
}

func (p *shmFile) read(op operation, in *fuse.ReadIn) {
	if p.object.segment.Busy() { // with something that takes long: not on the thread that reads the requests
		in := *in
		op.call.Beside(func(conn.Call) { p.readInto(make([]byte, in.Size), op, &in) })
		return
	}
	p.readInto(p.object.kind.buf[:in.Size], op, in)
}

func (p *shmFile) readInto(buf []byte, op operation, in *fuse.ReadIn) {
	read := p.object.segment.Fault
	if in.ReadFlags&fuse.READ_LOCKOWNER != 0 { // of O_DIRECT: nothing is kept, so nobody will write to it
		read = p.object.segment.Read
	}
	n, err := read(buf, int64(in.Offset))
	op.call.Answering()
	if err != nil {
		op.fail(err)
		return
	}
	op.replyData(buf[:n])
}

func (p *shmFile) write(op operation, in *fuse.WriteIn, data []byte) {
	if p.object.segment.Busy() { // see read
		// These are copies of pages that the kernel writes back, and it lets a mount have only so many dirty ones; it holds a write(2) back itself.
		in, data := *in, bytes.Clone(data)
		op.call.Beside(func(conn.Call) { p.writeFrom(data, op, &in) })
		return
	}
	p.writeFrom(data, op, in)
}

func (p *shmFile) writeFrom(data []byte, op operation, in *fuse.WriteIn) {
	f := op.fs
	n, err := p.object.segment.Write(data, int64(in.Offset))
	op.call.Answering()
	if err != nil {
		op.fail(err)
		return
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		f.mu.Lock()
		if i := f.nodes[in.NodeId]; i != nil {
			i.inode.killPrivLocked()
		}
		f.mu.Unlock()
	}
	op.replyWrite(n)
}

func (*shmFile) poll(c conn.Call, _ *conn.PollIn) { c.ReplyPoll(pollReady) }

func (p *shmFile) release(fh uint64) {
	var done ipc.Completions
	defer done.Deliver()
	p.object.locks.ReleaseHandle(fh, &done)
	p.object.segment.Detach(p.caller)
}

// shmFile returns the open file with this fh, nil if it is another kind of file.
func (f *FS) shmFile(fh uint64) *shmFile {
	h := f.handles.get(fh)
	if h == nil {
		return nil
	}
	p, _ := h.file.(*shmFile)
	return p
}

// longBytes is how much memory is given or freed on the thread that reads the requests. More is left to another one: some hundred milliseconds a gigabyte,
// in which everybody would have to wait.
const longBytes = 16 << 20

// maxCopy is how much one COPY_FILE_RANGE copies; the caller asks again for the rest, and can be killed in between.
const maxCopy = 64 << 20

// TakesLong says whether a request gives, frees or copies much memory, or could have to wait for one that does: the kernel locks the file of a segment for
// each of these, and for MADV_REMOVE of who maps it by passthrough, of which we do not hear.
func (f *FS) TakesLong(in any) bool {
	switch in := in.(type) {
	case *fuse.SetAttrIn:
		return f.isLarge(in.NodeId)
	case *fuse.InHeader:
		return f.isLarge(in.NodeId)
	case *fuse.LseekIn:
		return f.isLarge(in.NodeId)
	case *fuse.FallocateIn:
		return in.Length > longBytes && f.shmFile(in.Fh) != nil || f.isLarge(in.NodeId)
	case *fuse.CopyFileRangeIn:
		return in.Len > longBytes && f.shmFile(in.FhIn) != nil || f.isLarge(in.NodeIdOut)
	}
	return false
}

// isLarge says whether a node is a segment that has much memory.
func (f *FS) isLarge(id uint64) bool {
	f.mu.Lock()
	n := f.nodes[id]
	f.mu.Unlock()
	if n == nil {
		return false
	}
	o, ok := n.inode.object.(*shmObject)
	return ok && o.held() > longBytes
}

// Lseek answers LSEEK, which is for SEEK_DATA and SEEK_HOLE. ESPIPE for a stream.
func (f *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	p := f.shmFile(in.Fh)
	if p == nil {
		return fuse.Status(syscall.ESPIPE)
	}
	off, err := p.object.segment.Seek(int64(in.Offset), int(in.Whence))
	out.Offset = uint64(max(off, 0))
	return f.status(err)
}

// Fallocate answers FALLOCATE. ESPIPE for a stream.
func (f *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	p := f.shmFile(in.Fh)
	if p == nil {
		return fuse.Status(syscall.ESPIPE)
	}
	return f.status(p.object.segment.Fallocate(in.Mode, int64(in.Offset), int64(in.Length)))
}

// CopyFileRange answers COPY_FILE_RANGE. EINVAL for a stream, so that the caller reads and writes; EOPNOTSUPP with passthrough, so that the kernel copies.
func (f *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := f.shmFile(in.FhIn), f.shmFile(in.FhOut)
	switch {
	case from == nil || to == nil:
		return 0, fuse.EINVAL
	case f.shm.passthrough == nil:
		return 0, fuse.ENOTSUP
	}
	n, err := to.object.segment.Copy(int64(in.OffOut), from.object.segment, int64(in.OffIn), int(min(in.Len, maxCopy)))
	return uint32(n), f.status(err)
}

// Fsync answers FSYNC: memory has nothing to write back. EINVAL for a stream.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if f.shmFile(in.Fh) == nil {
		return fuse.EINVAL
	}
	return fuse.OK
}
