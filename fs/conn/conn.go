// Package conn is the transport below the file system: one connection to the kernel over /dev/fuse. It mounts, reads requests, answers
// them, and knows no object.
//
// What can wait (OPEN, READ, WRITE, POLL, SETLKW) is decoded here and handed to a Handler as a Call, which is answered whenever its operation
// completes: from the same request, from a later one, or from an INTERRUPT. Everything else never waits and goes through go-fuse's
// ProtocolServer to a fuse.RawFileSystem. There is no goroutine and no buffer for a request that waits.
//
// One thread reads the device and handles each request to its end before it reads the next. Nothing that it does blocks, so this bounds
// nothing but parallel copying; in return requests take effect in the order in which the kernel queued them. That makes close(2),
// whose RELEASE nobody waits for, come before whatever its caller does next, as on a kernel object. The exceptions are what computes for long (gigabytes
// of memory to give or to free), which a few goroutines do beside (Conn.Background) while its caller waits for the answer, and the few requests of whose caller something has
// to be found out first, which have goroutines of their own until then (Call.Later).
//
// Lock: Conn.mu guards the table of waiting calls. It is held while a call is cancelled, so it comes before the locks of objects; nothing
// takes it while holding one of those, since answers are sent after an object's lock is released.
package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// MaxWrite is the most payload bytes of one READ or WRITE: what Linux allows without a change of fs.fuse.max_pages_limit.
const MaxWrite = 1 << 20

// headroom is what a request may have before its payload, and an answer too.
const headroom = 4096

// Opcodes that this package handles itself (include/uapi/linux/fuse.h).
const (
	opSETATTR         = 4
	opOPEN            = 14
	opREAD            = 15
	opWRITE           = 16
	opSETXATTR        = 21
	opREMOVEXATTR     = 24
	opINIT            = 26
	opSETLKW          = 33
	opINTERRUPT       = 36
	opPOLL            = 40
	opFALLOCATE       = 43
	opLSEEK           = 46
	opCOPY_FILE_RANGE = 47
)

// pollHack is a name that go-fuse claims to find in the root, for the sake of its own Server.
const pollHack = ".go-fuse-epoll-hack"

// PollScheduleNotify is FUSE_POLL_SCHEDULE_NOTIFY in PollIn.Flags: somebody waits, and is to be told with NotifyPoll.
const PollScheduleNotify = 1 << 0

// PollIn is struct fuse_poll_in.
type PollIn struct {
	fuse.InHeader
	Fh     uint64
	Kh     uint64 // what NotifyPoll takes
	Flags  uint32
	Events uint32
}

// pollOut is struct fuse_poll_out.
type pollOut struct {
	Revents uint32
	Padding uint32
}

// Handler answers the requests that can wait. Each method with a Call answers it exactly once, now or later, with one of the Call's Reply
// methods. It must not block. The in structures and data are valid only until the method returns.
type Handler interface {
	// Connected is called once, when the kernel has said what it offers and before the first other request.
	Connected(c *Conn)
	// TakesLong says whether a request is to be handled beside the others: a *fuse.SetAttrIn, *fuse.LseekIn, *fuse.FallocateIn, *fuse.CopyFileRangeIn, or the
	// *fuse.InHeader of a SETXATTR or REMOVEXATTR.
	TakesLong(in any) bool
	Open(c Call, in *fuse.OpenIn)
	Read(c Call, in *fuse.ReadIn)
	Write(c Call, in *fuse.WriteIn, data []byte)
	Poll(c Call, in *PollIn)
	SetLkw(c Call, in *fuse.LkIn)
}

// Canceler is an operation that may be waiting and whose caller was interrupted.
type Canceler interface {
	// Cancel ends the wait and returns what tells so, to be called when no lock is held. The connection's lock is held during Cancel.
	Cancel() (deliver func())
}

// Options of a connection.
type Options struct {
	Debug  bool // log every request
	Logger *log.Logger
}

// Conn is a connection to the kernel.
type Conn struct {
	fd      int // /dev/fuse; set by New
	handler Handler
	proto   *fuse.ProtocolServer
	opts    Options
	offered uint64 // what was agreed on at INIT, capabilities of include/uapi/linux/fuse.h; set before Connected

	background sync.WaitGroup // what runs beside, and what waits for a place
	places     chan struct{}  // one is taken by each that runs
	ended      chan struct{}  // closed when no more requests come

	mu      sync.Mutex          // guards waiting
	waiting map[uint64]Canceler // calls that may be waiting, by unique

	forgetting struct {
		sync.Mutex         // guards names; a leaf
		names      []entry // that the kernel is to forget; a goroutine tells it if there are any
	}
}

