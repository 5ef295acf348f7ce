package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/lock"
)

// Advisory locks work on segments. On a stream they are refused: each open of it has a kernel inode of its own, so locks that the kernel keeps by the inode would not
// meet, and none may pretend to.

const errNoLocks = fuse.Status(syscall.ENOLCK)

// lockOp makes the operation of a request.
func lockOp(in *fuse.LkIn, wait bool, done ipc.Completion) lock.Op {
	return lock.Op{
		Lock: lock.Lock{
			Flock: in.LkFlags&fuse.FUSE_LK_FLOCK != 0, Type: in.Lk.Typ, Start: in.Lk.Start, End: in.Lk.End,
			Owner: in.Owner, Handle: in.Fh, PID: in.Lk.Pid,
		},
		Wait: wait, Done: done,
	}
}

// GetLk answers GETLK. ENOLCK for a stream.
func (f *FS) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	p := f.shmFile(in.Fh)
	if p == nil {
		return errNoLocks
	}
	op := lockOp(in, false, nothing{})
	held, err := p.object.locks.Test(op.Lock)
	out.Lk = fuse.FileLock{Start: held.Start, End: held.End, Typ: held.Type, Pid: held.PID}
	return f.status(err)
}

// SetLk answers SETLK. ENOLCK for a stream.
func (f *FS) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status {
	p := f.shmFile(in.Fh)
	if p == nil {
		return errNoLocks
	}
	op := lockOp(in, false, nothing{})
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.object.locks.Lock(&op, &done)
	return f.status(op.Err)
}

// SetLkw answers SETLKW, now or when the lock is free.
func (f *FS) SetLkw(c conn.Call, in *fuse.LkIn) {
	p := f.shmFile(in.Fh)
	if p == nil {
		c.ReplyStatus(errNoLocks)
		return
	}
	h := f.handles.get(in.Fh)
	x := &lockWait{operation: f.begin(c, h.inode, nil, in.Fh)}
	x.op = lockOp(in, true, x)
	x.call.MayWait(x)
	var done ipc.Completions
	defer done.Deliver() // what was completed is told even if the object panics
	p.object.locks.Lock(&x.op, &done)
}

// lockWait is a SETLKW on its way.
type lockWait struct {
	operation
	op lock.Op
}

// Deliver answers the SETLKW.
func (x *lockWait) Deliver() {
	x.call.Answering()
	x.fail(x.op.Err)
}

// Cancel ends the wait of the SETLKW.
func (x *lockWait) Cancel() func() { return cancel(&x.op) }

// Flush answers FLUSH: a process closed a descriptor, and so gives up all its record locks on the file (fcntl(2)). Streams are not asked (FOPEN_NOFLUSH).
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if p := f.shmFile(in.Fh); p != nil {
		p.caller = processOf(&in.InHeader)
		var done ipc.Completions
		defer done.Deliver() // what was completed is told even if the object panics
		p.object.locks.ReleaseOwner(in.LockOwner, &done)
	}
	return fuse.OK
}
