package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The trace of a scenario is the scenario: each operation, by whom, with what end; and all who trace are told the same, as far as they asked for it.
func TestTraceIsTheScenario(t *testing.T) {
	need(t, "touch", "dd", "rm", "mv", "chmod", "setfattr", "python3", "mkfifo", "ln", "fallocate")
	m := newMount(t)
	// A file that is made without a name is in no directory.
	isIn := func(p, of string) bool {
		return strings.HasPrefix(p, of+"/") || strings.Contains(of, "/") && (p == of || strings.HasPrefix(p, of+":") || p == of+`\040(deleted)`)
	}
	in := func(these ...string) func(inTree ...string) bool {
		return func(inTree ...string) bool {
			return slices.ContainsFunc(inTree, func(p string) bool {
				return slices.ContainsFunc(these, func(of string) bool { return isIn(p, of) })
			})
		}
	}
	all := func(...string) bool { return true }
	interrupt := func(t testing.TB, tr *tracer) { // ipcfs trace ends well
		_ = tr.cmd.Process.Signal(os.Interrupt)
		tr.wait(t)
		if tr.cmd.ProcessState.ExitCode() != 0 || tr.out.String() != "" {
			t.Errorf("%v: %v, %s", tr.cmd.Args, tr.cmd.ProcessState, tr.out)
		}
	}
	kill := func(t testing.TB, tr *tracer) {
		_ = tr.cmd.Process.Signal(os.Interrupt)
		tr.wait(t)
		if ws, ok := tr.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGINT {
			t.Errorf("%v, which was interrupted while it waited, ended with %v", tr.cmd.Args, tr.cmd.ProcessState)
		}
	}
	var tracers []*tracer
	add := func(cmd *exec.Cmd, wants func(inTree ...string) bool, end func(testing.TB, *tracer)) *tracer {
		tr := m.startTracer(t, cmd)
		tr.wants, tr.end = wants, end
		tracers = append(tracers, tr)
		return tr
	}
	proc := filepath.Join(m.dir, "proc")
	d := filepath.Join(m.pipes, "d")
	if err := os.Mkdir(d, 0o755); err != nil { // a trace of one name needs its directory
		t.Fatal(err)
	}
	s := &traceScenario{m: m, actors: make(map[int]string)}
	s.tracer = add(exec.Command("cat", proc+"/trace"), all, kill)
	add(exec.Command("cat", proc+"/trace"), all, kill)
	add(exec.Command("cat", proc+"/trace:msgq/jobs"), in("msgq/jobs"), kill)
	add(exec.Command("cat", proc+"/trace:msgq/*"), in("msgq"), kill)
	add(exec.Command("cat", proc+"/trace:pipes"+"/[ab]"), in("pipes/a", "pipes/b"), kill)
	add(exec.Command("cat", proc+"/trace:pipes/d/x"), in("pipes/d/x"), kill)
	table := add(command("trace", m.dir), all, interrupt)
	table.parse, table.header = parseTraceTable, true
	for _, of := range []string{"msgq/jobs", "shm", "pipes/*"} { // the last one is a name with a star
		add(command("trace", "--json", filepath.Join(m.dir, of)), in(of), interrupt).parse = parseTraceJSON
	}

	jobs, a, b, q := filepath.Join(m.msgq, "jobs"), filepath.Join(m.pipes, "a"), filepath.Join(m.pipes, "b"), filepath.Join(m.msgq, "q")
	once := []string{"if=" + jobs, "of=/dev/null", "bs=100", "count=1", "status=none"}
	const send = "OPEN msgq/jobs - ok\n SETATTR msgq/jobs - ok\n WRITE msgq/jobs 4 ok\n"
	s.run(t, 0, "touch: CREATE msgq/jobs - ok\n SETATTR msgq/jobs - ok\n RELEASE msgq/jobs - ok", "touch", jobs)
	s.run(t, 0, "sh: "+send+" RELEASE msgq/jobs - ok", "sh", "-c", `echo one > "$0"`, jobs)
	s.run(t, 0, "dd: OPEN msgq/jobs - ok\n READ msgq/jobs 4 ok\n RELEASE msgq/jobs - ok", "dd", once...)
	s.run(t, 1, "dd: OPEN msgq/jobs - ok\n READ msgq/jobs - EAGAIN\n RELEASE msgq/jobs - ok", "dd", append(once, "iflag=nonblock")...)

	// A read that waits, and the write that it waits for.
	waiting := func(number string) *blocker {
		t.Helper()
		name := number + " dd"
		dd := s.start(t, name, once...)
		s.traced(t, name+": OPEN msgq/jobs - ok")
		s.waits(t, jobs, 1, "q_receivers")
		return dd
	}
	dd := waiting("#1")
	from := s.checked
	s.run(t, 0, "#1 dd: READ msgq/jobs 4 ok\n sh: "+send+"#1 dd: RELEASE msgq/jobs - ok\n sh: RELEASE msgq/jobs - ok", "sh", "-c", `echo two > "$0"`, jobs)
	s.ended(t, dd, 0)
	var readAt, readTook, writeAt int64
	for _, e := range s.tracer.events(t)[from:] {
		switch took := seconds(t, e.took); {
		case strings.HasPrefix(e.what, "READ "):
			readAt, readTook = seconds(t, e.time), took
		case strings.HasPrefix(e.what, "WRITE "):
			writeAt = seconds(t, e.time)
		}
	}
	const rounding = 2 // of a begin and of a duration, in microseconds
	if readAt >= writeAt || readAt+readTook+rounding < writeAt {
		t.Errorf("the read that waited for the write began at %d us and took %d; the write began at %d", readAt, readTook, writeAt)
	}
	dd = waiting("#2")
	if err := dd.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	dd.wait(t)
	s.traced(t, "#2 dd: READ msgq/jobs - EINTR\n RELEASE msgq/jobs - ok")
	dd = waiting("#3")
	s.run(t, 0, `#3 dd: READ msgq/jobs\040(deleted) - EIDRM
		rm: UNLINK msgq/jobs - ok
		#3 dd: RELEASE msgq/jobs\040(deleted) - ok`, "rm", jobs)
	s.ended(t, dd, 1)

	// Views of a queue.
	s.run(t, 0, "touch: CREATE msgq/q - ok\n SETATTR msgq/q - ok\n RELEASE msgq/q - ok", "touch", q)
	s.run(t, 0, "sh: OPEN msgq/q:7 - ok\n SETATTR msgq/q:7 - ok\n WRITE msgq/q:7 2 ok\n RELEASE msgq/q:7 - ok", "sh", "-c", `echo 7 > "$0:7"`, q)
	s.run(t, 0, "dd: OPEN msgq/q:-9:raw - ok\n READ msgq/q:-9:raw 10 ok\n RELEASE msgq/q:-9:raw - ok", "dd", "if="+q+":-9:raw", "of=/dev/null", "bs=100", "count=1", "status=none")

	s.run(t, 0, "touch: CREATE pipes/a - ok\n SETATTR pipes/a - ok\n RELEASE pipes/a - ok", "touch", a)
	s.run(t, 0, "mv: RENAME pipes/a->pipes/b - ok", "mv", a, b)
	s.run(t, 0, "chmod: SETATTR pipes/b - ok", "chmod", "600", b)
	s.run(t, 0, "python3: SETATTR pipes/b - ok", "python3", "-c", `import os, sys; os.truncate(sys.argv[1], 16384)`, b)
	s.run(t, 1, "truncate: OPEN pipes/b - ENXIO", "truncate", "-s", "4096", b)
	s.run(t, 0, "setfattr: SETXATTR pipes/b - ok", "setfattr", "-n", "user.ipc.capacity", "-v", "8192", b)
	s.run(t, 1, "setfattr: SETXATTR pipes/b - EINVAL", "setfattr", "-n", "user.ipc.capacity", "-v", "many", b)
	s.run(t, 0, `python3: OPEN pipes/b - ok
		WRITE pipes/b 3 ok
		READ pipes/b 3 ok
		READ pipes/b - EAGAIN
		WRITE pipes/b 8192 ok
		WRITE pipes/b - EAGAIN
		OPEN pipes/b - ok
		WRITE pipes/b - EPIPE
		RELEASE pipes/b - ok
		RELEASE pipes/b - ok`, "python3", "-c", `
import os, sys, time
p = sys.argv[1]
both = os.open(p, os.O_RDWR | os.O_NONBLOCK)
os.write(both, b'abc')
assert os.read(both, 10) == b'abc'
def fails(error, call, *args):
    try: call(*args)
    except error: return
    assert False
fails(BlockingIOError, os.read, both, 10)
assert os.write(both, b'x' * 10000) == 8192
fails(BlockingIOError, os.write, both, b'x')
one = os.open(p, os.O_WRONLY)
os.close(both)
while os.getxattr(p, 'user.ipc.readers') != b'0': time.sleep(0.001)
fails(BrokenPipeError, os.write, one, b'x')
os.close(one)`, b)

	// Everything else that is told of.
	s.run(t, 0, "mkdir: MKDIR pipes/d/e - ok", "mkdir", d+"/e")
	s.run(t, 0, "rmdir: RMDIR pipes/d/e - ok", "rmdir", d+"/e")
	s.run(t, 0, "touch: CREATE pipes/* - ok\n SETATTR pipes/* - ok\n RELEASE pipes/* - ok", "touch", m.pipes+"/*")
	s.run(t, 0, "mkfifo: MKNOD pipes/d/x - ok", "mkfifo", d+"/x")
	s.run(t, 1, "rmdir: RMDIR pipes/d - ENOTEMPTY", "rmdir", d)
	s.run(t, 0, "rm: UNLINK pipes/d/x - ok\n RMDIR pipes/d - ok", "rm", "-r", d)
	s.run(t, 0, `touch: CREATE pipes/a\040b\012 - ok`+"\n"+`SETATTR pipes/a\040b\012 - ok`+"\n"+`RELEASE pipes/a\040b\012 - ok`, "touch", filepath.Join(m.pipes, "a b\n"))
	seg := filepath.Join(m.shm, "s")
	s.run(t, 0, "truncate: CREATE shm/s - ok\n SETATTR shm/s - ok\n RELEASE shm/s - ok", "truncate", "-s", "10000", seg)
	s.run(t, 0, "fallocate: OPEN shm/s - ok\n FALLOCATE shm/s - ok\n RELEASE shm/s - ok", "fallocate", "-l", "20000", seg)
	s.run(t, 0, "ln: LINK shm/other - ok", "ln", seg, filepath.Join(m.shm, "other"))
	s.run(t, 0, "ln: SYMLINK shm/link - ok", "ln", "-s", "s", filepath.Join(m.shm, "link"))
	s.run(t, 0, "python3: TMPFILE shm - ok\n RELEASE - - ok", "python3", "-c", `import os, sys; os.close(os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR))`, m.shm)
	s.run(t, 0, "rm: UNLINK shm/s - ok\n UNLINK shm/other - ok", "rm", seg, filepath.Join(m.shm, "other"))

	// The others were told the same.
	story := s.tracer.events(t)
	if len(story) != s.checked {
		t.Errorf("%d events, and then %d more", s.checked, len(story)-s.checked)
	}
	for _, tr := range tracers {
		var want []traceEvent
		for _, e := range story {
			if tr.wants(strings.Split(strings.Fields(e.what)[1], "->")...) {
				want = append(want, e)
			}
		}
		got := tr.eventsOf(t, len(want))
		if len(got) != len(want) || len(want) == 0 {
			t.Errorf("%v has printed %d events, want %d:\n%s", tr.cmd.Args, len(got), len(want), tr.says)
			continue
		}
		for i, w := range want {
			g := got[i]
			same := g == w
			switch {
			case tr == table: // of no date
				same = g.pid == w.pid && g.command == w.command && g.what == w.what
			case path.Base(tr.cmd.Args[0]) != "cat":
				same = g.pid == w.pid && g.command == w.command && g.what == w.what && g.time == w.time && g.took == w.took
			}
			if !same {
				t.Errorf("%v: line %d is %q instead of %q", tr.cmd.Args, i+1, g.text, w.text)
			}
		}
		tr.end(t, tr)
	}
	eventually(t, func() error {
		if n := m.metric(t, "ipcfs_trace_readers"); n != 0 {
			return fmt.Errorf("%d readers are left", n)
		}
		return nil
	})
}

