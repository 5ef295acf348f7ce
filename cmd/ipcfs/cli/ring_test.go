package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBufs(t *testing.T) {
	for _, c := range []struct {
		text string
		want []ringBuf
		more bool
	}{
		{"", nil, false},
		{"0+4096m 100+12m", []ringBuf{{0, 4096, true, false}, {100, 12, true, false}}, false},
		{"0+5 0+5p 0+7mp", []ringBuf{{0, 5, false, false}, {0, 5, false, true}, {0, 7, true, true}}, false},
		{"4095+1 ...", []ringBuf{{4095, 1, false, false}}, true},
		{"...", nil, true},
	} {
		bufs, more, err := parseBufs(c.text)
		if err != nil || more != c.more || cmp.Diff(c.want, bufs, cmp.AllowUnexported(ringBuf{})) != "" {
			t.Errorf("%s: %v %v %v", c.text, bufs, more, err)
		}
	}
	for _, text := range []string{"x", "1", "+", "1+", "+1", "-1+1", "1+-1", "4096+1", "0+4097", "0+1x", "m", "99999999999999999999+1"} {
		if bufs, _, err := parseBufs(text); err == nil {
			t.Errorf("%s: taken for %v", text, bufs)
		}
	}
}

// drawn is the drawing with a line for each line.
func (r *ring) drawn(width int) string { return strings.Join(r.draw(width), "\n") + "\n" }

func TestDrawRing(t *testing.T) {
	full := ringBuf{0, 4096, true, false}
	for _, c := range []struct {
		name  string
		r     ring
		width int
		want  string
	}{
		{"empty", ring{slots: 2}, 80, lines(
			"+0-------+1-------+",
			"|        |        |",
			"|        |        |",
			"+--------+--------+",
			" ^tail,head",
		)},
		{"parts of a page", ring{slots: 4, tail: 17, head: 20, bufs: []ringBuf{{2048, 2048, false, false}, {0, 1, false, true}, {0, 2100, true, false}}}, 80, lines(
			"+0-------+1-------+2-------+3-------+",
			"|        |    ####|#       |####    |",
			"|        |    2048|      1p|   2100m|",
			"+--------+--------+--------+--------+",
			" ^head    ^tail",
		)},
		{"full, and the counters wrap", ring{slots: 4, tail: 1<<32 - 2, head: 2, bufs: []ringBuf{full, full, full, {0, 10, true, false}}}, 80, lines(
			"+0-------+1-------+2-------+3-------+",
			"|########|#       |########|########|",
			"|   4096m|     10m|   4096m|   4096m|",
			"+--------+--------+--------+--------+",
			"                   ^tail,head",
		)},
		{"narrow", ring{slots: 4, tail: 1, head: 2, bufs: []ringBuf{full}}, 19, lines(
			"+0-------+1-------+",
			"|        |########|",
			"|        |   4096m|",
			"+--------+--------+",
			"          ^tail",
			"+2-------+3-------+",
			"|        |        |",
			"|        |        |",
			"+--------+--------+",
			" ^head",
		)},
		{"too narrow", ring{slots: 1}, 3, lines("+0-------+", "|        |", "|        |", "+--------+", " ^tail,head")},
		{"more than were told", ring{slots: 4, tail: 0, head: 3, bufs: []ringBuf{full}, more: true}, 80, lines(
			"+0-------+1-------+2-------+3-------+",
			"|########|????????|????????|        |",
			"|   4096m|       ?|       ?|        |",
			"+--------+--------+--------+--------+",
			" ^tail                      ^head",
		)},
	} {
		if diff := cmp.Diff(c.want, c.r.drawn(c.width)); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// Several rows with nothing in them are one line, at the end and before it.
func TestDrawEmptyRows(t *testing.T) {
	r := ring{slots: 8, tail: 5, head: 6, bufs: []ringBuf{{0, 1, false, false}}}
	if diff := cmp.Diff(lines(
		"(0 to 3 are empty)",
		"+4-------+5-------+",
		"|        |#       |",
		"|        |       1|",
		"+--------+--------+",
		"          ^tail",
		"+6-------+7-------+",
		"|        |        |",
		"|        |        |",
		"+--------+--------+",
		" ^head",
	), r.drawn(20)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(lines(
		"+0-------+1-------+2-------+",
		"|        |        |        |",
		"|        |        |        |",
		"+--------+--------+--------+",
		" ^tail,head",
		"(3 to 7 are empty)",
	), (&ring{slots: 8}).drawn(30)); diff != "" {
		t.Error(diff)
	}
}

// Of more than 64 slots a cell is several.
func TestDrawLargeRing(t *testing.T) {
	r := ring{slots: 256, tail: 2, head: 2 + 11, bufs: make([]ringBuf, 11)}
	for i := range r.bufs {
		r.bufs[i] = ringBuf{0, 4096, true, false}
	}
	got := r.draw(1000)
	for i, want := range []string{
		"+0-------+4-------+8-------+12------+16------+",
		"|####    |########|########|##      |        |",
		"|    8192|   16384|   16384|    4096|        |",
		"+--------+--------+--------+--------+--------+",
	} {
		if !strings.HasPrefix(got[i], want) || len(got[i]) != 64*9+1 {
			t.Errorf("%s", got[i])
		}
	}
	if got[4] != " ^tail                      ^head" || len(got) != 5 {
		t.Errorf("%q", got[4:])
	}
	if want := "11 of 256 slots in use, tail 2, head 13; a cell is 4 slots"; r.legend() != want {
		t.Error(r.legend())
	}
	r.bufs, r.more = r.bufs[:5], true
	if got := r.draw(1000); !strings.HasPrefix(got[1], "|####    |######  |????????|????????|        |") || !strings.HasPrefix(got[2], "|    8192|  12288+|       ?|       ?|        |") {
		t.Errorf("%s", strings.Join(got[:3], "\n"))
	}
	if lines := len((&ring{slots: 1 << 19}).draw(80)); lines != 6 {
		t.Errorf("%d lines", lines)
	}
}

func TestRingLegend(t *testing.T) {
	for _, c := range []struct {
		r    ring
		want string
	}{
		{ring{slots: 1}, "0 of 1 slot in use, tail 0, head 0"},
		{ring{slots: 16, tail: 4, head: 5, bufs: []ringBuf{{0, 1, true, false}}}, "1 of 16 slots in use, tail 4, head 5; m: a small write may be added"},
		{ring{slots: 16, tail: 4, head: 5, bufs: []ringBuf{{0, 1, false, true}}}, "1 of 16 slots in use, tail 4, head 5; m: a small write may be added, p: a packet"},
	} {
		if got := c.r.legend(); got != c.want {
			t.Error(got)
		}
	}
}

func TestRingAsJSON(t *testing.T) {
	r := ring{slots: 4, tail: 3, head: 5, bufs: []ringBuf{{5, 7, false, false}, {0, 9, true, true}}}
	text, err := r.fields().MarshalJSON()
	const want = `{"slots":4,"head":5,"tail":3,"bufs":[{"slot":3,"offset":5,"bytes":7,"merge":false,"packet":false},{"slot":0,"offset":0,"bytes":9,"merge":true,"packet":true}],"complete":true}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}
