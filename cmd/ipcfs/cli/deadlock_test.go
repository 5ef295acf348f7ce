package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is the processes of a machine that is made up.
type machine struct {
	process map[int64]int64 // of a thread, if it is not one of its own number
	many    map[int64]int   // threads of a process, if it is not one
}

func (m machine) of(tid int64) (int64, string, bool) {
	pid, ok := m.process[tid]
	return pid, "child", ok
}

func (m machine) threads(pid int64) (int, bool) {
	if n, ok := m.many[pid]; ok {
		return n, n > 0
	}
	return 1, true
}

// usesOf reads a short form of proc/files: NAME PID MODE [WAIT [TID]], parted by semicolons. The inode is the name.
func usesOf(t *testing.T, text string) []use {
	t.Helper()
	var uses []use
	inodes := make(map[string]int64)
	for part := range strings.SplitSeq(text, ";") {
		w := strings.Fields(part)
		if len(w) == 0 {
			continue
		}
		name, _, _ := strings.Cut(w[0], ":")
		if inodes[name] == 0 {
			inodes[name] = int64(len(inodes) + 1)
		}
		u := use{mount: "/m", ino: inodes[name], name: w[0], pid: number64(t, w[1]), command: "sh", mode: w[2]}
		if len(w) > 3 {
			u.wait, u.tid = w[3], u.pid
		}
		if len(w) > 4 {
			u.tid = number64(t, w[4])
		}
		uses = append(uses, u)
	}
	return uses
}

func number64(t *testing.T, s string) (n int64) {
	t.Helper()
	for _, digit := range s {
		n = n*10 + int64(digit-'0')
	}
	return n
}

// Who could end a wait.
func TestFindWaiters(t *testing.T) {
	for _, c := range []struct {
		name, files string
		waiter      int64
		want        []int64
	}{
		{"a reader waits for the writers", "p 1 r READ; p 3 w; p 2 rw; p 4 r; q 5 w", 1, []int64{2, 3}},
		{"a writer waits for the readers", "p 1 w WRITE; p 3 w; p 2 rw; p 4 r; q 5 r", 1, []int64{2, 4}},
		{"each process once", "p 1 r READ; p 2 w; p 2 w; p 2 rw", 1, []int64{2}},
		{"not for itself", "p 1 rw READ; p 1 w", 1, nil},
		{"nobody", "p 1 r READ; p 2 r", 1, nil},
		{"an open for reading waits for writers, of which there is none yet", "p 1 r OPEN; p 2 w OPEN; p 3 r", 1, nil},
		{"an open for writing", "p 1 w OPEN; p 2 r", 1, []int64{2}},
		{"a view is the queue", "q:7 1 r READ; q 2 w; q:-3 3 w", 1, []int64{2, 3}},
		{"a lock", "p 1 w SETLKW; p 2 w; p 3 r; q 4 rw", 1, []int64{2, 3}},
		{"a thread of the process", "p 1 rw READ 11; p 2 w", 1, []int64{2}},
		{"a child that got the file", "p 1 rw READ 99; p 2 w", 90, []int64{1, 2}},
		{"a thread that is gone", "p 1 rw READ 1234; p 2 w", 1, []int64{2}},
	} {
		uses := usesOf(t, c.files)
		findWaiters(uses, machine{process: map[int64]int64{11: 1, 99: 90}})
		if got := uses[0]; got.waiter != c.waiter || !slices.Equal(got.frees, c.want) {
			t.Errorf("%s: %d waits for %v", c.name, got.waiter, got.frees)
		}
	}
}