// poll, epoll and select say when there is something to read, and with O_NONBLOCK a read that would wait fails with EAGAIN.
func TestTracePoll(t *testing.T) {
	need(t, "python3")
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	const script = `
import os, select, sys
def look(f):
    e = select.epoll(); e.register(f, select.EPOLLIN)
    p = select.poll(); p.register(f, select.POLLIN)
    r = 'select %d poll %d epoll %d' % (len(select.select([f], [], [], 0)[0]), len(p.poll(0)), len(e.poll(0)))
    e.close()
    try: r += ' read %d' % len(os.read(f, 1 << 20).splitlines())
    except BlockingIOError: r += ' EAGAIN'
    print(r, flush=True)
f = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
look(f)
for wait in 'select', 'poll', 'epoll':
    e = select.epoll(); e.register(f, select.EPOLLIN | select.EPOLLET)
    p = select.poll(); p.register(f, select.POLLIN)
    print(wait, flush=True)
    if wait == 'select': select.select([f], [], [])
    if wait == 'poll': p.poll()
    if wait == 'epoll': assert len(e.poll()) == 1
    look(f)
    look(f)
    e.close()
`
	says := new(output)
	cmd := exec.Command("python3", "-c", script, filepath.Join(m.dir, "proc/trace"))
	cmd.Stdout = says
	b := startBlocker(t, cmd, nil)
	want := "select 0 poll 0 epoll 0 EAGAIN\n"
	for _, wait := range []struct {
		name  string
		calls []int
	}{{"select", []int{unix.SYS_SELECT, unix.SYS_PSELECT6}}, {"poll", []int{unix.SYS_POLL, unix.SYS_PPOLL}}, {"epoll", []int{unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT}}} {
		want += wait.name + "\n"
		eventually(t, func() error {
			if says.String() != want || !slices.ContainsFunc(wait.calls, b.blockedIn) {
				return fmt.Errorf("it does not wait in %s: %s%s\n---want:\n%s", wait.name, says, b.out, want)
			}
			return nil
		})
		if err := os.Chmod(p, 0o600); err != nil {
			t.Fatal(err)
		}
		want += "select 1 poll 1 epoll 1 read 1\nselect 0 poll 0 epoll 0 EAGAIN\n"
	}
	b.wait(t)
	if says.String() != want || !b.cmd.ProcessState.Success() {
		t.Errorf("%v: %s", b.cmd.ProcessState, differences(says.String(), want))
	}
}

