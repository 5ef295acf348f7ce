package fs

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// maxPages is how many pages of its caller's memory a WRITE can come from. A writev(2) of more, be they ever so empty, comes in several, and the first of them does not
// say so: a message would be cut. So whoever might have sent such a one is looked at, in /proc: it waits in its system call for our answer.
const maxPages = 256

// writers looks at the threads that write. The thread that handles the requests owns it.
type writers struct {
	seen [16]struct { // by thread, as many as there is room for
		tid uint32 // 0: none
		fd  int    // its /proc/TID/syscall
	}
	text [256]byte
	iov  []unix.Iovec
}

// goesOn says whether the write(2) of the thread tid goes on after the n bytes that have come. It does not know if the thread cannot be looked at (it is in
// another pid namespace, or of a user whom the daemon may not trace), nor if io_uring writes; then it says no, and what comes after is refused (continuesWrite).
func (w *writers) goesOn(tid uint32, n int) bool {
	if n < maxPages || tid == 0 { // each page gives a byte at least
		return false
	}
	number, args := w.syscall(tid)
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

// patienceForSleep is how often a thread is looked at that has sent its request and does not sleep yet, which it is about to.
const patienceForSleep = 100

// syscall is the number and the arguments of the system call in which the thread is, -1 if that cannot be seen.
func (w *writers) syscall(tid uint32) (number int, args [6]uint64) {
	s := &w.seen[tid%uint32(len(w.seen))]
	for range patienceForSleep {
		n, err := 0, error(unix.ESRCH)
		if s.tid == tid {
			n, err = unix.Pread(s.fd, w.text[:], 0)
		}
		if err == unix.ESRCH { // nobody was looked at here, or a thread that is gone and whose number this one has got
			w.forget(s.tid)
			var fd int
			if fd, err = unix.Open(fmt.Sprintf("/proc/%d/syscall", tid), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				s.tid, s.fd = tid, fd
				n, err = unix.Pread(fd, w.text[:], 0)
			}
		}
		if err != nil || n == 0 {
			return -1, args
		}
		f := bytes.Fields(w.text[:n])
		if number, err = strconv.Atoi(string(f[0])); err == nil {
			for i := 1; i < len(f) && i <= len(args); i++ {
				args[i-1], _ = strconv.ParseUint(string(f[i]), 0, 64)
			}
			return number, args
		}
		runtime.Gosched() // "running"
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	return -1, args
}

// forget closes what is open of a thread.
func (w *writers) forget(tid uint32) {
	if s := &w.seen[tid%uint32(len(w.seen))]; tid != 0 && s.tid == tid {
		_ = unix.Close(s.fd)
		s.tid = 0
	}
}

// close closes all.
func (w *writers) close() {
	for _, s := range w.seen {
		w.forget(s.tid)
	}
}
