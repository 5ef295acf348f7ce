package fs

import (
	"bytes"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/msgq"
	"ipcfs/objects/page"
)

// MaxMsgMax is the most that msgmax may be: so long a message with its type comes in one WRITE, wherever it begins in a page.
const MaxMsgMax = conn.MaxWrite - 2*page.Size

// msgqKind is the kind under msgq/.
type msgqKind struct {
	fs    *FS
	store *msgq.Store
}

func newMsgqKind(f *FS) *msgqKind { return &msgqKind{fs: f, store: msgq.NewStore(f.ns)} }

func (*msgqKind) name() string        { return "msgq" }
func (*msgqKind) special(uint32) bool { return false }
func (*msgqKind) xattrs() []xattr     { return nil }
func (*msgqKind) columns() []column   { return msgqColumns }
func (*msgqKind) hidesXAttrs() bool   { return false }

// msgqColumns are the fields of struct msg_queue, and how many operations wait in q_receivers and q_senders. Times are in seconds since 1970, 0 is never.
var msgqColumns = []column{
	{name: "q_cbytes", width: 10, holds: true}, {name: "q_qnum", width: 8},
	{name: "q_qbytes", width: 10, set: func(o object, caller ipc.Caller, n uint64) error { return o.(*msgqObject).setQBytes(caller, n) }},
	{name: "q_lspid"}, {name: "q_lrpid"}, {name: "q_stime", width: 10}, {name: "q_rtime", width: 10}, {name: "q_ctime", width: 10},
	{name: "q_receivers", waits: "READ"}, {name: "q_senders", waits: "WRITE"}, {name: "removed", width: noColumn},
}

// values are the numbers of msgqColumns.
func (o *msgqObject) values() []int64 {
	s := o.queue.Stat()
	removed := int64(0)
	if s.Removed {
		removed = 1
	}
	return []int64{
		int64(s.CBytes), int64(s.QNum), int64(s.QBytes), int64(s.LSPid), int64(s.LRPid), seconds(s.STime), seconds(s.RTime), seconds(s.CTime),
		int64(s.Receivers), int64(s.Senders), removed,
	}
}

// memory is the arena.
func (k *msgqKind) memory() memory { return pipes{fs: k.fs}.memory() }

func (k *msgqKind) newObject(ipc.Caller) (object, error) {
	q, err := k.store.New()
	if err != nil {
		return nil, err
	}
	return &msgqObject{fs: k.fs, queue: q}, nil
}

// cutView parts NAME:VIEW; the name of a queue has no colon.
func (*msgqKind) cutView(name string) (string, view, error) {
	own, text, found := strings.Cut(name, ":")
	switch {
	case !found:
		return name, nil, nil
	case own == "":
		return "", nil, syscall.EINVAL
	}
	v, err := msgq.ParseView(text)
	return own, v, err
}

// msgqObject is a file under msgq/.
type msgqObject struct {
	noXAttrs
	fs    *FS
	queue *msgq.Queue
}

func (*msgqObject) stream() bool { return true }

// unlinked is IPC_RMID.
func (o *msgqObject) unlinked(done *ipc.Completions) { o.queue.Remove(done) }

// drop ends a queue that never had a name, or has one at the end of the mount. Nobody has it open, so nobody waits.
func (o *msgqObject) drop() {
	var done ipc.Completions
	o.queue.Remove(&done)
	done.Deliver()
}

func (o *msgqObject) open(op operation, in *fuse.OpenIn) {
	if as, _ := op.view.(msgq.View); as.Mode == msgq.ModePeek {
		o.openPeek(op, as.Selector)
		return
	}
	o.fs.mu.Lock()
	opened, err := o.create(callerOf(&in.InHeader), in.Flags, op.view)
	o.fs.mu.Unlock()
	op.answerOpen(opened, err)
}

func (o *msgqObject) create(_ ipc.Caller, flags uint32, v view) (opened, error) {
	as, _ := v.(msgq.View)
	if as.Mode == msgq.ModePeek {
		return o.fs.peekFileLocked(o.peekText(as.Selector))
	}
	f, err := o.queue.Open(as, flags)
	if err != nil {
		return opened{}, err
	}
	return opened{file: &msgqFile{file: f, lines: as.Mode == msgq.ModeLines}, flags: streamFlags}, nil
}

// setSize sets q_qbytes. A truncation to 0 changes nothing, as it is what `>` does to an existing file (see pipeObject.setSize).
func (o *msgqObject) setSize(caller ipc.Caller, size uint64) error {
	if size == 0 {
		return nil
	}
	return o.setQBytes(caller, size)
}

