package shm

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// site is a store for a test, whose segments have to be destroyed.
type site struct {
	*Store
	t   *testing.T
	now time.Time
}

// kinds of stores.
const (
	private = true
	counted = false
)

func newSite(t *testing.T, private bool, limits ipc.Limits) *site {
	t.Helper()
	s := &site{t: t, now: time.Unix(1000, 0)}
	store, err := NewStore(ipc.NewNamespace(nil, limits, func() time.Time { return s.now }), private)
	if errors.Is(err, syscall.EPERM) && os.Getenv("IPCFS_REQUIRE_ALL") != "1" {
		t.Skip("a private store takes CAP_SYS_ADMIN")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Store = store
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) segment() *Segment {
	s.t.Helper()
	g, err := s.New(ipc.Caller{PID: 7})
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

// wantFree looks at how many pages are free, and that the segment knows what the kernel does.
func (s *site) wantFree(what string, free uint64, segments ...*Segment) {
	s.t.Helper()
	if got := s.Stat().Free; got != free {
		s.t.Errorf("%s: %d pages are free, want %d", what, got, free)
	}
	for _, g := range segments {
		st, err := g.Stat()
		if err != nil || !s.Private() && st.Blocks != g.pages.n*page.Size/512 {
			s.t.Errorf("%s: %d blocks, %d pages counted, %v", what, st.Blocks, g.pages.n, err)
		}
	}
}

func smallLimits(pages uint64, segments int) ipc.Limits {
	return ipc.Limits{ShmMax: ipc.SHMMAX, ShmAll: pages, ShmMni: segments}
}

func eachStore(t *testing.T, f func(t *testing.T, private bool)) {
	for name, is := range map[string]bool{"private": private, "counted": counted} {
		t.Run(name, func(t *testing.T) { f(t, is) })
	}
}

func want(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// What crosses shmall gets ENOSPC and changes nothing, or, if it is a write, goes in as far as there is memory.
func TestShmall(t *testing.T) {
	eachStore(t, func(t *testing.T, private bool) {
		s := newSite(t, private, smallLimits(8, 10))
		a, b := s.segment(), s.segment()
		defer b.Destroy()
		want(t, "SetSize of what there is no memory for", a.SetSize(100*page.Size), nil)
		s.wantFree("a size takes nothing", 8, a)
		want(t, "Fallocate of 8 pages", a.Fallocate(0, 0, 8*page.Size), nil)
		s.wantFree("8 pages", 0, a)
		want(t, "Fallocate of what is there", a.Fallocate(0, page.Size, page.Size), nil)
		want(t, "Fallocate of one more", b.Fallocate(0, 0, 1), syscall.ENOSPC)
		if n, err := b.Write([]byte("x"), 0); n != 0 || err != syscall.ENOSPC {
			t.Errorf("Write above the limit: %d, %v", n, err)
		}
		if st, err := b.Stat(); err != nil || st.Segsz != 0 || st.Blocks != 0 {
			t.Errorf("what was refused left %+v, %v", st, err)
		}
		if n, err := a.Write(make([]byte, 8*page.Size), 0); n != 8*page.Size || err != nil {
			t.Errorf("Write to what has memory: %d, %v", n, err)
		}
		want(t, "hole of 3 pages", a.Fallocate(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, 4*page.Size-1, 3*page.Size+2), nil)
		s.wantFree("a hole of 3 pages and a byte on each side", 3, a)
		if n, err := b.Write(bytes.Repeat([]byte("y"), 5*page.Size), 100); n != 3*page.Size-100 || err != nil {
			t.Errorf("Write of more than there is memory for: %d, %v", n, err)
		}
		s.wantFree("3 pages written", 0, a, b)
		want(t, "Fallocate of 2 pages when there is none", b.Fallocate(0, 2*page.Size, 2*page.Size), syscall.ENOSPC)
		want(t, "SetSize within a page", a.SetSize(page.Size+1), nil)
		s.wantFree("what is beyond the size is given back", 3, a, b)
		want(t, "Fallocate of 2 pages", b.Fallocate(unix.FALLOC_FL_KEEP_SIZE, 20*page.Size, 2*page.Size), nil)
		want(t, "Fallocate of 3 pages when there is one", a.Fallocate(0, 3*page.Size, 3*page.Size), syscall.ENOSPC)
		s.wantFree("all or none", 1, a, b)
		want(t, "an unknown mode", a.Fallocate(unix.FALLOC_FL_ZERO_RANGE, 0, 1), syscall.EOPNOTSUPP)
		want(t, "nothing", a.Fallocate(0, 0, 0), syscall.EINVAL)
		a.Destroy()
		s.wantFree("a destroyed segment gives its memory back", 3, b)
	})
}

// The signals that Go's runtime sends to its own threads end no call.
func TestSignalsEndNothing(t *testing.T) {
	const most = 2000
	eachStore(t, func(t *testing.T, private bool) {
		s := newSite(t, private, smallLimits(most, 10))
		from, to := s.segment(), s.segment()
		defer from.Destroy()
		defer to.Destroy()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid, over, ended := unix.Gettid(), make(chan bool, 1), make(chan bool)
		go func() {
			defer close(ended)
			for len(over) == 0 {
				_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
				for range 100 { // so that the other gets somewhere
					runtime.Gosched()
				}
			}
		}()
		b := make([]byte, most/4*page.Size)
		for range 5 {
			want(t, "SetSize", from.SetSize(0), nil)
			want(t, "SetSize", from.SetSize(most/2*page.Size), nil)
			want(t, "Fallocate", from.Fallocate(0, 0, 2*page.Size), nil) // little, since some kernels begin anew at each signal
			want(t, "punching a hole", from.Fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, page.Size, page.Size), nil)
			for name, f := range map[string]func() (int, error){
				"Write": func() (int, error) { return from.Write(b, page.Size) },
				"Copy":  func() (int, error) { return to.Copy(0, from, 0, len(b)) },
				"Fault": func() (int, error) { return from.Fault(b, 0) },
				"Read":  func() (int, error) { return from.Read(b, 0) },
			} {
				if n, err := f(); n != len(b) || err != nil {
					t.Errorf("%s: %d, %v", name, n, err)
				}
			}
		}
		over <- true
		<-ended
	})
}

// reclaim lets the kernel take the pages of a segment that it may take, as it does when somebody writes to /proc/sys/vm/drop_caches.
func reclaim(t *testing.T, g *Segment, size int) {
	t.Helper()
	m, err := unix.Mmap(g.File(), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(m) }()
	if sum := crc32.ChecksumIEEE(m); sum != crc32.ChecksumIEEE(make([]byte, size)) {
		t.Error("the segment is not 0") // and its pages are in the mapping
	}
	if err := unix.Madvise(m, unix.MADV_PAGEOUT); err != nil {
		t.Fatal(err)
	}
}

// The memory that Fault gives stays, and is no change of the file.
func TestFaultedMemoryStays(t *testing.T) {
	s := newSite(t, counted, smallLimits(8, 10))
	g := s.segment()
	defer g.Destroy()
	want(t, "SetSize", g.SetSize(8*page.Size), nil)
	past := time.Unix(1000, 1000)
	want(t, "SetTimes", g.SetTimes(past, past), nil)
	if n, err := g.Fault(make([]byte, 8*page.Size), 0); n != 8*page.Size || err != nil {
		t.Fatalf("Fault: %d, %v", n, err)
	}
	if st, err := g.Stat(); err != nil || !st.Mtime.Equal(past) {
		t.Errorf("Fault changed the time of the last write to %v, %v", st.Mtime, err)
	}
	reclaim(t, g, 8*page.Size)
	s.wantFree("all touched, and the kernel wants pages", 0, g)
}

func TestFault(t *testing.T) {
	s := newSite(t, counted, smallLimits(3, 10))
	g := s.segment()
	defer g.Destroy()
	want(t, "SetSize", g.SetSize(10*page.Size-1), nil)
	buf := make([]byte, 2*page.Size)
	if n, err := g.Read(buf, 0); n != len(buf) || err != nil {
		t.Fatalf("Read: %d, %v", n, err)
	}
	s.wantFree("a read gives no memory", 3, g)
	if n, err := g.Fault(buf, 8*page.Size); n != 2*page.Size-1 || err != nil {
		t.Fatalf("Fault at the end: %d, %v", n, err)
	}
	s.wantFree("two pages touched", 1, g)
	if n, err := g.Fault(buf, 0); n != 0 || err != syscall.ENOSPC {
		t.Fatalf("Fault of two pages when there is memory for one: %d, %v", n, err)
	}
	if n, err := g.Fault(buf[:1], page.Size); n != 1 || err != nil {
		t.Fatalf("Fault of one: %d, %v", n, err)
	}
	if n, err := g.Fault(buf, 8*page.Size); n != 2*page.Size-1 || err != nil {
		t.Fatalf("Fault of what has memory: %d, %v", n, err)
	}
	if n, err := g.Fault(buf, 10*page.Size); n != 0 || err != nil {
		t.Fatalf("Fault behind the end: %d, %v", n, err)
	}
	s.wantFree("all taken", 0, g)
	if hole, err := g.Seek(page.Size, unix.SEEK_HOLE); hole != 2*page.Size || err != nil {
		t.Errorf("what was touched is data up to %d, %v", hole, err)
	}
	_, err := g.Seek(0, unix.SEEK_SET)
	want(t, "Seek that is not for data or holes", err, syscall.EINVAL)
}

// Pages that were taken for a system call that fails are given back.
func TestFailedCallTakesNothing(t *testing.T) {
	s := newSite(t, counted, smallLimits(8, 10))
	g := s.segment()
	defer g.Destroy()
	want(t, "SetSize", g.SetSize(8*page.Size), nil)
	file := g.file
	var err error
	if g.file, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", file), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := g.Write(make([]byte, 3*page.Size), 0); n != 0 || err != syscall.EBADF {
		t.Errorf("Write to a file that is open for reading: %d, %v", n, err)
	}
	want(t, "Fallocate", g.Fallocate(0, 0, 3*page.Size), syscall.EBADF)
	want(t, "close", unix.Close(g.file), nil)
	g.file = file
	s.wantFree("nothing was taken", 8, g)
}

func TestShmmaxAndShmmni(t *testing.T) {
	eachStore(t, func(t *testing.T, private bool) {
		s := newSite(t, private, ipc.Limits{ShmMax: 3 * page.Size, ShmAll: 100, ShmMni: 2})
		a, b := s.segment(), s.segment()
		_, err := s.New(ipc.Caller{})
		want(t, "a third segment", err, syscall.ENOSPC)
		want(t, "SetSize of shmmax", a.SetSize(3*page.Size), nil)
		want(t, "SetSize above shmmax", a.SetSize(3*page.Size+1), syscall.EINVAL)
		want(t, "SetSize that no file has", a.SetSize(1<<63), syscall.EINVAL)
		want(t, "Fallocate above shmmax", a.Fallocate(0, 0, 3*page.Size+1), syscall.EINVAL)
		want(t, "Fallocate above shmmax that does not change the size", a.Fallocate(unix.FALLOC_FL_KEEP_SIZE, 0, 3*page.Size+1), nil)
		if n, err := a.Write([]byte("xy"), 3*page.Size-1); n != 0 || err != syscall.EINVAL {
			t.Errorf("Write above shmmax: %d, %v", n, err)
		}
		if n, err := b.Copy(3*page.Size-1, a, 0, 2); n != 0 || err != syscall.EINVAL {
			t.Errorf("Copy above shmmax: %d, %v", n, err)
		}
		if st, err := a.Stat(); err != nil || st.Segsz != 3*page.Size {
			t.Errorf("what was refused left %+v, %v", st, err)
		}
		a.Destroy()
		c := s.segment()
		if got := s.Stat(); got.Segments != 2 || got.MaxIDs != 2 {
			t.Errorf("%+v", got)
		}
		b.Destroy()
		c.Destroy()
	})
}

func TestShmidFields(t *testing.T) {
	s := newSite(t, counted, smallLimits(10, 10))
	g := s.segment()
	defer g.Destroy()
	type fields struct {
		nattch           int
		cprid, lprid     uint32
		atim, dtim, ctim int64
	}
	look := func(what string, w fields) {
		t.Helper()
		st, err := g.Stat()
		unix := func(t time.Time) int64 {
			if t.IsZero() {
				return 0
			}
			return t.Unix()
		}
		got := fields{st.Nattch, st.CPrid, st.LPrid, unix(st.Atim), unix(st.Dtim), unix(st.Ctim)}
		if err != nil || got != w {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, w)
		}
	}
	look("new", fields{cprid: 7, ctim: 1000})
	s.now = time.Unix(2000, 0)
	g.Attach(ipc.Caller{PID: 8})
	g.Attach(ipc.Caller{PID: 9})
	look("attached twice", fields{2, 7, 9, 2000, 0, 1000})
	s.now = time.Unix(3000, 0)
	g.Detach(ipc.Caller{PID: 8})
	look("detached", fields{1, 7, 8, 2000, 3000, 1000})
	g.Changed(time.Unix(4000, 0))
	look("changed", fields{1, 7, 8, 2000, 3000, 4000})
	g.Detach(ipc.Caller{PID: 9})
	want(t, "SetTimes", g.SetTimes(time.Unix(5, 6), time.Time{}), nil)
	st, err := g.Stat()
	if err != nil || st.Atime != time.Unix(5, 6) || st.Mtime.Unix() < 1e9 {
		t.Errorf("atime %v, mtime %v, %v", st.Atime, st.Mtime, err)
	}
	future := time.Unix(1<<33, 0)
	g.Changed(future)
	if st, err := g.Stat(); err != nil || !st.Ctime.Equal(future) {
		t.Errorf("ctime %v, %v", st.Ctime, err)
	}
}

