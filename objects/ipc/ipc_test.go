package ipc

import (
	"slices"
	"testing"
	"time"
)

// told appends its number when it is delivered.
type told struct {
	n   int
	log *[]int
}

func (c told) Deliver() { *c.log = append(*c.log, c.n) }

func TestCompletionsAreDeliveredInOrderAndOnce(t *testing.T) {
	var d Completions
	var log []int
	d.Deliver()
	for round := range 2 { // a collection is used again
		for n := range 3 {
			d.Add(told{10*round + n, &log})
		}
		if d.Len() != 3 {
			t.Fatalf("Len = %d, want 3", d.Len())
		}
		d.Deliver()
		d.Deliver()
		if d.Len() != 0 {
			t.Fatalf("Len = %d after Deliver, want 0", d.Len())
		}
	}
	if want := []int{0, 1, 2, 10, 11, 12}; !slices.Equal(log, want) {
		t.Errorf("delivered %v, want %v", log, want)
	}
}

// broken panics when it is delivered.
type broken struct{}

func (broken) Deliver() { panic("broken") }

// The answers behind one that panics are sent all the same, and the panic is not swallowed.
func TestPanicKeepsNoAnswerBack(t *testing.T) {
	var d Completions
	var log []int
	for n := range 5 {
		if n%2 == 1 {
			d.Add(broken{})
		} else {
			d.Add(told{n, &log})
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		d.Deliver()
	}()
	if want := []int{0, 2, 4}; !slices.Equal(log, want) || d.Len() != 0 {
		t.Errorf("delivered %v, %d left, want %v", log, d.Len(), want)
	}
}

func TestAccountPipeBuffers(t *testing.T) {
	ns := NewNamespace(nil, DefaultLimits(), func() time.Time { return time.Time{} })
	for _, c := range []struct {
		uid           uint32
		old, new, sum int
	}{{1, 0, 16, 16}, {2, 0, 2, 2}, {1, 0, 16, 32}, {1, 16, 32, 48}, {1, 32, 0, 16}, {1, 16, 0, 0}, {2, 0, 0, 2}} {
		if got := ns.AccountPipeBuffers(c.uid, c.old, c.new); got != c.sum {
			t.Errorf("user %d, %d becomes %d: %d pages, want %d", c.uid, c.old, c.new, got, c.sum)
		}
	}
	if len(ns.pipeBufs) != 1 { // who has nothing costs nothing
		t.Errorf("%d users are remembered, want 1", len(ns.pipeBufs))
	}
}

func TestWhoIsPrivileged(t *testing.T) {
	for uid, want := range map[uint32]bool{0: true, 1: false, 1000: false} {
		if got := (Caller{UID: uid}).Privileged(); got != want {
			t.Errorf("user %d: %v, want %v", uid, got, want)
		}
	}
}
