package conn

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ioctls of /dev/fuse (include/uapi/linux/fuse.h).
const (
	ioctlBackingOpen  = 0x4010e501 // FUSE_DEV_IOC_BACKING_OPEN
	ioctlBackingClose = 0x4004e502 // FUSE_DEV_IOC_BACKING_CLOSE
)

// TryPassthrough says whether the kernel can be told to read, write and map a file by itself, with OpenBacking. The error says why not.
func (c *Conn) TryPassthrough(fd int) error {
	if c.offered&fuse.CAP_PASSTHROUGH == 0 {
		return errors.New("the kernel does not offer it (it takes Linux 6.9 and CONFIG_FUSE_PASSTHROUGH)")
	}
	id, err := c.OpenBacking(fd)
	if err != nil {
		return fmt.Errorf("FUSE_DEV_IOC_BACKING_OPEN: %w", err)
	}
	return c.CloseBacking(id)
}

// OpenBacking makes fd, a regular file, known to the kernel and returns its id there, for OpenOut.BackingID. EPERM without CAP_SYS_ADMIN. The
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

// ProbePassthrough tries on a file system that is mounted nowhere whether OpenBacking works here. The error says why not.
func ProbePassthrough() error {
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return deviceError{err}
	}
	p := &probe{result: make(chan error, 2)}
	c := New(dev, p, fuse.NewDefaultRawFileSystem(), Options{Logger: log.New(io.Discard, "", 0)})
	defer func() { _ = c.Close() }()
	end, err := mountNowhere(dev)
	if err != nil {
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := c.Serve(); err != nil {
			p.result <- err // unless the probe has said more already
		}
	}()
	select {
	case err = <-p.result:
	case <-served: // before INIT, and so for good
		err = errors.New("the kernel ended the connection")
	}
	end()
	<-served
	return err
}

// mountNowhere makes a file system of a FUSE device, and returns what ends it.
func mountNowhere(dev int) (end func(), err error) {
	config, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen of fuse: %w", err)
	}
	for _, o := range [][2]string{
		{"fd", strconv.Itoa(dev)}, {"rootmode", "40000"}, {"user_id", strconv.Itoa(os.Geteuid())}, {"group_id", strconv.Itoa(os.Getegid())},
	} {
		if err == nil {
			err = unix.FsconfigSetString(config, o[0], o[1])
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(config)
	}
	if err != nil {
		_ = unix.Close(config)
		return nil, fmt.Errorf("fsconfig of fuse: %w", err)
	}
	return func() { _ = unix.Close(config) }, nil
}

// probe is the Handler of a connection that only has to answer INIT.
type probe struct {
	Handler // there will be no request for it
	result  chan error
}

// Connected tries to open a backing file.
func (p *probe) Connected(c *Conn) { p.result <- tryMemfd(c) }

func tryMemfd(c *Conn) error {
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return c.TryPassthrough(fd)
}
