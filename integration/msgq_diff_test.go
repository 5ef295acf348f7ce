package integration

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// msgqDeviations is what a file forces a message queue to do otherwise than one of System V, and what the stories below therefore leave out or translate. The
// README tells them to users.
var msgqDeviations = []string{
	"msgrcv(2) says ENOMSG where nothing is there and it must not wait, a read says EAGAIN: taken for the same",
	"an id that nobody knows is EINVAL; an open file of a queue that was removed says EIDRM, and its path ENOENT: taken for the same in calls after the removal (who waits at that moment gets EIDRM in both)",
	"a path leads to the queue that has the name now: an actor who knows the id of a removed queue, while there is another, uses it only where it has a view of the removed one open",
	"msgget(2) is open(2), and mknod(2) where it creates; IPC_RMID is unlink(2)",
	"a view sends one type and receives by one selector: another needs another open file; IPC_NOWAIT is O_NONBLOCK, of another open file too",
	"a read that is not raw does not tell the type, which is then not compared; a read of 0 bytes does not reach us, so no bytes are asked for raw only",
	"a write that is not raw and has no bytes does not reach us: such messages are sent raw",
	"a negative msgtyp of LONG_MIN has no name: it is taken for LONG_MAX, as the kernel does; MSG_EXCEPT with a msgtyp of 0 or less means nothing in the kernel either and has no view",
	"who may set a limit above msgmnb is who has CAP_SYS_RESOURCE, and here root, since FUSE does not tell: for root's actors the kernel's msgmnb is raised while they do it",
	"IPC_SET of msg_qbytes is truncate(2) and, of 0, the attribute user.ipc.q_qbytes, since `>` truncates to 0; limits above 2^31 - 1 are not tried",
	"MSG_NOERROR and MSG_COPY have no way to say them",
	"times are compared for whether they were set",
	"q_lspid and q_lrpid are not compared where two senders or receivers were woken at once and the kernel leaves it to chance who is last (not in line: there they are)",
}

// msgStory is a story and how the kernel told it.
type msgStory struct {
	seed     uint64
	actors   int
	inLine   bool
	above    bool // limits above msgmnb can be set
	steps    []msgStep
	outcomes []msgOutcome
	chances  int // steps left out because the kernel leaves to chance what they lead to
}

// length is how many steps a story has at most.
func (x *msgStory) length() int { return 10 + int(x.seed%25) }

// record plays the steps that next gives on the kernel, but for those that are impossible or left to chance. It is an error if the kernel does what the author does
// not expect.
func (x *msgStory) record(kernel *msgStage, next func(a *msgAuthor) (msgStep, bool)) error {
	if err := kernel.open(x.actors); err != nil {
		return err
	}
	a := newMsgAuthor(x.seed, x.actors, x.inLine, x.above)
	x.steps, x.outcomes, x.chances = nil, nil, 0
	for {
		s, ok := next(a)
		if !ok {
			return nil
		}
		if !a.possible(s) {
			continue
		}
		s.gone = a.gone(s.actor) && slices.Contains([]string{"send", "receive", "set", "remove"}, s.op)
		worlds, expected, chance := a.predict(s)
		if chance {
			x.chances++
			continue
		}
		o, err := kernel.play(s)
		if err != nil {
			return err
		}
		a.learn(s, worlds, expected)
		o = o.like(expected)
		x.steps, x.outcomes = append(x.steps, s), append(x.outcomes, o)
		if o.String() != expected.String() {
			return fmt.Errorf("the kernel does what the model of it does not expect: %v", expected)
		}
	}
}

// invent makes up a story while the kernel plays it.
func (x *msgStory) invent(kernel *msgStage) error {
	length := x.length()
	return x.record(kernel, func(a *msgAuthor) (msgStep, bool) {
		if len(x.steps) == length || x.chances > 5*length {
			return msgStep{}, false
		}
		return a.next()
	})
}

// msgDifference is a step that led to something else than in the kernel.
type msgDifference struct {
	step int
	o    msgOutcome
}

func (d *msgDifference) Error() string { return fmt.Sprintf("step %d led to %v", d.step, d.o) }

