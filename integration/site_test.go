package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// site is a place to mount on with the command as users call it, daemon in the background and all. Whatever a test leaves there, mounts and
// processes, is cleared away at its end.
type site struct {
	base string // above dir; every user can get there
	dir  string // the mount point
	logs string // a directory into which every user can write
	log  string // the log of daemons, by which their processes are found too
}

func newSite(t testing.TB) *site {
	t.Helper()
	base := publicDir(t)
	s := &site{base: base, dir: filepath.Join(base, "mnt"), logs: filepath.Join(base, "logs")}
	s.log = filepath.Join(s.logs, "log")
	for _, d := range []string{s.dir, s.logs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.logs, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.clear(t) })
	return s
}

// clear ends what is left, and fails the test for what a daemon complained of.
func (s *site) clear(t testing.TB) {
	for unix.Unmount(s.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
	for _, pid := range s.daemons() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	eventually(t, func() error {
		if pids := s.daemons(); len(pids) > 0 {
			return fmt.Errorf("daemons %v do not end", pids)
		}
		return nil
	})
	files, _ := filepath.Glob(filepath.Join(s.logs, "*"))
	for _, f := range files {
		if st, err := os.Lstat(f); err != nil || !st.Mode().IsRegular() {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		for _, bad := range []string{"BUG", "panic", "DATA RACE", "write /dev/fuse", "Unimplemented opcode"} {
			if bytes.Contains(text, []byte(bad)) {
				t.Errorf("the daemon reported %q:\n%s", bad, text)
				break
			}
		}
	}
}

// ran is how a command ended.
type ran struct {
	status   int // -1 if a signal ended it
	out, err string
}

// finish runs a command to its end, and fails the test if that does not come: a process that keeps the command's output open counts too.
func finish(t testing.TB, cmd *exec.Cmd) ran {
	t.Helper()
	var out, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(allowance, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case !late.Stop():
		t.Fatalf("%v does not end: %s", cmd.Args, stderr.String())
	case errors.Is(err, exec.ErrWaitDelay):
		t.Fatalf("%v ended, but somebody keeps its output open", cmd.Args)
	case err != nil && !errors.As(err, &exit):
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// run runs ipcfs.
func (s *site) run(t testing.TB, args ...string) ran {
	t.Helper()
	return finish(t, s.command(args...))
}

// command is ipcfs with an environment in which a daemon's data races are found in s.logs: it has no standard error.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := command(args...)
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0 log_path="+filepath.Join(s.logs, "race"))
	return cmd
}

// mount mounts, which must work.
func (s *site) mount(t testing.TB, args ...string) {
	t.Helper()
	mustRun(t, s.run(t, s.mountArgs(args...)...))
}

func (s *site) mountArgs(args ...string) []string {
	return append(append([]string{"mount", "--log", s.log}, args...), s.dir)
}

// umount unmounts, which must work.
func (s *site) umount(t testing.TB) {
	t.Helper()
	mustRun(t, s.run(t, "umount", s.dir))
}

func mustRun(t testing.TB, r ran) {
	t.Helper()
	if r.status != 0 || r.err != "" {
		t.Fatalf("status %d, %s%s", r.status, r.out, r.err)
	}
}

// wantError says what is wrong with a command that should have failed with this status and one line that has all of words.
func (r ran) wantError(status int, words ...string) error {
	switch {
	case r.status != status:
		return fmt.Errorf("status %d instead of %d: %s%s", r.status, status, r.out, r.err)
	case !strings.HasPrefix(r.err, "ipcfs") || strings.Count(r.err, "\n") != 1 || !strings.HasSuffix(r.err, "\n"):
		return fmt.Errorf("not one line of ipcfs: %q", r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			return fmt.Errorf("%q does not say %q", r.err, w)
		}
	}
	return nil
}

// daemons are the processes that serve this site. What is dead and only not waited for has no command line any more.
func (s *site) daemons() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		text, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if args := strings.Split(string(text), "\x00"); err == nil && slices.Contains(args, "mount") && slices.Contains(args, s.log) {
			if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// daemon is the one process that serves this site.
func (s *site) daemon(t testing.TB) int {
	t.Helper()
	pids := s.daemons()
	if len(pids) != 1 {
		t.Fatalf("there are daemons %v instead of one", pids)
	}
	return pids[0]
}

// mounts are the mounts on the mount point, in the order in which they were made.
func (s *site) mounts(t testing.TB) []*mountinfo.Info {
	t.Helper()
	list, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != s.dir, false })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// connection is what the kernel calls the connection of the mount in /sys/fs/fuse/connections.
func (s *site) connection(t testing.TB) string {
	t.Helper()
	list := s.mounts(t)
	if len(list) == 0 {
		t.Fatalf("nothing is mounted on %s", s.dir)
	}
	path := filepath.Join(connections, strconv.Itoa(list[len(list)-1].Minor))
	if _, err := os.Stat(path); err != nil && os.Geteuid() == 0 {
		t.Fatalf("the kernel's list of connections is not to be seen: %v", err)
	}
	return path
}

// gone waits until nothing is left of a mount: no mount, no process, no connection.
func (s *site) gone(t testing.TB, connection string) {
	t.Helper()
	eventually(t, func() error {
		if pids := s.daemons(); len(pids) > 0 {
			return fmt.Errorf("daemons %v are left", pids)
		}
		if list := s.mounts(t); len(list) > 0 {
			return fmt.Errorf("%d mounts are left", len(list))
		}
		if connection != "" {
			if _, err := os.Stat(connection); err == nil {
				return fmt.Errorf("%s is left", connection)
			}
		}
		return nil
	})
}

// usable fails the test unless bytes go through a new pipe of the mount.
func (s *site) usable(t testing.TB) {
	t.Helper()
	p := filepath.Join(s.dir, "pipes", "usable")
	got := finish(t, exec.Command("sh", "-c", `echo hello > "$0" & cat "$0" && wait && rm "$0"`, makePipe(t, p)))
	if got.status != 0 || got.out != "hello\n" {
		t.Fatalf("the mount does not work: %+v", got)
	}
}

// makePipe makes a pipe.
func makePipe(t testing.TB, path string) string {
	t.Helper()
	fd := openFd(t, path, unix.O_RDWR|unix.O_CREAT)
	_ = unix.Close(fd)
	return path
}

// openFd opens path in this process, without Go's poller.
func openFd(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := retryEINTR(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0o644) })
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return fd
}

// blocker is a process that is to block on the mount.
type blocker struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	out   *output       // what it writes to standard error
}

