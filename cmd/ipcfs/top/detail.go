package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// paneRows is how many lines of details are on the screen: the pane without its title.
func (m *model) paneRows() int { return max(m.layout().pane-1, 0) }

// paneLines is the pane of details in so many lines, none if it is 0.
func (m *model) paneLines(rows int) []*line {
	if rows <= 0 {
		return nil
	}
	title := newLine(m.width)
	content := m.detailLines(m.width)
	text := "no object is selected"
	if o := m.list.selected(); o != nil {
		text = o.kind + "/" + o.name
	}
	// From where to where of the content is shown, if that is not all of it.
	from := max(min(m.paneTop, len(content)-(rows-1)), 0)
	content = content[from:]
	more := ""
	if hidden := len(content) - (rows - 1); hidden > 0 {
		more = fmt.Sprintf(" J: %d more ", hidden)
		content = content[:rows-1]
	} else if from > 0 {
		more = " K: back "
	}
	title.add(m.styles.faint, "── ")
	title.add(m.styles.strong, cut(text, max(title.free-cells(more)-6, 8)))
	title.add(m.styles.faint, " "+strings.Repeat("─", max(title.free-cells(more)-3, 0)))
	title.add(m.styles.note, more)
	title.add(m.styles.faint, "──")
	lines := append([]*line{title}, content...)
	for len(lines) < rows {
		lines = append(lines, newLine(m.width))
	}
	return lines
}

// detailLines is all that is known of the selected object.
func (m *model) detailLines(width int) []*line {
	o := m.list.selected()
	if o == nil {
		return nil
	}
	lines := m.columnLines(o, width)
	say := func(style lipgloss.Style, text string) {
		l := newLine(width)
		l.add(style, text)
		lines = append(lines, l)
	}
	switch d := m.details; {
	case d == nil:
		say(m.styles.faint, "reading who has it open...")
	case d.err != nil:
		say(m.styles.alarm, visible(d.err.Error()))
	default:
		lines = append(lines, m.fileLines(o, d.files[o.ino], width)...)
		if o.kind == "shm" && d.want.maps {
			lines = append(lines, m.mapLines(d.maps[o.ino], width)...)
		}
	}
	return lines
}

// columnLines is all columns of the object in the table of its kind, but its name, beside one another.
func (m *model) columnLines(o *object, width int) []*line {
	fields, widest := [][2]string{}, 0
	for _, c := range m.sample.columns[o.kind] {
		if c == "name" {
			continue
		}
		value := visible(o.row.Text(c))
		if strings.HasSuffix(c, "time") {
			value = m.clockText(o.row.Int(c))
		}
		fields = append(fields, [2]string{c, value})
		widest = max(widest, cells(c)+1+cells(value))
	}
	each := max((width+2)/max((width+2)/(widest+2), 1), 1) // cells for each field, the blanks after it with it
	perLine := max((width+2)/each, 1)
	var lines []*line
	for part := range slices.Chunk(fields, perLine) {
		l := newLine(width)
		for _, f := range part {
			end := l.free - each
			l.add(m.styles.faint, f[0]+" ")
			l.add(m.styles.normal, f[1])
			l.space(l.free - end)
		}
		lines = append(lines, l)
	}
	return lines
}

// clockText is a time in seconds since 1970 as one that is seen beside the clock of the sample: with its date only if it is of another day.
func (m *model) clockText(seconds int64) string {
	t := time.Unix(seconds, 0).In(m.sample.at.Location())
	switch {
	case seconds == 0:
		return "never"
	case t.Format(time.DateOnly) == m.sample.at.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateOnly)
}

// fileLines is who has the object open, and who waits for it; those who wait the longest come first.
func (m *model) fileLines(o *object, files []inspect.Row, width int) []*line {
	files = slices.SortedFunc(slices.Values(files), func(a, b inspect.Row) int {
		if x, y := a.Float("since") > 0, b.Float("since") > 0; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Float("since"), b.Float("since")), cmp.Compare(a.Int("pid"), b.Int("pid")), cmp.Compare(a.Int("fh"), b.Int("fh")))
	})
	head := newLine(width)
	if len(files) == 0 {
		head.add(m.styles.faint, "nobody has it open")
		return []*line{head}
	}
	head.add(m.styles.strong, fmt.Sprintf("%8s %-16s %-5s%-8s %9s %8s  %s", "PID", "COMMAND", "MODE", "WAIT", "FOR", "THREAD", "AS"))
	lines := []*line{head}
	for _, f := range files {
		l := newLine(width)
		l.add(m.styles.normal, right(f.Text("pid"), 8)+" "+left(commandText(f), 16)+" "+left(f.Text("mode"), 5))
		if f.Text("wait") != "-" {
			waited := m.details.at.Sub(time.UnixMicro(int64(f.Float("since") * 1e6)))
			l.add(m.styles.alarm, left(f.Text("wait"), 8)+" "+right(max(waited, 0).Round(time.Millisecond*100).String(), 9)+" "+right(f.Text("tid"), 8))
		} else {
			l.add(m.styles.faint, left("-", 8)+" "+right("-", 9)+" "+right("-", 8))
		}
		l.add(m.styles.normal, "  "+strings.TrimPrefix(visible(f.Name("name")), o.kind+"/"))
		lines = append(lines, l)
	}
	return lines
}

// mapLines is who maps a segment.
func (m *model) mapLines(maps []inspect.Row, width int) []*line {
	head := newLine(width)
	if len(maps) == 0 {
		head.add(m.styles.faint, "nobody maps it")
		return []*line{head}
	}
	head.add(m.styles.strong, fmt.Sprintf("%8s %-16s %-5s%-8s", "PID", "COMMAND", "PERMS", " MAPPED"))
	lines := []*line{head}
	for _, r := range maps {
		l := newLine(width)
		l.add(m.styles.normal, right(r.Text("pid"), 8)+" "+left(commandText(r), 16)+" "+left(r.Text("perms"), 5)+" "+right(inspect.Size(r.Int("bytes")), 7))
		lines = append(lines, l)
	}
	return lines
}

// commandText is the name of the program of a row.
func commandText(r inspect.Row) string {
	if name := visible(r.Name("command")); name != "" {
		return name
	}
	return "-"
}
