package pipe

import (
	"fmt"
	"slices"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// machine does the same on a pipe and on the model. pick(n) chooses one of n: it makes the history, and replays it.
type machine struct {
	t       tb
	pick    func(n int) int
	s       *steps
	m       *model
	files   []*pair
	calls   []*call
	n       int // calls so far
	written int // bytes so far, which every byte tells
	history []string
}

// pair is a file that is open, or about to be, on both sides.
type pair struct {
	open   *opening
	model  *modelFile
	events uint32 // what a poll of it waits for
	armed  bool
}

// call is an operation on both sides.
type call struct {
	op   ipc.Canceler
	task *task
	file *pair
}

func newMachine(t tb, pick func(int) int) *machine {
	m := &machine{t: t, pick: pick, s: newSteps(t), m: &model{max: DefaultSlots, rCount: 1, wCount: 1}}
	if slots := []int{DefaultSlots, 1, 2, 4}[pick(4)]; slots != DefaultSlots {
		m.s.resize(root, uint64(slots*page.Size), nil)
		m.m.max = slots
	}
	return m
}

func (m *machine) actions() map[string]func() {
	return map[string]func(){
		"open": m.openOne, "read": m.readOne, "write": m.writeOne, "cancel": m.cancelOne, "close": m.closeOne, "poll": m.pollOne, "resize": m.resizeOne,
	}
}

func (m *machine) note(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf(format, args...))
}

func (m *machine) name(kind byte) string {
	m.n++
	return fmt.Sprintf("%c%d", kind, m.n)
}

func (m *machine) openOne() {
	if len(m.files) == 6 {
		m.closeOne()
		return
	}
	flags := []uint32{rdonly, wronly, rdwr, rdonly | nonBlock, wronly | nonBlock, rdonly | nonBlock}[m.pick(6)]
	op := OpenOp{Flags: flags, NoWait: m.n == 0 && m.pick(2) == 1}
	name := m.name('o')
	m.note("open %s flags %#x creates %v", name, flags, op.NoWait)
	f := &modelFile{r: flags&3 != wronly, w: flags&3 != rdonly}
	t := &task{name: name, f: f, kind: 'o'}
	m.m.open(t, flags&nonBlock != 0, op.NoWait)
	p := &pair{model: f}
	p.open = m.s.begin(name, op)
	if p.open.Err == nil {
		m.files = append(m.files, p)
		m.calls = append(m.calls, &call{p.open, t, p})
	}
}

// opened is one of the files that do not wait in open, on the side that can read or write.
func (m *machine) opened(side func(*modelFile) bool) *pair {
	var can []*pair
	for _, p := range m.files {
		if p.open.File != nil && side(p.model) {
			can = append(can, p)
		}
	}
	if len(can) == 0 {
		return nil
	}
	return can[m.pick(len(can))]
}

func reads(f *modelFile) bool  { return f.r }
func writes(f *modelFile) bool { return f.w }
func both(*modelFile) bool     { return true }

// size is a number of bytes around those that matter.
func (m *machine) size() int {
	near := []int{1, 100, page.Size / 2, page.Size, 2 * page.Size, 3 * page.Size, m.m.max * page.Size, (m.m.max + 2) * page.Size}[m.pick(8)]
	return max(1, min(near+m.pick(5)-2, 20*page.Size))
}

func (m *machine) readOne() {
	p := m.opened(reads)
	if p == nil {
		m.openOne()
		return
	}
	op := ReadOp{Size: m.size(), NonBlock: m.pick(3) == 0, More: m.pick(8) == 7}
	t := &task{name: m.name('r'), f: p.model, kind: 'r', want: op.Size, nonBlock: op.NonBlock, more: op.More}
	m.note("read %s of %s: %d bytes, nonblock %v, more %v", t.name, p.open.name, op.Size, op.NonBlock, op.More)
	m.m.run(t)
	m.calls = append(m.calls, &call{m.s.readOp(p.open.File, t.name, op), t, p})
}

func (m *machine) writeOne() {
	p := m.opened(writes)
	if p == nil {
		m.openOne()
		return
	}
	op := WriteOp{NonBlock: m.pick(3) == 0, Packet: m.pick(4) == 3, More: m.pick(8) == 7}
	data := stream(m.written, m.size())
	m.written += len(data)
	t := &task{name: m.name('w'), f: p.model, kind: 'w', data: []byte(data), nonBlock: op.NonBlock, packet: op.Packet, more: op.More}
	m.note("write %s to %s: %d bytes, nonblock %v, packet %v, more %v", t.name, p.open.name, len(data), op.NonBlock, op.Packet, op.More)
	m.m.run(t)
	m.calls = append(m.calls, &call{m.s.writeOp(p.open.File, t.name, data, op), t, p})
}