// compare plays the story on another stage. It returns a *msgDifference if that is all that is wrong.
func (x *msgStory) compare(g *msgStage) error {
	if err := g.open(x.actors); err != nil {
		return err
	}
	for i, s := range x.steps {
		o, err := g.play(s)
		if err != nil {
			return fmt.Errorf("%s, step %d, actor %d: %v: %w", g.name, i, s.actor, s, err)
		}
		if o = o.like(x.outcomes[i]); o.String() != x.outcomes[i].String() {
			return &msgDifference{i, o}
		}
	}
	return nil
}

// shrink leaves out steps as long as there still is a difference, and nothing worse.
func (x *msgStory) shrink(kernel, g *msgStage, d *msgDifference) (*msgStory, *msgDifference) {
	x.steps = x.steps[:d.step+1]
	for i := len(x.steps) - 2; i >= 0; i-- {
		if i >= len(x.steps) {
			continue
		}
		steps := slices.Delete(slices.Clone(x.steps), i, i+1)
		y := &msgStory{seed: x.seed, actors: x.actors, inLine: x.inLine, above: x.above}
		err := y.record(kernel, func(*msgAuthor) (msgStep, bool) {
			if len(steps) == 0 {
				return msgStep{}, false
			}
			s := steps[0]
			steps = steps[1:]
			return s, true
		})
		if err == nil {
			err = y.compare(g)
		}
		var less *msgDifference
		switch {
		case errors.As(err, &less):
			x, d = y, less
			x.steps, x.outcomes = x.steps[:d.step+1], x.outcomes[:d.step+1]
		case err != nil:
			return x, d
		}
	}
	return x, d
}

// String tells the whole story.
func (x *msgStory) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d actors, in line: %v\n", x.seed, x.actors, x.inLine)
	for i, s := range x.steps {
		fmt.Fprintf(&b, "%2d. actor %d: %v: %v\n", i, s.actor, s, x.outcomes[i])
	}
	return b.String()
}

// msgEvents are what must happen in the stories, or they prove nothing.
var msgEvents = []string{
	"blocked", "several blocked", "EIDRM", "E2BIG at once", "E2BIG by handover", "handover", "EINTR", "EAGAIN", "EINVAL", "gone", "killed while blocked",
	"sender woken by a receive", "sender woken by a limit", "blocked though received for", "limit below what is held", "filled exactly", "no bytes", "raw", "not raw", "forked",
}

// count adds up what happened in x.
func (x *msgStory) count(events map[string]int) {
	before := msgOutcome{}
	calls := make(map[int]msgStep)
	for i, s := range x.steps {
		o := x.outcomes[i]
		tell := func(is bool, what string) {
			if is {
				events[what]++
			}
		}
		waited := func(o msgOutcome, i int) bool { return slices.Contains(strings.Fields(o.blocked), strconv.Itoa(i)) }
		tell(waited(o, s.actor) && !waited(before, s.actor), "blocked")
		tell(len(strings.Fields(o.blocked)) > 1, "several blocked")
		tell(s.op == "kill" && waited(before, s.actor), "killed while blocked")
		tell(s.op == "fork", "forked")
		var cbytes, qnum, qbytes int
		if n, _ := fmt.Sscanf(o.state.text, "cbytes %d, qnum %d, qbytes %d", &cbytes, &qnum, &qbytes); n == 3 {
			tell(cbytes > qbytes, "limit below what is held")
			tell(cbytes == qbytes && cbytes > 0 && s.op == "send", "filled exactly")
		}
		if s.op == "send" || s.op == "receive" {
			tell(s.way.raw(), "raw")
			tell(!s.way.raw(), "not raw")
			calls[s.actor] = s
		}
		for k, answer := range o.answers {
			word, _, _ := strings.Cut(answer, ",")
			other := k != s.actor
			switch c := calls[k]; {
			case word == "E2BIG" && other:
				events["E2BIG by handover"]++
			case word == "E2BIG":
				events["E2BIG at once"]++
			case slices.Contains(msgEvents, word):
				events[word]++
			case other && c.op == "receive":
				events["handover"]++
			case other && s.op == "receive":
				events["sender woken by a receive"]++
			case other && s.op == "set":
				events["sender woken by a limit"]++
			case s.op == "receive" && strings.HasPrefix(answer, "0 "):
				events["no bytes"]++
			}
		}
		if s.op == "send" && waited(o, s.actor) {
			for k, c := range calls {
				tell(c.op == "receive" && waited(o, k) && c.x.matches(s.x.msg.mtype), "blocked though received for")
			}
		}
		before = o
	}
}

