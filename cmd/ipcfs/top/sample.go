package top

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"ipcfs/cmd/ipcfs/inspect"
)

// object is a line of the list: what a table of proc says of a pipe, a segment or a queue, and what was seen of it from one reading to the next.
type object struct {
	ino     int64
	kind    string      // of inspect.Kinds
	name    string      // below the directory of its kind, made visible
	row     inspect.Row // all of its columns
	held    int64       // bytes in it: of a segment, those that have memory
	room    int64       // bytes that it can hold
	fill    float64     // how full it is, from 0 to 1
	waiters int64       // operations that wait for it
	count   counters
	rate    rates
	history []float64 // its traffic in bytes a second, in and out together, at each of the last refreshes; the newest is last
}

// counters are what was done with an object since it was made. In is what was written into it, and out what was read out of it.
type counters struct{ in, out, writes, reads int64 }

// rates are how much that is in a second.
type rates struct{ in, out, writes, reads float64 }

// pageSize is the size of a slot of a pipe.
const pageSize = 4096

// newObject makes an object of a row of the table of its kind.
func newObject(kind string, r inspect.Row) object {
	o := object{
		ino: r.Int("ino"), kind: kind, row: r, name: visible(strings.TrimPrefix(r.Name("name"), kind+"/")),
		count: counters{in: r.Int("wchar"), out: r.Int("rchar"), writes: r.Int("syscw"), reads: r.Int("syscr")},
	}
	if o.name == "" {
		o.name = "-"
	}
	switch kind {
	case "pipes":
		// A writer waits when no slot is free, and a slot may hold less than a page.
		o.held, o.room, o.fill = r.Int("bytes"), r.Int("slots")*pageSize, part(r.Int("used"), r.Int("slots"))
		o.waiters = r.Int("opens") + r.Int("reads") + r.Int("writes")
	case "shm":
		o.held, o.room = r.Int("rss"), r.Int("shm_segsz")
		o.fill = part(o.held, o.room)
	case "msgq":
		o.held, o.room = r.Int("q_cbytes"), r.Int("q_qbytes")
		o.fill = part(o.held, o.room)
		o.waiters = r.Int("q_receivers") + r.Int("q_senders")
	}
	return o
}

// part is n as a part of all, from 0 to 1. The memory of a segment is whole pages, and may be more than its size.
func part(n, all int64) float64 {
	if all <= 0 || n <= 0 {
		return 0
	}
	return min(float64(n)/float64(all), 1)
}

// sample is what one reading of the mount found.
type sample struct {
	at                    time.Time
	objects               []object
	columns               map[string][]string // of the table of each kind
	arenaUsed, arenaLimit int64               // bytes of the memory that pipes and queues share
}

// details is who uses the objects. It costs more to find out, and so is read only while it is shown.
type details struct {
	at          time.Time
	want        wanted                  // what of it was read
	err         error                   // why it could not be
	files, maps map[int64][]inspect.Row // rows of proc/files and proc/maps by the number of the object's inode
}

// wanted says what of the details a reading is to bring.
type wanted struct{ files, maps bool }

// readMsg is what a reading of the mount brought.
type readMsg struct {
	sample  *sample
	details *details // nil if none was wanted
	err     error
}

// read reads the mount. The tables are not of one moment, but each is always read at the same place, and that is what rates need.
func read(m inspect.Mount, want wanted, at time.Time) readMsg {
	s := &sample{at: at, columns: make(map[string][]string, len(inspect.Kinds))}
	for _, kind := range inspect.Kinds {
		t, err := m.Objects(kind)
		if err != nil {
			return readMsg{err: err}
		}
		s.columns[kind] = t.Columns
		for _, r := range t.Rows {
			s.objects = append(s.objects, newObject(kind, r))
		}
	}
	metrics, err := m.Read("metrics")
	if err != nil {
		return readMsg{err: err}
	}
	s.arenaUsed, s.arenaLimit = metric(metrics, "ipcfs_arena_used_bytes"), metric(metrics, "ipcfs_arena_limit_bytes")
	d := readDetails(m, want, at)
	if d != nil && errors.Is(d.err, inspect.ErrGone) {
		return readMsg{err: d.err}
	}
	return readMsg{sample: s, details: d}
}

// readDetails reads who uses the objects, nil if that is not wanted.
func readDetails(m inspect.Mount, want wanted, at time.Time) *details {
	d := &details{at: at, want: want}
	if !want.files {
		return nil
	}
	var t *inspect.Table
	if t, d.err = m.Files(); d.err == nil {
		d.files = byObject(t)
	}
	if want.maps && d.err == nil {
		if t, d.err = m.Maps(); d.err == nil {
			d.maps = byObject(t)
		}
	}
	return d
}

// byObject puts the rows of a table together that are of one object.
func byObject(t *inspect.Table) map[int64][]inspect.Row {
	rows := make(map[int64][]inspect.Row)
	for _, r := range t.Rows {
		ino := r.Int("ino")
		rows[ino] = append(rows[ino], r)
	}
	return rows
}

// metric finds the value of a metric that has no labels, 0 if it is not there.
func metric(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return int64(value)
		}
	}
	return 0
}

// historySize is how many refreshes the history of an object has.
const historySize = 60

// follow finds what happened from the sample before to s: the rates of each object, and its history with one value more. The histories of before go over to s.
// What was not there before was made since then, so that all it has counted happened in that time. If no time has gone by, all stays as it was.
func (s *sample) follow(before *sample) {
	earlier := make(map[int64]*object, len(before.objects))
	for i := range before.objects {
		earlier[before.objects[i].ino] = &before.objects[i]
	}
	seconds := s.at.Sub(before.at).Seconds()
	for i := range s.objects {
		o := &s.objects[i]
		var from counters
		if old := earlier[o.ino]; old != nil && old.kind == o.kind && o.count.since(old.count) {
			from, o.history, o.rate = old.count, old.history, old.rate
		}
		if seconds <= 0 {
			continue
		}
		o.rate = rates{
			in: float64(o.count.in-from.in) / seconds, out: float64(o.count.out-from.out) / seconds,
			writes: float64(o.count.writes-from.writes) / seconds, reads: float64(o.count.reads-from.reads) / seconds,
		}
		if len(o.history) < historySize {
			o.history = append(o.history, 0)
		} else {
			copy(o.history, o.history[1:])
		}
		o.history[len(o.history)-1] = o.rate.in + o.rate.out
	}
}

// since says whether c can have come of earlier: counters never go back. If they did, it is another object that was given the number of an old one.
func (c counters) since(earlier counters) bool {
	return c.in >= earlier.in && c.out >= earlier.out && c.writes >= earlier.writes && c.reads >= earlier.reads
}

// totals are sums over all the objects of a sample.
type totals struct {
	kinds   map[string]int
	in, out float64 // bytes a second
	waiters int64
}

// totals adds up the sample.
func (s *sample) totals() totals {
	t := totals{kinds: make(map[string]int, len(inspect.Kinds))}
	for i := range s.objects {
		o := &s.objects[i]
		t.kinds[o.kind]++
		t.in += o.rate.in
		t.out += o.rate.out
		t.waiters += o.waiters
	}
	return t
}
