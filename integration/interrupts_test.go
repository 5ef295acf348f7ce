package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stormed runs f in a thread of its own, which gets one signal after the other meanwhile: the one with which Go's runtime takes a processor from a goroutine, as it does in all
// programs written in Go. Its handler does nothing, and has SA_RESTART.
func stormed(f func() error) error {
	tid, result := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		result <- f()
	}()
	for to := <-tid; ; {
		select {
		case err := <-result:
			return err
		default:
			_ = unix.Tgkill(os.Getpid(), to, unix.SIGURG)
		}
	}
}

// A signal that is caught ends what waits. What need not wait goes on, here as everywhere in the kernel.
func TestSignalsEndNothingThatNeedNotWait(t *testing.T) {
	m := newMount(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, m.dir + "/pipes/p", m.dir + "/shm/s", m.dir + "/msgq/q", m.dir + "/msgq/q:7"} {
		for _, n := range []int{1, 100, 256} {
			t.Run(fmt.Sprintf("%s/%d pieces", filepath.Base(path), n), func(t *testing.T) {
				sent, got := memoryAt(t, 0, 300), make([]byte, 300)
				letters(sent, uint64(n))
				err := stormed(func() error {
					fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
					if err != nil {
						return fmt.Errorf("open: %w", err)
					}
					defer unix.Close(fd)
					for range 200 {
						if k, err := unix.Writev(fd, pieces(sent, n)); k != len(sent) || err != nil {
							return fmt.Errorf("writev: %d, %w", k, err)
						}
						_, _ = unix.Seek(fd, 0, unix.SEEK_SET) // of what can
						if k, err := unix.Read(fd, got); k != len(sent) || err != nil || !bytes.Equal(got, sent) {
							return fmt.Errorf("read: %d, %w", k, err)
						}
						_, _ = unix.Seek(fd, 0, unix.SEEK_SET)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Nor do signals end what is done to the tree, and reading what is told of it.
func TestSignalsEndNothingInTheTree(t *testing.T) {
	m := newMount(t)
	p, s, q := m.dir+"/pipes/p", m.dir+"/shm/s", m.dir+"/msgq/q"
	for _, path := range []string{p, s, q} {
		makePipe(t, path)
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	opened := func(path string, flags int, f func(fd int) error) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		return errors.Join(f(fd), unix.Close(fd))
	}
	readAll := func(path string) func() error {
		return func() error {
			return opened(path, unix.O_RDONLY|unix.O_NONBLOCK, func(fd int) error {
				for b := make([]byte, 65536); ; {
					if n, err := unix.Read(fd, b); n <= 0 {
						return err
					}
				}
			})
		}
	}
	for what, f := range map[string]func() error{
		"stat":         func() error { return unix.Stat(p, &st) },
		"statfs":       func() error { return unix.Statfs(m.dir, &fs) },
		"chmod":        func() error { return unix.Chmod(q, 0o640) },
		"setxattr":     func() error { return unix.Setxattr(p, "user.ipc.capacity", []byte("65536"), 0) },
		"getxattr":     func() error { _, err := unix.Getxattr(q, "user.ipc.q_qbytes", make([]byte, 100)); return err },
		"mkdir, rmdir": func() error { return errors.Join(unix.Mkdir(m.dir+"/shm/d", 0o755), unix.Rmdir(m.dir+"/shm/d")) },
		"rename":       func() error { return errors.Join(unix.Rename(s, s+"2"), unix.Rename(s+"2", s)) },
		"create, unlink": func() error {
			return errors.Join(opened(q+"2", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, func(int) error { return nil }), unix.Unlink(q+"2"))
		},
		"readdir": func() error {
			return opened(m.dir+"/proc", unix.O_RDONLY|unix.O_DIRECTORY, func(fd int) error {
				n, err := unix.ReadDirent(fd, make([]byte, 4096))
				if n <= 0 && err == nil {
					err = errors.New("no names")
				}
				return err
			})
		},
		"proc/pipes":   readAll(m.dir + "/proc/pipes"),
		"proc/files":   readAll(m.dir + "/proc/files"),
		"proc/metrics": readAll(m.dir + "/proc/metrics"),
		":peek":        readAll(q + ":peek"),
		"both ends": func() error {
			return opened(p, unix.O_RDONLY|unix.O_NONBLOCK, func(int) error { return opened(p, unix.O_WRONLY, func(int) error { return nil }) })
		},
		"locks": func() error {
			return opened(s, unix.O_RDWR, func(fd int) error {
				return errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1}))
			})
		},
		"memory": func() error {
			return opened(s, unix.O_RDWR, func(fd int) error {
				return errors.Join(unix.Ftruncate(fd, 1<<20), unix.Fallocate(fd, 0, 0, 1<<20), unix.Fsync(fd), unix.Ftruncate(fd, 0))
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			err := stormed(func() error {
				for i := range 100 {
					if err := f(); err != nil {
						return fmt.Errorf("time %d: %w", i, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// heldUp starts n processes that send to q and whose memory the daemon waits for, as far as it looks at so many at once.
func (m *mount) heldUp(t *testing.T, q string, n int) []*blocker {
	t.Helper()
	need(t, "cc")
	if fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0); errno != 0 {
		skip(t, "userfaultfd: %v", errno)
	} else {
		_ = unix.Close(int(fd))
	}
	client, err := compile("msgqheldup")
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*blocker, n)
	for i := range all {
		all[i] = startBlocker(t, exec.Command(client, q), nil)
	}
	eventually(t, func() error {
		for _, b := range all {
			select {
			case <-b.ended:
				return fmt.Errorf("one has ended: %v %s", b.cmd.ProcessState, b.out)
			default:
			}
		}
		if looks := threadsIn(m.daemon.Process.Pid, unix.SYS_PROCESS_VM_READV); looks != min(n, looksAtMemory) {
			return fmt.Errorf("the daemon waits for the memory of %d", looks)
		}
		return nil
	})
	return all
}

// looksAtMemory is for the memory of how many processes the daemon waits at once.
const looksAtMemory = 64

// Those whose memory does not come hold up nobody who sends as one does.
func TestMsgqBesideHeldUp(t *testing.T) {
	m := newMount(t)
	q := newQueue(t, m, "q", false)
	all := m.heldUp(t, q, looksAtMemory+2)
	late := time.AfterFunc(allowance, func() { m.abort(t) })
	defer late.Stop()
	sent := memoryAt(t, 0, 300)
	letters(sent, 0)
	err := stormed(func() error { // a thread that gets signals does not sleep when it is looked at
		fd, err := unix.Open(q+":7", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		got := make([]byte, len(sent))
		for range 1000 {
			if n, err := unix.Write(fd, sent); n != len(sent) || err != nil {
				return fmt.Errorf("write: %d, %w", n, err)
			}
			if n, err := unix.Read(fd, got); n != len(sent) || err != nil || !bytes.Equal(got, sent) {
				return fmt.Errorf("read: %d, %w", n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, b := range all {
		_ = b.cmd.Process.Kill()
	}
	for _, b := range all {
		b.wait(t)
	}
}

// Of a writer whose memory does not come nobody can say whether more follows. As in msgsnd(2) a signal that is caught does not end it, and SIGKILL does, also when it comes after the
// kernel has told of the first; what was not sent whole is not sent.
func TestMsgqKilledWithoutMemory(t *testing.T) {
	m := newMount(t)
	before := daemonUse(t, m)
	q := newQueue(t, m, "q", false)
	for _, signals := range [][]syscall.Signal{{unix.SIGKILL}, {unix.SIGTERM}, {unix.SIGUSR1, unix.SIGKILL}, {unix.SIGUSR1, unix.SIGUSR1, unix.SIGTERM}} {
		b := m.heldUp(t, q, 1)[0]
		cmd := b.cmd
		for i, sig := range signals {
			if i > 0 { // until the kernel has told of the one before
				eventually(t, func() error {
					if status := procText(cmd.Process.Pid, "status"); !strings.Contains(status, "State:\tD") {
						return errors.New(status)
					}
					return nil
				})
				var st unix.Statfs_t
				if err := unix.Statfs(m.dir, &st); err != nil { // and so has the daemon
					t.Fatal(err)
				}
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
		if b.wait(t); t.Failed() {
			return
		}
		if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signal() != signals[len(signals)-1] {
			t.Errorf("%v: %v %s", signals, cmd.ProcessState, b.out)
		}
		if left := texts(t, q); len(left) != 0 {
			t.Errorf("%v: the queue has %d messages", signals, len(left))
		}
	}
	run(t, "rm", q)
	before.unchanged(t, m)
}