// msgWorker plays stories one after the other.
type msgWorker struct {
	kernel, inLine, mount *msgStage // inLine is nil where it is not allowed
}

// newMsgWorker makes the stages of worker i.
func newMsgWorker(t *testing.T, i int) *msgWorker {
	t.Helper()
	w := &msgWorker{kernel: newMsgStage(t, "kernel", nil), inLine: newMsgStage(t, "kernel in line", nil)}
	if err := w.inLine.lineUp(i); err != nil {
		t.Logf("no stories in line: %v", err)
		w.inLine = nil
	}
	w.mount = newMsgStage(t, "mount", newMount(t))
	return w
}

// play invents the story with this seed and compares it.
func (w *msgWorker) play(seed uint64) (*msgStory, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := &msgStory{seed: seed, actors: pick(rng, 2, 3, 3, 4, 4, 5), inLine: rng.IntN(2) == 0 && w.inLine != nil, above: w.kernel.above}
	kernel := w.kernel
	if x.inLine {
		kernel = w.inLine
	}
	if err := x.invent(kernel); err != nil {
		return x, err
	}
	err := x.compare(w.mount)
	var d *msgDifference
	if errors.As(err, &d) {
		x, d = x.shrink(kernel, w.mount, d)
		err = d
	}
	return x, err
}

// msgWorkers is how many stories are played at once.
const msgWorkers = 3

// TestMsgqDifferential plays random stories of several processes on a message queue of System V and on one of a mount. After each step who is blocked, who answered
// what (result, errno, signals, type and bytes) and the state of the queue must be equal. The kernel lets those race whom it wakes at once; a model of ipc/msg.c
// knows to what that can lead. In half of the stories steps that lead to what can be seen to differ are left out. In the others the kernel's actors run on one
// processor in the order in which they are woken, and nothing is left out. IPCFS_SCENARIOS sets how many, IPCFS_SEED the first.
func TestMsgqDifferential(t *testing.T) {
	count := envNumber(t, "IPCFS_SCENARIOS", 2000)
	first := envNumber(t, "IPCFS_SEED", uint64(time.Now().UnixNano()))
	for name, n := range map[string]int{"msgmax": msgMax, "msgmnb": msgMnb} {
		if b, err := os.ReadFile("/proc/sys/kernel/" + name); os.Geteuid() != 0 && strings.TrimSpace(string(b)) != strconv.Itoa(n) {
			skip(t, "%s is %q, not %d (%v)", name, b, n, err)
		}
	}
	var workers []*msgWorker
	for i := range msgWorkers {
		workers = append(workers, newMsgWorker(t, i))
	}
	var mu sync.Mutex // guards all below
	next, failed := uint64(0), ""
	events := make(map[string]int)
	stories, inLine, steps, chances, unsure := 0, 0, 0, 0, 0
	var done sync.WaitGroup
	for _, w := range workers {
		done.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := failed != "" || i >= count
				mu.Unlock()
				if stop {
					return
				}
				x, err := w.play(first + i)
				mu.Lock()
				if err != nil && failed == "" {
					failed = fmt.Sprintf("%v\nstory %d: %v", x, i, err)
				}
				x.count(events)
				stories++
				steps += len(x.steps)
				chances += x.chances
				if x.inLine {
					inLine++
				}
				for _, o := range x.outcomes {
					if o.state.lspid == "?" || o.state.lrpid == "?" {
						unsure++
					}
				}
				mu.Unlock()
			}
		})
	}
	done.Wait()
	var told []string
	for _, e := range msgEvents {
		told = append(told, fmt.Sprintf("%s %d", e, events[e]))
		if events[e] == 0 && count >= 100 && failed == "" {
			t.Errorf("%s: it never happened", e)
		}
	}
	if unknown := slices.DeleteFunc(slices.Collect(maps.Keys(events)), func(e string) bool { return slices.Contains(msgEvents, e) }); len(unknown) > 0 {
		t.Errorf("counted, but not listed: %v", unknown)
	}
	t.Logf("%d stories from seed %d (%d in line), %d steps compared, %d left to chance and left out, %d where who was last is. Steps: %s. Forced, and left out or translated:\n  %s",
		stories, first, inLine, steps, chances, unsure, strings.Join(told, ", "), strings.Join(msgqDeviations, "\n  "))
	if failed != "" {
		t.Error(failed) // last: who prints the end of a log prints that
	}
}
