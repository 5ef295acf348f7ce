package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

// lookObjects is how many pipes, segments and queues there are each, when there are many.
const lookObjects = 3334

// lookRow is a line of a table of BenchmarkLook: what was seen in each round, and what was in the row that it is compared with.
type lookRow struct {
	what    string
	format  func(v float64) string
	against *lookRow // nil if it is compared with nothing
	seen    []float64
}

// ratio is the median of the rounds, each against itself.
func (r *lookRow) ratio() string {
	if r.against == nil {
		return ""
	}
	var v []float64
	for i := range r.seen {
		v = append(v, r.seen[i]/r.against.seen[i])
	}
	return fmt.Sprintf("%.2f", medianOf(v))
}

// lookMount is a mount as users have one, with two pipes, and n more objects of each kind.
func lookMount(b *testing.B, n int) *mount {
	b.Helper()
	m := newMountWith(b, mountWith{binary: realBinary(b), env: []string{"IPCFS_VERIFY=0"}, args: []string{"--inodes", "100000"}})
	for _, name := range []string{"a", "b"} {
		makePipe(b, filepath.Join(m.pipes, name))
	}
	for _, dir := range []string{m.pipes, m.shm, m.msgq} {
		for i := range n {
			if err := unix.Mknod(filepath.Join(dir, fmt.Sprintf("object%04d", i)), unix.S_IFREG|0o600, 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	return m
}

// lookCounter is a metric without labels.
func lookCounter(b *testing.B, m *mount, name string) float64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "proc/metrics"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return v
}

// traceBench measures the throughput of a pipe with those who trace and those who do not.
func traceBench(b *testing.B, bench string) (rows []*lookRow, measure func()) {
	m := lookMount(b, 0)
	const size, total, times = 64 << 10, 256 << 20, 5 // short parts, more of them in a round, for the ratio
	through := func() float64 {
		return total / (1 << 20) / (benchNumbers(b, bench, "throughput", m.pipes+"/a", strconv.Itoa(size), strconv.Itoa(total))[0] / 1e9)
	}
	trace := filepath.Join(m.dir, "proc/trace")
	none := through
	// A trace that nobody reads. It has room for all 8,192 operations, or, when it is full, for none.
	unread := func(full bool) func() float64 {
		return func() float64 {
			fd := openFd(b, trace, unix.O_RDONLY)
			defer unix.Close(fd)
			for before := lookCounter(b, m, "ipcfs_trace_dropped_total"); full && lookCounter(b, m, "ipcfs_trace_dropped_total") == before; {
				benchNumbers(b, bench, "roundtrip", m.pipes+"/a", m.pipes+"/b", "2000")
			}
			return through()
		}
	}
	read := func() float64 {
		cmd := exec.Command("cat", trace)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		eventually(b, func() error {
			if n := lookCounter(b, m, "ipcfs_trace_readers"); n != 1 {
				return fmt.Errorf("%v trace", n)
			}
			return nil
		})
		return through()
	}
	mibs := func(v float64) string { return fmt.Sprintf("%.0f MiB/s", v) }
	base := &lookRow{what: "pipe, 64 KiB a call; nobody traces", format: mibs}
	rows = []*lookRow{
		base,
		{what: "one traces, does not read, and it is full", format: mibs, against: base},
		{what: "one traces, does not read, and there is room", format: mibs, against: base},
		{what: "one traces and reads", format: mibs, against: base},
	}
	measures := []func() float64{none, unread(true), unread(false), read}
	turn := 0
	return rows, func() {
		for range times {
			for k := range rows {
				i := (k + turn) % len(rows) // another one begins each time
				rows[i].seen = append(rows[i].seen, measures[i]())
				eventually(b, func() error { // the kernel closes a file without being waited for
					if n := lookCounter(b, m, "ipcfs_trace_readers"); n != 0 {
						return fmt.Errorf("%v trace", n)
					}
					return nil
				})
			}
			turn++
		}
	}
}

// tablesBench measures how long those take who look at many objects.
func tablesBench(b *testing.B, m *mount) (rows []*lookRow, measure func()) {
	ms := func(v float64) string { return fmt.Sprintf("%.1f ms", v*1e3) }
	timed := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	program := func(name string, args ...string) func() {
		return func() {
			if r := finish(b, exec.Command(name, args...)); r.status != 0 || strings.Count(r.out, "\n") < 3*lookObjects {
				b.Fatalf("%s %v: %d, %d bytes, %s", name, args, r.status, len(r.out), r.err)
			}
		}
	}
	proc := inspect.Mount{Dir: m.dir}
	ls := &lookRow{what: "ipcfs ls", format: ms}
	find := &lookRow{what: "ls -lRU, which asks for each", format: ms, against: ls}
	refresh := &lookRow{what: "top: opening and reading the three tables, and parsing them", format: ms}
	reading := &lookRow{what: "of that: opening and reading", format: ms, against: refresh}
	rows = []*lookRow{ls, find, refresh, reading}
	measures := []func(){
		program(realBinary(b), "ls", m.dir),
		program("ls", "-lRU", m.pipes, m.shm, m.msgq),
		func() {
			for _, kind := range inspect.Kinds {
				if t, err := proc.Objects(kind); err != nil || len(t.Rows) < lookObjects {
					b.Fatal(err)
				}
			}
		},
		func() {
			for _, kind := range inspect.Kinds {
				if _, err := proc.Read(kind); err != nil {
					b.Fatal(err)
				}
			}
		},
	}
	return rows, func() {
		for i, f := range measures {
			rows[i].seen = append(rows[i].seen, timed(f))
		}
	}
}

// latencyBench measures round trips through pipes while somebody reads all that there is to read, and while nobody does. Who reads takes time of the
// processors; so does who only computes, for comparison.
func latencyBench(b *testing.B, m *mount, bench, look string) (rows []*lookRow, measure func()) {
	reader := []string{"read"}
	for _, name := range []string{"pipes", "msgq", "shm", "files", "maps", "metrics"} {
		reader = append(reader, filepath.Join(m.dir, "proc", name))
	}
	besides := [][]string{nil, {"spin"}, reader}
	us := func(v float64) string { return fmt.Sprintf("%.1f us", v/1e3) }
	for _, what := range []string{"median", "99th percentile", "longest"} {
		base := &lookRow{what: "a byte there and back, " + what, format: us}
		rows = append(rows, base, &lookRow{what: "while another one computes", format: us, against: base},
			&lookRow{what: "while another one reads all tables, again and again", format: us, against: base})
	}
	rates := &lookRow{what: "how often it reads them", format: func(v float64) string { return fmt.Sprintf("%.1f /s", v) }}
	trips := func() []float64 {
		v := benchNumbers(b, bench, "roundtrip", m.pipes+"/a", m.pipes+"/b", "20000")
		if len(v) != 3 {
			b.Fatal(v)
		}
		return v
	}
	beside := func(args []string, f func()) (perSecond float64) {
		if args == nil {
			f()
			return 0
		}
		var times strings.Builder
		cmd := exec.Command(look, args...)
		cmd.Stdout, cmd.Stderr = &times, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		f()
		took := time.Since(start)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(times.String()))
		if err != nil {
			b.Fatal(err)
		}
		return float64(n) / took.Seconds()
	}
	return append(rows, rates), func() {
		for i, args := range besides {
			var v []float64
			perSecond := beside(args, func() { v = trips() })
			for k, v := range v {
				rows[3*k+i].seen = append(rows[3*k+i].seen, v)
			}
			if i == len(besides)-1 {
				rates.seen = append(rates.seen, perSecond)
			}
		}
	}
}

// BenchmarkLook measures what it costs to look, and what those who are looked at lose by it, and prints a table.
func BenchmarkLook(b *testing.B) {
	need(b, "cc")
	bench, err := compile("bench")
	if err != nil {
		b.Fatal(err)
	}
	look, err := compile("lookbench")
	if err != nil {
		b.Fatal(err)
	}
	// What is started here ends with this thread, that is with this function or with the process.
	runtime.LockOSThread()
	m := lookMount(b, lookObjects)
	var all []*lookRow
	var measures []func()
	for _, make := range []func() ([]*lookRow, func()){
		func() ([]*lookRow, func()) { return traceBench(b, bench) },
		func() ([]*lookRow, func()) { return tablesBench(b, m) },
		func() ([]*lookRow, func()) { return latencyBench(b, m, bench, look) },
	} {
		rows, measure := make()
		all, measures = append(all, rows...), append(measures, measure)
	}
	for range benchRounds {
		for _, measure := range measures {
			measure()
		}
	}
	fmt.Printf("%s; after the first part there are %d objects; ratio: to the last row above that has none\n", conditions(b), 3*lookObjects+2)
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tmedian\tworst\tratio\t")
	for _, r := range all {
		worst := r.seen[0]
		for _, v := range r.seen {
			if strings.HasSuffix(r.format(v), "/s") {
				worst = min(worst, v)
			} else {
				worst = max(worst, v)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", r.what, r.format(medianOf(r.seen)), r.format(worst), r.ratio())
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
