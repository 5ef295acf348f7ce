package integration

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Flags of msgrcv(2) and keys (include/uapi/linux/{ipc,msg}.h).
const (
	ipcCreat  = 0o1000
	ipcExcl   = 0o2000
	ipcNowait = 0o4000
	msgExcept = 0o20000
)

// transient is the slot of a descriptor that an actor has open for one call only; those below it are for what is held open.
const transient = 7

// msgWay is how an actor goes about a send or a receive on the mount, where several ways are open.
type msgWay struct {
	view  string // what stands behind the name of the queue
	flags int    // of open(2)
	slot  int
	keep  bool // leave the descriptor open
}

// raw says whether each read and write is struct msgbuf.
func (w msgWay) raw() bool { return strings.HasSuffix(w.view, ":raw") }

func (w msgWay) String() string {
	switch {
	case w.slot == transient:
		return fmt.Sprintf(" (q%s %#o)", w.view, w.flags)
	case !w.keep:
		return fmt.Sprintf(" (q%s %#o, slot %d, closed then)", w.view, w.flags, w.slot)
	}
	return fmt.Sprintf(" (q%s %#o, slot %d)", w.view, w.flags, w.slot)
}

// msgStep is what one actor does, or what is done to it.
type msgStep struct {
	actor  int
	op     string // send, receive, set, remove, create, get, fork, kill, signal
	x      msgWait
	nowait bool
	n      int  // of set: q_qbytes
	gone   bool // the queue that the actor knows is gone
	way    msgWay
}

func (s msgStep) String() string {
	flags := ""
	if s.nowait {
		flags += " nowait"
	}
	if s.gone {
		flags += " gone"
	}
	switch s.op {
	case "send":
		return fmt.Sprintf("send type %d, %d bytes%s%v", s.x.msg.mtype, s.x.msg.size, flags, s.way)
	case "receive":
		if s.x.except {
			flags += " except"
		}
		return fmt.Sprintf("receive type %d, up to %d bytes%s%v", s.x.typ, s.x.buf, flags, s.way)
	case "set":
		return fmt.Sprintf("set qbytes %d%s", s.n, flags)
	}
	return s.op + flags
}

// msgAnswer is what a call returned.
type msgAnswer struct {
	ret   int
	err   string
	usrs  int    // SIGUSR1 handled
	sum   uint64 // of the text received
	mtype int64  // received, 0 where it is not told
}

func (a msgAnswer) String() string {
	s := strconv.Itoa(a.ret)
	if a.err != "" {
		s = a.err
	}
	if a.sum != 0 || a.mtype != 0 {
		s += fmt.Sprintf(" of type %d: %x", a.mtype, a.sum)
	}
	if a.usrs != 0 {
		s += fmt.Sprintf(", %d signals", a.usrs)
	}
	return s
}

// msgState is what can be asked of a queue. Who was last is "?" where the kernel leaves it to chance.
type msgState struct{ text, lspid, lrpid string }

// msgOutcome is what a step led to.
type msgOutcome struct {
	answers map[int]string // by actor, of those who answered
	blocked string         // the numbers of those who are blocked
	state   msgState
}

func (o msgOutcome) String() string {
	return fmt.Sprintf("answers %v, blocked [%s], %s, lspid %s, lrpid %s", o.answers, o.blocked, o.state.text, o.state.lspid, o.state.lrpid)
}

// like returns o without what chance decides in other.
func (o msgOutcome) like(other msgOutcome) msgOutcome {
	if other.state.lspid == "?" {
		o.state.lspid = "?"
	}
	if other.state.lrpid == "?" {
		o.state.lrpid = "?"
	}
	return o
}

// msgStage is where stories are played: a queue of the kernel's, or of a mount.
type msgStage struct {
	name     string
	h        *theatre
	observer *actor
	key      uint32 // of the kernel's queue
	path     string // of the queue on the mount, empty for the kernel
	cast     cast
	resting  []*actor        // who is left of the stories before
	doing    map[int]msgStep // by actor, what it has not answered
	pids     map[string]int  // actors by pid, dead ones too
	above    bool            // msgmnb can be raised
}

