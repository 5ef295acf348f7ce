package top

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
)

// visible writes text from outside, such as a name, so that it can do nothing to the screen but fill the cells that cells counts. What is not printable is escaped by its
// bytes in octal, as in the tables of proc. So is that on whose width terminals do not agree, or that joins with what stands before it to one character; a mark above or
// below a letter is left. Text that is visible stays as it is.
func visible(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return text
	}
	var b strings.Builder
	last := 0 // where in b the last character begins, with its marks
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		char := text[:size]
		text = text[size:]
		before := b.String()[last:]
		width := lipgloss.Width(char)
		switch {
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r), unicode.Is(unicode.Regional_Indicator, r), width > 2, joins(before, char, width):
			last = b.Len()
			for i := range len(char) {
				fmt.Fprintf(&b, `\%03o`, char[i])
			}
		case width > 0:
			last = b.Len()
			b.WriteString(char)
		default: // a mark, which needs something to stand on
			if before == "" {
				b.WriteRune('◌')
			}
			b.WriteString(char)
		}
	}
	return b.String()
}

// joins says whether char, which alone takes width cells, takes another room with what is before it, or with a blank.
func joins(before, char string, width int) bool {
	return lipgloss.Width(before+char) != lipgloss.Width(before)+width || lipgloss.Width(" "+char+" ") != 2+width
}

// cells is how many cells of the screen visible text takes.
func cells(text string) int {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return lipgloss.Width(text)
		}
	}
	return len(text)
}

// cut makes visible text at most width cells wide; "…" stands for what is missing.
func cut(text string, width int) string {
	if cells(text) <= width {
		return text
	}
	if width <= 0 {
		return ""
	}
	used := 0
	for i, r := range text {
		w := 1
		if r >= utf8.RuneSelf {
			w = lipgloss.Width(string(r))
		}
		if used += w; used > width-1 {
			return text[:i] + "…"
		}
	}
	return text
}

// left makes visible text exactly width cells wide, with blanks after it.
func left(text string, width int) string {
	text = cut(text, width)
	return text + blanks(width-cells(text))
}

// right makes visible text exactly width cells wide, with blanks before it.
func right(text string, width int) string {
	text = cut(text, width)
	return blanks(width-cells(text)) + text
}

// blanks is n blanks, none if n is negative.
func blanks(n int) string { return strings.Repeat(" ", max(n, 0)) }

// line is a line of the screen that is being made, and never gets wider than it may.
type line struct {
	text strings.Builder
	free int // cells
}

// newLine makes an empty line of a width.
func newLine(width int) *line { return &line{free: max(width, 0)} }

// add writes text in a style, as much of it as there is room for.
func (l *line) add(style lipgloss.Style, text string) {
	text = cut(text, l.free)
	if text == "" {
		return
	}
	l.free -= cells(text)
	l.text.WriteString(style.Render(text))
}

// space writes n blanks, as many of them as there is room for.
func (l *line) space(n int) {
	n = max(min(n, l.free), 0)
	l.free -= n
	l.text.WriteString(blanks(n))
}

// String is the line with its styles.
func (l *line) String() string { return l.text.String() }
