package lock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
)

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

var _ tb = (*testing.T)(nil)

// A step is "OWNER VERB RANGE": "A w 0-9". An owner is a letter, with a digit after it to come through a handle of another number. The verbs r, w and u are
// those of a record lock, sh, ex and un of flock(2); with a + they wait. flush and close are what a descriptor's close and the last one's do, cancel
// is a signal. A range is one byte, FIRST-LAST or FIRST- up to the end; @ after it means the second file.
type step struct {
	name  string // of the owner
	verb  string
	wait  bool
	lock  Lock
	other bool // of the two files
}

var lockTypes = map[string]uint32{
	"r": unix.F_RDLCK, "w": unix.F_WRLCK, "u": unix.F_UNLCK, "sh": unix.F_RDLCK, "ex": unix.F_WRLCK, "un": unix.F_UNLCK,
}

func parse(t tb, s string) step {
	t.Helper()
	s, other := strings.CutSuffix(s, "@")
	words := strings.Fields(s)
	verb, wait := strings.CutSuffix(words[1], "+")
	st := step{name: words[0], verb: verb, wait: wait, other: other}
	n := uint64(st.name[0]-'A') + 1
	st.lock = Lock{Flock: len(verb) == 2, Type: lockTypes[verb], End: OffsetMax, Owner: n, Handle: n, PID: 100 + uint32(n)}
	if len(st.name) > 1 {
		st.lock.Handle = uint64(st.name[1] - '0')
	}
	if len(words) > 2 {
		first, last, isRange := strings.Cut(words[2], "-")
		if !isRange {
			last = first
		}
		for _, x := range []struct {
			to   *uint64
			from string
		}{{&st.lock.Start, first}, {&st.lock.End, last}} {
			var err error
			if x.from == "" {
				continue
			}
			if *x.to, err = strconv.ParseUint(x.from, 10, 64); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
		}
	}
	return st
}

// show is the reverse: "A w 0-9".
func show(l Lock) string {
	verb := []string{"r", "w", "u"}[l.Type]
	if l.Flock {
		return fmt.Sprintf("%c %s", rune('A'+l.Owner-1), []string{"sh", "ex", "un"}[l.Type])
	}
	last := fmt.Sprint(l.End)
	if l.End == OffsetMax {
		last = ""
	}
	return fmt.Sprintf("%c %s %d-%s", rune('A'+l.Owner-1), verb, l.Start, last)
}

func showAll(locks []Lock) string {
	var s []string
	for _, l := range locks {
		s = append(s, show(l))
	}
	return strings.Join(s, ", ")
}

// steps does steps on two files of one table.
type steps struct {
	t     tb
	table *Table
	files [2]*File
	log   []string
	begun []*Op
}

func newSteps(t tb, max int) *steps {
	table := NewTable(max)
	return &steps{t: t, table: table, files: [2]*File{table.NewFile(), table.NewFile()}}
}

// ended notes the end of an operation as "A ok" or "A EAGAIN".
type ended struct {
	s    *steps
	name string
	op   *Op
}

func (e ended) Deliver() { e.s.log = append(e.s.log, e.name+" "+result(e.op.Err)) }

func result(err error) string {
	if err == nil {
		return "ok"
	}
	return unix.ErrnoName(err.(syscall.Errno))
}

// do does one step and returns what was completed by it, in order. What was begun and is not in it waits.
func (s *steps) do(text string) []string {
	s.t.Helper()
	st := parse(s.t, text)
	f := s.files[0]
	if st.other {
		f = s.files[1]
	}
	s.with(func(d *ipc.Completions) {
		switch st.verb {
		case "flush":
			f.ReleaseOwner(st.lock.Owner, d)
		case "close":
			f.ReleaseOwner(st.lock.Owner, d)
			f.ReleaseHandle(st.lock.Handle, d)
		case "release":
			f.ReleaseHandle(st.lock.Handle, d)
		case "cancel":
			for _, op := range s.begun {
				if op.Owner == st.lock.Owner {
					op.Cancel(d)
				}
			}
		default:
			s.begin(f, st.name, st.lock, st.wait, d)
		}
	})
	log := s.log
	s.log = nil
	return log
}

func (s *steps) with(f func(*ipc.Completions)) {
	var done ipc.Completions
	f(&done)
	done.Deliver()
}

func (s *steps) begin(f *File, name string, l Lock, wait bool, d *ipc.Completions) *Op {
	op := &Op{Lock: l, Wait: wait}
	op.Done = ended{s, name, op}
	s.begun = append(s.begun, op)
	f.Lock(op, d)
	return op
}

// run does the steps of a script. A line is a step and, after a colon, what it completes.
func (s *steps) run(script ...string) {
	s.t.Helper()
	for i, line := range script {
		text, want := cutLine(line)
		if got := s.do(text); !slices.Equal(got, want) {
			s.t.Fatalf("line %d, %q completed %q, want %q", i+1, text, got, want)
		}
	}
}

func cutLine(line string) (text string, want []string) {
	text, rest, _ := strings.Cut(line, ":")
	for w := range strings.SplitSeq(strings.TrimSpace(rest), ", ") {
		if w != "" {
			want = append(want, w)
		}
	}
	return text, want
}

// want says what is held and what waits.
func (s *steps) want(held, waiting string) {
	s.t.Helper()
	st := s.files[0].Stat()
	if got := showAll(st.Held); got != held {
		s.t.Errorf("held: %s\nwant: %s", got, held)
	}
	if got := showAll(st.Waiting); got != waiting {
		s.t.Errorf("waiting: %s\nwant:    %s", got, waiting)
	}
	other := s.files[1].Stat()
	n := len(st.Held) + len(st.Waiting) + len(other.Held) + len(other.Waiting)
	if got := s.table.Len(); got != n {
		s.t.Errorf("the table counts %d locks, the files have %d", got, n)
	}
	if got, want := s.files[0].Empty(), held == ""; got != want {
		s.t.Errorf("Empty = %v, held: %s", got, held)
	}
}
