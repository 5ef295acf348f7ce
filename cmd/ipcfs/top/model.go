package top

import (
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// model is the state of the view. Update changes it, in one goroutine.
type model struct {
	dir    string
	read   func(wanted) readMsg // reads the mount; called in commands only
	styles styles

	width, height int // of the screen, 0 until it is known

	sample *sample
	totals totals
	choice choice
	list   list

	interval time.Duration
	clock    int  // number of the clock that counts; the ticks of earlier ones are passed over
	reading  bool // a command is reading the mount
	late     bool // and it was when the next one was due
	paused   bool
	failed   string // what was wrong with the last reading
	gone     error  // the mount is gone, and this says so

	open    bool     // the pane of details
	details *details // nil if they were not read since it was opened
	paneTop int      // lines of the pane that are above it

	typing bool // keys go to the filter
	help   bool
}

// newModel is the state at the beginning, before anything was read.
func newModel(dir string, o Options, read func(wanted) readMsg) *model {
	return &model{
		dir: visible(dir), read: read, styles: newStyles(), sample: &sample{}, totals: (&sample{}).totals(),
		interval: o.Interval, choice: choice{kind: o.Kind, filter: visible(o.Filter)},
	}
}

// tickMsg is that the next reading is due.
type tickMsg struct{ clock int }

// tick waits until the next reading is due.
func (m *model) tick() tea.Cmd {
	clock := m.clock
	return tea.Tick(m.interval, func(time.Time) tea.Msg { return tickMsg{clock} })
}

// Init starts the clock.
func (m *model) Init() tea.Cmd { return m.tick() }

// Update takes what has happened. It neither reads the mount nor waits; the commands that it returns do.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.handle(msg)
	m.list.scroll(m.layout().rows)
	return m, cmd
}

// handle is Update without what has to be done each time.
func (m *model) handle(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		switch {
		case msg.clock != m.clock:
			return nil
		case m.paused:
			return m.tick()
		case m.reading:
			m.late = true
			return m.tick()
		}
		return tea.Batch(m.tick(), m.refresh())
	case readMsg:
		return m.finishReading(msg)
	case tea.ResumeMsg:
		return m.refresh()
	case tea.PasteMsg:
		if m.typing {
			m.setFilter(m.choice.filter + msg.Content)
		}
	case tea.KeyPressMsg:
		return m.key(msg)
	}
	return nil
}

// refresh begins to read the mount, unless that is being done.
func (m *model) refresh() tea.Cmd {
	if m.reading {
		return nil
	}
	m.reading = true
	read, want := m.read, m.wanted()
	return func() tea.Msg { return read(want) }
}

// wanted is what of the details the pane needs. Who maps a segment costs a look at each process of the machine.
func (m *model) wanted() wanted {
	o := m.list.selected()
	return wanted{files: m.open, maps: m.open && o != nil && o.kind == "shm"}
}

// complete begins a reading if the pane needs more than was read.
func (m *model) complete() tea.Cmd {
	want := m.wanted()
	if want.files && (m.details == nil || want.maps && !m.details.want.maps) {
		return m.refresh()
	}
	return nil
}

// finishReading takes what a reading of the mount brought.
func (m *model) finishReading(msg readMsg) tea.Cmd {
	m.reading, m.late = false, false
	switch {
	case errors.Is(msg.err, inspect.ErrGone):
		m.gone = msg.err
		return tea.Quit
	case msg.err != nil:
		m.failed = visible(msg.err.Error()) // perhaps it passes; what is on the screen stays there
		return nil
	}
	m.failed = ""
	if !m.paused {
		m.take(msg.sample)
	}
	if m.open && msg.details != nil {
		m.details = msg.details
	}
	return m.complete()
}

// take shows a sample in place of the one before.
func (m *model) take(s *sample) {
	if !m.sample.at.IsZero() {
		s.follow(m.sample)
	}
	m.sample, m.totals = s, s.totals()
	m.choose()
}

// choose makes the list anew, after the objects or the choice have changed.
func (m *model) choose() {
	before := m.list.ino
	m.list.replace(m.choice.of(m.sample.objects))
	if m.list.ino != before {
		m.paneTop = 0
	}
}

// setFilter chooses by another part of the name. As names are made visible, so is this.
func (m *model) setFilter(text string) {
	m.choice.filter = visible(text)
	m.choose()
}

// intervals are the times between two readings that the keys go through.
var intervals = []time.Duration{
	MinInterval, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// setInterval makes the time between two readings the next longer or shorter one.
func (m *model) setInterval(longer bool) tea.Cmd {
	at, found := slices.BinarySearch(intervals, m.interval)
	switch {
	case longer && found:
		at++
	case !longer:
		at--
	}
	if at < 0 || at >= len(intervals) {
		return nil
	}
	m.interval = intervals[at]
	m.clock++
	return m.tick()
}

// layout is how the lines of the screen are shared out.
type layout struct {
	title, totals, heading, status bool // is there a line for it
	rows, pane                     int  // lines of the list and of the details
}

// layout shares out the lines of the screen. The list is the last that goes when there are few.
func (m *model) layout() layout {
	h := max(m.height, 0)
	l := layout{status: h >= 3 || h == 2 && m.typing, heading: h >= 4, title: h >= 5, totals: h >= 7}
	for _, there := range []bool{l.status, l.heading, l.title, l.totals} {
		if there {
			h--
		}
	}
	l.rows = h
	if m.open {
		l.rows = max(h*2/5, min(h, 1))
		l.pane = h - l.rows
	}
	return l
}
