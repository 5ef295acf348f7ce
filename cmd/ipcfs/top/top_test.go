package top

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"ipcfs/cmd/ipcfs/inspect"
)

var update = flag.Bool("update", false, "write the screens in testdata anew, to be looked at by a person")

// noon is when the tests begin.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// tables are the files of proc of a mount that does not exist.
type tables map[string]string

// Headers of the tables.
const (
	pipesHeader = "ino perms uid gid cuid cgid readers writers bytes used slots opens reads writes syscr rchar syscw wchar name\n"
	shmHeader   = "ino perms uid gid cuid cgid shm_segsz shm_nattch shm_cprid shm_lprid shm_atime shm_dtime shm_ctime rss syscr rchar syscw wchar name\n"
	msgqHeader  = "ino perms uid gid cuid cgid q_cbytes q_qnum q_qbytes q_lspid q_lrpid q_stime q_rtime q_ctime q_receivers q_senders syscr rchar syscw wchar name\n"
	filesHeader = "ino fh pid command mode wait tid since name\n"
	mapsHeader  = "ino pid command perms bytes name\n"
)

// newTables is a mount with these rows in its tables.
func newTables(pipes, shm, msgq string) tables {
	return tables{
		"pipes": pipesHeader + pipes, "shm": shmHeader + shm, "msgq": msgqHeader + msgq, "files": filesHeader, "maps": mapsHeader,
		"metrics": "# TYPE ipcfs_arena_used_bytes gauge\nipcfs_arena_used_bytes 1.2582912e+07\nipcfs_arena_limit_bytes 6.7108864e+07\n",
	}
}

