package cli

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ipcfs/fs"
	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// mountConfig is what the command line of mount asks for.
type mountConfig struct {
	dir        string
	foreground bool
	debug      bool
	logFile    string
	memory     size
	inodes     int
	limits     ipc.Limits

	passthrough passthrough

	mount    conn.MountOptions
	nonempty bool
	uid, gid *uint32
	umask    *uint32
}

func defaultMountConfig() mountConfig {
	return mountConfig{
		memory: 1 << 30,
		inodes: 1 << 20,
		limits: ipc.DefaultLimits(),
		mount: conn.MountOptions{
			AllowOther: os.Geteuid() == 0,
			FsName:     "ipcfs",
			Flags:      unix.MS_NOSUID | unix.MS_NODEV,
		},
	}
}

// mountOptionsHelp is the text about -o.
const mountOptionsHelp = `Options for -o, separated by commas:
  allow_other      let other users in, by the mode of the files (the default for root; others
                   need 'user_allow_other' in /etc/fuse.conf)
  noallow_other    only the user who mounts may look into the mount
  ro, rw, exec, noexec, suid, nosuid, dev, nodev, atime, noatime, sync, async, dirsync
                   as for any mount (nosuid and nodev are the default)
  uid=N, gid=N     every file shows this owner, this group
  umask=OCTAL      every file shows mode 0777 less this
  fsname=NAME      the source that mount(8) and df(1) show (default ipcfs)
  nonempty         mount over a directory that is not empty`

// apply takes one option of -o.
func (c *mountConfig) apply(option string) error {
	name, value, hasValue := strings.Cut(option, "=")
	switch name {
	case "uid", "gid", "umask", "fsname":
		if !hasValue || value == "" {
			return usagef("option %s needs a value: %s=...", name, name)
		}
	default:
		if hasValue {
			return usagef("option %s: unknown, or takes no value", name)
		}
	}
	switch name {
	case "":
	case "allow_other":
		c.mount.AllowOther = true
	case "noallow_other":
		c.mount.AllowOther = false
	case "nonempty":
		c.nonempty = true
	case "default_permissions": // always on
	case "fsname":
		c.mount.FsName = value
	case "uid":
		return parseUint32(name, value, 10, &c.uid)
	case "gid":
		return parseUint32(name, value, 10, &c.gid)
	case "umask":
		if err := parseUint32(name, value, 8, &c.umask); err != nil {
			return err
		}
		if *c.umask > 0o777 {
			return usagef("option umask=%s: at most 777", value)
		}
	default:
		if !conn.ApplyFlag(&c.mount.Flags, name) {
			return usagef("unknown mount option %q", name)
		}
	}
	return nil
}

func parseUint32(name, value string, base int, to **uint32) error {
	n, err := strconv.ParseUint(value, base, 32)
	if err != nil || n == math.MaxUint32 {
		return usagef("option %s=%s: not a number in base %d below 2^32-1", name, value, base)
	}
	v := uint32(n)
	*to = &v
	return nil
}

// check looks at what the options are together.
func (c *mountConfig) check() error {
	switch {
	case int64(c.memory) < page.Size || int64(c.memory) > page.MaxLimit-page.Size:
		return usagef("--memory %v: from 4K to %v", &c.memory, sizeString(page.MaxLimit-page.Size))
	case c.inodes < 16:
		return usagef("--inodes %d: at least 16", c.inodes)
	case c.limits.PipeMaxSize < page.Size || c.limits.PipeMaxSize&(c.limits.PipeMaxSize-1) != 0 || c.limits.PipeMaxSize > 1<<31:
		return usagef("--pipe-max-size %d: a power of two from 4K to 2G", c.limits.PipeMaxSize)
	case c.limits.ShmAll == 0:
		return usagef("--shmall: at least 4K")
	case c.limits.ShmMni < 1:
		return usagef("--shmmni %d: at least 1", c.limits.ShmMni)
	case c.limits.MsgMax < 1 || c.limits.MsgMax > fs.MaxMsgMax:
		return usagef("--msgmax %d: from 1 to %d", c.limits.MsgMax, fs.MaxMsgMax)
	case c.limits.MsgMnb < 1 || c.limits.MsgMnb > math.MaxInt32:
		return usagef("--msgmnb %d: from 1 to %d", c.limits.MsgMnb, math.MaxInt32)
	case c.limits.MsgMni < 1:
		return usagef("--msgmni %d: at least 1", c.limits.MsgMni)
	case c.limits.ShmMax < ipc.SHMMAX && c.passthrough == passthrough(fs.PassthroughOn):
		return usagef("--shmmax with --passthrough=on: the kernel would not hold writes to it; leave one of them out")
	}
	return nil
}

