package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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
					"msgq/filling": {"FILL": `[1-9]\d*%`, "IN/s": `[\d.]+[BK]|-`, "OUT/s": "-", "WAIT": `1|-`},
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
