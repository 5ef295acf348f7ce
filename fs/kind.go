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
	newObject() object
}

// object is a file that is an object.
type object interface {
	// open answers OPEN, now or when it completes.
	open(c conn.Call, in *fuse.OpenIn)
	// create opens an object that this very request made; it must not wait.
	create(caller ipc.Caller, flags uint32) (opened, error)
	setSize(caller ipc.Caller, size uint64) error
	times() (atime, mtime, ctime time.Time)
	// setTimes sets the times that are not zero.
	setTimes(atime, mtime, ctime time.Time)
	// xattrs are the fields that extended attributes show.
	xattrs() []xattr
	// statLine is the line of the object in its kind's file under proc.
	statLine(ino uint64, name string) string
}

// opened is the answer to an open: the file, entered in the table, and the flags for the kernel.
type opened struct {
	fh    uint64
	flags uint32
}

func (o opened) out() fuse.OpenOut { return fuse.OpenOut{Fh: o.fh, OpenFlags: o.flags} }

// file is an open file. Each method but release answers its call, now or later.
type file interface {
	read(c conn.Call, in *fuse.ReadIn)
	write(c conn.Call, in *fuse.WriteIn, data []byte)
	poll(c conn.Call, in *conn.PollIn)
	release()
}
