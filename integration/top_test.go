package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a terminal of tmux, in which a shell runs a command.
type terminal struct {
	t      testing.TB
	socket string
	env    []string
	stderr string // where the standard error of the command goes
}

// startTerminal runs script in a terminal of a size; "$0" in it is ipcfs, $1 is dir, $2 is where standard error is to go. When it has ended, the terminal says so.
func startTerminal(t testing.TB, columns, rows int, dir, script string, environ ...string) *terminal {
	t.Helper()
	need(t, "tmux")
	tmp := t.TempDir()
	term := &terminal{t: t, socket: fmt.Sprintf("ipcfs-%d", os.Getpid()), stderr: filepath.Join(tmp, "stderr")}
	term.env = append(os.Environ(), "TMUX=", "TMUX_TMPDIR="+tmp, "LC_ALL=C.UTF-8", asCommand+"=1", "GORACE=atexit_sleep_ms=0", "NO_COLOR=")
	term.env = append(term.env, environ...)
	config := filepath.Join(tmp, "tmux.conf")
	if err := os.WriteFile(config, []byte("set -g status off\nset -g default-terminal tmux-256color\nset -g escape-time 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What is in the terminal before is there afterwards; cat takes what is typed then.
	whole := `echo before; ` + script + `; echo "status $?"; stty -a; exec cat`
	t.Cleanup(term.close)
	term.tmux("-f", config, "new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows), "-s", "s",
		"sh", "-c", whole, os.Args[0], dir, term.stderr)
	return term
}

// startTop starts ipcfs top on dir, with a refresh as often as can be, and waits until it is on the screen.
func startTop(t testing.TB, columns, rows int, dir string, environ ...string) *terminal {
	t.Helper()
	term := startTerminal(t, columns, rows, dir, `"$0" top -d 0.1 "$1" 2>"$2"`, environ...)
	term.shows(columns, rows, func(s screen) error { return nil })
	return term
}

// tmux runs a command of tmux.
func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-L", term.socket}, args...)...)
	cmd.Env = term.env
	r := finish(term.t, cmd)
	if r.status != 0 {
		term.t.Fatalf("tmux %q: %s", args, r.err)
	}
	return strings.TrimSuffix(r.out, "\n")
}

// is is what tmux knows of the terminal.
func (term *terminal) is(what string) string {
	term.t.Helper()
	return term.tmux("display-message", "-p", "-t", "s", "#{"+what+"}")
}

// press presses keys, by their names in tmux.
func (term *terminal) press(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys", "-t", "s"}, keys...)...)
}

// close ends the terminal and all that runs in it: it must not use the mount any more when this returns.
func (term *terminal) close() {
	kill := func(args ...string) (string, error) {
		cmd := exec.Command("tmux", append([]string{"-L", term.socket}, args...)...)
		cmd.Env = term.env
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	shell, err := kill("display-message", "-p", "-t", "s", "#{pane_pid}")
	if err != nil {
		return // it was not started
	}
	pids := []string{shell}
	children, _ := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	pids = append(pids, strings.Fields(string(children))...)
	for _, pid := range pids {
		n, _ := strconv.Atoi(pid)
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
	_, _ = kill("kill-server")
	eventually(term.t, func() error {
		for _, pid := range pids {
			if text, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(text), ") Z ") {
				return fmt.Errorf("process %s of the terminal does not end", pid)
			}
		}
		return nil
	})
}

// screen is what a terminal shows: all its lines.
type screen struct {
	lines         []string
	columns, rows int
}

func (s screen) String() string { return strings.Join(s.lines, "\n") }

// look is the screen now.
func (term *terminal) look() screen {
	term.t.Helper()
	var s screen
	if _, err := fmt.Sscanf(term.is("window_width")+" "+term.is("window_height"), "%d %d", &s.columns, &s.rows); err != nil {
		term.t.Fatal(err)
	}
	cmd := exec.Command("tmux", "-u", "-L", term.socket, "capture-pane", "-p", "-t", "s")
	cmd.Env = term.env
	r := finish(term.t, cmd)
	mustRun(term.t, ran{status: r.status, err: r.err})
	s.lines = strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	return s
}

// shows waits until the screen is one of top of this size for which cond holds, and returns it.
func (term *terminal) shows(columns, rows int, cond func(screen) error) screen {
	term.t.Helper()
	var s screen
	eventually(term.t, func() error {
		s = term.look()
		err := s.whole(columns, rows)
		if err == nil {
			err = cond(s)
		}
		if err != nil {
			stderr, _ := os.ReadFile(term.stderr)
			return fmt.Errorf("%w on the screen\n%s\n%s", err, s, stderr)
		}
		return nil
	})
	return s
}

// whole says what is wrong with a screen of top: its first line is the title and its last one tells the keys, so that nothing was wrapped or moved away,
// and what is between is a heading and objects.
func (s screen) whole(columns, rows int) error {
	switch {
	case s.columns != columns || s.rows != rows || len(s.lines) != rows:
		return fmt.Errorf("%d x %d, %d lines, want %d x %d", s.columns, s.rows, len(s.lines), columns, rows)
	case !strings.HasPrefix(s.lines[0], "ipcfs top "):
		return errors.New("no title")
	case !strings.Contains(s.lines[rows-1], "? help") && !strings.HasPrefix(s.lines[rows-1], "/"):
		return errors.New("no last line")
	}
	for _, l := range s.lines {
		if n := len([]rune(l)); n > columns {
			return fmt.Errorf("%d cells in %q", n, l)
		}
	}
	return nil
}

// wordColumns are the columns of the list that hold words, and so begin where their heading does; others end with it.
var wordColumns = []string{"KIND", "NAME", "FILL", "TRAFFIC", "WAITING TO"}

// cell is what stands in a column of a line of the list.
func (s screen) cell(line, column string) string {
	heading := []rune(s.lines[2])
	at := strings.Index(string(heading), column)
	if at < 0 {
		return "no column " + column
	}
	from := len([]rune(string(heading)[:at]))
	to := from + len([]rune(column))
	if to < len(heading) && strings.ContainsRune("▲▼", heading[to]) {
		to++
	}
	text := []rune(line)
	part := func(from, to int) string {
		return strings.TrimSpace(string(text[min(from, len(text)):min(to, len(text))]))
	}
	if !slices.Contains(wordColumns, column) {
		words := strings.Fields(part(0, to))
		return words[len(words)-1]
	}
	next := to // where the next heading begins
	for next < len(heading) && heading[next] == ' ' {
		next++
	}
	if next == len(heading) {
		next = len(text)
	}
	if column == "FILL" { // the next one ends with its heading
		return regexp.MustCompile(`\d+%|-|$`).FindString(part(from, len(text)))
	}
	return part(from, next)
}

// object is the line of an object, "" if it is not there.
func (s screen) object(inTree string) string {
	kind, name, _ := strings.Cut(inTree, "/")
	for _, l := range s.list() {
		if s.cell(l, "KIND") == kind && s.cell(l, "NAME") == name {
			return l
		}
	}
	return ""
}

// list is the lines of the list.
func (s screen) list() (lines []string) {
	for _, l := range s.lines[3 : s.rows-1] {
		if l == "" || strings.HasPrefix(l, "──") || strings.HasPrefix(l, "none of") || l == "no objects" {
			break
		}
		lines = append(lines, l)
	}
	return lines
}

// names are the objects of the list, as pipes/p.
func (s screen) names() (names []string) {
	for _, l := range s.list() {
		names = append(names, s.cell(l, "KIND")+"/"+s.cell(l, "NAME"))
	}
	return names
}

// wantNames says whether the list is of these objects in this order.
func wantNames(names ...string) func(screen) error {
	return func(s screen) error {
		if got := s.names(); !slices.Equal(got, names) {
			return fmt.Errorf("%q, want %q", got, names)
		}
		return nil
	}
}

// has says whether a line matches.
func has(pattern string) func(screen) error {
	re := regexp.MustCompile(pattern)
	return func(s screen) error {
		if !slices.ContainsFunc(s.lines, re.MatchString) {
			return fmt.Errorf("no %s", pattern)
		}
		return nil
	}
}

// ended waits until the command has ended with a status and what it should have written to standard error, and checks that the terminal is as it was.
func (term *terminal) ended(status int, stderr string) {
	term.t.Helper()
	eventually(term.t, func() error {
		if s := term.look().String(); !strings.Contains(s, "status ") || !strings.Contains(s, "-echoprt") {
			return fmt.Errorf("it has not ended:\n%s", s)
		}
		return nil
	})
	s := term.look()
	if s.lines[0] != "before" || s.lines[1] != fmt.Sprintf("status %d", status) || term.is("alternate_on") != "0" || term.is("cursor_flag") != "1" {
		term.t.Errorf("want what was there before, and status %d, and a cursor:\n%s", status, s)
	}
	for _, mode := range []string{"icanon", "isig", "echo", "icrnl", "opost"} {
		if !regexp.MustCompile(`(?m)(^| )` + mode + `( |;|$)`).MatchString(s.String()) {
			term.t.Errorf("the terminal has not %s:\n%s", mode, s)
		}
	}
	text, err := os.ReadFile(term.stderr)
	if err != nil || !regexp.MustCompile(stderr).Match(text) {
		term.t.Errorf("%q on standard error, %v, want %s", text, err, stderr)
	}
	term.press("still here", "Enter")
	eventually(term.t, func() error { // once typed, once from cat
		if s := term.look().String(); strings.Count(s, "still here") != 2 {
			return fmt.Errorf("what is typed is not seen:\n%s", s)
		}
		return nil
	})
}

// startLoad makes objects and lets processes use them: a writer and a reader on a pipe, a queue that is being filled, and some who wait.
func startLoad(t testing.TB, m *mount) {
	t.Helper()
	busy, slow, full := makePipe(t, m.pipes+"/busy"), newQueue(t, m, "filling", false), newQueue(t, m, "full", true)
	alone := makePipe(t, m.pipes+"/alone")
	seg := makePipe(t, m.shm+"/seg")
	if err := os.WriteFile(seg, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"sh", "-c", `while echo hello; do sleep 0.01; done >"$0"`, busy}, {"cat", busy},
		{"sh", "-c", `while echo 'a job of forty bytes, or nearly so......'; do sleep 0.01; done >"$0"`, slow},
		{"dd", "if=/dev/zero", "of=" + full, "bs=1000", "count=1", "status=none"},
		{"cat", alone},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		b := startBlocker(t, cmd, nil)
		t.Cleanup(func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) })
	}
}

