package top

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"pgregory.net/rapid"
)

// What names look like on the screen.
func TestVisible(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "plain": "plain", "with blank": "with blank", `back\slash`: `back\slash`,
		"a\nb\tc\x1b[31md\x7f": `a\012b\011c\033[31md\177`, "\xff\xc3": `\377\303`, "\u009b31m": `\302\23331m`,
		"Grüße": "Grüße", "中文": "中文", "cafe\u0301": "cafe\u0301", "\u0301x": "◌\u0301x",
		"a\u202eb": `a\342\200\256b`, "a\u200bb": `a\342\200\213b`,
		"👨\u200d👩": `👨\342\200\215👩`, "\u2764\ufe0f": "\u2764" + `\357\270\217`, "🇩🇪": `\360\237\207\251\360\237\207\252`,
	} {
		if got := visible(name); got != want {
			t.Errorf("%q: %q, not %q", name, got, want)
		}
	}
}

// Whatever the name is, what is shown of it takes as many cells as its characters one by one, so that no terminal can see it otherwise; it stays as it is when it is made
// visible again, and can be cut everywhere.
func TestVisibleIsOfAKnownWidth(t *testing.T) {
	odd := rapid.SampledFrom([]rune("\u0301\u094d\u0915\u0937\u093f\u0e33\u200d\ufe0f\u1100\u1161\u11a8\u0d4e🇩🏽👩中a \x1b\u202e\ufdfd◌"))
	runes := rapid.SliceOf(rapid.OneOf(odd, odd, rapid.Rune()))
	rapid.Check(t, func(t *rapid.T) {
		name := string(runes.Draw(t, "name")) + string(rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "bytes"))
		got := visible(name)
		sum := 0
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q has %q", got, r)
			}
			sum += lipgloss.Width(string(r))
		}
		if cells(got) != sum || !utf8.ValidString(got) {
			t.Fatalf("%q is %d cells, its characters are %d", got, cells(got), sum)
		}
		if again := visible(got); again != got {
			t.Fatalf("%q becomes %q", got, again)
		}
		for width := range sum + 2 {
			c := cut(got, width)
			if cells(c) > width || sum <= width && c != got || sum > width && width > 0 && !strings.HasSuffix(c, "…") {
				t.Fatalf("%q cut to %d: %q", got, width, c)
			}
			if l, r := left(got, width), right(got, width); cells(l) != width || cells(r) != width {
				t.Fatalf("%q in %d cells: %q, %q", got, width, l, r)
			}
		}
	})
}

// Nothing that is added makes a line wider than it may be.
func TestLine(t *testing.T) {
	l := newLine(8)
	l.add(lipgloss.NewStyle(), "中文")
	l.space(1)
	l.add(lipgloss.NewStyle(), "中文")
	l.add(lipgloss.NewStyle(), "x")
	l.space(3)
	if got := l.String(); got != "中文 中…" && got != "中文 中" || l.free != 0 {
		t.Errorf("%q, %d free", got, l.free)
	}
	l = newLine(-1)
	l.add(lipgloss.NewStyle(), "x")
	l.space(-1)
	if l.String() != "" {
		t.Errorf("%q", l)
	}
}

// A bar is empty only for nothing, and full only for all.
func TestBar(t *testing.T) {
	for _, c := range []struct {
		fill  float64
		width int
		want  string
	}{
		{0, 4, "    "}, {1e-9, 4, "▏   "}, {0.5, 4, "██  "}, {0.54, 4, "██▏ "}, {0.999999, 4, "███▉"}, {1, 4, "████"},
		{-1, 2, "  "}, {7, 2, "██"}, {0.5, 0, ""}, {0.5, -3, ""},
	} {
		if got := bar(c.fill, c.width); got != c.want {
			t.Errorf("%v in %d: %q", c.fill, c.width, got)
		}
	}
	if got := gauge(0.999, 9); got != "███▉▏ 99%" {
		t.Errorf("%q", got)
	}
}

// A sparkline shows the last values, by the largest of them.
func TestSparkline(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		want   string
	}{
		{nil, 3, "   "}, {[]float64{0, 0}, 3, "   "}, {[]float64{1, 2, 4, 8}, 4, "▂▃▅█"}, {[]float64{1000, 1, 0, 4}, 3, "▃ █"}, {[]float64{5}, 3, "  █"},
		{[]float64{1e-9, 1e12}, 2, "▁█"}, {[]float64{1}, 0, ""}, {[]float64{1}, -1, ""},
	} {
		if got := sparkline(c.values, c.width); got != c.want {
			t.Errorf("%v in %d: %q", c.values, c.width, got)
		}
	}
}

// Rates for people.
func TestRateTexts(t *testing.T) {
	var got []string
	for _, r := range []float64{0, 0.3, 1, 1023.4, 1536, 5e9} {
		got = append(got, bytesRate(r))
	}
	if want := []string{"-", "<1B", "1B", "1023B", "1.5K", "4.6G"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	got = nil
	for _, r := range []float64{0, 0.25, 9.9, 10.4, 999.4, 999.6, 1234, 999_400, 999_600, 12_345_678} {
		got = append(got, countRate(r))
	}
	if want := []string{"-", "0.2", "9.9", "10", "999", "1.0k", "1.2k", "999.4k", "1.0M", "12.3M"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