// size is a flag value: bytes, with a suffix K, M, G or T for powers of 1024.
type size int64

var sizeForm = regexp.MustCompile(`^(\d+)(?:([KMGT])(?:I?B)?|B)?$`)

// Set parses s.
func (v *size) Set(s string) error {
	wrong := fmt.Errorf("%q is not a size such as 512M or 2G", s)
	m := sizeForm.FindStringSubmatch(strings.ToUpper(s))
	if m == nil {
		return wrong
	}
	shift := 0
	if m[2] != "" {
		shift = 10 * (1 + strings.Index("KMGT", m[2]))
	}
	n, err := strconv.ParseUint(m[1], 10, 63-shift)
	if err != nil {
		return wrong
	}
	*v = size(n << shift)
	return nil
}

// String is the size as Set reads it.
func (v *size) String() string { return sizeString(int64(*v)) }

// Type names the value in the help.
func (*size) Type() string { return "size" }

func sizeString(n int64) string {
	suffixes := []string{"", "K", "M", "G", "T"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(suffixes)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + suffixes[i]
}

// passthrough is the flag value for fs.Passthrough.
type passthrough fs.Passthrough

// passthroughNames are what the command line says, by value.
var passthroughNames = []string{fs.PassthroughAuto: "auto", fs.PassthroughOn: "on", fs.PassthroughOff: "off"}

// Set parses s.
func (p *passthrough) Set(s string) error {
	i := slices.Index(passthroughNames, s)
	if i < 0 {
		return fmt.Errorf("%q is not one of %s", s, strings.Join(passthroughNames, ", "))
	}
	*p = passthrough(i)
	return nil
}

// String is the value as Set reads it.
func (p *passthrough) String() string { return passthroughNames[*p] }

// Type names the values in the help.
func (*passthrough) Type() string { return strings.Join(passthroughNames, "|") }

// shmAll is a size that goes into a number of pages, rounded down.
type shmAll struct{ pages *uint64 }

// Set parses s.
func (v shmAll) Set(s string) error {
	var n size
	if err := n.Set(s); err != nil {
		return err
	}
	*v.pages = uint64(n) / page.Size
	return nil
}

// String is the size as Set reads it.
func (v shmAll) String() string {
	if v.pages == nil {
		return ""
	}
	return sizeString(int64(*v.pages * page.Size))
}

// Type names the value in the help.
func (shmAll) Type() string { return "size" }

// shmMax is a size that is not shown as long as it is the default.
type shmMax struct{ bytes *uint64 }

// Set parses s.
func (v shmMax) Set(s string) error {
	var n size
	if err := n.Set(s); err != nil {
		return err
	}
	*v.bytes = uint64(n)
	return nil
}

// String is the size as Set reads it.
func (v shmMax) String() string {
	if v.bytes == nil || *v.bytes == ipc.SHMMAX {
		return ""
	}
	return sizeString(int64(*v.bytes))
}

// Type names the value in the help.
func (shmMax) Type() string { return "size" }

// uintSize is a size that goes into a uint.
type uintSize struct{ to *uint }

// Set parses s.
func (v uintSize) Set(s string) error {
	var n size
	if err := n.Set(s); err != nil {
		return err
	}
	*v.to = uint(n)
	return nil
}

// String is the size as Set reads it.
func (v uintSize) String() string {
	if v.to == nil {
		return ""
	}
	return sizeString(int64(*v.to))
}

// Type names the value in the help.
func (uintSize) Type() string { return "size" }