func TestFindDeadlocks(t *testing.T) {
	for _, c := range []struct {
		name, files string
		on          machine
		want        []string
	}{
		{"nobody waits", "a 1 r; a 2 w", machine{}, nil},
		{"a reader and a writer that works", "a 1 r READ; a 2 w", machine{}, nil},
		{"both read first", "pipes/a 123 r READ; pipes/b 123 w; pipes/b 456 r READ; pipes/a 456 w", machine{}, []string{
			"deadlock: 123 (sh) waits to read pipes/a, which 456 (sh) holds; 456 (sh) waits to read pipes/b, which 123 (sh) holds",
		}},
		{"both write first", "a 1 w WRITE; b 1 r; b 2 w WRITE; a 2 r", machine{}, []string{
			"deadlock: 1 (sh) waits to write a, which 2 (sh) holds; 2 (sh) waits to write b, which 1 (sh) holds",
		}},
		{"somebody else could write", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; a 3 w", machine{}, nil},
		{"somebody else who waits for nobody could write", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; a 3 w; c 3 r READ", machine{}, nil},
		{"somebody else who waits for them could write", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; a 3 w; b 3 r READ", machine{}, []string{
			"deadlock: 1 (sh) waits to read a, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"a chain", "a 1 r READ; a 2 w; b 2 r READ; b 3 w; c 3 r READ; c 4 w", machine{}, nil},
		{"a ring of three, and one who waits for it", "a 4 r READ; a 3 w; b 3 r READ; b 1 w; c 1 r READ; c 2 w; d 2 r READ; d 3 w", machine{}, []string{
			"deadlock: 1 (sh) waits to read c, which 2 (sh) holds; 2 (sh) waits to read d, which 3 (sh) holds; 3 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"two rings", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; c 3 r READ; d 3 w; d 4 r READ; c 4 w", machine{}, []string{
			"deadlock: 1 (sh) waits to read a, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
			"deadlock: 3 (sh) waits to read c, which 4 (sh) holds; 4 (sh) waits to read d, which 3 (sh) holds",
		}},
		{"itself alone is none", "a 1 rw READ", machine{}, nil},
		{"a pipe and a queue", "pipes/p 1 r READ; msgq/q:7 1 w; msgq/q 2 rw READ; pipes/p 2 w", machine{}, []string{
			"deadlock: 1 (sh) waits to read pipes/p, which 2 (sh) holds; 2 (sh) waits to read msgq/q, which 1 (sh) holds",
		}},
		{"one opens", "a 1 w OPEN; b 1 w; b 2 r READ; a 2 r", machine{}, []string{
			"deadlock: 1 (sh) waits to open a for writing, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"locks", "a 1 w SETLKW; b 1 w; b 2 w SETLKW; a 2 w", machine{}, []string{
			"deadlock: 1 (sh) waits to lock a, which 2 (sh) holds; 2 (sh) waits to lock b, which 1 (sh) holds",
		}},
		{"another thread does not wait", "a 1 r READ; b 1 w; b 2 r READ; a 2 w", machine{many: map[int64]int{2: 2}}, []string{
			"possible deadlock: 1 (sh) waits to read a, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"threads that cannot be counted", "a 1 r READ; b 1 w; b 2 r READ; a 2 w", machine{many: map[int64]int{1: 0}}, []string{
			"possible deadlock: 1 (sh) waits to read a, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"both threads wait", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; a 2 w WRITE 20; a 3 r READ", machine{process: map[int64]int64{20: 2}, many: map[int64]int{2: 2}}, []string{
			"deadlock: 1 (sh) waits to read a, which 2 (sh) holds; 2 (sh) waits to read b, which 1 (sh) holds",
		}},
		{"the other thread is served", "a 1 r READ; b 1 w; b 2 r READ; a 2 w; c 2 r READ 20; c 3 w", machine{process: map[int64]int64{20: 2}, many: map[int64]int{2: 2}}, nil},
		{"the child of a shell waits, the shell could write", "a 1 rw READ 9", machine{process: map[int64]int64{9: 9}}, nil},
		{"children wait", "a 1 r READ 9; b 9 w; b 2 r READ; a 2 w", machine{process: map[int64]int64{9: 9}}, []string{
			"deadlock: 2 (sh) waits to read b, which 9 (sh) holds; 9 (child) waits to read a, which 2 (sh) holds",
		}},
	} {
		uses := usesOf(t, c.files)
		findWaiters(uses, c.on)
		var got []string
		for _, d := range findDeadlocks(uses, c.on) {
			got = append(got, d.line(true))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// Of objects in several mounts the same number is another object.
func TestDeadlockAcrossMounts(t *testing.T) {
	uses := usesOf(t, "pipes/a 1 r READ; pipes/b 1 w; pipes/b 2 r READ; pipes/a 2 w")
	uses[2].mount, uses[2].ino, uses[1].mount, uses[1].ino = "/n", 1, "/n", 1
	findWaiters(uses, machine{})
	got := findDeadlocks(uses, machine{})
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	const want = "deadlock: 1 (sh) waits to read /m/pipes/a, which 2 (sh) holds; 2 (sh) waits to read /n/pipes/b, which 1 (sh) holds"
	if line := got[0].line(false); line != want {
		t.Error(line)
	}
	const asJSON = `{"possible":false,"waits":[{"pid":1,"command":"sh","waits":"READ","name":"/m/pipes/a","holder":2,"holder_command":"sh"},` +
		`{"pid":2,"command":"sh","waits":"READ","name":"/n/pipes/b","holder":1,"holder_command":"sh"}]}`
	if text, err := got[0].fields(false).MarshalJSON(); err != nil || string(text) != asJSON {
		t.Errorf("%s, %v", text, err)
	}
	uses[1].mount = "/m"
	findWaiters(uses, machine{})
	if got := findDeadlocks(uses, machine{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Ten thousand who wait for ten thousand others take no time that grows with their product.
func TestManyWaiters(t *testing.T) {
	var uses []use
	for pid := range int64(10000) {
		uses = append(uses, use{mount: "/m", ino: 1, pid: pid + 1, mode: "r", wait: "READ", tid: pid + 1, name: "pipes/a"})
	}
	for pid := range int64(10000) {
		uses = append(uses, use{mount: "/m", ino: 1, pid: pid + 20001, mode: "w", name: "pipes/a"})
	}
	findWaiters(uses, machine{})
	if n := len(uses[0].frees); n != 10000 {
		t.Error(n)
	}
	if got := findDeadlocks(uses, machine{}); len(got) != 0 {
		t.Error(len(got))
	}
}
