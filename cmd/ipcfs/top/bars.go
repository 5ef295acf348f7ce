package top

import (
	"strconv"
	"strings"

	"ipcfs/cmd/ipcfs/inspect"
)

// eighths are bars of one to seven eighths of a cell, from the left, and levels are bars of one to eight eighths, from below.
var (
	eighths = []rune(" ▏▎▍▌▋▊▉")
	levels  = []rune(" ▁▂▃▄▅▆▇█")
)

// bar draws how full something is, from 0 to 1, in width cells. It is empty only for nothing and full only for all.
func bar(fill float64, width int) string {
	if width <= 0 {
		return ""
	}
	all := 8 * width
	n := min(max(int(fill*float64(all)), 0), all)
	switch {
	case n == 0 && fill > 0:
		n = 1
	case n == all && fill < 1:
		n = all - 1
	}
	text := strings.Repeat("█", n/8)
	if n%8 > 0 {
		text += string(eighths[n%8])
	}
	return left(text, width)
}

// gauge is a bar in width cells, with a mark where it would end and the percentage.
func gauge(fill float64, width int) string {
	const percent = 5 // cells of "▏100%"
	return bar(fill, width-percent) + cut("▏"+right(strconv.Itoa(int(fill*100))+"%", percent-1), width)
}

// sparkline draws the last values in width cells, each by how much it is of the largest of them, the newest at the right. Where there was none of it, it is blank.
func sparkline(values []float64, width int) string {
	values = values[max(len(values)-max(width, 0), 0):]
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	b.WriteString(blanks(width - len(values)))
	for _, v := range values {
		level := 0
		if v > 0 {
			level = min(1+int(v/most*8), 8)
		}
		b.WriteRune(levels[level])
	}
	return b.String()
}

// bytesRate writes bytes a second for people. None is "-": a list of many objects is better read so.
func bytesRate(rate float64) string {
	switch {
	case rate <= 0:
		return "-"
	case rate < 1:
		return "<1B"
	}
	return inspect.Size(int64(rate + 0.5))
}

// countRate writes how often something happens in a second, in powers of 1000.
func countRate(rate float64) string {
	switch {
	case rate <= 0:
		return "-"
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	case rate < 999.5:
		return strconv.FormatFloat(rate, 'f', 0, 64)
	case rate < 999.5e3:
		return strconv.FormatFloat(rate/1e3, 'f', 1, 64) + "k"
	}
	return strconv.FormatFloat(rate/1e6, 'f', 1, 64) + "M"
}
