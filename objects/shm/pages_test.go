package shm

import (
	"math"
	"math/rand/v2"
	"testing"

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
	seed := rand.Uint64() //nolint:forbidigo // printed, and all that follows from it is the same again
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:forbidigo // from the seed
	var set pageSet
	model := make(map[int64]bool)
	for range 20000 {
		lo := rng.Int64N(400)
		s := pageSpan{lo, lo + rng.Int64N(200)}
		switch rng.IntN(20) {
		case 0:
			s.hi = math.MaxInt64 / page.Size
		case 1:
			s = pageSpan{}
		}
		missing := s.len()
		for p := range model {
			if s.lo <= p && p < s.hi {
				missing--
			}
		}
		if got := set.missing(s); got != missing {
			t.Fatalf("missing(%v) = %d, want %d", s, got, missing)
		}
		if s.hi < 1000 {
			n := rng.Int64N(50)
			want, left := pageSpan{s.lo, s.lo}, n
			for ; want.hi < s.hi; want.hi++ {
				if !model[want.hi] {
					if left--; left < 0 {
						break
					}
				}
			}
			if got := set.prefix(s, n); got != want {
				t.Fatalf("prefix(%v, %d) = %v, want %v", s, n, got, want)
			}
		}
		if rng.IntN(2) == 0 && s.hi < 1000 {
			set.add(s)
			for p := s.lo; p < s.hi; p++ {
				model[p] = true
			}
		} else {
			set.remove(s)
			for p := range model {
				if s.lo <= p && p < s.hi {
					delete(model, p)
				}
			}
		}
		if set.n != int64(len(model)) {
			t.Fatalf("%d pages, want %d", set.n, len(model))
		}
		for w, word := range set.words {
			if word == 0 {
				t.Fatalf("word %d is kept for nothing", w)
			}
		}
	}
}
