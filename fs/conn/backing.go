package conn

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ioctls of /dev/fuse (include/uapi/linux/fuse.h).
const (
	ioctlBackingOpen  = 0x4010e501 // FUSE_DEV_IOC_BACKING_OPEN
	ioctlBackingClose = 0x4004e502 // FUSE_DEV_IOC_BACKING_CLOSE
)

// Passthrough says whether the kernel can be told to read, write and map files by itself. Whether it lets us tell, OpenBacking says.
func (c *Conn) Passthrough() bool { return c.offered&fuse.CAP_PASSTHROUGH != 0 }

// OpenBacking makes fd, a regular file, known to the kernel and returns its id there, for OpenOut.BackingID. EPERM without CAP_SYS_ADMIN or Passthrough. The
// kernel keeps the file until CloseBacking, and as long as a file that was opened with it is open or mapped (fs/fuse/passthrough.c:fuse_backing_open).
func (c *Conn) OpenBacking(fd int) (id int32, err error) {
	m := fuse.BackingMap{Fd: int32(fd)}
	r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), ioctlBackingOpen, uintptr(unsafe.Pointer(&m)))
	if e != 0 {
		return 0, e
	}
	return int32(r), nil
}

// CloseBacking takes the id back (fs/fuse/passthrough.c:fuse_backing_close).
func (c *Conn) CloseBacking(id int32) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), ioctlBackingClose, uintptr(unsafe.Pointer(&id)))
	if e != 0 {
		return e
	}
	return nil
}
