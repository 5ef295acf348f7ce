package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// traceEvent is a line of proc/trace, or of ipcfs trace.
type traceEvent struct {
	text    string // the line
	time    string // of the begin, in seconds since 1970 but from ipcfs trace without --json
	pid     int
	command string
	// What it was, how it ended and how many bytes went, as "READ msgq/jobs 4 ok".
	what string
	took string // in seconds but from ipcfs trace without --json
}

// parseTraceLine reads a line of proc/trace.
func parseTraceLine(line string) (traceEvent, error) {
	f := strings.Fields(line)
	if len(f) != 8 {
		return traceEvent{}, fmt.Errorf("%d words in %q", len(f), line)
	}
	pid, err := strconv.Atoi(f[1])
	return traceEvent{line, f[0], pid, f[2], strings.Join(f[3:7], " "), f[7]}, err
}

// parseTraceTable reads a line of ipcfs trace.
func parseTraceTable(line string) (traceEvent, error) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return traceEvent{}, fmt.Errorf("%d words in %q", len(f), line)
	}
	name := strings.ReplaceAll(strings.Join(f[7:], " "), " ", `\040`)
	pid, err := strconv.Atoi(f[1])
	return traceEvent{line, f[0], pid, f[2], strings.Join([]string{f[3], name, f[4], f[5]}, " "), f[6]}, err
}

// parseTraceJSON reads a line of ipcfs trace --json.
func parseTraceJSON(line string) (traceEvent, error) {
	var e struct {
		Time, Duration          json.Number
		Pid                     int
		Command                 *string
		Operation, Path, Result string
		Bytes                   *int
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return traceEvent{}, fmt.Errorf("%w: %q", err, line)
	}
	command, bytes := "-", "-"
	if e.Command != nil {
		command = *e.Command
	}
	if e.Bytes != nil {
		bytes = strconv.Itoa(*e.Bytes)
	}
	what := strings.Join([]string{e.Operation, strings.ReplaceAll(e.Path, " ", `\040`), bytes, e.Result}, " ")
	return traceEvent{line, e.Time.String(), e.Pid, command, what, e.Duration.String()}, nil
}

// seconds reads seconds with a fraction as microseconds.
func seconds(t testing.TB, s string) int64 {
	t.Helper()
	whole, fraction, _ := strings.Cut(s, ".")
	us, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil || len(fraction) != 6 {
		t.Fatalf("%q is not seconds with six digits of a fraction", s)
	}
	return us
}

// tracer is a process that prints a trace.
type tracer struct {
	*blocker
	says   *output
	parse  func(line string) (traceEvent, error)
	header bool                          // the first line is one of names
	wants  func(inTree ...string) bool   // is a line of these paths for it
	end    func(t testing.TB, b *tracer) // ends it
}

// startTracer starts a tracer, and returns when it traces.
func (m *mount) startTracer(t testing.TB, cmd *exec.Cmd) *tracer {
	t.Helper()
	before := m.metric(t, "ipcfs_trace_readers")
	tr := &tracer{says: new(output), parse: parseTraceLine}
	cmd.Stdout = tr.says
	tr.blocker = startBlocker(t, cmd, nil)
	eventually(t, func() error {
		if n := m.metric(t, "ipcfs_trace_readers"); n != before+1 {
			return fmt.Errorf("%v does not trace: %d readers, %s", cmd.Args, n, tr.out)
		}
		return nil
	})
	return tr
}

// metric is a metric without labels.
func (m *mount) metric(t testing.TB, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "proc/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	t.Fatalf("there is no metric %s in %s", name, text)
	return 0
}

