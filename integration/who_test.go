package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// whoRow is a line of ipcfs who.
type whoRow struct {
	pid                                                int
	command, mode, waits, tid, since, waitsFor, inTree string
}

// who runs ipcfs who, and returns the lines of its table and those after it.
func (m *mount) who(t testing.TB, args ...string) (rows []whoRow, deadlocks []string) {
	t.Helper()
	if len(args) == 0 {
		args = []string{m.dir}
	}
	r := finish(t, quick(command(append([]string{"who"}, args...)...)))
	mustRun(t, r)
	heading, rest, _ := strings.Cut(r.out, "\n")
	if want := "PID COMMAND MODE WAITS TID SINCE FOR NAME"; strings.Join(strings.Fields(heading), " ") != want {
		t.Fatalf("the heading is %q, want %s", heading, want)
	}
	for line := range strings.Lines(rest) {
		if strings.Contains(line, "deadlock: ") {
			deadlocks = append(deadlocks, strings.TrimSuffix(line, "\n"))
			continue
		}
		f := strings.Fields(line)
		if len(f) < 8 || len(deadlocks) > 0 {
			t.Fatalf("%q in\n%s", line, r.out)
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, whoRow{pid, f[1], f[2], f[3], f[4], f[5], f[6], strings.Join(f[7:], " ")})
	}
	return rows, deadlocks
}