// entry is a name in a directory.
type entry struct {
	parent uint64 // the node id of the directory
	name   string
}

// backgroundMax is how many goroutines handle beside what takes long. Those that wait for one another (two calls on one segment) have a place too, so there
// are many.
const backgroundMax = 64

// New makes a connection of fd, an open /dev/fuse that is mounted. Requests that can wait go to h, all others to raw. The connection owns
// fd from now on.
func New(fd int, h Handler, raw fuse.RawFileSystem, opts Options) *Conn {
	c := &Conn{
		fd: fd, handler: h, opts: opts, waiting: make(map[uint64]Canceler),
		places: make(chan struct{}, backgroundMax), ended: make(chan struct{}),
	}
	c.proto = fuse.NewProtocolServer(raw, &fuse.MountOptions{
		Name:     "ipcfs",
		MaxWrite: MaxWrite,
		// A RELEASE is a background request. None must be held back behind others, or it would be overtaken by what came later.
		MaxBackground: 1<<16 - 1,
		// Locks on stream nodes must fail rather than seem to work (each open has an inode of its own), so they are asked of us.
		EnableLocks: true,
		// Pages that the kernel keeps (segments without passthrough) change through the kernel alone, so it need not look whether they are still good. It
		// must not read more than it was asked for: what is read gets memory.
		ExplicitDataCacheControl: true,
		MaxReadAhead:             1,
		// Otherwise the kernel asks for security.capability before each write.
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2,
		Debug:             opts.Debug,
		Logger:            opts.Logger,
		PanicHandler:      func(v any) fuse.Status { c.logPanic(v); return fuse.EIO },
	})
	return c
}

// Close closes the device. If the file system is still mounted, every request of its users fails with ENOTCONN from now on.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Serve handles requests until the file system is unmounted, and then returns nil; any other end of the connection is an error. It keeps its thread, and returns
// when nothing runs beside it any more.
func (c *Conn) Serve() error {
	defer func() {
		close(c.ended)
		c.background.Wait()
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Allocated as words, since requests are looked at as structures.
	in := wordAligned(MaxWrite + headroom)
	out := wordAligned(MaxWrite + headroom)
	for {
		n, err := unix.Read(c.fd, in)
		switch {
		case n > 0:
			c.handle(in[:n], out)
		case err == nil:
			return io.ErrUnexpectedEOF
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			// ENOENT: the request was interrupted before we could read it.
		case errors.Is(err, unix.ENODEV):
			return nil
		default:
			return fmt.Errorf("read /dev/fuse: %w", err)
		}
	}
}

func wordAligned(n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(make([]uint64, n/8)))), n)
}

// handle handles one request. A panic in it costs its caller an EIO and nobody else anything.
func (c *Conn) handle(in, out []byte) {
	hdr, ok := as[fuse.InHeader](in)
	if !ok {
		c.opts.Logger.Printf("request of %d bytes is too short", len(in))
		return
	}
	call := Call{conn: c, Header: *hdr}
	defer call.answerPanic()
	switch hdr.Opcode {
	case opOPEN:
		dispatch(c, call, in, c.handler.Open)
	case opREAD:
		dispatch(c, call, in, c.handler.Read)
	case opWRITE:
		dispatch(c, call, in, func(call Call, w *fuse.WriteIn) {
			data := in[unsafe.Sizeof(*w):]
			if uint64(len(data)) < uint64(w.Size) {
				call.ReplyStatus(fuse.EIO)
				return
			}
			c.handler.Write(call, w, data[:w.Size])
		})
	case opPOLL:
		dispatch(c, call, in, c.handler.Poll)
	case opSETLKW:
		dispatch(c, call, in, c.handler.SetLkw)
	case opINTERRUPT:
		dispatch(c, call, in, c.interrupt)
	default:
		if hdr.NodeId == fuse.FUSE_ROOT_ID && bytes.Contains(in, []byte(pollHack)) {
			call.ReplyStatus(fuse.ENOENT)
			return
		}
		if c.takesLong(hdr.Opcode, in) {
			in := bytes.Clone(in)
			call.Beside(func(call Call) { c.forward(call, in, wordAligned(headroom)) })
			return
		}
		c.forward(call, in, out)
	}
}

