// Package lock is the kernel's advisory file locks (fs/locks.c, Linux 6.12) without the kernel: of each file, which bytes are locked by
// whom, and the operations that wait for them. Record locks (fcntl(2) F_SETLK and F_OFD_SETLK) and locks of flock(2) are two lists of a file that do
// not see each other. Nothing here blocks: an operation completes at once or waits as a record until another operation gives up what is in its
// way, or it is cancelled.
//
// Lock order: Table.mu is the only lock and a leaf. One for all files, as blocked_lock_lock is, since a deadlock is a cycle through many. It may be
// taken under a lock of the caller's; nothing is called while it is held. Completions are collected under it and delivered by the caller after it.
//
// Why no wait is missed: an operation that waits remembers the owner of one lock in its way (Op.blocker). Only that owner's operations can take the
// lock away, and each piece that they give up wakes who waits for the owner there (wakeLocked). Every method that may give up something ends with
// pumpLocked, which tries the woken ones again until none is left. So outside of Table.mu it always holds that the blocker of whoever waits has a lock
// in its way; checkInvariants says it in code.
//
// Differs from Linux:
//   - Table has a limit, above which there is ENOLCK. Linux has none.
//   - FUSE does not say which record locks belong to an open file description, so these take part in the detection of deadlocks. A cycle of them is
//     one just as well, unless threads that share the description would have broken it: then an F_OFD_SETLKW fails that Linux would let wait.
//     For the same reason F_GETLK names the process that set one, where Linux says -1.
//   - A cycle of owners is found however long it is, and through all operations of an owner that wait; Linux gives up after ten owners and looks at one
//     operation of each.
//   - Those who wait are always served longest wait first. Linux puts an operation that was woken in vain behind the others.
package lock

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
)

// OffsetMax is OFFSET_MAX: as the last byte of a lock it means the end of the file, however long that gets.
const OffsetMax = math.MaxInt64

// Table is what the locks of all files of a namespace share. Make one with NewTable.
type Table struct {
	max int // set by NewTable, never changed

	mu      sync.Mutex       // guards all below, and all of every File
	n       int              // locks held and operations waiting, in all files
	blocked map[uint64][]*Op // blocked_hash: the waiting operations of record locks by their owner
}

// NewTable returns a table for at most max locks held plus operations waiting.
func NewTable(max int) *Table { return &Table{max: max, blocked: make(map[uint64][]*Op)} }

// Len is the number of locks held plus operations waiting in all files. Takes the table's lock.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// roomLocked is how many locks more there may be if op, which may be waiting, does not wait any longer.
func (t *Table) roomLocked(op *Op) int {
	room := t.max - t.n
	if op.Waiting() {
		room++
	}
	return room
}

// File is struct file_lock_context: the locks of one file. Make one with Table.NewFile.
type File struct {
	table *Table // set by NewFile, never changed

	// Guarded by table.mu.
	posix   []Lock // flc_posix: an owner's locks together and by Start, the owners in the order of their first lock
	flock   []Lock // flc_flock: at most one of an owner, in the order in which they were set
	waiting waitq.Queue[*Op]
	woken   bool // one of waiting is
}

// NewFile returns a file without locks.
func (t *Table) NewFile() *File { return &File{table: t} }

// Lock is struct file_lock: a lock that is held or asked for.
type Lock struct {
	Flock      bool   // of flock(2): it is on the whole file, whatever Start and End of an operation say
	Type       uint32 // F_RDLCK, F_WRLCK or F_UNLCK; of flock(2) these mean LOCK_SH, LOCK_EX and LOCK_UN
	Start, End uint64 // the first and the last byte, at most OffsetMax
	Owner      uint64 // whose locks do not conflict: lock_owner of FUSE, a process' or an open file's
	Handle     uint64 // the open file through which it was set; of merged locks, the last one
	PID        uint32 // the process that set it, likewise
}

// Op is an fcntl(2) of F_SETLK or F_SETLKW, or a flock(2).
type Op struct {
	Lock
	Wait bool           // F_SETLKW, or no LOCK_NB: wait for what is in the way
	Done ipc.Completion // added to the completions when the result is there

	Err error // the result: nil or a syscall.Errno

	waitq.Entry[*Op]
	file    *File
	blocker uint64 // set by tryLocked when it is blocked: the owner of a lock in its way
	woken   bool   // it waits, and the blocker has given up something in its way
}

// Lock sets or removes a lock. It completes op at once or, if Wait is set and another owner's lock is in the way, leaves it waiting until no lock is, or
// Cancel. Removing never waits.
//
// A record lock takes the place of what its owner has on the same bytes; until it is there, these stay. A lock of flock(2) that would change
// the type of its owner's other one drops that first, so that nothing is left to the owner while it waits and when it fails. Other owners that
// wait for the dropped one are tried after op.
//
// EAGAIN: a lock is in the way and Wait is not set. EDEADLK: a record lock would wait for an owner who waits, directly or through others, for op's owner;
// this may also end a wait, when one lock in the way gave place to another. ENOLCK: more locks or waits than the table may have; likewise, and also for an
// unlock that splits a lock. EINVAL: no such type, Start after End, or End above OffsetMax. Takes the table's lock
// (fs/locks.c:posix_lock_inode_wait, flock_lock_inode_wait).
func (f *File) Lock(op *Op, done *ipc.Completions) {
	t := f.table
	t.mu.Lock()
	defer t.mu.Unlock()
	op.file = f
	if op.Flock {
		op.Start, op.End = 0, OffsetMax
	}
	if !op.valid() {
		op.endLocked(syscall.EINVAL, done)
		return
	}
	switch e := f.tryLocked(op); {
	case e != syscall.EAGAIN || !op.Wait:
		op.endLocked(e, done)
	case t.n >= t.max:
		op.endLocked(syscall.ENOLCK, done)
	default:
		f.waitLocked(op)
	}
	f.pumpLocked(done)
}

