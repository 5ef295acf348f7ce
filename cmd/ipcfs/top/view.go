package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// View is the screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

// screen is the text of the screen: as many lines as it has, none of them wider than it is. It is made of the state alone, and only of what is to be seen.
func (m *model) screen() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	at := m.layout()
	var lines []*line
	if at.title {
		lines = append(lines, m.titleLine())
	}
	if at.totals {
		lines = append(lines, m.totalsLine())
	}
	if m.help {
		lines = append(lines, m.helpLines(m.height-len(lines)-1)...)
	} else {
		columns := place(m.width)
		if at.heading {
			lines = append(lines, m.headingLine(columns))
		}
		lines = append(lines, m.listLines(columns, at.rows)...)
		lines = append(lines, m.paneLines(at.pane)...)
	}
	if at.status {
		for len(lines) < m.height-1 {
			lines = append(lines, newLine(m.width))
		}
		lines = append(lines, m.statusLine())
	}
	texts := make([]string, 0, len(lines))
	for _, l := range lines {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, "\n")
}

// titleLine says what is shown: the mount, what is chosen of it, and when it was read.
func (m *model) titleLine() *line {
	l := newLine(m.width)
	l.add(m.styles.strong, "ipcfs top ")
	every := fmt.Sprintf(" every %v  %s", m.interval, m.sample.at.Format(time.TimeOnly))
	notes := m.notes()
	room := l.free - cells(notes) - cells(every)
	if room < min(cells(m.dir), 12) { // then the directory is worth more than the time
		room, every = l.free-cells(notes), ""
	}
	l.add(m.styles.normal, cut(m.dir, max(room, 8)))
	l.add(m.styles.note, notes)
	l.space(l.free - cells(every))
	l.add(m.styles.faint, every)
	return l
}

// notes are in what the view is not as it was at the beginning.
func (m *model) notes() string {
	var b strings.Builder
	note := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format, args...) }
	if m.paused {
		note("PAUSED")
	}
	if m.late {
		note("no answer")
	}
	if c := &m.choice; c.kind != "" {
		note("only %s", c.kind)
	}
	if m.choice.waitingOnly {
		note("only waited for")
	}
	if f := m.choice.filter; f != "" {
		note("only *%s*", cut(f, 20))
	}
	return b.String()
}

// totalsLine is the sums over all objects; those at the end are left out if they do not fit.
func (m *model) totalsLine() *line {
	l, t := newLine(m.width), m.totals
	show := func(style lipgloss.Style, text string) {
		if l.free < m.width {
			text = "  " + text
		}
		if cells(text) <= l.free {
			l.add(style, text)
		}
	}
	for _, kind := range inspect.Kinds {
		show(m.styles.normal, strconv.Itoa(t.kinds[kind])+" "+kind)
	}
	show(m.styles.normal, "in "+perSecond(t.in))
	show(m.styles.normal, "out "+perSecond(t.out))
	if t.waiters > 0 {
		show(m.styles.alarm, strconv.FormatInt(t.waiters, 10)+" waiting")
	} else {
		show(m.styles.faint, "none waiting")
	}
	if limit := m.sample.arenaLimit; limit > 0 {
		fill := part(m.sample.arenaUsed, limit)
		show(m.styles.normal, "arena "+inspect.Size(m.sample.arenaUsed)+"/"+inspect.Size(limit))
		show(m.styles.fill(fill), gauge(fill, 20))
	}
	return l
}

// perSecond writes a rate with its unit.
func perSecond(rate float64) string {
	if rate <= 0 {
		return "0B/s"
	}
	return bytesRate(rate) + "/s"
}

// headingLine is the titles of the columns.
func (m *model) headingLine(columns []column) *line {
	l := newLine(m.width)
	for i := range columns {
		c := &columns[i]
		if i > 0 {
			l.add(m.styles.heading, " ")
		}
		style := m.styles.heading
		if c.order == m.choice.order {
			style = m.styles.sorted
		}
		l.add(style, c.align(c.heading(&m.choice)))
	}
	return l
}

// listLines is the part of the list that is on the screen.
func (m *model) listLines(columns []column, rows int) []*line {
	lines := make([]*line, 0, rows)
	first, objects := m.list.shown(rows)
	for i, o := range objects {
		lines = append(lines, m.objectLine(columns, o, first+i == m.list.cursor))
	}
	if len(objects) == 0 && rows > 0 {
		l := newLine(m.width)
		l.add(m.styles.faint, m.whyEmpty())
		lines = append(lines, l)
	}
	for len(lines) < rows {
		lines = append(lines, newLine(m.width))
	}
	return lines
}

// whyEmpty says why there is nothing in the list.
func (m *model) whyEmpty() string {
	if n := len(m.sample.objects); n > 0 {
		return fmt.Sprintf("none of %d objects is to be shown; 1, w and esc show more", n)
	}
	return "no objects"
}

// objectLine is an object of the list.
func (m *model) objectLine(columns []column, o *object, selected bool) *line {
	l := newLine(m.width)
	for i := range columns {
		c := &columns[i]
		style, between := m.styles.normal, m.styles.normal
		if c.style != nil {
			style = c.style(&m.styles, o)
		}
		if selected {
			between = between.Reverse(!c.drawing && (i == 0 || !columns[i-1].drawing))
			style = style.Faint(false).Bold(true).Reverse(!c.drawing)
		}
		if i > 0 {
			l.add(between, " ")
		}
		l.add(style, c.align(c.text(o, c.max)))
	}
	return l
}

// statusLine is the last line: what went wrong, the filter that is typed, or what keys there are; and where in the list the selected object is.
func (m *model) statusLine() *line {
	l := newLine(m.width)
	place := ""
	if n := len(m.list.objects); n > 0 {
		place = fmt.Sprintf(" %d/%d", m.list.cursor+1, n)
	}
	switch {
	case m.failed != "":
		l.add(m.styles.alarm, cut(m.failed, l.free-cells(place)))
	case m.typing:
		l.add(m.styles.note, "/"+m.choice.filter)
		l.add(m.styles.normal.Reverse(true), " ")
		l.add(m.styles.faint, cut("  enter: keep it, esc: show all", l.free-cells(place)))
	default:
		keys := []string{"? help", "q quit", "enter details", "s sort: " + m.choice.order.String(), "r reverse", "/ filter", "tab kind", "w waited for", "p pause", "+ - interval"}
		for _, key := range keys {
			if cells(key)+2 <= l.free-cells(place) {
				l.add(m.styles.faint, key+"  ")
			}
		}
	}
	l.space(l.free - cells(place))
	l.add(m.styles.normal, place)
	return l
}

// helpLines is what the keys do and the columns mean, in at most so many lines.
func (m *model) helpLines(rows int) []*line {
	lines := make([]*line, 0, len(helpText))
	for _, h := range helpText[:max(min(rows, len(helpText)), 0)] {
		l := newLine(m.width)
		l.add(m.styles.strong, left(h[0], min(22, m.width)))
		l.space(1)
		l.add(m.styles.normal, h[1])
		lines = append(lines, l)
	}
	return lines
}