// mount writes the tables into a directory that can be read as a mount.
func (f tables) mount(t *testing.T) inspect.Mount {
	t.Helper()
	m := inspect.Mount{Dir: t.TempDir()}
	if err := os.Mkdir(m.Path("proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range f {
		if err := os.WriteFile(m.Path("proc/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// sample reads the tables as if it were so many seconds after noon.
func (f tables) sample(t *testing.T, seconds int) *sample {
	t.Helper()
	msg := read(f.mount(t), wanted{}, noon.Add(time.Duration(seconds)*time.Second))
	if msg.err != nil {
		t.Fatal(msg.err)
	}
	return msg.sample
}

// busy is a mount where something is going on, as it was so many seconds after noon.
func busy(second int64) tables {
	epoch := noon.Unix()
	f := newTables(
		fmt.Sprintf("11 644 0 0 0 0 1 1 49152 12 16 0 1 0 %d %d %d %d pipes/p\n", 10*second, 40960*second, 10*second, 40960*second)+
			fmt.Sprintf("12 644 0 0 0 0 0 1 65536 16 16 0 0 2 0 0 %d %d pipes/log\\040files/a\\012b\n", 1500*second, 12<<20*second)+
			"13 600 0 0 0 0 0 0 0 0 16 1 0 0 0 0 0 0 pipes/中文\n"+
			"14 600 0 0 0 0 1 0 1 1 256 0 0 0 0 0 1 1 pipes/old\\040(deleted)\n",
		fmt.Sprintf("21 600 0 0 0 0 1048576 2 4711 4712 %d 0 %d 262144 %d %d 3 300 shm/frame\n", epoch-5, epoch-86400*3, second*second, second*second*100)+
			fmt.Sprintf("22 600 0 0 0 0 0 0 4711 0 0 0 %d 0 0 0 0 0 shm/empty\n", epoch-3600),
		fmt.Sprintf("31 666 1000 1000 0 0 8192 100 16384 4711 4712 %d %d %d 0 0 %d %d %d %d msgq/jobs\n", epoch, epoch, epoch-60, second, 10*second, 2*second, 20*second)+
			fmt.Sprintf("32 666 1000 1000 0 0 0 0 16384 0 0 0 0 %d 3 0 0 0 0 0 msgq/sub/directory/with/a/rather/long/name/of/a/queue\n", epoch-60),
	)
	f["files"] += fmt.Sprintf(`12 1 4711 my\040writer w - 0 0 pipes/log\040files/a\012b
12 2 4712 dd w WRITE 4713 %d.25 pipes/log\040files/a\012b
12 2 4712 dd w WRITE 4714 %d.5 pipes/log\040files/a\012b
21 4 4711 camera rw - 0 0 shm/frame
21 5 4712 - r - 0 0 shm/frame
32 6 4720 worker r READ 4720 %d.0 msgq/sub/directory/with/a/rather/long/name/of/a/queue:7
`, epoch-60, epoch-3, epoch-1)
	f["maps"] += "21 4711 camera rw-s 1048576 shm/frame\n21 4712 view\\033er r--s 4096 shm/frame\n"
	return f
}

// newTestModel is the model of a busy mount after some refreshes, on a screen of a size. It reads the last of them.
func newTestModel(t *testing.T, width, height int) *model {
	t.Helper()
	const last = 12
	end := busy(last).mount(t)
	m := newModel("/run/ipc", Options{Interval: time.Second}, func(want wanted) readMsg { return read(end, want, noon.Add(last*time.Second)) })
	for second := range int64(last + 1) {
		m.Update(readMsg{sample: busy(second).sample(t, int(second))})
	}
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m
}

// press presses keys one after the other, and takes at once what they had read. It returns the last command of another kind.
func press(m *model, keys ...string) (cmd tea.Cmd) {
	for _, k := range keys {
		if _, cmd = m.Update(keyPress(k)); m.reading {
			_, cmd = m.Update(cmd())
		}
	}
	return cmd
}

// keyPress is a key as bubbletea tells of it.
func keyPress(key string) tea.KeyPressMsg {
	codes := map[string]rune{
		"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd,
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "backspace": tea.KeyBackspace,
	}
	if c, ok := codes[key]; ok {
		return tea.KeyPressMsg{Code: c}
	}
	if c, ok := strings.CutPrefix(key, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(c[0]), Mod: tea.ModCtrl}
	}
	if key == "shift+tab" {
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	}
	return tea.KeyPressMsg{Code: []rune(key)[0], Text: key}
}

var styleSequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// text is the screen without styles, and without blanks at the ends of lines.
func text(m *model) string {
	lines := strings.Split(styleSequence.ReplaceAllString(m.View().Content, ""), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// names are the names in the list, in order.
func names(m *model) (list []string) {
	for _, o := range m.list.objects {
		list = append(list, o.name)
	}
	return list
}

// Whole screens, as they are kept in testdata.
func TestScreens(t *testing.T) {
	for name, c := range map[string]struct {
		width, height int
		keys          []string
	}{
		"list-80x24":      {80, 24, nil},
		"list-200x50":     {200, 50, []string{"s", "s", "s", "s"}},
		"list-40x12":      {40, 12, []string{"end"}},
		"pipe-80x24":      {80, 24, []string{"down", "enter"}},
		"segment-120x30":  {120, 30, []string{"/", "f", "r", "a", "enter", "d"}},
		"queue-200x50":    {200, 50, []string{"end", "d", "w"}},
		"help-80x24":      {80, 24, []string{"?"}},
		"typing-80x24":    {80, 24, []string{"tab", "p", "/", "o", "L"}},
		"nothing-80x24":   {80, 24, []string{"w", "2", "/", "中", "文", "x", "enter", "enter"}},
		"scrolled-100x16": {100, 16, []string{"down", "down", "enter", "J", "J", "J", "J", "J", "J", "K"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTestModel(t, c.width, c.height)
			press(m, c.keys...)
			got, file := text(m), filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("the screen is not that of %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// On a screen of any size no line is wider than it, and there are not more of them, whatever is open.
func TestAnySizeOfScreen(t *testing.T) {
	states := map[string][]string{
		"list": nil, "end": {"end"}, "details": {"down", "enter"}, "map details": {"down", "down", "down", "down", "d", "J", "J"},
		"help": {"?"}, "typing": {"/", "中", "o"}, "empty": {"/", "x", "y"}, "notes": {"w", "p", "1", "2", "r"},
	}
	for name, keys := range states {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestModel(t, 80, 24)
			press(m, keys...)
			m.late = name == "notes"
			if name == "end" {
				m.failed = "/run/ipc/proc/pipes: something that takes a rather long line to tell of: " + strings.Repeat("x", 200)
			}
			for width := 0; width < 210; width += 1 + width/10 {
				for height := 0; height < 60; height += 1 + height/10*10 {
					m.Update(tea.WindowSizeMsg{Width: width, Height: height})
					checkSize(t, m)
				}
			}
		})
	}
}

// checkSize checks that the screen has not more lines than it may have, and none that is too wide.
func checkSize(t *testing.T, m *model) {
	t.Helper()
	screen := m.View().Content
	if screen == "" {
		return
	}
	lines := strings.Split(screen, "\n")
	if len(lines) > m.height {
		t.Fatalf("%dx%d: %d lines", m.width, m.height, len(lines))
	}
	for _, l := range lines {
		if w := cells(styleSequence.ReplaceAllString(l, "")); w > m.width {
			t.Fatalf("%dx%d: a line of %d: %s", m.width, m.height, w, l)
		}
	}
}

// What the mount says goes into the model, and what it says of its end is the error of the program.
func TestRunUntilTheMountIsGone(t *testing.T) {
	mount := busy(1).mount(t)
	readings := 0
	state := newModel(mount.Dir, Options{Interval: time.Millisecond}, func(want wanted) readMsg {
		if readings++; readings == 3 {
			if err := os.RemoveAll(mount.Dir); err != nil {
				t.Error(err)
			}
		}
		return read(mount, want, noon.Add(time.Duration(readings)*time.Second))
	})
	err := run(state, tea.WithInput(nil), tea.WithOutput(new(bytes.Buffer)), tea.WithWindowSize(80, 24))
	if !errors.Is(err, inspect.ErrGone) || !strings.HasPrefix(err.Error(), mount.Dir+": the mount is gone; ") || readings != 3 {
		t.Errorf("%v, after %d readings", err, readings)
	}
	if got := len(state.sample.objects); got != 8 {
		t.Errorf("%d objects", got)
	}
}

// There are colours, and with NO_COLOR none, whatever its text is; what is selected is still to be seen.
func TestNoColour(t *testing.T) {
	colour := regexp.MustCompile("\x1b\\[([0-9;]*;)?(3[0-9]|4[0-9]|9[0-9]|10[0-9])(;[0-9;]*)?m")
	for _, c := range []struct {
		set  string
		want bool
	}{{"", true}, {"NO_COLOR=", true}, {"NO_COLOR=1", false}, {"NO_COLOR=yes", false}, {"NO_COLOR=0", false}} {
		var out bytes.Buffer
		state := newTestModel(t, 80, 24)
		environ := []string{"TERM=xterm-256color", "COLORTERM=truecolor", "CLICOLOR_FORCE=1", "TTY_FORCE=1", c.set}
		quit := strings.NewReader("q")
		if err := run(state, tea.WithInput(quit), tea.WithOutput(&out), tea.WithWindowSize(80, 24), tea.WithEnvironment(colours(environ))); err != nil {
			t.Fatal(err)
		}
		if got := colour.Match(out.Bytes()); got != c.want {
			t.Errorf("%q: colours: %v", c.set, got)
		}
		if !bytes.Contains(out.Bytes(), []byte("\x1b[1;7m")) {
			t.Errorf("%q: nothing is in reverse", c.set)
		}
	}
	if environ := []string{"A=1"}; !slices.Equal(colours(environ), environ) {
		t.Errorf("%q", colours(environ))
	}
}