// startBlocker starts a process and kills it at the end of the test. Standard error goes to out if that is not nil.
func startBlocker(t testing.TB, cmd *exec.Cmd, out *output) *blocker {
	t.Helper()
	if out == nil {
		out = new(output)
	}
	b := &blocker{cmd: cmd, ended: make(chan struct{}), out: out}
	cmd.Stderr = out
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(b.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		b.wait(t)
	})
	return b
}

// wait waits for the end of the process.
func (b *blocker) wait(t testing.TB) {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(patience):
		t.Errorf("%v hangs", b.cmd.Args)
	}
}

// blockedIn says whether a thread of the process is in the system call with this number.
func (b *blocker) blockedIn(number int) bool { return threadsIn(b.cmd.Process.Pid, number) > 0 }

// threadsIn is how many threads of a process are in the system call with this number.
func threadsIn(pid, number int) (n int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), strconv.Itoa(number)+" ") {
			n++
		}
	}
	return n
}

// output collects what a process writes while it runs.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write appends b.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ownNamespace names the test that runs in a mount namespace of its own.
const ownNamespace = "IPCFS_TEST_OWN_NAMESPACE"

// inOwnNamespace runs the test once more in a process with a mount namespace of its own, where what it does to /dev and /etc concerns nobody else and
// ends with it. It returns true there, and false in the first process when the second has ended.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNamespace) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		skip(t, "only root can make a mount namespace")
	}
	const limit = 5 * time.Minute
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+limit.String())
	cmd.Env = append(os.Environ(), ownNamespace+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")):
		skip(t, "%s", out)
	}
	return false
}

// bind makes what is at from visible at to, in the test's own mount namespace.
func bind(t testing.TB, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("bind %s to %s: %v", from, to, err)
	}
}

// fuseForAll makes /dev/fuse what udev makes it, in the test's own mount namespace.
func fuseForAll(t testing.TB, s *site) {
	t.Helper()
	node := filepath.Join(s.base, "fuse")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	bind(t, node, "/dev/fuse")
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil { // a temporary directory on a file system without devices
		skip(t, "a device node made for the test does not work: %v", err)
	}
	_ = f.Close()
}

// Two users without rights, and a group.
const (
	nobody  = 65534
	another = 65533
)

// newUsersSite is a site in the test's own mount namespace on which the user nobody may mount.
func newUsersSite(t testing.TB) *site {
	t.Helper()
	need(t, "fusermount3")
	s := newSite(t)
	fuseForAll(t, s)
	if err := os.Chown(s.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return s
}

// bindFuseConf makes text /etc/fuse.conf, in the test's own mount namespace, and returns what changes it.
func (s *site) bindFuseConf(t testing.TB, text string) (change func(text string)) {
	t.Helper()
	const conf = "/etc/fuse.conf"
	if _, err := os.Stat(conf); err != nil {
		skip(t, "no %s to bind over: %v", conf, err)
	}
	ours := filepath.Join(s.base, "fuse.conf")
	change = func(text string) {
		t.Helper()
		if err := os.WriteFile(ours, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change(text)
	bind(t, ours, conf)
	return change
}

// asUser makes cmd run as an ordinary user.
func asUser(uid uint32, cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	return cmd
}

// commandAs is ipcfs run by an ordinary user, who cannot get at the test binary: of a copy of it.
func (s *site) commandAs(t testing.TB, uid uint32, args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(s.base, "ipcfs")
	if _, err := os.Stat(path); err != nil {
		copyFile(t, os.Args[0], path, 0o755)
	}
	cmd := s.command(args...)
	cmd.Path = path
	return asUser(uid, cmd)
}

// runAs runs ipcfs as an ordinary user.
func (s *site) runAs(t testing.TB, uid uint32, args ...string) ran {
	t.Helper()
	return finish(t, s.commandAs(t, uid, args...))
}

func copyFile(t testing.TB, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		_, err = io.Copy(out, in)
		err = errors.Join(err, out.Chmod(mode), out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
