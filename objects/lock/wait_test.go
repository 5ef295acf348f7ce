package lock

import (
	"testing"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
)

// waits are scripts in which somebody waits. TestKernelWaits runs them on the kernel's locks.
var waits = map[string][]string{
	"completed by an unlock": {"A w 0-9: A ok", "B w+ 0-9:", "A u 0-9: A ok, B ok"},
	"completed by an unlock of what is in the way": {
		"A w 0-9: A ok", "B r+ 4-5:", "A u 0-3: A ok", "A u 6-9: A ok", "A u 4: A ok", "A u 5: A ok, B ok",
	},
	"completed by a downgrade":   {"A w 0-9: A ok", "B r+ 4-5:", "C w+ 0:", "A r 0-5: A ok, B ok", "A u 0-: A ok, C ok"},
	"completed by FLUSH":         {"A w 0-9: A ok", "A w 20: A ok", "A sh: A ok", "B r+ 5-30:", "C ex+:", "A flush: B ok", "A un: A ok, C ok"},
	"completed by RELEASE":       {"A w 0-9: A ok", "A ex: A ok", "B sh+:", "C r+ 5:", "D sh+:", "A close: C ok, B ok, D ok"},
	"nobody waits for an unlock": {"A w 0-9: A ok", "A u+ 0-: A ok", "A ex: A ok", "A un+: A ok"},
	"what is free is not waited for": {
		"A w 0-9: A ok", "B w+ 10-19: B ok", "A ex+: A ok", "A sh+: A ok", "B sh+: B ok",
	},
	"cancelled": {"A w 0-9: A ok", "B w+ 0-9:", "B cancel: B EINTR", "A u 0-9: A ok"},
	"cancelled: the others wait on": {
		"A w 0-9: A ok", "B w+ 0-9:", "C w+ 0-9:", "D w+ 0-9:", "C cancel: C EINTR", "A u 0-9: A ok, B ok", "B u 0-9: B ok, D ok",
	},
	"cancelled too late": {"A w 0-9: A ok", "B w+ 0-9:", "A u 0-9: A ok, B ok", "B cancel:", "A r 5: A EAGAIN"},
	"cancelled: what the owner has stays": {
		"A r 0-9: A ok", "B r 0-9: B ok", "B w+ 5:", "A w 0: A EAGAIN", "B cancel: B EINTR", "A w 0: A EAGAIN",
	},
	"cancelled: what was to be converted is lost": {"A sh: A ok", "B sh: B ok", "B ex+:", "B cancel: B EINTR", "A ex: A ok"},

	"writers in order": {
		"A w 0-9: A ok", "B w+ 0-9:", "C w+ 0-9:", "D w+ 0-9:", "A u 0-9: A ok, B ok", "B u 0-9: B ok, C ok", "C u 0-9: C ok, D ok",
	},
	"readers together": {
		"A w 0-9: A ok", "B r+ 0-9:", "C w+ 0-9:", "D r+ 0-9:", "A u 0-9: A ok, B ok, D ok", "B u 0-9: B ok", "D u 0-9: D ok, C ok",
	},
	"a reader comes before a writer that waits": {"A r 0-9: A ok", "B w+ 0-9:", "C r 0-9: C ok", "A u 0-9: A ok", "C u 0-9: C ok, B ok"},
	"one behind another that still waits": {
		"A w 0-9: A ok", "B w 20: B ok", "C w+ 0-20:", "D w+ 5:", "A u 0-9: A ok, D ok", "B u 20: B ok", "D u 5: D ok, C ok",
	},
	"what is granted may free something": {
		"A w 0-4: A ok", "B w 5-9: B ok", "C w+ 9:", "D r+ 5:", "B r+ 0-5:", "A u 0-4: A ok, B ok, D ok", "B u 0-: B ok, C ok",
	},
	"flock in order": {
		"A ex: A ok", "B ex+:", "C sh+:", "D sh+:", "A un: A ok, B ok", "B sh: B ok, C ok, D ok",
	},
	"flock upgraded at once, before the one that waits": {"A sh: A ok", "B ex+:", "A ex: A ok", "A un: A ok, B ok"},
	"flock upgraded in vain lets others go": {
		"A sh: A ok", "B sh: B ok", "C ex+:", "B ex: B EAGAIN", "A un: A ok, C ok", "A sh: A EAGAIN", "B sh: B EAGAIN",
	},
	"flock upgraded by two": {"A sh: A ok", "B sh: B ok", "A ex+:", "B ex+: B ok", "B un: B ok, A ok"}, // not a deadlock
	"flock downgraded":      {"A ex: A ok", "B sh+:", "C ex+:", "A sh: A ok, B ok", "A un: A ok", "B un: B ok, C ok"},
	"record locks and flock wait for their own kind": {
		"A w 0-: A ok", "B ex: B ok", "A ex+:", "C w+ 0:", "B un: B ok, A ok", "A u 0-: A ok, C ok",
	},

	"deadlock of two": {"A w 0: A ok", "B w 1: B ok", "A w+ 1:", "B w+ 0: B EDEADLK", "B u 1: B ok, A ok"},
	"not of those that do not wait": {
		"A w 0: A ok", "B w 1: B ok", "A w+ 1:", "B w 0: B EAGAIN", "B u 1: B ok, A ok",
	},
	"deadlock of two that upgrade": {"A r 0: A ok", "B r 0: B ok", "A w+ 0:", "B w+ 0: B EDEADLK", "B u 0: B ok, A ok"},
	"deadlock of three": {
		"A w 0: A ok", "B w 1: B ok", "C w 2: C ok", "A w+ 1:", "B w+ 2:", "C w+ 0: C EDEADLK", "C u 2: C ok, B ok", "B u 1: B ok, A ok",
	},
	"deadlock across two files": {
		"A w 0: A ok", "B w 0@: B ok", "A w+ 0@:", "B w+ 0: B EDEADLK", "B u 0@: B ok, A ok",
	},
	"deadlock of three across two files": {
		"A w 0: A ok", "B w 0@: B ok", "C w 1: C ok", "A w+ 0@:", "B w+ 1:", "C w+ 0: C EDEADLK", "C flush: B ok", "B flush@: A ok",
	},
	"a cycle is found when it closes": { // C waits for A first, and for B only when A is gone
		"A r 0-4: A ok", "B r 5-9: B ok", "C w 20: C ok", "C w+ 0-9:", "B w+ 20:", "A u 0-4: A ok, C EDEADLK", "C u 20: C ok, B ok",
	},
	"a chain is not a cycle": {
		"A w 0: A ok", "B w 1: B ok", "C w 2: C ok", "A w+ 1:", "B w+ 2:", "D w+ 0:", "C u 2: C ok, B ok", "B u 1: B ok, A ok", "A u 0: A ok, D ok",
	},
	"no deadlock any more": {
		"A w 0: A ok", "B w 1: B ok", "A w+ 1:", "A cancel: A EINTR", "B w+ 0:", "A u 0: A ok, B ok",
	},
	"flock takes no part": {
		"A ex: A ok", "B w 0: B ok", "B sh+:", "A w+ 0:", "B cancel: B EINTR", "B u 0: B ok, A ok",
	},
}

