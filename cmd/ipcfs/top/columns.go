package top

import (
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// column is a column of the list.
type column struct {
	title    string
	order    order                                     // the order that sorts by it; orders if there is none
	goes     int                                       // when the screen is too narrow, those with the largest one go first; the one with 0 stays
	min, max int                                       // cells; more room than the least goes to the first that may have it
	words    bool                                      // it begins at the left, as words do
	drawing  bool                                      // it is a drawing, which does not look well in reverse
	text     func(o *object, width int) string         // what stands in it
	style    func(s *styles, o *object) lipgloss.Style // how it looks; nil is as normal text
}

// columns are all columns, in the order in which they stand.
var columns = []column{
	{
		title: "KIND", order: byKind, goes: 2, min: 5, max: 5, words: true,
		text:  func(o *object, _ int) string { return o.kind },
		style: func(s *styles, _ *object) lipgloss.Style { return s.faint },
	},
	{title: "NAME", order: byName, min: 14, max: 40, words: true, text: func(o *object, _ int) string { return o.name }},
	{
		title: "FILL", order: byFill, goes: 3, min: 11, max: 25, words: true, drawing: true, text: fillText,
		style: func(s *styles, o *object) lipgloss.Style { return s.fill(o.fill) },
	},
	{title: "HELD", order: byBytes, goes: 6, min: 7, max: 7, text: func(o *object, _ int) string { return inspect.Size(o.held) }},
	{title: "ROOM", order: orders, goes: 9, min: 7, max: 7, text: func(o *object, _ int) string { return inspect.Size(o.room) }},
	{title: "CONTENT", order: orders, goes: 12, min: 11, max: 15, text: contentText},
	{title: "IN/s", order: byIn, goes: 4, min: 7, max: 7, text: func(o *object, _ int) string { return bytesRate(o.rate.in) }},
	{title: "OUT/s", order: byOut, goes: 5, min: 7, max: 7, text: func(o *object, _ int) string { return bytesRate(o.rate.out) }},
	{title: "WR/s", order: orders, goes: 11, min: 6, max: 6, text: func(o *object, _ int) string { return countRate(o.rate.writes) }},
	{title: "RD/s", order: orders, goes: 11, min: 6, max: 6, text: func(o *object, _ int) string { return countRate(o.rate.reads) }},
	{
		title: "TRAFFIC", order: orders, goes: 8, min: 8, max: historySize, words: true, drawing: true,
		text:  func(o *object, width int) string { return sparkline(o.history, width) },
		style: func(s *styles, _ *object) lipgloss.Style { return s.traffic },
	},
	{title: "OPEN", order: orders, goes: 7, min: 7, max: 7, text: openText},
	{title: "WAIT", order: byWaiters, goes: 1, min: 5, max: 5, text: func(o *object, _ int) string { return count(o.waiters) }, style: waitStyle},
	{title: "WAITING TO", order: orders, goes: 13, min: 24, max: 24, words: true, text: waitText, style: waitStyle},
}

// place chooses the columns that a screen of a width has room for, with one blank between them, and makes those wider that can use what is left. The max of each is
// then its width.
func place(width int) []column {
	chosen := slices.Clone(columns)
	free := func() int {
		n := width + 1
		for _, c := range chosen {
			n -= c.min + 1
		}
		return n
	}
	for free() < 0 && len(chosen) > 1 {
		first := slices.MaxFunc(chosen, func(a, b column) int { return a.goes - b.goes })
		chosen = slices.DeleteFunc(chosen, func(c column) bool { return c.goes == first.goes })
	}
	spare := free()
	for i := range chosen {
		c := &chosen[i]
		more := max(min(spare, c.max-c.min), 0)
		c.max = c.min + more
		spare -= more
	}
	for i := range chosen {
		if chosen[i].goes == 0 {
			chosen[i].max = max(chosen[i].max+spare, 0)
		}
	}
	return chosen
}

// align writes the text of a column in its width.
func (c *column) align(text string) string {
	if c.words {
		return left(text, c.max)
	}
	return right(text, c.max)
}

// heading is the title of a column, with an arrow if the list is sorted by it: down if larger ones come first.
func (c *column) heading(by *choice) string {
	switch {
	case c.order != by.order:
		return c.title
	case by.descending():
		return c.title + "▼"
	}
	return c.title + "▲"
}

// fillText is the gauge of an object; what can hold nothing has none.
func fillText(o *object, width int) string {
	if o.room == 0 {
		return "-"
	}
	return gauge(o.fill, width)
}

// contentText is what an object has in it, counted otherwise than in bytes.
func contentText(o *object, _ int) string {
	switch o.kind {
	case "pipes":
		return o.row.Text("used") + "/" + o.row.Text("slots") + " slots"
	case "msgq":
		return o.row.Text("q_qnum") + " msgs"
	}
	return "-"
}

// openText is who uses an object, as far as its table says that.
func openText(o *object, _ int) string {
	switch o.kind {
	case "pipes":
		return o.row.Text("readers") + "r " + o.row.Text("writers") + "w"
	case "shm":
		return o.row.Text("shm_nattch") + " att"
	}
	return "-"
}

// count writes a number; none is "-".
func count(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// waits are the columns of the tables that count operations that wait, and what these are about to do.
var waits = [][2]string{{"opens", "open"}, {"reads", "read"}, {"writes", "write"}, {"q_receivers", "receive"}, {"q_senders", "send"}}

// waitText is what the operations are about to do that wait; how many do what, unless all do the same.
func waitText(o *object, _ int) string {
	var parts []string
	for _, w := range waits {
		switch n := o.row.Int(w[0]); {
		case n > 0 && n == o.waiters:
			return w[1]
		case n > 0:
			parts = append(parts, strconv.FormatInt(n, 10)+" "+w[1])
		}
	}
	return strings.Join(parts, ", ")
}

// waitStyle draws the eye to an object that somebody waits for.
func waitStyle(s *styles, o *object) lipgloss.Style {
	if o.waiters > 0 {
		return s.alarm
	}
	return s.faint
}