func TestXAttrs(t *testing.T) {
	eachStore(t, func(t *testing.T, private bool) {
		s := newSite(t, private, smallLimits(10, 10))
		g := s.segment()
		defer g.Destroy()
		if err := g.SetXAttr("user.a", []byte("one"), 0); errors.Is(err, syscall.EOPNOTSUPP) {
			t.Log("the kernel is built without CONFIG_TMPFS_XATTR")
			return
		} else if err != nil {
			t.Fatal(err)
		}
		want(t, "empty value", g.SetXAttr("user.b", nil, 0), nil)
		want(t, "XATTR_CREATE of what is there", g.SetXAttr("user.a", nil, unix.XATTR_CREATE), syscall.EEXIST)
		if v, err := g.GetXAttr("user.a"); string(v) != "one" || err != nil {
			t.Errorf("GetXAttr: %q, %v", v, err)
		}
		if v, err := g.GetXAttr("user.b"); len(v) != 0 || err != nil {
			t.Errorf("GetXAttr of an empty one: %q, %v", v, err)
		}
		_, err := g.GetXAttr("user.c")
		want(t, "GetXAttr of none", err, syscall.ENODATA)
		names, err := g.ListXAttr()
		slices.Sort(names)
		if !slices.Equal(names, []string{"user.a", "user.b"}) || err != nil {
			t.Errorf("ListXAttr: %q, %v", names, err)
		}
		want(t, "RemoveXAttr", g.RemoveXAttr("user.a"), nil)
		want(t, "RemoveXAttr again", g.RemoveXAttr("user.a"), syscall.ENODATA)
		if private {
			return // the tmpfs has a limit of its own
		}
		want(t, "a value of 40000", g.SetXAttr("user.x", make([]byte, 40000), 0), nil)
		want(t, "in its place one of 50000", g.SetXAttr("user.x", make([]byte, 50000), 0), nil)
		want(t, "one more that is too much", g.SetXAttr("user.y", make([]byte, 20000), 0), syscall.ENOSPC)
	})
}

