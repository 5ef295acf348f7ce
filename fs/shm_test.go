package fs

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// segments is the node of the directory with the segments.
func (f *tree) segments() uint64 {
	f.t.Helper()
	return f.lookup(thread1, fuse.FUSE_ROOT_ID, "shm").NodeId
}

func (f *tree) xattr(id uint64, name string) string {
	f.t.Helper()
	h := header(thread1, id)
	b := make([]byte, 100)
	n, st := f.GetXAttr(nil, &h, name, b)
	f.want("GETXATTR of "+name, st, fuse.OK)
	return string(b[:n])
}

// A segment has one node, whoever looks it up and opens it, and ends with it.
func TestSegmentHasOneNode(t *testing.T) {
	f := newTree(t, 0)
	dir := f.segments()
	out, st := f.create(thread1, dir, "a", syscall.O_RDWR)
	f.want("CREATE", st, fuse.OK)
	if out.OpenFlags != fuse.FOPEN_KEEP_CACHE {
		t.Errorf("open flags %#x", out.OpenFlags)
	}
	for _, tid := range []uint32{thread1, thread2, thread3, 0} { // 0 is who cannot be seen from the daemon's pid namespace
		if n := f.lookup(tid, dir, "a").NodeId; n != out.NodeId {
			t.Errorf("thread %d gets node %d, want %d", tid, n, out.NodeId)
		}
		f.want("OPEN", f.admit(out.NodeId, tid, syscall.O_WRONLY), fuse.OK)
	}
	if n := f.xattr(out.NodeId, "user.ipc.shm_nattch"); n != "1" {
		t.Errorf("shm_nattch is %s", n)
	}
	f.want("UNLINK", f.unlink(dir, "a"), fuse.OK)
	f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
	if s := f.shm.store.Stat(); s.Segments != 1 {
		t.Errorf("%d segments while the kernel has the node, as it does for a mapping", s.Segments)
	}
	f.Forget(out.NodeId, 5)
	if s := f.shm.store.Stat(); s.Segments != 0 || len(f.objects) != 0 {
		t.Errorf("%d segments, %d objects are left", s.Segments, len(f.objects))
	}
}

// What the kind refuses leaves nothing.
func TestSegmentsAreLimited(t *testing.T) {
	f := newTree(t, 5000)
	dir := f.segments()
	for i := range 4096 {
		f.touch(dir, strconv.Itoa(i))
	}
	inodes := f.inodes
	_, st := f.create(thread1, dir, "more", syscall.O_RDWR)
	f.want("CREATE", st, enospc)
	f.want("LOOKUP", f.lookupStatus(dir, "more"), fuse.ENOENT)
	if f.inodes != inodes {
		t.Errorf("%d inodes, there were %d", f.inodes, inodes)
	}
	f.touch(f.pipes(), "a pipe")
}

// setattr is a SETATTR of what valid says.
func (f *tree) setattr(id uint64, valid uint32, set func(*fuse.SetAttrIn)) (fuse.Attr, fuse.Status) {
	in := fuse.SetAttrIn{}
	in.InHeader, in.Valid = header(thread1, id), valid
	set(&in)
	var out fuse.AttrOut
	st := f.SetAttr(nil, &in, &out)
	return out.Attr, st
}

