package top

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipcfs/cmd/ipcfs/inspect"
)

// What is read of the tables: an object for each row, and the sums of all.
func TestRead(t *testing.T) {
	s := busy(1).sample(t, 0)
	type seen struct {
		kind, name    string
		held, room    int64
		fill          float64
		waiters       int64
		in, out, w, r int64
	}
	var got []seen
	for _, o := range s.objects {
		got = append(got, seen{o.kind, o.name, o.held, o.room, o.fill, o.waiters, o.count.in, o.count.out, o.count.writes, o.count.reads})
	}
	want := []seen{
		{"pipes", "p", 49152, 65536, 0.75, 1, 40960, 40960, 10, 10},
		{"pipes", `log files/a\012b`, 65536, 65536, 1, 2, 12 << 20, 0, 1500, 0},
		{"pipes", "中文", 0, 65536, 0, 1, 0, 0, 0, 0},
		{"pipes", "old (deleted)", 1, 1 << 20, 1. / 256, 0, 1, 0, 1, 0},
		{"shm", "frame", 262144, 1 << 20, 0.25, 0, 300, 100, 3, 1},
		{"shm", "empty", 0, 0, 0, 0, 0, 0, 0, 0},
		{"msgq", "jobs", 8192, 16384, 0.5, 0, 20, 10, 2, 1},
		{"msgq", "sub/directory/with/a/rather/long/name/of/a/queue", 0, 16384, 0, 3, 0, 0, 0, 0},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(seen{})); diff != "" {
		t.Error(diff)
	}
	sums := s.totals()
	if sums.kinds["pipes"] != 4 || sums.kinds["shm"] != 2 || sums.kinds["msgq"] != 2 || sums.waiters != 7 || s.arenaUsed != 12<<20 || s.arenaLimit != 64<<20 {
		t.Errorf("%+v, %d of %d", sums, s.arenaUsed, s.arenaLimit)
	}
}

// A name that an object does not have, and a segment that has more memory than bytes.
func TestNewObject(t *testing.T) {
	s := newTables("", "5 600 0 0 0 0 100 0 0 0 0 0 0 4096 0 0 0 0 -\n", "").sample(t, 0)
	if o := s.objects[0]; o.name != "-" || o.fill != 1 || o.held != 4096 {
		t.Errorf("%+v", o)
	}
}

// An error names the file; details have their own, for the list can be shown without them.
func TestReadErrors(t *testing.T) {
	f := busy(1)
	f["msgq"] = "ino name\n1 msgq/x\n"
	if got := read(f.mount(t), wanted{}, noon); got.err == nil || !strings.Contains(got.err.Error(), "proc/msgq: there is no column perms") {
		t.Errorf("%v", got.err)
	}
	f = busy(1)
	f["files"] = "x\n"
	got := read(f.mount(t), wanted{files: true}, noon)
	if got.err != nil || got.sample == nil || got.details.err == nil || !strings.Contains(got.details.err.Error(), "proc/files: ") {
		t.Errorf("%+v", got)
	}
	m := busy(1).mount(t)
	if err := os.Remove(m.Path("proc/maps")); err != nil {
		t.Fatal(err)
	}
	if got := read(m, wanted{files: true}, noon); got.details.err != nil || got.details.maps != nil || len(got.details.files[12]) != 3 {
		t.Errorf("%+v", got.details)
	}
	if got := read(m, wanted{files: true, maps: true}, noon); got.details.err == nil {
		t.Errorf("%+v", got.details)
	}
}

// pipeSample is a mount with one pipe that has counted so much.
func pipeSample(t *testing.T, seconds, ino, syscr, rchar, syscw, wchar int) *sample {
	t.Helper()
	return newTables(fmt.Sprintf("%d 600 0 0 0 0 1 1 0 0 16 0 0 0 %d %d %d %d pipes/p\n", ino, syscr, rchar, syscw, wchar), "", "").sample(t, seconds)
}

