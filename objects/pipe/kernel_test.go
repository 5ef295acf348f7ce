package pipe

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// TestKernel runs random histories of operations that do not wait on a pipe and on a FIFO of the running kernel: results, errnos, bytes,
// poll bits, FIONREAD and the capacity must be the same after each step.
func TestKernel(t *testing.T) {
	const seed, histories, steps = 20, 2500, 30
	fifo := newKernelPipe(t)
	s := newSteps(t)
	for n := range uint64(histories) {
		random := rand.New(rand.NewPCG(seed, n)).IntN //nolint:forbidigo // from a fixed seed, which a failure prints
		h := &twins{t: t, pick: random, fifo: fifo, s: s, name: fmt.Sprintf("seed %d, history %d", seed, n)}
		for range steps {
			h.step()
		}
		h.closeAll()
	}
}

// newKernelPipe makes a FIFO and returns its path.
func newKernelPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// twins are a FIFO of the kernel and a pipe to which the same is done.
type twins struct {
	t       *testing.T
	pick    func(int) int
	fifo    string
	s       *steps
	name    string
	open    []twin
	resized bool
	written int
	history []string
}

// twin is an open file of both.
type twin struct {
	fd     int
	file   *File
	direct bool
}

func (h *twins) step() {
	h.t.Helper()
	if len(h.open) == 0 {
		h.openOne()
		h.compare()
		return
	}
	i := h.pick(len(h.open))
	f := &h.open[i]
	switch h.pick(12) {
	case 0:
		h.openOne()
	case 1:
		h.closeOne(i)
	case 2:
		h.resize(f)
	case 3:
		f.direct = !f.direct
		h.note("O_DIRECT of %d is %v", i, f.direct)
		flags := nonBlock
		if f.direct {
			flags |= unix.O_DIRECT
		}
		if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags); err != nil {
			h.t.Fatal(err)
		}
	case 4, 5, 6, 7:
		n := h.size()
		h.note("read of %d: %d bytes", i, n)
		h.s.readOp(f.file, "x", ReadOp{Size: n, NonBlock: true})
		buf := make([]byte, n)
		n, err := unix.Read(f.fd, buf)
		h.same(result(err, show(buf[:max(n, 0)])))
	default:
		data := stream(h.written, h.size())
		h.written += len(data)
		h.note("write to %d: %d bytes", i, len(data))
		h.s.writeOp(f.file, "x", data, WriteOp{NonBlock: true, Packet: f.direct})
		n, err := unix.Write(f.fd, []byte(data))
		want := result(err, fmt.Sprint(n))
		if err == syscall.EPIPE {
			want += " SIGPIPE"
		}
		h.same(want)
	}
	h.compare()
}

func (h *twins) note(format string, args ...any) {
	h.history = append(h.history, fmt.Sprintf(format, args...))
}

func (h *twins) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s: %s\nafter %q", h.name, fmt.Sprintf(format, args...), h.history)
}

// same compares what was completed last with what the kernel said.
func (h *twins) same(kernel string) {
	h.t.Helper()
	got := h.s.log
	h.s.log = nil
	if !slices.Equal(got, []string{"x=" + kernel}) {
		h.fail("%q, the kernel %q", got, kernel)
	}
}

func (h *twins) size() int {
	near := []int{1, 64, page.Size / 2, page.Size, 2 * page.Size, 16 * page.Size}[h.pick(6)]
	return max(1, near+h.pick(5)-2)
}

func (h *twins) openOne() {
	if len(h.open) == 4 {
		h.closeOne(h.pick(4))
		return
	}
	flags := []int{rdonly, wronly, rdwr}[h.pick(3)] | nonBlock
	h.note("open with flags %#x", flags)
	o := h.s.opens("x", uint32(flags))
	fd, err := unix.Open(h.fifo, flags|unix.O_CLOEXEC, 0)
	h.same(result(err, "ok"))
	if err == nil {
		h.open = append(h.open, twin{fd: fd, file: o.File})
	}
}

func (h *twins) closeOne(i int) {
	h.note("close of %d", i)
	f := h.open[i]
	h.open = slices.Delete(h.open, i, i+1)
	if err := unix.Close(f.fd); err != nil {
		h.t.Fatal(err)
	}
	h.s.close(f.file)
	if len(h.open) == 0 && h.resized {
		// Here the capacity outlives the last close; a FIFO's does not.
		h.s.resize(root, DefaultSlots*page.Size, nil)
		h.resized = false
	}
	h.s.begun = h.s.begun[:0]
}

func (h *twins) closeAll() {
	h.t.Helper()
	for len(h.open) > 0 {
		h.closeOne(0)
		h.compare()
	}
}

func (h *twins) resize(f *twin) {
	bytes := []int{0, 4096, 4097, 8192, 3 * 4096, 5 * 4096, 16 * 4096, 17 * 4096, 1<<31 + 1}[h.pick(9)]
	h.note("capacity of %d bytes", bytes)
	var err error
	h.s.do(func(d *ipc.Completions) { err = h.s.p.SetCapacity(root, uint64(bytes), d) })
	_, kernel := unix.FcntlInt(uintptr(f.fd), unix.F_SETPIPE_SZ, bytes)
	if err != kernel {
		h.fail("resize: %v, the kernel %v", err, kernel)
	}
	h.resized = true
}

// compare looks at both from each open file.
func (h *twins) compare() {
	h.t.Helper()
	const all = ipc.POLLIN | ipc.POLLOUT | ipc.POLLRDNORM | ipc.POLLWRNORM
	polls := make([]unix.PollFd, len(h.open))
	for i, f := range h.open {
		polls[i] = unix.PollFd{Fd: int32(f.fd), Events: all}
	}
	_, err := unix.Poll(polls, 0)
	for err == unix.EINTR { // by a signal of Go's runtime
		_, err = unix.Poll(polls, 0)
	}
	if err != nil {
		h.fail("poll: %v", err)
	}
	for i, f := range h.open {
		if got, want := f.file.Poll(all, nil), uint32(polls[i].Revents); got != want {
			h.fail("poll of %d = %#x, the kernel %#x", i, got, want)
		}
	}
	if len(h.open) == 0 {
		return
	}
	bytes, err := unix.IoctlGetInt(h.open[0].fd, unix.TIOCINQ) // FIONREAD
	if got := h.s.p.Stat().Bytes; err != nil || got != bytes {
		h.fail("holds %d bytes, the kernel %d, %v", got, bytes, err)
	}
	capacity, err := unix.FcntlInt(uintptr(h.open[0].fd), unix.F_GETPIPE_SZ, 0)
	if got := h.s.p.Capacity(); err != nil || got != capacity {
		h.fail("capacity %d bytes, the kernel %d, %v", got, capacity, err)
	}
}