// newMsgStage makes the stage of a mount, or of the kernel if m is nil. As root the kernel's has an IPC namespace of its own.
func newMsgStage(t testing.TB, name string, m *mount) *msgStage {
	t.Helper()
	g := &msgStage{name: name, key: rand.Uint32N(math.MaxInt32) + 1}
	var attr *syscall.SysProcAttr
	switch {
	case m != nil:
		g.path = filepath.Join(m.dir, "msgq", "q")
	case os.Geteuid() == 0:
		attr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWIPC}
	}
	g.h = newTheatreWith(t, attr)
	var err error
	if g.observer, err = g.h.enter(); err != nil {
		t.Fatal(err)
	}
	if attr != nil {
		errno, _, err := g.observer.ask(fmt.Sprintf("msgmnb %d", msgMnb))
		if g.above = errno == 0; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		err := g.clear()
		for _, a := range append(g.resting, g.observer) {
			err = errors.Join(err, a.kill())
		}
		if err != nil {
			t.Error(err)
		}
	})
	return g
}

// lineUp lets the actors of the stage run on one processor only, and each of them until it sleeps: tasks that one call wakes then run in the order in which they
// were woken (sched(7), SCHED_FIFO), and nothing is left to chance.
func (g *msgStage) lineUp(processor int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	var usable []int
	for i := range 64 * len(set) {
		if set.IsSet(i) {
			usable = append(usable, i)
		}
	}
	set.Zero()
	set.Set(usable[processor%len(usable)])
	pid := g.h.cmd.Process.Pid
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		return err
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	return unix.SchedSetAttr(pid, &attr, 0)
}

// ask gives the actor a command that does not wait, and returns its errno and what it says.
func (a *actor) ask(cmd string) (syscall.Errno, []string, error) {
	if err := a.send(cmd); err != nil {
		return 0, nil, err
	}
	s, err := a.answer()
	if err != nil {
		return 0, nil, err
	}
	f := strings.Fields(s)
	errno, err := strconv.Atoi(f[1])
	return syscall.Errno(errno), f[5:], err
}

// must asks the observer for what must not fail.
func (g *msgStage) must(cmds ...string) error {
	for _, cmd := range cmds {
		if errno, _, err := g.observer.ask(cmd); err != nil || errno != 0 {
			return errors.Join(fmt.Errorf("%s: the observer's %s: %w", g.name, cmd, errno), err)
		}
	}
	return nil
}

// untold is how many wait in a queue of the kernel's, which does not tell.
const untold = -1

// state asks for the state of the queue, and how many wait in it.
func (g *msgStage) state() (msgState, int, error) {
	cmd, fields, waiting := fmt.Sprintf("msgstat %d", g.key), 7, untold
	if g.path != "" {
		cmd, fields, waiting = "vstat "+g.path, 9, 0
	}
	errno, f, err := g.observer.ask(cmd)
	switch {
	case err != nil:
		return msgState{}, waiting, err
	case errno == syscall.ENOENT:
		return msgState{text: "none"}, waiting, nil
	case errno != 0 || len(f) != fields:
		return msgState{}, waiting, fmt.Errorf("%s: the state of the queue is %v: %w", g.name, f, errno)
	}
	for _, n := range f[7:] {
		more, err := strconv.Atoi(n)
		if err != nil {
			return msgState{}, waiting, err
		}
		waiting += more
	}
	who := func(pid string) string {
		switch i, ok := g.pids[pid]; {
		case ok:
			return strconv.Itoa(i)
		case pid == "0":
			return "nobody"
		}
		return "pid " + pid
	}
	text := fmt.Sprintf("cbytes %s, qnum %s, qbytes %s, stime %v, rtime %v", f[0], f[1], f[2], f[5] != "0", f[6] != "0")
	return msgState{text, who(f[3]), who(f[4])}, waiting, nil
}