// quick makes the race detector not wait for a second at the end of a command.
func quick(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// whoHas waits until ipcfs who shows these lines, "MODE WAITS FOR NAME", of a process, in any order.
func (m *mount) whoHas(t testing.TB, b *blocker, want ...string) []whoRow {
	t.Helper()
	var of []whoRow
	eventually(t, func() error {
		rows, _ := m.who(t)
		of = slices.DeleteFunc(rows, func(r whoRow) bool { return r.pid != b.cmd.Process.Pid })
		var got []string
		for _, r := range of {
			got = append(got, strings.Join([]string{r.mode, r.waits, r.waitsFor, r.inTree}, " "))
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("process %d (%v): %q, want %q; %s", b.cmd.Process.Pid, b.cmd.Args, got, want, b.out)
		}
		return nil
	})
	for _, r := range of {
		if command := filepath.Base(b.cmd.Args[0]); r.command != command {
			t.Errorf("%d is %s, not %s", r.pid, r.command, command)
		}
		if waits := r.waits != "-"; waits != (r.tid == strconv.Itoa(r.pid)) || waits == (r.since == "-") {
			t.Errorf("%+v", r)
		}
	}
	return of
}

// talker is a shell that does what it is told, a line at a time.
type talker struct {
	*blocker
	says *output
	tell io.WriteCloser
}

func startTalker(t testing.TB, dir string) *talker {
	t.Helper()
	cmd := exec.Command("sh", "-c", `while read -r line; do eval "$line"; echo done; done`)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &talker{says: new(output), tell: in}
	cmd.Stdout = s.says
	s.blocker = startBlocker(t, cmd, nil)
	return s
}

// do lets the shell do something, and waits until it is done.
func (s *talker) do(t testing.TB, line string) {
	t.Helper()
	before := strings.Count(s.says.String(), "done\n")
	s.begin(t, line)
	eventually(t, func() error {
		if strings.Count(s.says.String(), "done\n") == before {
			return fmt.Errorf("the shell has not done %s: %s", line, s.out)
		}
		return nil
	})
}

// begin lets the shell do something.
func (s *talker) begin(t testing.TB, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(s.tell, line); err != nil {
		t.Fatal(err)
	}
}

// end lets the shell end, which it must do well.
func (s *talker) end(t testing.TB) {
	t.Helper()
	_ = s.tell.Close()
	s.wait(t)
	if !s.cmd.ProcessState.Success() || s.out.String() != "" {
		t.Errorf("%v: %s", s.cmd.ProcessState, s.out)
	}
}

func (s *talker) pid() int { return s.cmd.Process.Pid }

// startDeadlock makes two pipes and two shells, each of which reads before it writes.
func startDeadlock(t testing.TB, m *mount) (a, b *blocker) {
	t.Helper()
	in, out := makePipe(t, filepath.Join(m.pipes, "there")), makePipe(t, filepath.Join(m.pipes, "back"))
	const script = `exec 3<"$0" 4>"$1"; read -r x <&3; echo "$x" >&4`
	a = startBlocker(t, exec.Command("sh", "-c", script, in, out), nil)
	b = startBlocker(t, exec.Command("sh", "-c", `exec 4>"$1" 3<"$0"; read -r x <&3; echo "$x" >&4`, out, in), nil)
	return a, b
}

// Two shells that each read from the other first: ipcfs who alone tells what is the matter.
func TestWhoFindsDeadlock(t *testing.T) {
	m := newMount(t)
	a, b := startDeadlock(t, m)
	pids := []int{a.cmd.Process.Pid, b.cmd.Process.Pid}
	var rows []whoRow
	var deadlocks []string
	eventually(t, func() error {
		if rows, deadlocks = m.who(t); len(deadlocks) != 1 {
			return fmt.Errorf("deadlocks %q, of %+v", deadlocks, rows)
		}
		return nil
	})
	says := func(i, j int, name string) string {
		return fmt.Sprintf("%d (sh) waits to read pipes/%s, which %d (sh) holds", pids[i], name, pids[j])
	}
	one, two := says(0, 1, "there"), says(1, 0, "back")
	if got := deadlocks[0]; got != "deadlock: "+one+"; "+two && got != "deadlock: "+two+"; "+one {
		t.Errorf("%q, want a deadlock: %s; %s", got, one, two)
	}
	m.whoHas(t, a, fmt.Sprintf("r READ %d pipes/there", pids[1]), "w - - pipes/back")
	m.whoHas(t, b, fmt.Sprintf("r READ %d pipes/back", pids[0]), "w - - pipes/there")
	// It is told also if only one of its objects is asked for, and not if none is.
	for path, want := range map[string]int{"pipes": 1, "pipes/there": 1, "pipes/back": 1, "msgq": 0} {
		if _, d := m.who(t, filepath.Join(m.dir, path)); len(d) != want {
			t.Errorf("%s: %q, want %d", path, d, want)
		}
	}
	// As JSON.
	var doc whoDocument
	m.whoJSON(t, &doc)
	if len(doc.Deadlocks) != 1 || doc.Deadlocks[0].Possible || len(doc.Deadlocks[0].Waits) != 2 {
		t.Fatalf("%+v", doc.Deadlocks)
	}
	for _, w := range doc.Deadlocks[0].Waits {
		name := map[int]string{pids[0]: "pipes/there", pids[1]: "pipes/back"}[w.Pid]
		if w.Name != name || w.Waits != "READ" || w.Command != "sh" || w.Holder != pids[0]+pids[1]-w.Pid || w.HolderCommand != "sh" {
			t.Errorf("%+v", w)
		}
	}
	// When one of them is gone, so is the deadlock, and the other one.
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	a.wait(t)
	b.wait(t)
	if rows, deadlocks := m.who(t); len(deadlocks) > 0 {
		t.Errorf("%q of %+v", deadlocks, rows)
	}
}

// Who has a third process that could write waits for that too, and it is no deadlock.
func TestWhoClaimsNoDeadlock(t *testing.T) {
	m := newMount(t)
	third := startTalker(t, m.pipes)
	makePipe(t, filepath.Join(m.pipes, "there"))
	third.do(t, "exec 5<>there") // before there is a deadlock
	third.do(t, "exec 6>there 5<&-")
	a, b := startDeadlock(t, m)
	pids := func(p ...int) string {
		slices.Sort(p)
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(p), " ", ","), "[]")
	}
	m.whoHas(t, third.blocker, "w - - pipes/there")
	m.whoHas(t, a, fmt.Sprintf("r READ %s pipes/there", pids(b.cmd.Process.Pid, third.pid())), "w - - pipes/back")
	m.whoHas(t, b, fmt.Sprintf("r READ %d pipes/back", a.cmd.Process.Pid), "w - - pipes/there")
	if rows, deadlocks := m.who(t); len(deadlocks) > 0 {
		t.Errorf("%q though %d could write: %+v", deadlocks, third.pid(), rows)
	}
	// Without it, it would be one.
	third.do(t, "exec 6>&-")
	eventually(t, func() error {
		if _, deadlocks := m.who(t); len(deadlocks) != 1 || !strings.HasPrefix(deadlocks[0], "deadlock: ") {
			return fmt.Errorf("%q", deadlocks)
		}
		return nil
	})
	// It could write indeed.
	third.do(t, "exec 6>there")
	if _, deadlocks := m.who(t); len(deadlocks) > 0 {
		t.Errorf("%q though it is there again", deadlocks)
	}
	third.do(t, "echo hello >&6")
	a.wait(t)
	b.wait(t)
	third.end(t)
	if !a.cmd.ProcessState.Success() { // the other may write when this one is gone already
		t.Errorf("%v: %s", a.cmd.ProcessState, a.out)
	}
}

