package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot skips the test if it cannot become other users.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can become other users")
	}
}

// shell runs a shell script as an ordinary user in the directory dir.
func shell(t testing.TB, uid uint32, dir, script string) ran {
	t.Helper()
	cmd := asUser(uid, exec.Command("sh", "-c", "cd '"+dir+"' && "+script))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return finish(t, cmd)
}

func (r ran) denied() error {
	if r.status == 0 || !strings.Contains(r.err, "Permission denied") && !strings.Contains(r.err, "Operation not permitted") {
		return fmt.Errorf("not denied: %+v", r)
	}
	return nil
}

func (r ran) allowed() error {
	if r.status != 0 || r.err != "" {
		return fmt.Errorf("not allowed: %+v", r)
	}
	return nil
}

// On a mount of root for all, the mode of a file decides who gets at it.
func TestUsersFileModes(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	file := func(name string, mode os.FileMode, uid, gid int) {
		p := makePipe(t, filepath.Join(m.pipes, name))
		if err := errors.Join(os.Chown(p, uid, gid), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
	}
	file("secret", 0o600, 0, 0)
	file("readable", 0o644, 0, 0)
	file("writable", 0o622, 0, 0)
	file("group", 0o660, 0, nobody)
	file("theirs", 0o600, nobody, nobody)
	file("notowner", 0o066, nobody, nobody)
	// truncate(1) opens without waiting, for which a reader must be there.
	fd := openFd(t, filepath.Join(m.pipes, "writable"), unix.O_RDWR)
	defer unix.Close(fd)
	for _, c := range []struct {
		uid   uint32
		do    string
		allow bool
	}{
		{nobody, "exec 3<>secret", false}, {nobody, ": <secret", false},
		{nobody, "exec 3<>readable", false}, {nobody, "dd status=none iflag=nonblock if=readable of=/dev/null", true},
		{nobody, ": <writable", false}, {nobody, "exec 3<>group", true}, {another, "exec 3<>group", false},
		{nobody, "exec 3<>theirs", true}, {another, "exec 3<>theirs", false},
		{nobody, ": <notowner", false}, {another, "exec 3<>notowner", true},
		// The directory is sticky.
		{nobody, "echo -n >new; rm new", true}, {nobody, "rm -f secret", false}, {nobody, "mv notowner secret", false}, {another, "mv theirs x", false},
		{another, "exec 3<>mine && rm -f mine", true},
		// Only the owner changes a mode, only root an owner.
		{nobody, "chmod 644 theirs && chmod 600 theirs", true}, {another, "chmod 666 theirs", false}, {nobody, "chmod 666 readable", false},
		{nobody, "chown 65533 theirs", false}, {another, "chown 65533 theirs", false}, {nobody, "chgrp 65533 theirs", false}, {nobody, "chgrp 65534 theirs", true},
		{nobody, "touch -c -d @1000 theirs && [ $(stat -c %Y theirs) = 1000 ]", true}, {nobody, "touch -c -d @1000 readable", false},
		{nobody, "truncate -s 8192 readable", false}, {nobody, "exec 3<>theirs; truncate -s 8192 theirs", true}, {nobody, "truncate -s 8192 writable", true},
		{nobody, "mkdir ../x", false}, {nobody, "exec 3<>../x", false}, {nobody, "rmdir ../pipes", false}, {nobody, "chmod 777 .", false},
		{nobody, "mkdir own && exec 3<>own/p && rm own/p && rmdir own", true}, {nobody, "cat ../proc/pipes >/dev/null", true},
	} {
		r := shell(t, c.uid, m.pipes, c.do)
		err := r.denied()
		if c.allow {
			err = r.allowed()
		}
		if err != nil {
			t.Errorf("user %d: %s: %v", c.uid, c.do, err)
		}
	}
}

// Data and its readers and writers can have different owners; a pipe is not only its creator's.
func TestUsersTalkToEachOther(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	if err := os.Chmod(p, 0o666); err != nil {
		t.Fatal(err)
	}
	writer := startBlocker(t, asUser(another, exec.Command("sh", "-c", `echo hello > "$0"`, p)), nil)
	if r := finish(t, asUser(nobody, exec.Command("cat", p))); r.out != "hello\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	writer.wait(t)
}

// In a set-group-ID directory what is made belongs to the group of the directory, as on any file system.
func TestUsersSetGroupIDDirectory(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	d := filepath.Join(m.pipes, "team")
	if err := errors.Join(os.Mkdir(d, 0o755), os.Chown(d, 0, another), os.Chmod(d, os.ModeSetgid|0o777)); err != nil {
		t.Fatal(err)
	}
	r := shell(t, nobody, d, `umask 0; exec 3<>p; mkdir sub; exec 3<>sub/q; stat -c "%a %u %g" . p sub sub/q`)
	const want = "2777 0 65533\n666 65534 65533\n2777 65534 65533\n666 65534 65533\n"
	if r.out != want || r.err != "" {
		t.Errorf("%s%s, not %s", r.out, r.err, want)
	}
	// A bit of a group that its owner is not in goes when an ordinary user changes the mode.
	r = shell(t, nobody, d, `chmod 2775 sub; stat -c %a sub`)
	if r.out != "775\n" {
		t.Errorf("chmod g+s for a foreign group: %+v", r)
	}
}

// Without allow_other the mount is its owner's alone; not even root looks in.
func TestUsersOwnMount(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newSite(t)
	if err := os.Chown(s.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	refused := s.runAs(t, nobody, s.mountArgs()...)
	if st, err := os.Stat("/dev/fuse"); err == nil && st.Mode()&0o006 == 0 {
		if err := refused.wantError(1, "permission denied", "chmod 666 /dev/fuse"); err != nil {
			t.Error(err)
		}
	}
	_ = os.RemoveAll(s.log)
	need(t, "fusermount3")
	fuseForAll(t, s)
	mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
	c := s.connection(t)
	hello := `exec 3<>p; echo hello >&3; read x <&3; echo $x; rm p; stat -c %a.%u . ../proc`
	if r := shell(t, nobody, s.dir+"/pipes", hello); r.out != "hello\n700.65534\n555.65534\n" {
		t.Errorf("%+v", r)
	}
	if err := shell(t, another, s.base, "ls mnt").denied(); err != nil {
		t.Errorf("another user: %v", err)
	}
	if _, err := os.ReadDir(s.dir); !errors.Is(err, unix.EACCES) {
		t.Errorf("root: %v", err)
	}
	for _, try := range []ran{s.runAs(t, nobody, "mount", s.dir), s.runAs(t, another, "mount", s.dir), s.run(t, "mount", s.dir)} {
		if err := try.wantError(1, "already"); err != nil {
			t.Error(err)
		}
	}
	if err := s.runAs(t, another, "umount", s.dir).wantError(1, "mounted by user 65534"); err != nil {
		t.Error(err)
	}
	m := s.mounts(t)
	if len(m) != 1 || !strings.Contains(m[0].Options, "nosuid,nodev") || !strings.Contains(m[0].VFSOptions, "user_id=65534") || strings.Contains(m[0].VFSOptions, "allow_other") {
		t.Errorf("%+v", m)
	}
	mustRun(t, s.runAs(t, nobody, "umount", s.dir))
	s.gone(t, c)

	// Root unmounts what it cannot look into.
	mustRun(t, s.runAs(t, nobody, s.mountArgs("-o", "noexec,ro,fsname=a b")...))
	if m := s.mounts(t); m[0].Source != "a b" || !strings.HasPrefix(m[0].Options, "ro,") || !strings.Contains(m[0].Options, "noexec") {
		t.Errorf("%+v", m[0])
	}
	s.umount(t)
	s.gone(t, "")

	// A directory that is not the user's.
	if err := os.Chown(s.dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.runAs(t, nobody, s.mountArgs()...).wantError(1, "no write access to mountpoint "+s.dir); err != nil {
		t.Error(err)
	}
	s.gone(t, "")
}

func TestUsersOwnMountLife(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newUsersSite(t)
	holder := func() *blocker {
		if r := shell(t, nobody, s.dir+"/pipes", "exec 3<>p"); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		b := startBlocker(t, asUser(nobody, exec.Command("sh", "-c", `exec 3<>"$0"; echo open; exec cat "$0"`, s.dir+"/pipes/p")), nil)
		eventually(t, func() error {
			if r := shell(t, nobody, s.dir, `awk '$13 == 1 && $NF == "pipes/p" { found = 1 } END { exit !found }' proc/pipes`); r.status != 0 {
				return fmt.Errorf("not blocked: %+v", shell(t, nobody, s.dir, "cat proc/pipes"))
			}
			return nil
		})
		return b
	}
	for name, end := range map[string]func(){
		"umount": func() {
			if err := s.runAs(t, nobody, "umount", s.dir).wantError(1, "in use", "--lazy"); err != nil {
				t.Error(err)
			}
			if r := shell(t, nobody, s.dir+"/pipes", "exec 3<>q && rm q"); r.allowed() != nil {
				t.Errorf("after a refused umount: %+v", r)
			}
			mustRun(t, s.runAs(t, nobody, "umount", "--lazy", s.dir))
		},
		"SIGTERM": func() { _ = unix.Kill(s.daemon(t), unix.SIGTERM) },
		"SIGKILL": func() { _ = unix.Kill(s.daemon(t), unix.SIGKILL) },
	} {
		mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
		c := s.connection(t)
		b := holder()
		end()
		if name == "umount" {
			_ = b.cmd.Process.Kill()
			b.wait(t)
		} else {
			allFailed(t, []*blocker{b})
		}
		if name == "SIGKILL" {
			if r := shell(t, nobody, s.base, "ls mnt"); !strings.Contains(r.err, "Transport endpoint is not connected") {
				t.Errorf("a dead mount: %+v", r)
			}
			mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
			if r := shell(t, nobody, s.dir+"/pipes", "exec 3<>q && rm q"); r.allowed() != nil || len(s.mounts(t)) != 1 {
				t.Errorf("healed: %+v, %d mounts", r, len(s.mounts(t)))
			}
			mustRun(t, s.runAs(t, nobody, "umount", s.dir))
		}
		s.gone(t, c)
	}
}

// SIGPIPE reaches the clients of a daemon without rights, if they are its own user's.
func TestUsersSIGPIPE(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newUsersSite(t)
	mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
	broken := "exec 3<>p; exec 4>p; exec 3<&-; "
	cmd := asUser(nobody, exec.Command("sh", "-c", "cd '"+s.dir+"/pipes' && "+broken+"exec cat /dev/zero >&4"))
	r := finish(t, cmd)
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGPIPE {
		t.Errorf("ended with %v: %+v", cmd.ProcessState, r)
	}
	r = shell(t, nobody, s.dir+"/pipes", `trap "" PIPE; `+broken+"exec cat /dev/zero >&4")
	if r.status != 1 || !strings.Contains(r.err, "Broken pipe") {
		t.Errorf("with SIGPIPE ignored: %+v", r)
	}
	mustRun(t, s.runAs(t, nobody, "umount", s.dir))
	s.gone(t, "")
}

func TestUsersAllowOther(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newUsersSite(t)
	conf := s.bindFuseConf(t, "# nothing\n#user_allow_other\n")
	if err := s.runAs(t, nobody, s.mountArgs("-o", "allow_other")...).wantError(1, "user_allow_other", "/etc/fuse.conf"); err != nil {
		t.Error(err)
	}
	if r := s.runAs(t, nobody, "doctor"); r.status != 0 || !strings.Contains(r.out, "user_allow_other") {
		t.Errorf("%+v", r)
	}
	s.gone(t, "")
	conf("user_allow_other\n")
	if r := s.runAs(t, nobody, "doctor"); r.status != 0 || strings.Contains(r.out, "user_allow_other") {
		t.Errorf("%+v", r)
	}
	mustRun(t, s.runAs(t, nobody, s.mountArgs("-o", "allow_other")...))
	pipes := filepath.Join(s.dir, "pipes")
	if r := shell(t, nobody, pipes, "exec 3<>open 4<>closed; chmod 666 open; chmod 600 closed; stat -c %a ."); r.out != "1777\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	for do, allow := range map[string]bool{
		"exec 3<>open": true, "exec 3<>closed": false, "rm -f open": false, "exec 3<>mine && rm mine": true, "cat ../proc/pipes": true,
	} {
		r := shell(t, another, pipes, do)
		err := r.denied()
		if allow {
			err = r.allowed()
		}
		if err != nil {
			t.Errorf("another user: %s: %v", do, err)
		}
	}
	fd := openFd(t, filepath.Join(pipes, "closed"), unix.O_RDWR) // root has the right to
	_ = unix.Close(fd)
	s.usable(t)
	// An uid that the daemon may not signal gets EPIPE without the signal.
	r := shell(t, another, pipes, "exec 3<>open; exec 4>open; exec 3<&-; exec cat /dev/zero >&4")
	if r.status != 1 || !strings.Contains(r.err, "Broken pipe") {
		t.Errorf("a broken pipe for a foreign user: %+v", r)
	}
	mustRun(t, s.runAs(t, nobody, "umount", s.dir))
	s.gone(t, "")
}

// Root in a user namespace of an ordinary user mounts without fusermount3.
func TestUsersUserNamespace(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	need(t, "unshare")
	s := newSite(t)
	fuseForAll(t, s)
	if r := finish(t, asUser(nobody, exec.Command("unshare", "-Urm", "true"))); r.status != 0 {
		skip(t, "no user namespaces here: %s", r.err)
	}
	if err := os.Chown(s.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := s.commandAs(t, nobody)
	cmd.Env = append(cmd.Env, "PATH=/nonexistent:"+os.Getenv("PATH"))
	script := `"$0" mount --log "$1" "$2" && cd "$2/pipes" && exec 3<>p && echo hello >&3 && read x <&3 && echo $x && rm p && exec 3<&- && cd / && exec "$0" umount "$2"`
	exe := cmd.Path
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = unshare, []string{"unshare", "-Urm", "sh", "-c", script, exe, s.log, s.dir}
	if r := finish(t, cmd); r.status != 0 || r.out != "hello\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	s.gone(t, "")
}
