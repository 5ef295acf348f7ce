package lock

import (
	"cmp"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryPosixLocked sets or removes a record lock, or says what is wrong with that (fs/locks.c:posix_lock_inode).
func (f *File) tryPosixLocked(op *Op) syscall.Errno {
	if held := op.inTheWay(f.posix); held != nil {
		op.blocker = held.Owner
		if op.Wait && f.table.deadlockLocked(op) {
			return syscall.EDEADLK
		}
		return syscall.EAGAIN
	}
	return f.setLocked(op.Lock, f.table.roomLocked(op))
}

// setLocked puts l in the place of what its owner has on the same bytes; F_UNLCK leaves them free. With locks of its type that it touches it becomes one. If
// that makes more than room locks more, nothing is changed: ENOLCK.
func (f *File) setLocked(l Lock, room int) syscall.Errno {
	from, to := f.ownedLocked(l.Owner)
	var after, freed []Lock // the owner's locks in the end; the pieces that others may be waiting for
	merged := l
	for _, old := range f.posix[from:to] {
		if old.Type == l.Type && old.touches(&l) {
			merged.Start, merged.End = min(merged.Start, old.Start), max(merged.End, old.End)
			continue
		}
		if !old.overlaps(&l) {
			after = append(after, old)
			continue
		}
		left, middle, right := old, old, old
		if old.Start < l.Start {
			left.End, middle.Start = l.Start-1, l.Start
			after = append(after, left)
		}
		if old.End > l.End {
			middle.End, right.Start = l.End, l.End+1
			after = append(after, right)
		}
		if l.Type != unix.F_WRLCK {
			freed = append(freed, middle)
		}
	}
	if l.Type != unix.F_UNLCK {
		i, _ := slices.BinarySearchFunc(after, merged, func(a, b Lock) int { return cmp.Compare(a.Start, b.Start) })
		after = slices.Insert(after, i, merged)
	}
	more := len(after) - (to - from)
	if more > room {
		return syscall.ENOLCK
	}
	f.posix = slices.Replace(f.posix, from, to, after...)
	f.table.n += more
	for _, piece := range freed {
		f.wakeLocked(&piece)
	}
	return 0
}

// ownedLocked returns where in posix the owner's locks are: at the end if it has none.
func (f *File) ownedLocked(owner uint64) (from, to int) {
	for from < len(f.posix) && f.posix[from].Owner != owner {
		from++
	}
	for to = from; to < len(f.posix) && f.posix[to].Owner == owner; {
		to++
	}
	return from, to
}

// deadlockLocked says whether op, blocked by op.blocker, would wait for its own owner: it follows who waits for whom. Nobody begins or goes on to wait
// without this question, so those who do are never a cycle. The woken do not count: what blocked them is gone, and they are about to ask for themselves
// (fs/locks.c:posix_locks_deadlock).
func (t *Table) deadlockLocked(op *Op) bool {
	seen := map[uint64]bool{}
	owners := []uint64{op.blocker}
	for len(owners) > 0 {
		last := len(owners) - 1
		owner := owners[last]
		owners = owners[:last]
		if owner == op.Owner {
			return true
		}
		if seen[owner] {
			continue
		}
		seen[owner] = true
		for _, waiter := range t.blocked[owner] {
			if !waiter.woken {
				owners = append(owners, waiter.blocker)
			}
		}
	}
	return false
}

// Test returns the lock that F_GETLK reports for l: the first record lock that would block l, or l with type F_UNLCK if there is none. For an l of type
// F_UNLCK, which only F_OFD_GETLK lets pass, it is the owner's own first lock on these bytes.
//
// EINVAL: a lock of flock(2), no such type, Start after End, or End above OffsetMax. Takes the table's lock (fs/locks.c:posix_test_lock).
func (f *File) Test(l Lock) (Lock, error) {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	if l.Flock || !l.valid() {
		return Lock{}, syscall.EINVAL
	}
	if l.Type == unix.F_UNLCK {
		from, to := f.ownedLocked(l.Owner)
		for _, own := range f.posix[from:to] {
			if own.overlaps(&l) {
				return own, nil
			}
		}
	}
	if held := l.inTheWay(f.posix); held != nil {
		return *held, nil
	}
	l.Type = unix.F_UNLCK
	return l, nil
}
