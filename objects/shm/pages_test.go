package shm

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"ipcfs/objects/page"
)

func TestSpans(t *testing.T) {
	const p = page.Size
	for _, c := range []struct {
		off, n           int64
		touched, covered pageSpan
	}{
		{0, 0, pageSpan{}, pageSpan{0, 0}},
		{0, 1, pageSpan{0, 1}, pageSpan{0, 0}},
		{0, p, pageSpan{0, 1}, pageSpan{0, 1}},
		{0, p + 1, pageSpan{0, 2}, pageSpan{0, 1}},
		{1, p - 1, pageSpan{0, 1}, pageSpan{1, 1}},
		{1, p, pageSpan{0, 2}, pageSpan{1, 1}},
		{1, 2*p - 1, pageSpan{0, 2}, pageSpan{1, 2}},
		{p - 1, 2, pageSpan{0, 2}, pageSpan{1, 1}},
		{5 * p, 3 * p, pageSpan{5, 8}, pageSpan{5, 8}},
		{math.MaxInt64, 0, pageSpan{}, pageSpan{math.MaxInt64/p + 1, math.MaxInt64/p + 1}},
		{0, math.MaxInt64, pageSpan{0, math.MaxInt64/p + 1}, pageSpan{0, math.MaxInt64 / p}},
	} {
		if got := touched(c.off, c.n); got != c.touched {
			t.Errorf("touched(%d, %d) = %v, want %v", c.off, c.n, got, c.touched)
		}
		if got := covered(c.off, c.n); got != c.covered {
			t.Errorf("covered(%d, %d) = %v, want %v", c.off, c.n, got, c.covered)
		}
	}
}

// A set behaves as a map of its pages does, also where a span is much longer than the set.
func TestPageSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set pageSet
		model := make(map[int64]bool)
		span := func(most int64) pageSpan {
			lo := rapid.Int64Range(0, 400).Draw(t, "lo")
			return pageSpan{lo, lo + rapid.Int64Range(0, most).Draw(t, "pages")}
		}
		missing := func(s pageSpan) int64 {
			n := s.len()
			for p := range model {
				if s.lo <= p && p < s.hi {
					n--
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				s := span(200)
				set.add(s)
				for p := s.lo; p < s.hi; p++ {
					model[p] = true
				}
			},
			"remove": func(t *rapid.T) {
				s := span(200)
				if rapid.IntRange(0, 9).Draw(t, "to the end") == 0 {
					s.hi = math.MaxInt64 / page.Size
				}
				set.remove(s)
				for p := range model {
					if s.lo <= p && p < s.hi {
						delete(model, p)
					}
				}
			},
			"missing": func(t *rapid.T) {
				for _, s := range []pageSpan{span(200), span(1 << 40), {}} {
					if got, want := set.missing(s), missing(s); got != want {
						t.Fatalf("missing(%v) = %d, want %d", s, got, want)
					}
				}
			},
			"prefix": func(t *rapid.T) {
				s, n := span(200), rapid.Int64Range(0, 100).Draw(t, "n")
				got := set.prefix(s, n)
				whole := got == s
				if got.lo != s.lo || missing(got) > n || !whole && missing(pageSpan{got.lo, got.hi + 1}) <= n {
					t.Fatalf("prefix(%v, %d) = %v", s, n, got)
				}
			},
			"": func(t *rapid.T) {
				if set.n != int64(len(model)) {
					t.Fatalf("%d pages, want %d", set.n, len(model))
				}
				for w, word := range set.words {
					if word == 0 {
						t.Fatalf("word %d is kept for nothing", w)
					}
				}
			},
		})
	})
}
