package integration

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// msgHeld is a descriptor that an actor holds open on the mount.
type msgHeld struct {
	queue int // which of the queues that have had the name
	view  string
	flags int
}

// msgAuthor invents stories of a queue, and knows what every step of them must lead to.
type msgAuthor struct {
	rng    *rand.Rand
	inLine bool        // nothing is left to chance
	above  bool        // limits above msgmnb can be set
	worlds []*msgModel // what may be the case; they differ only in what nobody can see yet
	queue  int         // which of the queues that have had the name, from 1
	alive  []bool
	knows  []int             // by actor, the queue that its id names
	held   []map[int]msgHeld // by actor and slot
	doing  map[int]msgStep   // by actor who is blocked
	types  []int64           // the types of this story
	crowd  bool              // it is about who waits for room before whom
	seeds  int
}

func newMsgAuthor(seed uint64, actors int, inLine, above bool) *msgAuthor {
	a := &msgAuthor{
		rng: rand.New(rand.NewPCG(seed, 1)), inLine: inLine, above: above, worlds: []*msgModel{newMsgModel()}, queue: 1, doing: make(map[int]msgStep),
	}
	for range actors {
		a.enter(1, nil)
	}
	a.crowd = actors > 3 && a.rng.IntN(2) == 0
	for range 2 + a.rng.IntN(2) {
		a.types = append(a.types, pick[int64](a.rng, 1, 1, 2, 3, 4, 1<<40, math.MaxInt64))
	}
	return a
}

func (a *msgAuthor) enter(knows int, held map[int]msgHeld) {
	a.alive, a.knows, a.held = append(a.alive, true), append(a.knows, knows), append(a.held, maps.Clone(held))
}

func (a *msgAuthor) exists() bool { return a.worlds[0].exists }

// gone says whether the queue that actor i knows is gone.
func (a *msgAuthor) gone(i int) bool { return a.knows[i] != a.queue || !a.exists() }

// possible says whether s can be done now. It can be in doubt only for a step of another story.
func (a *msgAuthor) possible(s msgStep) bool {
	if s.actor >= len(a.alive) || !a.alive[s.actor] {
		return false
	}
	_, busy := a.doing[s.actor]
	switch {
	case s.op == "kill":
		return true
	case s.op == "signal" || busy:
		return busy == (s.op == "signal")
	case s.op == "send", s.op == "receive":
		h, open := a.held[s.actor][s.way.slot]
		if open {
			return h == msgHeld{a.knows[s.actor], s.way.view, s.way.flags}
		}
		// A path leads to the queue that is there now.
		return a.knows[s.actor] == a.queue || !a.exists()
	case s.op == "set", s.op == "remove":
		return a.knows[s.actor] == a.queue || !a.exists()
	}
	return true
}

// predict does s, which is possible, in every world. What it leads to is certain unless chance is true.
func (a *msgAuthor) predict(s msgStep) (worlds []*msgModel, o msgOutcome, chance bool) {
	seen := make(map[string]bool)
	for _, w := range a.worlds {
		c := w.clone()
		clear(c.answers)
		a.do(c, s)
		for _, x := range c.settle(a.inLine) {
			p := a.outcome(x, s)
			k := x.key()
			switch {
			case seen[k]:
				continue
			case len(worlds) == 0:
				o = p
			case fmt.Sprint(p.answers, p.blocked, p.state.text) != fmt.Sprint(o.answers, o.blocked, o.state.text):
				return nil, o, true
			default:
				if p.state.lspid != o.state.lspid {
					o.state.lspid = "?"
				}
				if p.state.lrpid != o.state.lrpid {
					o.state.lrpid = "?"
				}
			}
			seen[k] = true
			worlds = append(worlds, x)
		}
	}
	return worlds, o, false
}