func TestWaits(t *testing.T) {
	for name, script := range waits {
		t.Run(name, func(t *testing.T) { newSteps(t, 100).run(script...) })
	}
}

// What B gets frees something for C, who waited longer than D. (The kernel wakes all three, and who comes first has it.)
func TestGrantWakesWhoWaitedLonger(t *testing.T) {
	s := newSteps(t, 100)
	s.run("A w 0-4: A ok", "A w 6: A ok", "B w 5: B ok", "C r+ 5-6:", "B r+ 0-5:", "D w+ 6:")
	s.run("A flush: B ok, C ok", "C u 5-6: C ok, D ok")
}

// Linux gives up after ten owners.
func TestDeadlockOfMany(t *testing.T) {
	s := newSteps(t, 100)
	const owners = 26
	name := func(i int) string { return string(rune('A' + i%owners)) }
	lock := func(i int, verb string) string {
		return name(i) + " " + verb + " " + string(rune('0'+i%owners/10)) + string(rune('0'+i%owners%10))
	}
	for i := range owners {
		s.run(lock(i, "w") + ": " + name(i) + " ok")
	}
	for i := range owners - 1 {
		s.run(name(i) + lock(i+1, "w+")[1:] + ":")
	}
	s.run("Z w+ 00: Z EDEADLK", "Z flush: Y ok")
}

// A is tried while B, who is woken too, still seems to wait for C. C waits for A.
func TestNoDeadlockThroughTheWoken(t *testing.T) {
	s := newSteps(t, 100)
	s.run("D7 w 0: D7 ok", "C7 w 2: C7 ok", "B w 1: B ok", "A w 9: A ok", "A w+ 0-1:", "B w+ 2:", "C8 w+ 9:")
	s.run("E7 release: B ok", "B flush: A ok", "A u 9: A ok, C8 ok")
}

