package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

// place is where a path leads to.
type place struct {
	path  string          // absolute, without symbolic links
	mount *mountinfo.Info // what is mounted right there and visible; nil if nothing is
}

// lookAt follows dir to a directory. It asks the kernel only for names, so a mount point is found too whose daemon is dead, does not answer or
// lets nobody in. The errors are those of open(2) for a directory, or procError.
func lookAt(dir string) (place, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, err
	}
	defer unix.Close(fd)
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return place{}, procError{err}
	}
	id, err := mountID(fd)
	if err != nil {
		return place{}, procError{err}
	}
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.ID != id || i.Mountpoint != path, false
	})
	if err != nil {
		return place{}, procError{err}
	}
	p := place{path: path}
	if len(mounts) > 0 {
		p.mount = mounts[0]
	}
	return p, nil
}

// procError is that /proc does not tell what it should. It hides the errno, which says nothing about the directory.
type procError struct{ error }

// Error says also what to do.
func (e procError) Error() string {
	return fmt.Sprintf("%v; is a proc file system mounted on /proc?", e.error)
}

// mountID is the mount that fd is in. (statx(2) tells it too, but asks the daemon.)
func mountID(fd int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(id))
		}
	}
	return 0, fmt.Errorf("/proc/self/fdinfo/%d has no mnt_id", fd)
}

// isOurs says whether an ipcfs is mounted there, be its daemon alive or not.
func (p place) isOurs() bool { return p.mount != nil && p.mount.FSType == conn.FSType }

// owner is the user who mounted what is there, if the kernel knows one.
func (p place) owner() (uid int, ok bool) {
	for _, o := range strings.Split(p.mount.VFSOptions, ",") {
		if s, found := strings.CutPrefix(o, "user_id="); found {
			uid, err := strconv.Atoi(s)
			return uid, err == nil
		}
	}
	return 0, false
}

// dirError says what is wrong with dir, which could not be opened as a directory.
func dirError(dir string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s does not exist; make the directory first: mkdir -p %s", dir, dir)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a directory", dir)
	case errors.Is(err, unix.ENOTCONN):
		return fmt.Errorf("%s is on a mount whose daemon is dead, and only a mount point of ipcfs is freed without asking; free that one with umount -l", dir)
	}
	if errors.As(err, new(procError)) {
		return err
	}
	var e unix.Errno
	if errors.As(err, &e) { // without the words that Go puts before it
		err = e
	}
	return fmt.Errorf("%s cannot be read: %w", dir, err)
}
