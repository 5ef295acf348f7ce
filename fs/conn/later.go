package conn

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Later begins the operation x of the call after ready has returned, which runs beside the requests. It may sleep, and be held up for as long as other processes like; it should
// return soon when over is closed, since nobody wants to know any more, and must not use x. What it needs it has to bound itself: there are as many as threads that wait for it.
// begin is called under the connection's lock, so that no Cancel comes before; deliver tells after it what it completed, even if it panics.
//
// A signal that the caller catches meanwhile is one that came before it had to wait: the operation begins, and what waits then ends at once. It is the kernel's own way;
// msgsnd(2) looks for signals only where it sleeps, and while it copies the message from memory that does not come, it ends when its process is killed and at nothing else.
// If the caller is killed, or the connection ends, abandoned is called instead of begin.
func (c *Call) Later(ready func(over <-chan struct{}), x Canceler, begin, deliver, abandoned func()) {
	call, conn := *c, c.conn
	p := &pause{interrupted: make(chan struct{})}
	call.MayWait(p)
	conn.background.Go(func() {
		defer call.answerPanic()
		if !call.whilePaused(p, ready) {
			abandoned()
			return
		}
		canceled := func() {}
		defer func() { canceled() }()
		defer deliver()
		conn.mu.Lock()
		defer conn.mu.Unlock()
		conn.waiting[call.Header.Unique] = x
		begin()
		if p.isInterrupted() {
			canceled = x.Cancel()
		}
	})
}

// pause is an operation that has not begun yet.
type pause struct {
	interrupted chan struct{} // closed, under the connection's lock, when the caller was interrupted
}

// Cancel notes that the operation may not wait.
func (p *pause) Cancel() func() {
	if !p.isInterrupted() {
		close(p.interrupted)
	}
	return func() {}
}

// isInterrupted says whether Cancel was called.
func (p *pause) isInterrupted() bool {
	select {
	case <-p.interrupted:
		return true
	default:
		return false
	}
}

// A caller who was interrupted is looked at again and again: the kernel sends one INTERRUPT only, be it for a signal that is caught or for the end.
const (
	firstLook = time.Millisecond
	lastLooks = 100 * time.Millisecond // apart
)

// whilePaused runs ready, and says whether it has come to its end before the caller or the connection did. A panic of ready is passed on.
func (c *Call) whilePaused(p *pause, ready func(over <-chan struct{})) bool {
	over, result := make(chan struct{}), make(chan string, 1)
	defer close(over)
	go func() {
		panicked := "" // with what, and where
		defer func() {
			if v := recover(); v != nil {
				panicked = fmt.Sprintf("%v\n%s", v, debug.Stack())
			}
			result <- panicked
		}()
		ready(over)
	}()
	interrupted, look := p.interrupted, (<-chan time.Time)(nil)
	for wait := firstLook; ; {
		select {
		case panicked := <-result:
			if panicked != "" {
				panic(panicked)
			}
			return !p.isInterrupted() || !c.callerKilled()
		case <-c.conn.ended:
			return false
		case <-interrupted:
			interrupted = nil
		case <-look:
		}
		if c.callerKilled() {
			return false
		}
		look, wait = time.After(wait), min(2*wait, lastLooks)
	}
}

// callerKilled says whether the thread that called is about to end, or cannot be looked at.
func (c *Call) callerKilled() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Header.Pid))
	return err != nil || killPending(string(text))
}

// killPending says whether the thread with this /proc/TID/status has to end. Whatever signal kills a process makes SIGKILL pending for each of its threads, unless
// it is one that dumps core, which is seen only when the thread goes on (kernel/signal.c:complete_signal).
func killPending(status string) bool {
	for line := range strings.Lines(status) {
		if mask, ok := strings.CutPrefix(line, "SigPnd:"); ok {
			pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
		}
	}
	return false
}