func (m *machine) cancelOne() {
	if len(m.calls) == 0 {
		m.openOne()
		return
	}
	c := m.calls[len(m.calls)-1-m.pick(min(len(m.calls), 8))] // it may be complete, which must do no harm
	m.note("cancel %s", c.task.name)
	m.m.cancel(c.task)
	m.s.cancel(c.op)
	if c.file.open.Err != nil {
		m.files = slices.DeleteFunc(m.files, func(p *pair) bool { return p == c.file })
	}
}

// closeOne closes a file, or ends its open. Its operations are cancelled first: a file that is in use is not released.
func (m *machine) closeOne() {
	if len(m.files) == 0 {
		m.openOne()
		return
	}
	p := m.files[m.pick(len(m.files))]
	m.note("close %s", p.open.name)
	wasOpen := p.open.File != nil
	for _, c := range m.calls {
		if c.file == p {
			m.m.cancel(c.task)
			m.s.cancel(c.op)
		}
	}
	m.calls = slices.DeleteFunc(m.calls, func(c *call) bool { return c.file == p })
	m.files = slices.DeleteFunc(m.files, func(q *pair) bool { return p == q })
	if wasOpen {
		m.m.close(p.model)
		m.s.close(p.open.File)
	}
}

// pollOne leaves a poll waiting.
func (m *machine) pollOne() {
	p := m.opened(both)
	if p == nil {
		m.openOne()
		return
	}
	events := []uint32{0, ipc.PollIn, ipc.PollOut, ipc.PollIn | ipc.PollOut}[m.pick(4)]
	m.note("poll %s for %#x", p.open.name, events)
	// What holds now is not waited for.
	p.events = (events | ipc.POLLERR | ipc.POLLHUP) &^ p.open.File.Poll(events, pollWake{p})
	p.armed = true
}

type pollWake struct{ p *pair }

func (w pollWake) Deliver() { w.p.armed = false }

func (m *machine) resizeOne() {
	slots := []int{1, 2, 4, 8, 16, 512}[m.pick(6)]
	who := []ipc.Caller{root, alice}[m.pick(2)]
	m.note("resize to %d slots by user %d", slots, who.UID)
	m.s.resize(who, uint64(slots*page.Size), m.m.resize(slots, who.Privileged()))
}

// compare panics the test unless both sides are in the same state and have told the same since the last time.
func (m *machine) compare() {
	m.t.Helper()
	fail := func(format string, args ...any) {
		m.t.Helper()
		m.t.Fatalf("%s\nafter %q", fmt.Sprintf(format, args...), m.history)
	}
	got, want := classes(m.s.log), classes(m.m.log)
	m.s.log, m.m.log = nil, nil
	if !slices.Equal(got, want) {
		fail("completed %q, the model %q", got, want)
	}
	bytes := 0
	for _, s := range m.m.slots {
		bytes += len(s.data)
	}
	wantStat := Stat{
		Readers: m.m.readers, Writers: m.m.writers, Bytes: bytes, Used: len(m.m.slots), Slots: m.m.max, WaitingOpens: len(m.m.opens),
	}
	for _, t := range slices.Concat(m.m.first, m.m.rd, m.m.wr) {
		wantStat.WaitingReads += btoi(t.kind == 'r')
		wantStat.WaitingWrites += btoi(t.kind == 'w')
	}
	st := m.s.p.Stat()
	st.Counters = Counters{} // the model comes to its states in its own way
	if st != wantStat {
		fail("%+v, the model %+v", st, wantStat)
	}
	for _, q := range []struct {
		got  []string
		want []*task
	}{{m.names(m.s.p.rdWait.All(), nil), m.m.rd}, {m.names(nil, m.s.p.wrWait.All()), m.m.wr}} {
		var names []string
		for _, t := range q.want {
			names = append(names, t.name)
		}
		if !slices.Equal(q.got, names) {
			fail("in this order wait %q, in the model %q", q.got, names)
		}
	}
	for _, p := range m.files {
		if p.open.File == nil {
			continue
		}
		bits := p.open.File.Poll(0, nil)
		if want := m.m.poll(p.model); bits != want {
			fail("poll of %s = %#x, the model %#x", p.open.name, bits, want)
		}
		if p.armed && bits&p.events != 0 {
			fail("poll of %s was not woken for %#x", p.open.name, bits&p.events)
		}
	}
}

// names are those of the operations in a queue, longest wait first.
func (m *machine) names(reads func(func(*ReadOp) bool), writes func(func(*WriteOp) bool)) (names []string) {
	if reads != nil {
		for op := range reads {
			names = append(names, op.Done.(*reading).name)
		}
	}
	if writes != nil {
		for op := range writes {
			names = append(names, op.Done.(*writing).name)
		}
	}
	return names
}
