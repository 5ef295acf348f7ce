package page

import (
	"math/bits"
	"syscall"

	"ipcfs/objects/internal/verify"
)

// Pieces are powers of two from 64 bytes, the size of a unit, to half a page.
const (
	minClass = 6
	maxClass = 11
)

// classOf is log2 of the piece that holds n bytes, 0 when that takes a whole page.
func classOf(n int) uint8 {
	if n > 1<<maxClass {
		return 0
	}
	return uint8(max(bits.Len(uint(max(n, 1)-1)), minClass))
}

// allUnits has a bit for each unit at which a piece of the class begins.
func allUnits(class uint8) uint64 {
	var m uint64
	for u := 0; u < 1<<unitBits; u += 1 << (class - minClass) {
		m |= 1 << u
	}
	return m
}

// Alloc hands out memory for n bytes, 1 to Size, in a piece of the least power of two that holds them, or in a page. It has one holder:
// Hold is for whole pages only. ENOMEM when the limit is reached, EINVAL for any other n.
func (a *Arena) Alloc(n int) (Ref, error) {
	if n < 1 || n > Size {
		return 0, syscall.EINVAL
	}
	class := classOf(n)
	if class == 0 {
		return a.AllocPage()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.slab[class]
	if p == 0 {
		if p = a.takeLocked(); p == 0 {
			return 0, syscall.ENOMEM
		}
		a.info[p] = info{class: class, freeUnits: allUnits(class)}
		a.listLocked(p)
	}
	i := &a.info[p]
	u := bits.TrailingZeros64(i.freeUnits)
	i.freeUnits &^= 1 << u
	i.refs++
	if i.freeUnits == 0 {
		a.unlistLocked(p)
	}
	return Ref(p<<unitBits | uint32(u)), nil
}

func (a *Arena) freePieceLocked(r Ref) {
	p, bit := r.page(), uint64(1)<<(uint32(r)%(1<<unitBits))
	i := &a.info[p]
	verify.That(i.freeUnits&bit == 0 && allUnits(i.class)&bit != 0, "Release of piece %#x of page %d: free %#x, class %d", bit, p, i.freeUnits, i.class)
	i.freeUnits |= bit
	i.refs--
	switch {
	case i.refs == 0:
		if i.listed {
			a.unlistLocked(p)
		}
		*i = info{}
		a.putLocked(p)
	case !i.listed:
		a.listLocked(p)
	}
}

// listLocked puts p at the head of its class's list of pages with a free piece.
func (a *Arena) listLocked(p uint32) {
	i := &a.info[p]
	i.next, i.prev, i.listed = a.slab[i.class], 0, true
	if i.next != 0 {
		a.info[i.next].prev = p
	}
	a.slab[i.class] = p
}

func (a *Arena) unlistLocked(p uint32) {
	i := &a.info[p]
	if i.prev == 0 {
		a.slab[i.class] = i.next
	} else {
		a.info[i.prev].next = i.next
	}
	if i.next != 0 {
		a.info[i.next].prev = i.prev
	}
	i.next, i.prev, i.listed = 0, 0, false
}
