package fs

import (
	"cmp"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// nameMax is the longest name in bytes; a view may stand behind it.
const nameMax = 255

// dirLocked returns the directory with a node id.
func (f *FS) dirLocked(id uint64) (*inode, fuse.Status) {
	n := f.nodes[id]
	switch {
	case n == nil:
		return nil, fuse.Status(errStale)
	case !n.inode.isDir():
		return nil, fuse.ENOTDIR
	}
	return n.inode, fuse.OK
}

// entry is what a name in a directory leads to.
type entry struct {
	dir   *inode
	name  string // of the inode in the directory, without the view
	inode *inode // nil if there is none
	view  view
}

// entryOfLocked returns the entry of that name in the directory with a node id. With ENOENT it is the one that could be made; EINVAL if there can be none.
func (f *FS) entryOfLocked(id uint64, name string) (entry, fuse.Status) {
	dir, st := f.dirLocked(id)
	if !st.Ok() {
		return entry{}, st
	}
	e := entry{dir: dir, name: name}
	if dir.kind != nil {
		var err error
		if e.name, e.view, err = dir.kind.cutView(name); err != nil {
			return entry{}, f.status(err)
		}
	}
	if len(e.name) > nameMax {
		return entry{}, fuse.Status(syscall.ENAMETOOLONG)
	}
	switch e.inode = dir.entries[e.name]; {
	case e.inode == nil:
		return e, fuse.ENOENT
	case e.view != nil && e.inode.object == nil:
		return entry{}, fuse.EINVAL
	}
	return e, fuse.OK
}

// Lookup answers LOOKUP.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, st := f.entryOfLocked(h.NodeId, name)
	if st == fuse.ENOENT && e.dir.find != nil {
		var err error
		e.inode, err = e.dir.find(e.dir, name)
		st = f.status(err)
	}
	if st.Ok() {
		n := f.lookupNodeLocked(e.inode, e.view, h.Pid)
		n.foundLocked(h.NodeId, name)
		f.entryLocked(n, out)
	}
	return st
}

// newLocked makes a file or directory for h's caller, in the directory where it will be linked: its kind, and its group if that is set-group-ID.
// EPERM where nothing can be created; ENOSPC when there are too many, or what the kind says.
func (f *FS) newLocked(h *fuse.InHeader, dir *inode, mode uint32) (*inode, fuse.Status) {
	if dir.kind == nil {
		return nil, fuse.EPERM
	}
	if f.inodes >= f.opts.MaxInodes {
		return nil, fuse.Status(syscall.ENOSPC)
	}
	var o object
	if mode&syscall.S_IFMT == typeReg {
		var err error
		if o, err = dir.kind.newObject(processOf(h)); err != nil {
			return nil, f.status(err)
		}
	}
	perm := ipc.Perm{UID: h.Uid, GID: h.Gid, Mode: mode & 0o7777}
	if dir.perm.Mode&syscall.S_ISGID != 0 {
		perm.GID = dir.perm.GID
		if mode&syscall.S_IFMT == typeDir {
			perm.Mode |= syscall.S_ISGID
		}
	}
	i := f.newInodeLocked(dir.kind, mode&syscall.S_IFMT, perm)
	if i.object = o; o != nil {
		f.objects[i] = struct{}{}
	}
	return i, fuse.OK
}

// addLocked makes a file or directory with a name; by the name of a view, the object. EEXIST if the name is taken.
func (f *FS) addLocked(h *fuse.InHeader, name string, mode uint32) (entry, fuse.Status) {
	e, st := f.entryOfLocked(h.NodeId, name)
	switch {
	case st.Ok():
		return e, fuse.Status(syscall.EEXIST)
	case st != fuse.ENOENT:
		return e, st
	case f.nlinkLocked(e.dir) == 0:
		return e, fuse.ENOENT // the directory was removed
	}
	switch t := mode & syscall.S_IFMT; t {
	case typeReg:
	case typeDir, typeLink:
		if e.view != nil {
			return e, fuse.EINVAL
		}
	default:
		if e.dir.kind == nil || !e.dir.kind.special(t) {
			return e, fuse.EPERM
		}
	}
	if e.inode, st = f.newLocked(h, e.dir, mode); st.Ok() {
		f.linkLocked(e.dir, e.name, e.inode)
	}
	return e, st
}

// Mkdir answers MKDIR.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.make(&in.InHeader, name, typeDir|in.Mode&0o7777, out)
}

// Mknod answers MKNOD: a regular file is an object, a FIFO or a socket one of the kernel's own, whose data it carries itself. EPERM for any type that the
// directory does not take.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.make(&in.InHeader, name, in.Mode, out)
}

func (f *FS) make(h *fuse.InHeader, name string, mode uint32, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, st := f.addLocked(h, name, mode)
	if st.Ok() {
		n := f.lookupNodeLocked(e.inode, e.view, h.Pid)
		n.foundLocked(h.NodeId, name)
		f.entryLocked(n, out)
	}
	return st
}

