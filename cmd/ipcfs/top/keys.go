package top

import (
	"slices"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"ipcfs/cmd/ipcfs/inspect"
)

// helpText is what the keys do, by lines: the keys, and what they are for.
var helpText = [][2]string{
	{"up down k j", "select the object above or below"},
	{"pgup pgdn home end", "a screen further, to the first, to the last"},
	{"enter d", "details: all columns, who opened it, who waits, who maps"},
	{"J K", "scroll the details"},
	{"s S", "sort by the next or previous of kind, name, fill, bytes,"},
	{"", "rate in, rate out, waiters"},
	{"r", "reverse the order"},
	{"/", "show only names that contain a text; esc clears it"},
	{"tab shift+tab 1 2 3 4", "show all kinds, or only pipes, shm or msgq"},
	{"w", "show only what somebody waits for"},
	{"p space", "pause; again: go on"},
	{"+ -", "more or less time from one refresh to the next"},
	{"esc", "close this, or the details, or clear the filter"},
	{"q ctrl+c", "quit"},
	{"", ""},
	{"FILL", "slots of a pipe, bytes of a queue, memory of a segment"},
	{"IN/s OUT/s", "bytes written into it and read out of it in a second"},
	{"WR/s RD/s", "how often; not what the kernel itself does to segments"},
	{"OPEN", "readers and writers of a pipe, attaches of a segment"},
	{"WAIT", "operations that wait"},
}

// key takes a key that was pressed.
func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	key := msg.String()
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case key == "ctrl+z":
		return tea.Suspend
	case m.move(key):
		return m.complete()
	case m.typing:
		m.typeFilter(key, msg.Text)
		return m.complete()
	case m.help:
		m.help = false
		return nil
	}
	return m.command(key)
}

// move moves in the list or in the details, if the key is one for that.
func (m *model) move(key string) bool {
	page := max(m.layout().rows, 1)
	steps := map[string]int{"up": -1, "down": 1, "pgup": -page, "pgdown": page, "home": -len(m.list.objects), "end": len(m.list.objects)}
	by, ok := steps[key]
	if !ok && !m.typing {
		by, ok = map[string]int{"k": -1, "j": 1, "g": steps["home"], "G": steps["end"]}[key]
	}
	if !ok || m.help {
		return false
	}
	m.list.move(by)
	m.paneTop = 0
	return true
}

// command takes a key while none is expected for something else.
func (m *model) command(key string) tea.Cmd {
	c := &m.choice
	switch key {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help = true
	case "enter", "d":
		return m.openDetails(!m.open)
	case "J":
		m.paneTop = max(min(m.paneTop+1, len(m.detailLines(m.width))-m.paneRows()), 0)
	case "K":
		m.paneTop = max(m.paneTop-1, 0)
	case "/":
		m.typing = true
	case "p", "space":
		m.paused = !m.paused
		if !m.paused {
			return m.refresh()
		}
	case "+", "=":
		return m.setInterval(true)
	case "-":
		return m.setInterval(false)
	case "esc":
		if m.open {
			return m.openDetails(false)
		}
		c.filter = ""
	case "s":
		c.order, c.reversed = (c.order+1)%orders, false
	case "S":
		c.order, c.reversed = (c.order+orders-1)%orders, false
	case "r":
		c.reversed = !c.reversed
	case "w":
		c.waitingOnly = !c.waitingOnly
	case "tab", "shift+tab", "1", "2", "3", "4":
		c.kind = nextKind(c.kind, key)
	default:
		return nil
	}
	m.choose()
	return m.complete()
}

// nextKind is the kind that a key leads to from another one.
func nextKind(kind, key string) string {
	kinds := append([]string{""}, inspect.Kinds...)
	at := slices.Index(kinds, kind)
	switch key {
	case "tab":
		at++
	case "shift+tab":
		at += len(kinds) - 1
	default:
		at = int(key[0] - '1')
	}
	return kinds[at%len(kinds)]
}

// openDetails opens or closes the pane of details.
func (m *model) openDetails(open bool) tea.Cmd {
	m.open, m.details, m.paneTop = open, nil, 0
	return m.complete()
}

// typeFilter takes a key while the filter is typed.
func (m *model) typeFilter(key, text string) {
	switch filter := m.choice.filter; {
	case key == "enter":
		m.typing = false
	case key == "esc":
		m.typing = false
		m.setFilter("")
	case key == "backspace":
		_, size := utf8.DecodeLastRuneInString(filter)
		m.setFilter(filter[:len(filter)-size])
	case key == "ctrl+u":
		m.setFilter("")
	case text != "":
		m.setFilter(filter + text)
	}
}