// traceLoad lets a process write bytes into a pipe and read them, n times: that is 2n+2 operations, with those that open and close it.
func traceLoad(t testing.TB, p string, n int) (operations int) {
	t.Helper()
	run := exec.Command("python3", "-c", `
import os, sys
f = os.open(sys.argv[1], os.O_RDWR)
for i in range(int(sys.argv[2])): os.write(f, b'x'); os.read(f, 1)
`, p, strconv.Itoa(n))
	mustRun(t, finish(t, run))
	return 2*n + 2
}

// drain reads what there is of a trace, and counts the lines, and those that were dropped.
func drain(t testing.TB, fd int) (lines, dropped int) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Read(fd, buf) })
		if errors.Is(err, unix.EAGAIN) {
			return lines, dropped
		}
		if err != nil || n == 0 || buf[n-1] != '\n' {
			t.Fatalf("a read of whole lines: %d, %v", n, err)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if lost, ok := strings.CutPrefix(line, "# dropped "); ok {
				k, err := strconv.Atoi(strings.TrimSpace(lost))
				if err != nil || k <= 0 {
					t.Fatalf("%q", line)
				}
				dropped += k
				continue
			}
			if _, err := parseTraceLine(line); err != nil {
				t.Fatal(err)
			}
			lines++
		}
	}
}