// Rates are what was counted between two readings.
func TestRates(t *testing.T) {
	first := pipeSample(t, 0, 7, 100, 1000, 200, 3000)
	for name, c := range map[string]struct {
		next *sample
		want rates
	}{
		"the same object":                  {pipeSample(t, 2, 7, 110, 2000, 300, 7000), rates{in: 2000, out: 500, writes: 50, reads: 5}},
		"nothing happened":                 {pipeSample(t, 2, 7, 100, 1000, 200, 3000), rates{}},
		"made since":                       {pipeSample(t, 2, 8, 10, 100, 20, 300), rates{in: 150, out: 50, writes: 10, reads: 5}},
		"another that was given its inode": {pipeSample(t, 2, 7, 10, 100, 20, 300), rates{in: 150, out: 50, writes: 10, reads: 5}},
	} {
		c.next.follow(first)
		if got := c.next.objects[0]; got.rate != c.want || !slices.Equal(got.history, []float64{c.want.in + c.want.out}) {
			t.Errorf("%s: %+v, %v", name, got.rate, got.history)
		}
	}
	gone := newTables("", "", "").sample(t, 2)
	gone.follow(first)
	if len(gone.objects) != 0 || gone.totals().in != 0 {
		t.Errorf("%+v", gone)
	}
}

// If no time has gone by, or it has gone back, the rates and the history stay.
func TestRatesWithoutTime(t *testing.T) {
	a, b := pipeSample(t, 0, 7, 0, 0, 0, 0), pipeSample(t, 1, 7, 1, 10, 2, 20)
	b.follow(a)
	for _, second := range []int{1, 0} {
		c := pipeSample(t, second, 7, 5, 50, 6, 60)
		c.follow(b)
		if got := c.objects[0]; got.rate != (rates{in: 20, out: 10, writes: 2, reads: 1}) || !slices.Equal(got.history, []float64{30}) {
			t.Errorf("%+v %v", got.rate, got.history)
		}
		fresh := pipeSample(t, second, 9, 5, 50, 6, 60)
		fresh.follow(b)
		if got := fresh.objects[0]; got.rate != (rates{}) || got.history != nil {
			t.Errorf("made in no time: %+v %v", got.rate, got.history)
		}
	}
}

// The history keeps the last refreshes and no more.
func TestHistory(t *testing.T) {
	s := pipeSample(t, 0, 7, 0, 0, 0, 0)
	total := 0
	for second := 1; second <= historySize+5; second++ {
		total += second
		next := pipeSample(t, second, 7, 0, 0, 0, total)
		next.follow(s)
		s = next
	}
	h := s.objects[0].history
	if len(h) != historySize || h[0] != 6 || h[historySize-1] != historySize+5 {
		t.Errorf("%v", h)
	}
}

// many is a mount with so many objects, as it was so many seconds after noon.
func many(n, second int) *sample {
	var b [3]strings.Builder
	for i := range n {
		switch c := (i%97 + 1) * second; i % 3 {
		case 0:
			fmt.Fprintf(&b[0], "%d 600 0 0 0 0 1 1 4096 1 16 0 %d 0 %d %d %d %d pipes/dir%d/object%d\n", i+1, i%11/10, c, c*100, c, c*200, i%50, i)
		case 1:
			fmt.Fprintf(&b[1], "%d 600 0 0 0 0 1048576 2 4711 4712 1 2 3 262144 %d %d %d %d shm/dir%d/object%d\n", i+1, c, c*100, c, c*200, i%50, i)
		case 2:
			fmt.Fprintf(&b[2], "%d 666 0 0 0 0 8192 100 16384 1 2 3 4 5 0 0 %d %d %d %d msgq/dir%d/object%d\n", i+1, c, c*100, c, c*200, i%50, i)
		}
	}
	s := &sample{at: noon.Add(time.Duration(second) * time.Second)}
	for i, kind := range inspect.Kinds {
		table, err := inspect.ParseTable([]string{pipesHeader, shmHeader, msgqHeader}[i] + b[i].String())
		if err != nil {
			panic(err)
		}
		for _, r := range table.Rows {
			s.objects = append(s.objects, newObject(kind, r))
		}
	}
	return s
}

// A refresh of ten thousand objects: what Update does, and the screen.
func BenchmarkRefresh(b *testing.B) {
	m := newModel("/m", Options{Interval: time.Second}, nil)
	m.width, m.height = 200, 50
	m.choice.order = byIn
	samples := []*sample{many(10_000, 1), many(10_000, 2)}
	m.take(samples[0])
	second := 2
	for b.Loop() {
		s := *samples[1]
		second++
		s.at = noon.Add(time.Duration(second) * time.Second)
		m.Update(readMsg{sample: &s})
	}
}

// The screen of ten thousand objects.
func BenchmarkView(b *testing.B) {
	m := newModel("/m", Options{Interval: time.Second}, nil)
	m.width, m.height = 200, 50
	m.take(many(10_000, 1))
	m.take(many(10_000, 2))
	for b.Loop() {
		m.View()
	}
}

// The tables of ten thousand objects, as they are read in the background.
func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		many(10_000, 1)
	}
}