// do does s in m, but for what those do who are woken by it.
func (a *msgAuthor) do(m *msgModel, s msgStep) {
	fail := func(err string) { m.answer(s.actor, msgAnswer{ret: -1, err: err}) }
	switch s.op {
	case "kill":
		m.leave(s.actor)
		delete(m.waits, s.actor)
	case "signal":
		m.answer(s.actor, msgAnswer{ret: -1, err: "EINTR", usrs: 1})
	case "create":
		if m.exists {
			fail("EEXIST")
			return
		}
		*m = *newMsgModel()
		m.answer(s.actor, msgAnswer{})
	case "get":
		if !m.exists {
			fail("ENOENT")
			return
		}
		m.answer(s.actor, msgAnswer{})
	case "fork":
		m.answer(s.actor, msgAnswer{})
	default:
		switch {
		case a.gone(s.actor):
			fail("gone")
		case s.op == "send":
			m.send(s.actor, s.x, s.nowait)
		case s.op == "receive":
			m.receive(s.actor, s.x, s.nowait)
		case s.op == "remove":
			m.answer(s.actor, msgAnswer{})
			m.remove()
		case s.n > msgMnb && !a.above:
			fail("EPERM")
		default:
			m.answer(s.actor, msgAnswer{})
			m.set(s.n)
		}
	}
}

// outcome is what can be seen of m after s.
func (a *msgAuthor) outcome(m *msgModel, s msgStep) msgOutcome {
	o := msgOutcome{answers: make(map[int]string), blocked: m.blocked(), state: m.state()}
	for i, answer := range m.answers {
		way := a.doing[i].way
		if i == s.actor && s.op != "signal" {
			way = s.way
		}
		if !way.raw() {
			answer.mtype = 0
		}
		o.answers[i] = answer.String()
	}
	return o
}

// learn takes note of s and what it led to.
func (a *msgAuthor) learn(s msgStep, worlds []*msgModel, o msgOutcome) {
	a.worlds = worlds
	i := s.actor
	ok := o.answers[i] == "0"
	switch s.op {
	case "kill":
		a.alive[i] = false
		delete(a.doing, i)
	case "create":
		if ok {
			a.queue++
			a.knows[i] = a.queue
		}
	case "get":
		if ok {
			a.knows[i] = a.queue
		}
	case "fork":
		a.enter(a.knows[i], a.held[i])
	case "send", "receive":
		a.doing[i] = s
		if !s.way.keep {
			break
		}
		if a.held[i] == nil {
			a.held[i] = make(map[int]msgHeld)
		}
		if _, open := a.held[i][s.way.slot]; open || a.exists() {
			a.held[i][s.way.slot] = msgHeld{a.knows[i], s.way.view, s.way.flags}
		}
	}
	for k := range o.answers {
		if d, busy := a.doing[k]; busy {
			if !d.way.keep {
				delete(a.held[k], d.way.slot)
			}
			delete(a.doing, k)
		}
	}
}

// next invents a step.
func (a *msgAuthor) next() (msgStep, bool) {
	var idle, busy []int
	for i, alive := range a.alive {
		if _, blocked := a.doing[i]; blocked {
			busy = append(busy, i)
		} else if alive {
			idle = append(idle, i)
		}
	}
	roll := a.rng.IntN(100)
	switch {
	case len(idle)+len(busy) == 0:
		return msgStep{}, false
	case len(busy) > 0 && (len(idle) == 0 || roll < 10 && (!a.crowd || roll < 3)):
		return msgStep{actor: pick(a.rng, busy...), op: pick(a.rng, "signal", "signal", "kill")}, true
	}
	s := msgStep{actor: pick(a.rng, idle...)}
	s.gone = a.gone(s.actor)
	roll = a.rng.IntN(1000)
	switch {
	case a.crowd && !s.gone:
		a.jostle(&s, len(idle))
	case !s.gone && (len(idle) == 1 && roll < 700 || roll < 250) && a.help(&s):
		if s.op != "set" {
			s.way = a.way(s)
		}
	case !a.exists() && roll < 350:
		s.op = "create"
	case s.gone && roll < 700:
		s.op = "get"
	case roll < 450:
		s.op = "send"
		a.seeds++
		s.x.msg = message{a.sendType(), a.sendSize(), a.seeds}
		s.nowait = a.rng.IntN(4) == 0
		s.way = a.way(s)
	case roll < 830:
		s.op = "receive"
		s.x.typ, s.x.except = a.receiveType()
		s.x.buf = a.bufSize(s.x)
		s.nowait = a.rng.IntN(4) == 0
		s.way = a.way(s)
	case roll < 920:
		s.op, s.n = "set", a.limit()
	case roll < 940:
		s.op = "remove"
	case roll < 945:
		s.op = "create"
	case roll < 950:
		s.op = "get"
	case roll < 980 && len(idle)+len(busy) < 5:
		s.op = "fork"
	default:
		s.op = "kill"
	}
	return s, true
}

