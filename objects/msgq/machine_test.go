package msgq

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ipcfs/objects/ipc"
)

// machine does the same on a queue and on the model. pick(n) chooses one of n: it makes the history, and replays it.
type machine struct {
	t       tb
	pick    func(n int) int
	s       *steps
	m       *model
	files   []*pair
	calls   []*call
	n       int // operations so far
	history []string
}

// pair is an open file on both sides.
type pair struct {
	real *File
	m    *modelFile
}

// call is an operation on both sides.
type call struct {
	op   ipc.Canceler
	task *task
}

func newMachine(t tb, pick func(int) int) *machine {
	s := newSteps(t)
	return &machine{t: t, pick: pick, s: s, m: &model{qbytes: 100, msgmax: 50}}
}

func (m *machine) note(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf(format, args...))
}

var machineViews = []string{"", "raw", "1", "2", "-2", "^1", "2:raw", "-1:raw", "lines", "2:lines", "-2:lines", "stream", "^2:stream", "-3:lines"}

func (m *machine) actions() map[string]func() {
	return map[string]func(){
		"open": m.openOne, "send": m.sendOne, "receive": m.receiveOne, "cancel": m.cancelOne, "close": m.closeOne, "limit": m.limit, "remove": m.removeOne,
	}
}

func (m *machine) openOne() {
	if m.m.removed || len(m.files) == 8 {
		m.closeOne()
		return
	}
	view := machineViews[m.pick(len(machineViews))]
	m.note("open %q", view)
	f := m.s.file(view, rdwr)
	m.files = append(m.files, &pair{f, &modelFile{view: f.view}})
}

func (m *machine) file() *pair {
	if len(m.files) == 0 {
		m.openOne()
	}
	if len(m.files) == 0 {
		return nil
	}
	return m.files[m.pick(len(m.files))]
}

// text is a text of which every part can be told from others, with newlines here and there.
func (m *machine) text() string {
	m.n++
	length := []int{3, 1, 2, 5, 10, 30, 49, 50, 51, 99, 100, 101, 200}[m.pick(13)]
	var b strings.Builder
	for i := 0; b.Len() < length; i++ {
		fmt.Fprintf(&b, "%d.%d", m.n, i)
		if m.pick(3) == 0 {
			b.WriteByte('\n')
		}
	}
	return b.String()[:length]
}

func (m *machine) sendOne() {
	p := m.file()
	if p == nil {
		m.note("nothing is open")
		return
	}
	text := m.text()
	t := &task{name: fmt.Sprint("s", m.n), f: p.m, sends: true, nonBlock: m.pick(3) == 0, data: text}
	data := text
	if p.m.view.Mode == ModeRaw {
		mtype := int64(m.pick(4))
		if m.pick(4) == 3 {
			text = ""
		}
		t.data, data = fmt.Sprintf("%d:%s", mtype, text), raw(mtype, text)
	}
	m.note("%s: send to %q, nonblock %v: %q", t.name, p.m.view, t.nonBlock, t.data)
	m.m.send(t)
	m.calls = append(m.calls, &call{m.s.sendOp(p.real, t.name, SendOp{Data: []byte(data), NonBlock: t.nonBlock}), t})
}

func (m *machine) receiveOne() {
	p := m.file()
	if p == nil {
		m.note("nothing is open")
		return
	}
	m.n++
	t := &task{name: fmt.Sprint("r", m.n), f: p.m, nonBlock: m.pick(3) == 0, size: []int{1, 7, 8, 9, 20, 58, 100, 300}[m.pick(8)]}
	m.note("%s: receive from %q, nonblock %v, room %d", t.name, p.m.view, t.nonBlock, t.size)
	m.m.receive(t)
	m.calls = append(m.calls, &call{m.s.receiveOp(p.real, t.name, ReceiveOp{Size: t.size, NonBlock: t.nonBlock}), t})
}

func (m *machine) cancelOne() {
	if len(m.calls) == 0 {
		m.note("nothing to cancel")
		return
	}
	c := m.calls[m.pick(len(m.calls))]
	m.note("cancel %s", c.task.name)
	m.m.cancel(c.task, "EINTR")
	m.s.do(c.op.Cancel)
}

func (m *machine) closeOne() {
	if len(m.files) == 0 {
		m.note("nothing to close")
		return
	}
	i := m.pick(len(m.files))
	p := m.files[i]
	m.note("close %q, and cancel what waits on it", p.m.view)
	for _, c := range m.calls {
		if c.task.f == p.m {
			m.m.cancel(c.task, "EINTR")
			m.s.do(c.op.Cancel)
		}
	}
	m.m.release(p.m)
	m.s.close(p.real)
	m.files = slices.Delete(m.files, i, i+1)
}

func (m *machine) limit() {
	n := []int{0, 1, 2, 20, 60, 100, 150}[m.pick(7)]
	m.note("limit %d", n)
	if m.m.removed {
		return
	}
	m.m.qbytes = n
	m.m.wakeSenders()
	m.s.setQBytes(uint64(n))
}

// removeOne is rare, for little can be seen after it.
func (m *machine) removeOne() {
	if m.pick(20) != 19 || m.m.removed {
		m.note("no removal")
		return
	}
	m.note("remove")
	m.m.remove()
	m.s.do(m.s.q.Remove)
}

// compare looks at both sides: what was completed, in order, what is in the queue, and how many wait.
func (m *machine) compare() {
	m.t.Helper()
	got, want := m.s.log, m.m.log
	m.s.log, m.m.log = nil, nil
	if !slices.Equal(got, want) {
		m.t.Fatalf("completed %q, the model %q, after\n%s", got, want, strings.Join(m.history, "\n"))
	}
	if m.m.removed {
		return
	}
	var messages []string
	for _, x := range m.m.messages {
		messages = append(messages, fmt.Sprintf("%d:%s", x.mtype, x.text))
	}
	m.s.wantQueue(messages...)
	m.s.wantWaiting(len(m.m.receivers), m.m.waitingSenders())
}

// TestModel runs random histories on a queue and on the model, and compares them after each step. (A failure prints how to run it again.)
func TestModel(t *testing.T) {
	for i := range 8 { // of a hundred histories each
		t.Run(fmt.Sprint(i), rapid.MakeCheck(func(t *rapid.T) {
			m := newMachine(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") })
			do := map[string]func(*rapid.T){}
			for name, f := range m.actions() {
				do[name] = func(t *rapid.T) {
					f()
					t.Logf("%s", m.history[len(m.history)-1])
				}
			}
			do[""] = func(*rapid.T) { m.compare() }
			t.Repeat(do)
		}))
	}
}

// FuzzQueue does what the bytes say on a queue and on the model. Waits and cancels included, both must tell the same in the same order.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a queue, some files, and what is done to them: the bytes choose, two for each choice, among what can be done"))
	f.Add(slices.Repeat([]byte{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}, 40))
	f.Fuzz(func(t *testing.T, program []byte) {
		program = program[:min(len(program), 3000)] // longer ones find nothing new
		pick := func(n int) int {
			if len(program) < 2 {
				program = nil
				return 0
			}
			x := int(program[0])<<8 | int(program[1])
			program = program[2:]
			return x % n
		}
		m := newMachine(t, pick)
		actions := m.actions()
		names := slices.Sorted(maps.Keys(actions))
		for len(program) > 0 {
			actions[names[pick(len(names))]]()
			m.compare()
		}
	})
}
