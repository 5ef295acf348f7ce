package conn

import (
	"bytes"
	"io"
	"log"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// kernel plays the kernel's part on the other end of a socket that keeps the boundaries of requests, as /dev/fuse does.
type kernel struct {
	t    *testing.T
	fd   int
	log  *bytes.Buffer
	goOn chan struct{} // lets a FALLOCATE end
}

// raw is the rest of a file system, of which a LOOKUP panics and a FALLOCATE takes as long as the test wants.
type raw struct {
	fuse.RawFileSystem
	goOn chan struct{}
}

func (r raw) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	<-r.goOn
	return fuse.Status(unix.ENOSPC)
}

func (raw) Lookup(<-chan struct{}, *fuse.InHeader, string, *fuse.EntryOut) fuse.Status {
	panic("lookup")
}

// newKernel serves h and returns the other end.
func newKernel(t *testing.T, h Handler, debug bool) *kernel {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t, fd: fds[1], log: new(bytes.Buffer), goOn: make(chan struct{})}
	c := New(fds[0], h, raw{fuse.NewDefaultRawFileSystem(), k.goOn}, Options{Debug: debug, Logger: log.New(k.log, "", 0)})
	served := make(chan error, 1)
	go func() { served <- c.Serve() }()
	t.Cleanup(func() {
		_ = unix.Close(k.fd)
		close(k.goOn) // a test that failed may have left a FALLOCATE behind
		if err := <-served; err == nil {
			t.Error("Serve took the end of the socket for an unmount")
		}
		_ = c.Close()
	})
	in := fuse.InitIn{Major: 7, Minor: 40}
	k.send(26, 1, unsafe.Slice((*byte)(unsafe.Pointer(&in.Major)), 16))
	if st, _ := k.answer(1); st != 0 {
		t.Fatalf("INIT: %v", st)
	}
	return k
}

// send sends a request with this body.
func (k *kernel) send(opcode uint32, unique uint64, body []byte) {
	k.t.Helper()
	h := fuse.InHeader{Opcode: opcode, Unique: unique, NodeId: 1}
	h.Length = uint32(int(unsafe.Sizeof(h)) + len(body))
	if _, err := unix.Write(k.fd, append(bytes.Clone(bytesOf(&h)), body...)); err != nil {
		k.t.Fatal(err)
	}
}

// answer receives the next answer, which must be to unique.
func (k *kernel) answer(unique uint64) (syscall.Errno, []byte) {
	k.t.Helper()
	h, body := k.next()
	if h.Unique != unique {
		k.t.Fatalf("answer %+v, want unique %d", h, unique)
	}
	return syscall.Errno(-h.Status), body
}

