package fs

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/pipe"
)

// pipes is the kind under pipes/.
type pipes struct {
	noViews
	fs *FS
}

func (pipes) name() string             { return "pipes" }
func (pipes) special(mode uint32) bool { return mode == typeFIFO }
func (k pipes) newObject(ipc.Caller) (object, error) {
	return &pipeObject{fs: k.fs, pipe: pipe.New(k.fs.ns)}, nil
}

func (pipes) xattrs() []xattr { return nil }

// memory is the arena.
func (k pipes) memory() memory {
	s := k.fs.ns.Arena.Stat()
	return memory{limit: uint64(s.Limit), free: uint64(s.Limit - s.InUse)}
}

// pipeObject is a file under pipes/.
type pipeObject struct {
	noXAttrs
	outlivesName
	fs   *FS
	pipe *pipe.Pipe
}

func (*pipeObject) stream() bool { return true }

// drop has nothing to do: what the pipe held went with its last open file.
func (*pipeObject) drop() {}

func (o *pipeObject) opened(f *pipeFile) opened {
	return opened{fh: o.fs.handles.add(f), flags: streamFlags}
}

func (o *pipeObject) open(c conn.Call, in *fuse.OpenIn, _ view) {
	if in.Flags == syscall.O_RDONLY {
		// Every open(2) of a 64-bit program comes with O_LARGEFILE. This one is the kernel's own, for an ioctl such as FS_IOC_GETFLAGS, perhaps with
		// the inode's lock held: it must not wait, nor be anybody's partner.
		late := &lateFile{object: o, caller: callerOf(&in.InHeader)}
		fh := o.fs.handles.add(late)
		if !c.ReplyOpen(&fuse.OpenOut{Fh: fh, OpenFlags: streamFlags}) {
			o.fs.handles.remove(fh)
		}
		return
	}
	x := &pipeOpen{object: o, call: c}
	x.op = pipe.OpenOp{Caller: callerOf(&in.InHeader), Flags: in.Flags, Done: x}
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	o.pipe.Open(&x.op, &done)
}

// lateFile is a file that is opened, for reading, when it is first used. (An old 32-bit program may do so.) It has no lock: one thread handles all
// requests (package conn).
type lateFile struct {
	object *pipeObject
	caller ipc.Caller
	opened *pipeFile
}

// use opens the file if it is not open yet.
func (l *lateFile) use() (*pipeFile, error) {
	if l.opened == nil {
		f, err := l.object.openNow(l.caller, syscall.O_RDONLY)
		if err != nil {
			return nil, err
		}
		l.opened = f
	}
	return l.opened, nil
}

func (l *lateFile) read(c conn.Call, in *fuse.ReadIn) {
	f, err := l.use()
	if err != nil {
		c.ReplyStatus(l.object.fs.status(err))
		return
	}
	f.read(c, in)
}

func (l *lateFile) write(c conn.Call, _ *fuse.WriteIn, _ []byte) { c.ReplyStatus(fuse.EBADF) }

func (l *lateFile) poll(c conn.Call, in *conn.PollIn) {
	f, err := l.use()
	if err != nil {
		c.ReplyStatus(l.object.fs.status(err))
		return
	}
	f.poll(c, in)
}

func (l *lateFile) release() {
	if l.opened != nil {
		l.opened.release()
	}
}

// pipeOpen is an OPEN on its way.
type pipeOpen struct {
	object *pipeObject
	call   conn.Call
	op     pipe.OpenOp
}

// Deliver answers the OPEN.
func (x *pipeOpen) Deliver() {
	x.call.Answering()
	if x.op.Err != nil {
		x.call.ReplyStatus(x.object.fs.status(x.op.Err))
		return
	}
	x.object.opened(&pipeFile{fs: x.object.fs, file: x.op.File}).answer(x.object.fs, x.call)
}

// Cancel ends the wait of the OPEN.
func (x *pipeOpen) Cancel() func() { return cancel(&x.op) }

func (o *pipeObject) create(caller ipc.Caller, flags uint32, _ view) (opened, error) {
	f, err := o.openNow(caller, flags)
	if err != nil {
		return opened{}, err
	}
	return o.opened(f), nil
}

// openNow opens the pipe without waiting, whatever the flags say.
func (o *pipeObject) openNow(caller ipc.Caller, flags uint32) (*pipeFile, error) {
	op := pipe.OpenOp{Caller: caller, Flags: flags, NoWait: true, Done: nothing{}}
	var done ipc.Completions
	o.pipe.Open(&op, &done)
	done.Deliver()
	if op.Err != nil {
		return nil, op.Err
	}
	return &pipeFile{fs: o.fs, file: op.File}, nil
}

// setSize sets the capacity. A truncation to 0 changes nothing: it is what `>` does to an existing file. (With CAP_ATOMIC_O_TRUNC it would come as a flag of
// OPEN instead, but then the kernel takes the file to be empty, and each write from there on takes the inode's lock exclusively; see streamSize.)
func (o *pipeObject) setSize(caller ipc.Caller, size uint64) error {
	if size == 0 {
		return nil
	}
	return o.setCapacity(caller, size)
}

