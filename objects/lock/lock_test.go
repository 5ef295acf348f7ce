package lock

import (
	"math"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
)

// TestReplace has the ways in which a record lock takes the place of its owner's others, in threes around each border.
func TestReplace(t *testing.T) {
	for _, c := range []struct{ name, steps, held string }{
		{"one", "A w 3-5", "A w 3-5"},
		{"one byte", "A w 3", "A w 3-3"},
		{"to the end", "A w 3-", "A w 3-"},
		{"the last byte", "A w 9223372036854775807", "A w 9223372036854775807-"},
		{"the same again", "A w 3-5, A w 3-5", "A w 3-5"},
		{"inside of one", "A w 3-9, A w 4-5", "A w 3-9"},
		{"around one", "A w 4-5, A w 3-9", "A w 3-9"},
		{"merge below: a gap", "A w 10-19, A w 0-8", "A w 0-8, A w 10-19"},
		{"merge below: adjacent", "A w 10-19, A w 0-9", "A w 0-19"},
		{"merge below: overlapping", "A w 10-19, A w 0-10", "A w 0-19"},
		{"merge above: overlapping", "A w 0-9, A w 9-19", "A w 0-19"},
		{"merge above: adjacent", "A w 0-9, A w 10-19", "A w 0-19"},
		{"merge above: a gap", "A w 0-9, A w 11-19", "A w 0-9, A w 11-19"},
		{"merge both sides", "A w 0-3, A w 8-9, A w 4-7", "A w 0-9"},
		{"merge many", "A w 0, A w 2, A w 4, A w 6, A w 1-5", "A w 0-6"},
		{"merge up to the end", "A r 0-9, A r 10-", "A r 0-"},
		{"other owners do not merge", "A r 0-9, B r 10-19, A r 20-29", "A r 0-9, A r 20-29, B r 10-19"},
		{"other types do not merge", "A r 0-9, A w 10-19", "A r 0-9, A w 10-19"},

		{"upgrade all", "A r 0-9, A w 0-9", "A w 0-9"},
		{"upgrade the beginning", "A r 0-9, A w 0-3", "A w 0-3, A r 4-9"},
		{"upgrade the middle", "A r 0-9, A w 4-5", "A r 0-3, A w 4-5, A r 6-9"},
		{"upgrade the end", "A r 0-9, A w 4-9", "A r 0-3, A w 4-9"},
		{"upgrade more than there is", "A r 4-5, A w 0-9", "A w 0-9"},
		{"upgrade merges", "A w 0-3, A r 4-5, A w 6-9, A w 4-5", "A w 0-9"},
		{"upgrade many", "A r 0-1, A r 3-4, A w 6-7, A r 9-10, A w 1-9", "A r 0-0, A w 1-9, A r 10-10"},
		{"downgrade all", "A w 0-9, A r 0-9", "A r 0-9"},
		{"downgrade the beginning", "A w 0-9, A r 0-3", "A r 0-3, A w 4-9"},
		{"downgrade the middle", "A w 0-9, A r 4-5", "A w 0-3, A r 4-5, A w 6-9"},
		{"downgrade the end", "A w 0-9, A r 4-9", "A w 0-3, A r 4-9"},
		{"downgrade merges", "A r 0-3, A w 4-9, A r 4-6", "A r 0-6, A w 7-9"},

		{"unlock all", "A w 0-9, A u 0-9", ""},
		{"unlock more than there is", "A w 4-5, A u 0-", ""},
		{"unlock the beginning", "A w 0-9, A u 0-3", "A w 4-9"},
		{"unlock the middle", "A w 0-9, A u 4-5", "A w 0-3, A w 6-9"},
		{"unlock the end", "A w 0-9, A u 4-9", "A w 0-3"},
		{"unlock the middle of all", "A w 0-, A u 4-5", "A w 0-3, A w 6-"},
		{"unlock many", "A r 0-1, A w 3-4, A r 6-7, A u 1-6", "A r 0-0, A r 7-7"},
		{"unlock beside", "A w 4-5, A u 0-3, A u 6-", "A w 4-5"},
		{"unlock nothing", "A u 0-", ""},
		{"unlock another's", "A w 0-9, B u 0-9", "A w 0-9"},

		{"readers share", "A r 0-9, B r 0-9, C r 5-", "A r 0-9, B r 0-9, C r 5-"},
		{"owners in the order of their first lock", "B r 0, A r 1, B r 2, B u 0-, A r 3, B r 4", "A r 1-1, A r 3-3, B r 4-4"},

		{"flock", "A sh, B sh", "A sh, B sh"},
		{"flock again", "A sh, B sh, A sh", "A sh, B sh"},
		{"flock converted", "A sh, A ex, A sh", "A sh"},
		{"flock removed", "A sh, B sh, A un, C un", "B sh"},
		{"flock does not see record locks", "A w 0-, B ex", "A w 0-, B ex"},
		{"and is not seen", "B ex, A w 0-, A u 0-, B r 1", "B r 1-1, B ex"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSteps(t, 100)
			for text := range strings.SplitSeq(c.steps, ", ") {
				s.run(text + ": " + text[:1] + " ok")
			}
			s.want(c.held, "")
		})
	}
}

