package fs

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
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

func (pipes) xattrs() []xattr   { return nil }
func (pipes) columns() []column { return pipeColumns }
func (pipes) hidesXAttrs() bool { return false }

// pipeColumns are the fields of struct pipe_inode_info, and how many operations wait.
var pipeColumns = []column{
	{name: "readers"}, {name: "writers"}, {name: "bytes", width: 10, holds: true}, {name: "used"}, {name: "slots"},
	{name: "opens", waits: "OPEN"}, {name: "reads", waits: "READ"}, {name: "writes", waits: "WRITE"},
	{name: "capacity", width: noColumn, set: func(o object, caller ipc.Caller, n uint64) error { return o.(*pipeObject).setCapacity(caller, n) }},
	{name: "head", width: noColumn}, {name: "tail", width: noColumn}, {name: "files", width: noColumn},
	{name: "r_counter", width: noColumn}, {name: "w_counter", width: noColumn}, {name: "nr_accounted", width: noColumn},
}

// values are the numbers of pipeColumns.
func (o *pipeObject) values() []int64 {
	s := o.pipe.Stat()
	return []int64{
		int64(s.Readers), int64(s.Writers), int64(s.Bytes), int64(s.Used), int64(s.Slots),
		int64(s.WaitingOpens), int64(s.WaitingReads), int64(s.WaitingWrites),
		int64(s.Slots) * page.Size, int64(s.Head), int64(s.Tail), int64(s.Files), int64(s.RCounter), int64(s.WCounter), int64(s.NrAccounted),
	}
}

// maxBufs is how many slots the attribute bufs tells of; the kernel allows no attribute more than 64 KiB.
const maxBufs = 1000

// xattrs is bufs: the slots that hold data, oldest first, each as OFFSET+LENGTH in its page, with p behind it for a packet and m if a write may be put behind it.
func (o *pipeObject) xattrs() []xattr {
	return []xattr{{name: ownPrefix + "bufs", get: func() string {
		var words []string
		for _, b := range o.pipe.Bufs(maxBufs + 1) {
			word := fmt.Sprintf("%d+%d", b.Off, b.N)
			switch {
			case b.Packet:
				word += "p"
			case b.CanMerge:
				word += "m"
			}
			words = append(words, word)
		}
		if len(words) > maxBufs {
			words[maxBufs] = "..."
		}
		return strings.Join(words, " ")
	}}}
}

// memory is the arena.
func (k pipes) memory() memory {
	s := k.fs.ns.Arena.Stat()
	return memory{limit: uint64(s.Limit), free: uint64(s.Limit - s.InUse)}
}

// pipeObject is a file under pipes/.
type pipeObject struct {
	outlivesName
	fs   *FS
	pipe *pipe.Pipe
}

func (*pipeObject) stream() bool { return true }

// drop has nothing to do: what the pipe held went with its last open file.
func (*pipeObject) drop() {}

// ownXAttrs says that users cannot add any.
func (*pipeObject) ownXAttrs() xattrStore { return nil }

func (o *pipeObject) open(op operation, in *fuse.OpenIn) {
	if in.Flags == syscall.O_RDONLY {
		// Every open(2) of a 64-bit program comes with O_LARGEFILE. This one is the kernel's own, for an ioctl such as FS_IOC_GETFLAGS, perhaps with
		// the inode's lock held: it must not wait, nor be anybody's partner.
		op.replyOpen(opened{file: &lateFile{object: o, caller: callerOf(&in.InHeader)}, flags: streamFlags})
		return
	}
	x := &pipeOpen{operation: op}
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

func (l *lateFile) read(op operation, in *fuse.ReadIn) {
	f, err := l.use()
	if err != nil {
		op.fail(err)
		return
	}
	f.read(op, in)
}

func (l *lateFile) write(op operation, _ *fuse.WriteIn, _ []byte) { op.fail(syscall.EBADF) }

func (l *lateFile) poll(c conn.Call, in *conn.PollIn) {
	f, err := l.use()
	if err != nil {
		c.ReplyStatus(l.object.fs.status(err))
		return
	}
	f.poll(c, in)
}

func (l *lateFile) release(fh uint64) {
	if l.opened != nil {
		l.opened.release(fh)
	}
}

// pipeOpen is an OPEN on its way.
type pipeOpen struct {
	operation
	op pipe.OpenOp
}

// Deliver answers the OPEN.
func (x *pipeOpen) Deliver() {
	x.call.Answering()
	if x.op.Err != nil {
		x.fail(x.op.Err)
		return
	}
	x.replyOpen(opened{file: &pipeFile{file: x.op.File}, flags: streamFlags})
}

// Cancel ends the wait of the OPEN.
func (x *pipeOpen) Cancel() func() { return cancel(&x.op) }

func (o *pipeObject) create(caller ipc.Caller, flags uint32, _ view) (opened, error) {
	f, err := o.openNow(caller, flags)
	if err != nil {
		return opened{}, err
	}
	return opened{file: f, flags: streamFlags}, nil
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
	return &pipeFile{file: op.File}, nil
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

// pipeFile is an open file under pipes/.
type pipeFile struct {
	file *pipe.File
}

// pipeRead is a READ on its way; the records are used again.
type pipeRead struct {
	operation
	op    pipe.ReadOp
	parts [][]byte
}

var pipeReads = sync.Pool{New: func() any { return new(pipeRead) }}

func (p *pipeFile) read(op operation, in *fuse.ReadIn) {
	if fillsPageCache(in) {
		op.fail(syscall.EINVAL)
		return
	}
	x := pipeReads.Get().(*pipeRead)
	x.operation = op
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
		x.fail(x.op.Err)
	} else {
		arena := x.fs.ns.Arena
		x.parts = x.parts[:0]
		for _, p := range x.op.Pieces {
			x.parts = append(x.parts, arena.Bytes(p.Ref)[p.Off:p.Off+p.N])
		}
		x.replyData(x.parts...)
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
	operation
	op pipe.WriteOp
}

var pipeWrites = sync.Pool{New: func() any { return new(pipeWrite) }}

func (p *pipeFile) write(op operation, in *fuse.WriteIn, data []byte) {
	x := pipeWrites.Get().(*pipeWrite)
	x.operation = op
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
		x.fail(x.op.Err)
	} else {
		x.replyWrite(x.op.N)
	}
	pipeWrites.Put(x)
}

// Cancel ends the wait of the WRITE.
func (x *pipeWrite) Cancel() func() { return cancel(&x.op) }

func (p *pipeFile) poll(c conn.Call, in *conn.PollIn) {
	c.ReplyPoll(p.file.Poll(in.Events, pollWakeOf(c, in)))
}

func (p *pipeFile) release(uint64) {
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Release(&done)
}
