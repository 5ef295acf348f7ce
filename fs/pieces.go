package fs

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// maxPages is how many pages of its caller's memory a WRITE can come from. A writev(2) of more, be they ever so empty, comes in several, and the first of them does not
// say so: a message would be cut. So whoever might have sent such a one is looked at, in /proc: it waits in its system call for our answer.
const maxPages = 256

// writers looks at the threads that write. The thread that handles the requests owns it.
type writers struct {
	calls taskFiles // /proc/TID/syscall
	text  [256]byte
	iov   []unix.Iovec
}

// newWriters makes one.
func newWriters() *writers { return &writers{calls: taskFiles{name: "syscall"}} }

// errAwake is that a thread cannot be looked at yet, since it has sent its request and does not sleep, which it is about to, if it gets a processor.
var errAwake = errors.New("the thread does not sleep yet")

// goesOn says whether the write(2) of the thread tid goes on after the n bytes that have come. It does not know if the thread cannot be looked at (it is in
// another pid namespace, or of a user whom the daemon may not trace), nor if io_uring writes; then it says no, and what comes after is refused (continuesWrite).
// The error is errAwake.
func (w *writers) goesOn(tid uint32, n int) (bool, error) {
	if n < maxPages || tid == 0 { // each page gives a byte at least
		return false, nil
	}
	number, args, err := w.syscall(tid)
	return err == nil && w.vectorGoesOn(tid, n, number, args), err
}

// goesOnLater waits until it is known whether the write(2) goes on, or gaveUp says that nobody wants to know any more. It is for a table of one thread's own.
func (w *writers) goesOnLater(tid uint32, n int, gaveUp func() bool) bool {
	defer w.calls.close()
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		goesOn, err := w.goesOn(tid, n)
		if err == nil || gaveUp() {
			return goesOn
		}
		time.Sleep(pause)
	}
}

// vectorGoesOn says whether this system call writes more than n bytes, from more pieces than one WRITE can have.
func (w *writers) vectorGoesOn(tid uint32, n, number int, args [6]uint64) bool {
	if !slices.Contains([]int{unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2}, number) {
		return false
	}
	base, count := args[1], int(args[2])
	if 2*count+n/page.Size < maxPages || count > maxIovecs {
		return false
	}
	w.iov = slices.Grow(w.iov[:0], count)[:count]
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&w.iov[0]))}}
	local[0].SetLen(count * iovecSize)
	remote := []unix.RemoteIovec{{Base: uintptr(base), Len: count * iovecSize}}
	if got, err := unix.ProcessVMReadv(int(tid), local, remote, 0); err != nil || got != count*iovecSize {
		return false
	}
	sum := 0
	for _, v := range w.iov {
		sum += int(v.Len)
	}
	return sum > n
}

const (
	maxIovecs = 1024 // UIO_MAXIOV
	iovecSize = int(unsafe.Sizeof(unix.Iovec{}))
)

// patienceForSleep is how often a thread is looked at that does not sleep yet, before others are served.
const patienceForSleep = 20

// syscall is the number and the arguments of the system call in which the thread is, -1 if that cannot be seen. The error is errAwake.
func (w *writers) syscall(tid uint32) (number int, args [6]uint64, err error) {
	for range patienceForSleep {
		n, err := w.calls.read(tid, w.text[:])
		if err != nil || n == 0 {
			return -1, args, nil
		}
		f := bytes.Fields(w.text[:n])
		if number, err = strconv.Atoi(string(f[0])); err == nil {
			for i := 1; i < len(f) && i <= len(args); i++ {
				args[i-1], _ = strconv.ParseUint(string(f[i]), 0, 64)
			}
			return number, args, nil
		}
		runtime.Gosched() // "running"
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	return -1, args, errAwake
}
