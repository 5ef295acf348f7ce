package shm

import (
	"bytes"
	"errors"
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// beyond says whether a segment of this size is larger than shmmax.
func (g *Segment) beyond(size int64) bool { return uint64(size) > g.store.ns.Limits().ShmMax }

// SetSize makes the segment size bytes long. Bytes that it did not have are 0 and take no memory; the pages beyond are given back, and who maps them gets SIGBUS. EINVAL
// above shmmax; else the errors of ftruncate(2). Takes Segment.mem (mm/shmem.c:shmem_setattr).
func (g *Segment) SetSize(size uint64) error {
	if size > math.MaxInt64 || g.beyond(int64(size)) {
		return syscall.EINVAL
	}
	if g.store.Private() {
		return unix.Ftruncate(g.file, int64(size))
	}
	g.mem.Lock()
	defer g.mem.Unlock()
	old, err := g.size()
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(g.file, int64(size)); err != nil {
		return err
	}
	// A larger size leaves alone what fallocate(2) gave behind the end.
	if int64(size) <= old {
		g.forgetLocked(covered(int64(size), math.MaxInt64-int64(size)))
	}
	return nil
}

// size is the length in bytes.
func (g *Segment) size() (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(g.file, &st)
	return st.Size, err
}

// forgetLocked notes that the pages of s have no memory any more.
func (g *Segment) forgetLocked(s pageSpan) {
	before := g.pages.n
	g.pages.remove(s)
	g.store.give(before - g.pages.n)
}

// Fallocate gives memory to n bytes at off, or, with FALLOC_FL_PUNCH_HOLE, takes it back, after which they are 0. Modes are those of a tmpfs, EOPNOTSUPP for any other. EINVAL
// if the segment would get larger than shmmax; ENOSPC above shmall, and then nothing is changed; else the errors of fallocate(2). Takes
// Segment.mem (mm/shmem.c:shmem_fallocate).
func (g *Segment) Fallocate(mode uint32, off, n int64) error {
	if mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE) != 0 {
		return syscall.EOPNOTSUPP
	}
	if off < 0 || n <= 0 || off > math.MaxInt64-n || mode&unix.FALLOC_FL_KEEP_SIZE == 0 && g.beyond(off+n) {
		return syscall.EINVAL
	}
	if g.store.Private() {
		return g.fallocate(mode, off, n)
	}
	g.mem.Lock()
	defer g.mem.Unlock()
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		if err := g.fallocate(mode, off, n); err != nil {
			return err
		}
		g.forgetLocked(covered(off, n))
		return nil
	}
	s := touched(off, n)
	return g.fillLocked(s, func() error { return g.fallocate(mode, off, n) })
}

