// Package shm is the kernel's shared memory (ipc/shm.c, mm/shmem.c, Linux 6.18) without the kernel's system calls: segments with the fields of struct
// shmid_kernel over files in memory, whose pages processes map. It keeps the books; the memory itself is the kernel's, and so is what is done to it (write,
// truncate, punch a hole), which is what makes every result that of a tmpfs.
//
// There are two kinds of Store. In a private one the segments are files of a tmpfs that nobody else can see, so the kernel itself keeps the limit of pages,
// also where processes reach the files without us (passthrough). Making one takes CAP_SYS_ADMIN. In a counted one they are memfds, each change of which
// must come through the segment: it knows which pages have memory, and takes them from the store's limit before they get it.
//
// Nothing here waits. What takes long takes it for the system call on as many bytes as the caller named: SetSize and Fallocate of gigabytes some hundred
// milliseconds each.
//
// Lock order: Segment.mem, then Segment.mu, then Store.mu. Segment.mem alone is held over system calls that change memory, and so over a long one.
//
// Differs from Linux:
//   - A segment has the size that it is given and can be given another (a file of a tmpfs can; a segment of shmget(2) cannot).
//   - shmall bounds the pages that have memory, as the size of a tmpfs does; shmget(2) counts those that a segment could have.
//   - shm_nattch counts open files: who maps a file and closes it is not seen by a FUSE server. The memory lives, and is counted, as long as it is mapped.
package shm

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// Store is where the segments of a namespace have their memory, and their limits: struct ipc_ids of the segments, and shm_tot. All methods may be called by
// several goroutines at once.
type Store struct {
	ns   *ipc.Namespace
	root int // the root of the tmpfs of a private store, -1 in a counted one; set by NewStore

	ids ipc.IDs

	mu    sync.Mutex // guards pages
	pages int64      // that segments of a counted store hold
}

// NewStore makes a store for the segments of ns, a private one or a counted one. Making a private one gives EPERM without CAP_SYS_ADMIN, and what fsopen(2),
// fsconfig(2) and fsmount(2) say.
func NewStore(ns *ipc.Namespace, private bool) (*Store, error) {
	s := &Store{ns: ns, root: -1}
	if !private {
		return s, nil
	}
	root, err := mountTmpfs(ns.Limits().ShmAll * page.Size)
	if err != nil {
		return nil, err
	}
	s.root = root
	return s, nil
}

// mountTmpfs mounts a tmpfs of at most size bytes nowhere, and returns its root. It lives as long as a file of it is open or mapped.
func mountTmpfs(size uint64) (int, error) {
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen of a tmpfs: %w", err)
	}
	defer unix.Close(config)
	if err := unix.FsconfigSetString(config, "size", strconv.FormatUint(size, 10)); err != nil {
		return -1, fmt.Errorf("size of a tmpfs: %w", err)
	}
	if err := unix.FsconfigCreate(config); err != nil {
		return -1, fmt.Errorf("making a tmpfs: %w", err)
	}
	// As for /dev/shm, a read notes the time only now and then (relatime is not the default of fsmount).
	root, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_RELATIME)
	if err != nil {
		return -1, fmt.Errorf("fsmount of a tmpfs: %w", err)
	}
	return root, nil
}

// SetLimit sets shmall, the pages that all segments may hold. EINVAL for 0, and for less than they hold, as for the size of a tmpfs; else what fspick(2) and fsconfig(2)
// say. Takes Store.mu.
func (s *Store) SetLimit(pages uint64) error {
	pages = min(pages, math.MaxInt64/page.Size)
	s.mu.Lock()
	defer s.mu.Unlock()
	if pages == 0 || s.pages > int64(pages) {
		return syscall.EINVAL
	}
	if s.root >= 0 {
		if err := resizeTmpfs(s.root, pages*page.Size); err != nil {
			return err
		}
	}
	s.ns.SetLimits(func(l *ipc.Limits) { l.ShmAll = pages })
	return nil
}

// resizeTmpfs gives the tmpfs with this root another limit.
func resizeTmpfs(root int, size uint64) error {
	config, err := unix.Fspick(root, "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(config)
	if err := unix.FsconfigSetString(config, "size", strconv.FormatUint(size, 10)); err != nil {
		return err
	}
	return unix.FsconfigReconfigure(config)
}

// Private says whether the store is a private one, so that its segments' files may be reached without them.
func (s *Store) Private() bool { return s.root >= 0 }

// Close ends the store. Its memory goes with the last file that is open or mapped. It panics if assertions are on and a segment still exists.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	verify.That(s.ids.InUse() == 0 && s.pages == 0, "store closed with %d segments and %d counted pages", s.ids.InUse(), s.pages)
	if s.root < 0 {
		return nil
	}
	return unix.Close(s.root)
}

// openFile makes a file for a segment.
func (s *Store) openFile() (int, error) {
	if s.root < 0 {
		return unix.MemfdCreate("ipcfs-shm", unix.MFD_CLOEXEC)
	}
	return unix.Openat(s.root, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|unix.O_LARGEFILE, 0o600)
}

// New makes a segment of size 0 for its creator c (ipc/shm.c:newseg). ENOSPC when there are shmmni segments; ENFILE when this process may have no more
// files open; else what memfd_create(2) or open(2) say. Takes Store.mu.
func (s *Store) New(c ipc.Caller) (*Segment, error) {
	if !s.ids.Add(s.ns.Limits().ShmMni) {
		return nil, syscall.ENOSPC
	}
	file, err := s.openFile()
	if err != nil {
		s.ids.Remove()
		if err == syscall.EMFILE { // which would say that the creator has too many open
			err = syscall.ENFILE
		}
		return nil, err
	}
	return &Segment{store: s, file: file, cprid: c.PID, ctim: s.ns.Now()}, nil
}

// take takes n pages from the limit of a counted store, or, if there are not so many, none.
func (s *Store) take(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.freeLocked() {
		return false
	}
	s.pages += n
	return true
}

// takeUpTo takes n pages from the limit, or as many as there are.
func (s *Store) takeUpTo(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, s.freeLocked())
	s.pages += n
	return n
}

// give gives n pages back.
func (s *Store) give(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages -= n
	verify.That(s.pages >= 0, "%d counted pages", s.pages)
}

func (s *Store) freeLocked() int64 { return int64(s.ns.Limits().ShmAll) - s.pages }

// StoreStat is a snapshot of a store.
type StoreStat struct {
	Limit    uint64 // pages that segments may hold, shmall
	Free     uint64 // of those, the ones that none holds
	Segments int    // that exist
	MaxIDs   int    // that may exist, shmmni
}

// Stat returns the counts of this moment. The memory of what was removed counts as long as it is open or mapped. Takes Store.mu.
func (s *Store) Stat() StoreStat {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits := s.ns.Limits()
	st := StoreStat{Limit: limits.ShmAll, Free: uint64(s.freeLocked()), Segments: s.ids.InUse(), MaxIDs: limits.ShmMni}
	if s.root >= 0 {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(s.root, &fs); err == nil {
			st.Limit, st.Free = fs.Blocks, fs.Bfree
		}
	}
	return st
}
