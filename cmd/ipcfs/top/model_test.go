package top

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// Each order puts what it is about first, and r turns it round; what is equal is in the order of names.
func TestOrders(t *testing.T) {
	m := newTestModel(t, 200, 50)
	const (
		log, pipe, chinese, old = `log files/a\012b`, "p", "中文", "old (deleted)"
		frame, empty            = "frame", "empty"
		jobs, sub               = "jobs", "sub/directory/with/a/rather/long/name/of/a/queue"
	)
	for _, c := range []struct {
		order order
		want  []string
	}{
		{byKind, []string{log, old, pipe, chinese, empty, frame, jobs, sub}},
		{byName, []string{empty, frame, jobs, log, old, pipe, sub, chinese}},
		{byFill, []string{log, pipe, jobs, frame, old, empty, sub, chinese}},
		{byBytes, []string{frame, log, pipe, jobs, old, empty, sub, chinese}},
		{byIn, []string{log, pipe, jobs, empty, frame, old, sub, chinese}},
		{byOut, []string{pipe, frame, jobs, empty, log, old, sub, chinese}},
		{byWaiters, []string{sub, log, pipe, chinese, empty, frame, jobs, old}},
	} {
		if got := names(m); m.choice.order != c.order || !slices.Equal(got, c.want) {
			t.Errorf("by %v, not %v: %q", m.choice.order, c.order, got)
		}
		press(m, "r")
		if got := names(m)[0]; c.order == byIn && got != empty || c.order == byName && got != chinese {
			t.Errorf("by %v reversed: %q", c.order, got)
		}
		press(m, "s")
	}
	if press(m, "S"); m.choice.order != byWaiters || m.choice.reversed {
		t.Errorf("%v", m.choice)
	}
}

// What is chosen by kind, by waiters and by a part of the name, and how that ends.
func TestChoice(t *testing.T) {
	m := newTestModel(t, 80, 24)
	for _, c := range []struct {
		keys []string
		want int
	}{
		{nil, 8},
		{[]string{"tab"}, 4},
		{[]string{"tab"}, 2},
		{[]string{"w"}, 0},
		{[]string{"4"}, 1},
		{[]string{"1"}, 4},
		{[]string{"w", "shift+tab"}, 2},
		{[]string{"3", "/", "F"}, 1},
		{[]string{"x"}, 0},
		{[]string{"backspace", "R", "enter"}, 1},
		{[]string{"1"}, 1},
		{[]string{"esc"}, 8},
		{[]string{"/", "q", "u", "e", "u", "e"}, 1},
		{[]string{"ctrl+u"}, 8},
		{[]string{"中", "backspace", "backspace", "o"}, 4},
		{[]string{"esc"}, 8},
		{[]string{"s"}, 8},
	} {
		press(m, c.keys...)
		if got := len(m.list.objects); got != c.want {
			t.Errorf("%q: %d", c.keys, got)
		}
	}
	press(m, "/")
	m.Update(tea.PasteMsg{Content: "a\nb"})
	if got := names(m); len(got) != 1 || got[0] != `log files/a\012b` {
		t.Errorf("pasted: %q", got)
	}
	if m := newModel("/d", Options{Kind: "shm", Filter: "x\n"}, nil); m.choice.kind != "shm" || m.choice.filter != `x\012` {
		t.Errorf("%+v", m.choice)
	}
}

// objectsNamed is a mount of empty pipes; the number of each inode is its name's.
func objectsNamed(t *testing.T, seconds int, numbers ...int) *sample {
	t.Helper()
	var rows strings.Builder
	for _, n := range numbers {
		fmt.Fprintf(&rows, "%d 600 0 0 0 0 1 1 0 0 16 0 0 0 0 0 0 0 pipes/%03d\n", n, n)
	}
	return newTables(rows.String(), "", "").sample(t, seconds)
}