// Who writes into a full pipe waits for its reader; who opens one, for somebody who comes.
func TestWhoWaitsAtPipes(t *testing.T) {
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "full pipe"))
	reader := startTalker(t, m.pipes)
	reader.begin(t, `exec 3<"full pipe"`)
	m.whoHas(t, reader.blocker, "r OPEN - pipes/full pipe")
	writer := startBlocker(t, exec.Command("dd", "if=/dev/zero", "of="+p, "bs=70000", "count=1", "status=none"), nil)
	m.whoHas(t, writer, fmt.Sprintf("w WRITE %d pipes/full pipe", reader.pid()))
	m.whoHas(t, reader.blocker, "r - - pipes/full pipe")
	// A stage of a pipeline that waits for the next one, which waits for one that has not come.
	next := makePipe(t, filepath.Join(m.pipes, "next"))
	stage := startBlocker(t, exec.Command("dd", "if="+p, "of="+next, "bs=70000", "count=2", "status=none"), nil)
	m.whoHas(t, stage, "r - - pipes/full pipe", "w OPEN - pipes/next")
	last := startTalker(t, m.pipes)
	last.do(t, "exec 3<next")
	m.whoHas(t, stage, "w WRITE "+strconv.Itoa(last.pid())+" pipes/next", "r - - pipes/full pipe") // 70000 bytes do not fit there either
	if rows, deadlocks := m.who(t); len(deadlocks) > 0 {
		t.Errorf("%q of %+v", deadlocks, rows)
	}
	last.do(t, "cat <&3 >/dev/null & exec 3<&-")
	writer.wait(t)
	reader.end(t)
	stage.wait(t)
	last.do(t, "wait")
	last.end(t)
	if rows, _ := m.who(t); len(rows) > 0 {
		t.Errorf("still open: %+v", rows)
	}
}

// Receivers wait for those who have the queue open for sending, and senders for those who have it for receiving, whatever their views.
func TestWhoWaitsAtQueues(t *testing.T) {
	m := newMount(t)
	empty, full := newQueue(t, m, "empty", false), newQueue(t, m, "full", true)
	sender, receiver := startTalker(t, m.msgq), startTalker(t, m.msgq)
	sender.do(t, "exec 3>empty:5")
	receiver.do(t, "exec 3<full:-9:raw")
	m.whoHas(t, sender.blocker, "w - - msgq/empty:5")
	m.whoHas(t, receiver.blocker, "r - - msgq/full:-9:raw")
	cat := startBlocker(t, exec.Command("cat", empty+":5"), nil)
	m.whoHas(t, cat, fmt.Sprintf("r READ %d msgq/empty:5", sender.pid()))
	dd := startBlocker(t, exec.Command("dd", "if=/dev/zero", "of="+full, "bs=1000", "count=1", "status=none"), nil)
	m.whoHas(t, dd, fmt.Sprintf("w WRITE %d msgq/full", receiver.pid()))
	both := startBlocker(t, exec.Command("sh", "-c", `read -r x <>"$0:stream"`, empty), nil) // it waits for the other, and not for itself
	m.whoHas(t, both, fmt.Sprintf("rw READ %d msgq/empty:stream", sender.pid()))
	m.whoHas(t, cat, fmt.Sprintf("r READ %d,%d msgq/empty:5", min(sender.pid(), both.cmd.Process.Pid), max(sender.pid(), both.cmd.Process.Pid)))
	if rows, deadlocks := m.who(t); len(deadlocks) > 0 {
		t.Errorf("%q of %+v", deadlocks, rows)
	}
	run(t, "rm", empty, full)
	for _, b := range []*blocker{cat, dd, both} {
		b.wait(t)
	}
	// Of a removed object it is still told, in its directory too.
	rows, _ := m.who(t, m.msgq)
	if len(rows) != 2 || slices.ContainsFunc(rows, func(r whoRow) bool { return r.waits != "-" || !strings.Contains(r.inTree, "(deleted)") }) {
		t.Errorf("in msgq: %+v, want what the two shells have open, which was removed", rows)
	}
	sender.end(t)
	receiver.end(t)
}