// A reader that does not read keeps nobody waiting: it loses lines, and is told how many.
func TestTraceDrops(t *testing.T) {
	need(t, "python3")
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	fd := openFd(t, filepath.Join(m.dir, "proc/trace"), unix.O_RDONLY|unix.O_NONBLOCK)
	defer unix.Close(fd)
	reader := m.startTracer(t, exec.Command("cat", filepath.Join(m.dir, "proc/trace:pipes/p")))
	const room = 1 << 20
	done := 0
	dropped := func() int {
		t.Helper()
		eventually(t, func() error { // the last one is closed without being waited for
			events, dropped := m.metric(t, "ipcfs_trace_events_total"), m.metric(t, "ipcfs_trace_dropped_total")
			if events+dropped != 2*done { // of two readers
				return fmt.Errorf("%d events and %d dropped, after %d operations", events, dropped, done)
			}
			return nil
		})
		return m.metric(t, "ipcfs_trace_dropped_total")
	}
	for lines := reader.says; dropped() == 0; {
		if len(lines.String()) > 4*room {
			t.Fatalf("nothing was dropped after %d operations", done)
		}
		done += traceLoad(t, p, 2000)
	}
	// It makes some room, which is for the next ones.
	first := make([]byte, 8<<10)
	n, err := retryEINTR(func() (int, error) { return unix.Read(fd, first) })
	if err != nil || n == 0 || first[n-1] != '\n' || strings.Contains(string(first[:n]), "#") {
		t.Fatalf("%d, %v: %q", n, err, first[:max(n, 0)])
	}
	done += traceLoad(t, p, 1000)
	told := dropped()
	lines, lost := drain(t, fd)
	lines += strings.Count(string(first[:n]), "\n")
	if lines+lost != done || lost == 0 {
		t.Errorf("%d lines and %d dropped, after %d operations", lines, lost, done)
	}
	// The other one, which reads, has lost nothing.
	if got := reader.eventsOf(t, done); len(got) != done || told != lost {
		t.Errorf("who reads has got %d lines of %d; %d were dropped, who does not read was told of %d", len(got), done, told, lost)
	}
	// And it goes on.
	done += traceLoad(t, p, 10)
	if now := dropped(); now != told {
		t.Errorf("%d were dropped after all was read", now-told)
	}
	if lines, lost := drain(t, fd); lines != 22 || lost != 0 {
		t.Errorf("after all was read, and 22 operations: %d lines, %d dropped", lines, lost)
	}
}

