package fs

import "github.com/hanwen/go-fuse/v2/fuse"

// What go-fuse asks for and is done at once is watched here (see operation), and done by the method of FS of the same name.

// Mkdir is FS.Mkdir.
func (r rawFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return r.watch(&in.InHeader, name).done(r.FS.Mkdir(cancel, in, name, out))
}

// Mknod is FS.Mknod.
func (r rawFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return r.watch(&in.InHeader, name).done(r.FS.Mknod(cancel, in, name, out))
}

// Symlink is FS.Symlink.
func (r rawFS) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return r.watch(h, name).done(r.FS.Symlink(cancel, h, target, name, out))
}

// Link is FS.Link.
func (r rawFS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return r.watch(&in.InHeader, name).done(r.FS.Link(cancel, in, name, out))
}

// Create is FS.Create.
func (r rawFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return r.watch(&in.InHeader, name).done(r.FS.Create(cancel, in, name, out))
}

// Tmpfile is FS.Tmpfile.
func (r rawFS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return r.watch(&in.InHeader, "").done(r.FS.Tmpfile(cancel, in, out))
}

// Unlink is FS.Unlink.
func (r rawFS) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return r.watch(h, name).done(r.FS.Unlink(cancel, h, name))
}

// Rmdir is FS.Rmdir.
func (r rawFS) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return r.watch(h, name).done(r.FS.Rmdir(cancel, h, name))
}

// Rename is FS.Rename.
func (r rawFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	w := r.watch(&in.InHeader, oldName)
	w.to, _ = r.inodeOf(in.Newdir)
	w.toName = newName
	return w.done(r.FS.Rename(cancel, in, oldName, newName))
}

// SetAttr is FS.SetAttr.
func (r rawFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return r.watch(&in.InHeader, "").done(r.FS.SetAttr(cancel, in, out))
}

// SetXAttr is FS.SetXAttr.
func (r rawFS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	return r.watch(&in.InHeader, "").done(r.FS.SetXAttr(cancel, in, name, value))
}

// RemoveXAttr is FS.RemoveXAttr.
func (r rawFS) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return r.watch(h, "").done(r.FS.RemoveXAttr(cancel, h, name))
}

// Fallocate is FS.Fallocate.
func (r rawFS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return r.watch(&in.InHeader, "").done(r.FS.Fallocate(cancel, in))
}

// CopyFileRange is FS.CopyFileRange.
func (r rawFS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	w := r.watch(&in.InHeader, "")
	n, st := r.FS.CopyFileRange(cancel, in)
	return n, w.done(st)
}

// SetLk is FS.SetLk.
func (r rawFS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return r.watch(&in.InHeader, "").done(r.FS.SetLk(cancel, in))
}
