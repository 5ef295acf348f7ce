// Package page is the memory of the objects: payload lives in pages of one arena, not in the Go heap. An arena is a memfd, mapped
// once, with a hard limit; pages are found by number (a Ref), so an object that holds many of them costs the garbage collector
// nothing, and what it holds outlives the process if somebody else has the memfd.
//
// A Ref names a whole page, or a power-of-two piece of one (slab.go) for payloads that will not grow.
//
// Arena.mu is a leaf: it is taken under the lock of an object and nothing is called while it is held.
package page

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"ipcfs/objects/internal/verify"
)

// Size is the size of a page in bytes, PAGE_SIZE of the simulated kernel.
const Size = 4096

// Ref names a page or a piece of one: the page's number and, in the low 6 bits, the unit of 64 bytes at which a piece begins. The zero
// Ref names nothing.
type Ref uint32

const (
	unitBits = 6 // log2 of the units in a page
	unit     = Size >> unitBits
)

func (r Ref) page() uint32 { return uint32(r) >> unitBits }

// MaxLimit is the largest limit of an arena in bytes: what a Ref can name.
const MaxLimit = int64(1) << (32 - unitBits) * Size

// info is what the arena knows of one page.
type info struct {
	refs  uint32 // references to a whole page; pieces in use of a page cut in pieces
	class uint8  // log2 of the size of the page's pieces; 0 for a whole page
	// Of a page cut in pieces:
	freeUnits  uint64 // a bit for each unit at which a free piece begins
	next, prev uint32 // the list of pages of this class with a free piece
	listed     bool
}

// Arena is a set of pages with a limit. All methods may be called by several goroutines at once; none blocks.
type Arena struct {
	fd    int    // the memfd; set by New
	mem   []byte // its mapping; set by New. Page 0 is never handed out, so that the zero Ref names nothing
	limit int    // pages that may be handed out; set by New

	mu    sync.Mutex // guards all below, and nothing in mem: a page belongs to who holds its Ref
	info  []info     // by page number
	warm  []uint32   // free pages that may have memory behind them, last used last
	cold  []uint32   // free pages that were given back
	fresh uint32     // pages from this one on were never handed out
	inUse int        // pages handed out
	slab  [maxClass + 1]uint32
	calls uint64 // allocations so far, for Trim to see idleness
	seen  uint64 // calls at the last Trim
}

// New makes an arena of at most limit bytes, rounded down to pages. Memory is taken from the system only as pages are used. EINVAL if
// limit is below one page or above MaxLimit less a page; else what memfd_create(2), ftruncate(2) and mmap(2) say.
func New(limit int64) (*Arena, error) {
	n := limit / Size
	if n < 1 || limit > MaxLimit-Size {
		return nil, syscall.EINVAL
	}
	fd, err := unix.MemfdCreate("ipcfs-arena", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	bytes := (n + 1) * Size
	if err := unix.Ftruncate(fd, bytes); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("ftruncate of the arena: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("mmap of the arena: %w", err)
	}
	return &Arena{fd: fd, mem: mem, limit: int(n), info: make([]info, n+1), fresh: 1}, nil
}

// Close gives the memory back. No page may be used after it. It panics if assertions are on and a page is still held.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	verify.That(a.inUse == 0, "arena closed with %d pages in use", a.inUse)
	if err := unix.Munmap(a.mem); err != nil {
		return err
	}
	a.mem = nil
	return unix.Close(a.fd)
}

// Bytes is the memory that r names: Size bytes, or those of a piece. It is the holder's until the last reference is released.
func (a *Arena) Bytes(r Ref) []byte {
	start := int(r.page()) * Size
	n := Size
	if class := a.info[r.page()].class; class != 0 { // fixed as long as r is held
		start += int(r) % (1 << unitBits) * unit
		n = 1 << class
	}
	return a.mem[start : start+n : start+n]
}

// AllocPage hands out a whole page with one reference; its content is arbitrary. ENOMEM when the limit is reached.
func (a *Arena) AllocPage() (Ref, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.takeLocked()
	if p == 0 {
		return 0, syscall.ENOMEM
	}
	a.info[p].refs = 1
	return Ref(p << unitBits), nil
}

// Hold adds a reference to the whole page r.
func (a *Arena) Hold(r Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := &a.info[r.page()]
	verify.That(i.refs > 0 && i.class == 0, "Hold of page %d with %d references, class %d", r.page(), i.refs, i.class)
	i.refs++
}

// Release drops one reference to each of refs; a page or piece without one is free.
func (a *Arena) Release(refs ...Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range refs {
		p := r.page()
		i := &a.info[p]
		verify.That(p != 0 && i.refs > 0, "Release of page %d with %d references", p, i.refs)
		if i.class != 0 {
			a.freePieceLocked(r)
			continue
		}
		if i.refs--; i.refs == 0 {
			a.putLocked(p)
		}
	}
}

// takeLocked takes a free page, 0 if there is none: the one used last first, since the processor's cache may still have it.
func (a *Arena) takeLocked() uint32 {
	verify.Held(&a.mu)
	a.calls++
	var p uint32
	switch {
	case len(a.warm) > 0:
		p, a.warm = a.warm[len(a.warm)-1], a.warm[:len(a.warm)-1]
	case len(a.cold) > 0:
		p, a.cold = a.cold[len(a.cold)-1], a.cold[:len(a.cold)-1]
	case int(a.fresh) <= a.limit:
		p = a.fresh
		a.fresh++
	default:
		return 0
	}
	a.inUse++
	return p
}

func (a *Arena) putLocked(p uint32) {
	verify.Held(&a.mu)
	a.warm = append(a.warm, p)
	a.inUse--
}

// Stat is a snapshot of an arena, in pages.
type Stat struct {
	Limit int // that may be handed out
	InUse int // handed out
	Warm  int // free, but with memory behind them that Trim would give back
}

// Stat returns the counts of this moment.
func (a *Arena) Stat() Stat {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stat{Limit: a.limit, InUse: a.inUse, Warm: len(a.warm)}
}

// checkInvariants panics unless every page is in exactly one place: in use, warm, cold, or never handed out.
func (a *Arena) checkInvariants() {
	a.mu.Lock()
	defer a.mu.Unlock()
	free := make(map[uint32]bool)
	for _, p := range append(append([]uint32(nil), a.warm...), a.cold...) {
		verify.That(p > 0 && p < a.fresh && !free[p], "page %d is free twice, or was never handed out", p)
		verify.That(a.info[p].refs == 0, "page %d is free with %d references", p, a.info[p].refs)
		free[p] = true
	}
	verify.That(a.inUse+len(free) == int(a.fresh)-1, "%d pages in use, %d free, %d ever handed out", a.inUse, len(free), a.fresh-1)
	for p := uint32(1); p < a.fresh; p++ {
		verify.That(free[p] || a.info[p].refs > 0, "page %d is neither free nor in use", p)
	}
}
