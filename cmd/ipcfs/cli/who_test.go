package cli

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// who is what who prints of parts of the fixture.
func (c *whoConfig) who(t *testing.T, of ...target) string {
	t.Helper()
	s, err := look(of, machine{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.print(&out, s, time.Unix(1000000062, 900e6)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWho(t *testing.T) {
	m := fixture(t)
	in := func(inTree string, ino int64) []target { return []target{{m, inTree, ino}} }
	for _, c := range []struct {
		config whoConfig
		of     []target
		want   string
	}{
		{whoConfig{}, in(".", 0), lines(
			"PID  COMMAND  MODE  WAITS  TID  SINCE  FOR  NAME",
			"111  sh       r     READ   111  12.4s  222  pipes/a",
			"222  my prog  w     -        -      -  -    pipes/a",
			"333  cat      r     OPEN   333  22.6s  -    pipes/sub/b c",
			"444  cat      w     OPEN   444  22.6s  -    pipes/sub/b c",
			"111  sh       r     -        -      -  -    pipes/old (deleted)",
			"111  sh       rw-s  -        -      -  -    shm/s",
			"555  -        r--s  -        -      -  -    shm/s",
			"111  sh       rw    WRITE  111  1m02s  222  msgq/jobs",
			"222  my prog  r     -        -      -  -    msgq/jobs:7",
		)},
		{whoConfig{noheadings: true}, in("msgq/jobs", 30), lines(
			"111  sh       rw  WRITE  111  1m02s  222  msgq/jobs",
			"222  my prog  r   -        -      -  -    msgq/jobs:7",
		)},
		{whoConfig{noheadings: true}, append(in("pipes/sub", 0), in("shm", 0)...), lines(
			"333  cat  r     OPEN  333  22.6s  -  pipes/sub/b c",
			"444  cat  w     OPEN  444  22.6s  -  pipes/sub/b c",
			"111  sh   rw-s  -       -      -  -  shm/s",
			"555  -    r--s  -       -      -  -  shm/s",
		)},
		{whoConfig{}, in("msgq/none", 0), "PID  COMMAND  MODE  WAITS  TID  SINCE  FOR  NAME\n"},
		{whoConfig{json: true}, in("msgq/jobs", 30),
			`{"files":[{"name":"msgq/jobs","ino":30,"pid":111,"command":"sh","mode":"rw","waits":"WRITE","waiter":111,"tid":111,"since":1000000000,"for":[222]},` +
				`{"name":"msgq/jobs:7","ino":30,"pid":222,"command":"my prog","mode":"r","waits":null}],"maps":[],"deadlocks":[]}` + "\n"},
		{whoConfig{json: true}, in("shm/s", 20),
			`{"files":[],"maps":[{"name":"shm/s","ino":20,"pid":111,"command":"sh","perms":"rw-s","bytes":1048576},` +
				`{"name":"shm/s","ino":20,"pid":555,"command":null,"perms":"r--s","bytes":4096}],"deadlocks":[]}` + "\n"},
	} {
		if diff := cmp.Diff(c.want, c.config.who(t, c.of...)); diff != "" {
			t.Errorf("%+v %s:\n%s", c.config, c.of[0].inTree, diff)
		}
	}
}

// A deadlock is told of when one of its objects was asked for, and not otherwise.
func TestWhoDeadlock(t *testing.T) {
	m := fixture(t)
	const files = `ino fh pid command mode wait tid since name
 7 1 123 sh r READ 123 1000000050.5 pipes/a
 7 2 456 sh w - 0 0 pipes/a
 8 3 456 sh r READ 456 1000000060.5 pipes/b
 8 4 123 sh w - 0 0 pipes/b
`
	if err := os.WriteFile(m.Path("proc/files"), []byte(files), 0o644); err != nil {
		t.Fatal(err)
	}
	const line = "deadlock: 123 (sh) waits to read pipes/a, which 456 (sh) holds; 456 (sh) waits to read pipes/b, which 123 (sh) holds\n"
	if got := (&whoConfig{}).who(t, target{m, "pipes/b", 8}); got != lines(
		"PID  COMMAND  MODE  WAITS  TID  SINCE  FOR  NAME",
		"456  sh       r     READ   456   2.4s  123  pipes/b",
		"123  sh       w     -        -      -  -    pipes/b",
	)+line {
		t.Error(got)
	}
	if got := (&whoConfig{noheadings: true}).who(t, target{m, "msgq", 0}); got != "" {
		t.Error(got)
	}
	const want = `{"files":[],"maps":[],"deadlocks":[]}` + "\n"
	if got := (&whoConfig{json: true}).who(t, target{m, "msgq", 0}); got != want {
		t.Error(got)
	}
}

// With more than one mount names are paths.
func TestWhoOfTwoMounts(t *testing.T) {
	a, b := fixture(t), fixture(t)
	if a.Dir > b.Dir {
		a, b = b, a
	}
	got := (&whoConfig{noheadings: true}).who(t, target{b, "msgq/jobs", 30}, target{a, "msgq", 0})
	want := ""
	for _, m := range []string{a.Dir, b.Dir} {
		want += "111  sh       rw  WRITE  111  1m02s  222  " + m + "/msgq/jobs\n222  my prog  r   -        -      -  -    " + m + "/msgq/jobs:7\n"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The column FOR does not grow without end.
func TestWhoManyFor(t *testing.T) {
	u := use{pid: 1, mode: "r", wait: "READ", tid: 1, alive: []int64{2, 3, 4, 5, 6}}
	if got := u.cells(time.Unix(0, 0))[6]; got != "2,3,4,5,6" {
		t.Error(got)
	}
	u.alive = append(u.alive, 7, 8)
	if got := u.cells(time.Unix(0, 0))[6]; got != "2,3,4,5,6,+2" {
		t.Error(got)
	}
}

// What is asked of /proc about this very process.
func TestProcfs(t *testing.T) {
	self := int64(os.Getpid())
	pid, command, ok := procfs{}.of(self)
	if !ok || pid != self || command == "" {
		t.Error(pid, command, ok)
	}
	if n, ok := (procfs{}).threads(self); !ok || n < 1 {
		t.Error(n, ok)
	}
	if _, _, ok := (procfs{}).of(1 << 40); ok {
		t.Error("a process that cannot be")
	}
	if _, ok := (procfs{}).threads(1 << 40); ok {
		t.Error("threads of a process that cannot be")
	}
}
