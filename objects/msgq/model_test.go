package msgq

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// model is a queue as svipc(7) tells it, in lists of strings: no arena, no pages, no ring. A task that waits is asked again, in order, whenever something
// changed that it may wait for.
type model struct {
	qbytes, msgmax int
	messages       []modelMsg
	receivers      []*task
	senders        []*task
	left           int // of senders, the lines that released files left
	removed        bool
	log            []string
}

type modelMsg struct {
	mtype int64
	text  string
}

// modelFile is an open file.
type modelFile struct {
	view   View
	carry  string  // of a line that has begun
	busy   *task   // the write of lines that waits
	behind []*task // those that wait for it
	rest   string  // of a message that was begun
}

// task is a send or a receive.
type task struct {
	name     string
	f        *modelFile
	sends    bool
	nonBlock bool

	data string // to send; with ModeLines what is still to be sent of it
	n    int    // bytes sent
	last bool   // nobody waits for it
	left bool   // nor was there room for it

	size int    // room to receive
	got  string // received
}

func (m *model) end(t *task, result string) {
	if t.left {
		m.left--
	}
	if !t.last {
		m.log = append(m.log, t.name+"="+result)
	}
}

// waitingSenders is how many are not told yet what became of what they send.
func (m *model) waitingSenders() int {
	n := 0
	for _, t := range m.senders {
		if !t.last {
			n++
		}
		if t == t.f.busy {
			n += len(t.f.behind)
		}
	}
	return n
}

// takes is testmsg, from the man page.
func takes(v View, mtype int64) bool {
	switch s := v.String(); {
	case strings.HasPrefix(s, "-"):
		return mtype <= v.Selector.mtype
	case strings.HasPrefix(s, "^"):
		return mtype != v.Selector.mtype
	case s != "" && s[0] >= '1' && s[0] <= '9':
		return mtype == v.Selector.mtype
	}
	return true
}

func (m *model) bytes() (n int) {
	for _, x := range m.messages {
		n += len(x.text)
	}
	return n
}

func (m *model) fits(n int) bool { return m.bytes()+n <= m.qbytes && len(m.messages)+1 <= m.qbytes }

// find is the index of the message that the view gets, -1 if there is none.
func (m *model) find(v View) int {
	best := -1
	for i, x := range m.messages {
		if !takes(v, x.mtype) {
			continue
		}
		if !strings.HasPrefix(v.String(), "-") {
			return i
		}
		if best < 0 || x.mtype < m.messages[best].mtype {
			best = i
		}
	}
	return best
}

// room is what a task has room for.
func (t *task) room() int {
	switch t.f.view.Mode {
	case ModeRaw:
		return t.size - 8
	case ModeStream:
		return 1 << 30
	case ModeLines:
		return t.size - len(t.got)
	}
	return t.size
}

// take gives x to t, and says whether t has enough to end.
func (t *task) take(x modelMsg) bool {
	switch t.f.view.Mode {
	case ModeRaw:
		t.got = fmt.Sprintf("%d:%s", x.mtype, x.text)
	case ModeStream:
		t.f.rest = x.text
		t.takeRest()
		return x.text != ""
	case ModeLines:
		t.got += x.text
		return t.got != ""
	default:
		t.got = x.text
	}
	return true
}

func (t *task) takeRest() {
	n := min(t.size, len(t.f.rest))
	t.got, t.f.rest = t.f.rest[:n], t.f.rest[n:]
}

// put sends a message for which there is room.
func (m *model) put(x modelMsg) {
	for _, r := range slices.Clone(m.receivers) {
		switch {
		case !takes(r.f.view, x.mtype):
			continue
		case r.room() < len(x.text):
			m.receivers = slices.DeleteFunc(m.receivers, func(t *task) bool { return t == r })
			m.end(r, "E2BIG")
			continue
		}
		if r.take(x) {
			m.receivers = slices.DeleteFunc(m.receivers, func(t *task) bool { return t == r })
			m.end(r, r.got)
			for _, o := range slices.Clone(m.receivers) {
				if o.f == r.f && o.f.rest != "" {
					o.takeRest()
					m.receivers = slices.DeleteFunc(m.receivers, func(t *task) bool { return t == o })
					m.end(o, o.got)
				}
			}
		}
		return
	}
	m.messages = append(m.messages, x)
}

// next is the size of the message that t waits to send; bad if it cannot be sent, and size -1 if t has none.
func (m *model) next(t *task) (x modelMsg, bad bool, size int) {
	if t.f.view.Mode != ModeLines {
		x = modelMsg{t.f.view.Selector.sends(), t.data}
		if t.f.view.Mode == ModeRaw {
			var text string
			if _, err := fmt.Sscanf(t.data, "%d:%s", &x.mtype, &text); err != nil && text != "" {
				panic(err)
			}
			x.text = t.data[strings.Index(t.data, ":")+1:]
		}
		return x, x.mtype < 1 || len(x.text) > m.msgmax, len(x.text)
	}
	all := t.f.carry + t.data
	line, _, found := strings.Cut(all, "\n")
	switch {
	case found && len(line)+1 <= m.msgmax:
		return modelMsg{t.f.view.Selector.sends(), line + "\n"}, false, len(line) + 1
	case found || len(all) > m.msgmax:
		return x, true, 0
	}
	return x, false, -1
}

