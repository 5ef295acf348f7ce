package integration

import (
	"bytes"
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
)

// patience is how long a test waits while nothing goes on before it calls missing what must happen. Nothing is decided by how fast it happens.
const patience = 30 * time.Second

// allowance is how long a test waits for the end of what goes on.
const allowance = 5 * patience

// need skips the test if a tool is missing, or fails it where everything is required.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, "%s is not installed", tool)
		}
	}
}

// skip skips the test and says why; with IPCFS_REQUIRE_ALL=1 it fails it.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("IPCFS_REQUIRE_ALL") == "1" {
		t.Fatalf("cannot run, and nothing may be skipped here: "+format, args...)
	}
	t.Skipf(format, args...)
}

// mount is a mounted ipcfs with a daemon of its own.
type mount struct {
	dir     string // the mount point
	pipes   string // dir/pipes
	shm     string // dir/shm
	msgq    string // dir/msgq
	logFile string
	daemon  *exec.Cmd
	exited  chan error // receives the end of the daemon once
	stderr  *bytes.Buffer
}

// mountWith are the ways in which a test can ask for another daemon than the plain one.
type mountWith struct {
	binary string   // the command; the test binary if empty
	args   []string // flags of ipcfs mount
	env    []string
}

// newMount mounts an ipcfs for the test, and unmounts it at its end. The test fails if it cannot be unmounted, if the daemon does not end well, and
// if it logged a bug, a panic or a data race.
func newMount(t testing.TB, args ...string) *mount {
	t.Helper()
	return newMountWith(t, mountWith{args: args})
}

// publicDir is a directory for the test to which every user can get. It skips the test where nothing can be mounted.
func publicDir(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		skip(t, "no /dev/fuse: %v", err)
	}
	base := t.TempDir()
	for d := base; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

func newMountWith(t testing.TB, w mountWith) *mount {
	t.Helper()
	base := publicDir(t)
	m := &mount{dir: filepath.Join(base, "mnt"), logFile: filepath.Join(base, "log"), exited: make(chan error, 1), stderr: new(bytes.Buffer)}
	m.pipes, m.shm, m.msgq = filepath.Join(m.dir, "pipes"), filepath.Join(m.dir, "shm"), filepath.Join(m.dir, "msgq")
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := w.binary
	if binary == "" {
		binary = os.Args[0]
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	m.daemon = exec.Command(binary, append(append([]string{"mount", "--log", m.logFile}, w.args...), m.dir)...)
	m.daemon.Env = append(append(os.Environ(), asCommand+"=1", "IPCFS_READY_FD=3"), w.env...)
	m.daemon.ExtraFiles = []*os.File{tell}
	m.daemon.Stderr = m.stderr
	m.daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tell.Close()
	go func() { m.exited <- m.daemon.Wait() }()
	t.Cleanup(func() { m.close(t) })
	word, _ := io.ReadAll(ready)
	if string(word) != "ready" {
		t.Fatalf("the daemon is not ready: %q", word)
	}
	return m
}

// close unmounts and looks at how the daemon ended.
func (m *mount) close(t testing.TB) {
	t.Helper()
	if out, err := command("umount", m.dir).CombinedOutput(); err != nil {
		t.Errorf("ipcfs umount: %v: %s", err, out)
		m.abort(t)
	}
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the daemon does not end after its mount is gone")
		m.abort(t)
		t.Logf("killed: %v", <-m.exited)
	}
	log, err := os.ReadFile(m.logFile)
	if err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"BUG", "panic", "DATA RACE", "write /dev/fuse", "Unimplemented opcode"} {
		if bytes.Contains(log, []byte(bad)) || bytes.Contains(m.stderr.Bytes(), []byte(bad)) {
			t.Errorf("the daemon reported %q:\n%s\n%s", bad, log, m.stderr.Bytes())
			break
		}
	}
}

