package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What a tree of streams refuses, with the errno that the same call on a FIFO gives where there is one. (OPEN, READ and WRITE do not come through go-fuse: see
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

// Access is left to the kernel, which checks all rights itself (default_permissions).
func (*FS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Lseek refuses to seek.
func (*FS) Lseek(<-chan struct{}, *fuse.LseekIn, *fuse.LseekOut) fuse.Status {
	return fuse.Status(syscall.ESPIPE)
}

// GetLk refuses locks: each open of a stream has a kernel inode of its own, so the kernel's locks would not meet (see node).
func (*FS) GetLk(<-chan struct{}, *fuse.LkIn, *fuse.LkOut) fuse.Status {
	return fuse.Status(syscall.ENOLCK)
}

// SetLk refuses locks.
func (*FS) SetLk(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.Status(syscall.ENOLCK) }

// SetLkw refuses locks.
func (*FS) SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.Status(syscall.ENOLCK) }

// CopyFileRange refuses, so that the caller reads and writes.
func (*FS) CopyFileRange(<-chan struct{}, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.EINVAL
}

// Ioctl knows none.
func (*FS) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}

// Flush is not asked for (FOPEN_NOFLUSH).
func (*FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Fsync has nothing to write back.
func (*FS) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.EINVAL }

// FsyncDir has nothing to write back.
func (*FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Fallocate has nothing to allocate.
func (*FS) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	return fuse.Status(syscall.ESPIPE)
}

// Statx is left to GETATTR.
func (*FS) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status { return fuse.ENOSYS }

// SetDebug is go-fuse's own; conn logs.
func (*FS) SetDebug(bool) {}

// Init is called by go-fuse's Server, which we do not use.
func (*FS) Init(*fuse.Server) {}

// OnUnmount likewise.
func (*FS) OnUnmount() {}
