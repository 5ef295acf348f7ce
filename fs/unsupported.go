package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What nothing in the tree takes, with the errno that the same call on a FIFO gives where there is one. (OPEN, READ and WRITE do not come through go-fuse: see
// conn.)

// rawFS gives the methods of go-fuse's interface whose names conn.Handler has too.
type rawFS struct{ *FS }

var _ fuse.RawFileSystem = rawFS{}

// Raw is the file system as go-fuse sees it.
func (f *FS) Raw() fuse.RawFileSystem { return rawFS{f} }

// Open is answered by FS.Open.
func (rawFS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

// Read is answered by FS.Read.
func (rawFS) Read(<-chan struct{}, *fuse.ReadIn, []byte) (fuse.ReadResult, fuse.Status) {
	return nil, fuse.ENOSYS
}

// Write is answered by FS.Write.
func (rawFS) Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Writev is answered by FS.Write.
func (*FS) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// SetLkw is answered by FS.SetLkw.
func (rawFS) SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.ENOSYS }

// Access is left to the kernel, which checks all rights itself (default_permissions).
func (*FS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Ioctl knows none.
func (*FS) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}

// FsyncDir has nothing to write back.
func (*FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Statx is left to GETATTR.
func (*FS) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status { return fuse.ENOSYS }

// SetDebug is go-fuse's own; conn logs.
func (*FS) SetDebug(bool) {}

// Init is called by go-fuse's Server, which we do not use.
func (*FS) Init(*fuse.Server) {}

// OnUnmount likewise.
func (*FS) OnUnmount() {}
