package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// status is the one translation of an object's error for the kernel. Anything but an errno is a bug: EIO, and a line in the log.
func (f *FS) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var e syscall.Errno
	if errors.As(err, &e) {
		return fuse.Status(e)
	}
	f.opts.Logger.Printf("BUG: an operation ended with %T %v instead of an errno", err, err)
	return fuse.EIO
}
