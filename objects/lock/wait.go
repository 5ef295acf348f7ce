package lock

import (
	"slices"
	"syscall"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/ipc"
)

var _ ipc.Canceler = (*Op)(nil)

// waitLocked leaves op waiting for op.blocker (fs/locks.c:locks_insert_block).
func (f *File) waitLocked(op *Op) {
	f.waiting.Push(&op.Entry, op)
	f.table.n++
	if !op.Flock {
		f.table.blocked[op.Owner] = append(f.table.blocked[op.Owner], op)
	}
}

// unwaitLocked ends the wait of op and says whether it was waiting (fs/locks.c:locks_delete_block).
func (f *File) unwaitLocked(op *Op) bool {
	if !f.waiting.Remove(&op.Entry) {
		return false
	}
	t := f.table
	t.n--
	if op.Flock {
		return true
	}
	if ops := slices.DeleteFunc(t.blocked[op.Owner], func(o *Op) bool { return o == op }); len(ops) > 0 {
		t.blocked[op.Owner] = ops
	} else {
		delete(t.blocked, op.Owner)
	}
	return true
}

// wakeLocked wakes who waits for the owner of l where l is: it is given up, or made one for reading. The woken are tried by pumpLocked, when that is done
// (fs/locks.c:locks_wake_up_blocks).
func (f *File) wakeLocked(l *Lock) {
	for op := range f.waiting.All() {
		if op.Flock == l.Flock && op.blocker == l.Owner && op.overlaps(l) {
			op.woken, f.woken = true, true
		}
	}
}

// pumpLocked tries the woken operations, longest wait first. One that gets its lock may give up others for it and wake more, who may have
// waited longer: then it begins anew.
func (f *File) pumpLocked(done *ipc.Completions) {
	verify.Held(&f.table.mu)
	for f.woken {
		f.woken = false
		for op := range f.waiting.All() {
			if !op.woken {
				continue
			}
			op.woken = false
			if e := f.tryLocked(op); e != syscall.EAGAIN {
				f.unwaitLocked(op)
				op.endLocked(e, done)
			}
			if f.woken {
				break
			}
		}
	}
	if verify.On {
		f.checkInvariants()
	}
}

func (op *Op) endLocked(e syscall.Errno, done *ipc.Completions) {
	if e != 0 {
		op.Err = e
	}
	done.Add(op.Done)
}

// Cancel ends the wait of the operation. EINTR: what its owner has stays, but the lock of flock(2) that it was to convert is lost.
// Takes the table's lock (fs/locks.c:locks_delete_block).
func (op *Op) Cancel(done *ipc.Completions) {
	t := op.file.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if op.file.unwaitLocked(op) {
		op.endLocked(syscall.EINTR, done)
	}
}

// ReleaseOwner removes the owner's record locks: a process closed a descriptor of the file (FLUSH), no matter which. Its operations that wait go on
// waiting; they have a thread of their own. Takes the table's lock (fs/locks.c:locks_remove_posix).
func (f *File) ReleaseOwner(owner uint64, done *ipc.Completions) {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	f.posix = f.removeLocked(f.posix, func(l Lock) bool { return l.Owner == owner })
	f.pumpLocked(done)
}

// ReleaseHandle removes all locks that were set through the open file: it was closed for good (RELEASE). These are the ones of flock(2), those that belong
// to the open file description, and a process' that were set while it closed its descriptor. An operation that still waits through the open file ends
// with EINTR, since nobody would remove its lock. Takes the table's lock (fs/locks.c:locks_remove_file).
func (f *File) ReleaseHandle(handle uint64, done *ipc.Completions) {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	for op := range f.waiting.All() {
		if op.Handle == handle {
			f.unwaitLocked(op)
			op.endLocked(syscall.EINTR, done)
		}
	}
	through := func(l Lock) bool { return l.Handle == handle }
	f.posix = f.removeLocked(f.posix, through)
	f.flock = f.removeLocked(f.flock, through)
	f.pumpLocked(done)
}

// removeLocked returns locks, which is f.posix or f.flock, without those that are chosen.
func (f *File) removeLocked(locks []Lock, chosen func(Lock) bool) []Lock {
	return slices.DeleteFunc(locks, func(l Lock) bool {
		if !chosen(l) {
			return false
		}
		f.table.n--
		f.wakeLocked(&l)
		return true
	})
}
