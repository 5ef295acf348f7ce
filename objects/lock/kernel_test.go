package lock

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
)

// TestKernel runs random histories of operations that do not wait on a file here and on one of the running kernel: results, errnos and the answers of
// F_GETLK must be the same. Processes and open files own the locks, record locks and flock(2) mixed, and close their descriptors.
func TestKernel(t *testing.T) {
	const seed, histories, steps = 30, 500, 40
	k := newKernelSteps(t, "ABC")
	for n := range uint64(histories) {
		random := rand.New(rand.NewPCG(seed, n)).IntN //nolint:forbidigo // from a fixed seed, which a failure prints
		h := &twins{t: t, pick: random, k: k, s: newSteps(t, 1000), name: fmt.Sprintf("seed %d, history %d", seed, n)}
		for range steps {
			h.step()
		}
		for _, name := range "ABC" {
			h.close(string(name))
		}
		h.s.want("", "")
	}
}

// twins are a file of the kernel and one of ours to which the same is done.
type twins struct {
	t       *testing.T
	pick    func(int) int
	k       *kernelSteps
	s       *steps
	name    string
	history []string
}

// openFile plus its handle is the owner of what F_OFD_SETLK and flock(2) set through an open file: another than the process, as with FUSE.
const openFile = 10

func (h *twins) step() {
	h.t.Helper()
	name := string("ABC"[h.pick(3)])
	switch h.pick(12) {
	case 0:
		h.note("%s flush", name)
		h.s.do(name + " flush")
		h.same(h.on(name, func(o *kernelOwner) string { return o.flush(h.k.paths[0]) }), "ok")
	case 1:
		h.close(name)
	case 2, 3:
		l := h.lock(name, h.pick(3) == 0)
		l.Flock, l.Type, l.Start, l.End = true, uint32(h.pick(3)), 0, OffsetMax
		l.Owner = openFile + l.Handle
		h.setlk(name, l)
	case 4, 5, 6, 7, 8, 9:
		h.setlk(name, h.lock(name, h.pick(2) == 0))
	}
	h.getlk(name, h.lock(name, h.pick(2) == 0))
}

// lock chooses one of 16 bytes up to the end, of which the last stands for the end and what is before it.
func (h *twins) lock(process string, ofd bool) Lock {
	l := parse(h.t, process+" r").lock
	l.Type = []uint32{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK}[h.pick(3)]
	if ofd {
		l.Owner = openFile + l.Handle
	}
	from, to := h.pick(16), h.pick(16)
	from, to = min(from, to), max(from, to)
	l.Start, l.End = position(from), position(to)
	if to == 15 {
		l.End = OffsetMax
	}
	return l
}

func position(i int) uint64 {
	if i < 12 {
		return uint64(i)
	}
	return OffsetMax - 15 + uint64(i)
}

func (h *twins) setlk(process string, l Lock) {
	h.t.Helper()
	h.note("%s sets %+v", process, l)
	var op *Op
	h.s.with(func(d *ipc.Completions) { op = h.s.begin(h.s.files[0], process, l, false, d) })
	h.same(h.on(process, func(o *kernelOwner) string { return setlk(o.fds[0], l, false) }), result(op.Err))
}

func (h *twins) getlk(process string, l Lock) {
	h.t.Helper()
	cmd := unix.F_GETLK
	if l.Owner > openFile {
		cmd = unix.F_OFD_GETLK
	} else if l.Type == unix.F_UNLCK {
		return // EINVAL, before the file system is asked
	}
	h.note("%s asks for %+v", process, l)
	got, err := h.s.files[0].Test(l)
	var want unix.Flock_t
	h.same(h.on(process, func(o *kernelOwner) string {
		want = flockT(l)
		return result(unix.FcntlFlock(uintptr(o.fds[0]), cmd, &want))
	}), result(err))
	if a := flockT(got); a.Type != want.Type || a.Start != want.Start || a.Len != want.Len {
		h.fail("%+v, the kernel %+v", got, want)
	}
}

func (h *twins) close(process string) {
	h.t.Helper()
	h.note("%s close", process)
	h.s.do(process + " close")
	h.same(h.on(process, func(o *kernelOwner) string { return o.reopen(h.k.paths[0], 0) }), "ok")
}

// on runs f on the thread of the process.
func (h *twins) on(process string, f func(*kernelOwner) string) string {
	o := h.k.owners[process]
	o.call(func() string { return f(o) })
	o.busy = false
	return <-o.done
}

func (h *twins) note(format string, args ...any) {
	h.history = append(h.history, fmt.Sprintf(format, args...))
}

func (h *twins) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s: %s\nafter %q", h.name, fmt.Sprintf(format, args...), h.history)
}

func (h *twins) same(kernel, ours string) {
	h.t.Helper()
	if kernel != ours {
		h.fail("%s, the kernel %s", ours, kernel)
	}
}

// setlk is SETLK or SETLKW of a file of the kernel.
func setlk(fd int, l Lock, wait bool) string {
	if l.Flock {
		how := []int{unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN}[l.Type]
		if !wait {
			how |= unix.LOCK_NB
		}
		return result(unix.Flock(fd, how))
	}
	cmd := unix.F_SETLK
	switch {
	case l.Owner > openFile:
		cmd = unix.F_OFD_SETLK
	case wait:
		cmd = unix.F_SETLKW
	}
	arg := flockT(l)
	return result(unix.FcntlFlock(uintptr(fd), cmd, &arg))
}

// flockT is struct flock of the lock, where the length 0 means up to the end.
func flockT(l Lock) unix.Flock_t {
	arg := unix.Flock_t{Type: int16(l.Type), Start: int64(l.Start)}
	if l.End != OffsetMax {
		arg.Len = int64(l.End - l.Start + 1)
	}
	return arg
}