// A counted store gives and refuses memory as a tmpfs of the same size does: random operations on segments of both lead to the same results.
func TestCountedAgainstPrivate(t *testing.T) {
	newSite(t, private, smallLimits(1, 1)) // or it is skipped
	rapid.Check(t, func(t *rapid.T) {
		const pages, segments = 40, 3
		var stores [2]*Store
		var gs [2][segments]*Segment
		for i, private := range []bool{private, counted} {
			store, err := NewStore(ipc.NewNamespace(nil, smallLimits(pages, segments), func() time.Time { return time.Time{} }), private)
			if err != nil {
				t.Fatal(err)
			}
			for j := range gs[i] {
				if gs[i][j], err = store.New(ipc.Caller{}); err != nil {
					t.Fatal(err)
				}
			}
			stores[i] = store
		}
		defer func() {
			for i, store := range stores {
				for _, g := range gs[i] {
					g.Destroy()
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
		// number is one around the boundaries of pages, mostly.
		number := func(what string, pages int64) int64 {
			return max(0, rapid.Int64Range(0, pages).Draw(t, what)*page.Size+rapid.SampledFrom([]int64{0, 0, -1, 1, 100}).Draw(t, "and"))
		}
		// both does the same to a segment of each store and compares what came of it.
		both := func(do func(g *Segment, others [segments]*Segment) (int, error)) {
			j := rapid.IntRange(0, segments-1).Draw(t, "segment")
			var results [2]string
			for i := range gs {
				n, err := do(gs[i][j], gs[i])
				st, e := gs[i][j].Stat()
				results[i] = fmt.Sprintf("%d %v; %d bytes, %d blocks, %v; %d pages free", n, err, st.Segsz, st.Blocks, e, stores[i].Stat().Free)
			}
			if results[0] != results[1] {
				t.Fatalf("a tmpfs: %s\ncounted: %s", results[0], results[1])
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"SetSize": func(*rapid.T) {
				size := number("size", 60)
				both(func(g *Segment, _ [segments]*Segment) (int, error) { return 0, g.SetSize(uint64(size)) })
			},
			"Fallocate": func(t *rapid.T) {
				mode, off, n := rapid.Uint32Range(0, 1).Draw(t, "mode"), number("off", 60), number("n", 20)
				both(func(g *Segment, _ [segments]*Segment) (int, error) { return 0, g.Fallocate(mode, off, n) })
			},
			"punch": func(*rapid.T) {
				off, n := number("off", 60), number("n", 20)
				both(func(g *Segment, _ [segments]*Segment) (int, error) {
					return 0, g.Fallocate(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, off, n)
				})
			},
			"Write": func(t *rapid.T) {
				data, off := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, int(number("n", 20))), number("off", 60)
				both(func(g *Segment, _ [segments]*Segment) (int, error) { return g.Write(data, off) })
			},
			"Copy": func(t *rapid.T) {
				k, off, n, to := rapid.IntRange(0, segments-1).Draw(t, "from"), number("off", 60), number("n", 20), number("to", 40)
				both(func(g *Segment, others [segments]*Segment) (int, error) {
					if others[k] == g {
						return 0, nil // the kernel refuses what overlaps before it comes here
					}
					return g.Copy(to, others[k], off, int(n))
				})
			},
			"Read": func(*rapid.T) {
				off, buf := number("off", 60), make([]byte, 20*page.Size)
				both(func(g *Segment, _ [segments]*Segment) (int, error) {
					n, err := g.Read(buf, off)
					return int(crc32.ChecksumIEEE(buf[:n])), err
				})
			},
		})
	})
}