// forward answers a request through go-fuse.
func (c *Conn) forward(call Call, in, out []byte) {
	n, st := c.proto.HandleRequest([][]byte{in}, [][]byte{out})
	call.Answering()
	switch {
	case n == 0 && !st.Ok():
		call.ReplyStatus(st)
	case n > 0:
		sent := c.answer(call.Header.Unique, out[:n])
		if sent && call.Header.Opcode == opINIT {
			c.connected(out[:n])
		}
	}
}

// takesLong asks the handler about what may take long.
func (c *Conn) takesLong(opcode uint32, in []byte) bool {
	switch opcode {
	case opSETATTR:
		return asksLong[fuse.SetAttrIn](c, in)
	case opSETXATTR, opREMOVEXATTR:
		return asksLong[fuse.InHeader](c, in)
	case opLSEEK:
		return asksLong[fuse.LseekIn](c, in)
	case opFALLOCATE:
		return asksLong[fuse.FallocateIn](c, in)
	case opCOPY_FILE_RANGE:
		return asksLong[fuse.CopyFileRangeIn](c, in)
	}
	return false
}

func asksLong[T any](c *Conn, in []byte) bool {
	t, ok := as[T](in)
	return ok && c.handler.TakesLong(t)
}

// Background runs f beside the requests, as soon as one of backgroundMax places is free.
func (c *Conn) Background(f func()) {
	c.background.Go(func() {
		c.places <- struct{}{}
		defer func() {
			if v := recover(); v != nil {
				c.logPanic(v)
			}
			<-c.places
		}()
		f()
	})
}

// connected notes what the answer to INIT agreed on.
func (c *Conn) connected(answer []byte) {
	init, ok := as[struct {
		fuse.OutHeader
		fuse.InitOut
	}](answer)
	if !ok || init.Status != 0 {
		return
	}
	c.offered = init.Flags64()
	c.handler.Connected(c)
}

// dispatch decodes a request's fixed part and hands it on.
func dispatch[T any](c *Conn, call Call, in []byte, f func(Call, *T)) {
	t, ok := as[T](in)
	if !ok {
		call.ReplyStatus(fuse.EIO)
		return
	}
	if c.opts.Debug {
		c.debugRequest(t)
	}
	f(call, t)
}

// as looks at the beginning of b, which is aligned, as a T.
func as[T any](b []byte) (*T, bool) {
	var t T
	if uintptr(len(b)) < unsafe.Sizeof(t) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b))), true
}

// interrupt cancels the call that INTERRUPT names. If it is not known, either its answer is on the way or it was not read yet; EAGAIN makes
// the kernel ask again for as long as the request has no answer.
func (c *Conn) interrupt(call Call, in *fuse.InterruptIn) {
	if deliver := c.cancel(in.Unique); deliver != nil {
		deliver()
	} else {
		call.ReplyStatus(fuse.EAGAIN)
	}
}

// cancel cancels a call and returns what tells so; nil if it is not known.
func (c *Conn) cancel(unique uint64) (deliver func()) {
	c.mu.Lock()
	defer c.mu.Unlock() // also if it panics
	if x := c.waiting[unique]; x != nil {
		return x.Cancel()
	}
	return nil
}

// Waiting calls each for every call that may be waiting. What each looks at is what was known when the call was made to wait (Call.MayWait); it must not call back.
func (c *Conn) Waiting(each func(Canceler)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.waiting {
		each(x)
	}
}

// CancelAll ends the wait of every call, when there is nobody any more to answer to.
func (c *Conn) CancelAll() {
	var deliver []func()
	c.mu.Lock()
	for _, x := range c.waiting {
		deliver = append(deliver, x.Cancel())
	}
	c.mu.Unlock()
	for _, f := range deliver {
		f()
	}
}

// NotifyPoll wakes the polls of the open file that registered kh (FUSE_NOTIFY_POLL).
func (c *Conn) NotifyPoll(kh uint64) {
	const notifyPoll = 1
	n := struct {
		fuse.OutHeader
		Kh uint64
	}{fuse.OutHeader{Length: 24, Status: notifyPoll}, kh}
	if c.opts.Debug {
		c.opts.Logger.Printf("tx 0:     NOTIFY_POLL {Kh %d}", kh)
	}
	_ = c.write(bytesOf(&n)) // an open file that is gone needs no wake-up
}

// NotifyInvalEntry makes the kernel forget the name in the directory with node id parent (FUSE_NOTIFY_INVAL_ENTRY), and returns at once: the kernel waits for the lock of
// the directory, whose holder may be waiting for us. One goroutine tells all names, one after the other, since each that waits there takes a thread; and it needs no place of
// backgroundMax, or it could hold up what has to have one.
func (c *Conn) NotifyInvalEntry(parent uint64, name string) {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	c.forgetting.names = append(c.forgetting.names, entry{parent, name})
	if len(c.forgetting.names) == 1 {
		c.background.Go(c.invalEntries)
	}
}