// clear removes the queue if there is one. Actors who are blocked are killed, those who are left wait for the next story.
func (g *msgStage) clear() error {
	var all error
	for _, a := range g.cast {
		switch {
		case a == nil:
		case a.busy == "":
			g.resting = append(g.resting, a)
		default:
			all = errors.Join(all, a.kill())
		}
	}
	g.cast, g.doing, g.pids = nil, make(map[int]msgStep), make(map[string]int)
	s, _, err := g.state()
	if err != nil || s.text == "none" {
		return errors.Join(all, err)
	}
	if g.path != "" {
		return errors.Join(all, g.must("unlink "+g.path))
	}
	return errors.Join(all, g.must(fmt.Sprintf("msgget %d 0", g.key), "msgrm"))
}

// open clears the stage for a story with a new queue and so many actors, who all know it.
func (g *msgStage) open(actors int) error {
	if err := g.clear(); err != nil {
		return err
	}
	create := fmt.Sprintf("msgget %d %d", g.key, ipcCreat|ipcExcl|0o666)
	if g.path != "" {
		create = "mkreg " + g.path
	}
	if err := g.must(create); err != nil {
		return err
	}
	for range actors {
		if len(g.resting) == 0 {
			a, err := g.h.enter()
			if err != nil {
				return err
			}
			g.resting = append(g.resting, a)
		}
		a := g.resting[0]
		g.resting = g.resting[1:]
		g.enter(a)
		if _, _, err := a.ask("reset"); err != nil {
			return err
		}
		if g.path == "" {
			if errno, _, err := a.ask(fmt.Sprintf("msgget %d 0", g.key)); err != nil || errno != 0 {
				return errors.Join(fmt.Errorf("actor %d does not find the queue: %w", a.pid, errno), err)
			}
		}
	}
	return nil
}

func (g *msgStage) enter(a *actor) {
	g.pids[strconv.Itoa(a.pid)] = len(g.cast)
	g.cast = append(g.cast, a)
}

// command is the step's command in the words of this stage.
func (g *msgStage) command(s msgStep) string {
	if s.op == "fork" {
		return s.op
	}
	if g.path == "" {
		flags := 0
		if s.nowait {
			flags |= ipcNowait
		}
		if s.x.except {
			flags |= msgExcept
		}
		return map[string]string{
			"send":    fmt.Sprintf("msgsnd %d %d %d %d", s.x.msg.mtype, s.x.msg.size, s.x.msg.seed, flags),
			"receive": fmt.Sprintf("msgrcv %d %d %d", s.x.buf, s.x.typ, flags),
			"set":     fmt.Sprintf("msgset %d", s.n),
			"remove":  "msgrm",
			"create":  fmt.Sprintf("msgget %d %d", g.key, ipcCreat|ipcExcl|0o666),
			"get":     fmt.Sprintf("msgget %d 0", g.key),
		}[s.op]
	}
	number := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	way := fmt.Sprintf("%s%s %d %d %d %d", g.path, s.way.view, s.way.flags, s.way.slot, number(s.way.keep), number(s.way.raw()))
	set := fmt.Sprintf("truncate %s %d", g.path, s.n)
	if s.n == 0 {
		set = fmt.Sprintf("vset %s 0", g.path) // truncate(2) to 0 is what `>` does
	}
	return map[string]string{
		"send":    fmt.Sprintf("vsend %s %d %d %d", way, s.x.msg.size, s.x.msg.mtype, s.x.msg.seed),
		"receive": fmt.Sprintf("vrecv %s %d 0 0", way, s.x.buf),
		"set":     set,
		"remove":  "unlink " + g.path,
		"create":  "mkreg " + g.path,
		"get":     "stat " + g.path,
	}[s.op]
}