// An owner with threads may wait for several others, and get locks while it waits.
func TestDeadlockOfThreads(t *testing.T) {
	s := newSteps(t, 100)
	s.run("A w 0: A ok", "B w 1: B ok", "C w 2: C ok", "A w+ 2:", "A w+ 1:")
	s.run("B w+ 0: B EDEADLK", "C w+ 0: C EDEADLK", "D w+ 0:")
	s.run("B u 1: B ok, A ok", "B w+ 0:", "C w+ 0: C EDEADLK", "C w+ 1: C EDEADLK", "C u 2: C ok, A ok", "C w+ 1:")

	s = newSteps(t, 100)
	s.run("A w 0: A ok", "B w 1: B ok", "A w+ 1:", "C w 2: C ok", "B w+ 2:")
	s.run("A w 3: A ok", "C w+ 3: C EDEADLK", "C u 2: C ok, B ok", "B u 1: B ok, A ok")

	s = newSteps(t, 100)
	s.run("A w 0: A ok", "B w 1: B ok", "A w+ 1-2:", "C w+ 0:", "C w 2: C ok", "B u 1: B ok, A EDEADLK", "A u 0: A ok, C ok")
}

func TestRelease(t *testing.T) {
	t.Run("FLUSH spares flock and other owners", func(t *testing.T) {
		s := newSteps(t, 100)
		s.run("A w 0-9: A ok", "A7 r 20: A7 ok", "B w 30: B ok", "A sh: A ok", "A flush:")
		s.want("B w 30-30, A sh", "")
	})
	t.Run("RELEASE spares what came through other files", func(t *testing.T) {
		s := newSteps(t, 100)
		s.run("A7 w 0-9: A7 ok", "A8 w 20: A8 ok", "B7 w 30: B7 ok", "B8 w 50: B8 ok", "A8 sh: A8 ok", "C7 sh: C7 ok", "D7 release:")
		s.want("A w 20-20, B w 50-50, A sh", "")
		s.run("D8 release:")
		s.want("", "")
	})
	t.Run("what is merged belongs to the file it came through last", func(t *testing.T) {
		s := newSteps(t, 100)
		s.run("A7 w 0-9: A7 ok", "A8 w 10: A8 ok", "D7 release:")
		s.want("A w 0-10", "")
		s.run("A7 u 5: A7 ok", "D7 release:")
		s.want("A w 0-4, A w 6-10", "")
		s.run("D8 release:")
		s.want("", "")
	})
	t.Run("FLUSH spares those who wait", func(t *testing.T) {
		s := newSteps(t, 100)
		s.run("A w 0: A ok", "B w 1: B ok", "B w+ 0:", "B flush:", "A flush: B ok")
		s.want("B w 0-0", "")
	})
	t.Run("RELEASE ends the waits through the file", func(t *testing.T) {
		s := newSteps(t, 100)
		s.run("A w 0: A ok", "A ex: A ok", "B7 w+ 0:", "B8 w+ 0:", "B7 sh+:", "D7 release: B7 EINTR, B7 EINTR", "A flush: B8 ok", "A un: A ok")
		s.want("B w 0-0", "")
	})
}

// Operations of one owner that convert its lock of flock(2) drop it at each try, also in the middle of a wait.
func TestFlockOfThreads(t *testing.T) {
	s := newSteps(t, 100)
	s.run("A sh: A ok", "B sh: B ok", "C sh: C ok", "C ex+:", "C sh: C ok", "D ex+:")
	s.want("A sh, B sh, C sh", "C ex, D ex")
	s.run("A un: A ok") // C is tried, and loses its other one
	s.want("B sh", "C ex, D ex")
	s.run("B un: B ok, C ok", "C sh+: C ok", "C ex+: C ok", "C un: C ok, D ok")
}

// Completed and cancelled at once, whoever comes second does nothing. The race detector looks on.
func TestCancelRaces(t *testing.T) {
	table := NewTable(10)
	f := table.NewFile()
	for range 200 {
		var first ipc.Completions
		f.Lock(&Op{Lock: Lock{Type: unix.F_WRLCK, End: 9, Owner: 1, Handle: 1}}, &first)
		op := &Op{Lock: Lock{Type: unix.F_WRLCK, End: 9, Owner: 2, Handle: 2}, Wait: true}
		f.Lock(op, &first)
		completed := make(chan int)
		go func() {
			var done ipc.Completions
			op.Cancel(&done)
			completed <- done.Len()
		}()
		var done ipc.Completions
		f.ReleaseOwner(1, &done)
		if n := done.Len() + <-completed; n != 1 || (op.Err == nil) == f.Empty() {
			t.Fatalf("completed %d times, %v, Empty = %v", n, op.Err, f.Empty())
		}
		f.ReleaseHandle(2, &done)
	}
	if n := table.Len(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}