// Who has mapped a segment is shown, also when no descriptor is open any more.
func TestWhoMapsSegments(t *testing.T) {
	need(t, "python3")
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		makePipe(t, filepath.Join(m.shm, "seg"))
		if err := unix.Truncate(filepath.Join(m.shm, "seg"), 1<<20); err != nil {
			t.Fatal(err)
		}
		const script = `
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
prot = {'rw-s': mmap.PROT_READ | mmap.PROT_WRITE, 'r--s': mmap.PROT_READ}
maps = [mmap.mmap(f, int(n), mmap.MAP_SHARED, prot[p]) for p, n in (a.split(':') for a in sys.argv[2:])]
os.close(f)
print('mapped', flush=True)
sys.stdin.read()
`
		start := func(maps ...string) (*blocker, io.Closer) {
			t.Helper()
			cmd := exec.Command("python3", append([]string{"-c", script, filepath.Join(m.shm, "seg")}, maps...)...)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			says := new(output)
			cmd.Stdout = says
			b := startBlocker(t, cmd, nil)
			eventually(t, func() error {
				if says.String() != "mapped\n" {
					return fmt.Errorf("%q %s", says, b.out)
				}
				return nil
			})
			return b, in
		}
		one, endOne := start("rw-s:1048576")
		two, endTwo := start("r--s:8192", "rw-s:4096")
		// A file whose last descriptor is closed may be open as long as it is mapped, where the kernel does not map the file behind.
		mapsOf := func(b *blocker) (perms []string) {
			rows, _ := m.who(t, m.shm)
			for _, r := range rows {
				if r.pid == b.cmd.Process.Pid && len(r.mode) == 4 {
					if r.waits != "-" || r.tid != "-" || r.since != "-" || r.waitsFor != "-" || r.inTree != "shm/seg" {
						t.Errorf("%+v", r)
					}
					perms = append(perms, r.mode)
				}
			}
			slices.Sort(perms)
			return perms
		}
		if got := mapsOf(one); !slices.Equal(got, []string{"rw-s"}) {
			t.Errorf("the first maps it as %q", got)
		}
		if got := mapsOf(two); !slices.Equal(got, []string{"r--s", "rw-s"}) {
			t.Errorf("the second maps it as %q", got)
		}
		var doc whoDocument
		m.whoJSON(t, &doc, filepath.Join(m.shm, "seg"))
		var got []string
		for _, w := range doc.Maps {
			if w.Name != "shm/seg" || w.Command != "python3" {
				t.Errorf("%+v", w)
			}
			got = append(got, fmt.Sprint(w.Pid, w.Perms, w.Bytes))
		}
		slices.Sort(got)
		want := []string{fmt.Sprint(one.cmd.Process.Pid, "rw-s", 1<<20), fmt.Sprint(two.cmd.Process.Pid, "r--s", 8192), fmt.Sprint(two.cmd.Process.Pid, "rw-s", 4096)}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("as JSON: %q, want %q", got, want)
		}
		_ = endOne.Close()
		one.wait(t)
		if got := mapsOf(one); len(got) > 0 {
			t.Errorf("the first, which has ended, maps it as %q", got)
		}
		_ = endTwo.Close()
		two.wait(t)
		eventually(t, func() error { // the kernel closes a file without being waited for
			if rows, _ := m.who(t); len(rows) > 0 {
				return fmt.Errorf("still there: %+v", rows)
			}
			return nil
		})
	})
}

