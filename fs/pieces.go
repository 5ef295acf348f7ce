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

// writers looks at the threads that write. It has one owner; that of FS is of the thread that handles the requests.
type writers struct {
	calls taskFiles // /proc/TID/syscall
	text  [256]byte
}

// newWriters makes one.
func newWriters() *writers { return &writers{calls: taskFiles{name: "syscall"}} }

// errAwake is that a thread cannot be looked at yet, since it has sent its request and does not sleep, which it is about to, if it gets a processor.
var errAwake = errors.New("the thread does not sleep yet")

// asksLater says whether more has to be known than the thread that handles the requests may find out, of whether the write(2) of the thread tid goes on after the n bytes that
// have come (lookers.goesOn); if not, it does not go on. Most threads are not asked about at all, and of the others most sleep in a call that is over with one WRITE.
func (w *writers) asksLater(tid uint32, n int) bool {
	if n < maxPages || tid == 0 { // each page gives a byte at least
		return false
	}
	number, args, err := w.syscall(tid)
	return err != nil || isLongVector(n, number, args)
}

// lookers bound the looks at threads beside the requests. A thread that does not sleep yet soon does, but the memory of one may not come for as long as others like: whoever waits for
// that holds up nobody but those that have to look at memory too.
type lookers struct{ sleep, memory places }

// lookersMax is how many look at a time, of each.
const lookersMax = 64

func newLookers() lookers { return lookers{make(places, lookersMax), make(places, lookersMax)} }

// goesOn says whether the write(2) of the thread tid goes on after the n bytes that have come. It waits until the thread sleeps, and for the thread's memory, which need not be
// there, unless over is closed, when nobody wants to know any more. It does not know if the thread cannot be looked at (it is in another pid namespace, or of
// a user whom the daemon may not trace), nor if io_uring writes; then it says no, and what comes after is refused (continuesWrite).
func (l lookers) goesOn(tid uint32, n int, over <-chan struct{}) (goesOn bool) {
	var args [6]uint64
	long := false
	l.sleep.run(over, func() { args, long = longVector(tid, n, over) })
	if long {
		l.memory.run(over, func() { goesOn = vectorGoesOn(tid, n, args) })
	}
	return goesOn
}

// longVector waits until the thread tid sleeps, or over is closed, and says whether its system call is one of isLongVector, and the arguments.
func longVector(tid uint32, n int, over <-chan struct{}) (args [6]uint64, long bool) {
	w := newWriters()
	defer w.calls.close()
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		number, args, err := w.syscall(tid)
		if err == nil {
			return args, isLongVector(n, number, args)
		}
		select {
		case <-time.After(pause):
		case <-over:
			return args, false
		}
	}
}

// isLongVector says whether this system call, of which n bytes have come, may write from more pieces than one WRITE can have.
func isLongVector(n, number int, args [6]uint64) bool {
	count := int(args[2])
	return slices.Contains([]int{unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2}, number) && 2*count+n/page.Size >= maxPages && count <= maxIovecs
}

// vectorGoesOn says whether a call with this vector writes more than n bytes. Where the thread's memory comes from, from a file or from another process, it may wait for that.
func vectorGoesOn(tid uint32, n int, args [6]uint64) bool {
	base, count := args[1], int(args[2])
	vector := make([]unix.Iovec, count)
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&vector[0]))}}
	local[0].SetLen(count * iovecSize)
	remote := []unix.RemoteIovec{{Base: uintptr(base), Len: count * iovecSize}}
	if got, err := unix.ProcessVMReadv(int(tid), local, remote, 0); err != nil || got != count*iovecSize {
		return false
	}
	sum := 0
	for _, v := range vector {
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
