package integration

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The limits of a namespace that nobody has changed.
const (
	msgMax = 8192  // the largest message
	msgMnb = 16384 // q_qbytes of a new queue
)

// message is a message of a story. Its text follows from seed, as clients/actor makes it.
type message struct {
	mtype      int64
	size, seed int
}

// sum is the checksum of the text.
func (m message) sum() uint64 {
	if m.size == 0 {
		return 0
	}
	h, x := uint64(14695981039346656037), uint32(m.seed)*2654435761+1
	for range m.size {
		x = x*1664525 + 1013904223
		h = (h ^ uint64(x>>24)) * 1099511628211
	}
	return h
}

// msgWait is a call that waits: of a sender for room, of a receiver for a message.
type msgWait struct {
	msg    message
	typ    int64 // msgtyp
	except bool  // MSG_EXCEPT
	buf    int
}

// matches says whether the receiver takes a message of this type.
func (w msgWait) matches(mtype int64) bool {
	switch {
	case w.typ == 0:
		return true
	case w.typ == math.MinInt64:
		return true
	case w.typ < 0:
		return mtype <= -w.typ
	case w.except:
		return mtype != w.typ
	}
	return mtype == w.typ
}

// find returns the index of the message that the receiver takes, -1 if it has to wait.
func (w msgWait) find(held []message) int {
	found := -1
	for i, m := range held {
		if !w.matches(m.mtype) {
			continue
		}
		if w.typ >= 0 {
			return i
		}
		if found < 0 || m.mtype < held[found].mtype {
			found = i
		}
	}
	return found
}

// msgModel is a queue and its users, as ipc/msg.c has them: a page that decides what the kernel leaves to chance. Each method is what one task does while it
// holds the queue's lock; who was woken meanwhile is awake.
type msgModel struct {
	exists             bool
	qbytes             int
	held               []message
	receivers, senders []int             // who waits, the longest first
	waits              map[int]msgWait   // by actor, of those and of those in awake
	awake              []int             // who was woken and has not run yet, in the order of waking
	searching          map[int]bool      // of those: receivers who have left the list and will search again
	lspid, lrpid       int               // actors, -1 for nobody
	stime, rtime       bool              // whether they are set
	answers            map[int]msgAnswer // by actor, of the step that is played
}

// newMsgModel is a new queue.
func newMsgModel() *msgModel {
	return &msgModel{
		exists: true, qbytes: msgMnb, lspid: -1, lrpid: -1,
		waits: make(map[int]msgWait), searching: make(map[int]bool), answers: make(map[int]msgAnswer),
	}
}

func (m *msgModel) clone() *msgModel {
	c := *m
	c.held, c.receivers, c.senders, c.awake = slices.Clone(m.held), slices.Clone(m.receivers), slices.Clone(m.senders), slices.Clone(m.awake)
	c.waits, c.searching, c.answers = maps.Clone(m.waits), maps.Clone(m.searching), maps.Clone(m.answers)
	return &c
}

// key is equal for equal models.
func (m *msgModel) key() string { return fmt.Sprint(*m) }

func (m *msgModel) cbytes() int {
	n := 0
	for _, x := range m.held {
		n += x.size
	}
	return n
}

func (m *msgModel) fits(size int) bool {
	return size+m.cbytes() <= m.qbytes && 1+len(m.held) <= m.qbytes
}

// state is what can be asked of the queue.
func (m *msgModel) state() msgState {
	if !m.exists {
		return msgState{text: "none"}
	}
	who := func(i int) string {
		if i < 0 {
			return "nobody"
		}
		return strconv.Itoa(i)
	}
	return msgState{fmt.Sprintf("cbytes %d, qnum %d, qbytes %d, stime %v, rtime %v", m.cbytes(), len(m.held), m.qbytes, m.stime, m.rtime), who(m.lspid), who(m.lrpid)}
}

// blocked is who waits.
func (m *msgModel) blocked() string {
	var s []string
	for _, i := range slices.Sorted(maps.Keys(m.waits)) {
		s = append(s, strconv.Itoa(i))
	}
	return strings.Join(s, " ")
}

func (m *msgModel) answer(i int, a msgAnswer) {
	m.answers[i] = a
	m.leave(i)
	delete(m.waits, i)
}