// Who has got an open file from its parent is shown while it waits; the parent, who opened it, also when it is gone, and then without a command.
func TestWhoIsGone(t *testing.T) {
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	cmd := exec.Command("sh", "-c", `exec 3<>"$0"; cat <&3 >/dev/null & exec cat <&3 >/dev/null`, p)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	parent := startBlocker(t, cmd, nil)
	pid := parent.cmd.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) }) // the child too, before the mount goes
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitReads == 2 })
	rows, deadlocks := m.who(t)
	child := 0
	for _, r := range rows {
		if r.command != "cat" || r.mode != "rw" || r.waits != "READ" || r.tid != strconv.Itoa(r.pid) {
			t.Errorf("%+v", r)
		}
		if r.pid != pid {
			child = r.pid
		}
	}
	// Only these two could write, and both read.
	if len(rows) != 2 || child == 0 || len(deadlocks) != 1 {
		t.Fatalf("%+v, %q, want process %d and its child, and that they are stuck", rows, deadlocks, pid)
	}
	if err := parent.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("%d - rw - - - pipes/p", pid), fmt.Sprintf("%d cat rw READ %d - pipes/p", child, child)} // who is gone frees nobody
	eventually(t, func() error {                                                                                          // it is not waited for: its child has its standard error
		rows, deadlocks := m.who(t)
		var got []string
		for _, r := range rows {
			got = append(got, fmt.Sprintf("%d %s %s %s %s %s %s", r.pid, r.command, r.mode, r.waits, r.tid, r.waitsFor, r.inTree))
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) || len(deadlocks) > 0 {
			return fmt.Errorf("%q, %q, want %q", got, deadlocks, want)
		}
		return nil
	})
	var doc whoDocument
	m.whoJSON(t, &doc)
	for _, f := range doc.Files {
		if gone := f.Pid == pid; gone != (f.Command == "") || gone != (f.Waits == "") || !gone && (f.Pid != child || f.Waiter != child || f.Tid != child) {
			t.Errorf("%+v", f)
		}
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	m.waitFor(t, "p", func(s pipeStat) bool { return s.readers+s.writers == 0 })
}

// whoDocument is what ipcfs who --json prints.
type whoDocument struct {
	Files []struct {
		Name, Command, Mode, Waits string
		Ino, Pid, Waiter, Tid      int
		Since                      json.Number
		For                        []int
	}
	Maps []struct {
		Name, Command, Perms string
		Ino, Pid, Bytes      int
	}
	Deadlocks []struct {
		Possible bool
		Waits    []struct {
			Pid, Holder                         int
			Command, Waits, Name, HolderCommand string
		}
	}
}

// whoJSON runs ipcfs who --json.
func (m *mount) whoJSON(t testing.TB, doc *whoDocument, args ...string) {
	t.Helper()
	if len(args) == 0 {
		args = []string{m.dir}
	}
	r := finish(t, quick(command(append([]string{"who", "--json"}, args...)...)))
	mustRun(t, r)
	text := strings.ReplaceAll(r.out, "holder_command", "holderCommand") // as encoding/json finds it
	in := json.NewDecoder(bufio.NewReader(strings.NewReader(text)))
	in.DisallowUnknownFields()
	if err := in.Decode(doc); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
}

// microseconds is a time in seconds since 1970 with six digits of a fraction.
func microseconds(t testing.TB, n json.Number) time.Time {
	t.Helper()
	whole, fraction, _ := strings.Cut(n.String(), ".")
	us, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(us)
}

// A wait began after it was not there, and before it was seen; it stays the same wait until it ends, and the next one began after that.
func TestWhoSince(t *testing.T) {
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	fd := openFd(t, p, unix.O_RDWR)
	defer unix.Close(fd)
	startBlocker(t, exec.Command("cat", p), nil)
	began := func(after time.Time) time.Time {
		t.Helper()
		m.waitFor(t, "p", func(s pipeStat) bool { return s.waitReads == 1 })
		var doc whoDocument
		m.whoJSON(t, &doc, p)
		seen := time.Now()
		for _, f := range doc.Files {
			if f.Waits == "READ" {
				since := microseconds(t, f.Since)
				if since.Before(after.Truncate(time.Microsecond)) || since.After(seen) {
					t.Errorf("it waits since %v, but it did not before %v and was seen at %v", since, after, seen)
				}
				return since
			}
		}
		t.Fatalf("nobody waits: %+v", doc)
		return time.Time{}
	}
	first := began(time.Time{})
	if again := began(time.Time{}); !again.Equal(first) {
		t.Errorf("it waits since %v, and then since %v", first, again)
	}
	before := time.Now()
	if _, err := retryEINTR(func() (int, error) { return unix.Write(fd, []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // until cat has come back
		if n := attribute(t, p, "syscr"); n != 1 {
			return fmt.Errorf("%d reads", n)
		}
		return nil
	})
	if second := began(before); !second.After(first) {
		t.Errorf("it waits since %v, and the wait before began at %v", second, first)
	}
}
