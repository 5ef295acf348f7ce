package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

// finding is what doctor found out about one thing.
type finding struct {
	what   string
	ok     bool
	detail string
	remedy string // if not ok
}

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can and cannot do",
		Long: `Look at what ipcfs needs from this machine and say for each what is missing and what to do.
The exit status is 0 if the user who asks can mount.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, canMount := examine()
			if err := printFindings(cmd.OutOrStdout(), findings); err != nil {
				return err
			}
			if !canMount {
				return errors.New("mounting will not work here; see the remedies above")
			}
			return nil
		},
	}
}

func printFindings(w io.Writer, findings []finding) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range findings {
		mark, text := "ok", f.detail
		if !f.ok {
			mark, text = "no", f.detail+"; "+f.remedy
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", mark, f.what, text)
	}
	return t.Flush()
}

// examine looks at the machine, and says whether the user can mount.
func examine() (findings []finding, canMount bool) {
	release, major, minor := kernelRelease()
	findings = append(findings, finding{"kernel", major > 5 || major == 5 && minor >= 14, "Linux " + release, "ipcfs is made for Linux 5.14 or later"})

	device := finding{what: "/dev/fuse", ok: true, detail: "can be opened"}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	} else {
		device.ok = false
		device.detail = fmt.Sprintf("cannot be opened: %v", err)
		device.remedy = "load the module (modprobe fuse), give the container the device (--device /dev/fuse), or chmod 666 it as udev does"
	}
	findings = append(findings, device)

	admin := hasSysAdmin()
	rights := finding{"mount(2)", admin, "allowed: CAP_SYS_ADMIN", ""}
	if !admin {
		rights.detail, rights.remedy = "not allowed without CAP_SYS_ADMIN", "mount as root, or through fusermount3"
	}
	findings = append(findings, rights)

	helper := examineHelper(admin)
	findings = append(findings, helper)

	other := finding{"allow_other", true, "allowed", ""}
	if !admin && !userAllowOther() {
		other.ok, other.detail, other.remedy = false, "only root may let other users in", "put the line 'user_allow_other' into /etc/fuse.conf"
	}
	findings = append(findings, other)

	pass := finding{"passthrough", true, "works: the kernel reads, writes and maps shared memory itself", ""}
	if why := examinePassthrough(admin); why != nil {
		pass.ok, pass.detail = false, fmt.Sprintf("does not work: %v", why)
		pass.remedy = "shared memory works through the page cache instead, with the same results and slower; passthrough takes Linux 6.9 and CAP_SYS_ADMIN"
	}
	findings = append(findings, pass)
	mounts, err := examineMounts()
	if err != nil {
		mounts = []finding{{"mounts", false, err.Error(), "mount a proc file system on /proc"}}
	}
	findings = append(findings, mounts...)
	return findings, device.ok && (admin || helper.ok) // fusermount3 opens the device with the rights of the user
}

// examinePassthrough says why a mount of this user would do without passthrough.
func examinePassthrough(admin bool) error {
	if !admin {
		return errors.New("no CAP_SYS_ADMIN")
	}
	return conn.ProbePassthrough()
}

// examineMounts says how the mounts that are there serve shared memory. Those that do not answer, or let nobody in, are left out.
func examineMounts() ([]finding, error) {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.FSType != conn.FSType || i.Root != "/", false })
	if err != nil {
		return nil, err
	}
	var findings []finding
	for _, m := range mounts {
		if how, ok := askPassthrough(filepath.Join(m.Mountpoint, "shm")); ok {
			findings = append(findings, finding{"mount", true, fmt.Sprintf("%s: shared memory %s", m.Mountpoint, how), ""})
		}
	}
	return findings, nil
}

// askPassthrough asks a mount how it serves shared memory, as long as a daemon may take to show that it lives.
func askPassthrough(dir string) (how string, ok bool) {
	answer := make(chan string, 1)
	go func() {
		value := make([]byte, 16)
		if n, err := unix.Getxattr(dir, "user.ipc.passthrough", value); err == nil {
			answer <- map[string]string{"on": "by passthrough", "off": "through the page cache"}[string(value[:n])]
		} else {
			answer <- ""
		}
	}()
	select {
	case how = <-answer:
		return how, how != ""
	case <-time.After(answerPatience):
		return "", false
	}
}

// examineHelper looks whether fusermount3 would get the rights that mounting takes.
func examineHelper(admin bool) finding {
	no := func(detail, remedy string) finding { return finding{"fusermount3", false, detail, remedy} }
	path, err := conn.HelperPath()
	if err != nil {
		return no("not found", "apt-get install fuse3 (only mounting without root needs it)")
	}
	if !admin {
		if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeSetuid == 0 && os.Geteuid() != 0 {
			return no(path+" is not set-user-ID", "chmod u+s "+path)
		}
		if forbidden, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && forbidden != 0 && os.Geteuid() != 0 {
			return no(path+" gets no rights here (no_new_privs)", "allow new privileges (in a container: without --security-opt no-new-privileges)")
		}
		if allowed, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0); err == nil && allowed == 0 {
			return no(path+" cannot have CAP_SYS_ADMIN here", "give the container the capability (--cap-add SYS_ADMIN)")
		}
	}
	return finding{"fusermount3", true, path, ""}
}

func kernelRelease() (release string, major, minor int) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of an unknown version", 0, 0
	}
	release = unix.ByteSliceToString(u.Release[:])
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor) // what does not parse is version 0
	return release, major, minor
}

// hasSysAdmin says whether the process has CAP_SYS_ADMIN.
func hasSysAdmin() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[unix.CAP_SYS_ADMIN/32].Effective&(1<<(unix.CAP_SYS_ADMIN%32)) != 0
}

// userAllowOther says whether /etc/fuse.conf lets ordinary users use allow_other.
func userAllowOther() bool {
	f, err := os.Open("/etc/fuse.conf")
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.TrimSpace(s.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}