// fallocate is fallocate(2), which may end with EINTR, and then has changed nothing; the signal is one of those that Go's runtime sends to its threads.
func (g *Segment) fallocate(mode uint32, off, n int64) error {
	for {
		if err := unix.Fallocate(g.file, mode, off, n); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fillLocked takes what the pages of s miss from the limit, or gives ENOSPC, and lets fill fill them, all or none.
func (g *Segment) fillLocked(s pageSpan, fill func() error) error {
	missing := g.pages.missing(s)
	if !g.store.take(missing) {
		return syscall.ENOSPC
	}
	if err := fill(); err != nil {
		g.store.give(missing)
		return err
	}
	g.pages.add(s)
	return nil
}

// Seek is lseek(2) with SEEK_DATA and SEEK_HOLE, and returns their errors.
func (g *Segment) Seek(off int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, syscall.EINVAL
	}
	return unix.Seek(g.file, off, whence)
}

// Write writes b at off and returns how many bytes went in: fewer, if there is not memory for all. EINVAL if the segment would get larger than shmmax and ENOSPC
// above shmall, and then nothing is changed; else the errors of pwrite(2). Takes Segment.mem.
func (g *Segment) Write(b []byte, off int64) (int, error) {
	return g.put(off, len(b), func(n int) (int, error) { return unix.Pwrite(g.file, b[:n], off) })
}

// Copy copies n bytes at off of src to to of g, and returns how many: fewer, if there is not memory for all or src ends. The errors are those of Write. Takes Segment.mem of g.
func (g *Segment) Copy(to int64, src *Segment, off int64, n int) (int, error) {
	size, err := src.size()
	if n = int(min(int64(n), max(size-off, 0))); n == 0 || err != nil {
		return 0, err
	}
	return g.put(to, n, func(n int) (done int, err error) {
		for done < n { // a signal, such as Go's runtime sends to its threads, ends a call before its end
			k, err := unix.CopyFileRange(src.file, &off, g.file, &to, n-done, 0)
			switch {
			case k > 0:
				done += k
			case done > 0:
				return done, nil
			default:
				return 0, err
			}
		}
		return done, nil
	})
}

// put lets write put up to n bytes at off: as many of them as there is memory for.
func (g *Segment) put(off int64, n int, write func(n int) (int, error)) (int, error) {
	if off < 0 || off > math.MaxInt64-int64(n) || g.beyond(off+int64(n)) {
		return 0, syscall.EINVAL
	}
	if g.store.Private() {
		n, err := write(n)
		return max(n, 0), err
	}
	g.mem.Lock()
	defer g.mem.Unlock()
	s := touched(off, int64(n))
	taken := g.store.takeUpTo(g.pages.missing(s))
	if fits := g.pages.prefix(s, taken); fits.hi < s.hi {
		if n = int(fits.hi*page.Size - off); n <= 0 {
			g.store.give(taken)
			return 0, syscall.ENOSPC
		}
	}
	written, err := write(n)
	before := g.pages.n
	g.pages.add(touched(off, int64(max(written, 0))))
	g.store.give(taken - (g.pages.n - before))
	return max(written, 0), err
}

// Read reads what there is of b at off, and returns how many bytes. The errors are those of pread(2).
func (g *Segment) Read(b []byte, off int64) (int, error) {
	n, err := unix.Pread(g.file, b, off)
	return max(n, 0), err
}

// Fault reads as Read, for a page cache whose pages may be written to without a word before they are sent back: so pages that have no memory get it first, as those do
// that somebody touches through a mapping (mm/shmem.c:shmem_fault). ENOSPC above shmall. Takes Segment.mem.
func (g *Segment) Fault(b []byte, off int64) (int, error) {
	g.mem.Lock()
	defer g.mem.Unlock()
	size, err := g.size()
	n := min(int64(len(b)), max(size-off, 0))
	if n == 0 || err != nil {
		return 0, err
	}
	// What fallocate(2) gave has memory, and is a hole until it is touched.
	if hole, err := g.Seek(off, unix.SEEK_HOLE); err == nil && hole < off+n {
		s := touched(off, n)
		if err := g.fillLocked(s, func() error { return g.populate(s) }); err != nil {
			return 0, err
		}
	}
	return g.Read(b, off)
}

// populate gives the pages of s memory that stays. It touches them through a mapping, to read, which is no change of the file; but the kernel takes pages back that were
// only read, when it is short of memory or told to drop its caches. So it touches them to write too: they are in the mapping by then, which makes them dirty and
// leaves the times of the file alone (mm/gup.c:follow_page_pte).
func (g *Segment) populate(s pageSpan) error {
	m, err := unix.Mmap(g.file, s.lo*page.Size, int(s.len()*page.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err = unix.Madvise(m, unix.MADV_POPULATE_READ); err == nil {
		err = unix.Madvise(m, unix.MADV_POPULATE_WRITE)
	}
	_ = unix.Munmap(m)
	return err
}

// splitNames takes apart what listxattr(2) gives: names, each with a NUL behind it.
func splitNames(list []byte) []string {
	var names []string
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list, []byte{0}), []byte{0}) {
		names = append(names, string(name))
	}
	return names
}
