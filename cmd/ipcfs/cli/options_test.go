package cli

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
	"ipcfs/objects/page"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4095": 4095, "4096": 4096, "10B": 10, "4K": 4096, "4k": 4096, "4KB": 4096, "4kib": 4096, "512M": 512 << 20, "512mb": 512 << 20,
		"2G": 2 << 30, "1GiB": 1 << 30, "3T": 3 << 40, "007": 7,
		"9223372036854775807": math.MaxInt64, "8388607T": 8388607 << 40, "9007199254740991K": 9007199254740991 << 10,
	} {
		var v size
		if err := v.Set(text); err != nil || int64(v) != want {
			t.Errorf("%s: %d, %v instead of %d", text, v, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "K", "B", "-1", "+1", "1.5G", "0x10", "1_000", "1 K", "K1", "1KK", "1KM", "1P", "1E", "1X", "1I", "1IB", "1BK", "two",
		"9223372036854775808", "8388608T", "9007199254740992K", "18446744073709551616", "99999999999999999999G",
	} {
		v := size(77)
		if err := v.Set(text); err == nil || v != 77 {
			t.Errorf("%q is taken for %d", text, v)
		} else if !strings.Contains(err.Error(), "512M") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSizeStringIsReadBack(t *testing.T) {
	for want, n := range map[string]size{
		"0": 0, "1": 1, "1023": 1023, "1K": 1 << 10, "1025": 1025, "1536": 1536, "64K": 1 << 16, "1M": 1 << 20, "1536M": 3 << 29, "1G": 1 << 30, "1T": 1 << 40, "1024T": 1 << 50,
	} {
		var back size
		if s := n.String(); s != want || back.Set(s) != nil || back != n {
			t.Errorf("%d is %q and read back %d", n, s, back)
		}
	}
}

func TestUintSize(t *testing.T) {
	var n uint
	v := uintSize{&n}
	if err := v.Set("64K"); err != nil || n != 65536 || v.String() != "64K" {
		t.Errorf("%d %s %v", n, v, err)
	}
	if err := v.Set("64X"); err == nil || n != 65536 {
		t.Errorf("%d %v", n, err)
	}
	if s := (uintSize{}).String(); s != "" { // asked for by the help
		t.Errorf("the zero value is %q", s)
	}
}

func TestMountOptions(t *testing.T) {
	const nosuidNodev = unix.MS_NOSUID | unix.MS_NODEV
	number := func(n uint32) *uint32 { return &n }
	for options, want := range map[string]mountConfig{
		"":                       {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		",,":                     {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"default_permissions":    {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"ro,noexec":              {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev | unix.MS_RDONLY | unix.MS_NOEXEC}},
		"ro,rw,noexec,exec":      {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"suid,dev":               {mount: conn.MountOptions{FsName: "ipcfs"}},
		"noatime,sync,dirsync":   {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev | unix.MS_NOATIME | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC}},
		"noatime,atime,async":    {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"allow_other":            {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev, AllowOther: true}},
		"noallow_other":          {mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"fsname=a=b":             {mount: conn.MountOptions{FsName: "a=b", Flags: nosuidNodev}},
		"nonempty":               {nonempty: true, mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"uid=0,gid=4294967294":   {uid: number(0), gid: number(math.MaxUint32 - 1), mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
		"uid=1,uid=2,umask=0777": {uid: number(2), umask: number(0o777), mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}},
	} {
		c := mountConfig{mount: conn.MountOptions{FsName: "ipcfs", Flags: nosuidNodev}}
		for o := range strings.SplitSeq(options, ",") {
			if err := c.apply(o); err != nil {
				t.Errorf("%s: %v", options, err)
			}
		}
		if diff := cmp.Diff(want, c, cmp.AllowUnexported(mountConfig{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", options, diff)
		}
	}
	for _, option := range []string{
		"nope", "RO", " ro", "ro ", "ro=", "ro=1", "nonempty=yes", "=", "=x", "nodirsync", "uid", "uid=", "uid=-1", "uid=+1", "uid=x", "uid=4294967295", "uid=4294967296",
		"gid=1.0", "umask=8", "umask=1000", "umask=", "fsname", "fsname=", "subtype=x", "max_read=1",
	} {
		c := mountConfig{}
		err := c.apply(option)
		if usage := (usageError{}); !errors.As(err, &usage) {
			t.Errorf("%s: %v", option, err)
		}
		if c.uid != nil && option != "umask=1000" || c.mount != (conn.MountOptions{}) || c.nonempty {
			t.Errorf("%s changed something: %+v", option, c)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *mountConfig)
		ok     bool
	}{
		{"the defaults", func(*mountConfig) {}, true},
		{"a page less", func(c *mountConfig) { c.memory = page.Size - 1 }, false},
		{"a page", func(c *mountConfig) { c.memory = page.Size }, true},
		{"the most", func(c *mountConfig) { c.memory = size(page.MaxLimit - page.Size) }, true},
		{"more", func(c *mountConfig) { c.memory = size(page.MaxLimit - page.Size + 1) }, false},
		{"15 inodes", func(c *mountConfig) { c.inodes = 15 }, false},
		{"16 inodes", func(c *mountConfig) { c.inodes = 16 }, true},
		{"a pipe of half a page", func(c *mountConfig) { c.limits.PipeMaxSize = page.Size / 2 }, false},
		{"a pipe of a page", func(c *mountConfig) { c.limits.PipeMaxSize = page.Size }, true},
		{"a pipe of three pages", func(c *mountConfig) { c.limits.PipeMaxSize = 3 * page.Size }, false},
		{"a pipe of 2 GiB", func(c *mountConfig) { c.limits.PipeMaxSize = 1 << 31 }, true},
		{"a pipe of 4 GiB", func(c *mountConfig) { c.limits.PipeMaxSize = 1 << 32 }, false},
	} {
		config := defaultMountConfig()
		c.change(&config)
		err := config.check()
		if usage := (usageError{}); (err == nil) != c.ok || err != nil && !errors.As(err, &usage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