// What is on the screen under load is what happens.
func TestTopUnderLoad(t *testing.T) {
	m := newMount(t)
	startLoad(t, m)
	for _, size := range [][2]int{{80, 24}, {200, 50}} {
		columns, rows := size[0], size[1]
		t.Run(fmt.Sprintf("%dx%d", columns, rows), func(t *testing.T) {
			term := startTop(t, columns, rows, m.dir)
			s := term.shows(columns, rows, func(s screen) error {
				if err := wantNames("pipes/alone", "pipes/busy", "shm/seg", "msgq/filling", "msgq/full")(s); err != nil {
					return err
				}
				for inTree, want := range map[string]map[string]string{
					"pipes/alone": {"FILL": "0%", "HELD": "0B", "IN/s": "-", "OUT/s": "-", "WAIT": "1"},
					"pipes/busy":  {"IN/s": `[\d.]+[BK]`, "OUT/s": `[\d.]+[BK]`, "WAIT": `1|-`, "OPEN": "1w"},
					"shm/seg":     {"FILL": "100%", "HELD": "1M", "OPEN": "att", "WAIT": "-"},
					// In time it is full, and then its writer waits.
					"msgq/filling": {"FILL": `[1-9]\d?%`, "IN/s": `[\d.]+[BK]`, "OUT/s": "-", "WAIT": `1|-`},
					"msgq/full":    {"FILL": "100%", "HELD": "16K", "IN/s": "-", "OUT/s": "-", "WAIT": "1"},
				} {
					for column, pattern := range want {
						if got := s.cell(s.object(inTree), column); !regexp.MustCompile("^(" + pattern + ")$").MatchString(got) {
							return fmt.Errorf("%s of %s is %q, want %s", column, inTree, got, pattern)
						}
					}
				}
				return nil
			})
			for _, want := range []string{`^2 pipes  1 shm  2 msgq  in [\d.]+[BK]/s  out [\d.]+[BK]/s  [234] waiting  arena `, ` 1/5$`, `^KIND▲ NAME`} {
				if err := has(want)(s); err != nil {
					t.Errorf("%v:\n%s", err, s)
				}
			}
			if columns == 200 {
				for inTree, what := range map[string]string{"pipes/alone": "1 open|open", "msgq/full": "1 send|send"} {
					if got := s.cell(s.object(inTree), "WAITING TO"); !regexp.MustCompile("^(" + what + ")$").MatchString(got) {
						t.Errorf("%s: waiting to %q, want %s", inTree, got, what)
					}
				}
				if got := s.cell(s.object("pipes/busy"), "WR/s"); !regexp.MustCompile(`^[\d.]+$`).MatchString(got) {
					t.Errorf("%q writes a second:\n%s", got, s)
				}
			}
			term.press("q")
			term.ended(0, "^$")
		})
	}
}