// abort frees a mount that cannot be unmounted: every request on it fails.
func (m *mount) abort(t testing.TB) {
	t.Helper()
	_ = syscall.Unmount(m.dir, syscall.MNT_DETACH)
	_ = m.daemon.Process.Kill()
}

// command is the command ipcfs with these arguments.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// realBinary builds ipcfs as a user gets it, without the race detector, and returns its path.
func realBinary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildOnce = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("ipcfs-test-%d", os.Getuid()), "ipcfs")
	out, err := exec.Command("go", "build", "-o", path, "ipcfs/cmd/ipcfs").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// pipeStat is a line of proc/pipes.
type pipeStat struct {
	ino                           uint64
	readers, writers, bytes       int
	used, slots                   int
	waitOpens, waitReads, waitWrs int
	name                          string
}

// waiting is how many operations wait on the pipe.
func (s pipeStat) waiting() int { return s.waitOpens + s.waitReads + s.waitWrs }

// pipeList reads proc/pipes. Two pipes that were removed may have had one name.
func (m *mount) pipeList() ([]pipeStat, error) {
	text, err := os.ReadFile(filepath.Join(m.dir, "proc/pipes"))
	if err != nil {
		return nil, err
	}
	var list []pipeStat
	rows, err := parseTable(string(text))
	for _, row := range rows {
		n := make(map[string]int)
		for _, column := range []string{"ino", "readers", "writers", "bytes", "used", "slots", "opens", "reads", "writes"} {
			var bad error
			n[column], bad = strconv.Atoi(row[column])
			err = errors.Join(err, bad)
		}
		list = append(list, pipeStat{uint64(n["ino"]), n["readers"], n["writers"], n["bytes"], n["used"], n["slots"], n["opens"], n["reads"], n["writes"], row["name"]})
	}
	if err != nil {
		return nil, fmt.Errorf("proc/pipes: %w in %q", err, text)
	}
	return list, nil
}

// parseTable reads a table of proc: a line of names of columns, and a line of as many words for each row.
func parseTable(text string) ([]map[string]string, error) {
	var rows []map[string]string
	header, rest, _ := strings.Cut(text, "\n")
	columns := strings.Fields(header)
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) != len(columns) {
			return nil, fmt.Errorf("%d words in a line for %d columns", len(f), len(columns))
		}
		row := make(map[string]string)
		for i, column := range columns {
			row[column] = f[i]
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// stats is pipeList by the name of the pipe below pipes/.
func (m *mount) stats() (map[string]pipeStat, error) {
	list, err := m.pipeList()
	stats := make(map[string]pipeStat)
	for _, s := range list {
		stats[strings.TrimPrefix(s.name, "pipes/")] = s
	}
	return stats, err
}

// waitFor waits until cond holds for the pipe with this name below pipes/, and fails the test if it never does.
func (m *mount) waitFor(t testing.TB, name string, cond func(pipeStat) bool) {
	t.Helper()
	var last pipeStat
	eventually(t, func() error {
		stats, err := m.stats()
		if err != nil {
			return err
		}
		if last = stats[name]; !cond(last) {
			return fmt.Errorf("pipe %s is %+v", name, last)
		}
		return nil
	})
}

// eventually asks again and again until cond has no error, and fails the test with the last one if it always has the same, or goes on for too long: what a thousand
// processes do takes its time on a busy machine, but it goes on.
func eventually(t testing.TB, cond func() error) {
	t.Helper()
	began, changed, last := time.Now(), time.Now(), ""
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if text := err.Error(); text != last {
			changed, last = time.Now(), text
		}
		if time.Since(changed) > patience || time.Since(began) > allowance {
			t.Fatalf("after %v still: %v", time.Since(began).Round(time.Second), err)
		}
		time.Sleep(pause)
	}
}

// retryEINTR repeats a system call that a signal of Go's own runtime interrupted: FUSE does not restart it.
func retryEINTR[T any](f func() (T, error)) (T, error) {
	for {
		if v, err := f(); !errors.Is(err, syscall.EINTR) {
			return v, err
		}
	}
}
