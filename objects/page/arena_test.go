package page

import (
	"bytes"
	"syscall"
	"testing"
)

func newArena(t testing.TB, pages int) *Arena {
	t.Helper()
	a, err := New(int64(pages) * Size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func wantStat(t *testing.T, a *Arena, want Stat) {
	t.Helper()
	if got := a.Stat(); got != want {
		t.Fatalf("Stat = %+v, want %+v", got, want)
	}
}

func TestLimit(t *testing.T) {
	a := newArena(t, 3)
	var refs []Ref
	for range 3 {
		r, err := a.AllocPage()
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, r)
	}
	if _, err := a.AllocPage(); err != syscall.ENOMEM {
		t.Fatalf("a page above the limit: %v, want ENOMEM", err)
	}
	if _, err := a.Alloc(64); err != syscall.ENOMEM {
		t.Fatalf("a piece above the limit: %v, want ENOMEM", err)
	}
	wantStat(t, a, Stat{Limit: 3, InUse: 3})
	a.Release(refs[1])
	if r, err := a.AllocPage(); err != nil || r != refs[1] {
		t.Fatalf("AllocPage = %v, %v, want the page that was freed, %v", r, err, refs[1])
	}
	a.Release(refs...)
	wantStat(t, a, Stat{Limit: 3, Warm: 3})
}

func TestReferences(t *testing.T) {
	a := newArena(t, 1)
	r, _ := a.AllocPage()
	a.Hold(r)
	a.Release(r)
	wantStat(t, a, Stat{Limit: 1, InUse: 1})
	a.Release(r)
	wantStat(t, a, Stat{Limit: 1, Warm: 1})
	defer func() {
		if recover() == nil {
			t.Error("releasing a free page did not panic")
		}
	}()
	a.Release(r)
}

func TestPiecesShareAPage(t *testing.T) {
	for _, c := range []struct{ n, size, perPage int }{
		{1, 64, 64}, {63, 64, 64}, {64, 64, 64}, {65, 128, 32}, {1024, 1024, 4}, {1025, 2048, 2}, {2048, 2048, 2}, {2049, Size, 1}, {Size, Size, 1},
	} {
		a := newArena(t, 2)
		var refs []Ref
		for range 2 * c.perPage {
			r, err := a.Alloc(c.n)
			if err != nil {
				t.Fatalf("n=%d: piece %d: %v", c.n, len(refs), err)
			}
			if got := len(a.Bytes(r)); got != c.size {
				t.Fatalf("n=%d: a piece of %d bytes, want %d", c.n, got, c.size)
			}
			refs = append(refs, r)
		}
		if _, err := a.Alloc(c.n); err != syscall.ENOMEM {
			t.Fatalf("n=%d: %v after %d pieces, want ENOMEM", c.n, err, len(refs))
		}
		for i, r := range refs {
			b := a.Bytes(r)
			copy(b, bytes.Repeat([]byte{byte(i + 1)}, len(b)))
		}
		for i, r := range refs {
			if b := a.Bytes(r); !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, len(b))) {
				t.Fatalf("n=%d: piece %d overlaps another", c.n, i)
			}
		}
		a.Release(refs...)
		wantStat(t, a, Stat{Limit: 2, Warm: 2})
	}
}

func TestAllocBounds(t *testing.T) {
	a := newArena(t, 1)
	for _, n := range []int{-1, 0, Size + 1} {
		if _, err := a.Alloc(n); err != syscall.EINVAL {
			t.Errorf("Alloc(%d): %v, want EINVAL", n, err)
		}
	}
	for _, limit := range []int64{-1, 0, Size - 1, MaxLimit} {
		if _, err := New(limit); err != syscall.EINVAL {
			t.Errorf("New(%d): %v, want EINVAL", limit, err)
		}
	}
}

func TestTrimGivesBackOnlyWhenIdle(t *testing.T) {
	const pages = 600 // more than two batches
	a := newArena(t, pages)
	var refs []Ref
	for range pages {
		r, _ := a.AllocPage()
		copy(a.Bytes(r), "used")
		refs = append(refs, r)
	}
	kept := refs[0]
	a.Release(refs[1:]...)
	if n, err := a.Trim(); n != 0 || err != nil {
		t.Fatalf("Trim right after allocations = %d, %v, want 0", n, err)
	}
	blocks := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Fstat(a.fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	if got := blocks(); got != pages*Size {
		t.Fatalf("the memfd has %d bytes, want %d", got, pages*Size)
	}
	if n, err := a.Trim(); n != (pages-1)*Size || err != nil {
		t.Fatalf("Trim when idle = %d, %v, want %d", n, err, (pages-1)*Size)
	}
	if got := blocks(); got != Size {
		t.Fatalf("the memfd has %d bytes after Trim, want %d", got, Size)
	}
	wantStat(t, a, Stat{Limit: pages, InUse: 1})
	if !bytes.HasPrefix(a.Bytes(kept), []byte("used")) {
		t.Fatal("Trim touched a page in use")
	}
	for range pages - 1 {
		if _, err := a.AllocPage(); err != nil {
			t.Fatalf("a page that was given back cannot be used again: %v", err)
		}
	}
	a.Release(refs...)
}

// FuzzArena checks after every operation that no memory is lost and none is used twice: each holder marks what it holds.
func FuzzArena(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 200, 10, 250, 4, 90, 91, 255})
	f.Add(bytes.Repeat([]byte{7, 130, 40, 201}, 40))
	f.Fuzz(func(t *testing.T, program []byte) {
		const pages = 8
		a := newArena(t, pages)
		type holding struct {
			ref   Ref
			mark  byte
			holds int
		}
		var held []holding
		for step, b := range program {
			switch {
			case b < 160: // take
				n := 1 + int(b)*Size/159
				r, err := a.Alloc(min(n, Size))
				if err == syscall.ENOMEM {
					if a.Stat().InUse != pages {
						t.Fatalf("step %d: ENOMEM with %+v", step, a.Stat())
					}
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				mark := byte(step + 1)
				copy(a.Bytes(r), bytes.Repeat([]byte{mark}, len(a.Bytes(r))))
				held = append(held, holding{r, mark, 1})
			case b < 240 && len(held) > 0: // give
				i := int(b) % len(held)
				a.Release(held[i].ref)
				if held[i].holds--; held[i].holds == 0 {
					held = append(held[:i], held[i+1:]...)
				}
			case b < 250 && len(held) > 0: // hold a whole page once more
				if i := int(b) % len(held); len(a.Bytes(held[i].ref)) == Size {
					a.Hold(held[i].ref)
					held[i].holds++
				}
			default:
				if _, err := a.Trim(); err != nil {
					t.Fatal(err)
				}
			}
			least := 0
			for _, h := range held {
				m := a.Bytes(h.ref)
				if !bytes.Equal(m, bytes.Repeat([]byte{h.mark}, len(m))) {
					t.Fatalf("step %d: memory of one holder was changed by another", step)
				}
				least += len(m)
			}
			a.checkInvariants()
			if s := a.Stat(); s.InUse*Size < least || s.InUse > pages {
				t.Fatalf("step %d: %d bytes held, %+v", step, least, s)
			}
		}
		for _, h := range held {
			for range h.holds {
				a.Release(h.ref)
			}
		}
		if s := a.Stat(); s.InUse != 0 {
			t.Fatalf("%d pages lost", s.InUse)
		}
	})
}
