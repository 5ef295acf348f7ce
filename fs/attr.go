package fs

import (
	"hash/fnv"
	"io"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The names of a directory change only through the kernel, which then drops what it remembers of them. But a stream is looked up each time (see node).
// What is known of an object changes without the kernel's inode: the times of a stream with every read and write, the blocks of a segment when it is touched.
const (
	entryTimeout   = time.Hour
	dirAttrTimeout = time.Second
)

const blockSize = 4096

// attrLocked fills in the attributes of n. A view is a file of its own to stat(2), with a number of its own: from one view of an object to another, cp and cat would
// otherwise refuse to copy.
func (f *FS) attrLocked(n *node, a *fuse.Attr) {
	i := n.inode
	*a = fuse.Attr{
		Ino: i.ino, Nlink: f.nlinkLocked(i), Blksize: blockSize,
	}
	perm := f.shownPerm(i.perm)
	a.Mode, a.Owner = i.mode|perm.Mode, fuse.Owner{Uid: perm.UID, Gid: perm.GID}
	a.SetTimes(&i.atime, &i.mtime, &i.ctime)
	switch {
	case i.object != nil:
		i.object.attr(a)
	case i.isDir():
		a.Size = uint64(len(i.entries))
	case i.mode == typeLink:
		a.Size = uint64(len(i.target))
	}
	if n.view != nil {
		h := fnv.New32a()
		_, _ = io.WriteString(h, n.view.String())
		a.Ino |= uint64(h.Sum32()|1) << 32
	}
}

// entryLocked fills in the answer of a LOOKUP that came to n.
func (f *FS) entryLocked(n *node, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: n.id}
	f.attrLocked(n, &out.Attr)
	if !n.inode.isStream() && !n.inode.unlisted() {
		out.SetEntryTimeout(entryTimeout)
	}
	if n.inode.isDir() {
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
	f.attrOutLocked(n, out)
	return fuse.OK
}

func (f *FS) attrOutLocked(n *node, out *fuse.AttrOut) {
	f.attrLocked(n, &out.Attr)
	if n.inode.isDir() {
		out.SetTimeout(dirAttrTimeout)
	}
}

// SetAttr answers SETATTR: chmod, chown, utimensat and truncate. The kernel has checked the rights.
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

	if i.proc != nil && in.Valid&(fuse.FATTR_MODE|fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		return fuse.EPERM // as for the kernel's own knobs
	}
	if size, ok := in.GetSize(); ok {
		var st fuse.Status
		switch {
		case o != nil:
			st = f.status(o.setSize(callerOf(&in.InHeader), size))
		case i.proc != nil:
			st = i.proc.truncate(size)
		case size > 0:
			st = fuse.EINVAL
		}
		if !st.Ok() {
			return st
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

	if o != nil {
		o.setTimes(atime, mtime, now)
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
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 || in.Valid&settable == 0 {
		i.killPrivLocked()
	}
	if !atime.IsZero() {
		i.atime = atime
	}
	if !mtime.IsZero() {
		i.mtime = mtime
	}
	i.ctime = now
	f.attrOutLocked(n, out)
	return fuse.OK
}

// settable are the attributes that a SETATTR can ask for. One that asks for none is what a write to a set-user-ID file by passthrough leads to
// (file_remove_privs): under CAP_HANDLE_KILLPRIV_V2 the kernel leaves it to us to drop the bits.
const settable = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE | fuse.FATTR_ATIME | fuse.FATTR_MTIME |
	fuse.FATTR_ATIME_NOW | fuse.FATTR_MTIME_NOW | fuse.FATTR_CTIME

// killPrivLocked drops set-user-ID, and set-group-ID where it means that (fs/inode.c:setattr_should_drop_suidgid).
func (i *inode) killPrivLocked() {
	if i.mode != typeReg {
		return
	}
	i.perm.Mode &^= syscall.S_ISUID
	if i.perm.Mode&syscall.S_IXGRP != 0 {
		i.perm.Mode &^= syscall.S_ISGID
	}
}

// StatFs answers STATFS: what there is for the kind of the file. For the root it tells of shared memory, since df(1) asks the mount point whatever file it is
// given.
func (f *FS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	var k kind = f.shm
	if n := f.nodes[h.NodeId]; n != nil && n.inode.kind != nil {
		k = n.inode.kind
	}
	m := k.memory()
	*out = fuse.StatfsOut{
		Bsize: blockSize, Frsize: blockSize, NameLen: nameMax,
		Blocks: m.limit, Bfree: m.free, Bavail: m.free,
		Files: uint64(f.opts.MaxInodes), Ffree: uint64(f.opts.MaxInodes - f.inodes),
	}
	return fuse.OK
}
