package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCLIUsageErrors(t *testing.T) {
	s := newSite(t)
	for _, args := range [][]string{
		{"frob"}, {"--nope"}, {"-x", "version"}, {""},
		{"mount"}, {"mount", s.dir, s.dir}, {"mount", "-x", s.dir}, {"mount", "--nope", s.dir}, {"mount", s.dir, "--log"}, {"mount", "--foreground=x", s.dir},
		{"mount", "-o", "nope", s.dir}, {"mount", "-o", "ro,nope", s.dir}, {"mount", "-o", "ro=1", s.dir}, {"mount", "-o", "=", s.dir},
		{"mount", "-o", "uid", s.dir}, {"mount", "-o", "uid=", s.dir}, {"mount", "-o", "uid=x", s.dir}, {"mount", "-o", "uid=-1", s.dir},
		{"mount", "-o", "uid=4294967295", s.dir}, {"mount", "-o", "gid=0x10", s.dir}, {"mount", "-o", "umask=8", s.dir},
		{"mount", "-o", "umask=1000", s.dir}, {"mount", "-o", "fsname", s.dir}, {"mount", "-o", "fsname=", s.dir},
		{"mount", "--memory", "", s.dir}, {"mount", "--memory", "3x", s.dir}, {"mount", "--memory", "4095", s.dir}, {"mount", "--memory", "-1G", s.dir},
		{"mount", "--memory", "1P", s.dir}, {"mount", "--memory", "9999999T", s.dir},
		{"mount", "--inodes", "15", s.dir}, {"mount", "--inodes", "-1", s.dir}, {"mount", "--inodes", "many", s.dir},
		{"mount", "--pipe-max-size", "0", s.dir}, {"mount", "--pipe-max-size", "5000", s.dir}, {"mount", "--pipe-max-size", "4G", s.dir},
		{"mount", "--pipe-user-pages-soft", "-1", s.dir}, {"mount", "--pipe-user-pages-hard", "x", s.dir},
		{"umount"}, {"umount", s.dir, s.dir}, {"umount", "--nope", s.dir},
		{"doctor", "x"}, {"doctor", "--nope"}, {"version", "x"},
		{"help", "nope"}, {"help", "mount", "nope"}, {"completion", "nope"}, {"completion", "bash", "x"},
	} {
		r := s.run(t, args...)
		if err := r.wantError(2, "--help"); err != nil || r.out != "" {
			t.Errorf("ipcfs %q: %v, stdout %q", args, err, r.out)
		}
	}
	s.gone(t, "")
}

func TestCLIBadDirectories(t *testing.T) {
	s := newSite(t)
	file, full, loop, locked := filepath.Join(s.base, "file"), filepath.Join(s.base, "full"), filepath.Join(s.base, "loop"), filepath.Join(s.base, "locked")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o644), os.MkdirAll(filepath.Join(full, "x"), 0o755), os.Symlink("loop", loop), os.Mkdir(locked, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	lock := openFd(t, locked, unix.O_RDONLY)
	defer unix.Close(lock)
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(s.base, "missing")
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"mount", missing}, "mkdir -p " + missing},
		{[]string{"mount", missing + "/sub"}, "does not exist"},
		{[]string{"mount", ""}, "does not exist"},
		{[]string{"mount", file}, "not a directory"},
		{[]string{"mount", file + "/sub"}, "not a directory"},
		{[]string{"mount", loop}, "too many levels of symbolic links"},
		{[]string{"mount", full}, "-o nonempty"},
		{[]string{"mount", locked}, "another process"},
		{[]string{"mount", "-f", full}, "-o nonempty"},
		{[]string{"mount", "--log", missing + "/log", s.dir}, "--log"},
		{[]string{"mount", "--log", s.base, s.dir}, "is a directory"},
		{[]string{"mount", "--log", s.dir + "/log", s.dir}, "would hide it"},
		{[]string{"umount", missing}, "does not exist"},
		{[]string{"umount", file}, "not a directory"},
		{[]string{"umount", full}, "not an ipcfs mount"},
		{[]string{"umount", "/proc"}, "not an ipcfs mount"},
		{[]string{"umount", "/"}, "not an ipcfs mount"},
	} {
		if err := s.run(t, c.args...).wantError(1, c.say); err != nil {
			t.Errorf("ipcfs %q: %v", c.args, err)
		}
	}
	s.gone(t, "")
	if names, err := os.ReadDir(s.dir); err != nil || len(names) > 0 {
		t.Errorf("left in the mount point: %v, %v", names, err)
	}
}

