package conn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is the type of the mount in /proc/self/mounts.
const FSType = "fuse.ipcfs"

// MountOptions say how a file system is mounted.
type MountOptions struct {
	AllowOther bool    // let other users in
	FsName     string  // the source in /proc/self/mounts
	Flags      uintptr // MS_RDONLY, MS_NOEXEC, MS_NOSUID, MS_NODEV, ...
}

// flagNames are the options of fusermount3 for mount flags.
var flagNames = []struct {
	flag    uintptr
	set, no string
}{
	{unix.MS_RDONLY, "ro", "rw"},
	{unix.MS_NOSUID, "nosuid", "suid"},
	{unix.MS_NODEV, "nodev", "dev"},
	{unix.MS_NOEXEC, "noexec", "exec"},
	{unix.MS_NOATIME, "noatime", "atime"},
	{unix.MS_SYNCHRONOUS, "sync", "async"},
	{unix.MS_DIRSYNC, "dirsync", ""},
}

// ApplyFlag changes flags by the mount option name ("ro", "exec", ...) and says whether that is one.
func ApplyFlag(flags *uintptr, name string) bool {
	for _, f := range flagNames {
		switch name {
		case f.set:
			*flags |= f.flag
			return true
		case f.no:
			*flags &^= f.flag
			return f.no != ""
		}
	}
	return false
}

// Mount mounts a FUSE file system on dir and returns the open /dev/fuse, for New: with mount(2) where that is allowed, else with
// fusermount3. Permissions are checked by the kernel (default_permissions).
func Mount(dir string, o MountOptions) (fd int, err error) {
	fd, direct := mountDirect(dir, o)
	root := os.Geteuid() == 0
	if direct == nil || root && !errors.Is(direct, unix.EPERM) {
		return fd, direct
	}
	fd, err = mountHelper(dir, o)
	switch {
	case err == nil:
		return fd, nil
	case errors.As(direct, new(deviceError)): // which fusermount3 opens with our rights, and says less about it
		return -1, direct
	case root:
		return -1, fmt.Errorf("%w: root has no CAP_SYS_ADMIN here, and fusermount3 does not help: %v", direct, err)
	}
	return -1, err
}

// deviceError is why /dev/fuse cannot be opened.
type deviceError struct{ error }

// Unwrap is the errno of open(2).
func (e deviceError) Unwrap() error { return e.error }

// Error says also what to do.
func (e deviceError) Error() string {
	remedy := "load the module (modprobe fuse), or give the container the device (--device /dev/fuse)"
	if errors.Is(e.error, unix.EACCES) {
		remedy = "let all users open it, as udev does (chmod 666 /dev/fuse)"
	}
	return fmt.Sprintf("open /dev/fuse: %v; %s", e.error, remedy)
}

func mountDirect(dir string, o MountOptions) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, deviceError{err}
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions,max_read=%d", fd, os.Geteuid(), os.Getegid(), MaxWrite)
	if o.AllowOther {
		data += ",allow_other"
	}
	if err := unix.Mount(o.FsName, dir, FSType, o.Flags, data); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return fd, nil
}

// mountHelper mounts with fusermount3, which has the rights and passes back the descriptor over a socket (its protocol: mount.c of libfuse).
func mountHelper(dir string, o MountOptions) (int, error) {
	bin, err := HelperPath()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	defer theirs.Close()

	opts := []string{"fsname=" + escapeOption(o.FsName), "subtype=" + strings.TrimPrefix(FSType, "fuse."), "default_permissions", "max_read=" + strconv.Itoa(MaxWrite)}
	if o.AllowOther {
		opts = append(opts, "allow_other")
	}
	for _, f := range flagNames {
		switch {
		case o.Flags&f.flag != 0:
			opts = append(opts, f.set)
		case f.no == "exec":
			opts = append(opts, f.no)
		}
	}
	var stderr bytes.Buffer
	cmd := exec.Command(bin, "-o", strings.Join(opts, ","), "--", dir)
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	if err := cmd.Run(); err != nil {
		return -1, helperError("mount", err, &stderr)
	}
	_ = theirs.Close()
	return receiveFd(ours)
}

// escapeOption protects the commas and backslashes of an option's value.
func escapeOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

// receiveFd takes the descriptor that comes over the socket s.
func receiveFd(s *os.File) (int, error) {
	conn, err := net.FileConn(s)
	if err != nil {
		return -1, fmt.Errorf("socket of fusermount3: %w", err)
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return -1, fmt.Errorf("fusermount3 sent no descriptor: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return -1, errors.New("fusermount3 sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("fusermount3 sent no descriptor")
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// HelperPath finds fusermount3.
func HelperPath() (string, error) {
	if p, err := exec.LookPath("fusermount3"); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/bin", "/usr/bin"} {
		if p, err := exec.LookPath(filepath.Join(dir, "fusermount3")); err == nil {
			return p, nil
		}
	}
	return "", errors.New("fusermount3 not found: mounting without root needs it (Debian: apt-get install fuse3)")
}

func helperError(what string, err error, stderr *bytes.Buffer) error {
	if msg := strings.TrimSpace(stderr.String()); msg != "" {
		return fmt.Errorf("%s: %s", what, strings.ReplaceAll(msg, "\n", "; "))
	}
	return fmt.Errorf("%s: fusermount3: %w", what, err)
}

// Unmount unmounts dir, with umount(2) where that is allowed, else with fusermount3. A lazy unmount takes it out of the tree at once and
// leaves it to those who have files open. EBUSY if it is in use and lazy is not set.
func Unmount(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	bin, err := HelperPath()
	if err != nil {
		return err
	}
	arg := "-u"
	if lazy {
		arg = "-uz"
	}
	var stderr bytes.Buffer
	cmd := exec.Command(bin, arg, "--", dir)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if strings.Contains(stderr.String(), "busy") {
			return unix.EBUSY
		}
		return helperError("unmount", err, &stderr)
	}
	return nil
}

// Dead says whether dir is the mount point of a FUSE file system whose daemon is gone ("Transport endpoint is not connected"). One whose files
// the caller may not look at is not called dead.
func Dead(dir string) bool {
	var st unix.Statfs_t // unlike stat(2), never answered from what the kernel remembers
	err := unix.Statfs(dir, &st)
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}
