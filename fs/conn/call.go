package conn

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Call is a request that waits for its answer: the header it came with. It is a small value, copied into the record of whatever
// operation it became.
type Call struct {
	conn   *Conn
	Header fuse.InHeader
}

const outHeaderSize = uint32(unsafe.Sizeof(fuse.OutHeader{}))

// MayWait makes the call known to INTERRUPT: from now until it is answered, an interrupt of its caller calls x.Cancel. It is to be called
// before the operation can wait. Since one thread reads all requests, no Cancel comes before the operation was begun.
func (c *Call) MayWait(x Canceler) {
	c.conn.mu.Lock()
	c.conn.waiting[c.Header.Unique] = x
	c.conn.mu.Unlock()
}

// Answering ends what MayWait began, and is to be called before the reply: once it has returned no Cancel of the call is running or will.
func (c *Call) Answering() {
	c.conn.mu.Lock()
	delete(c.conn.waiting, c.Header.Unique)
	c.conn.mu.Unlock()
}

// Beside lets f answer the call beside the requests (Conn.Background). It cannot be interrupted: it ends by itself. An INTERRUPT finds it in the table all the
// same; if that were told to come again, the kernel would send it at once, before anything else, and again, for as long as f takes. A panic of f
// costs the call an EIO. f's call is to be answered as any that MayWait, after Answering.
func (c *Call) Beside(f func(c Call)) {
	c.MayWait(uninterruptible{})
	c.background(f)
}

// background runs f in the background; a panic costs the call an EIO.
func (c *Call) background(f func(c Call)) {
	call := *c
	c.conn.Background(func() {
		defer call.answerPanic()
		f(call)
	})
}

// answerPanic is to be deferred: a panic costs the call an EIO.
func (c *Call) answerPanic() {
	if v := recover(); v != nil {
		c.conn.logPanic(v)
		c.Answering()
		c.ReplyStatus(fuse.EIO) // if it had its answer, the kernel drops this one
	}
}

// uninterruptible is an operation that an INTERRUPT does not end.
type uninterruptible struct{}

// Cancel does nothing.
func (uninterruptible) Cancel() func() { return func() {} }

// ReplyStatus answers with an error, or with success and nothing more.
func (c *Call) ReplyStatus(st fuse.Status) { c.reply(st, nil) }

// ReplyOpen answers OPEN. It says whether the caller has got the file: if not, there will be no RELEASE.
func (c *Call) ReplyOpen(out *fuse.OpenOut) bool { return c.reply(fuse.OK, bytesOf(out)) }

// ReplyWrite answers WRITE with the number of bytes taken.
func (c *Call) ReplyWrite(n int) {
	out := fuse.WriteOut{Size: uint32(n)}
	c.reply(fuse.OK, bytesOf(&out))
}

// ReplyPoll answers POLL with the bits that hold.
func (c *Call) ReplyPoll(revents uint32) {
	out := pollOut{Revents: revents}
	c.reply(fuse.OK, bytesOf(&out))
}

// ReplyData answers READ with the concatenation of data.
func (c *Call) ReplyData(data ...[]byte) { c.reply(fuse.OK, data...) }

// reply sends the answer and says whether its caller got it.
func (c *Call) reply(st fuse.Status, data ...[]byte) bool {
	h := fuse.OutHeader{Length: outHeaderSize, Status: -int32(st), Unique: c.Header.Unique}
	for _, d := range data {
		h.Length += uint32(len(d))
	}
	if c.conn.opts.Debug {
		c.conn.debugReply(&h)
	}
	parts := append(make([][]byte, 0, 8), bytesOf(&h))
	return c.conn.answer(c.Header.Unique, append(parts, data...)...)
}

// Signal sends sig to the calling thread, as the kernel does from within a system call (tkill(2)). A caller that is not visible from here, or
// that the daemon may not signal, gets none.
func (c *Call) Signal(sig unix.Signal) {
	if tid := int(c.Header.Pid); tid > 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_TKILL, uintptr(tid), uintptr(sig), 0)
	}
}

// NotifyPoll is Conn.NotifyPoll of the call's connection.
func (c *Call) NotifyPoll(kh uint64) { c.conn.NotifyPoll(kh) }
