// Package integration tests ipcfs from outside, on real mounts, beside the kernel's own objects. The test binary is also the command: a daemon
// of these tests is this binary, so the race detector watches it too.
package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/cli"
	"ipcfs/fs/conn"
)

// connections is where the kernel lists the FUSE connections.
const connections = "/sys/fs/fuse/connections"

// careful runs the tests and fails if they leave a goroutine, a descriptor or a mount behind.
type careful struct{ m *testing.M }

// Run is testscript.TestingM.
func (c careful) Run() int {
	if os.Geteuid() == 0 {
		// Some tests look at the kernel's list of FUSE connections; where nobody has mounted it, it would always be empty.
		if err := unix.Mount("fusectl", connections, "fusectl", 0, ""); err == nil {
			defer func() { _ = unix.Unmount(connections, 0) }()
		}
	}
	tmp, err := ownTmp()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	before := descriptors()
	status := c.m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		status = 1
	}
	if after := descriptors(); after > before {
		fmt.Fprintf(os.Stderr, "FAIL: %d descriptors are open, there were %d before the tests\n", after, before)
		status = 1
	}
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != conn.FSType || !strings.HasPrefix(i.Mountpoint, tmp+"/"), false
	})
	if err != nil || len(mounts) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d mounts are left (%v)\n", len(mounts), err)
		status = 1
	} else if err := os.RemoveAll(tmp); err != nil { // never through a mount
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		status = 1
	}
	return status
}

// ownTmp makes a directory for the temporary files of this run alone, since what others mount meanwhile is not ours. Every user can get to it.
func ownTmp() (string, error) {
	dir, err := os.MkdirTemp("", "ipcfs-run-")
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // as the list of mounts has it
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir))
}

// descriptors counts the open descriptors of this process, but for those of Go's own poller.
func descriptors() int {
	fds, _ := os.ReadDir("/proc/self/fd")
	n := 0
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") {
			n++
		}
	}
	return n
}

// asCommand makes the test binary be ipcfs when it is set.
const asCommand = "IPCFS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(cli.Main())
	}
	for name, be := range map[string]func(string) error{asNull: serveNull, asPoll: pollOnce} {
		if arg := os.Getenv(name); arg != "" {
			if err := be(arg); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	if err := os.Setenv("IPCFS_VERIFY", "1"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(careful{m}, map[string]func(){
		"ipcfs": func() { os.Exit(cli.Main()) },
	})
}
