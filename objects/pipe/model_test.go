package pipe

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"ipcfs/objects/page"

	"ipcfs/objects/ipc"
)

// model is a pipe as fs/pipe.c has it: tasks that sleep in queues, are woken, and go through the loop of pipe_read or pipe_write again. It
// shares no idea with Pipe, which completes operations from outside. Woken tasks run at once, the first woken first; where a reader and a
// writer are awake, as on two processors, those of one kind run to their end before the other.
type model struct {
	slots            []modelSlot
	max              int // max_usage
	readers, writers int
	rCount, wCount   int
	opens, rd, wr    []*task // sleeping
	first            []*task // reads and writes of a creating open that sleep until its partner's open
	awake            []*task
	log              []string
}

type modelSlot struct {
	data   []byte
	used   int // bytes of the page before data
	packet bool
}

// modelFile is an open file.
type modelFile struct {
	r, w      bool
	hup       int     // f_pipe
	first     partner // of a creating open
	packetEnd bool
}

// partner is a counter that has to change.
type partner struct {
	count *int
	was   int
}

func (p partner) missing() bool { return p.count != nil && *p.count == p.was }

// task is a system call.
type task struct {
	name                   string
	f                      *modelFile
	kind                   byte // 'o', 'r' or 'w'
	nonBlock, packet, more bool
	partner                partner // of an open
	want                   int     // bytes to read
	data                   []byte  // read, or left to write
	n                      int     // written
	slept                  bool
}

func (m *model) end(t *task, result string) { m.log = append(m.log, t.name+"="+result) }

// wake is wake_up: all that sleep, or the one that sleeps longest.
func (m *model) wake(q *[]*task, all bool) {
	n := min(1, len(*q))
	if all {
		n = len(*q)
	}
	m.awake = append(m.awake, (*q)[:n]...)
	*q = slices.Clone((*q)[n:])
}

// run runs t, and whom it wakes, until everybody sleeps.
func (m *model) run(t ...*task) {
	m.awake = append(m.awake, t...)
	writersTurn := false
	for len(m.awake) > 0 {
		i := max(0, slices.IndexFunc(m.awake, func(t *task) bool { return (t.kind == 'w') == writersTurn }))
		t := m.awake[i]
		m.awake = slices.Delete(m.awake, i, i+1)
		writersTurn = t.kind == 'w'
		switch {
		case t.kind == 'o' && t.partner.missing():
			m.opens = append(m.opens, t)
		case t.kind == 'o':
			m.end(t, "ok")
		case t.f.first.missing() && (t.kind == 'w' || !t.more && len(m.slots) == 0):
			m.waitForFirst(t)
		case t.kind == 'r':
			m.read(t)
		default:
			m.write(t)
		}
	}
}

func (m *model) waitForFirst(t *task) {
	if t.nonBlock {
		m.end(t, "EAGAIN")
		return
	}
	m.first = append(m.first, t)
}

func (m *model) open(t *task, nonBlock, creates bool) {
	f, p := t.f, partner{}
	if f.w && !f.r && nonBlock && !creates && m.readers == 0 {
		m.end(t, "ENXIO")
		return
	}
	m.readers, m.rCount = m.readers+btoi(f.r), m.rCount+btoi(f.r)
	m.writers, m.wCount = m.writers+btoi(f.w), m.wCount+btoi(f.w)
	switch {
	case !f.w && m.writers == 0:
		if nonBlock || creates {
			f.hup = m.wCount
		}
		if !nonBlock {
			p = partner{&m.wCount, m.wCount}
		}
	case !f.r && m.readers == 0:
		p = partner{&m.rCount, m.rCount}
	}
	if creates {
		f.first = p
	} else {
		t.partner = p
	}
	m.wake(&m.opens, true)
	m.wake(&m.first, true)
	m.run(t)
}

func (m *model) close(f *modelFile) {
	m.readers -= btoi(f.r)
	m.writers -= btoi(f.w)
	if m.readers+m.writers == 0 {
		m.slots, m.rCount, m.wCount = nil, 1, 1
	}
	m.wake(&m.rd, true)
	m.wake(&m.wr, true)
	m.run()
}

