package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// longD is how long a task may be in uninterruptible sleep; for less it may wait for the disk.
const longD = 10 * time.Second

// watchD looks for tasks of the test's processes that stay in uninterruptible sleep, until the test ends: a process that cannot be killed is our bug.
func watchD(t *testing.T) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		since := make(map[string]time.Time) // by task and its count of context switches: who moved is another sleeper
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			now, seen := time.Now(), make(map[string]time.Time)
			tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/status")
			for _, path := range tasks {
				b, err := os.ReadFile(path)
				if err != nil || !bytes.Contains(b, []byte("State:\tD")) {
					continue
				}
				if !descendant(string(b)) {
					continue // somebody who waits for the disk, say
				}
				_, switches, _ := strings.Cut(string(b), "voluntary_ctxt_switches:")
				key := path + switches
				seen[key] = now
				if first, ok := since[key]; ok {
					seen[key] = first
					if now.Sub(first) > longD {
						stack, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stack"))
						t.Errorf("%s is in state D for %v:\n%s\n%s", path, now.Sub(first), b, stack)
					}
				}
			}
			since = seen
		}
	}()
	t.Cleanup(func() {
		close(stop)
		done.Wait()
	})
}

// descendant says whether the process with this /proc/PID/status was started by this one, or by one that was.
func descendant(status string) bool {
	for {
		_, rest, _ := strings.Cut(status, "\nPPid:")
		ppid, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		switch pid, err := strconv.Atoi(ppid); {
		case err != nil || pid <= 1:
			return false
		case pid == os.Getpid():
			return true
		default:
			status = procText(pid, "status")
		}
	}
}

// run runs a command that must return at once, that is without waiting for anybody who is blocked.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %v does not return", name, args)
	}
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// start starts a command that will be killed, and is waited for, at the end of the test.
func start(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// killAll kills the commands, each of which must end.
func killAll(t *testing.T, cmds []*exec.Cmd) {
	t.Helper()
	for _, cmd := range cmds {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range cmds {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // by a signal, so with an error
		}()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatalf("%v cannot be killed: %s", cmd, procText(cmd.Process.Pid, "stat"))
		}
	}
}

// With writers blocked on a full pipe, some of them by O_APPEND, nobody else waits.
func TestBlockedWritersHoldNobodyUp(t *testing.T) {
	m := newMount(t)
	watchD(t)
	p, moved := filepath.Join(m.pipes, "p"), filepath.Join(m.pipes, "moved")
	run(t, "touch", p)
	hold := start(t, "sh", "-c", `exec 3<>"$0"; exec sleep 1000`, p)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.readers == 1 })
	var writers []*exec.Cmd
	for i, redirect := range []string{">", ">>", ">", ">>"} {
		writers = append(writers, start(t, "sh", "-c", `exec head -c 200000 /dev/zero `+redirect+` "$0"`, p))
		m.waitFor(t, "p", func(s pipeStat) bool { return s.waitWrs == i+1 })
	}

	run(t, "stat", p)
	run(t, "ls", "-l", m.pipes)
	run(t, "chmod", "600", p)
	run(t, "chown", "0:0", p)
	run(t, "touch", p)
	run(t, "touch", "-d", "2001-01-01", p)
	if err := os.Truncate(p, 128<<10); err != nil { // room for the others: all write on, and block again
		t.Fatal(err)
	}
	m.waitFor(t, "p", func(s pipeStat) bool { return s.slots == 32 && s.waitWrs == 4 })
	run(t, "dd", "if=/dev/null", "of="+p, "oflag=nonblock", "status=none") // opens with O_TRUNC
	run(t, "sh", "-c", `: 3> "$0"`, p)
	run(t, "sh", "-c", `: 3>> "$0"`, p)
	run(t, "mv", p, moved)
	run(t, "mv", moved, p)
	run(t, "rm", p)
	if got := run(t, "ls", m.pipes); got != "" {
		t.Fatalf("still there: %q", got)
	}
	m.waitFor(t, `p\040(deleted)`, func(s pipeStat) bool { return s.waitWrs == 4 })
	killAll(t, writers)
	killAll(t, []*exec.Cmd{hold})
	eventually(t, func() error {
		if stats, err := m.stats(); err != nil || len(stats) > 0 {
			return fmt.Errorf("proc/pipes: %v, %v", stats, err)
		}
		return nil
	})
}

