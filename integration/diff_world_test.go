package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// world is where a scenario is played: the kernel's FIFOs, or the pipes of a mount.
type world struct {
	name  string
	dir   string
	mount *mount // nil for the kernel
}

// command is the step's command in this world's words.
func (w *world) command(cmd string) string {
	if w.mount != nil {
		// fcntl(2) and mkfifo(2) do not reach a FUSE server: see the deviations.
		cmd = strings.Replace(cmd, "setpipe ", "setxattr ", 1)
		cmd = strings.Replace(cmd, "mkfifo ", "mkreg ", 1)
	}
	return strings.ReplaceAll(cmd, "@", w.dir+"/")
}

// outcome is what a step led to.
type outcome struct {
	answers map[int]string // by actor, of those who answered
	blocked string         // the numbers of those who are blocked
	ready   map[int]string // what poll says of all that each idle actor has open
}

func (o outcome) String() string {
	return fmt.Sprintf("answers %v, blocked [%s], ready %v", o.answers, o.blocked, o.ready)
}

// cast is the actors of a scenario in one world; a dead one is nil.
type cast []*actor

// play does one step and returns what it led to. In the kernel's world expected is nil and the facts are looked for in /proc; in the other
// they are in the mount's own proc, and expected is what the kernel did.
func (w *world) play(h *theatre, c *cast, s step, expected *outcome) (outcome, error) {
	o := outcome{answers: make(map[int]string), ready: make(map[int]string)}
	a := (*c)[s.actor]
	switch s.cmd {
	case "kill":
		if err := a.kill(); err != nil {
			return o, err
		}
		(*c)[s.actor] = nil
	case "signal":
		if err := unix.Kill(a.pid, unix.SIGUSR1); err != nil {
			return o, err
		}
	default:
		if err := a.send(w.command(s.cmd)); err != nil {
			return o, err
		}
		if s.cmd == "fork" {
			child, err := h.accept()
			if err != nil {
				return o, err
			}
			*c = append(*c, child)
		}
	}
	settle := w.settleKernel
	if expected != nil {
		settle = func(c cast, o *outcome) error { return w.settleMount(c, s, o, expected) }
	}
	if err := settle(*c, &o); err != nil {
		return o, err
	}
	var blocked []string
	for i, a := range *c {
		if a != nil && a.busy != "" {
			blocked = append(blocked, strconv.Itoa(i))
		}
	}
	o.blocked = strings.Join(blocked, " ")
	for i, a := range *c {
		if a == nil || a.busy != "" {
			continue
		}
		if err := a.send("pollall"); err != nil {
			return o, err
		}
		bits, err := a.answer()
		if err != nil {
			return o, err
		}
		o.ready[i] = bits
	}
	return o, nil
}

// collect takes the answers that are there, and says whether there were any.
func collect(c cast, o *outcome) (bool, error) {
	any := false
	for i, a := range c {
		if a == nil || a.busy == "" {
			continue
		}
		s, ok, err := a.tryAnswer()
		if err != nil {
			return any, err
		}
		if ok {
			any = true
			o.answers[i] = s
		}
	}
	return any, nil
}

// settleKernel waits until every actor has answered or sleeps in its system call. Who is woken is runnable from that moment on, so two looks that
// see everybody asleep and no answer between them see a settled world.
func (w *world) settleKernel(c cast, o *outcome) error {
	asleep := 0
	for deadline := time.Now().Add(patience); asleep < 2; {
		any, err := collect(c, o)
		if err != nil {
			return err
		}
		all := true
		for _, a := range c {
			if a != nil && a.busy != "" && !a.blocked() {
				all = false
				if time.Now().After(deadline) {
					return fmt.Errorf("%s does not settle: actor %d, doing %q, is %s", w.name, a.pid, a.busy, a.where())
				}
			}
		}
		if any || !all {
			asleep = 0
		} else {
			asleep++
		}
	}
	return nil
}

// settleMount waits until as many operations wait on the mount as there are actors left in a call other than poll; who answered till then has answered.
// A poll has no record that would say that it sleeps, and a signal is on its way unseen, so what is expected of them is waited for.
func (w *world) settleMount(c cast, s step, o *outcome, expected *outcome) error {
	for i := range expected.answers {
		if i >= len(c) || c[i] == nil || !strings.HasPrefix(c[i].busy, "poll") && s.cmd != "signal" {
			continue
		}
		s, err := c[i].answer()
		if err != nil {
			return fmt.Errorf("actor %d should answer %q: %w", i, expected.answers[i], err)
		}
		o.answers[i] = s
	}
	var problem error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		stats, err := w.mount.pipeList()
		if err != nil {
			return err
		}
		any, err := collect(c, o)
		if err != nil {
			return err
		}
		if any {
			continue
		}
		waiting, left, entering := 0, 0, false
		for _, s := range stats {
			waiting += s.waiting()
		}
		for _, a := range c {
			switch {
			case a == nil || a.busy == "":
			case strings.HasPrefix(a.busy, "poll"):
				entering = entering || !a.blocked() // a signal now would come before its poll
			default:
				left++
			}
		}
		if waiting == left && !entering {
			return nil
		}
		problem = fmt.Errorf("%d operations wait, %d actors are blocked", waiting, left)
	}
	return problem
}

// reset makes the world empty but for one pipe, p.
func (w *world) reset() error {
	for _, name := range []string{"p", "q"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	mode := uint32(unix.S_IFIFO)
	if w.mount != nil {
		mode = unix.S_IFREG
	}
	return unix.Mknod(filepath.Join(w.dir, "p"), mode|0o666, 0)
}

// forgetCapacity gives a pipe of the mount that nobody has open the default capacity back, as the kernel does at the last close.
func (w *world) forgetCapacity(name string) error {
	if w.mount == nil {
		return nil
	}
	return unix.Setxattr(filepath.Join(w.dir, name), "user.ipc.capacity", []byte("65536"), 0)
}
