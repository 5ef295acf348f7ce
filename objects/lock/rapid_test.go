package lock

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"ipcfs/objects/ipc"
)

// TestModel runs random histories on two files and on the model, and compares them after each step. (A failure prints how to run it again.)
func TestModel(t *testing.T) {
	for i := range 8 { // of a hundred histories each
		t.Run(fmt.Sprint(i), rapid.MakeCheck(func(t *rapid.T) {
			limit := rapid.SampledFrom([]int{1000, 8, 3}).Draw(t, "limit")
			m := &machine{t: t, s: newSteps(t, limit), m: &model{max: limit}}
			t.Repeat(map[string]func(*rapid.T){
				"lock":    m.lock,
				"lock2":   m.lock, // twice as often
				"cancel":  m.cancel,
				"flush":   m.flush,
				"release": m.release,
				"":        func(*rapid.T) { m.compare() },
			})
		}))
	}
}

// machine does the same on files and on the model.
type machine struct {
	t     *rapid.T
	s     *steps
	m     *model
	calls []call
}

// call is an operation on both sides.
type call struct {
	op    *Op
	model *modelOp
}

func pick(t *rapid.T, name string, n int) int { return rapid.IntRange(0, n-1).Draw(t, name) }

func (m *machine) lock(t *rapid.T) {
	file := pick(t, "file", 2)
	op := &modelOp{
		name: fmt.Sprint(len(m.calls)), file: &m.m.files[file], flock: pick(t, "flock", 4) == 3, kind: rune("wru"[pick(t, "type", 3)]),
		owner: pick(t, "owner", modelOwners), wait: pick(t, "wait", 3) > 0, from: pick(t, "from", modelBytes), to: pick(t, "to", modelBytes),
	}
	op.from, op.to = min(op.from, op.to), max(op.from, op.to)
	op.handle = uint64(10*op.owner + pick(t, "handle", 2))
	l := Lock{
		Flock: op.flock, Type: lockTypes[string(op.kind)], Start: uint64(op.from), End: uint64(op.to), Owner: uint64(op.owner) + 1, Handle: op.handle,
	}
	if op.to == modelBytes-1 {
		l.End = OffsetMax
	}
	m.m.lock(op)
	var begun *Op
	m.s.with(func(d *ipc.Completions) { begun = m.s.begin(m.s.files[file], op.name, l, op.wait, d) })
	m.calls = append(m.calls, call{begun, op})
}

func (m *machine) cancel(t *rapid.T) {
	if len(m.calls) == 0 {
		return
	}
	c := m.calls[len(m.calls)-1-pick(t, "call", min(len(m.calls), 8))] // it may be complete, which must do no harm
	m.m.stop(c.model.file, func(op *modelOp) bool { return op == c.model })
	m.s.with(c.op.Cancel)
}

func (m *machine) flush(t *rapid.T) {
	file, owner := pick(t, "file", 2), pick(t, "owner", modelOwners)
	m.m.drop(&m.m.files[file], func(flock bool, o int, _ uint64) bool { return !flock && o == owner })
	m.s.with(func(d *ipc.Completions) { m.s.files[file].ReleaseOwner(uint64(owner)+1, d) })
}

func (m *machine) release(t *rapid.T) {
	file, handle := pick(t, "file", 2), uint64(10*pick(t, "owner", modelOwners)+pick(t, "handle", 2))
	m.m.stop(&m.m.files[file], func(op *modelOp) bool { return op.handle == handle })
	m.m.drop(&m.m.files[file], func(_ bool, _ int, h uint64) bool { return h == handle })
	m.s.with(func(d *ipc.Completions) { m.s.files[file].ReleaseHandle(handle, d) })
}

// compare fails the test unless both sides are in the same state and have told the same, in the same order, since the last time.
func (m *machine) compare() {
	got, want := m.s.log, m.m.log
	m.s.log, m.m.log = nil, nil
	if !slices.Equal(got, want) {
		m.t.Fatalf("completed %q, the model %q", got, want)
	}
	for i, f := range m.s.files {
		st, model := f.Stat(), &m.m.files[i]
		var held []string
		for _, l := range st.Held {
			held = append(held, fmt.Sprintf("%s/%d", show(l), l.Handle))
		}
		runs := model.runs()
		want := slices.Clone(runs)
		for _, l := range model.flock {
			want = append(want, fmt.Sprintf("%c %s/%d", 'A'+l.owner, map[rune]string{'r': "sh", 'w': "ex"}[l.kind], l.handle))
		}
		if !slices.Equal(held, want) {
			m.t.Fatalf("file %d: held %q, the model %q", i, held, want)
		}
		var waiting []string
		for op := range f.waiting.All() {
			waiting = append(waiting, op.Done.(ended).name)
		}
		var waits []string
		for _, op := range model.waits {
			waits = append(waits, op.name)
		}
		if !slices.Equal(waiting, waits) {
			m.t.Fatalf("file %d: in this order wait %q, in the model %q", i, waiting, waits)
		}
		m.getlk(i, model, runs)
	}
	if got, want := m.s.table.Len(), m.m.count(); got != want {
		m.t.Fatalf("the table counts %d, the model %d", got, want)
	}
}

// getlk asks for each byte what is in the way of a stranger.
func (m *machine) getlk(file int, model *modelFile, runs []string) {
	for i := range modelBytes {
		got, err := m.s.files[file].Test(Lock{Type: unix.F_WRLCK, Start: uint64(i), End: uint64(i), Owner: 99})
		stranger := &modelOp{file: model, owner: -1, kind: 'w', from: i, to: i}
		want := stranger.blockedBy()
		if got.Type == unix.F_UNLCK && want < 0 && err == nil {
			continue
		}
		if is := fmt.Sprintf("%s/%d", show(got), got.Handle); err != nil || got.Owner != uint64(want)+1 || !slices.Contains(runs, is) {
			m.t.Fatalf("file %d, byte %d: GETLK %s, %v, the model %d", file, i, show(got), err, want)
		}
	}
}
