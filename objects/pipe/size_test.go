package pipe

import (
	"fmt"
	"syscall"
	"testing"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// resize is F_SETPIPE_SZ with its result.
func (s *steps) resize(c ipc.Caller, bytes uint64, want error) {
	s.t.Helper()
	var err error
	s.do(func(d *ipc.Completions) { err = s.p.SetCapacity(c, bytes, d) })
	if err != want {
		s.t.Fatalf("SetCapacity(%d) = %v, want %v", bytes, err, want)
	}
}

func (s *steps) wantCapacity(pages int) {
	s.t.Helper()
	if got := s.p.Capacity(); got != pages*page.Size {
		s.t.Fatalf("capacity %d bytes, want %d pages", got, pages)
	}
	if got := s.p.Stat().Slots; got != pages {
		s.t.Fatalf("%d slots, want %d", got, pages)
	}
}

func TestCapacityIsRounded(t *testing.T) {
	for _, c := range []struct {
		bytes uint64
		pages int
	}{
		{0, 1}, {1, 1}, {4095, 1}, {4096, 1}, {4097, 2}, {8192, 2}, {8193, 4}, {16383, 4}, {16385, 8},
		{65536, 16}, {65537, 32}, {1<<20 - 1, 256}, {1 << 20, 256}, {1<<20 + 1, 512}, {1<<31 - 1, 1 << 19}, {1 << 31, 1 << 19},
	} {
		s := newSteps(t)
		s.wantCapacity(DefaultSlots)
		s.resize(root, c.bytes, nil)
		s.wantCapacity(c.pages)
	}
	s := newSteps(t)
	for _, bytes := range []uint64{1<<31 + 1, 1 << 32, 1<<32 + 4096, 1<<64 - 1} {
		s.resize(root, bytes, syscall.EINVAL)
	}
	s.wantCapacity(DefaultSlots)
}

func TestCapacityOutlivesTheLastClose(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.resize(root, 2*4096, nil)
	s.close(r)
	s.close(w)
	s.wantCapacity(2)
	s.resize(root, 4*4096, nil) // while nobody has it open
	s.wantCapacity(4)
	_, w = s.ends()
	s.wantCapacity(4)
	s.fill(w, 4)
	s.tryWrite(w, "w", "x")
	s.want("w=EAGAIN")
}

func TestShrink(t *testing.T) {
	for _, held := range []int{0, 1, 3, 4, 5, 15, 16} {
		for _, before := range []int{0, 1, 13, 17} { // so many slots were used before, which turns the ring
			s := newSteps(t)
			r, w := s.ends()
			for range before {
				s.fill(w, 1)
				s.read(r, "r", 4096)
				s.log = nil
			}
			want := ""
			for i := range held {
				page := bytesOf('a'+byte(i), 4096)
				s.tryWrite(w, "w", page)
				want += page
			}
			s.log = nil
			if held > 4 {
				s.resize(root, 4*4096, syscall.EBUSY)
				s.wantCapacity(DefaultSlots)
			} else {
				s.resize(root, 4*4096, nil)
				s.wantCapacity(4)
				s.tryWrite(w, "w", bytesOf('z', (5-held)*4096)) // room for one page less
				if held == 4 {
					s.want("w=EAGAIN")
				} else {
					s.want(fmt.Sprint("w=", (4-held)*4096))
					want += bytesOf('z', (4-held)*4096)
				}
			}
			s.read(r, "r", 20*4096)
			s.want("r=" + show([]byte(want)))
		}
	}
}

// EBUSY counts slots, not bytes.
func TestShrinkCountsSlots(t *testing.T) {
	s := newSteps(t)
	_, w := s.ends()
	for range 3 {
		s.packet(w, "w", "p")
	}
	s.resize(root, 2*4096, syscall.EBUSY)
	s.resize(root, 4*4096, nil)
	s.log = nil
}

func TestGrowingLetsWritersGoOn(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.resize(root, 4096, nil)
	s.fill(w, 1)
	s.write(w, "a", bytesOf('a', 2*4096))
	s.write(w, "b", bytesOf('b', 2*4096))
	s.resize(root, 2*4096, nil)
	s.want() // a has one of its pages in, and waits behind b
	s.resize(root, 4*4096, nil)
	s.want("b=8192")
	s.resize(root, 8*4096, nil)
	s.want("a=8192")
	s.read(r, "r", 20*4096)
	s.want("r=4096. 4096a 8192b 4096a")
	s.tryWrite(w, "c", bytesOf('c', 8*4096))
	s.write(w, "d", "d")
	s.resize(root, 4096, syscall.EBUSY)
	s.want("c=32768")
}

func TestPipeMaxSize(t *testing.T) {
	for _, open := range []bool{false, true} {
		s := newSteps(t)
		if open {
			s.ends()
		}
		s.resize(alice, 1<<20, nil)
		s.resize(alice, 1<<20+1, syscall.EPERM)
		s.wantCapacity(256)
		s.resize(root, 4<<20, nil)
		s.resize(alice, 8<<20, syscall.EPERM)
		s.resize(alice, 4<<20, nil) // not above what it is already
		s.resize(alice, 2<<20, nil) // shrinking is always allowed
		s.resize(alice, 4<<20, syscall.EPERM)
		s.wantCapacity(512)
	}
	s := newStepsWith(t, 64, ipc.Limits{PipeMaxSize: 4 * 4096})
	s.begin("a", OpenOp{Caller: alice, Flags: rdwr})
	s.wantCapacity(4) // the default is above what alice may have
	s.close(s.open[0])
	s.begin("r", OpenOp{Flags: rdwr})
	s.wantCapacity(DefaultSlots)
	s.want("a=ok", "r=ok")
}

// alicesPipe is another pipe of the namespace, opened by alice.
func alicesPipe(s *steps) (close func()) {
	op := OpenOp{Caller: alice, Flags: rdwr, Done: wake{s, "other"}}
	s.do(func(d *ipc.Completions) { New(s.ns).Open(&op, d) })
	if op.Err != nil {
		s.t.Fatalf("open of another pipe: %v", op.Err)
	}
	s.log = nil
	return func() { s.do(op.File.Release) }
}

func TestSoftLimit(t *testing.T) {
	s := newStepsWith(t, 64, ipc.Limits{PipeMaxSize: 1 << 20, PipeUserPagesSoft: 40})
	defer alicesPipe(s)()
	second := alicesPipe(s)
	if n := s.ns.PipeBuffers(alice.UID); n != 32 {
		t.Fatalf("alice has %d pages, want 32", n)
	}
	// 48 pages are above the limit, so she gets the least. That is not kept for the next one.
	s.begin("a", OpenOp{Caller: alice, Flags: rdwr})
	s.wantCapacity(2)
	s.resize(alice, 4*4096, nil) // 36
	s.resize(alice, 8*4096, nil) // 40, on the limit
	s.resize(alice, 16*4096, syscall.EPERM)
	s.wantCapacity(8)
	s.resize(root, 16*4096, nil) // root may, and alice pays
	if n := s.ns.PipeBuffers(alice.UID); n != 48 {
		t.Fatalf("alice has %d pages, want 48", n)
	}
	s.resize(alice, 8*4096, nil)
	second()
	s.resize(alice, 16*4096, nil)
	s.want("a=ok")
}

func TestSoftLimitDoesNotStick(t *testing.T) {
	s := newStepsWith(t, 64, ipc.Limits{PipeMaxSize: 1 << 20, PipeUserPagesSoft: 20})
	other := alicesPipe(s)
	s.begin("a", OpenOp{Caller: alice, Flags: rdwr})
	s.wantCapacity(2)
	s.close(s.open[0])
	s.begin("r", OpenOp{Flags: rdwr})
	s.wantCapacity(DefaultSlots) // root is never limited
	s.close(s.open[0])
	other()
	s.begin("a", OpenOp{Caller: alice, Flags: rdwr})
	s.wantCapacity(DefaultSlots)
	s.want("a=ok", "r=ok", "a=ok")
}

func TestHardLimit(t *testing.T) {
	s := newStepsWith(t, 64, ipc.Limits{PipeMaxSize: 1 << 20, PipeUserPagesHard: 20})
	other := alicesPipe(s)
	s.begin("a", OpenOp{Caller: alice, Flags: rdonly}) // fails at once, though it would have to wait
	s.want("a=ENOMEM")
	if n := s.ns.PipeBuffers(alice.UID); n != 16 {
		t.Fatalf("alice has %d pages, want 16", n)
	}
	s.resize(alice, 4*4096, nil)
	s.begin("b", OpenOp{Caller: alice, Flags: rdwr}) // 20 pages, on the limit
	s.wantCapacity(4)
	s.resize(alice, 8*4096, syscall.EPERM)
	s.begin("r", OpenOp{Flags: rdwr}) // who comes later pays nothing
	if n, m := s.ns.PipeBuffers(alice.UID), s.ns.PipeBuffers(root.UID); n != 20 || m != 0 {
		t.Fatalf("alice has %d pages and root %d, want 20 and 0", n, m)
	}
	s.want("b=ok", "r=ok")
	other()
	s.resize(alice, 8*4096, nil)
}

func TestHardLimitComesFirst(t *testing.T) {
	s := newStepsWith(t, 64, ipc.Limits{PipeMaxSize: 1 << 20, PipeUserPagesHard: 20})
	defer alicesPipe(s)()
	s.begin("a", OpenOp{Caller: alice, Flags: wronly | nonBlock})
	s.want("a=ENOMEM")
}

// A failed resize leaves the account as it was.
func TestFailedResizeIsNotPaidFor(t *testing.T) {
	s := newSteps(t)
	s.begin("a", OpenOp{Caller: alice, Flags: rdwr})
	f := s.open[0]
	s.tryWrite(f, "w", bytesOf('a', 3*4096))
	s.resize(alice, 2*4096, syscall.EBUSY)
	s.resize(alice, 2<<20, syscall.EPERM)
	if n := s.ns.PipeBuffers(alice.UID); n != DefaultSlots {
		t.Fatalf("alice has %d pages, want %d", n, DefaultSlots)
	}
	s.want("a=ok", "w=12288")
}

func TestResizeIsAChange(t *testing.T) {
	s := newSteps(t)
	made := s.now
	s.now = s.now.Add(1)
	s.resize(root, 1<<31+1, syscall.EINVAL)
	if got := s.p.Times(); got != (ipc.Times{Atime: made, Mtime: made, Ctime: made}) {
		t.Fatalf("a resize that fails changed the times to %v", got)
	}
	s.resize(root, 4096, nil)
	if got := s.p.Times(); got != (ipc.Times{Atime: made, Mtime: made, Ctime: s.now}) {
		t.Fatalf("times %v, want a ctime of %v", got, s.now)
	}
}
