package integration

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shmWorlds are what can stand in for /dev/shm: the kernel's own, which says what is right, and DIR/shm of a mount in both of the ways in which it
// can be served. Each makes a directory for the test.
var shmWorlds = []struct {
	name string
	dir  func(t *testing.T) string
}{
	{"tmpfs", newTmpfs},
	{"passthrough", func(t *testing.T) string {
		if f := diagnose(t, finish(t, command("doctor")))["passthrough"]; !f.ok {
			skip(t, "no passthrough: %s", f.text)
		}
		return newMount(t, "--passthrough=on").shm
	}},
	{"cache", func(t *testing.T) string { return newMount(t, "--passthrough=off").shm }},
}

// inShmWorlds runs a test once in each world.
func inShmWorlds(t *testing.T, test func(t *testing.T, dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can make a mount namespace")
	}
	need(t, "unshare", "mount", "sh")
	for _, w := range shmWorlds {
		t.Run(w.name, func(t *testing.T) {
			test(t, w.dir(t))
		})
	}
}

// newTmpfs mounts a tmpfs for the test.
func newTmpfs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(publicDir(t), "tmpfs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		skip(t, "no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("the tmpfs is in use: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// shmProgram is a run of a program that knows nothing of us: for it, /dev/shm is the directory of the world. When it says "look" on a line of its own,
// the test looks at the directory from outside of its namespace, writes what is there into the output and a line to the program's stdin; the program
// waits for that line. "look NUMBER PATTERN" only asks for that many files, where nobody can know their names or sizes.
type shmProgram struct {
	run     []string
	want    string        // its stdout, in every world
	limit   time.Duration // how long it may take; allowance if 0
	unshare []string      // what it has of its own beside the mount namespace, as flags of unshare(1)
	except  string        // why ipcfs is not held to it, if it is not: it is run on a tmpfs only
}

// title is the program without the paths.
func (p shmProgram) title() string {
	var words []string
	for _, arg := range p.run {
		words = append(words, filepath.Base(arg))
	}
	return strings.Join(words, " ")
}

// check runs the program with dir as its /dev/shm, in which it must leave nothing. Whatever it starts is in its process group, and ends with it.
func (p shmProgram) check(t *testing.T, dir string) {
	t.Helper()
	defer clearShm(t, dir)
	limit := cmp.Or(p.limit, allowance)
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	args := slices.Concat([]string{"--mount", "--propagation", "private"}, p.unshare, []string{"sh", "-c", `mount --bind "$0" /dev/shm && exec "$@"`, dir}, p.run)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	var stderr bytes.Buffer
	out := &dialogue{dir: dir}
	var err error
	if out.answer, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = patience
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v (%w)", limit, err)
	}
	if got := out.String(); err != nil || got != p.want {
		t.Errorf("%s: %v\n%s\n%s", strings.Join(p.run, " "), err, differences(got, p.want), stderr.String())
	}
	if cmd.Process == nil {
		return
	}
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()
	if err != nil { // nobody ends the others
		return
	}
	// Helpers of a program, as the resource tracker of Python's, end soon after it by themselves.
	eventually(t, func() error {
		if left := inGroup(cmd.Process.Pid); len(left) > 0 {
			return fmt.Errorf("the program left processes behind: %q", left)
		}
		return nil
	})
}

// clearShm fails the test if a program left something in the directory, and removes it, as it is not the next program's fault.
func clearShm(t *testing.T, dir string) {
	t.Helper()
	left := listing(dir)
	if left == nothing {
		return
	}
	t.Errorf("left in the directory:\n%s", left)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if err := os.RemoveAll(f); err != nil {
			t.Error(err)
		}
	}
}

// inGroup are the processes of a process group, but for those that are dead and wait for their new parent, which may be in no hurry.
func inGroup(group int) []string {
	var left []string
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		// PID (NAME) STATE PARENT GROUP; anything can be in the name.
		end := bytes.LastIndexByte(text, ')') + 1
		if fields := strings.Fields(string(text[end:])); len(fields) > 2 && fields[0] != "Z" && fields[2] == strconv.Itoa(group) {
			left = append(left, string(text[:end]))
		}
	}
	return left
}

// dialogue is the stdout of a program, in which its questions are replaced by their answers.
type dialogue struct {
	dir    string
	answer io.Writer // the program's stdin
	rest   []byte    // the line that is not complete
	text   strings.Builder
}