// Objects come and go while it runs, and the selected one stays selected.
func TestTopObjectsComeAndGo(t *testing.T) {
	m := newMount(t)
	term := startTop(t, 80, 24, m.dir)
	shows := func(cond func(screen) error) { t.Helper(); term.shows(80, 24, cond) }
	shows(has("^no objects$"))
	for _, p := range []string{"pipes/b", "pipes/d", "msgq/q"} {
		makePipe(t, filepath.Join(m.dir, p))
	}
	shows(wantNames("pipes/b", "pipes/d", "msgq/q"))
	term.press("Down", "Enter")
	selected := func(name string, place string) func(screen) error {
		return func(s screen) error {
			return errors.Join(has(`^── `+name+` ─`)(s), has(` `+place+`$`)(s), has("nobody has it open")(s))
		}
	}
	shows(selected("pipes/d", "2/3"))
	makePipe(t, m.pipes+"/a")
	makePipe(t, m.pipes+"/c")
	makePipe(t, m.pipes+"/e")
	shows(selected("pipes/d", "4/6"))
	shows(wantNames("pipes/a", "pipes/b", "pipes/c", "pipes/d", "pipes/e", "msgq/q"))
	run(t, "rm", m.pipes+"/a", m.pipes+"/b")
	shows(selected("pipes/d", "2/4"))
	run(t, "mv", m.pipes+"/d", m.pipes+"/z")
	shows(selected("pipes/z", "3/4"))
	run(t, "rm", m.pipes+"/z") // then it is what is in its place
	shows(selected("msgq/q", "3/3"))
	shows(wantNames("pipes/c", "pipes/e", "msgq/q"))
	run(t, "rm", m.pipes+"/c", m.pipes+"/e", m.msgq+"/q")
	shows(has("^no objects$"))
	// More than there is room for.
	for i := range 100 {
		makePipe(t, fmt.Sprintf("%s/p%02d", m.pipes, i))
	}
	term.press("Escape") // alone: with another key at once it would be Alt
	shows(has("^pipes p15 "))
	shows(has(" 1/100$"))
	term.press("End")
	shows(has(" 100/100$"))
	shows(has("^pipes p99 "))
	term.press("NPage", "Home")
	shows(has("^pipes p00 "))
	term.press("C-c")
	term.ended(0, "^$")
}