// Symlink answers SYMLINK. ENOSPC also when all targets together get too long.
func (f *FS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.targets+len(target) > maxTargets {
		return fuse.Status(syscall.ENOSPC)
	}
	e, st := f.addLocked(h, name, typeLink|0o777)
	if st.Ok() {
		e.inode.target = target
		f.targets += len(target)
		f.entryLocked(f.lookupNodeLocked(e.inode, nil, h.Pid), out)
	}
	return st
}

// Readlink answers READLINK.
func (f *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[h.NodeId]
	if n == nil || n.inode.mode != typeLink {
		return nil, fuse.EINVAL
	}
	return []byte(n.inode.target), fuse.OK
}

// Link answers LINK: one more name for a file, also for one that has none yet (O_TMPFILE). EXDEV between kinds; EMLINK and ENOSPC when there are too many; EPERM for
// a view, EINVAL for a name of one.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, st := f.entryOfLocked(in.NodeId, name)
	n := f.nodes[in.Oldnodeid]
	switch {
	case st.Ok():
		return fuse.Status(syscall.EEXIST)
	case st != fuse.ENOENT:
		return st
	case n == nil:
		return fuse.Status(errStale)
	case n.inode.isDir() || n.inode.fixed || n.view != nil || e.dir.kind == nil:
		return fuse.EPERM
	case n.inode.kind != e.dir.kind:
		return fuse.EXDEV
	case e.view != nil:
		return fuse.EINVAL
	case f.nlinkLocked(e.dir) == 0:
		return fuse.ENOENT
	case len(n.inode.names) >= maxLinks:
		return fuse.Status(syscall.EMLINK)
	case len(n.inode.names) > 0 && f.inodes >= f.opts.MaxInodes:
		return fuse.Status(syscall.ENOSPC)
	}
	f.linkLocked(e.dir, name, n.inode)
	n.inode.changeLocked(f.now())
	f.entryLocked(f.lookupNodeLocked(n.inode, nil, in.Pid), out)
	return fuse.OK
}

// Create answers CREATE: it makes an object and opens it, and never waits, since the kernel holds the lock of the directory.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	var done ipc.Completions
	defer done.Deliver()
	f.mu.Lock()
	defer f.mu.Unlock()
	e, st := f.addLocked(&in.InHeader, name, typeReg|in.Mode&0o7777)
	if st.Ok() {
		if st = f.createLocked(in, e.inode, e.view, out); !st.Ok() {
			f.removeLocked(e.dir, e.name, &done)
		} else {
			f.nodes[out.NodeId].foundLocked(in.NodeId, name)
		}
	}
	return st
}

// Tmpfile answers TMPFILE: an object without a name.
func (f *FS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, st := f.dirLocked(in.NodeId)
	if !st.Ok() {
		return st
	}
	i, st := f.newLocked(&in.InHeader, dir, typeReg|in.Mode&0o7777)
	if st.Ok() {
		if st = f.createLocked(in, i, nil, out); !st.Ok() {
			f.dropLocked(i)
		}
	}
	return st
}

// createLocked opens the new object i and fills in the answer.
func (f *FS) createLocked(in *fuse.CreateIn, i *inode, v view, out *fuse.CreateOut) fuse.Status {
	caller := processOf(&in.InHeader)
	o, err := i.object.create(caller, in.Flags, v)
	if err != nil {
		return f.status(err)
	}
	n := f.lookupNodeLocked(i, v, in.Pid)
	f.admitOpenLocked(n, in.Pid, in.Flags) // nobody else has looked it up
	f.entryLocked(n, &out.EntryOut)
	out.OpenOut = o.out(f.handles.add(&handle{file: o.file, inode: i, view: v, pid: caller.PID, flags: in.Flags}))
	return fuse.OK
}

// Unlink answers UNLINK. Who has the file open goes on with it, unless the object ends with its last name.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h, name, false)
}

// Rmdir answers RMDIR.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h, name, true)
}

