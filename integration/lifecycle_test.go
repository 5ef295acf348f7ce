package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// foreground is a daemon that the test started itself, so that it learns its exit status.
type foreground struct {
	*blocker
	out *output
}

func (s *site) foreground(t testing.TB, args ...string) *foreground {
	t.Helper()
	f := &foreground{out: new(output)}
	cmd := s.command(append([]string{"mount", "--foreground", "--log", s.log}, append(args, s.dir)...)...)
	cmd.Stdout = f.out
	f.blocker = startBlocker(t, cmd, f.out)
	f.ready(t, s.dir)
	return f
}

// ready waits until the daemon says that the mount is there.
func (f *foreground) ready(t testing.TB, dir string) {
	t.Helper()
	eventually(t, func() error {
		if s := f.out.String(); !strings.Contains(s, "ipcfs: mounted on "+dir+";") {
			return fmt.Errorf("the daemon says %q", s)
		}
		return nil
	})
}

func (f *foreground) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := f.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// status waits for the end of the daemon.
func (f *foreground) status(t testing.TB) int {
	t.Helper()
	f.wait(t)
	return f.cmd.ProcessState.ExitCode()
}

// asPoll makes the test binary a client that waits in poll(2) for the pipe that it names.
const asPoll = "IPCFS_TEST_AS_POLL"

// pollOnce waits until something can be said of the pipe, and says it.
func pollOnce(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := retryEINTR(func() (int, error) { return unix.Ppoll(fds, nil, nil) })
	fmt.Fprintf(os.Stderr, "poll: %d %#x %v\n", n, fds[0].Revents, err)
	return err
}

// blockEverywhere starts processes that block in each way there is on pipes of the site, and waits until they do. It holds files open that keep
// them blocked, until release.
func blockEverywhere(t testing.TB, s *site) (blockers []*blocker, release func()) {
	t.Helper()
	in := func(name string) string { return makePipe(t, filepath.Join(s.dir, "pipes", name)) }
	// Held open on both sides, so that what is started next blocks in reading, polling and writing and not in opening.
	var held []int
	release = func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}
	for _, name := range []string{"read", "poll", "write"} {
		held = append(held, openFd(t, in(name), unix.O_RDWR))
	}
	poll := exec.Command(os.Args[0])
	poll.Env = append(os.Environ(), asPoll+"="+filepath.Join(s.dir, "pipes/poll"))
	blockers = []*blocker{
		startBlocker(t, exec.Command("cat", in("openr")), nil),
		startBlocker(t, exec.Command("dd", "status=none", "if=/dev/zero", "conv=notrunc", "of="+in("openw")), nil),
		startBlocker(t, exec.Command("cat", filepath.Join(s.dir, "pipes/read")), nil),
		startBlocker(t, exec.Command("dd", "status=none", "if=/dev/zero", "conv=notrunc", "of="+filepath.Join(s.dir, "pipes/write")), nil),
		startBlocker(t, poll, nil),
	}
	for name, blocked := range map[string]func(pipeStat) bool{
		"openr": func(p pipeStat) bool { return p.waitOpens == 1 },
		"openw": func(p pipeStat) bool { return p.waitOpens == 1 },
		"read":  func(p pipeStat) bool { return p.waitReads == 1 },
		"write": func(p pipeStat) bool { return p.waitWrs == 1 },
	} {
		eventually(t, func() error { return waitsIn(s, name, blocked) })
	}
	eventually(t, func() error {
		if !blockers[4].blockedIn(unix.SYS_PPOLL) {
			return errors.New("the client does not poll")
		}
		return nil
	})
	return blockers, release
}

// allFailed checks that each of them ended with the error of a mount that is gone.
func allFailed(t testing.TB, blockers []*blocker) {
	t.Helper()
	for _, b := range blockers {
		b.wait(t)
		says := b.out.String()
		aborted := strings.Contains(says, "Software caused connection abort") || strings.Contains(says, "Transport endpoint is not connected")
		if polled := says == fmt.Sprintf("poll: 1 %#x <nil>\n", unix.POLLERR); !aborted && !polled {
			t.Errorf("%v ended with %v and %q", b.cmd.Args, b.cmd.ProcessState, says)
		}
	}
}

func TestLifeSignalEndsIdleDaemon(t *testing.T) {
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		s := newSite(t)
		f := s.foreground(t)
		s.usable(t)
		c := s.connection(t)
		f.signal(t, sig)
		if status := f.status(t); status != 0 {
			t.Errorf("%v: the daemon ended with %d: %s", sig, status, f.out)
		}
		s.gone(t, c)
	}
}