// events are the whole lines that it has printed.
func (tr *tracer) events(t testing.TB) []traceEvent {
	t.Helper()
	text := tr.says.String()
	text = text[:strings.LastIndexByte(text, '\n')+1]
	if tr.header {
		_, text, _ = strings.Cut(text, "\n")
	}
	var list []traceEvent
	for line := range strings.Lines(text) {
		e, err := tr.parse(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// eventsOf waits until it has printed n events.
func (tr *tracer) eventsOf(t testing.TB, n int) []traceEvent {
	t.Helper()
	var list []traceEvent
	eventually(t, func() error {
		if list = tr.events(t); len(list) < n {
			return fmt.Errorf("%v has printed %d events, want %d: %s", tr.cmd.Args, len(list), n, tr.says)
		}
		return nil
	})
	return list
}

// traceScenario is what is done to a mount, step by step, and what a tracer must tell of each step.
type traceScenario struct {
	m       *mount
	tracer  *tracer // of all
	actors  map[int]string
	checked int // events
}

// start starts a program; with # before a name, as "#1 dd", it is told from others of that name.
func (s *traceScenario) start(t testing.TB, name string, args ...string) *blocker {
	t.Helper()
	fields := strings.Fields(name)
	b := startBlocker(t, exec.Command(fields[len(fields)-1], args...), nil)
	s.actors[b.cmd.Process.Pid] = name
	return b
}

// run runs a program to its end, which must be with this status, and checks the trace of that.
func (s *traceScenario) run(t testing.TB, status int, want string, name string, args ...string) {
	t.Helper()
	b := s.start(t, name, args...)
	s.ended(t, b, status)
	s.traced(t, want)
}

// ended waits until b has ended, which must be with this status.
func (s *traceScenario) ended(t testing.TB, b *blocker, status int) {
	t.Helper()
	b.wait(t)
	if got := b.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("%v: status %d, want %d: %s", b.cmd.Args, got, status, b.out)
	}
}

// traced checks what the tracer has told since the last time: the lines of want, "who OPERATION PATH BYTES RESULT", where who is a name of start, or "-" for
// the one of the line before. The lines of a step are in the order in which they began, but for RELEASE: the kernel does not wait for it, so all come
// last, in the order of the processes in actors.
func (s *traceScenario) traced(t testing.TB, want string) {
	t.Helper()
	var lines []string
	who := ""
	for line := range strings.Lines(want) {
		line = strings.TrimSpace(line)
		by, what, ok := strings.Cut(line, ": ")
		if !ok {
			by, what = who, line
		}
		who = by
		lines = append(lines, by+": "+what)
	}
	events := s.tracer.eventsOf(t, s.checked+len(lines))[s.checked:]
	s.checked += len(events)
	isRelease := func(e traceEvent) bool { return strings.HasPrefix(e.what, "RELEASE ") }
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b traceEvent) int {
		switch x, y := isRelease(a), isRelease(b); {
		case x && !y:
			return 1
		case y && !x:
			return -1
		case x && a.pid != b.pid:
			return strings.Compare(s.actors[a.pid], s.actors[b.pid])
		}
		return strings.Compare(a.time, b.time)
	})
	var got []string
	for _, e := range events {
		by, ok := s.actors[e.pid]
		if command := by[strings.LastIndexByte(by, ' ')+1:]; !ok || e.command != command && (!isRelease(e) || e.command != "-") {
			by = fmt.Sprintf("%d (%s)", e.pid, e.command)
		}
		got = append(got, by+": "+e.what)
	}
	if g, w := strings.Join(got, "\n"), strings.Join(lines, "\n"); g != w {
		t.Fatalf("the trace is not that of the step:\n%s\n--- want:\n%s", differences(g, w), w)
	}
}

// waits waits until so many operations wait at an object, as the sum of these columns tells.
func (s *traceScenario) waits(t testing.TB, object string, n int, columns ...string) {
	t.Helper()
	eventually(t, func() error {
		sum := 0
		for _, c := range columns {
			sum += attribute(t, object, c)
		}
		if sum != n {
			return fmt.Errorf("%d operations wait at %s, want %d", sum, object, n)
		}
		return nil
	})
}