// A mount point is known by every path that leads to it.
func TestCLIPathsOfAMount(t *testing.T) {
	s := newSite(t)
	link, far := filepath.Join(s.base, "link"), filepath.Join(s.base, "a/b")
	for _, err := range []error{os.Symlink("mnt", link), os.MkdirAll(far, 0o755), os.Symlink("a/b", filepath.Join(s.base, "far"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{s.dir, s.dir + "/", link, link + "/", "mnt", "./mnt//", "link", "logs/../mnt", "far/../../mnt", s.base + "/./mnt/."}
	in := func(args ...string) ran {
		cmd := s.command(args...)
		cmd.Dir = s.base
		return finish(t, cmd)
	}
	for _, p := range paths {
		mustRun(t, in("mount", "--log", "logs/log", p))
		for _, q := range paths {
			if err := in("mount", q).wantError(1, "already", "ipcfs umount "+s.dir); err != nil {
				t.Errorf("mounted as %s, mount %s: %v", p, q, err)
			}
		}
		if n := len(s.mounts(t)); n != 1 {
			t.Fatalf("%d mounts after mount %s", n, p)
		}
		if err := in("umount", p+"/pipes").wantError(1, "not an ipcfs mount"); err != nil {
			t.Error(err)
		}
		mustRun(t, in("umount", p))
		if n := len(s.mounts(t)); n != 0 {
			t.Fatalf("%d mounts after umount %s", n, p)
		}
	}
}

func TestCLIManyMountAtOnce(t *testing.T) {
	s := newSite(t)
	results := make([]ran, 8)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			cmd := s.command(s.mountArgs()...)
			var out strings.Builder
			cmd.Stderr = &out
			_ = cmd.Run()
			results[i] = ran{status: cmd.ProcessState.ExitCode(), err: out.String()}
		})
	}
	all.Wait()
	won := 0
	for _, r := range results {
		if r.status == 0 {
			won++
		} else if err := r.wantError(1, s.dir); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.mounts(t)); won != 1 || n != 1 {
		t.Fatalf("%d of them mounted, %d mounts are there", won, n)
	}
	s.usable(t)
	c := s.connection(t)
	s.umount(t)
	s.gone(t, c)
}

