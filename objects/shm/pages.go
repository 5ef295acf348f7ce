package shm

import (
	"math/bits"

	"ipcfs/objects/page"
)

// pageSet is a set of page numbers of one file: those that have memory behind them. It costs a word for each 64 pages of which there is one, however long
// the file.
type pageSet struct {
	words map[int64]uint64 // by page number / 64; none is 0
	n     int64            // pages in the set
}

// pageSpan is the pages lo to hi-1.
type pageSpan struct{ lo, hi int64 }

// touched are the pages that have a byte of the n at off.
func touched(off, n int64) pageSpan {
	if n <= 0 {
		return pageSpan{}
	}
	return pageSpan{off / page.Size, (off+n-1)/page.Size + 1}
}

// covered are the pages that lie wholly in the n bytes at off.
func covered(off, n int64) pageSpan {
	lo := off / page.Size
	if off%page.Size != 0 {
		lo++
	}
	return pageSpan{lo, max(lo, (off+n)/page.Size)}
}

func (s pageSpan) len() int64 { return s.hi - s.lo }

// mask are the bits of word w that are in the span.
func (s pageSpan) mask(w int64) uint64 {
	m := ^uint64(0)
	if first := s.lo - w*64; first > 0 {
		m &^= 1<<first - 1
	}
	if end := s.hi - w*64; end < 64 {
		m &= 1<<end - 1
	}
	return m
}

// each calls f with each word that is not 0 and has bits in s, and with those bits. f may change the set.
func (p *pageSet) each(s pageSpan, f func(w int64, in uint64)) {
	if s.len() <= 0 {
		return
	}
	first, last := s.lo/64, (s.hi-1)/64
	if last-first >= int64(len(p.words)) {
		for w, word := range p.words {
			if first <= w && w <= last {
				f(w, word&s.mask(w))
			}
		}
		return
	}
	for w := first; w <= last; w++ {
		if word := p.words[w]; word != 0 {
			f(w, word&s.mask(w))
		}
	}
}

// missing is how many pages of s are not in the set.
func (p *pageSet) missing(s pageSpan) int64 {
	n := s.len()
	p.each(s, func(_ int64, in uint64) { n -= int64(bits.OnesCount64(in)) })
	return n
}

// prefix is the longest beginning of s of which at most n pages are missing.
func (p *pageSet) prefix(s pageSpan, n int64) pageSpan {
	for i := s.lo; i < s.hi; i++ {
		if p.words[i/64]>>(i%64)&1 != 0 {
			continue
		}
		if n == 0 {
			return pageSpan{s.lo, i}
		}
		n--
	}
	return s
}

// add puts the pages of s in. It takes time in proportion to their number.
func (p *pageSet) add(s pageSpan) {
	if s.len() <= 0 {
		return
	}
	if p.words == nil {
		p.words = make(map[int64]uint64)
	}
	p.n += p.missing(s)
	for w := s.lo / 64; w <= (s.hi-1)/64; w++ {
		p.words[w] |= s.mask(w)
	}
}

// remove takes the pages of s out.
func (p *pageSet) remove(s pageSpan) {
	p.each(s, func(w int64, in uint64) {
		p.n -= int64(bits.OnesCount64(in))
		if p.words[w] &^= in; p.words[w] == 0 {
			delete(p.words, w)
		}
	})
}