// TestRefused has the locks that another owner's keeps away.
func TestRefused(t *testing.T) {
	s := newSteps(t, 100)
	s.run(
		"A r 10-19: A ok",
		"B w 0-9: B ok", "B w 0-10: B EAGAIN", "B w 19-20: B EAGAIN", "B w 20-29: B ok", "B r 0-29: B ok",
		"A w 10-19: A EAGAIN", // B reads there
		"B u 12-: B ok",
		"A w 12-19: A ok", "A w 11-19: A EAGAIN",
		"B r 12: B EAGAIN",
		"A sh: A ok", "B sh: B ok", "C ex: C EAGAIN", "C sh: C ok",
	)
	s.want("A r 10-11, A w 12-19, B r 0-11, A sh, B sh, C sh", "")
}

// The kernel drops the lock of flock(2) that is to be converted before it looks whether it can.
func TestFlockLosesWhatItFailsToConvert(t *testing.T) {
	s := newSteps(t, 100)
	s.run("A sh: A ok", "B sh: B ok", "A ex: A EAGAIN")
	s.want("B sh", "")
	s.run("B ex: B ok", "A sh: A EAGAIN")
	s.want("B ex", "")
}

func TestGetlk(t *testing.T) {
	s := newSteps(t, 100)
	s.run("C r 40-59: C ok", "A r 0-9: A ok", "A w 20-29: A ok", "B r 0-: B EAGAIN", "B r 30-: B ok", "B ex: B ok")
	for _, c := range []struct{ ask, want string }{
		{"D w 0-", "C r 40-59"}, // the owner who came first, not the first byte
		{"D w 0-39", "A r 0-9"}, {"D w 9-30", "A r 0-9"}, {"D w 10-30", "A w 20-29"}, {"D w 30-39", "B r 30-"},
		{"D r 0-", "A w 20-29"}, {"D r 0-19", "D u 0-19"}, {"D r 30-", "D u 30-"},
		{"A w 0-29", "A u 0-29"}, {"B w 40", "C r 40-59"},
		{"A u 0-", "A r 0-9"}, {"A u 10-", "A w 20-29"}, {"A u 30-", "A u 30-"}, {"D u 0-", "D u 0-"},
	} {
		got, err := s.files[0].Test(parse(t, c.ask).lock)
		if err != nil || show(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.ask, show(got), err, c.want)
		}
	}
	got, err := s.files[0].Test(parse(t, "D w 5").lock)
	if want := (Lock{Type: unix.F_RDLCK, End: 9, Owner: 1, Handle: 1, PID: 101}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestInvalid(t *testing.T) {
	s := newSteps(t, 100)
	for _, c := range []struct {
		name string
		lock Lock
		want error
	}{
		{"no such type", Lock{Type: unix.F_UNLCK + 1, End: 9}, syscall.EINVAL},
		{"no such type of flock", Lock{Type: math.MaxUint32, Flock: true}, syscall.EINVAL},
		{"one byte", Lock{Start: 9, End: 9}, nil},
		{"the end before the start", Lock{Start: 9, End: 8}, syscall.EINVAL},
		{"unlock, likewise", Lock{Type: unix.F_UNLCK, Start: 9, End: 8}, syscall.EINVAL},
		{"above the last byte", Lock{Start: 9, End: OffsetMax + 1}, syscall.EINVAL},
		{"all bytes", Lock{End: OffsetMax}, nil},
		{"flock of any range", Lock{Flock: true, Start: 9, End: 8}, nil},
	} {
		for _, wait := range []bool{false, true} {
			var op *Op
			s.with(func(d *ipc.Completions) { op = s.begin(s.files[0], "A", c.lock, wait, d) })
			if op.Err != c.want || len(s.log) != 1 {
				t.Errorf("%s: %v, %q, want %v", c.name, op.Err, s.log, c.want)
			}
			s.log = nil
		}
		if _, err := s.files[0].Test(c.lock); !c.lock.Flock && err != c.want {
			t.Errorf("GETLK, %s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := s.files[0].Test(Lock{Flock: true}); err != syscall.EINVAL {
		t.Errorf("GETLK of flock: %v", err)
	}
}

// At the limit everything goes on that needs no more than there is.
func TestLimit(t *testing.T) {
	t.Run("record locks", func(t *testing.T) {
		s := newSteps(t, 3)
		s.run(
			"A w 0-9: A ok", "B w 20-29@: B ok",
			"A r 4-5: A ENOLCK", // two more
			"A u 4-5: A ok",     // one more: full
			"C w 30: C ENOLCK", "A u 2: A ENOLCK", "A r 0: A ENOLCK", "B w+ 0: B ENOLCK", "B ex: B ENOLCK", "B w 0: B EAGAIN",
			"A w 4-5: A ok", // merged: one less
			"C w+ 3:",       // the wait is the third
			"D w+ 3: D ENOLCK",
			"A u 3: A ENOLCK", // although C could have it then
			"C cancel: C EINTR",
			"A u 3: A ok",
		)
		s.want("A w 0-2, A w 4-9", "")
		s.run("A flush:", "C w 30: C ok", "A w 0: A ok", "D w 1: D ENOLCK", "B flush@:", "D w 1: D ok")
	})
	t.Run("a wait becomes a lock", func(t *testing.T) {
		s := newSteps(t, 2)
		s.run("A w 0-9: A ok", "B w+ 0-9:", "A flush: B ok")
		s.want("B w 0-9", "")
	})
	t.Run("a wait becomes three locks", func(t *testing.T) {
		s := newSteps(t, 4)
		s.run("B r 0-9: B ok", "A r 4-5: A ok", "C r 20: C ok", "B w+ 4-5:", "A u 4-5: A ok, B ok")
		s.want("B r 0-3, B w 4-5, B r 6-9, C r 20-20", "")
	})
	t.Run("a wait ends when there is no room for its locks", func(t *testing.T) {
		for _, c := range []struct {
			max int
			end string
		}{{3, "B ENOLCK"}, {4, "B ok"}} {
			s := newSteps(t, c.max)
			s.run("B r 0-9: B ok", "A r 4-6: A ok", "B w+ 4-5:", "A u 4-5: A ok, "+c.end)
		}
	})
	t.Run("flock", func(t *testing.T) {
		s := newSteps(t, 3)
		s.run("A sh: A ok", "B sh: B ok", "C ex+:", "D sh: D ENOLCK", "A sh: A ok", "A un: A ok", "B ex: B ok", "D ex+:", "E sh: E EAGAIN", "E sh+: E ENOLCK")

		s = newSteps(t, 2)
		s.run("A ex: A ok", "B sh+:", "A sh: A ok, B ok", "C sh: C ENOLCK")
	})
}
