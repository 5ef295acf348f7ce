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

// streamFlags open a stream: every read and write comes here, at once and in its own time; it cannot seek; close sends nothing but RELEASE.
const streamFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH

// pipes is the kind under pipes/.
type pipes struct{ fs *FS }

func (pipes) name() string        { return "pipes" }
func (k pipes) newObject() object { return &pipeObject{fs: k.fs, pipe: pipe.New(k.fs.ns)} }

// pipeObject is a file under pipes/.
type pipeObject struct {
	fs   *FS
	pipe *pipe.Pipe
}

func (o *pipeObject) opened(p *pipe.File) opened {
	return opened{fh: o.fs.handles.add(&pipeFile{fs: o.fs, file: p}), flags: streamFlags}
}

func (o *pipeObject) open(c conn.Call, in *fuse.OpenIn) {
	x := &pipeOpen{object: o, call: c}
	x.op = pipe.OpenOp{Caller: callerOf(&in.InHeader), Flags: in.Flags, Done: x}
	x.call.MayWait(x)
	var done ipc.Completions
	o.pipe.Open(&x.op, &done)
	done.Deliver()
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
	o := x.object.opened(x.op.File)
	out := o.out()
	if !x.call.ReplyOpen(&out) {
		x.object.fs.handles.remove(o.fh).release()
	}
}

// Cancel ends the wait of the OPEN.
func (x *pipeOpen) Cancel() func() { return cancel(&x.op) }

// cancel cancels an operation and returns what tells so.
func cancel(op ipc.Canceler) func() {
	var done ipc.Completions
	op.Cancel(&done)
	return done.Deliver
}

func (o *pipeObject) create(caller ipc.Caller, flags uint32) (opened, error) {
	op := pipe.OpenOp{Caller: caller, Flags: flags, Creates: true, Done: nothing{}}
	var done ipc.Completions
	o.pipe.Open(&op, &done)
	done.Deliver()
	if op.Err != nil {
		return opened{}, op.Err
	}
	return o.opened(op.File), nil
}

// nothing is the completion of an operation whose caller looks at the result itself.
type nothing struct{}

// Deliver does nothing.
func (nothing) Deliver() {}

func (o *pipeObject) setSize(caller ipc.Caller, size uint64) error {
	var done ipc.Completions
	err := o.pipe.SetCapacity(caller, size, &done)
	done.Deliver()
	return err
}

func (o *pipeObject) times() (atime, mtime, ctime time.Time) {
	t := o.pipe.Times()
	return t.Atime, t.Mtime, t.Ctime
}

func (o *pipeObject) setTimes(atime, mtime, ctime time.Time) {
	o.pipe.SetTimes(pipe.Times{Atime: atime, Mtime: mtime, Ctime: ctime})
}

func (o *pipeObject) xattrs() []xattr {
	return []xattr{{
		name: "user.ipc.capacity",
		get:  func() string { return strconv.Itoa(o.pipe.Capacity()) },
		set: func(caller ipc.Caller, value string) error {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return syscall.EINVAL
			}
			return o.setSize(caller, n)
		},
	}}
}

// pipesHeader names the columns of statLine.
const pipesHeader = "       ino readers writers      bytes  used slots opens reads writes name\n"

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
	// Without it the READ fills the page cache, for a private mmap or for splice(2), and would be asked for again.
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
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
	p.file.Read(&x.op, &done)
	done.Deliver()
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
	start := uint64(0)
	if in.Flags&syscall.O_APPEND != 0 {
		start = streamSize
	}
	x := pipeWrites.Get().(*pipeWrite)
	x.fs, x.call = p.fs, c
	x.op = pipe.WriteOp{
		Data: data, NonBlock: in.Flags&syscall.O_NONBLOCK != 0, Packet: in.Flags&syscall.O_DIRECT != 0,
		More: in.Offset > start, Done: x,
	}
	x.call.MayWait(x)
	var done ipc.Completions
	p.file.Write(&x.op, &done)
	done.Deliver()
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

// pipeWake wakes the polls of an open file.
type pipeWake struct {
	call conn.Call
	kh   uint64
}

// Deliver sends NOTIFY_POLL.
func (w *pipeWake) Deliver() { w.call.NotifyPoll(w.kh) }

func (p *pipeFile) poll(c conn.Call, in *conn.PollIn) {
	var wake ipc.Completion
	if in.Flags&conn.PollScheduleNotify != 0 {
		wake = &pipeWake{call: c, kh: in.Kh}
	}
	c.ReplyPoll(p.file.Poll(in.Events, wake))
}

func (p *pipeFile) release() {
	var done ipc.Completions
	p.file.Release(&done)
	done.Deliver()
}