// The selected object stays selected and on the screen while others come and go. When it goes, the one that takes its place is selected.
func TestSelectionStays(t *testing.T) {
	m := newModel("/m", Options{Interval: time.Second}, nil)
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 8}) // four objects
	look := func(sample *sample, wantNumber, wantTop int) {
		t.Helper()
		m.Update(readMsg{sample: sample})
		number := int64(0)
		if o := m.list.selected(); o != nil {
			number = o.ino
		}
		if number != int64(wantNumber) || m.list.top != wantTop {
			t.Errorf("selected is %d, the first is at %d; not %d and %d", number, m.list.top, wantNumber, wantTop)
		}
	}
	look(objectsNamed(t, 0), 0, 0)
	look(objectsNamed(t, 1, 10, 20, 30, 40, 50, 60, 70, 80), 10, 0)
	press(m, "down", "j", "j", "j", "k", "down")
	look(objectsNamed(t, 2, 10, 20, 30, 40, 50, 60, 70, 80), 50, 1)
	look(objectsNamed(t, 3, 1, 2, 3, 10, 20, 30, 40, 50, 60, 70, 80), 50, 4)
	look(objectsNamed(t, 4, 50, 60, 70, 80), 50, 0)
	look(objectsNamed(t, 5, 10, 20, 50, 60, 70, 80), 50, 0)
	look(objectsNamed(t, 6, 10, 20, 60, 70, 80), 60, 0)
	press(m, "end")
	look(objectsNamed(t, 7, 10, 20, 60, 70, 80), 80, 1)
	look(objectsNamed(t, 8, 10, 20), 20, 0)
	look(objectsNamed(t, 9), 0, 0)
	look(objectsNamed(t, 10, 5, 6), 5, 0)
	press(m, "r")
	look(objectsNamed(t, 11, 5, 6, 7), 5, 0)
}

// The keys move by one, by a screen and to the ends, and never out of the list.
func TestMoving(t *testing.T) {
	m := newModel("/m", Options{Interval: time.Second}, nil)
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 14}) // ten objects
	press(m, "up", "down", "pgup", "pgdown", "home", "end")
	numbers := make([]int, 35)
	for i := range numbers {
		numbers[i] = i + 1
	}
	m.Update(readMsg{sample: objectsNamed(t, 0, numbers...)})
	for _, c := range []struct {
		key         string
		cursor, top int
	}{
		{"up", 0, 0}, {"down", 1, 0}, {"pgdown", 11, 2}, {"pgdown", 21, 12}, {"pgdown", 31, 22}, {"pgdown", 34, 25},
		{"down", 34, 25}, {"up", 33, 25}, {"pgup", 23, 23}, {"home", 0, 0}, {"end", 34, 25}, {"pgup", 24, 24}, {"g", 0, 0}, {"G", 34, 25},
	} {
		if press(m, c.key); m.list.cursor != c.cursor || m.list.top != c.top {
			t.Errorf("%s: %d, the first is %d", c.key, m.list.cursor, m.list.top)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 5}) // two
	if m.list.cursor != 34 || m.list.top != 33 {
		t.Errorf("%d, the first is %d", m.list.cursor, m.list.top)
	}
}

// When the mount is gone the program ends and says so; another error is shown until a reading succeeds.
func TestErrors(t *testing.T) {
	m := newTestModel(t, 80, 24)
	cmd := m.handle(readMsg{err: errors.New("/m/proc/shm: too many\x1b open files")})
	if cmd != nil || !strings.Contains(text(m), `/m/proc/shm: too many\033 open files`) || len(m.list.objects) != 8 {
		t.Errorf("%q", text(m))
	}
	if m.Update(readMsg{sample: busy(13).sample(t, 13)}); strings.Contains(text(m), "too many") {
		t.Errorf("%q", text(m))
	}
	_, cmd = m.Update(readMsg{err: fmt.Errorf("/m: %w", inspect.ErrGone)})
	if cmd == nil || cmd() != (tea.QuitMsg{}) || !errors.Is(m.gone, inspect.ErrGone) {
		t.Errorf("%v", m.gone)
	}
}

