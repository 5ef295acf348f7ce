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
