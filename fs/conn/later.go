package conn

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Later begins the operation x of the call after ready has returned. That runs beside the requests, at most laterMax of them at a time. It may sleep, and be held up for as long
// as other processes like; it should return soon when gaveUp says that nobody wants to know any more, and must not use x. begin is called under the
// connection's lock, so that no Cancel comes before; deliver tells after it what it completed, even if it panics.
//
// A signal that the caller catches meanwhile is one that came before it had to wait: the operation begins, and what waits then ends at once. It is the kernel's own way;
// msgsnd(2) looks for signals only where it sleeps, and while it copies the message from memory that does not come, nothing but SIGKILL ends it. If the caller is killed, or the
// connection ends, abandoned is called instead of begin.
func (c *Call) Later(ready func(gaveUp func() bool), x Canceler, begin, deliver, abandoned func()) {
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

// laterMax is how many operations are made ready at a time. Whoever holds up some holds up no more than those of the others that have to be made ready too.
const laterMax = 64

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

// lookForKill is how often a caller who was interrupted is looked at: the kernel sends one INTERRUPT only, be it for a signal that is caught or for the end.
const lookForKill = 10 * time.Millisecond

// whilePaused runs ready, and says whether it has come to its end before the caller or the connection did. A panic of ready is passed on.
func (c *Call) whilePaused(p *pause, ready func(gaveUp func() bool)) bool {
	over, result := make(chan struct{}), make(chan any, 1)
	defer close(over)
	gaveUp := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	go func() {
		defer func() { result <- recover() }()
		select {
		case c.conn.later <- struct{}{}:
		case <-over:
			return
		}
		defer func() { <-c.conn.later }()
		ready(gaveUp)
	}()
	interrupted, look := p.interrupted, (<-chan time.Time)(nil)
	for {
		select {
		case v := <-result:
			if v != nil {
				panic(v)
			}
			return true
		case <-c.conn.ended:
			return false
		case <-interrupted:
			interrupted, look = nil, time.Tick(lookForKill)
		case <-look:
		}
		if c.callerKilled() {
			return false
		}
	}
}

// callerKilled says whether the thread that called is about to end, or cannot be looked at. A signal that ends a process makes SIGKILL pending for each of its threads.
func (c *Call) callerKilled() bool {
	const kill = 1 << (unix.SIGKILL - 1)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Header.Pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		var pending uint64
		for _, name := range []string{"SigPnd", "ShdPnd"} { // of the thread, and of its process
			if _, err := fmt.Sscanf(line, name+": %x", &pending); err == nil && pending&kill != 0 {
				return true
			}
		}
	}
	return false
}