// Write takes what the program said.
func (d *dialogue) Write(b []byte) (int, error) {
	d.rest = append(d.rest, b...)
	for {
		line, rest, complete := bytes.Cut(d.rest, []byte("\n"))
		if !complete {
			return len(b), nil
		}
		switch words := strings.Fields(string(line)); {
		case string(line) == "look":
			d.text.WriteString(listing(d.dir))
		case len(words) == 3 && words[0] == "look":
			number, _ := strconv.Atoi(words[1])
			files, err := filepath.Glob(filepath.Join(d.dir, words[2]))
			if len(files) < number || err != nil {
				fmt.Fprintf(&d.text, "outside: %d files %s, not %d (%v)\n", len(files), words[2], number, err)
			} else {
				fmt.Fprintf(&d.text, "outside: %s\n", words[2])
			}
		default:
			fmt.Fprintf(&d.text, "%s\n", line)
			d.rest = rest
			continue
		}
		d.rest = rest
		// If nobody reads it the program is gone, which shows in what it does not say any more.
		_, _ = d.answer.Write([]byte("\n"))
	}
}

func (d *dialogue) String() string { return d.text.String() + string(d.rest) }

// nothing is the listing of an empty directory.
const nothing = "outside: nothing\n"

// random matches the names that Python makes up.
var random = regexp.MustCompile(`(psm_|sem\.mp-)[0-9a-z_]+`)

// listing is what is in a directory, a line each: mode, links, size, name, and the text with which a regular file begins.
func listing(dir string) string {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Sprintf("outside: %v\n", err)
	}
	if len(files) == 0 {
		return nothing
	}
	var lines []string
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			lines = append(lines, fmt.Sprintf("outside: %v\n", err))
			continue
		}
		links := st.Sys().(*syscall.Stat_t).Nlink
		name := random.ReplaceAllString(f.Name(), "$1*")
		switch {
		case st.Mode().IsRegular():
			lines = append(lines, fmt.Sprintf("outside: %v %d %d %s %s\n", st.Mode(), links, st.Size(), name, firstText(filepath.Join(dir, f.Name()))))
		case st.IsDir():
			lines = append(lines, fmt.Sprintf("outside: %v %s\n", st.Mode(), name))
		default:
			lines = append(lines, fmt.Sprintf("outside: %v %d %s\n", st.Mode(), links, name))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// firstText is the text in the first bytes of a file, quoted, or why it cannot be read.
func firstText(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b := make([]byte, 16)
	n, err := io.ReadFull(f, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err.Error()
	}
	text, _, _ := strings.Cut(string(b[:n]), "\x00")
	return strconv.Quote(text)
}

// runShmPrograms runs programs in all worlds.
func runShmPrograms(t *testing.T, programs []shmProgram) {
	t.Helper()
	inShmWorlds(t, func(t *testing.T, dir string) {
		for _, p := range programs {
			t.Run(p.title(), func(t *testing.T) {
				if p.except != "" && !strings.HasSuffix(dir, "/tmpfs") {
					t.Log("not run: ", p.except)
					return
				}
				p.check(t, dir)
			})
		}
	})
}

func TestShmPython(t *testing.T) {
	need(t, "python3")
	python := func(scenario ...string) []string {
		return append([]string{"python3", "-B", filepath.Join(sources(t), "python", "shm_multiprocessing.py")}, scenario...)
	}
	runShmPrograms(t, []shmProgram{
		{run: python("shared_memory"), want: `block 100000
outside: -rw------- 1 100000 block "hello"
fork 100000 b'hello'
fork b'again' b'other'
spawn 100000 b'hello'
spawn b'again' b'other'
forkserver 100000 b'hello'
forkserver b'again' b'other'
a program: 100000 b'hello'
a program: b'again' b'other'
it ended with 0
outside: -rw------- 1 100000 block "hellootheragain"
File exists
outside: nothing
No such file or directory
after unlink: b'hellootheragain'
`},
		{run: python("nameless"), want: `outside: -rw------- 1 4096 psm_* "text"
b'text'
b'term'
`},
		{run: python("shareable_list"), want: `outside: list
[2001, 2.5, 'changed', b'bytes', True, None] 1 2
`},
		{run: python("manager"), want: `24995206 45
outside: psm_*
[]
`},
		{run: python("primitives", "fork"), want: `outside: nothing
values are in /dev/shm: True
[(0, True), (1, True), (2, True), (3, True)]
2000 0
True
False
False
True True False
`},
		{run: python("primitives", "spawn"), want: `outside: -rw------- 1 32 sem.mp-* "\x01"
outside: -rw------- 1 32 sem.mp-* "\x02"
values are in /dev/shm: True
[(0, True), (1, True), (2, True), (3, True)]
2000 0
True
False
False
True True False
`},
		{run: python("conditions", "fork"), want: `True
False False
5051
`},
		{run: python("conditions", "forkserver"), want: `True
False False
5051
`},
		{run: python("pool", "fork"), want: `332833500 328350 144
ValueError no
False True
outside: pool
`},
		{run: python("pool", "spawn"), want: `332833500 328350 144
ValueError no
False True
outside: pool
`},
	})
}
