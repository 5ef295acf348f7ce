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

// nameMax is the longest name in bytes.
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

// entryOfLocked returns the directory with a node id and its entry of that name.
func (f *FS) entryOfLocked(id uint64, name string) (dir, i *inode, st fuse.Status) {
	dir, st = f.dirLocked(id)
	if !st.Ok() {
		return nil, nil, st
	}
	if len(name) > nameMax {
		return nil, nil, fuse.Status(syscall.ENAMETOOLONG)
	}
	if i = dir.entries[name]; i == nil {
		return dir, nil, fuse.ENOENT
	}
	return dir, i, fuse.OK
}

// Lookup answers LOOKUP.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, i, st := f.entryOfLocked(h.NodeId, name)
	if st.Ok() {
		f.entryLocked(f.lookupNodeLocked(i, h.Pid), out)
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

// addLocked makes a file or directory with a name. EEXIST if the name is taken.
func (f *FS) addLocked(h *fuse.InHeader, name string, mode uint32) (*inode, fuse.Status) {
	dir, _, st := f.entryOfLocked(h.NodeId, name)
	switch {
	case st.Ok():
		return nil, fuse.Status(syscall.EEXIST)
	case st != fuse.ENOENT:
		return nil, st
	case f.nlinkLocked(dir) == 0:
		return nil, fuse.ENOENT // the directory was removed
	}
	switch t := mode & syscall.S_IFMT; t {
	case typeReg, typeDir, typeLink:
	default:
		if dir.kind == nil || !dir.kind.special(t) {
			return nil, fuse.EPERM
		}
	}
	i, st := f.newLocked(h, dir, mode)
	if st.Ok() {
		f.linkLocked(dir, name, i)
	}
	return i, st
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
	i, st := f.addLocked(h, name, mode)
	if st.Ok() {
		f.entryLocked(f.lookupNodeLocked(i, h.Pid), out)
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
	i, st := f.addLocked(h, name, typeLink|0o777)
	if st.Ok() {
		i.target = target
		f.targets += len(target)
		f.entryLocked(f.lookupNodeLocked(i, h.Pid), out)
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

// Link answers LINK: one more name for a file, also for one that has none yet (O_TMPFILE). EXDEV between kinds; EMLINK and ENOSPC when there are too many.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, _, st := f.entryOfLocked(in.NodeId, name)
	n := f.nodes[in.Oldnodeid]
	switch {
	case st.Ok():
		return fuse.Status(syscall.EEXIST)
	case st != fuse.ENOENT:
		return st
	case n == nil:
		return fuse.Status(errStale)
	case n.inode.isDir() || n.inode.fixed || dir.kind == nil:
		return fuse.EPERM
	case n.inode.kind != dir.kind:
		return fuse.EXDEV
	case f.nlinkLocked(dir) == 0:
		return fuse.ENOENT
	case len(n.inode.names) >= maxLinks:
		return fuse.Status(syscall.EMLINK)
	case len(n.inode.names) > 0 && f.inodes >= f.opts.MaxInodes:
		return fuse.Status(syscall.ENOSPC)
	}
	f.linkLocked(dir, name, n.inode)
	n.inode.changeLocked(f.now())
	f.entryLocked(f.lookupNodeLocked(n.inode, in.Pid), out)
	return fuse.OK
}

// Create answers CREATE: it makes an object and opens it, and never waits, since the kernel holds the lock of the directory.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, st := f.addLocked(&in.InHeader, name, typeReg|in.Mode&0o7777)
	if st.Ok() {
		if st = f.createLocked(in, i, out); !st.Ok() {
			f.removeLocked(i.names[0].dir, name)
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
		if st = f.createLocked(in, i, out); !st.Ok() {
			f.dropLocked(i)
		}
	}
	return st
}

// createLocked opens the new object i and fills in the answer.
func (f *FS) createLocked(in *fuse.CreateIn, i *inode, out *fuse.CreateOut) fuse.Status {
	o, err := i.object.create(processOf(&in.InHeader), in.Flags)
	if err != nil {
		return f.status(err)
	}
	n := f.lookupNodeLocked(i, in.Pid)
	f.admitOpenLocked(n, in.Pid, in.Flags) // nobody else has looked it up
	f.entryLocked(n, &out.EntryOut)
	out.OpenOut = o.out()
	return fuse.OK
}

// Unlink answers UNLINK. Who has the file open goes on with it.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h, name, false)
}

// Rmdir answers RMDIR.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h, name, true)
}

// remove removes a directory, or anything else. EPERM for what the tree began with.
func (f *FS) remove(h *fuse.InHeader, name string, wantDir bool) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, i, st := f.entryOfLocked(h.NodeId, name)
	switch {
	case !st.Ok():
		return st
	case wantDir && !i.isDir():
		return fuse.ENOTDIR
	case !wantDir && i.isDir():
		return fuse.EISDIR
	case i.fixed:
		return fuse.EPERM
	case len(i.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	f.removeLocked(dir, name)
	return fuse.OK
}

// Rename answers RENAME and RENAME2. EXDEV between kinds; EINVAL for a flag other than RENAME_NOREPLACE and RENAME_EXCHANGE.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	from, i, st := f.entryOfLocked(in.NodeId, oldName)
	if !st.Ok() {
		return st
	}
	to, old, st := f.entryOfLocked(in.Newdir, newName)
	if !st.Ok() && st != fuse.ENOENT {
		return st
	}
	switch {
	case i.fixed || old != nil && old.fixed || to.kind == nil:
		return fuse.EPERM
	case from.kind != to.kind:
		return fuse.EXDEV
	case old == i:
		return fuse.OK
	case in.Flags&unix.RENAME_EXCHANGE != 0:
		if old == nil {
			return fuse.ENOENT
		}
		f.unlinkLocked(from, oldName)
		f.unlinkLocked(to, newName)
		f.linkLocked(to, newName, i)
		f.linkLocked(from, oldName, old)
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
		f.removeLocked(to, newName)
	}
	f.unlinkLocked(from, oldName)
	f.linkLocked(to, newName, i)
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

func (*openDir) read(c conn.Call, _ *fuse.ReadIn)             { c.ReplyStatus(fuse.EISDIR) }
func (*openDir) write(c conn.Call, _ *fuse.WriteIn, _ []byte) { c.ReplyStatus(fuse.EBADF) }
func (*openDir) poll(c conn.Call, _ *conn.PollIn)             { c.ReplyPoll(pollReady) }
func (*openDir) release()                                     {}

// OpenDir answers OPENDIR.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, st := f.dirLocked(in.NodeId); !st.Ok() {
		return st
	}
	*out = opened{fh: f.handles.add(&openDir{})}.out()
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
	d, ok := f.handles.get(in.Fh).(*openDir)
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
			f.entryLocked(f.lookupNodeLocked(i, in.Pid), entry)
		}
	}
	return st
}