// jostle makes s what brings many to wait for a little room, and then lets some of them go on: whose turn it is then shows.
func (a *msgAuthor) jostle(s *msgStep, idle int) {
	switch roll := a.rng.IntN(100); {
	case a.worlds[0].qbytes > 8 || roll < 10:
		s.op, s.n = "set", 1+a.rng.IntN(7)
		return
	case idle > 1 && roll < 85:
		a.seeds++
		s.op, s.x.msg = "send", message{pick(a.rng, a.types...), pick(a.rng, 0, 1, 1, 2, 2, 3, 4), a.seeds}
	default:
		s.op, s.x.buf, s.nowait = "receive", msgMax, true
	}
	s.way = a.way(*s)
}

// help makes s what lets one who waits go on, or nearly, if somebody waits.
func (a *msgAuthor) help(s *msgStep) bool {
	w := a.worlds[0]
	n := len(w.senders) + len(w.receivers)
	if n == 0 {
		return false
	}
	s.nowait = a.rng.IntN(2) == 0
	if k := a.rng.IntN(n); k < len(w.receivers) {
		r := w.waits[w.receivers[k]]
		a.seeds++
		s.op, s.x.msg = "send", message{a.sendType(), min(msgMax, max(0, r.buf+pick(a.rng, -1, 0, 0, 1))), a.seeds}
		for _, t := range []int64{1, 2, r.typ, -r.typ, a.sendType()} {
			if t > 0 && r.matches(t) {
				s.x.msg.mtype = t
			}
		}
		return true
	}
	if len(w.held) == 0 || a.rng.IntN(5) == 0 {
		s.op, s.n = "set", a.limit()
		return true
	}
	s.op, s.x.buf = "receive", msgMax
	s.x.typ = pick(a.rng, 0, pick(a.rng, w.held...).mtype)
	return true
}

func (a *msgAuthor) sendType() int64 {
	if a.rng.IntN(30) == 0 {
		return pick[int64](a.rng, 0, -1, -2, math.MinInt64)
	}
	return pick(a.rng, a.types...)
}

// sendSize is around the room that there is, or the largest message, or nothing.
func (a *msgAuthor) sendSize() int {
	w := a.worlds[0]
	room := w.qbytes - w.cbytes()
	switch n := room + pick(a.rng, -1, 0, 0, 1); {
	case a.rng.IntN(2) == 0 && n >= 0 && n <= msgMax:
		return n
	case a.rng.IntN(3) > 0 && w.qbytes <= 2*msgMnb:
		return pick(a.rng, 0, 1, 2, 10, min(w.qbytes/2, msgMax), min(w.qbytes/3, msgMax), min(w.qbytes, msgMax))
	}
	return pick(a.rng, 0, 1, 1, 2, 10, 100, 4048, 4096, 8191, 8192, 8192, 8192, 8193, 100000)
}

func (a *msgAuthor) receiveType() (typ int64, except bool) {
	t := pick(a.rng, a.types...)
	switch a.rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		return 0, a.rng.IntN(5) == 0
	case 5, 6, 7, 8, 9, 10:
		return t, false
	case 11, 12, 13, 14:
		return -t, a.rng.IntN(5) == 0
	case 15, 16, 17, 18:
		return t, true
	}
	return pick[int64](a.rng, math.MinInt64, -math.MaxInt64, 7, -7, -1, 1<<40+1), a.rng.IntN(5) == 0
}

