package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// writer is a thread that sleeps in a writev(2) of a vector to a full pipe, until its end.
type writer struct {
	pipe  [2]int
	tid   uint32
	ended chan struct{}
}

// startWriter starts one.
func startWriter(t *testing.T, vector []unix.Iovec) *writer {
	t.Helper()
	w := &writer{ended: make(chan struct{})}
	if err := unix.Pipe2(w.pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(w.pipe[1], make([]byte, 65536)); err != nil {
		t.Fatal(err)
	}
	tid := make(chan uint32)
	go func() {
		defer close(w.ended)
		runtime.LockOSThread()
		tid <- uint32(unix.Gettid())
		for {
			_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(w.pipe[1]), uintptr(unsafe.Pointer(&vector[0])), uintptr(len(vector)))
			if errno != unix.EINTR {
				return // with EPIPE
			}
		}
	}()
	w.tid = <-tid
	t.Cleanup(func() {
		_ = unix.Close(w.pipe[0])
		<-w.ended
		_ = unix.Close(w.pipe[1])
	})
	for !newWriters().goesOnLater(w.tid, 256, never) { // until it has got there
		runtime.Gosched()
	}
	return w
}

// fillVector makes a vector of one byte each.
func fillVector(vector []unix.Iovec) {
	text := []byte{'x'}
	for i := range vector {
		vector[i].Base = &text[0]
		vector[i].SetLen(1)
	}
}

// never is that somebody still wants to know.
func never() bool { return false }

// A thread that sleeps in its writev(2) tells how much that is of.
func TestGoesOn(t *testing.T) {
	vector := make([]unix.Iovec, 300)
	fillVector(vector)
	w := startWriter(t, vector)
	for n, want := range map[int]bool{299: true, 300: false} {
		if goesOn := newWriters().goesOnLater(w.tid, n, never); goesOn != want {
			t.Errorf("a writev of 300 bytes of which %d have come: %v, want %v", n, goesOn, want)
		}
	}
	look := newWriters()
	defer look.calls.close()
	if look.asksLater(w.tid, 255) || look.asksLater(0, 300) {
		t.Error("asked about bytes that are too few for a WRITE that is not the last, or of nobody")
	}
}

// Where the memory of a thread does not come, who handles the requests does not wait for it.
func TestGoesOnWithoutMemory(t *testing.T) {
	const (
		uffdAPI      = 0xc018aa3f // UFFDIO_API
		uffdRegister = 0xc020aa00 // UFFDIO_REGISTER
	)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		if os.Getenv("IPCFS_REQUIRE_ALL") == "1" {
			t.Fatal("userfaultfd: ", errno)
		}
		t.Skip("no userfaultfd, with which a process makes others wait for its memory: ", errno)
	}
	ioctl := func(request uintptr, arg unsafe.Pointer) {
		t.Helper()
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
			t.Fatal("userfaultfd: ", errno)
		}
	}
	mem, err := unix.Mmap(-1, 0, 2*page.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	vector := unsafe.Slice((*unix.Iovec)(unsafe.Pointer(&mem[0])), 300)
	fillVector(vector)
	w := startWriter(t, vector)
	ioctl(uffdAPI, unsafe.Pointer(&struct{ api, features, ioctls uint64 }{api: 0xaa}))
	ioctl(uffdRegister, unsafe.Pointer(&struct{ start, n, mode, ioctls uint64 }{uint64(uintptr(unsafe.Pointer(&mem[0]))), 2 * page.Size, 1, 0}))
	if err := unix.Madvise(mem, unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	look := newWriters()
	defer look.calls.close()
	if !look.asksLater(w.tid, 256) {
		t.Error("not asked later")
	}
	result := make(chan bool, 1)
	go func() { result <- newWriters().goesOnLater(w.tid, 256, never) }()
	for !threadIn(unix.SYS_PROCESS_VM_READV) { // until it waits for the memory
		if len(result) > 0 {
			t.Fatal("it does not wait for the memory")
		}
		runtime.Gosched()
	}
	_ = unix.Close(int(fd)) // the memory comes, and is empty
	if <-result {
		t.Error("an empty vector goes on")
	}
}

// threadIn says whether a thread of this process is in a system call.
func threadIn(number int) bool {
	files, _ := filepath.Glob("/proc/self/task/*/syscall")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if strings.HasPrefix(string(text), strconv.Itoa(number)+" ") {
			return true
		}
	}
	return false
}

// One that runs cannot be looked at; it is looked at again until it can, or nobody wants to know any more.
func TestGoesOnLater(t *testing.T) {
	hog := exec.Command("sh", "-c", "echo; while :; do :; done")
	out, err := hog.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hog.Wait() }() // which says that it was killed
	defer func() { _ = hog.Process.Kill() }()
	pid := uint32(hog.Process.Pid)
	if _, err := out.Read(make([]byte, 1)); err != nil { // until it has begun
		t.Fatal(err)
	}
	asked := 0
	for asked != 3 { // it may sleep for once, until a page of its program comes
		asked = 0
		if newWriters().goesOnLater(pid, 256, func() bool { asked++; return asked == 3 }) {
			t.Fatal("it does what it does not")
		}
	}
	asked = 0
	goesOn := newWriters().goesOnLater(pid, 256, func() bool {
		asked++
		_ = hog.Process.Kill()
		return false
	})
	if goesOn || asked == 0 {
		t.Errorf("a thread that ends: %v, after %d times", goesOn, asked)
	}
}
