package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
)

// A directory changes only through the kernel, which then drops what it remembers of it. A stream is looked up each time (see node), and its
// times change with every read and write.
const (
	dirEntryTimeout = time.Hour
	dirAttrTimeout  = time.Second
)

// streamSize is the size that a stream shows: a write(2) within it takes the lock of the kernel's inode shared, so that the writers of one open file do not
// queue behind each other where no signal reaches them. A larger one, and any append, takes it exclusively; a larger size would mislead who reads st_size bytes.
const streamSize = conn.MaxWrite

const blockSize = 4096

// attrLocked fills in the attributes of i.
func (f *FS) attrLocked(i *inode, a *fuse.Attr) {
	*a = fuse.Attr{
		Ino: i.ino, Mode: i.mode | i.perm.Mode, Nlink: f.nlinkLocked(i), Blksize: blockSize,
		Owner: fuse.Owner{Uid: i.perm.UID, Gid: i.perm.GID},
	}
	atime, mtime, ctime := i.atime, i.mtime, i.ctime
	switch {
	case i.object != nil:
		a.Size, a.Blocks = streamSize, streamSize/512 // without blocks, cp would take it for a hole
		atime, mtime, ctime = i.object.times()
	case i.isDir():
		a.Size = uint64(len(i.entries))
	case i.mode == typeLink:
		a.Size = uint64(len(i.target))
	}
	a.SetTimes(&atime, &mtime, &ctime)
	if f.opts.UID != nil {
		a.Uid = *f.opts.UID
	}
	if f.opts.GID != nil {
		a.Gid = *f.opts.GID
	}
	if f.opts.Umask != nil {
		a.Mode = i.mode | 0o777&^*f.opts.Umask
	}
}

// entryLocked fills in the answer of a LOOKUP that came to n.
func (f *FS) entryLocked(n *node, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: n.id}
	f.attrLocked(n.inode, &out.Attr)
	if n.inode.isDir() {
		out.SetEntryTimeout(dirEntryTimeout)
		out.SetAttrTimeout(dirAttrTimeout)
	}
}

// GetAttr answers GETATTR.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.Status(errStale)
	}
	f.attrOutLocked(n.inode, out)
	return fuse.OK
}

func (f *FS) attrOutLocked(i *inode, out *fuse.AttrOut) {
	f.attrLocked(i, &out.Attr)
	if i.isDir() {
		out.SetTimeout(dirAttrTimeout)
	}
}

// SetAttr answers SETATTR: chmod, chown, utimensat and truncate. The kernel has checked the rights.
//
// A truncation to 0 changes nothing: it is what `>` does to an existing file. (With CAP_ATOMIC_O_TRUNC it would come as a flag of OPEN instead, but
// then the kernel takes the file to be empty, and each write from there on takes the inode's lock exclusively; see streamSize.)
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	n := f.nodes[in.NodeId]
	if n == nil {
		f.mu.Unlock()
		return fuse.Status(errStale)
	}
	i := n.inode
	o := i.object
	f.mu.Unlock()

	if size, ok := in.GetSize(); ok && size > 0 {
		if o == nil {
			return fuse.EINVAL
		}
		if err := o.setSize(callerOf(&in.InHeader), size); err != nil {
			return f.status(err)
		}
	}
	now := f.now()
	var atime, mtime time.Time
	switch {
	case in.Valid&fuse.FATTR_ATIME_NOW != 0:
		atime = now
	case in.Valid&fuse.FATTR_ATIME != 0:
		atime = time.Unix(int64(in.Atime), int64(in.Atimensec))
	}
	switch {
	case in.Valid&fuse.FATTR_MTIME_NOW != 0:
		mtime = now
	case in.Valid&fuse.FATTR_MTIME != 0:
		mtime = time.Unix(int64(in.Mtime), int64(in.Mtimensec))
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		i.perm.Mode = mode
	}
	if uid, ok := in.GetUID(); ok {
		i.perm.UID = uid
	}
	if gid, ok := in.GetGID(); ok {
		i.perm.GID = gid
	}
	if o != nil {
		o.setTimes(atime, mtime, now)
	}
	if !atime.IsZero() {
		i.atime = atime
	}
	if !mtime.IsZero() {
		i.mtime = mtime
	}
	i.ctime = now
	f.attrOutLocked(i, out)
	return fuse.OK
}

// StatFs answers STATFS: blocks are pages of the arena.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s := f.ns.Arena.Stat()
	free := uint64(s.Limit - s.InUse)
	f.mu.Lock()
	defer f.mu.Unlock()
	*out = fuse.StatfsOut{
		Bsize: blockSize, Frsize: blockSize, NameLen: nameMax,
		Blocks: uint64(s.Limit), Bfree: free, Bavail: free,
		Files: uint64(f.opts.MaxInodes), Ffree: uint64(f.opts.MaxInodes - f.inodes),
	}
	return fuse.OK
}