// In the foreground the log is standard error; under nohup(1) the end of the terminal is nothing.
func TestLifeForegroundLogsToStderr(t *testing.T) {
	s := newSite(t)
	cmd := s.command()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `trap "" HUP; exec "$0" mount --debug -f "$1"`, os.Args[0], s.dir}
	f := &foreground{out: new(output)}
	f.blocker = startBlocker(t, cmd, f.out)
	f.ready(t, s.dir)
	s.usable(t)
	f.signal(t, unix.SIGHUP)
	s.usable(t)
	f.signal(t, unix.SIGTERM)
	if status := f.status(t); status != 0 {
		t.Errorf("the daemon ended with %d", status)
	}
	for _, want := range []string{"mounted on " + s.dir, `"usable"`, "terminated: unmounting"} {
		if !strings.Contains(f.out.String(), want) {
			t.Errorf("standard error has no %s:\n%s", want, f.out)
		}
	}
	s.gone(t, "")
}

func TestLifeSignalWithFilesOpen(t *testing.T) {
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGINT} {
		s := newSite(t)
		f := s.foreground(t, "--debug")
		c := s.connection(t)
		held := openFd(t, makePipe(t, filepath.Join(s.dir, "pipes/held")), unix.O_RDWR)
		blockers, release := blockEverywhere(t, s)
		f.signal(t, sig)
		if status := f.status(t); status != 0 {
			t.Errorf("%v: the daemon ended with %d: %s", sig, status, f.out)
		}
		allFailed(t, blockers)
		release()
		for name, call := range map[string]func() (int, error){
			"read":  func() (int, error) { return unix.Read(held, make([]byte, 1)) },
			"write": func() (int, error) { return unix.Write(held, []byte("x")) },
		} {
			if _, err := call(); !errors.Is(err, unix.ENOTCONN) {
				t.Errorf("%s after the end: %v", name, err)
			}
		}
		s.gone(t, "") // the connection lives as long as a file of it is open
		s.mount(t)
		s.usable(t)
		s.umount(t)
		_ = unix.Close(held)
		s.gone(t, c)
	}
}

// A bind mount goes on without the mount that it was made from, until a second signal.
func TestLifeSecondSignalForces(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newSite(t)
	f := s.foreground(t)
	c := s.connection(t)
	bound := filepath.Join(s.base, "bound")
	if err := os.Mkdir(bound, 0o755); err != nil {
		t.Fatal(err)
	}
	bind(t, filepath.Join(s.dir, "pipes"), bound)
	defer func() { _ = unix.Unmount(bound, unix.MNT_DETACH) }()
	f.signal(t, unix.SIGTERM)
	eventually(t, func() error {
		if n := len(s.mounts(t)); n > 0 {
			return fmt.Errorf("%d mounts", n)
		}
		return nil
	})
	p := makePipe(t, filepath.Join(bound, "p"))
	if r := finish(t, exec.Command("sh", "-c", `echo hello > "$0" & cat "$0"`, p)); r.out != "hello\n" {
		t.Errorf("%+v", r)
	}
	fd := openFd(t, p, unix.O_RDWR)
	defer unix.Close(fd)
	f.signal(t, unix.SIGTERM)
	if status := f.status(t); status != 1 || !strings.Contains(f.out.String(), "second signal") {
		t.Errorf("the daemon ended with %d: %s", status, f.out)
	}
	if _, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("write after the end: %v", err)
	}
	_ = unix.Close(fd)
	if err := unix.Unmount(bound, 0); err != nil {
		t.Error(err)
	}
	s.gone(t, c)
}

func TestLifeBusyUmount(t *testing.T) {
	s := newSite(t)
	f := s.foreground(t)
	c := s.connection(t)
	p := makePipe(t, filepath.Join(s.dir, "pipes/p"))
	fd := openFd(t, p, unix.O_RDWR)
	if _, err := unix.Write(fd, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.run(t, "umount", s.dir).wantError(1, "in use", "fuser -m "+s.dir, "--lazy"); err != nil {
			t.Error(err)
		}
	}
	s.usable(t)
	mustRun(t, s.run(t, "umount", "--lazy", s.dir))
	if n := len(s.mounts(t)); n != 0 {
		t.Errorf("%d mounts after umount --lazy", n)
	}
	if err := s.run(t, "umount", s.dir).wantError(1, "not an ipcfs mount"); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 10)
	if n, err := unix.Read(fd, buf); err != nil || string(buf[:n]) != "kept" {
		t.Errorf("read %q, %v", buf[:max(n, 0)], err)
	}
	_ = unix.Close(fd)
	if status := f.status(t); status != 0 {
		t.Errorf("the daemon ended with %d: %s", status, f.out)
	}
	s.gone(t, c)
}

