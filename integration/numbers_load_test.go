package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// load does things at random to objects of all kinds. None of the objects ends: whoever removes one keeps it open, so that what the objects tell adds up to what was counted.
type load struct {
	*mount
	mu    sync.Mutex // guards all below
	paths []string
	last  int
	held  []int // descriptors that stay open
}

// newPath is a name that there was not yet.
func (l *load) newPath(rng *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	name := pick(rng, "%d", "%d", "sub/%d", "with blank %d", `back\slash %d`)
	return filepath.Join(l.dir, pick(rng, "pipes", "shm", "msgq"), fmt.Sprintf(name, l.last))
}

// any is some object.
func (l *load) any(rng *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paths[rng.IntN(len(l.paths))]
}

// rename gives an object, which stays open, another name, one more, or none.
func (l *load) rename(rng *rand.Rand) error {
	to := l.newPath(rng)
	l.mu.Lock()
	defer l.mu.Unlock()
	i := rng.IntN(len(l.paths))
	path := l.paths[i]
	if len(l.paths) < 10 {
		return nil
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(path, l.dir+"/"), "/")
	to = filepath.Join(l.dir, kind, filepath.Base(to))
	switch rng.IntN(8) {
	case 0, 1, 2:
		l.paths[i] = to
		return os.Rename(path, to)
	case 3, 4, 5:
		l.paths = append(l.paths, to)
		return os.Link(path, to)
	}
	fd, err := retryEINTR(func() (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err == nil {
		l.held = append(l.held, fd)
		l.paths = slices.Delete(l.paths, i, i+1)
		err = os.Remove(path)
	}
	return err
}

// client does n things, and leaves some files open.
func (l *load) client(rng *rand.Rand, n int) error {
	var fds []int
	b := make([]byte, 20000)
	for range n {
		if len(fds) == 0 || len(fds) < 8 && rng.IntN(4) == 0 {
			path := l.any(rng)
			if strings.HasPrefix(path, l.msgq) {
				path += pick(rng, "", "", ":7", ":-7", ":^7", ":raw", ":lines", ":stream", ":peek")
			}
			if fd, err := unix.Open(path, pick(rng, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY)|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				fds = append(fds, fd)
			}
			continue
		}
		i := rng.IntN(len(fds))
		fd := fds[i]
		switch rng.IntN(16) {
		case 0, 1, 2, 3, 4, 5:
			_, _ = unix.Write(fd, b[:pick(rng, 1, 10, 100, 4096, 5000, rng.IntN(len(b)))])
		case 6, 7, 8, 9:
			_, _ = unix.Read(fd, b[:pick(rng, 1, 100, 4096, len(b))])
		case 10:
			_, _ = unix.Pwrite(fd, b[:100], int64(rng.IntN(1<<20)))
		case 11:
			_ = unix.Ftruncate(fd, int64(rng.IntN(1<<18)))
		case 12:
			_ = unix.Fallocate(fd, 0, int64(rng.IntN(1<<18)), int64(1+rng.IntN(1<<16)))
		case 13:
			path := l.any(rng)
			_ = errors.Join(os.Chown(path, rng.IntN(3)*5000, rng.IntN(3)*7000), os.Chmod(path, os.FileMode(rng.IntN(0o1000)))) // it may just be gone
		case 14:
			if err := l.rename(rng); err != nil && !errors.Is(err, unix.ENXIO) {
				return err
			}
		default:
			_ = unix.Close(fd)
			fds = slices.Delete(fds, i, i+1)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, fds...)
	return nil
}

// run makes objects and lets clients use them, until all have done what they were to.
func (l *load) run(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, d := range []string{l.pipes, l.shm, l.msgq} {
		if err := os.Mkdir(filepath.Join(d, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 40 {
		path := l.newPath(rng)
		if err := unix.Mknod(path, unix.S_IFREG|uint32(rng.IntN(0o1000)), 0); err != nil {
			t.Fatal(err)
		}
		l.paths = append(l.paths, path)
	}
	t.Cleanup(func() {
		for _, fd := range l.held {
			_ = unix.Close(fd)
		}
	})
	var all sync.WaitGroup
	for i := range 6 {
		rng := rand.New(rand.NewPCG(seed, uint64(1+i)))
		all.Go(func() {
			if err := l.client(rng, 400); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Other processes too.
	for range 10 {
		path := l.any(rng)
		_ = exec.Command("sh", "-c", `dd if=/dev/zero of="$0" bs=10 count=1 oflag=nonblock conv=notrunc; dd if="$0" of=/dev/null bs=8192 count=1 iflag=nonblock`, path).Run() // it may be full, or empty
	}
}

// block lets operations wait on new objects.
func (l *load) block(t *testing.T) {
	t.Helper()
	pipe := func(name string) string {
		path := filepath.Join(l.pipes, name)
		l.held = append(l.held, openFd(t, path, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK))
		return path
	}
	waits := func(name string, opens, reads, writes int) {
		l.waitFor(t, name, func(p pipeStat) bool { return p.waitOpens == opens && p.waitReads == reads && p.waitWrs == writes })
	}
	startCrowd(t, pipe("readers"), "r", 3)
	startCrowd(t, pipe("one file of readers"), "rf", 3)
	full := pipe("writers")
	for {
		if _, err := unix.Write(l.held[len(l.held)-1], make([]byte, 4096)); err != nil {
			break
		}
	}
	startCrowd(t, full, "w", 2)
	alone := makePipe(t, filepath.Join(l.pipes, "opens"))
	startBlocker(t, exec.Command("sh", "-c", `: <"$0"`, alone), nil)
	startBlocker(t, exec.Command("sh", "-c", `: <"$0"`, alone), nil)
	waits("readers", 0, 3, 0)
	waits(`one\040file\040of\040readers`, 0, 3, 0)
	waits("writers", 0, 0, 2)
	waits("opens", 2, 0, 0)

	empty, fullQueue := newQueue(t, l.mount, "receivers", false), newQueue(t, l.mount, "senders", true)
	for _, c := range []struct{ view, letters string }{{"", "r"}, {":7", "rs"}, {":raw", "rf"}, {":lines", "r"}} {
		startCrowd(t, empty+c.view, c.letters, 2)
	}
	for _, c := range []struct{ view, letters string }{{"", "w"}, {":7", "ws"}, {":raw", "wf"}, {":lines", "wf"}} {
		startCrowd(t, fullQueue+c.view, c.letters, 2)
	}
	queueWaits(t, empty, 8, 0)
	queueWaits(t, fullQueue, 0, 8)
	lastLine := openFd(t, fullQueue+":lines", unix.O_WRONLY)
	if _, err := unix.Write(lastLine, []byte("for which there is no room, and nobody waits with it")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(lastLine); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(l.shm, "locked")
	fd := openFd(t, locked, unix.O_RDWR|unix.O_CREAT)
	l.held = append(l.held, fd)
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	startBlocker(t, exec.Command("flock", locked, "true"), nil)
	eventually(t, func() error {
		if text := readText(t, l.dir, "proc/files"); strings.Count(text, " SETLKW ") != 1 {
			return fmt.Errorf("nobody waits for the lock:\n%s", text)
		}
		return nil
	})
	// And on a removed one.
	removed := pipe("removed")
	startCrowd(t, removed, "r", 2)
	waits("removed", 0, 2, 0)
	if err := os.Remove(removed); err != nil {
		t.Fatal(err)
	}
}