// remove removes a directory, or anything else. EPERM for what the tree began with, and for a view.
func (f *FS) remove(h *fuse.InHeader, name string, wantDir bool) fuse.Status {
	var done ipc.Completions
	defer done.Deliver()
	f.mu.Lock()
	defer f.mu.Unlock()
	e, st := f.entryOfLocked(h.NodeId, name)
	i := e.inode
	switch {
	case !st.Ok():
		return st
	case wantDir && !i.isDir():
		return fuse.ENOTDIR
	case !wantDir && i.isDir():
		return fuse.EISDIR
	case i.fixed || e.view != nil:
		return fuse.EPERM
	case len(i.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	f.removeLocked(e.dir, e.name, &done)
	return fuse.OK
}

// Rename answers RENAME and RENAME2. EXDEV between kinds; EINVAL for a flag other than RENAME_NOREPLACE and RENAME_EXCHANGE, and for a new name that is one of a view;
// EPERM for a view.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	var done ipc.Completions
	defer done.Deliver()
	f.mu.Lock()
	defer f.mu.Unlock()
	from, st := f.entryOfLocked(in.NodeId, oldName)
	if !st.Ok() {
		return st
	}
	to, st := f.entryOfLocked(in.Newdir, newName)
	if !st.Ok() && st != fuse.ENOENT {
		return st
	}
	i, old := from.inode, to.inode
	switch {
	case i.fixed || old != nil && (old.fixed || to.view != nil) || from.view != nil || to.dir.kind == nil:
		return fuse.EPERM
	case from.dir.kind != to.dir.kind:
		return fuse.EXDEV
	case to.view != nil:
		return fuse.EINVAL
	case old == i:
		return fuse.OK
	case in.Flags&unix.RENAME_EXCHANGE != 0:
		if old == nil {
			return fuse.ENOENT
		}
		f.unlinkLocked(from.dir, oldName)
		f.unlinkLocked(to.dir, newName)
		f.linkLocked(to.dir, newName, i)
		f.linkLocked(from.dir, oldName, old)
		i.changeLocked(f.now())
		old.changeLocked(f.now())
		return fuse.OK
	case old != nil:
		switch {
		case in.Flags&unix.RENAME_NOREPLACE != 0:
			return fuse.Status(syscall.EEXIST)
		case old.isDir() && !i.isDir():
			return fuse.EISDIR
		case !old.isDir() && i.isDir():
			return fuse.ENOTDIR
		case len(old.entries) > 0:
			return fuse.Status(syscall.ENOTEMPTY)
		}
		f.removeLocked(to.dir, newName, &done)
	}
	f.unlinkLocked(from.dir, oldName)
	f.linkLocked(to.dir, newName, i)
	i.changeLocked(f.now())
	return fuse.OK
}

// dirEntry is a name of a directory as it was when reading began.
type dirEntry struct {
	name string
	ino  uint64
	mode uint32
}

// openDir is an open directory: the names of the moment in which reading it began, so that what comes and goes meanwhile moves no position.
type openDir struct{ entries []dirEntry }

func (*openDir) read(op operation, _ *fuse.ReadIn)             { op.fail(syscall.EISDIR) }
func (*openDir) write(op operation, _ *fuse.WriteIn, _ []byte) { op.fail(syscall.EBADF) }
func (*openDir) poll(c conn.Call, _ *conn.PollIn)              { c.ReplyPoll(pollReady) }
func (*openDir) release(uint64)                                {}

// OpenDir answers OPENDIR.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, st := f.dirLocked(in.NodeId); !st.Ok() {
		return st
	}
	*out = fuse.OpenOut{Fh: f.handles.add(&handle{file: &openDir{}})}
	return fuse.OK
}

// ReleaseDir forgets an open directory.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) { f.handles.remove(in.Fh) }

// listLocked returns the directory that in is for and what is still to be listed of it; at the beginning it looks anew.
func (f *FS) listLocked(in *fuse.ReadIn) (dir *inode, rest []dirEntry, st fuse.Status) {
	dir, st = f.dirLocked(in.NodeId)
	if !st.Ok() {
		return nil, nil, st
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, nil, fuse.EBADF
	}
	d, ok := h.file.(*openDir)
	if !ok {
		return nil, nil, fuse.EBADF
	}
	if in.Offset == 0 {
		if dir.listing == nil {
			list := append(make([]dirEntry, 0, 2+len(dir.entries)), dirEntry{".", dir.ino, typeDir}, dirEntry{"..", dir.parentLocked().ino, typeDir})
			for name, i := range dir.entries {
				list = append(list, dirEntry{name, i.ino, i.mode})
			}
			slices.SortFunc(list[2:], func(a, b dirEntry) int { return cmp.Compare(a.name, b.name) })
			dir.listing = list
		}
		d.entries = dir.listing
	}
	return dir, d.entries[min(in.Offset, uint64(len(d.entries))):], fuse.OK
}

// ReadDir answers READDIR.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, list, st := f.listLocked(in)
	for _, e := range list {
		if !out.AddDirEntry(fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.mode}) {
			break
		}
	}
	return st
}

// ReadDirPlus answers READDIRPLUS. A stream is named without its node: what the caller does with it begins with a LOOKUP of its own (see node).
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, list, st := f.listLocked(in)
	for _, e := range list {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.mode})
		if entry == nil {
			break
		}
		if i := dir.entries[e.name]; i != nil && !i.isStream() {
			f.entryLocked(f.lookupNodeLocked(i, nil, in.Pid), entry)
		}
	}
	return st
}
