package lock

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryFlockLocked sets or removes a lock of flock(2), or says what is in the way. The owner's lock of another type is dropped before that is known, at each
// try (fs/locks.c:flock_lock_inode).
func (f *File) tryFlockLocked(op *Op) syscall.Errno {
	t := f.table
	if i := slices.IndexFunc(f.flock, func(l Lock) bool { return l.Owner == op.Owner }); i >= 0 {
		old := f.flock[i]
		if old.Type == op.Type {
			return 0
		}
		f.flock = slices.Delete(f.flock, i, i+1)
		t.n--
		f.wakeLocked(&old)
	}
	if op.Type == unix.F_UNLCK {
		return 0
	}
	if held := op.inTheWay(f.flock); held != nil {
		op.blocker = held.Owner
		return syscall.EAGAIN
	}
	if t.roomLocked(op) < 1 {
		return syscall.ENOLCK
	}
	f.flock = append(f.flock, op.Lock)
	t.n++
	return 0
}
