package ipc

import (
	"slices"
	"testing"
	"time"
)

// Each is told once, of what it waits for and of errors, in the order in which they asked.
func TestPolls(t *testing.T) {
	var p Polls[string]
	var log []int
	w := make([]PollWaiter[string], 4)
	p.Wait(&w[0], "a", PollIn, told{0, &log})
	p.Wait(&w[1], "b", PollOut, told{1, &log})
	p.Wait(&w[2], "c", 0, told{2, &log})
	p.Wait(&w[3], "d", PollIn, nil)
	wake := func(event uint32, want ...int) {
		t.Helper()
		var done Completions
		log = nil
		p.Wake(func(f string) uint32 {
			if f == "b" {
				return event &^ POLLHUP
			}
			return event
		}, &done)
		done.Deliver()
		if !slices.Equal(log, want) {
			t.Errorf("event %#x tells %v, want %v", event, log, want)
		}
	}
	wake(PollOut, 1)
	wake(PollOut)
	p.Wait(&w[1], "b", PollOut, told{11, &log})
	p.Wait(&w[1], "b", PollIn, told{12, &log}) // both now, and the last wake-up
	wake(PollOut, 12)
	p.Wait(&w[1], "b", PollIn, told{13, &log}) // not what was asked for before it was told
	wake(PollOut)
	wake(POLLHUP, 0, 2)
	wake(POLLERR, 13)
	p.Wait(&w[0], "a", PollIn, told{14, &log})
	p.Forget(&w[0])
	p.Forget(&w[0])
	wake(PollIn)
}

func TestTimesSet(t *testing.T) {
	a, b := Times{Atime: time.Unix(1, 0), Mtime: time.Unix(2, 0), Ctime: time.Unix(3, 0)}, time.Unix(9, 0)
	for _, c := range []struct{ set, want Times }{
		{Times{}, a},
		{Times{Atime: b}, Times{b, a.Mtime, a.Ctime}},
		{Times{Mtime: b, Ctime: b}, Times{a.Atime, b, b}},
	} {
		got := a
		if got.Set(c.set); got != c.want {
			t.Errorf("%v: %v, want %v", c.set, got, c.want)
		}
	}
}