// A clock begins a reading, but not while there is one, nor in a pause, nor if it is not the clock that counts any more.
func TestClock(t *testing.T) {
	m := newTestModel(t, 80, 24)
	m.Update(tickMsg{m.clock})
	if !m.reading || m.late {
		t.Error("no reading has begun")
	}
	m.Update(tickMsg{m.clock})
	if !m.late || !strings.Contains(text(m), "no answer") {
		t.Error("nobody says that the mount does not answer")
	}
	if m.Update(readMsg{sample: busy(13).sample(t, 13)}); m.late || m.reading {
		t.Error("the answer was not taken")
	}
	m.Update(keyPress("+"))
	if m.interval != 2*time.Second || m.handle(tickMsg{m.clock - 1}) != nil || m.reading {
		t.Errorf("%v: an old clock goes on", m.interval)
	}
	m.Update(keyPress("p"))
	if m.Update(tickMsg{m.clock}); m.reading || !strings.Contains(text(m), "PAUSED") {
		t.Error("a reading in a pause")
	}
	if m.Update(keyPress(" ")); !m.reading {
		t.Error("it does not go on")
	}
	for range 20 {
		m.Update(keyPress("-"))
	}
	if m.interval != MinInterval {
		t.Errorf("%v", m.interval)
	}
	for range 20 {
		m.Update(keyPress("+"))
	}
	if m.interval != time.Minute {
		t.Errorf("%v", m.interval)
	}
	m.interval = 3 * time.Second // from the command line
	if m.Update(keyPress("+")); m.interval != 5*time.Second {
		t.Errorf("%v", m.interval)
	}
	m.interval = 3 * time.Second
	if m.Update(keyPress("-")); m.interval != 2*time.Second {
		t.Errorf("%v", m.interval)
	}
}

// Who uses the objects is read only while that is shown, and who maps them only for a segment.
func TestDetailsAreReadWhileShown(t *testing.T) {
	var asked []wanted
	m := newTestModel(t, 80, 24)
	real := m.read
	m.read = func(w wanted) readMsg {
		asked = append(asked, w)
		return real(w)
	}
	tick := func() {
		m.handle(tickMsg{m.clock})
		m.Update(m.read(m.wanted()))
	}
	tick()
	press(m, "enter") // a pipe
	tick()
	press(m, "end", "home")         // what was read is of all objects
	press(m, "down", "down", "end") // nor is a queue mapped
	press(m, "up", "up", "up")      // a segment
	press(m, "up", "up")
	tick()
	press(m, "esc")
	tick()
	none, files, all := wanted{}, wanted{files: true}, wanted{files: true, maps: true}
	if want := []wanted{none, files, files, all, files, none}; !slices.Equal(asked, want) {
		t.Errorf("%v", asked)
	}
}

// In a pause the list stays as it is, but the details of what is selected can be read.
func TestDetailsInAPause(t *testing.T) {
	m := newTestModel(t, 80, 24)
	press(m, "p")
	before := m.sample
	if press(m, "enter"); m.sample != before || m.details == nil || !strings.Contains(text(m), "my writer") {
		t.Errorf("%s", text(m))
	}
}

// What cannot be read of the details is said in their place.
func TestDetailsThatCannotBeRead(t *testing.T) {
	m := newTestModel(t, 80, 24)
	f := busy(1)
	f["files"] = "x"
	broken := f.mount(t)
	m.read = func(w wanted) readMsg { return read(broken, w, noon) }
	if press(m, "d"); m.reading || !strings.Contains(text(m), "proc/files: there is no column") {
		t.Errorf("%s", text(m))
	}
}

// A key closes the help and does nothing else; ctrl+c always ends the program, and ctrl+z stops it.
func TestHelpAndQuit(t *testing.T) {
	m := newTestModel(t, 80, 24)
	if press(m, "h"); !m.help {
		t.Error("no help")
	}
	if cmd := press(m, "q"); m.help || cmd != nil {
		t.Error("q does more than close the help")
	}
	press(m, "/", "q")
	for key, want := range map[string]tea.Msg{"ctrl+c": tea.QuitMsg{}, "ctrl+z": tea.SuspendMsg{}} {
		if cmd := press(m, key); cmd == nil || cmd() != want {
			t.Errorf("%s: %v", key, cmd)
		}
	}
	press(m, "esc")
	if cmd := press(m, "q"); cmd == nil || cmd() != (tea.QuitMsg{}) {
		t.Error("q does not end it")
	}
}

// Every line of the help fits a screen of 80 cells, and the last one is on it.
func TestHelpFits(t *testing.T) {
	m := newTestModel(t, 80, 24)
	press(m, "?")
	if got := text(m); strings.Contains(got, "…") || !strings.Contains(got, helpText[len(helpText)-1][1]) {
		t.Errorf("%s", got)
	}
}