func TestSegmentAttributes(t *testing.T) {
	f := newTree(t, 0)
	dir := f.segments()
	f.touch(dir, "a")
	a := f.lookup(thread1, dir, "a").NodeId
	attr, st := f.setattr(a, fuse.FATTR_SIZE|fuse.FATTR_MODE, func(in *fuse.SetAttrIn) { in.Size, in.Mode = 5000, 0o6777 })
	f.want("SETATTR", st, fuse.OK)
	if attr.Size != 5000 || attr.Blocks != 0 || attr.Mode&0o7777 != 0o6777 {
		t.Errorf("%+v", attr)
	}
	attr, st = f.setattr(a, 0, func(*fuse.SetAttrIn) {})
	f.want("SETATTR of nothing, after a write by passthrough", st, fuse.OK)
	if attr.Mode&0o7777 != 0o777 {
		t.Errorf("mode %o", attr.Mode)
	}
	attr, _ = f.setattr(a, fuse.FATTR_SIZE|fuse.FATTR_ATIME|fuse.FATTR_MTIME, func(in *fuse.SetAttrIn) { in.Size, in.Atime, in.Mtime = 0, 7, 8 })
	if attr.Size != 0 || attr.Atime != 7 || attr.Mtime != 8 {
		t.Errorf("%+v", attr)
	}
	_, st = f.setattr(a, fuse.FATTR_SIZE, func(in *fuse.SetAttrIn) { in.Size = 1 << 63 })
	f.want("SETATTR of a size that no file has", st, fuse.EINVAL)
	h := header(thread1, f.pipes())
	var out fuse.StatfsOut
	f.want("STATFS", f.StatFs(nil, &h, &out), fuse.OK)
	if out.Blocks != 64 {
		t.Errorf("%d blocks for pipes, want those of the arena", out.Blocks)
	}
	for _, id := range []uint64{fuse.FUSE_ROOT_ID, dir, a} {
		h := header(thread1, id)
		f.want("STATFS", f.StatFs(nil, &h, &out), fuse.OK)
		if limit := f.ns.Limits().ShmAll; out.Blocks != limit || out.Bfree != limit {
			t.Errorf("%d of %d blocks are free, want those of shared memory, %d", out.Bfree, out.Blocks, limit)
		}
	}
}

// What is more than a moment's work is done beside.
func TestTakesLong(t *testing.T) {
	f := newTree(t, 0)
	out, _ := f.create(thread1, f.segments(), "a", syscall.O_RDWR)
	pipe, _ := f.create(thread1, f.pipes(), "p", syscall.O_RDWR)
	truncate := func(id uint64) *fuse.SetAttrIn {
		in := &fuse.SetAttrIn{}
		in.NodeId, in.Valid = id, fuse.FATTR_SIZE
		return in
	}
	long := func(what string, in any, want bool) {
		t.Helper()
		if f.TakesLong(in) != want {
			t.Errorf("%s: not %v", what, want)
		}
	}
	long("truncation of a little", truncate(out.NodeId), false)
	f.want("FALLOCATE", f.Fallocate(nil, &fuse.FallocateIn{Fh: out.Fh, Length: longBytes + page.Size}), fuse.OK)
	long("truncation of much", truncate(out.NodeId), true)
	long("LSEEK in much", &fuse.LseekIn{InHeader: header(thread1, out.NodeId)}, true)
	h := header(thread1, out.NodeId)
	long("SETXATTR of much", &h, true)
	h = header(thread1, pipe.NodeId)
	long("SETXATTR of a pipe", &h, false)
	long("SETATTR of what is not known", &fuse.SetAttrIn{}, false)
	long("truncation of a pipe", truncate(pipe.NodeId), false)
	long("fallocate of much", &fuse.FallocateIn{Fh: out.Fh, Length: longBytes + 1}, true)
	long("fallocate of a little", &fuse.FallocateIn{Fh: out.Fh, Length: longBytes}, false)
	long("fallocate of a pipe", &fuse.FallocateIn{Fh: pipe.Fh, Length: longBytes + 1}, false)
	long("a long copy", &fuse.CopyFileRangeIn{FhIn: out.Fh, FhOut: out.Fh, Len: longBytes + 1}, true)
}

