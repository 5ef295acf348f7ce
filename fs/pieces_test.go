package fs

import (
	"errors"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A thread that sleeps in its writev(2) tells how much that is of.
func TestGoesOn(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(p[1], make([]byte, 65536)); err != nil {
		t.Fatal(err)
	}
	v := make([][]byte, 300)
	for i := range v {
		v[i] = []byte{'x'}
	}
	tid, ended := make(chan uint32), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		tid <- uint32(unix.Gettid())
		for {
			if _, err := unix.Writev(p[1], v); !errors.Is(err, unix.EINTR) {
				return // with EPIPE
			}
		}
	}()
	thread := <-tid
	w := newWriters()
	defer w.calls.close()
	for { // until it has got there
		if goesOn, err := w.goesOn(thread, 256); goesOn && err == nil {
			break
		}
	}
	for n, want := range map[int]bool{255: false, 299: true, 300: false} {
		if goesOn, err := w.goesOn(thread, n); goesOn != want || err != nil {
			t.Errorf("a writev of 300 bytes of which %d have come: %v, %v, want %v", n, goesOn, err, want)
		}
	}
	_ = unix.Close(p[0])
	<-ended
	_ = unix.Close(p[1])
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
	if newWriters().goesOnLater(pid, 256, func() bool { asked++; return asked == 3 }) || asked != 3 {
		t.Errorf("it does what it does not, or was asked %d times", asked)
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