// The O_TRUNC of `>` must not leave an open file behind on which two processes lock each other out (the kernel would think that the file is empty).
func TestSharedDescriptorAfterTruncation(t *testing.T) {
	m := newMount(t)
	watchD(t)
	p := filepath.Join(m.pipes, "p")
	run(t, "touch", p)
	start(t, "sh", "-c", `exec 3<>"$0"; exec sleep 1000`, p)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.readers == 1 })
	// Three writers on the descriptor that one `>` opened.
	start(t, "sh", "-c", `exec > "$0"; head -c 200000 /dev/zero & head -c 200000 /dev/zero & exec head -c 200000 /dev/zero`, p)
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitWrs == 3 })
}

// An open for writing of a pipe that others have just looked up is sent on its way once more, and nobody notices.
func TestStaleOpenIsInvisible(t *testing.T) {
	m := newMount(t, "--debug")
	p := filepath.Join(m.pipes, "p")
	run(t, "touch", p)
	for range 5 {
		run(t, "stat", p)
		run(t, "sh", "-c", `exec 3<>"$0"; echo through >&3; read x <&3; test "$x" = through`, p)
	}
	eventually(t, func() error {
		log, err := os.ReadFile(m.logFile)
		if n := bytes.Count(log, []byte("stale")); err != nil || n < 5 {
			return fmt.Errorf("%d opens were refused once, want 5 (%v)", n, err)
		}
		return nil
	})
}

// TestHammer lets 8 processes do everything to two names at once, for IPCFS_HAMMER seconds (60). Nobody may see an error that a FIFO would not give, hang,
// or get stuck.
func TestHammer(t *testing.T) {
	m := newMount(t)
	h := newTheatre(t)
	watchD(t)
	run(t, "touch", filepath.Join(m.pipes, "p"), filepath.Join(m.pipes, "q"))
	until := time.Now().Add(time.Duration(envNumber(t, "IPCFS_HAMMER", 60)) * time.Second)
	seed := envNumber(t, "IPCFS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	// Only one goroutine at a time may wait for an actor to come, or they would take each other's.
	var entering sync.Mutex
	enter := func() (*actor, error) {
		entering.Lock()
		defer entering.Unlock()
		return h.enter()
	}
	var wg sync.WaitGroup
	var steps [8]int
	for i := range steps {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n, err := hammer(enter, m.pipes, rand.New(rand.NewPCG(seed, uint64(i))), until)
			steps[i] = n
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	t.Logf("steps: %v", steps)
}

// hammer is one process of TestHammer. A call that does not return within a moment is interrupted, now and then by kill -9.
func hammer(enter func() (*actor, error), dir string, rng *rand.Rand, until time.Time) (steps int, err error) {
	a, err := enter()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.kill()) }()
	open := make([]bool, 4)
	for ; time.Now().Before(until); steps++ {
		slot := rng.IntN(len(open))
		path := filepath.Join(dir, pick(rng, "p", "q"))
		other := filepath.Join(dir, pick(rng, "p", "q"))
		size := pick(rng, 1, 4096, 70000, 200000)
		flags := pick(rng, unix.O_RDONLY, unix.O_WRONLY, unix.O_WRONLY|unix.O_APPEND, unix.O_RDWR, unix.O_WRONLY|unix.O_TRUNC, unix.O_WRONLY|unix.O_CREAT) |
			pick(rng, 0, unix.O_NONBLOCK)
		cmds := []string{
			"stat " + path, "stat " + path, "chmod " + path, "utimes " + path, fmt.Sprintf("truncate %s %d", path, pick(rng, 0, 65536, 131072)),
			"rename " + path + " " + other, "unlink " + path, "mkreg " + path, "mkreg " + path,
		}
		if open[slot] {
			cmds = append(cmds, fmt.Sprintf("read %d %d", slot, size), fmt.Sprintf("write %d %d 1", slot, size), fmt.Sprintf("write %d %d 2", slot, size), fmt.Sprintf("close %d", slot))
		} else {
			opens := fmt.Sprintf("open %d %s %d", slot, path, flags)
			cmds = append(cmds, opens, opens, opens)
		}
		cmd := pick(rng, cmds...)
		if err := a.send(cmd); err != nil {
			return steps, err
		}
		killed := false
		var answer string
		for end := time.Now().Add(patience); answer == ""; {
			p := []unix.PollFd{{Fd: int32(a.socket), Events: unix.POLLIN}}
			if n, _ := unix.Poll(p, 5); n > 0 {
				if answer, _, err = a.tryAnswer(); err != nil {
					return steps, err
				}
				continue
			}
			if time.Now().After(end) {
				return steps, fmt.Errorf("%q does not end: %s", cmd, a.where())
			}
			if rng.IntN(8) == 0 {
				killed = true
				break
			}
			if err := unix.Kill(a.pid, unix.SIGUSR1); err != nil {
				return steps, err
			}
		}
		if killed {
			if err := a.kill(); err != nil {
				return steps, err
			}
			if a, err = enter(); err != nil {
				return steps, err
			}
			clear(open)
			continue
		}
		f := strings.Fields(answer)
		errno, _ := strconv.Atoi(f[1])
		op := strings.Fields(cmd)[0]
		allowed := []unix.Errno{0, unix.ENOENT, unix.EEXIST, unix.EINTR, unix.ENXIO, unix.EAGAIN, unix.EPIPE, unix.EBADF, unix.EBUSY}
		if !slices.Contains(allowed, unix.Errno(errno)) {
			return steps, fmt.Errorf("%q: %v", cmd, unix.Errno(errno))
		}
		switch {
		case op == "open" && errno == 0:
			open[slot] = true
		case op == "close":
			open[slot] = false
		}
	}
	return steps, nil
}