// What a stream refuses, with the errno of a FIFO.
func TestStreamsRefuse(t *testing.T) {
	f := newTree(t, 0)
	out, _ := f.create(thread1, f.pipes(), "p", syscall.O_RDWR)
	segment, _ := f.create(thread1, f.segments(), "a", syscall.O_RDWR)
	lock := fuse.LkIn{Fh: out.Fh, Lk: fuse.FileLock{Typ: unix.F_WRLCK, End: 10}}
	copyIn := func(from, to uint64) fuse.Status {
		_, st := f.CopyFileRange(nil, &fuse.CopyFileRangeIn{FhIn: from, FhOut: to, Len: 1})
		return st
	}
	for what, st := range map[string][2]fuse.Status{
		"LSEEK":                    {f.Lseek(nil, &fuse.LseekIn{Fh: out.Fh, Whence: unix.SEEK_DATA}, &fuse.LseekOut{}), fuse.Status(syscall.ESPIPE)},
		"FALLOCATE":                {f.Fallocate(nil, &fuse.FallocateIn{Fh: out.Fh, Length: 1}), fuse.Status(syscall.ESPIPE)},
		"FSYNC":                    {f.Fsync(nil, &fuse.FsyncIn{Fh: out.Fh}), fuse.EINVAL},
		"GETLK":                    {f.GetLk(nil, &lock, &fuse.LkOut{}), errNoLocks},
		"SETLK":                    {f.SetLk(nil, &lock), errNoLocks},
		"COPY_FILE_RANGE from it":  {copyIn(out.Fh, segment.Fh), fuse.EINVAL},
		"COPY_FILE_RANGE to it":    {copyIn(segment.Fh, out.Fh), fuse.EINVAL},
		"FSYNC of a segment":       {f.Fsync(nil, &fuse.FsyncIn{Fh: segment.Fh}), fuse.OK},
		"SETXATTR":                 {f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(thread1, out.NodeId)}, "user.a", nil), fuse.ENOTSUP},
		"SETXATTR of a field":      {f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(thread1, segment.NodeId)}, "user.ipc.shm_nattch", nil), fuse.EPERM},
		"SETXATTR of none of ours": {f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(thread1, segment.NodeId)}, "user.ipc.x", nil), fuse.ENOTSUP},
		"XATTR_CREATE of a field":  {f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(thread1, segment.NodeId), Flags: 1}, "user.ipc.shm_nattch", nil), eexist},
		"SETXATTR of an ACL":       {f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(thread1, segment.NodeId)}, "system.posix_acl_access", []byte("x")), fuse.ENOTSUP},
		"the attribute of a kind":  {fuse.Status(len(f.xattr(f.segments(), "user.ipc.passthrough"))), fuse.Status(len("off"))},
		"MKNOD of a socket, pipes": {f.mknod(f.pipes(), "s", syscall.S_IFSOCK), fuse.EPERM},
		"MKNOD of a socket, shm":   {f.mknod(f.segments(), "s", syscall.S_IFSOCK), fuse.OK},
		"MKNOD of a device, shm":   {f.mknod(f.segments(), "d", syscall.S_IFCHR), fuse.EPERM},
		"RENAME from kind to kind": {f.rename(f.segments(), "a", f.pipes(), "a", 0), fuse.Status(syscall.EXDEV)},
	} {
		if st[0] != st[1] {
			t.Errorf("%s: %v, want %v", what, st[0], st[1])
		}
	}
}

func (f *tree) mknod(dir uint64, name string, mode uint32) fuse.Status {
	return f.Mknod(nil, &fuse.MknodIn{InHeader: header(thread1, dir), Mode: mode | 0o600}, name, &fuse.EntryOut{})
}

// Record locks of a segment go with the close of any descriptor of their process, and all that was locked through an open file with its last.
func TestLocksGoWithTheirOwners(t *testing.T) {
	f := newTree(t, 0)
	dir := f.segments()
	a, _ := f.create(thread1, dir, "a", syscall.O_RDWR)
	lock := func(owner uint64, flags uint32) *fuse.LkIn {
		return &fuse.LkIn{Fh: a.Fh, Owner: owner, LkFlags: flags, Lk: fuse.FileLock{Typ: unix.F_WRLCK, End: 9, Pid: 77}}
	}
	eagain := fuse.Status(syscall.EAGAIN)
	f.want("SETLK", f.SetLk(nil, lock(1, 0)), fuse.OK)
	f.want("SETLK of another owner", f.SetLk(nil, lock(2, 0)), eagain)
	f.want("flock beside it", f.SetLk(nil, lock(2, fuse.FUSE_LK_FLOCK)), fuse.OK)
	f.want("flock of another owner", f.SetLk(nil, lock(3, fuse.FUSE_LK_FLOCK)), eagain)
	var held fuse.LkOut
	f.want("GETLK", f.GetLk(nil, lock(2, 0), &held), fuse.OK)
	if held.Lk != (fuse.FileLock{Typ: unix.F_WRLCK, End: 9, Pid: 77}) {
		t.Errorf("GETLK: %+v", held.Lk)
	}
	f.want("FLUSH", f.Flush(nil, &fuse.FlushIn{Fh: a.Fh, LockOwner: 1}), fuse.OK)
	f.want("SETLK after FLUSH", f.SetLk(nil, lock(2, 0)), fuse.OK)
	f.want("flock after FLUSH", f.SetLk(nil, lock(3, fuse.FUSE_LK_FLOCK)), eagain)
	f.Release(nil, &fuse.ReleaseIn{Fh: a.Fh})
	if n := f.shm.locks.Len(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}