// A signal to the daemon of a mount that was unmounted lazily must not take away the one that came after it.
func TestLifeSignalAfterLazyUmount(t *testing.T) {
	s := newSite(t)
	f := s.foreground(t)
	fd := openFd(t, makePipe(t, filepath.Join(s.dir, "pipes/p")), unix.O_RDWR)
	defer unix.Close(fd)
	mustRun(t, s.run(t, "umount", "-l", s.dir))
	s.log = filepath.Join(s.logs, "second")
	s.mount(t)
	f.signal(t, unix.SIGTERM)
	if status := f.status(t); status != 0 {
		t.Errorf("the daemon ended with %d: %s", status, f.out)
	}
	if _, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("write after the end: %v", err)
	}
	s.usable(t)
	s.umount(t)
	s.gone(t, "")
}

// The daemon finds its mount even if a directory above it has another name by now.
func TestLifeSignalAfterRenameAbove(t *testing.T) {
	s := newSite(t)
	above := filepath.Join(s.base, "above")
	s.dir = filepath.Join(above, "mnt")
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := s.foreground(t)
	if err := os.Rename(above, above+"2"); err != nil {
		t.Fatal(err)
	}
	s.dir = filepath.Join(above+"2", "mnt")
	s.usable(t)
	c := s.connection(t)
	f.signal(t, unix.SIGTERM)
	if status := f.status(t); status != 0 {
		t.Errorf("the daemon ended with %d: %s", status, f.out)
	}
	s.gone(t, c)
}

func TestLifeKilledDaemonIsHealed(t *testing.T) {
	s := newSite(t)
	link := filepath.Join(s.base, "link")
	if err := os.Symlink("mnt", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.dir, link, s.dir + "/"} {
		s.mount(t)
		c := s.connection(t)
		held := openFd(t, makePipe(t, filepath.Join(s.dir, "pipes/held")), unix.O_RDWR)
		blockers, release := blockEverywhere(t, s)
		if err := unix.Kill(s.daemon(t), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		allFailed(t, blockers)
		release()
		if _, err := os.ReadDir(s.dir); !errors.Is(err, unix.ENOTCONN) {
			t.Errorf("ls of a dead mount: %v", err)
		}
		mustRun(t, s.run(t, "mount", "--log", s.log, path))
		if n := len(s.mounts(t)); n != 1 {
			t.Errorf("%d mounts after the healing", n)
		}
		s.usable(t)
		if _, err := unix.Write(held, []byte("x")); !errors.Is(err, unix.ENOTCONN) {
			t.Errorf("write to a file of the dead mount: %v", err)
		}
		_ = unix.Close(held)
		s.umount(t)
		s.gone(t, c)
	}
}

// A dead mount can be unmounted, too, and two that lie over each other are healed at once.
func TestLifeDeadMounts(t *testing.T) {
	s := newSite(t)
	s.mount(t)
	if err := unix.Kill(s.daemon(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.waitDead(t)
	s.umount(t)
	s.gone(t, "")

	s.mount(t)
	if err := unix.Kill(s.daemon(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.waitDead(t)
	bind(t, s.dir, s.dir)
	s.mount(t)
	if n := len(s.mounts(t)); n != 1 {
		t.Errorf("%d mounts", n)
	}
	s.usable(t)
	s.umount(t)
	s.gone(t, "")
}

// A daemon that only stopped is not dead: what it holds must not be thrown away, and who asks must not hang with it.
func TestLifeStoppedDaemonIsNotDead(t *testing.T) {
	s := newSite(t)
	s.mount(t)
	fd := filled(t, filepath.Join(s.dir, "pipes/p"), "kept")
	pid := s.daemon(t)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(pid, unix.SIGCONT) }()
	if err := s.run(t, "mount", s.dir).wantError(1, "already"); err != nil {
		t.Error(err)
	}
	if err := s.run(t, "umount", s.dir).wantError(1, "in use"); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := drained(t, fd); got != "kept" {
		t.Errorf("the pipe held %q", got)
	}
	_ = unix.Close(fd)
	c := s.connection(t)
	s.umount(t)
	s.gone(t, c)
}

// waitDead waits until the kernel knows that the daemon is dead.
func (s *site) waitDead(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if _, err := os.ReadDir(s.dir); !errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("ls of a dead mount: %v", err)
		}
		return nil
	})
}
