package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/ipc"
)

// xattr is an extended attribute: a field of the object's struct.
type xattr struct {
	name string
	get  func() string
	set  func(caller ipc.Caller, value string) error
}

// xattrsOf returns the attributes of a node.
func (f *FS) xattrsOf(id uint64) []xattr {
	f.mu.Lock()
	n := f.nodes[id]
	f.mu.Unlock()
	if n == nil || n.inode.object == nil {
		return nil
	}
	return n.inode.object.xattrs()
}

// GetXAttr answers GETXATTR. ENODATA if there is no such attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	for _, x := range f.xattrsOf(h.NodeId) {
		if x.name == name {
			return putXAttr(dest, x.get())
		}
	}
	return 0, fuse.ENODATA
}

// ListXAttr answers LISTXATTR.
func (f *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	var names string
	for _, x := range f.xattrsOf(h.NodeId) {
		names += x.name + "\x00"
	}
	return putXAttr(dest, names)
}

// putXAttr copies s to dest and returns its length; ERANGE if dest is too small, as it is when only the length is asked for.
func putXAttr(dest []byte, s string) (uint32, fuse.Status) {
	if len(dest) < len(s) {
		return uint32(len(s)), fuse.ERANGE
	}
	copy(dest, s)
	return uint32(len(s)), fuse.OK
}

// SetXAttr answers SETXATTR. EOPNOTSUPP if there is no such attribute: none can be added.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	for _, x := range f.xattrsOf(in.NodeId) {
		if x.name != name {
			continue
		}
		const xattrCreate = 1
		if in.Flags&xattrCreate != 0 {
			return fuse.Status(syscall.EEXIST)
		}
		return f.status(x.set(callerOf(&in.InHeader), string(value)))
	}
	return fuse.ENOTSUP
}

// RemoveXAttr answers REMOVEXATTR: no attribute can be removed.
func (f *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	for _, x := range f.xattrsOf(h.NodeId) {
		if x.name == name {
			return fuse.EPERM
		}
	}
	return fuse.ENODATA
}