func (o *pipeObject) setCapacity(caller ipc.Caller, size uint64) error {
	var done ipc.Completions
	err := o.pipe.SetCapacity(caller, size, &done)
	done.Deliver()
	return err
}

func (o *pipeObject) attr(a *fuse.Attr) {
	streamAttr(a)
	t := o.pipe.Times()
	a.SetTimes(&t.Atime, &t.Mtime, &t.Ctime)
}

func (o *pipeObject) setTimes(atime, mtime, ctime time.Time) {
	o.pipe.SetTimes(ipc.Times{Atime: atime, Mtime: mtime, Ctime: ctime})
}

// xattrs is the capacity, which can be set by a number of bytes.
func (o *pipeObject) xattrs() []xattr {
	return []xattr{{
		name: "user.ipc.capacity",
		get:  func() string { return strconv.Itoa(o.pipe.Capacity()) },
		set: func(caller ipc.Caller, value string) error {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return syscall.EINVAL
			}
			return o.setCapacity(caller, n)
		},
	}}
}

// pipesHeader names the columns of statLine.
const pipesHeader = "       ino readers writers      bytes  used slots opens reads writes name\n"

// statLine is the line of the pipe in proc/pipes.
func (o *pipeObject) statLine(ino uint64, name string) string {
	s := o.pipe.Stat()
	return fmt.Sprintf("%10d %7d %7d %10d %5d %5d %5d %5d %6d %s\n",
		ino, s.Readers, s.Writers, s.Bytes, s.Used, s.Slots, s.WaitingOpens, s.WaitingReads, s.WaitingWrites, name)
}

// pipeFile is an open file under pipes/.
type pipeFile struct {
	fs   *FS
	file *pipe.File
}

// pipeRead is a READ on its way; the records are used again.
type pipeRead struct {
	fs    *FS
	call  conn.Call
	op    pipe.ReadOp
	parts [][]byte
}

var pipeReads = sync.Pool{New: func() any { return new(pipeRead) }}

func (p *pipeFile) read(c conn.Call, in *fuse.ReadIn) {
	if fillsPageCache(in) {
		c.ReplyStatus(fuse.EINVAL)
		return
	}
	x := pipeReads.Get().(*pipeRead)
	x.fs, x.call = p.fs, c
	x.op = pipe.ReadOp{
		Size: int(in.Size), NonBlock: in.Flags&syscall.O_NONBLOCK != 0, More: in.Offset > 0,
		Done: x, Pieces: x.op.Pieces[:0],
	}
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Read(&x.op, &done)
}

// Deliver answers the READ, straight from the pages.
func (x *pipeRead) Deliver() {
	x.call.Answering()
	if x.op.Err != nil {
		x.call.ReplyStatus(x.fs.status(x.op.Err))
	} else {
		arena := x.fs.ns.Arena
		x.parts = x.parts[:0]
		for _, p := range x.op.Pieces {
			x.parts = append(x.parts, arena.Bytes(p.Ref)[p.Off:p.Off+p.N])
		}
		x.call.ReplyData(x.parts...)
		for _, p := range x.op.Pieces {
			arena.Release(p.Ref)
		}
	}
	pipeReads.Put(x)
}

// Cancel ends the wait of the READ.
func (x *pipeRead) Cancel() func() { return cancel(&x.op) }

// pipeWrite is a WRITE on its way; the records are used again.
type pipeWrite struct {
	fs   *FS
	call conn.Call
	op   pipe.WriteOp
}

var pipeWrites = sync.Pool{New: func() any { return new(pipeWrite) }}

func (p *pipeFile) write(c conn.Call, in *fuse.WriteIn, data []byte) {
	x := pipeWrites.Get().(*pipeWrite)
	x.fs, x.call = p.fs, c
	x.op = pipe.WriteOp{
		Data: data, NonBlock: in.Flags&syscall.O_NONBLOCK != 0, Packet: in.Flags&syscall.O_DIRECT != 0,
		More: continuesWrite(in), Done: x,
	}
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Write(&x.op, &done)
}

// Deliver answers the WRITE, after the SIGPIPE that belongs to it.
func (x *pipeWrite) Deliver() {
	x.call.Answering()
	if x.op.SigPipe {
		x.call.Signal(syscall.SIGPIPE)
	}
	if x.op.Err != nil {
		x.call.ReplyStatus(x.fs.status(x.op.Err))
	} else {
		x.call.ReplyWrite(x.op.N)
	}
	pipeWrites.Put(x)
}

// Cancel ends the wait of the WRITE.
func (x *pipeWrite) Cancel() func() { return cancel(&x.op) }

func (p *pipeFile) poll(c conn.Call, in *conn.PollIn) {
	c.ReplyPoll(p.file.Poll(in.Events, pollWakeOf(c, in)))
}

func (p *pipeFile) release() {
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Release(&done)
}