// play does one step and returns what it led to.
func (g *msgStage) play(s msgStep) (o msgOutcome, err error) {
	a := g.cast[s.actor]
	switch s.op {
	case "kill":
		if err := a.kill(); err != nil {
			return msgOutcome{}, err
		}
		g.cast[s.actor] = nil
		delete(g.doing, s.actor)
	case "signal":
		if err := unix.Kill(a.pid, unix.SIGUSR1); err != nil {
			return msgOutcome{}, err
		}
	case "set":
		if g.above {
			if err := g.must(fmt.Sprintf("msgmnb %d", math.MaxInt32)); err != nil {
				return msgOutcome{}, err
			}
			defer func() { err = errors.Join(err, g.must(fmt.Sprintf("msgmnb %d", msgMnb))) }()
		}
		fallthrough
	default:
		g.doing[s.actor] = s
		if err := a.send(g.command(s)); err != nil {
			return msgOutcome{}, err
		}
		if s.op == "fork" {
			child, err := g.h.accept()
			if err != nil {
				return msgOutcome{}, err
			}
			g.enter(child)
		}
	}
	return g.settle()
}

// settle waits until every actor has answered or sleeps in its system call. The state of the queue is asked for between two looks, for a mount may have to handle yet
// what somebody sleeps in: requests wait their turn, and a write of many bytes is begun beside them, when its thread sleeps. So those who sleep must be those who wait
// in the queue.
func (g *msgStage) settle() (o msgOutcome, err error) {
	raw := outcome{answers: make(map[int]string)}
	for deadline := time.Now().Add(patience); ; {
		more, err := collect(g.cast, &raw)
		if err != nil {
			return o, err
		}
		why := g.awake()
		if why == "" {
			var waiting int
			if o.state, waiting, err = g.state(); err != nil {
				return o, err
			}
			if more, err = collect(g.cast, &raw); err != nil {
				return o, err
			}
			if why = g.awake(); why == "" && waiting != untold && waiting != len(g.blocked()) {
				why = fmt.Sprintf("%d wait in the queue, but blocked are %v", waiting, g.blocked())
			}
			if why == "" && !more {
				break
			}
		}
		if !more && time.Now().After(deadline) {
			return o, fmt.Errorf("the %s does not settle: %s", g.name, why)
		}
	}
	o.answers = make(map[int]string)
	for i, text := range raw.answers {
		a, err := g.understand(g.doing[i], text)
		if err != nil {
			return o, err
		}
		o.answers[i] = a.String()
		delete(g.doing, i)
	}
	o.blocked = strings.Join(g.blocked(), " ")
	return o, nil
}

// awake tells of an actor who has not answered and does not sleep in its system call, if there is one.
func (g *msgStage) awake() string {
	for _, a := range g.cast {
		if a != nil && a.busy != "" && !a.blocked() {
			return fmt.Sprintf("actor %d, doing %q, is %s", a.pid, a.busy, a.where())
		}
	}
	return ""
}

// blocked are the numbers of the actors who have not answered.
func (g *msgStage) blocked() []string {
	var numbers []string
	for i, a := range g.cast {
		if a != nil && a.busy != "" {
			numbers = append(numbers, strconv.Itoa(i))
		}
	}
	return numbers
}

// goneErrors are what is said of a queue that is gone, by System V of an id that nobody knows, and on the mount by an open file and by a path. A call that would be
// EINVAL anyway may say so first.
var goneErrors = map[string]bool{"EINVAL": true, "EIDRM": true, "ENOENT": true}

// understand translates what an actor answered to s.
func (g *msgStage) understand(s msgStep, text string) (msgAnswer, error) {
	f := append(strings.Fields(text), "0")
	var n [3]int
	var errs error
	for i, field := range []string{f[0], f[1], f[3]} {
		v, err := strconv.Atoi(field)
		n[i], errs = v, errors.Join(errs, err)
	}
	sum, err := strconv.ParseUint(f[4], 16, 64)
	mtype, err2 := strconv.ParseInt(f[5], 10, 64)
	a := msgAnswer{ret: n[0], usrs: n[2], sum: sum, mtype: mtype}
	if n[1] != 0 {
		a.err = unix.ErrnoName(syscall.Errno(n[1]))
		switch {
		case a.err == "ENOMSG":
			a.err = "EAGAIN" // the same to a file
		case s.gone && goneErrors[a.err]:
			a.err = "gone"
		}
	}
	if !s.way.raw() {
		a.mtype = 0 // a plain read does not tell it
	}
	return a, errors.Join(errs, err, err2)
}