// What others do is not for everybody to see: an ordinary user can trace what he owns.
func TestTraceUsers(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	proc := filepath.Join(m.dir, "proc")
	own := func(name string, uid int) string {
		p := makePipe(t, filepath.Join(m.msgq, name))
		if err := os.Chown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
		return p
	}
	theirs, others := own("theirs", nobody), own("others", another)
	for name, allow := range map[string]bool{
		"trace": false, "trace:msgq/theirs": true, "trace:msgq/others": false, "trace:msgq/none": false, "trace:msgq/*": false, "trace:msgq/theirs*": false,
	} {
		limit := "30" // who is refused does not wait
		if allow {
			limit = "0.1"
		}
		r := shell(t, nobody, proc, "timeout "+limit+" cat '"+name+"'")
		switch err := r.denied(); {
		case allow && (r.status != 124 || r.out != "" || r.err != ""):
			t.Errorf("%s: %+v, want a trace that waits", name, r)
		case !allow && err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	tr := m.startTracer(t, asUser(nobody, exec.Command("cat", filepath.Join(proc, "trace:msgq/theirs"))))
	root := m.startTracer(t, exec.Command("cat", filepath.Join(proc, "trace:msgq/*")))
	send := func(uid uint32, p string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", `echo hello > "$0"`, p)
		if uid != 0 {
			asUser(uid, cmd)
		}
		mustRun(t, finish(t, cmd))
	}
	send(nobody, theirs)
	send(0, theirs)
	send(another, others)
	if err := os.Chown(theirs, 0, 0); err != nil { // then it is not theirs any more
		t.Fatal(err)
	}
	send(0, theirs)
	if err := os.Chown(theirs, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	send(nobody, theirs)
	const sent = "OPEN SETATTR WRITE RELEASE "
	// As all lines come in the order of their ends, nothing is on its way that would be before the last one of those which root sees.
	rootSees := strings.Repeat(sent, 3) + "SETATTR " + sent + "SETATTR " + sent
	wantOperations(t, root, rootSees)
	// The change of owner is seen by whom it belongs to when it ends.
	wantOperations(t, tr, sent+sent+"SETATTR "+sent)
}

// wantOperations waits until the tracer has told of so many operations as there are words in want, and checks that it was these. A RELEASE may be late.
func wantOperations(t testing.TB, tr *tracer, want string) {
	t.Helper()
	var got []string
	for _, e := range tr.eventsOf(t, len(strings.Fields(want))) {
		got = append(got, strings.Fields(e.what)[0])
	}
	a, b := slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(strings.Fields(want)))
	if !slices.Equal(a, b) {
		t.Errorf("%v tells of %v, want %s:\n%s", tr.cmd.Args, got, want, tr.says)
	}
}