// read reads what the connection wrote, whatever signals the runtime sends meanwhile.
func (k *kernel) read(b []byte) (int, error) {
	for {
		if n, err := unix.Read(k.fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

// next receives the next answer.
func (k *kernel) next() (*fuse.OutHeader, []byte) {
	k.t.Helper()
	if err := unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
		k.t.Fatal(err)
	}
	b := wordAligned(MaxWrite + headroom)
	n, err := k.read(b)
	if err != nil {
		k.t.Fatalf("no answer: %v", err)
	}
	h, ok := as[fuse.OutHeader](b[:n])
	if !ok || int(h.Length) != n {
		k.t.Fatalf("answer of %d bytes, header %+v", n, h)
	}
	return h, b[outHeaderSize:n]
}

func (k *kernel) interrupt(unique, target uint64) {
	k.t.Helper()
	k.send(opINTERRUPT, unique, bytes.Clone(bytesOf(&target)))
}

// handler is a Handler whose READs wait for ever, whose WRITEs panic, and whose POLLs are answered twice over the connection.
type handler struct{}

// waitingRead is a READ that waits.
type waitingRead struct{ call Call }

// Cancel answers EINTR, after Cancel.
func (w *waitingRead) Cancel() func() {
	return func() {
		w.call.Answering()
		w.call.ReplyStatus(fuse.EINTR)
	}
}

func (handler) Open(c Call, _ *fuse.OpenIn) { c.ReplyOpen(&fuse.OpenOut{Fh: 7}) }
func (handler) Read(c Call, _ *fuse.ReadIn) {
	w := &waitingRead{c}
	w.call.MayWait(w)
}
func (handler) Write(_ Call, in *fuse.WriteIn, data []byte) {
	if int(in.Size) != len(data) {
		panic("the data has another length")
	}
	panic("write")
}
func (handler) Connected(*Conn)             {}
func (handler) TakesLong(any) bool          { return true }
func (handler) SetLkw(c Call, _ *fuse.LkIn) { c.ReplyStatus(fuse.ENOSYS) }
func (handler) Poll(c Call, in *PollIn) {
	c.NotifyPoll(in.Kh)
	c.ReplyPoll(in.Events)
}

var (
	readBody  = make([]byte, unsafe.Sizeof(fuse.ReadIn{})-unsafe.Sizeof(fuse.InHeader{}))
	writeBody = make([]byte, unsafe.Sizeof(fuse.WriteIn{})-unsafe.Sizeof(fuse.InHeader{}))
)

// The kernel asks again after EAGAIN, so an INTERRUPT that overtakes its request is not lost.
func TestInterrupt(t *testing.T) {
	k := newKernel(t, handler{}, false)
	k.interrupt(3, 2)
	if st, _ := k.answer(3); st != unix.EAGAIN {
		t.Fatalf("INTERRUPT of what has not come yet: %v, want EAGAIN", st)
	}
	k.send(opREAD, 2, readBody)
	k.interrupt(3, 2)
	if st, _ := k.answer(2); st != unix.EINTR {
		t.Fatalf("READ: %v, want EINTR", st)
	}
	k.interrupt(5, 2)
	if st, _ := k.answer(5); st != unix.EAGAIN {
		t.Fatalf("INTERRUPT of what is answered: %v, want EAGAIN", st)
	}
}

// A panic costs one request an EIO.
func TestPanicIsOneEIO(t *testing.T) {
	k := newKernel(t, handler{}, false)
	k.send(opWRITE, 2, writeBody)
	if st, _ := k.answer(2); st != unix.EIO {
		t.Fatalf("WRITE that panics: %v, want EIO", st)
	}
	k.send(1, 4, []byte("name\x00")) // LOOKUP, through go-fuse
	if st, _ := k.answer(4); st != unix.EIO {
		t.Fatalf("LOOKUP that panics: %v, want EIO", st)
	}
	if got := k.log.String(); !bytes.Contains([]byte(got), []byte("panic: write")) || !bytes.Contains([]byte(got), []byte("panic: lookup")) {
		t.Fatalf("the log says %q", got)
	}
	k.send(opOPEN, 6, make([]byte, 8))
	if st, body := k.answer(6); st != 0 || len(body) != int(unsafe.Sizeof(fuse.OpenOut{})) {
		t.Fatalf("OPEN after it: %v, %d bytes", st, len(body))
	}
}

// What is too short to be what it says is answered with EIO, and nothing is read beyond it.
func TestShortRequests(t *testing.T) {
	k := newKernel(t, handler{}, false)
	for i, opcode := range []uint32{opOPEN, opREAD, opWRITE, opPOLL, opSETLKW, opINTERRUPT} {
		unique := uint64(2 * (i + 1))
		k.send(opcode, unique, nil)
		if st, _ := k.answer(unique); st != unix.EIO {
			t.Errorf("opcode %d without a body: %v, want EIO", opcode, st)
		}
	}
	body := bytes.Clone(writeBody)
	body[16] = 1 // Size: a byte that does not follow
	k.send(opWRITE, 20, body)
	if st, _ := k.answer(20); st != unix.EIO {
		t.Errorf("WRITE without its data: %v, want EIO", st)
	}
	k.send(99, 22, nil)
	if st, _ := k.answer(22); st != unix.ENOSYS {
		t.Errorf("an unknown opcode: %v, want ENOSYS", st)
	}
}

// What is handled here is logged, too.
func TestDebug(t *testing.T) {
	k := newKernel(t, connected{told: make(chan *Conn, 1)}, true)
	requests := []struct {
		opcode uint32
		body   []byte
		word   string
	}{
		{opOPEN, make([]byte, 8), "OPEN"}, {opREAD, readBody, "READ"}, {opWRITE, writeBody, "WRITE"}, {opPOLL, make([]byte, 24), "POLL"},
		{opSETLKW, make([]byte, unsafe.Sizeof(fuse.LkIn{})-unsafe.Sizeof(fuse.InHeader{})), "SETLKW"},
	}
	for i, r := range requests {
		k.send(r.opcode, uint64(2*(i+1)), r.body)
		if r.opcode != opREAD { // which waits
			if st, _ := k.next(); st.Unique == 0 { // a wake-up comes before the answer to POLL
				k.next()
			}
		}
	}
	for i, r := range requests {
		if !strings.Contains(k.log.String(), "rx "+strconv.Itoa(2*(i+1))+": "+r.word) {
			t.Errorf("%s is not logged: %s", r.word, k.log)
		}
	}
}

func TestPollNotification(t *testing.T) {
	k := newKernel(t, handler{}, true)
	in := PollIn{Kh: 77, Events: anyEvent}
	k.send(opPOLL, 2, bytes.Clone(bytesOf(&in)[unsafe.Sizeof(in.InHeader):]))
	b := wordAligned(64)
	n, err := k.read(b)
	h, _ := as[fuse.OutHeader](b[:n])
	if err != nil || n != 24 || h.Unique != 0 || h.Status != 1 || b[16] != 77 {
		t.Fatalf("the notification is % x, %v", b[:n], err)
	}
	if st, body := k.answer(2); st != 0 || body[0] != anyEvent {
		t.Fatalf("POLL: %v, % x", st, body)
	}
}

// anyEvent is any event.
const anyEvent = 1

// What takes long does not keep others waiting, and no more of it runs at once than there are places.
func TestWhatTakesLongRunsBeside(t *testing.T) {
	k := newKernel(t, handler{}, false)
	body := make([]byte, unsafe.Sizeof(fuse.FallocateIn{})-unsafe.Sizeof(fuse.InHeader{}))
	for i := range backgroundMax + 1 {
		k.send(opFALLOCATE, uint64(100+i), body)
	}
	k.interrupt(7, 100) // has no answer, or the kernel would send it again and again
	k.send(opOPEN, 6, make([]byte, 8))
	if st, _ := k.answer(6); st != 0 {
		t.Fatalf("OPEN meanwhile: %v", st)
	}
	answered := make(map[uint64]bool)
	for range backgroundMax + 1 {
		k.goOn <- struct{}{}
		h, _ := k.next()
		if h.Unique < 100 || h.Unique > 100+backgroundMax || answered[h.Unique] || h.Status != -int32(unix.ENOSPC) {
			t.Fatalf("answer %+v after those to %v", h, answered)
		}
		answered[h.Unique] = true
	}
	k.interrupt(7, 100)
	if st, _ := k.answer(7); st != unix.EAGAIN {
		t.Fatalf("INTERRUPT of what is answered: %v, want EAGAIN", st)
	}
}

// A panic of a Cancel costs its INTERRUPT an EIO, and leaves no lock held.
func TestPanicOfCancel(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	call := Call{conn: <-c.told, Header: fuse.InHeader{Unique: 100}}
	call.MayWait(panics{})
	k.interrupt(3, 100)
	if st, _ := k.answer(3); st != unix.EIO {
		t.Fatalf("%v, want EIO", st)
	}
	call.Answering()
	k.interrupt(5, 100)
	if st, _ := k.answer(5); st != unix.EAGAIN {
		t.Fatalf("%v, want EAGAIN", st)
	}
}

// panics is a call whose Cancel panics.
type panics struct{}

func (panics) Cancel() func() { panic("cancel") }

// A panic beside costs one request an EIO too.
func TestPanicBesideIsOneEIO(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	call := Call{conn: <-c.told, Header: fuse.InHeader{Unique: 100}}
	call.Beside(func(Call) { panic("beside") })
	if st, _ := k.answer(100); st != unix.EIO {
		t.Fatalf("%v, want EIO", st)
	}
}

// TryPassthrough says why not when the kernel offers nothing.
func TestNoPassthrough(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	newKernel(t, c, false)
	if err := (<-c.told).TryPassthrough(0); err == nil || !strings.Contains(err.Error(), "Linux 6.9") {
		t.Errorf("TryPassthrough: %v", err)
	}
}

// connected is a handler that passes on the connection it is told of.
type connected struct {
	handler
	told chan *Conn
}

func (c connected) Connected(conn *Conn) { c.told <- conn }

// An unmounted device says ENODEV, never the end of the file.
func TestEndOfFileIsNoUnmount(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	c := New(p[0], handler{}, raw{fuse.NewDefaultRawFileSystem(), nil}, Options{Logger: log.New(io.Discard, "", 0)})
	served := make(chan error, 1)
	go func() { served <- c.Serve() }()
	_ = unix.Close(p[1])
	select {
	case err := <-served:
		if err == nil {
			t.Error("the end of the file was taken for an unmount")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Serve goes on after the end of the file")
	}
	_ = c.Close()
}
