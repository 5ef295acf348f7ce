package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ipcfs/objects/page"
)

// ring is what a pipe holds: slots of a page each, of which those from tail up to head hold data.
type ring struct {
	slots      uint64
	head, tail uint32 // counters that never go back: the slot is the rest by slots
	bufs       []ringBuf
	more       bool // bufs are only the first
}

// ringBuf is the data in a slot.
type ringBuf struct {
	offset, len int
	merge       bool // a small write may go behind it
	packet      bool // written with O_DIRECT: a read takes no more than it
}

// parseBufs reads the attribute user.ipc.bufs: OFFSET+LEN with letters behind it for each slot, oldest first, and " ..." if there are more.
func parseBufs(text string) (bufs []ringBuf, more bool, err error) {
	for _, word := range strings.Fields(text) {
		if word == "..." {
			return bufs, true, nil
		}
		var b ringBuf
		rest := strings.TrimRight(word, "mp")
		b.merge, b.packet = strings.Contains(word[len(rest):], "m"), strings.Contains(word[len(rest):], "p")
		offset, length, _ := strings.Cut(rest, "+")
		var err1, err2 error
		b.offset, err1 = strconv.Atoi(offset)
		b.len, err2 = strconv.Atoi(length)
		if err1 != nil || err2 != nil || b.offset < 0 || b.len < 0 || b.offset > page.Size || b.len > page.Size-b.offset {
			return nil, false, fmt.Errorf("the pipe shows a slot as %.40q, which is not understood; 'ipcfs version' should be that of the daemon", word)
		}
		bufs = append(bufs, b)
	}
	return bufs, false, nil
}

// occupied is how many slots hold data.
func (r *ring) occupied() int { return int(r.head - r.tail) }

// slotOf is where a counter is in the ring.
func (r *ring) slotOf(counter uint32) int { return int(uint64(counter) % r.slots) }

// maxCells is how many cells a ring is drawn with at most. With more slots a cell is several.
const maxCells = 64

// inner is the width of a cell without its border.
const inner = 8

// ringCell is a cell of the drawing.
type ringCell struct {
	first   int    // slot
	fill    string // inner characters
	text    string // the bytes, and m or p
	marked  string // "tail", "head" or both
	unknown bool   // some of its slots hold nobody knows how much
	bytes   int
}

// draw draws the ring in lines of at most width characters: a cell for each slot, in order, with as much of it in # as it is full, the bytes in it, and where
// head and tail are. Rows in which there is nothing at all are one line.
func (r *ring) draw(width int) []string {
	cells := r.cells()
	across := min(len(cells), max(1, (width-1)/(inner+1)))
	var lines []string
	for from := 0; from < len(cells); from += across {
		blank := slices.IndexFunc(cells[from:], func(c ringCell) bool { return c.text != "" || c.marked != "" })
		if blank < 0 {
			blank = len(cells) - from
		}
		if rows := (blank + across - 1) / across; from+blank == len(cells) && rows > 1 {
			return append(lines, fmt.Sprintf("(%d to %d are empty)", cells[from].first, r.slots-1))
		} else if rows = blank / across; rows > 1 {
			lines = append(lines, fmt.Sprintf("(%d to %d are empty)", cells[from].first, cells[from+rows*across].first-1))
			from += (rows - 1) * across
			continue
		}
		row := cells[from:min(from+across, len(cells))]
		var top, fill, text, bottom, marks strings.Builder
		for i, c := range row {
			first := strconv.Itoa(c.first)
			top.WriteString("+" + first + strings.Repeat("-", max(0, inner-len(first))))
			fill.WriteString("|" + c.fill)
			fmt.Fprintf(&text, "|%*s", inner, c.text)
			bottom.WriteString("+" + strings.Repeat("-", inner))
			if c.marked != "" {
				fmt.Fprintf(&marks, "%*s^%s", i*(inner+1)+1-marks.Len(), "", c.marked)
			}
		}
		lines = append(lines, top.String()+"+", fill.String()+"|", text.String()+"|", bottom.String()+"+")
		if marks.Len() > 0 {
			lines = append(lines, marks.String())
		}
	}
	return lines
}

// perCell is how many slots a cell is.
func (r *ring) perCell() int { return int((r.slots + maxCells - 1) / maxCells) }

// cells are the cells of the drawing.
func (r *ring) cells() []ringCell {
	per := r.perCell()
	cells := make([]ringCell, (int(r.slots)+per-1)/per)
	for i := range cells {
		cells[i].first = i * per
		cells[i].fill = strings.Repeat(" ", inner)
	}
	for i := range min(r.occupied(), int(r.slots)) {
		c := &cells[r.slotOf(r.tail+uint32(i))/per]
		switch {
		case i >= len(r.bufs):
			c.unknown = true
		case per == 1:
			c.fill, c.text = r.bufs[i].fill(), r.bufs[i].text()
		default:
			c.bytes += r.bufs[i].len
		}
	}
	for i := range cells {
		c := &cells[i]
		switch {
		case c.unknown && c.bytes == 0:
			c.fill, c.text = strings.Repeat("?", inner), "?"
		case c.bytes > 0:
			filled := max(1, c.bytes*inner/(per*page.Size))
			c.fill, c.text = strings.Repeat("#", filled)+strings.Repeat(" ", inner-filled), strconv.Itoa(c.bytes)
			if c.unknown {
				c.text += "+"
			}
		}
	}
	tail, head := r.slotOf(r.tail)/per, r.slotOf(r.head)/per
	cells[tail].marked, cells[head].marked = "tail", "head"
	if head == tail {
		cells[tail].marked = "tail,head"
	}
	return cells
}

// fill is the slot as a bar: what was read of it already is blank again.
func (b ringBuf) fill() string {
	if b.len == 0 {
		return strings.Repeat(" ", inner)
	}
	from := min(b.offset*inner/page.Size, inner-1)
	to := max(from+1, (b.offset+b.len)*inner/page.Size)
	return strings.Repeat(" ", from) + strings.Repeat("#", to-from) + strings.Repeat(" ", inner-to)
}

// text is what is written below the bar.
func (b ringBuf) text() string { return strconv.Itoa(b.len) + b.flags() }

// flags are the letters of the attribute.
func (b ringBuf) flags() (s string) {
	if b.merge {
		s += "m"
	}
	if b.packet {
		s += "p"
	}
	return s
}

// legend is a line about the drawing.
func (r *ring) legend() string {
	s := fmt.Sprintf("%d of %s in use, tail %d, head %d", r.occupied(), count(int(r.slots), "slot"), r.tail, r.head)
	if per := r.perCell(); per > 1 {
		return s + fmt.Sprintf("; a cell is %d slots", per)
	}
	for _, b := range r.bufs {
		if b.packet {
			return s + "; m: a small write may be added, p: a packet"
		}
	}
	if len(r.bufs) > 0 && r.bufs[len(r.bufs)-1].merge {
		return s + "; m: a small write may be added"
	}
	return s
}

// fields is the ring as JSON.
func (r *ring) fields() fields {
	bufs := make([]fields, len(r.bufs))
	for i, b := range r.bufs {
		bufs[i] = fields{
			{"slot", r.slotOf(r.tail + uint32(i))}, {"offset", b.offset}, {"bytes", b.len}, {"merge", b.merge}, {"packet", b.packet},
		}
	}
	return fields{{"slots", r.slots}, {"head", r.head}, {"tail", r.tail}, {"bufs", bufs}, {"complete", !r.more}}
}
