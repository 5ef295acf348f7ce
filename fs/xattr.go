package fs

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/ipc"
)

// xattr is an extended attribute: a field of the object's struct.
type xattr struct {
	name   string
	get    func() string
	set    func(caller ipc.Caller, value string) error // nil if it cannot be set: EPERM
	hidden bool                                        // listxattr(2) does not tell, so that nobody copies it with the file
}

// xattrStore keeps the attributes that users add to an object. Its errors are those of the system calls.
type xattrStore interface {
	GetXAttr(name string) ([]byte, error)
	SetXAttr(name string, value []byte, flags int) error
	ListXAttr() ([]string, error)
	RemoveXAttr(name string) error
}

// ownPrefix begins the names that are ours.
const ownPrefix = "user.ipc."

// kept are the classes of names that users may add. An ACL (system.posix_acl_access) is not among them: the kernel would not go by it.
var kept = []string{"user.", "trusted.", "security."}

// xattrsOf returns the attributes of a node: the fields of its object, and those that users added, nil if they cannot.
func (f *FS) xattrsOf(id uint64) ([]xattr, xattrStore) {
	f.mu.Lock()
	n := f.nodes[id]
	f.mu.Unlock()
	switch {
	case n == nil:
	case n.inode.object != nil:
		return f.fieldsOf(n.inode), n.inode.object.ownXAttrs()
	case n.inode.kind != nil && n.inode.fixed:
		return n.inode.kind.xattrs(), nil
	}
	return nil, nil
}

// fieldsOf are the fields of an object: the numbers of its kind's columns, and what its tree knows of it, as in the table of the kind in proc.
func (f *FS) fieldsOf(i *inode) []xattr {
	hidden := i.kind.hidesXAttrs()
	var fields []xattr
	for n, name := range columnsBefore {
		fields = append(fields, xattr{name: ownPrefix + name, hidden: hidden, get: func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.knownLocked(i).words()[n]
		}})
	}
	for n, c := range i.kind.columns() {
		x := xattr{name: ownPrefix + c.name, hidden: hidden, get: func() string {
			values := i.object.values()
			if values == nil {
				return "0"
			}
			return strconv.FormatInt(values[n], 10)
		}}
		if c.set != nil {
			x.set = func(caller ipc.Caller, value string) error {
				n, err := strconv.ParseUint(value, 10, 64)
				if err != nil {
					return syscall.EINVAL
				}
				return c.set(i.object, caller, n)
			}
		}
		fields = append(fields, x)
	}
	for n, name := range columnsAfter {
		fields = append(fields, xattr{name: ownPrefix + name, hidden: hidden, get: func() string { return i.traffic.words()[n] }})
	}
	return append(fields, i.object.xattrs()...)
}

// xattrOf looks an attribute up: a field, or where it is kept if it is not one; neither if there is none.
func (f *FS) xattrOf(id uint64, name string) (*xattr, xattrStore) {
	fields, own := f.xattrsOf(id)
	for i := range fields {
		if fields[i].name == name {
			return &fields[i], nil
		}
	}
	may := func(class string) bool { return strings.HasPrefix(name, class) }
	if may(ownPrefix) || !slices.ContainsFunc(kept, may) {
		return nil, nil
	}
	return nil, own
}

// GetXAttr answers GETXATTR. ENODATA if there is no such attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	field, own := f.xattrOf(h.NodeId, name)
	switch {
	case field != nil:
		return putXAttr(dest, field.get())
	case own != nil:
		value, err := own.GetXAttr(name)
		if err != nil {
			return 0, f.status(err)
		}
		return putXAttr(dest, string(value))
	}
	return 0, fuse.ENODATA
}

// ListXAttr answers LISTXATTR.
func (f *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	fields, own := f.xattrsOf(h.NodeId)
	var names []string
	for _, x := range fields {
		if !x.hidden {
			names = append(names, x.name)
		}
	}
	if own != nil {
		added, err := own.ListXAttr()
		if err != nil {
			return 0, f.status(err)
		}
		names = append(names, added...)
	}
	var list strings.Builder
	for _, name := range names {
		list.WriteString(name + "\x00")
	}
	return putXAttr(dest, list.String())
}

// putXAttr copies s to dest and returns its length; ERANGE if dest is too small, as it is when only the length is asked for.
func putXAttr(dest []byte, s string) (uint32, fuse.Status) {
	if len(dest) < len(s) {
		return uint32(len(s)), fuse.ERANGE
	}
	copy(dest, s)
	return uint32(len(s)), fuse.OK
}

// SetXAttr answers SETXATTR. EOPNOTSUPP if there is no such attribute and none can be added; EPERM if it cannot be set.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	field, own := f.xattrOf(in.NodeId, name)
	const xattrCreate = 1
	switch {
	case field != nil && in.Flags&xattrCreate != 0:
		return fuse.Status(syscall.EEXIST)
	case field != nil && field.set == nil:
		return fuse.EPERM
	case field != nil:
		return f.status(field.set(callerOf(&in.InHeader), string(value)))
	case own != nil:
		return f.xattrChanged(in.NodeId, own.SetXAttr(name, value, int(in.Flags)))
	}
	return fuse.ENOTSUP
}

// RemoveXAttr answers REMOVEXATTR: only what users added can be removed.
func (f *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	field, own := f.xattrOf(h.NodeId, name)
	switch {
	case field != nil:
		return fuse.EPERM
	case own != nil:
		return f.xattrChanged(h.NodeId, own.RemoveXAttr(name))
	}
	return fuse.ENODATA
}

// xattrChanged notes that an attribute of a node was set or removed, unless err says otherwise. The file systems of the kernel say EOPNOTSUPP where it is built without them.
func (f *FS) xattrChanged(id uint64, err error) fuse.Status {
	if err != nil {
		if errors.Is(err, syscall.ENOSYS) { // which the kernel would take for an answer to all that come
			return fuse.ENOTSUP
		}
		return f.status(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[id]; n != nil {
		n.inode.changeLocked(f.now())
	}
	return fuse.OK
}
