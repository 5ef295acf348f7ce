package msgq

import (
	"math"
	"testing"
)

// What parses, and which types each takes and sends.
func TestViews(t *testing.T) {
	for text, want := range map[string]View{
		"1":                    {Selector: Selector{searchEqual, 1}},
		"7":                    {Selector: Selector{searchEqual, 7}},
		"-7":                   {Selector: Selector{searchLessEqual, 7}},
		"^7":                   {Selector: Selector{searchNotEqual, 7}},
		"9223372036854775807":  {Selector: Selector{searchEqual, math.MaxInt64}},
		"-9223372036854775807": {Selector: Selector{searchLessEqual, math.MaxInt64}},
		"raw":                  {Mode: ModeRaw},
		"peek":                 {Mode: ModePeek},
		"stream":               {Mode: ModeStream},
		"lines":                {Mode: ModeLines},
		"7:raw":                {Selector{searchEqual, 7}, ModeRaw},
		"-7:peek":              {Selector{searchLessEqual, 7}, ModePeek},
		"^7:stream":            {Selector{searchNotEqual, 7}, ModeStream},
		"12345:lines":          {Selector{searchEqual, 12345}, ModeLines},
	} {
		v, err := ParseView(text)
		if err != nil || v != want || v.String() != text {
			t.Errorf("%q is %+v (%q), %v", text, v, v, err)
		}
	}
	for _, text := range []string{
		"", ":", "0", "-0", "^0", "00", "07", "+7", "--7", "^-7", "-^7", "7-", "7 ", " 7", "7,8", "1_000", "0x7", "7.0", "٣", "9223372036854775808", "-9223372036854775808",
		"99999999999999999999", "RAW", "Raw", "raws", "ra", "raw:", ":raw", "raw:7", "raw:raw", "7:", "7:8", "7:raw:", "7::raw", "7:raw:peek", ":7", "-", "^", "-raw",
		"7raw", "7\n", "7\x00", "lines ", "%7",
	} {
		if v, err := ParseView(text); err == nil {
			t.Errorf("%q is taken for %+v", text, v)
		}
	}
	if s := (View{}).String(); s != "" {
		t.Errorf("the queue itself is %q", s)
	}
}

func FuzzView(f *testing.F) {
	for _, s := range []string{"", "7", "-7:raw", "^9223372036854775807:lines", "raw:peek", "7:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseView(s)
		if err == nil && (v.String() != s || v == View{}) {
			t.Errorf("%q is %+v, which is %q", s, v, v)
		}
		if err != nil && v != (View{}) {
			t.Errorf("%q is refused and %+v", s, v)
		}
	})
}

// Select is convert_mode: msgtyp and MSG_EXCEPT.
func TestSelect(t *testing.T) {
	for _, c := range []struct {
		msgtyp int64
		except bool
		takes  [5]bool // of the types 1, 2, 3, 4 and LONG_MAX
		sends  int64
	}{
		{0, false, [5]bool{true, true, true, true, true}, 1},
		{0, true, [5]bool{true, true, true, true, true}, 1},
		{3, false, [5]bool{false, false, true, false, false}, 3},
		{3, true, [5]bool{true, true, false, true, true}, 0},
		{-3, false, [5]bool{true, true, true, false, false}, 0},
		{-3, true, [5]bool{true, true, true, false, false}, 0},
		{-1, false, [5]bool{true, false, false, false, false}, 0},
		{math.MaxInt64, false, [5]bool{false, false, false, false, true}, math.MaxInt64},
		{-math.MaxInt64, false, [5]bool{true, true, true, true, true}, 0},
		{math.MinInt64, false, [5]bool{true, true, true, true, true}, 0},
	} {
		s := Select(c.msgtyp, c.except)
		for i, mtype := range []int64{1, 2, 3, 4, math.MaxInt64} {
			if s.match(mtype) != c.takes[i] {
				t.Errorf("msgtyp %d, except %v, type %d: taken is %v", c.msgtyp, c.except, mtype, s.match(mtype))
			}
		}
		if s.sends() != c.sends {
			t.Errorf("msgtyp %d, except %v: sends %d, want %d", c.msgtyp, c.except, s.sends(), c.sends)
		}
	}
}
