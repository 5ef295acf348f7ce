package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// kind is a kind of object: what a new file in its directory becomes.
type kind interface {
	name() string // of the directory
	newObject(creator ipc.Caller) (object, error)
	// special says whether the directory takes a special file of this type, whose data the kernel carries itself.
	special(mode uint32) bool
	// cutView parts a name into that of an object and the view that stands behind it, nil if none does. EINVAL if the name can be none.
	cutView(name string) (string, view, error)
	// memory is what statfs(2) tells of the kind, in pages.
	memory() memory
	// xattrs are what extended attributes of the kind's directory show.
	xattrs() []xattr
	// columns are the numbers that are told of each object. They never change.
	columns() []column
	// hidesXAttrs says whether listxattr(2) does not tell of them, so that nobody copies them with the file.
	hidesXAttrs() bool
}

// view is how a file shows its object: what stands behind the object's name, in a name that no directory lists. nil is the object itself. Views of the same name
// are equal.
type view interface{ String() string }

// noViews is for kinds whose objects have only themselves.
type noViews struct{}

func (noViews) cutView(name string) (string, view, error) { return name, nil, nil }

// memory is how much there is for the objects of a kind, and how much of it is free.
type memory struct{ limit, free uint64 }

// object is a file that is an object. FS.mu may be held when its methods are called, but for open.
type object interface {
	// stream says whether reads and writes are messages to the object, so that each who opens it for writing needs a node of its own (see node). Another one is
	// a regular file to the kernel, with one node.
	stream() bool
	// open answers OPEN, now or when it completes.
	open(op operation, in *fuse.OpenIn)
	// create opens an object that this very request made; it must not wait.
	create(caller ipc.Caller, flags uint32, v view) (opened, error)
	// unlinked is told when the last name of the object is gone. done is delivered when FS.mu is free.
	unlinked(done *ipc.Completions)
	// drop ends an object that nobody can reach any more.
	drop()
	setSize(caller ipc.Caller, size uint64) error
	// attr fills in size, blocks and times.
	attr(a *fuse.Attr)
	// setTimes sets the times that are not zero.
	setTimes(atime, mtime, ctime time.Time)
	// values are the numbers of the kind's columns, in their order, at one moment; nil if the object has ended.
	values() []int64
	// xattrs are the extended attributes that are more than a number.
	xattrs() []xattr
	// ownXAttrs keeps attributes that users add; nil if they cannot.
	ownXAttrs() xattrStore
}

// opened is a file that was opened, and the flags for the kernel.
type opened struct {
	file    file
	flags   uint32
	backing int32 // with FOPEN_PASSTHROUGH, what the kernel does the rest with
}

// out is the answer to the open, when the file is in the table.
func (o opened) out(fh uint64) fuse.OpenOut {
	return fuse.OpenOut{Fh: fh, OpenFlags: o.flags, BackingID: o.backing}
}

// outlivesName is for objects that live on as long as they are open.
type outlivesName struct{}

func (outlivesName) unlinked(*ipc.Completions) {}

// noXAttrs is for objects to which users cannot add attributes, and which have none but numbers.
type noXAttrs struct{}

func (noXAttrs) xattrs() []xattr       { return nil }
func (noXAttrs) ownXAttrs() xattrStore { return nil }

// file is an open file. Each method but release answers its call, now or later.
type file interface {
	read(op operation, in *fuse.ReadIn)
	write(op operation, in *fuse.WriteIn, data []byte)
	poll(c conn.Call, in *conn.PollIn)
	release(fh uint64)
}