// bufSize is around the message that there is, or the sizes that may come.
func (a *msgAuthor) bufSize(x msgWait) int {
	w := a.worlds[0]
	if n := x.find(w.held); n >= 0 && a.rng.IntN(5) > 0 {
		return max(0, w.held[n].size+pick(a.rng, -1, 0, 0, 0, 1, 1, 5000))
	}
	return pick(a.rng, 0, 1, 2, 9, 10, min(w.qbytes, msgMax), min(w.qbytes/2, msgMax), 8191, 8192, 8192, 100000)
}

// limit is a new q_qbytes.
func (a *msgAuthor) limit() int {
	w := a.worlds[0]
	held := w.cbytes()
	for _, i := range w.senders {
		// As much as the first needs who waits, or one less.
		held = pick(a.rng, held, w.cbytes()+w.waits[i].msg.size)
	}
	n := pick(a.rng, 0, 1, 2, 3, 10, 100, 1000, max(held-1, 0), held, held+1, held+2, held/2, msgMax-1, msgMax, msgMnb, msgMnb, msgMnb+1, 2*msgMnb, 1<<20, math.MaxInt32)
	if os.Geteuid() == 0 && !a.above {
		n = min(n, msgMnb)
	}
	return n
}

// way chooses how the actor sends or receives on the mount.
func (a *msgAuthor) way(s msgStep) msgWay {
	var views []string
	access := unix.O_RDONLY
	if s.op == "send" {
		access = unix.O_WRONLY
		t := strconv.FormatInt(pick[int64](a.rng, 1, 7, math.MaxInt64), 10)
		views = []string{":raw", ":raw", ":" + t + ":raw", ":-" + t + ":raw", ":^" + t + ":raw"}
		switch {
		case s.x.msg.size == 0:
		case s.x.msg.mtype < 1:
			views = append(views, ":-"+t, ":^"+t)
		default:
			plain := fmt.Sprintf(":%d", s.x.msg.mtype)
			views = append(views, plain, plain, plain)
		}
		if s.x.msg.size > 0 && s.x.msg.mtype == 1 {
			views = append(views, "", "", "")
		}
	} else {
		view := ""
		switch {
		case s.x.typ == math.MinInt64:
			view = fmt.Sprintf(":-%d", math.MaxInt64)
		case s.x.typ > 0 && s.x.except:
			view = fmt.Sprintf(":^%d", s.x.typ)
		case s.x.typ != 0:
			view = fmt.Sprintf(":%d", s.x.typ)
		}
		views = []string{view + ":raw"}
		if s.x.buf > 0 {
			views = append(views, view)
		}
	}
	nonblock := 0
	if s.nowait {
		nonblock = unix.O_NONBLOCK
	}
	// What the actor has open already will do, mostly; a queue that is gone while there is another can be had no other way.
	free := -1
	for slot := range transient {
		h, open := a.held[s.actor][slot]
		if !open && free < 0 {
			free = slot
		}
		fits := open && h.queue == a.knows[s.actor] && slices.Contains(views, h.view) && h.flags&unix.O_NONBLOCK == nonblock &&
			(h.flags&unix.O_ACCMODE == unix.O_RDWR || h.flags&unix.O_ACCMODE == access)
		if fits && (a.rng.IntN(3) > 0 || s.gone) {
			return msgWay{h.view, h.flags, slot, a.rng.IntN(10) > 0}
		}
	}
	view := pick(a.rng, views...)
	flags := nonblock | pick(a.rng, access, access, unix.O_RDWR)
	if free >= 0 && a.rng.IntN(2) == 0 {
		return msgWay{view, flags, free, true}
	}
	return msgWay{view, flags, transient, false}
}