func TestCLIDaemonLetsGoOfItsCaller(t *testing.T) {
	s := newSite(t)
	work, held := filepath.Join(s.base, "work"), filepath.Join(s.base, "held")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	// finish waits for the end of what is written to the pipe; the shell waits for its children; descriptor 9 is what a script may have open.
	sh := s.command()
	sh.Path, sh.Args = "/bin/sh", []string{"sh", "-c", `exec 9>"$1"; "$0" mount --log "$2" "$3" | cat; wait; echo done`, os.Args[0], held, "../logs/log", "../mnt"}
	sh.Dir = work
	if r := finish(t, sh); r.status != 0 || r.out != "done\n" || r.err != "" {
		t.Fatalf("%+v", r)
	}
	s.log = "../logs/log" // as the daemon was told
	pid := s.daemon(t)
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of daemon %d, %v", sid, pid, err)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != "/" {
		t.Errorf("the daemon works in %q, %v", cwd, err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		n := filepath.Base(fd)
		if standard := n == "0" || n == "1" || n == "2"; err == nil && (to == held || strings.HasPrefix(to, "pipe:") || standard && to != os.DevNull) {
			t.Errorf("the daemon has %s open as %s", to, n)
		}
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.usable(t) // and the signal was handled before, if there is anything to handle
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var ignored uint64
	_, _ = fmt.Sscanf(regexp.MustCompile(`SigIgn:\s*(\w+)`).FindStringSubmatch(string(status))[1], "%x", &ignored)
	if ignored&(1<<(unix.SIGHUP-1)) == 0 {
		t.Errorf("SIGHUP is not ignored: %x", ignored)
	}
	c := s.connection(t)
	s.umount(t)
	s.gone(t, c)
	if err := os.Remove(work); err != nil {
		t.Error(err)
	}
}

func TestCLIDebugLogsEveryRequest(t *testing.T) {
	s := newSite(t)
	s.mount(t, "--debug")
	s.usable(t)
	p := makePipe(t, filepath.Join(s.dir, "pipes", "p"))
	fd := openFd(t, p, unix.O_RDWR)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
	reader := startBlocker(t, exec.Command("cat", p), nil)
	eventually(t, func() error { return waitsIn(s, "p", func(p pipeStat) bool { return p.waitReads == 1 }) })
	if err := reader.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	reader.wait(t)
	_ = unix.Close(fd)
	c := s.connection(t)
	eventually(t, func() error { return s.run(t, "umount", s.dir).errorUnless(0) })
	s.gone(t, c)
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`mounted on ` + s.dir, `rx \d+: LOOKUP n\d+ .*"usable"`, `rx \d+: OPEN n\d+ \{.*\} p\d+`, `rx \d+: READ n\d+ \{`, `rx \d+: WRITE n\d+ \{.*\+6`,
		`rx \d+: POLL n\d+ `, `rx \d+: INTERRUPT \{unique \d+\}`, `tx \d+:     interrupted system call`, `rx \d+: UNLINK`, "unmounted\n$",
	} {
		if !regexp.MustCompile(want).Match(log) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if regexp.MustCompile(`[^\t\n -~]`).Match(log) {
		t.Errorf("the log is not plain text:\n%q", log)
	}
}

// waitsIn says why cond does not hold for a pipe of the site.
func waitsIn(s *site, name string, cond func(pipeStat) bool) error {
	m := mount{dir: s.dir}
	stats, err := m.stats()
	if err == nil && !cond(stats[name]) {
		err = fmt.Errorf("pipe %s is %+v", name, stats[name])
	}
	return err
}

func (r ran) errorUnless(status int) error {
	if r.status != status {
		return fmt.Errorf("status %d: %s", r.status, r.err)
	}
	return nil
}

// The log may be a pipe of another mount that nobody reads: it costs lines, not the mount.
func TestCLILogThatTakesNothing(t *testing.T) {
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "log"))
	fd := openFd(t, p, unix.O_RDWR|unix.O_NONBLOCK)
	defer unix.Close(fd)
	for {
		if _, err := retryEINTR(func() (int, error) { return unix.Write(fd, make([]byte, 4096)) }); err != nil {
			break
		}
	}
	s := newSite(t)
	s.log = p
	s.mount(t, "--debug")
	for range 50 {
		s.usable(t)
	}
	c := s.connection(t)
	s.umount(t)
	s.gone(t, c)
}