// Ten thousand pipes, each with a process blocked in reading it.
func TestTenThousandBlockedReaders(t *testing.T) {
	need(t, "cc")
	crowd, err := compile("crowd")
	if err != nil {
		t.Fatal(err)
	}
	const n = 10000
	m := newMountWith(t, mountWith{binary: realBinary(t), env: []string{"IPCFS_VERIFY=0"}})
	for i := range n {
		if err := unix.Mknod(filepath.Join(m.pipes, strconv.Itoa(i)), unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []string{"byte", "kill"} {
		t.Run(end, func(t *testing.T) {
			cmd := exec.Command(crowd, m.pipes, strconv.Itoa(n))
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waited := make(chan struct{})
			limit := time.AfterFunc(5*time.Minute, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
			t.Cleanup(func() {
				limit.Stop()
				_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
				<-waited
			})
			lines := bufio.NewScanner(out)
			var opens []time.Duration
			for lines.Scan() && lines.Text() != "ready" {
				var i, ns int
				if _, err := fmt.Sscanf(lines.Text(), "open %d %d", &i, &ns); err != nil || ns < 0 {
					t.Errorf("%q: %v", lines.Text(), err)
				}
				opens = append(opens, time.Duration(ns))
			}
			go func() {
				defer close(waited)
				<-t.Context().Done()
				_ = cmd.Wait()
			}()
			if len(opens) != n {
				t.Fatalf("%d of %d pipes were opened", len(opens), n)
			}
			eventually(t, func() error {
				stats, err := m.stats()
				waiting := 0
				for _, s := range stats {
					waiting += s.waitReads
				}
				if waiting != n {
					return fmt.Errorf("%d readers wait: %w", waiting, err)
				}
				return nil
			})
			first, last := fast(opens[:1000]), fast(opens[n-1000:])
			rss := residentMemory(t, m.daemon.Process.Pid)
			t.Logf("open: the fast of the first 1000 take %v, of the last 1000 %v; daemon's resident memory %d MiB", first, last, rss>>20)
			if last > 8*first { // were it in proportion, it would be more than 10 times that
				t.Errorf("an open takes %v among %d pipes and %v among few", last, n, first)
			}
			if rss > 200<<20 {
				t.Errorf("resident memory is %d MiB, more than 200", rss>>20)
			}
			if end == "byte" {
				for i := range n {
					if err := writeByte(filepath.Join(m.pipes, strconv.Itoa(i)), byte(i%250)); err != nil {
						t.Fatal(err)
					}
				}
			} else if err := exec.Command("pkill", "-KILL", "-P", strconv.Itoa(cmd.Process.Pid)).Run(); err != nil {
				t.Fatal(err)
			}
			ended := 0
			for ; lines.Scan(); ended++ {
				want := fmt.Sprintf("exit %d %d", ended, ended%250)
				if end == "kill" {
					want = fmt.Sprintf("exit %d killed 9", ended)
				}
				if lines.Text() != want {
					t.Fatalf("%q, want %q", lines.Text(), want)
				}
			}
			if ended != n {
				t.Fatalf("%d of %d processes ended", ended, n)
			}
		})
	}
}

// writeByte writes a byte with plain system calls: an os.File would wait in epoll.
func writeByte(path string, b byte) error {
	fd, err := retryEINTR(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	_, err = retryEINTR(func() (int, error) { return unix.Write(fd, []byte{b}) })
	return errors.Join(err, unix.Close(fd))
}

// fast is what the fastest tenth takes at most: those that nothing else on the machine kept waiting.
func fast(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/10]
}

// residentMemory is VmRSS of a process in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	for _, line := range strings.Split(procText(pid, "status"), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	t.Fatalf("no VmRSS of process %d", pid)
	return 0
}
