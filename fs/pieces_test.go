package fs

import (
	"errors"
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
	for !newLookers().goesOn(w.tid, 256, nil) { // until it has got there
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

// A thread that sleeps in its writev(2) tells how much that is of.
func TestGoesOn(t *testing.T) {
	vector := make([]unix.Iovec, 300)
	fillVector(vector)
	w := startWriter(t, vector)
	for n, want := range map[int]bool{299: true, 300: false} {
		if goesOn := newLookers().goesOn(w.tid, n, nil); goesOn != want {
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
	l := lookers{make(places, 1), make(places, 1)}
	result := make(chan bool, 1)
	go func() { result <- l.goesOn(w.tid, 256, nil) }()
	for !threadIn(unix.SYS_PROCESS_VM_READV) { // until it waits for the memory
		if len(result) > 0 {
			t.Fatal("it does not wait for the memory")
		}
		runtime.Gosched()
	}
	// That holds up nobody whose memory need not be looked at.
	other := exec.Command("cat")
	in, err := other.StdinPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	close(over)
	if l.goesOn(uint32(other.Process.Pid), 256, nil) || l.goesOn(w.tid, 256, over) {
		t.Error("goes on what does not, or nobody wants to know of")
	}
	if err := errors.Join(in.Close(), other.Wait()); err != nil {
		t.Error(err)
	}
	if len(result) > 0 {
		t.Error("it has not waited for the memory")
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
	look := newWriters()
	defer look.calls.close()
	for !look.asksLater(pid, 256) { // it may sleep for once, until a page of its program comes
		runtime.Gosched()
	}
	over := make(chan struct{})
	close(over)
	if newLookers().goesOn(pid, 256, over) { // and it returns
		t.Error("it does what it does not")
	}
	result := make(chan bool, 1)
	go func() { result <- newLookers().goesOn(pid, 256, nil) }()
	_ = hog.Process.Kill()
	if <-result {
		t.Error("a thread that ends goes on")
	}
}
