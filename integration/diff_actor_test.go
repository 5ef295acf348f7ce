package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// actor is a process of clients/actor: it makes one system call at a time.
type actor struct {
	pid    int
	socket int
	busy   string // the command that it has not answered yet
}

// theatre starts actors.
type theatre struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	listen int
}

// compile compiles clients/NAME/NAME.c, once for each test run, and returns the program.
func compile(name string) (string, error) {
	compiled.Lock()
	defer compiled.Unlock()
	if bin := compiled.programs[name]; bin != "" {
		return bin, nil
	}
	if compiled.programs == nil {
		compiled.programs = make(map[string]string)
	}
	bin := filepath.Join(os.TempDir(), fmt.Sprintf("ipcfs-%s-%d", name, os.Getuid()))
	out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", bin, filepath.Join("clients", name, name+".c")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cc: %w: %s", err, out)
	}
	compiled.programs[name] = bin
	return bin, nil
}

var compiled struct {
	sync.Mutex // guards programs, and that two tests do not compile the same one at once
	programs   map[string]string
}

func newTheatre(t testing.TB) *theatre {
	t.Helper()
	return newTheatreWith(t, nil)
}

func newTheatreWith(t testing.TB, attr *syscall.SysProcAttr) *theatre {
	t.Helper()
	need(t, "cc")
	bin, err := compile("actor")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	listen, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(listen, &unix.SockaddrUnix{Name: path}), unix.Listen(listen, 16)); err != nil {
		t.Fatal(err)
	}
	h := &theatre{cmd: exec.Command(bin, path), listen: listen}
	h.cmd.Stderr, h.cmd.SysProcAttr = os.Stderr, attr
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.stdin.Close()
		_ = h.cmd.Wait()
		_ = unix.Close(listen)
	})
	return h
}

// accept takes the next actor that connects.
func (h *theatre) accept() (*actor, error) {
	if err := waitReadable(h.listen); err != nil {
		return nil, fmt.Errorf("no actor comes: %w", err)
	}
	s, err := retryEINTR(func() (int, error) {
		fd, _, err := unix.Accept4(h.listen, unix.SOCK_CLOEXEC)
		return fd, err
	})
	if err != nil {
		return nil, err
	}
	a := &actor{socket: s}
	hello, err := a.answer()
	if err != nil {
		return nil, err
	}
	a.pid, err = strconv.Atoi(strings.TrimPrefix(hello, "hello "))
	return a, err
}

// enter starts an actor.
func (h *theatre) enter() (*actor, error) {
	if _, err := io.WriteString(h.stdin, "\n"); err != nil {
		return nil, err
	}
	return h.accept()
}

func waitReadable(fd int) error {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		n, err := unix.Poll(p, 1000)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("nothing for %v", patience)
}

// send gives the actor a command.
func (a *actor) send(cmd string) error {
	a.busy = cmd
	_, err := retryEINTR(func() (int, error) { return unix.Write(a.socket, []byte(cmd)) })
	return err
}

// tryAnswer returns the answer if there is one.
func (a *actor) tryAnswer() (string, bool, error) {
	b := make([]byte, 256)
	n, _, err := unix.Recvfrom(a.socket, b, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return "", false, nil
	case err != nil:
		return "", false, err
	case n == 0:
		return "", false, fmt.Errorf("actor %d is gone, doing %q", a.pid, a.busy)
	}
	a.busy = ""
	return string(b[:n]), true, nil
}

// answer waits for the answer.
func (a *actor) answer() (string, error) {
	for {
		if err := waitReadable(a.socket); err != nil {
			return "", fmt.Errorf("actor %d does not answer %q: %w (%s)", a.pid, a.busy, err, a.where())
		}
		if s, ok, err := a.tryAnswer(); ok || err != nil {
			return s, err
		}
	}
}

// syscallNumbers are the system calls in which an actor can be blocked, by the command.
var syscallNumbers = map[string]string{
	"open": "257", "read": "0", "write": "1", "readv": "19", "writev": "20", "poll": "7",
	"msgsnd": "69", "msgrcv": "70", "vsend": "1", "vrecv": "0",
}

// blocked says whether the actor sleeps, interruptibly, in the system call of its command.
func (a *actor) blocked() bool {
	want := syscallNumbers[strings.Fields(a.busy)[0]]
	number, _, _ := strings.Cut(procText(a.pid, "syscall"), " ")
	_, state, _ := strings.Cut(procText(a.pid, "stat"), ") ")
	return want != "" && number == want && strings.HasPrefix(state, "S")
}

// where says what the actor is doing, for messages.
func (a *actor) where() string {
	return strings.Join(strings.Fields(procText(a.pid, "stat"))[:3], " ") + ", syscall " + procText(a.pid, "syscall")
}

func procText(pid int, name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return "gone gone gone"
	}
	return strings.TrimSpace(string(b))
}

// kill kills the actor and waits until everything that it had open is closed: until it is gone or, where its parent died first and nobody collects
// it, a zombie.
func (a *actor) kill() error {
	defer unix.Close(a.socket)
	pidfd, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		return fmt.Errorf("actor %d: %w", a.pid, err)
	}
	defer unix.Close(pidfd)
	if err := unix.Kill(a.pid, unix.SIGKILL); err != nil {
		return err
	}
	if err := waitReadable(pidfd); err != nil {
		return fmt.Errorf("actor %d cannot be killed: %w: %s", a.pid, err, a.where())
	}
	return nil
}