// invalEntries tells the kernel of the names, until there are no more. A name stays in the list until it is told.
func (c *Conn) invalEntries() {
	for {
		c.forgetting.Lock()
		e := c.forgetting.names[0]
		c.forgetting.Unlock()
		c.invalEntry(e.parent, e.name)
		c.forgetting.Lock()
		c.forgetting.names = c.forgetting.names[1:]
		done := len(c.forgetting.names) == 0
		if done {
			c.forgetting.names = nil
		}
		c.forgetting.Unlock()
		if done {
			return
		}
	}
}

// invalEntry sends it.
func (c *Conn) invalEntry(parent uint64, name string) {
	const notifyInvalEntry = 3
	n := struct {
		fuse.OutHeader
		Parent  uint64
		NameLen uint32
		Flags   uint32
	}{fuse.OutHeader{Status: notifyInvalEntry}, parent, uint32(len(name)), 0}
	n.Length = uint32(unsafe.Sizeof(n)) + uint32(len(name)) + 1
	if c.opts.Debug {
		c.opts.Logger.Printf("tx 0:     NOTIFY_INVAL_ENTRY {parent %d, %q}", parent, name)
	}
	_ = c.write(bytesOf(&n), append([]byte(name), 0)) // what the kernel does not know it need not forget
}

// write sends one answer or notification. errGone means that nobody waits for it any more.
func (c *Conn) write(parts ...[]byte) error {
	_, err := unix.Writev(c.fd, parts)
	for errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		_, err = unix.Writev(c.fd, parts)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTCONN):
		return errGone
	case err != nil:
		c.opts.Logger.Printf("write /dev/fuse: %v", err)
	}
	return err
}

// answer sends the answer to a request and says whether its caller got it. What cannot be sent is answered with EIO: no request may stay without an
// answer, or its caller could not be killed.
func (c *Conn) answer(unique uint64, parts ...[]byte) bool {
	err := c.write(parts...)
	if err != nil && err != errGone {
		h := fuse.OutHeader{Length: outHeaderSize, Status: -int32(fuse.EIO), Unique: unique}
		_ = c.write(bytesOf(&h))
	}
	return err == nil
}

var errGone = errors.New("the request is gone")

func (c *Conn) logPanic(v any) {
	c.opts.Logger.Printf("panic: %v\n%s", v, debug.Stack())
}

// bytesOf is the memory of t.
func bytesOf[T any](t *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t))
}

// debugRequest logs a request in the style of go-fuse, which logs the others.
func (c *Conn) debugRequest(in any) {
	var h *fuse.InHeader
	var what string
	switch in := in.(type) {
	case *fuse.OpenIn:
		h, what = &in.InHeader, fmt.Sprintf("OPEN n%d {flags %#x}", in.NodeId, in.Flags)
	case *fuse.ReadIn:
		h, what = &in.InHeader, fmt.Sprintf("READ n%d {Fh %d +%d at %d, flags %#x}", in.NodeId, in.Fh, in.Size, in.Offset, in.Flags)
	case *fuse.WriteIn:
		h, what = &in.InHeader, fmt.Sprintf("WRITE n%d {Fh %d +%d at %d, flags %#x}", in.NodeId, in.Fh, in.Size, in.Offset, in.Flags)
	case *PollIn:
		h, what = &in.InHeader, fmt.Sprintf("POLL n%d {Fh %d Kh %d flags %#x events %#x}", in.NodeId, in.Fh, in.Kh, in.Flags, in.Events)
	case *fuse.LkIn:
		h, what = &in.InHeader, fmt.Sprintf("SETLKW n%d {Fh %d owner %#x type %d %d-%d flags %#x}", in.NodeId, in.Fh, in.Owner, in.Lk.Typ, in.Lk.Start, in.Lk.End, in.LkFlags)
	case *fuse.InterruptIn:
		h, what = &in.InHeader, fmt.Sprintf("INTERRUPT {unique %d}", in.Unique)
	}
	c.opts.Logger.Printf("rx %d: %s p%d", h.Unique, what, h.Pid)
}

// debugReply logs an answer.
func (c *Conn) debugReply(h *fuse.OutHeader) {
	c.opts.Logger.Printf("tx %d:     %v, %d bytes", h.Unique, syscall.Errno(-h.Status), h.Length)
}