func (o *msgqObject) setQBytes(caller ipc.Caller, n uint64) error {
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	return o.queue.SetQBytes(caller, n, &done)
}

func (o *msgqObject) attr(a *fuse.Attr) {
	streamAttr(a)
	t := o.queue.Times()
	a.SetTimes(&t.Atime, &t.Mtime, &t.Ctime)
}

func (o *msgqObject) setTimes(atime, mtime, ctime time.Time) {
	o.queue.SetTimes(ipc.Times{Atime: atime, Mtime: mtime, Ctime: ctime})
}

// msgqFile is an open file under msgq/.
type msgqFile struct {
	file *msgq.File

	lines           bool   // what is written are lines, however it comes
	thread, process uint32 // who used it last; the thread that handles the requests owns both
}

// caller is the process of a request. Most come from the thread that sent the one before.
func (p *msgqFile) caller(h *fuse.InHeader) uint32 {
	if p.thread != h.Pid {
		p.thread, p.process = h.Pid, processOf(h).PID
	}
	return p.process
}

// msgqReceive is a READ on its way; the records are used again.
type msgqReceive struct {
	operation
	op    msgq.ReceiveOp
	parts [][]byte
}

var msgqReceives = sync.Pool{New: func() any { return new(msgqReceive) }}

func (p *msgqFile) read(op operation, in *fuse.ReadIn) {
	if fillsPageCache(in) {
		op.fail(syscall.EINVAL)
		return
	}
	x := msgqReceives.Get().(*msgqReceive)
	x.operation = op
	x.op.Reset()
	x.op.Size, x.op.NonBlock, x.op.More = int(in.Size), in.Flags&syscall.O_NONBLOCK != 0, in.Offset > 0
	x.op.PID, x.op.Done = p.caller(&in.InHeader), x
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Receive(&x.op, &done)
}

// Deliver answers the READ, straight from the arena.
func (x *msgqReceive) Deliver() {
	x.call.Answering()
	if x.op.Err != nil {
		x.fail(x.op.Err)
	} else {
		x.parts = x.op.Parts(x.parts[:0])
		x.replyData(x.parts...)
		x.op.Free()
	}
	msgqReceives.Put(x)
}

// Cancel ends the wait of the READ.
func (x *msgqReceive) Cancel() func() { return cancel(&x.op) }

// msgqSend is a WRITE on its way; the records are used again.
type msgqSend struct {
	operation
	op msgq.SendOp
}

var msgqSends = sync.Pool{New: func() any { return new(msgqSend) }}

func (p *msgqFile) write(op operation, in *fuse.WriteIn, data []byte) {
	x := msgqSends.Get().(*msgqSend)
	x.operation = op
	x.op = msgq.SendOp{Data: data, NonBlock: in.Flags&syscall.O_NONBLOCK != 0, Piece: continuesWrite(in), PID: p.caller(&in.InHeader), Done: x}
	mayBe := !p.lines && !x.op.Piece && len(data) <= int(op.fs.ns.Limits().MsgMax)+msgq.TypeSize // a message
	if mayBe && op.fs.writers.asksLater(in.Pid, len(data)) {
		x.op.Data = bytes.Clone(data)
		p.sendLater(x)
		return
	}
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Send(&x.op, &done)
}

// sendLater sends when the thread that writes has been looked at.
func (p *msgqFile) sendLater(x *msgqSend) {
	var (
		done  ipc.Completions
		tid   = x.call.Header.Pid
		n     = len(x.op.Data)
		look  = x.fs.lookers
		piece bool
	)
	x.call.Later(
		func(over <-chan struct{}) { piece = look.goesOn(tid, n, over) },
		x,
		func() {
			x.op.Piece = piece
			p.file.Send(&x.op, &done)
		},
		done.Deliver,
		func() {
			x.op.Err = syscall.EINTR
			x.Deliver()
		})
}

// Deliver answers the WRITE.
func (x *msgqSend) Deliver() {
	x.call.Answering()
	if x.op.Err != nil {
		x.fail(x.op.Err)
	} else {
		x.replyWrite(x.op.N)
	}
	msgqSends.Put(x)
}

// Cancel ends the wait of the WRITE.
func (x *msgqSend) Cancel() func() { return cancel(&x.op) }

func (p *msgqFile) poll(c conn.Call, in *conn.PollIn) {
	c.ReplyPoll(p.file.Poll(in.Events, pollWakeOf(c, in)))
}

func (p *msgqFile) release(uint64) {
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.file.Release(&done)
}