// All that the keys do.
func TestTopKeys(t *testing.T) {
	m := newMount(t)
	for _, p := range []string{"pipes/one", "pipes/two", "shm/seg", "msgq/jobs", "msgq/other"} {
		makePipe(t, filepath.Join(m.dir, p))
	}
	fill := func(inTree string, n int) { // so that it holds n bytes as long as the test runs
		p := filepath.Join(m.dir, inTree)
		fd := openFd(t, p, unix.O_RDWR|unix.O_NONBLOCK)
		t.Cleanup(func() { _ = unix.Close(fd) })
		if k, err := retryEINTR(func() (int, error) { return unix.Write(fd, make([]byte, n)) }); k != n || err != nil {
			t.Fatalf("%d, %v", k, err)
		}
	}
	fill("pipes/two", 60000)
	fill("msgq/other", 4000)
	waiter := startBlocker(t, exec.Command("cat", m.msgq+"/jobs"), nil)
	waitsAt := func(n int) { queueWaits(t, m.msgq+"/jobs", n, 0) }
	waitsAt(1)

	term := startTop(t, 80, 24, m.dir)
	shows := func(conds ...func(screen) error) {
		t.Helper()
		term.shows(80, 24, func(s screen) error {
			for _, cond := range conds {
				if err := cond(s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	byKind := []string{"pipes/one", "pipes/two", "shm/seg", "msgq/jobs", "msgq/other"}
	shows(wantNames(byKind...), has("^KIND▲ "), has("s sort: kind"))
	// Each order, down and up.
	byName := []string{"msgq/jobs", "pipes/one", "msgq/other", "shm/seg", "pipes/two"}
	byFill := []string{"pipes/two", "msgq/other", "msgq/jobs", "pipes/one", "shm/seg"} // what is equal is by name
	for _, o := range []struct {
		name, heading string
		first         []string
	}{
		{"name", " NAME▲", byName}, {"fill", " FILL▼", byFill}, {"bytes", " HELD▼", byFill},
		{"rate in", " IN/s▼", byName}, {"rate out", " OUT/s▼", byName}, {"waiters", " WAIT▼", append([]string{"msgq/jobs"}, byName[1:]...)}, {"kind", "^KIND▲", byKind},
	} {
		term.press("s")
		shows(has("s sort: "+o.name+" "), has(o.heading), wantNames(o.first...))
	}
	term.press("S")
	shows(has("s sort: waiters "))
	term.press("r")
	shows(has(" WAIT▲"), wantNames("pipes/one", "msgq/other", "shm/seg", "pipes/two", "msgq/jobs"))
	term.press("s", "r")
	shows(has("^KIND▼"), wantNames("msgq/jobs", "msgq/other", "shm/seg", "pipes/one", "pipes/two"))
	term.press("r")
	shows(wantNames(byKind...))

	// Kinds.
	term.press("Tab")
	shows(has("only pipes"), wantNames("pipes/one", "pipes/two"))
	term.press("Tab")
	shows(has("only shm"), wantNames("shm/seg"))
	term.press("BTab")
	shows(has("only pipes"))
	term.press("4")
	shows(has("only msgq"), wantNames("msgq/jobs", "msgq/other"))
	term.press("1")
	shows(wantNames(byKind...))

	// Filters; q is a letter while one is typed.
	term.press("/")
	shows(has("^/ +enter: keep it"))
	term.press("-l", "oq")
	shows(has("^/oq"), has("^none of 5 objects"))
	term.press("BSpace")
	shows(has("^/o "), wantNames("pipes/one", "pipes/two", "msgq/jobs", "msgq/other"))
	term.press("-l", "T")
	term.press("Enter")
	shows(has(`only \*oT\*`), wantNames("msgq/other"))
	term.press("Escape")
	shows(wantNames(byKind...))
	term.press("w")
	shows(has("only waited for"), wantNames("msgq/jobs"))

	// Details: who has it open, and who waits.
	term.press("d")
	cat := strconv.Itoa(waiter.cmd.Process.Pid)
	shows(has("^── msgq/jobs ─"), has("^ *"+cat+` cat +r +READ +\d[\w.]* +`+cat+" +jobs$"), has(`q_receivers 1`), has(`PID COMMAND`))
	second := startBlocker(t, exec.Command("head", "-c1", m.msgq+"/jobs:7"), nil)
	waitsAt(2)
	shows(has("^ *"+strconv.Itoa(second.cmd.Process.Pid)+" head +r +READ .* jobs:7$"), has(`q_receivers 2`))
	_ = second.cmd.Process.Kill()
	second.wait(t)
	waitsAt(1)
	shows(has("q_receivers 1"))
	term.press("w")
	shows(has("^── msgq/jobs ─"), wantNames(byKind...)) // it is still selected
	term.press("Home", "Down")
	shows(has("^── pipes/two ─"), has("bytes 60000"), has(`^ *\d+ \S+ +rw +- +`)) // opened by this test
	term.press("Escape")
	shows(func(s screen) error {
		if has("^──")(s) == nil {
			return errors.New("the details are still there")
		}
		return nil
	})

	// Help, over the list; any key closes it.
	term.press("?")
	shows(has("^q ctrl[+]c +quit"), has("^FILL +slots of a pipe"))
	term.press("x")
	shows(wantNames(byKind...))

	// While it is paused nothing comes.
	term.press("p")
	shows(has("PAUSED"))
	makePipe(t, m.pipes+"/new")
	before := attribute(t, m.pipes+"/two", "bytes")
	term.press("s") // it does what keys say
	shows(has("PAUSED"), has("s sort: name"), wantNames(byName...))
	term.press("S", "Space")
	shows(wantNames("pipes/new", "pipes/one", "pipes/two", "shm/seg", "msgq/jobs", "msgq/other"), func(s screen) error {
		if has("PAUSED")(s) == nil {
			return errors.New("still paused")
		}
		return nil
	})
	if after := attribute(t, m.pipes+"/two", "bytes"); after != before {
		t.Errorf("looking has changed the pipe: %d bytes, then %d", before, after)
	}
	term.press("+", "-", "+")
	shows(has("every 200ms"))
	term.press("-", "-", "-")
	shows(has("every 100ms"))
	term.press("q")
	term.ended(0, "^$")
}

// The screen follows the size of the terminal.
func TestTopResize(t *testing.T) {
	m := newMount(t)
	startLoad(t, m)
	term := startTop(t, 80, 24, m.dir)
	for _, size := range [][2]int{{200, 50}, {80, 24}, {132, 30}, {50, 10}, {400, 100}, {80, 24}} {
		columns, rows := size[0], size[1]
		term.tmux("resize-window", "-t", "s", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows))
		term.shows(columns, rows, func(s screen) error {
			if got := len(s.names()); got != 5 {
				return fmt.Errorf("%d objects", got)
			}
			for column, at := range map[string]int{"KIND": 50, "NAME": 50, "WAIT": 50, "OUT/s": 80, "WAITING TO": 200} {
				if strings.Contains(s.lines[2], column) != (columns >= at) && (column != "WAITING TO" || columns != 132) && (column != "OUT/s" || columns != 50) {
					return fmt.Errorf("column %s in %q", column, s.lines[2])
				}
			}
			return nil
		})
	}
	// There is nothing to see on very few cells, but it goes on.
	term.tmux("resize-window", "-t", "s", "-x", "3", "-y", "2")
	eventually(t, func() error {
		if s := term.look(); s.columns != 3 || s.rows != 2 || s.lines[0] != "al…" {
			return fmt.Errorf("%d x %d:\n%s", s.columns, s.rows, s)
		}
		return nil
	})
	term.tmux("resize-window", "-t", "s", "-x", "80", "-y", "24")
	term.shows(80, 24, func(s screen) error { return nil })
	term.press("q")
	term.ended(0, "^$")
}

// colourEscape is an escape sequence that sets a colour.
var colourEscape = regexp.MustCompile(`\x1b\[([\d;:]*[;:])?(3[0-8]|4[0-8]|9[0-7]|10[0-7])([;:][\d;:]*)?m`)

// There are colours, but not if NO_COLOR is any text.
func TestTopColours(t *testing.T) {
	m := newMount(t)
	startLoad(t, m)
	for _, c := range []struct {
		value   string
		colours bool
	}{{"", true}, {"1", false}, {"please", false}, {"0", false}} {
		t.Run("NO_COLOR="+c.value, func(t *testing.T) {
			term := startTop(t, 80, 24, m.dir, "NO_COLOR="+c.value)
			term.shows(80, 24, has(`waiting`))
			text := term.tmux("capture-pane", "-p", "-e", "-t", "s")
			if colourEscape.MatchString(text) != c.colours {
				t.Errorf("colours: %v, want %v:\n%q", !c.colours, c.colours, text)
			}
			if !strings.Contains(text, "\x1b[1") { // what is bold is not a colour
				t.Errorf("nothing is bold: %q", text)
			}
			term.press("q")
			term.ended(0, "^$")
		})
	}
}

// Without a terminal it is an error, and with one that can do nothing too.
func TestTopNeedsATerminal(t *testing.T) {
	m := newMount(t)
	cmd := command("top", m.dir)
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	if r := finish(t, cmd); r.wantError(1, "standard input is not a terminal", "ipcfs ls") != nil || r.out != "" {
		t.Errorf("%v, %q", r.wantError(1, "standard input is not a terminal", "ipcfs ls"), r.out)
	}
	for script, say := range map[string]string{
		`"$0" top "$1" 2>"$2" </dev/null`: "standard input is not a terminal",
		`"$0" top "$1" 2>"$2" >/dev/null`: "standard output is not a terminal",
		`TERM=dumb "$0" top "$1" 2>"$2"`:  `TERM is "dumb"`,
		`"$0" top "$1/proc" 2>"$2"`:       "is in proc",
		`"$0" top "$1/pipes/no" 2>"$2"`:   "does not exist",
		`"$0" top "${1%/*}" 2>"$2"`:       "not in a mount of ipcfs",
	} {
		startTerminal(t, 80, 24, m.dir, script).ended(1, `^ipcfs top: [^\n]*`+say+`[^\n]*\n$`)
	}
}

// When the mount goes away, it says so and ends, and the terminal is as it was.
func TestTopMountGoesAway(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *site){
		"umount -l": func(t *testing.T, s *site) {
			if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		},
		"ipcfs umount": func(t *testing.T, s *site) {
			eventually(t, func() error { return s.run(t, "umount", s.dir).errorUnless(0) }) // while it reads, it is busy
		},
		"kill -9": func(t *testing.T, s *site) {
			if err := unix.Kill(s.daemon(t), unix.SIGKILL); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, pane := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, details=%v", name, pane), func(t *testing.T) {
				s := newSite(t)
				s.mount(t)
				makePipe(t, filepath.Join(s.dir, "pipes/p"))
				term := startTop(t, 80, 24, s.dir)
				term.shows(80, 24, wantNames("pipes/p"))
				if pane {
					term.press("Enter")
					term.shows(80, 24, has("nobody has it open"))
				}
				end(t, s)
				term.ended(1, `^ipcfs top: `+regexp.QuoteMeta(s.dir)+`: the mount is gone[^\n]*\n$`)
			})
		}
	}
}