// advance sends what t can send now, and says whether t is done.
func (m *model) advance(t *task) bool {
	f := t.f
	for {
		x, bad, size := m.next(t)
		switch {
		case size < 0 && f.carry == "" && m.left > m.qbytes: // a beginning of a line too many
			if t.n > 0 {
				m.end(t, fmt.Sprint(t.n))
			} else {
				m.end(t, "ENOMEM")
			}
			return true
		case size < 0: // the beginning of a line
			t.n += len(t.data)
			f.carry += t.data
			m.end(t, fmt.Sprint(t.n))
			return true
		case bad && t.n > 0:
			m.end(t, fmt.Sprint(t.n))
			return true
		case bad:
			f.carry = ""
			m.end(t, "EINVAL")
			return true
		case !m.fits(size) && t.nonBlock && t.n > 0:
			m.end(t, fmt.Sprint(t.n))
			return true
		case !m.fits(size) && t.nonBlock:
			m.end(t, "EAGAIN")
			return true
		case !m.fits(size):
			return false
		}
		m.put(x)
		if f.view.Mode != ModeLines {
			n := len(t.data)
			if f.view.Mode == ModeRaw {
				n = 8 + len(x.text)
			}
			m.end(t, fmt.Sprint(n))
			return true
		}
		n := size - len(f.carry)
		f.carry = ""
		t.data = t.data[n:]
		if t.n += n; t.data == "" {
			m.end(t, fmt.Sprint(t.n))
			return true
		}
	}
}

// wakeSenders is ss_wakeup and what follows from it.
func (m *model) wakeSenders() {
	var woken, rest []*task
	for _, t := range m.senders {
		if _, _, size := m.next(t); m.fits(size) {
			woken = append(woken, t)
		} else {
			rest = append(rest, t)
		}
	}
	var more []*task
	var done []*modelFile
	for _, t := range woken {
		if _, _, size := m.next(t); !m.fits(size) {
			rest = append(rest, t)
		} else if !m.advance(t) {
			more = append(more, t)
		} else if t.f.busy == t {
			t.f.busy = nil
			done = append(done, t.f)
		}
	}
	m.senders = append(rest, more...)
	for _, f := range done {
		m.goOn(f)
	}
}

// goOn begins the writes that waited for one of their file.
func (m *model) goOn(f *modelFile) {
	for f.busy == nil && len(f.behind) > 0 {
		t := f.behind[0]
		f.behind = f.behind[1:]
		m.begin(t)
	}
}

func (m *model) begin(t *task) {
	switch {
	case m.removed:
		m.end(t, "EIDRM")
	case !m.advance(t):
		m.senders = append(m.senders, t)
		if t.f.view.Mode == ModeLines {
			t.f.busy = t
		}
	}
}

func (m *model) send(t *task) {
	lines := t.f.view.Mode == ModeLines
	_, bad, _ := m.next(t)
	switch {
	case bad && !lines, lines && t.f.view.Selector.sends() == 0:
		m.end(t, "EINVAL")
	case lines && t.f.busy != nil && t.nonBlock:
		m.end(t, "EAGAIN")
	case lines && t.f.busy != nil:
		t.f.behind = append(t.f.behind, t)
	default:
		m.begin(t)
	}
}

func (m *model) receive(t *task) {
	v := t.f.view
	switch {
	case v.Mode == ModeRaw && t.size < 8:
		m.end(t, "EINVAL")
		return
	case t.f.rest != "":
		t.takeRest()
		m.end(t, t.got)
		return
	case m.removed:
		m.end(t, "EIDRM")
		return
	}
	done := false
	for !done {
		i := m.find(v)
		if i < 0 {
			break
		}
		x := m.messages[i]
		if t.room() < len(x.text) {
			if t.got == "" {
				m.end(t, "E2BIG")
				return
			}
			done = true
			break
		}
		m.messages = slices.Delete(m.messages, i, i+1)
		done = t.take(x) && v.Mode != ModeLines
		if i := m.find(v); !done && i >= 0 { // it takes what is there before others are woken, up to what it has no room for
			if t.room() >= len(m.messages[i].text) {
				continue
			}
			m.wakeSenders()
			m.end(t, cmp.Or(t.got, "E2BIG"))
			return
		}
		m.wakeSenders()
	}
	switch {
	case done || t.got != "":
		m.end(t, t.got)
	case t.nonBlock:
		m.end(t, "EAGAIN")
	default:
		m.receivers = append(m.receivers, t)
	}
}

func (m *model) cancel(t *task, why string) {
	f := t.f
	without := func(list []*task) []*task {
		return slices.DeleteFunc(slices.Clone(list), func(x *task) bool { return x == t })
	}
	switch {
	case slices.Contains(m.receivers, t):
		m.receivers = without(m.receivers)
	case slices.Contains(m.senders, t):
		m.senders = without(m.senders)
	case slices.Contains(f.behind, t):
		f.behind = without(f.behind)
	default:
		return
	}
	if t.n > 0 {
		why = fmt.Sprint(t.n)
	}
	m.end(t, why)
	if f.busy == t {
		f.busy = nil
		m.goOn(f)
	}
}

func (m *model) remove() {
	m.removed = true
	for len(m.receivers) > 0 {
		m.cancel(m.receivers[0], "EIDRM")
	}
	for len(m.senders) > 0 {
		m.cancel(m.senders[0], "EIDRM")
	}
	m.messages = nil
}

// release closes a file of which nothing waits.
func (m *model) release(f *modelFile) {
	if f.carry != "" && !m.removed {
		t := &task{f: &modelFile{view: View{Selector: f.view.Selector}}, data: f.carry, last: true}
		m.begin(t)
		if t.left = slices.Contains(m.senders, t); t.left {
			m.left++
		}
	}
	f.carry, f.rest = "", ""
}