// leave takes actor i out of all lists.
func (m *msgModel) leave(i int) {
	for _, list := range []*[]int{&m.receivers, &m.senders, &m.awake} {
		*list = slices.DeleteFunc(*list, func(x int) bool { return x == i })
	}
	delete(m.searching, i)
}

func (m *msgModel) wake(i int) {
	if !slices.Contains(m.awake, i) {
		m.awake = append(m.awake, i)
	}
}

// send is a turn of do_msgsnd.
func (m *msgModel) send(i int, w msgWait, nowait bool) {
	switch {
	case w.msg.size > msgMax || w.msg.mtype < 1:
		m.answer(i, msgAnswer{ret: -1, err: "EINVAL"})
		return
	case m.fits(w.msg.size):
	case nowait:
		m.answer(i, msgAnswer{ret: -1, err: "EAGAIN"})
		return
	default:
		m.leave(i)
		m.senders, m.waits[i] = append(m.senders, i), w
		return
	}
	m.lspid, m.stime = i, true
	m.answer(i, msgAnswer{})
	for _, r := range slices.Clone(m.receivers) {
		x := m.waits[r]
		switch {
		case !x.matches(w.msg.mtype):
		case x.buf < w.msg.size:
			m.answer(r, msgAnswer{ret: -1, err: "E2BIG"})
		default:
			m.lrpid, m.rtime = r, true
			m.answer(r, received(w.msg))
			return
		}
	}
	m.held = append(m.held, w.msg)
}

func received(x message) msgAnswer { return msgAnswer{ret: x.size, sum: x.sum(), mtype: x.mtype} }

// receive is a turn of do_msgrcv.
func (m *msgModel) receive(i int, w msgWait, nowait bool) {
	n := w.find(m.held)
	switch {
	case n < 0 && nowait:
		m.answer(i, msgAnswer{ret: -1, err: "EAGAIN"})
	case n < 0:
		m.leave(i)
		m.receivers, m.waits[i] = append(m.receivers, i), w
	case w.buf < m.held[n].size:
		m.answer(i, msgAnswer{ret: -1, err: "E2BIG"})
	default:
		m.answer(i, received(m.held[n]))
		m.held = slices.Delete(m.held, n, n+1)
		m.lrpid, m.rtime = i, true
		m.wakeSenders()
	}
}

// wakeSenders is ss_wakeup: whose message fits into the room of this moment is woken, the others go to the tail.
func (m *msgModel) wakeSenders() {
	var first, tail []int
	for _, i := range m.senders {
		if m.fits(m.waits[i].msg.size) {
			m.wake(i)
			first = append(first, i)
		} else {
			tail = append(tail, i)
		}
	}
	m.senders = append(first, tail...)
}

// set is IPC_SET: it wakes the receivers too, with an EAGAIN that nobody sees.
func (m *msgModel) set(n int) {
	m.qbytes = n
	for _, i := range m.receivers {
		m.wake(i)
	}
	m.wakeSenders()
}

// remove is IPC_RMID.
func (m *msgModel) remove() {
	for i := range maps.Clone(m.waits) {
		m.answer(i, msgAnswer{ret: -1, err: "EIDRM"})
	}
	m.exists, m.held = false, nil
}

// resume lets actor i, who is awake, go on until it gives up the lock. In line a receiver goes on at once with what it does after that.
func (m *msgModel) resume(i int, inLine bool) {
	w := m.waits[i]
	switch {
	case slices.Contains(m.senders, i):
		m.leave(i)
		m.send(i, w, false)
	case m.searching[i] || inLine:
		m.leave(i)
		m.receive(i, w, false)
	default:
		m.leave(i)
		m.searching[i] = true
		m.wake(i)
	}
}

// settle lets everybody who is awake go on, in each possible order or, in line, in the order of waking, and returns all models that can come out.
func (m *msgModel) settle(inLine bool) []*msgModel {
	var settled []*msgModel
	seen := make(map[string]bool)
	for todo := []*msgModel{m}; len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if len(x.awake) == 0 {
			settled = append(settled, x)
			continue
		}
		next := x.awake
		if inLine {
			next = next[:1]
		}
		for _, i := range next {
			c := x.clone()
			c.resume(i, inLine)
			// The order in awake is of no importance where each is tried.
			if !inLine {
				slices.Sort(c.awake)
			}
			if k := c.key(); !seen[k] {
				seen[k] = true
				todo = append(todo, c)
			}
		}
	}
	return settled
}