// tryLocked is one turn in the loop of a task in fs/locks.c:locks_lock_inode_wait. EAGAIN: it is blocked, by op.blocker.
func (f *File) tryLocked(op *Op) syscall.Errno {
	verify.Held(&f.table.mu)
	if op.Flock {
		return f.tryFlockLocked(op)
	}
	return f.tryPosixLocked(op)
}

// Stat is a snapshot of a file's locks.
type Stat struct {
	Held    []Lock // record locks, an owner's together and by Start; then those of flock(2)
	Waiting []Lock // what is waited for, longest wait first
}

// Stat returns a snapshot. Takes the table's lock.
func (f *File) Stat() Stat {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	st := Stat{Held: slices.Concat(f.posix, f.flock)}
	for op := range f.waiting.All() {
		st.Waiting = append(st.Waiting, op.Lock)
	}
	return st
}

// Empty says whether the file has no lock, and so nobody who waits for one. Takes the table's lock (fs/locks.c:vfs_inode_has_locks).
func (f *File) Empty() bool {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	return len(f.posix) == 0 && len(f.flock) == 0
}

func (l *Lock) valid() bool {
	known := l.Type == unix.F_RDLCK || l.Type == unix.F_WRLCK || l.Type == unix.F_UNLCK
	return known && l.Start <= l.End && l.End <= OffsetMax
}

func (l *Lock) overlaps(m *Lock) bool { return l.Start <= m.End && m.Start <= l.End }

// touches says whether the two have bytes in common or side by side.
func (l *Lock) touches(m *Lock) bool { return l.Start <= m.End+1 && m.Start <= l.End+1 }

// conflicts says whether l, which is asked for, is blocked by held, one of the same kind
// (fs/locks.c:posix_locks_conflict, flock_locks_conflict).
func (l *Lock) conflicts(held *Lock) bool {
	return l.Type != unix.F_UNLCK && l.Owner != held.Owner && l.overlaps(held) && (l.Type == unix.F_WRLCK || held.Type == unix.F_WRLCK)
}

// inTheWay returns the first of locks that blocks l, or nil.
func (l *Lock) inTheWay(locks []Lock) *Lock {
	for i := range locks {
		if l.conflicts(&locks[i]) {
			return &locks[i]
		}
	}
	return nil
}

// checkInvariants panics unless the file is in a state that may be seen from outside of the table's lock.
func (f *File) checkInvariants() {
	verify.Held(&f.table.mu)
	n := len(f.posix) + len(f.flock) + f.waiting.Len()
	verify.That(f.table.n >= n && f.table.n <= f.table.max, "%d of %d locks, this file has %d", f.table.n, f.table.max, n)
	ended := map[uint64]bool{} // owners whose locks came before
	for i, l := range f.posix {
		verify.That(l.valid() && l.Type != unix.F_UNLCK && !l.Flock, "held: %+v", l)
		verify.That(!ended[l.Owner], "an owner's locks are not together: %+v", f.posix)
		if i+1 < len(f.posix) {
			next := &f.posix[i+1]
			ended[l.Owner] = next.Owner != l.Owner
			sorted := l.End < next.Start && (l.Type != next.Type || !l.touches(next))
			verify.That(ended[l.Owner] || sorted, "not sorted, disjoint and merged: %+v, %+v", l, *next)
		}
	}
	checkConflicts(f.posix)
	owners := map[uint64]bool{}
	for _, l := range f.flock {
		verify.That(l.valid() && l.Type != unix.F_UNLCK && l.Flock && !owners[l.Owner], "held: %+v of %+v", l, f.flock)
		owners[l.Owner] = true
	}
	checkConflicts(f.flock)
	for op := range f.waiting.All() {
		held := f.posix
		if op.Flock {
			held = f.flock
		}
		blocks := func(l Lock) bool { return l.Owner == op.blocker && op.conflicts(&l) }
		verify.That(!op.woken && slices.ContainsFunc(held, blocks), "%+v waits for owner %d, held: %+v", op.Lock, op.blocker, held)
		verify.That(op.Flock || slices.Contains(f.table.blocked[op.Owner], op), "%+v is not in blocked", op.Lock)
	}
}

// checkConflicts panics if two of the locks conflict. Of a record lock's owner they do not overlap, so two that overlap have two owners.
func checkConflicts(locks []Lock) {
	var any, written uint64 // the bytes below have had a lock, a lock for writing
	byStart := slices.SortedFunc(slices.Values(locks), func(a, b Lock) int { return cmp.Compare(a.Start, b.Start) })
	for _, l := range byStart {
		w := l.Type == unix.F_WRLCK
		verify.That(l.Start >= written && (l.Start >= any || !w), "%+v conflicts in %+v", l, byStart)
		any = max(any, l.End+1)
		if w {
			written = max(written, l.End+1)
		}
	}
}