func TestCLIMountOptions(t *testing.T) {
	for i, c := range []struct{ options, has, hasNot, source string }{
		{"", "rw nosuid nodev default_permissions allow_other", "noexec", "ipcfs"},
		{"rw,exec,default_permissions", "rw nosuid nodev", "noexec", "ipcfs"},
		{"ro", "ro nosuid nodev", "rw", "ipcfs"},
		{"noexec", "rw noexec", "", "ipcfs"},
		{"noexec,exec,suid,dev", "rw", "noexec nosuid nodev", "ipcfs"},
		{"noatime,sync,dirsync", "noatime sync dirsync", "", "ipcfs"},
		{"noallow_other", "default_permissions", "allow_other", "ipcfs"},
		{"noallow_other,allow_other", "allow_other", "", "ipcfs"},
		{"fsname=my own\\name", "", "", "my own\\name"},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			s := newSite(t)
			t.Log(c.options)
			s.mount(t, "-o", c.options)
			m := s.mounts(t)[0]
			set := "," + m.Options + "," + m.VFSOptions + ","
			for _, o := range strings.Fields(c.has) {
				if !strings.Contains(set, ","+o+",") {
					t.Errorf("no %s in %s", o, set)
				}
			}
			set = "," + m.Options + "," + strings.TrimPrefix(m.VFSOptions, "rw,") + "," // the superblock is always rw
			for _, o := range strings.Fields(c.hasNot) {
				if strings.Contains(set, ","+o+",") {
					t.Errorf("%s in %s", o, set)
				}
			}
			if m.FSType != "fuse.ipcfs" || m.Source != c.source {
				t.Errorf("type %s, source %q", m.FSType, m.Source)
			}
			p := filepath.Join(s.dir, "pipes/p")
			fd, err := unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o755)
			if ro := strings.HasPrefix(c.options, "ro"); ro != (err == unix.EROFS) {
				t.Errorf("creating a file: %v", err)
			}
			if err == nil {
				_ = unix.Close(fd)
				err = unix.Access(p, unix.X_OK)
				if noexec := c.options == "noexec"; noexec != (err == unix.EACCES) {
					t.Errorf("may it be executed: %v", err)
				}
			}
			s.umount(t)
		})
	}
}

func TestCLIShownOwnerAndMode(t *testing.T) {
	s := newSite(t)
	under := filepath.Join(s.dir, "hidden")
	if err := os.WriteFile(under, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.mount(t, "-o", "uid=1234,gid=4321", "-o", "umask=0027,nonempty")
	makePipe(t, filepath.Join(s.dir, "pipes/p"))
	for _, name := range []string{"", "pipes", "pipes/p", "proc", "proc/pipes"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.dir, name), &st); err != nil || st.Uid != 1234 || st.Gid != 4321 || st.Mode&0o7777 != 0o750 {
			t.Errorf("%s: %d:%d %o, %v", name, st.Uid, st.Gid, st.Mode, err)
		}
	}
	if _, err := os.Stat(under); !os.IsNotExist(err) {
		t.Errorf("the file below the mount can be seen: %v", err)
	}
	s.umount(t)
	if _, err := os.Stat(under); err != nil {
		t.Error(err)
	}
}

func TestCLIHelpAndCompletion(t *testing.T) {
	s := newSite(t)
	for args, words := range map[string]string{
		"":                "mount umount doctor version completion",
		"--help":          "mount umount doctor version completion",
		"help":            "mount umount doctor version completion",
		"help help":       "help",
		"help mount":      "DIR --foreground --debug --log --memory --inodes --pipe-max-size allow_other noallow_other ro exec noexec uid= gid= umask= fsname= nonempty",
		"mount --help":    "DIR --foreground",
		"umount -h":       "DIR --lazy",
		"unmount --help":  "DIR --lazy",
		"help completion": "bash zsh fish",
		"completion":      "bash zsh fish",
		"__complete d":    "doctor",
		"__complete help": "help",
	} {
		r := s.run(t, strings.Fields(args)...)
		if r.status != 0 || r.err != "" && !strings.HasPrefix(args, "__complete") {
			t.Errorf("ipcfs %s: %+v", args, r)
		}
		for _, w := range strings.Fields(words) {
			if !strings.Contains(r.out, w) {
				t.Errorf("ipcfs %s says nothing of %s", args, w)
			}
		}
	}
	need(t, "bash")
	r := s.run(t, "completion", "bash")
	if r.status != 0 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	parse := exec.Command("bash", "-n")
	parse.Stdin = strings.NewReader(r.out)
	mustRun(t, finish(t, parse))
}

func TestCLIVersion(t *testing.T) {
	r := finish(t, exec.Command(realBinary(t), "version"))
	if want := regexp.MustCompile(`^ipcfs \S+ \(go-fuse v2\.\d+\.\d+, go1\.\S+, linux/\w+\)\n$`); r.status != 0 || !want.MatchString(r.out) {
		t.Errorf("%+v", r)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := command("version")
	cmd.Stdout = full
	if err := finish(t, cmd).wantError(1, "no space left"); err != nil {
		t.Error(err)
	}
}
