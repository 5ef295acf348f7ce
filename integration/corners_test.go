package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openers are the ways to come to a new pipe: a name for which both ends can be opened.
func openers(t *testing.T) map[string]string {
	t.Helper()
	m := newMount(t)
	ours, fifo := filepath.Join(m.pipes, "p"), filepath.Join(t.TempDir(), "p")
	if err := errors.Join(unix.Mknod(ours, unix.S_IFREG|0o600, 0), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"mount": ours, "fifo": fifo}
}

// The kernel moves the end of the file up with each append, as if the next one continued the last. A write of up to PIPE_BUF is whole all the same.
func TestAppendsAreWritesOfTheirOwn(t *testing.T) {
	for name, p := range openers(t) {
		t.Run(name, func(t *testing.T) {
			r := openFd(t, p, unix.O_RDONLY|unix.O_NONBLOCK)
			defer unix.Close(r)
			w := openFd(t, p, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK)
			defer unix.Close(w)
			n := 0
			for ; ; n++ {
				k, err := unix.Write(w, make([]byte, 3000))
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				if k != 3000 || err != nil {
					t.Fatalf("write %d: %d, %v", n, k, err)
				}
			}
			if n != 16 {
				t.Errorf("%d writes of 3000 bytes fit, want one a page", n)
			}
		})
	}
}

// RWF_APPEND looks like O_APPEND to the kernel, and like neither to the daemon.
func TestAppendByFlagOfTheCall(t *testing.T) {
	for name, p := range openers(t) {
		t.Run(name, func(t *testing.T) {
			r := openFd(t, p, unix.O_RDONLY|unix.O_NONBLOCK)
			defer unix.Close(r)
			w := openFd(t, p, unix.O_WRONLY|unix.O_NONBLOCK)
			defer unix.Close(w)
			const rwfAppend = 0x10
			for n := range 16 {
				if k, err := unix.Pwritev2(w, [][]byte{make([]byte, 3000)}, -1, rwfAppend); k != 3000 || err != nil {
					t.Fatalf("write %d: %d, %v", n, k, err)
				}
			}
			if k, err := unix.Pwritev2(w, [][]byte{make([]byte, 3000)}, -1, rwfAppend); !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("a 17th write of 3000 bytes: %d, %v, want EAGAIN", k, err)
			}
		})
	}
}

// For some ioctls the kernel opens the file itself, for FS_IOC_SETFLAGS with its lock held. That open must not wait for a writer, or others would wait for the
// lock where no signal reaches them; nor may it let a writer's open go on.
func TestOpenOfTheKernelDoesNotWait(t *testing.T) {
	m := newMount(t)
	watchD(t)
	p := filepath.Join(m.pipes, "p")
	run(t, "touch", p)
	writer := start(t, "sh", "-c", `echo x > "$0"`, p)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitOpens == 1 })
	fd := openFd(t, p, unix.O_RDWR|unix.O_NONBLOCK) // lets the writer go on: it has a reader now
	if err := writer.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("FS_IOC_GETFLAGS: %v, want ENOTTY", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("FS_IOC_SETFLAGS: %v, want ENOTTY", err)
	}
	_ = unix.Close(fd)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.readers == 0 && s.writers == 0 })

	// And with nobody else on either side.
	r := openFd(t, p, unix.O_RDONLY|unix.O_NONBLOCK)
	if _, err := unix.IoctlGetInt(r, unix.FS_IOC_GETFLAGS); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("FS_IOC_GETFLAGS without a writer: %v, want ENOTTY", err)
	}
	_ = unix.Close(r)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.readers == 0 })
	start(t, "sh", "-c", `echo x > "$0"`, p)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitOpens == 1 && s.readers == 0 })
}

// When the connection is aborted the calls under way fail, each once: a writer gets no SIGPIPE as if its reader had gone.
func TestAbortIsNoBrokenPipe(t *testing.T) {
	m := newMount(t)
	h := newTheatre(t)
	p := filepath.Join(m.pipes, "p")
	run(t, "touch", p)
	a, err := h.enter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.kill(); err != nil {
			t.Error(err)
		}
	}()
	if err := a.send(fmt.Sprintf("open 0 %s %d", p, unix.O_RDWR)); err != nil {
		t.Fatal(err)
	}
	if s, err := a.answer(); err != nil || !strings.HasPrefix(s, "0 ") {
		t.Fatalf("open: %q, %v", s, err)
	}
	if err := a.send("write 0 200000 1"); err != nil {
		t.Fatal(err)
	}
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitWrs == 1 })
	_ = unix.Unmount(m.dir, unix.MNT_FORCE) // EBUSY, and an abort
	s, err := a.answer()
	if want := fmt.Sprintf("-1 %d 0 0 0", unix.ECONNABORTED); err != nil || s != want {
		t.Errorf("the blocked write ends with %q, %v, want %q", s, err, want)
	}
	if err := a.send("poll 0 1 0"); err != nil { // one more answer, to see a signal that came late
		t.Fatal(err)
	}
	if s, err := a.answer(); err != nil || strings.Fields(s)[2] != "0" {
		t.Errorf("after it %q, %v: a SIGPIPE came", s, err)
	}
}

// go-fuse finds this name in every root, for its own Server's sake. We do not.
func TestNoNamesOfTheLibrary(t *testing.T) {
	m := newMount(t)
	if _, err := os.Stat(filepath.Join(m.dir, ".go-fuse-epoll-hack")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("stat: %v, want that it does not exist", err)
	}
}

// What a deep path may cost is bounded.
func TestDeepPathsInProc(t *testing.T) {
	m := newMount(t)
	dir := openFd(t, m.pipes, unix.O_PATH)
	name := strings.Repeat("d", 250)
	for range 100 {
		if err := unix.Mkdirat(dir, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(dir, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(dir)
		dir = next
	}
	if err := unix.Mknodat(dir, "p", unix.S_IFREG|0o600, 0); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(dir)
	text, err := os.ReadFile(filepath.Join(m.dir, "proc/pipes"))
	if err != nil || len(text) > 3*unix.PathMax || !strings.Contains(string(text), " .../ddd") || !strings.HasSuffix(string(text), "/p\n") {
		t.Fatalf("%d bytes, %v: %.200s", len(text), err, text)
	}
}
