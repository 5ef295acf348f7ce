package integration

import (
	"errors"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a pipe does not do, it refuses with the error of a FIFO and without touching what it holds.
func TestTreeRefusals(t *testing.T) {
	m := newMount(t)
	p := filepath.Join(m.pipes, "p")
	fd := filled(t, p, "kept")
	defer unix.Close(fd)
	into := openFd(t, filepath.Join(t.TempDir(), "file"), unix.O_RDWR|unix.O_CREAT)
	defer unix.Close(into)
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	other := filled(t, filepath.Join(m.pipes, "other"), "")
	defer unix.Close(other)
	directory := openFd(t, m.pipes, unix.O_RDONLY)
	defer unix.Close(directory)
	second := func(_ any, err error) error { return err }
	flock := func(how int) error { return unix.Flock(fd, how) }
	fcntl := func(cmd int, typ int16) error {
		return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: typ, Whence: unix.SEEK_SET})
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"lseek", second(unix.Seek(fd, 0, unix.SEEK_CUR)), unix.ESPIPE},
		{"lseek SEEK_DATA", second(unix.Seek(fd, 0, unix.SEEK_DATA)), unix.ESPIPE},
		{"pread", second(unix.Pread(fd, make([]byte, 1), 0)), unix.ESPIPE},
		{"pwrite", second(unix.Pwrite(fd, make([]byte, 1), 0)), unix.ESPIPE},
		{"preadv", second(unix.Preadv(fd, [][]byte{make([]byte, 1)}, 0)), unix.ESPIPE},
		{"fsync", unix.Fsync(fd), unix.EINVAL},
		{"fdatasync", unix.Fdatasync(fd), unix.EINVAL},
		{"fallocate", unix.Fallocate(fd, 0, 0, 4096), unix.ESPIPE},
		{"punch a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096), unix.ESPIPE},
		{"ioctl TCGETS", second(unix.IoctlGetTermios(fd, unix.TCGETS)), unix.ENOTTY},
		{"ioctl TIOCGWINSZ", second(unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)), unix.ENOTTY},
		{"flock exclusive", flock(unix.LOCK_EX), unix.ENOLCK},
		{"flock shared, not waiting", flock(unix.LOCK_SH | unix.LOCK_NB), unix.ENOLCK},
		{"F_SETLK", fcntl(unix.F_SETLK, unix.F_WRLCK), unix.ENOLCK},
		{"F_SETLKW", fcntl(unix.F_SETLKW, unix.F_RDLCK), unix.ENOLCK},
		{"F_GETLK", fcntl(unix.F_GETLK, unix.F_WRLCK), unix.ENOLCK},
		{"F_OFD_SETLK", fcntl(unix.F_OFD_SETLK, unix.F_WRLCK), unix.ENOLCK},
		{"mmap shared", second(unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)), unix.ENODEV},
		{"splice", second(unix.Splice(fd, nil, ends[1], nil, 4096, 0)), unix.EINVAL},
		{"sendfile", second(unix.Sendfile(into, fd, nil, 4096)), unix.EINVAL},
		{"copy_file_range", second(unix.CopyFileRange(fd, nil, other, nil, 4096, 0)), unix.EINVAL},
		{"tee", second(unix.Tee(fd, ends[1], 4096, unix.SPLICE_F_NONBLOCK)), unix.EINVAL},
		{"link to the top", unix.Link(p, m.dir+"/p"), unix.EPERM},
		{"symlink at the top", unix.Symlink("x", m.dir+"/s"), unix.EPERM},
		{"mknod of a device", unix.Mknod(p+"4", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.EPERM},
		{"open as directory", second(unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY, 0)), unix.ENOTDIR},
		{"open exclusive", second(unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)), unix.EEXIST},
		{"create in proc", second(unix.Open(m.dir+"/proc/x", unix.O_RDWR|unix.O_CREAT, 0o600)), unix.EPERM},
		{"create at the top", second(unix.Open(m.dir+"/x", unix.O_RDWR|unix.O_CREAT, 0o600)), unix.EPERM},
		{"unlink of proc/pipes", unix.Unlink(m.dir + "/proc/pipes"), unix.EPERM},
		{"rmdir of pipes", unix.Rmdir(m.pipes), unix.EPERM},
		{"write of a directory", second(unix.Open(m.pipes, unix.O_WRONLY, 0)), unix.EISDIR},
		{"read of a directory", second(unix.Read(directory, make([]byte, 1))), unix.EISDIR},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v instead of %v", c.name, c.err, c.want)
		}
	}
	if st, err := m.stats(); err != nil || st["p"].bytes != 4 {
		t.Errorf("after all that the pipe is %+v, %v", st["p"], err)
	}
	if got := drained(t, fd); got != "kept" {
		t.Errorf("after all that the pipe held %q", got)
	}
}

// A private mapping is refused or cannot be read, and takes nothing out of the pipe.
func TestTreePrivateMmap(t *testing.T) {
	m := newMount(t)
	fd := filled(t, filepath.Join(m.pipes, "p"), "kept")
	defer unix.Close(fd)
	mem, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
	if err == nil {
		// The kernel reads it on our behalf, so that the fault is an error and no signal.
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		n, _, e := syscall.Syscall(syscall.SYS_WRITE, uintptr(ends[1]), uintptr(unsafe.Pointer(unsafe.SliceData(mem))), 4)
		if e != unix.EFAULT {
			t.Errorf("reading the mapping: %d, %v", int(n), e)
		}
		runtime.KeepAlive(mem)
		_, _, _ = unix.Close(ends[0]), unix.Close(ends[1]), unix.Munmap(mem)
	}
	if got := drained(t, fd); got != "kept" {
		t.Errorf("the pipe held %q", got)
	}
}
