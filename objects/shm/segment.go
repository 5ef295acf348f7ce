package shm

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/ipc"
)

// Segment is struct shmid_kernel. Store.New makes one. All methods may be called by several goroutines at once; none but Stat may be called after Destroy.
type Segment struct {
	store *Store // set by New, never changed
	file  int    // shm_file; likewise, but closed by Destroy

	mem   sync.Mutex // held while memory is taken or given back, over the system call; guards pages
	pages pageSet    // of a counted store: those that have memory

	mu         sync.Mutex // guards all below
	nattch     int        // shm_nattch: open files
	cprid      uint32     // shm_cprid: the process that made the segment
	lprid      uint32     // shm_lprid: the process of the last attach or detach
	atim, dtim time.Time  // shm_atim, shm_dtim: the last attach and detach; zero if there was none
	ctim       time.Time  // shm_ctim: the making, and the last change of owner or mode
	destroyed  bool
}

// File is the file of the segment, open for reading and writing. It stays the segment's.
func (g *Segment) File() int { return g.file }

// Busy says whether another goroutine is giving the segment memory, or taking it: who must not wait for that looks here first. (One that only begins
// to is not seen.) Only segments of a counted store are ever busy.
func (g *Segment) Busy() bool {
	if g.mem.TryLock() {
		g.mem.Unlock()
		return false
	}
	return true
}

// Attach counts one more open file, of c (ipc/shm.c:shm_open). Takes Segment.mu.
func (g *Segment) Attach(c ipc.Caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nattch++
	g.lprid = c.PID
	g.atim = g.store.ns.Now()
}

// Detach counts one less (ipc/shm.c:shm_close). Takes Segment.mu.
func (g *Segment) Detach(c ipc.Caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nattch--
	verify.That(g.nattch >= 0, "%d attached", g.nattch)
	g.lprid = c.PID
	g.dtim = g.store.ns.Now()
}

// Destroy ends the segment (ipc/shm.c:shm_destroy): nobody can reach it any more, and its memory is free as soon as nobody maps it. It takes time in proportion to the
// memory that becomes free. Takes Segment.mem and Store.mu.
func (g *Segment) Destroy() {
	verify.That(g.nattch == 0, "destroyed with %d attached", g.nattch)
	g.mem.Lock()
	defer g.mem.Unlock()
	g.mu.Lock()
	g.destroyed = true
	g.mu.Unlock()
	_ = unix.Close(g.file)
	g.store.give(g.pages.n)
	g.pages = pageSet{}
	g.store.ids.Remove()
}

// Stat is a snapshot of a segment.
type Stat struct {
	Segsz  int64 // shm_segsz, in bytes
	Blocks int64 // memory that it has, in units of 512 bytes
	Nattch int
	CPrid  uint32
	LPrid  uint32

	Atim, Dtim, Ctim    time.Time // shm_atim, shm_dtim, shm_ctim; zero for never
	Atime, Mtime, Ctime time.Time // the file's: the last read, write and change, as stat(2)
}

// Stat returns a snapshot. EIDRM after Destroy; else the error is that of fstat(2). Takes Segment.mu.
func (g *Segment) Stat() (Stat, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.destroyed {
		return Stat{}, syscall.EIDRM
	}
	var st unix.Stat_t
	if err := unix.Fstat(g.file, &st); err != nil {
		return Stat{}, err
	}
	s := Stat{
		Segsz: st.Size, Blocks: st.Blocks, Nattch: g.nattch, CPrid: g.cprid, LPrid: g.lprid, Atim: g.atim, Dtim: g.dtim, Ctim: g.ctim,
		Atime: time.Unix(st.Atim.Unix()), Mtime: time.Unix(st.Mtim.Unix()), Ctime: time.Unix(st.Ctim.Unix()),
	}
	// The file knows of each change of its memory, and not of those of owner, mode and names.
	if s.Ctim.After(s.Ctime) {
		s.Ctime = s.Ctim
	}
	return s, nil
}

// Changed notes that owner, mode or name changed at now. Takes Segment.mu.
func (g *Segment) Changed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctim = now
}

// SetTimes sets the times of the file that are not zero. The error is that of utimensat(2).
func (g *Segment) SetTimes(atime, mtime time.Time) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for i, t := range []time.Time{atime, mtime} {
		if !t.IsZero() {
			times[i] = unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
		}
	}
	return unix.UtimesNanoAt(g.file, "", times[:], unix.AT_EMPTY_PATH)
}

// maxXAttrs bounds the names and values of the attributes of one segment in a counted store, whose files have no limit of their own.
const maxXAttrs = 1 << 16

// SetXAttr sets an extended attribute; flags are those of setxattr(2), whose errors it returns. ENOSPC if all of them get too long.
func (g *Segment) SetXAttr(name string, value []byte, flags int) error {
	if !g.store.Private() {
		sum, err := g.sizeOfXAttrs(name)
		if err != nil {
			return err
		}
		if sum+len(name)+len(value) > maxXAttrs {
			return syscall.ENOSPC
		}
	}
	return unix.Fsetxattr(g.file, name, value, flags)
}

// sizeOfXAttrs adds up names and values but those of one name.
func (g *Segment) sizeOfXAttrs(but string) (int, error) {
	names, err := g.ListXAttr()
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, name := range names {
		if name == but {
			continue
		}
		n, err := unix.Fgetxattr(g.file, name, nil)
		if err != nil {
			return 0, err
		}
		sum += len(name) + n
	}
	return sum, nil
}

// GetXAttr returns an extended attribute. The errors are those of getxattr(2).
func (g *Segment) GetXAttr(name string) ([]byte, error) {
	n, err := unix.Fgetxattr(g.file, name, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	value := make([]byte, n)
	n, err = unix.Fgetxattr(g.file, name, value)
	return value[:max(n, 0)], err
}

// ListXAttr returns the names of the extended attributes. The errors are those of listxattr(2).
func (g *Segment) ListXAttr() ([]string, error) {
	n, err := unix.Flistxattr(g.file, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(g.file, list); err != nil {
		return nil, err
	}
	return splitNames(list[:n]), nil
}

// RemoveXAttr removes an extended attribute. The errors are those of removexattr(2).
func (g *Segment) RemoveXAttr(name string) error { return unix.Fremovexattr(g.file, name) }
