// Package top is the live view of a mount: a full screen with all its objects, how full they are, what goes through them and who waits for them.
//
// It is a bubbletea program. Its state is the model, which only Update changes (model.go, keys.go, list.go). View makes the screen of the state, and of nothing else
// (view.go, columns.go, detail.go). The mount is read by commands, each in a goroutine of its own (sample.go): a daemon that does not answer stops the figures, and
// not the keys.
//
// All text that comes from outside goes through visible, and each line is made of pieces of a known width (text.go): no name can break the screen.
package top

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

// Options are how the view begins. The keys change all of it.
type Options struct {
	Interval time.Duration // from the beginning of one reading to that of the next
	Kind     string        // the only kind to show, of inspect.Kinds; "" is all of them
	Filter   string        // show only names with this in them
}

// MinInterval is the shortest time between two readings.
const MinInterval = 100 * time.Millisecond

// Run shows the mount until the user ends it. It is an error that is ready to be shown if that cannot be done or the mount goes away; the terminal is then as it was.
func Run(m inspect.Mount, o Options) error {
	if err := checkTerminal(); err != nil {
		return err
	}
	read := func(want wanted) readMsg { return read(m, want, time.Now()) }
	first := read(wanted{}) // a mount that cannot be read is better told of before the screen is taken
	if first.err != nil {
		return first.err
	}
	state := newModel(m.Dir, o, read)
	state.take(first.sample)
	return run(state, tea.WithEnvironment(colours(os.Environ())))
}

// run shows the state until the user ends it or the mount goes away.
func run(state *model, options ...tea.ProgramOption) error {
	_, err := tea.NewProgram(state, options...).Run()
	switch {
	case state.gone != nil:
		return state.gone
	case err != nil && !errors.Is(err, tea.ErrInterrupted):
		return err
	}
	return nil
}

// checkTerminal says what is wrong if there is no terminal to take the keys from and to draw on.
func checkTerminal() error {
	for fd, name := range []string{"standard input", "standard output"} {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return fmt.Errorf("%s is not a terminal, and this command needs one; 'ipcfs ls' prints a list", name)
		}
	}
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return fmt.Errorf("this needs a terminal that can show a full screen, and TERM is %q; 'ipcfs ls' prints a list", term)
	}
	return nil
}

// colours is the environment for bubbletea, which leaves colours out when NO_COLOR is set, but only if it is a boolean. By https://no-color.org it may be any text.
func colours(environ []string) []string {
	set := func(v string) bool { return strings.HasPrefix(v, "NO_COLOR=") && v != "NO_COLOR=" }
	if slices.ContainsFunc(environ, set) {
		return append(slices.DeleteFunc(slices.Clone(environ), set), "NO_COLOR=1")
	}
	return environ
}