func (m *model) read(t *task) {
	wakeWriter := false
	if t.more && t.f.packetEnd {
		m.end(t, "")
		return
	}
	for len(m.slots) > 0 && t.want > 0 {
		s := &m.slots[0]
		n := min(len(s.data), t.want)
		t.data = append(t.data, s.data[:n]...)
		s.data, s.used, t.want = s.data[n:], s.used+n, t.want-n
		if t.f.packetEnd = s.packet; s.packet {
			s.data, t.want = nil, 0
		}
		if len(s.data) == 0 {
			wakeWriter = wakeWriter || len(m.slots) == m.max
			m.slots = slices.Clone(m.slots[1:])
		}
	}
	switch {
	case len(t.data) > 0 || m.writers == 0 || t.more:
		m.end(t, show(t.data))
	case t.nonBlock:
		m.end(t, "EAGAIN")
	default:
		t.slept = true
		m.rd = append(m.rd, t)
		return
	}
	if wakeWriter {
		m.wake(&m.wr, false)
	}
	if t.slept && len(m.slots) > 0 {
		m.wake(&m.rd, false)
	}
}

func (m *model) write(t *task) {
	if m.readers == 0 {
		if t.n == 0 {
			m.end(t, "EPIPE SIGPIPE")
		} else {
			m.end(t, fmt.Sprint(t.n, " SIGPIPE"))
		}
		return
	}
	wasEmpty := len(m.slots) == 0
	put := func(s *modelSlot, n int) {
		s.data = append(slices.Clone(s.data), t.data[:n]...)
		t.data, t.n = t.data[n:], t.n+n
	}
	if !t.slept && !wasEmpty {
		last := &m.slots[len(m.slots)-1]
		room := page.Size - last.used - len(last.data)
		odd := len(t.data) % page.Size
		if t.more {
			odd = min(len(t.data), room)
		}
		if !last.packet && odd <= room {
			put(last, odd)
		}
	}
	for len(t.data) > 0 && len(m.slots) < m.max {
		m.slots = append(m.slots, modelSlot{packet: t.packet})
		put(&m.slots[len(m.slots)-1], min(len(t.data), page.Size))
	}
	if wasEmpty && len(m.slots) > 0 {
		m.wake(&m.rd, false)
	}
	switch {
	case len(t.data) == 0 || t.nonBlock && t.n > 0:
		m.end(t, fmt.Sprint(t.n))
	case t.nonBlock:
		m.end(t, "EAGAIN")
	default:
		t.slept = true
		m.wr = append(m.wr, t)
		return
	}
	if t.slept && len(m.slots) < m.max {
		m.wake(&m.wr, false)
	}
}

func (m *model) resize(slots int, privileged bool) error {
	switch {
	case slots > m.max && slots > 256 && !privileged:
		return syscall.EPERM
	case slots < len(m.slots):
		return syscall.EBUSY
	}
	m.max = slots
	m.wake(&m.wr, false)
	m.run()
	return nil
}

// cancel ends the wait of t, and says whether it waited.
func (m *model) cancel(t *task) {
	for _, q := range []*[]*task{&m.opens, &m.first, &m.rd, &m.wr} {
		i := slices.Index(*q, t)
		if i < 0 {
			continue
		}
		*q = slices.Delete(slices.Clone(*q), i, i+1)
		if t.n > 0 {
			m.end(t, fmt.Sprint(t.n))
		} else {
			m.end(t, "EINTR")
		}
		if t.kind == 'o' {
			m.close(t.f)
		}
	}
}

func (m *model) poll(f *modelFile) (bits uint32) {
	if f.r && len(m.slots) > 0 {
		bits |= ipc.PollIn
	}
	if f.r && m.writers == 0 && f.hup != m.wCount {
		bits |= ipc.POLLHUP
	}
	if f.w && f.first.missing() {
		return bits
	}
	if f.w && len(m.slots) < m.max {
		bits |= ipc.PollOut
	}
	if f.w && m.readers == 0 {
		bits |= ipc.POLLERR
	}
	return bits
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// classes sorts completions by kind. Which of a read and a write ends first is for nobody to see; among reads it is.
func classes(log []string) []string {
	log = slices.Clone(log)
	slices.SortStableFunc(log, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	return log
}
