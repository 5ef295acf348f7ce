package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// diagnosis is what doctor says: each line's mark and text by its name.
type diagnosis map[string]struct {
	ok   bool
	text string
}

func diagnose(t testing.TB, r ran) diagnosis {
	t.Helper()
	d := make(diagnosis)
	line := regexp.MustCompile(`^(ok|no)  (\S+) +(\S.*)$`)
	for l := range strings.Lines(r.out) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			t.Fatalf("doctor says %q", l)
		}
		f := d[m[2]]
		f.ok, f.text = m[1] == "ok", m[3]
		d[m[2]] = f
		if f.ok == strings.Contains(f.text, "; ") {
			t.Errorf("a remedy is where it is needed, and only there: %q", l)
		}
	}
	for _, what := range []string{"kernel", "/dev/fuse", "mount(2)", "fusermount3", "allow_other", "passthrough"} {
		if _, ok := d[what]; !ok {
			t.Errorf("doctor says nothing of %s: %s", what, r.out)
		}
	}
	return d
}

// want checks a line: ok if remedy is empty.
func (d diagnosis) want(t testing.TB, what, remedy string) {
	t.Helper()
	if f := d[what]; f.ok != (remedy == "") || !strings.Contains(f.text, remedy) {
		t.Errorf("%s: %+v, not %q", what, f, remedy)
	}
}

func TestCLIDoctorOfRoot(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	r := s.run(t, "doctor")
	if r.status != 0 || r.err != "" {
		t.Errorf("%+v", r)
	}
	d := diagnose(t, r)
	for _, what := range []string{"kernel", "/dev/fuse", "mount(2)", "allow_other"} {
		d.want(t, what, "")
	}
}

// What a user without rights is told, and whether mounting fails as it says.
func TestCLIDoctorOfUser(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	need(t, "fusermount3")
	s := newSite(t)
	if err := os.Chown(s.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	healthy := func() {
		t.Helper()
		r := s.runAs(t, nobody, "doctor")
		if r.status != 0 || r.err != "" {
			t.Errorf("%+v", r)
		}
		d := diagnose(t, r)
		d.want(t, "/dev/fuse", "")
		d.want(t, "mount(2)", "fusermount3")
		d.want(t, "fusermount3", "")
		mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
		mustRun(t, s.runAs(t, nobody, "umount", s.dir))
	}
	fuseForAll(t, s)
	healthy()

	sick := func(what, remedy string, words ...string) {
		t.Helper()
		r := s.runAs(t, nobody, "doctor")
		if err := r.wantError(1, "remedies"); err != nil {
			t.Error(err)
		}
		diagnose(t, r).want(t, what, remedy)
		if err := s.runAs(t, nobody, s.mountArgs()...).wantError(1, words...); err != nil {
			t.Error(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.base, "fuse"), 0o600); err != nil {
		t.Fatal(err)
	}
	sick("/dev/fuse", "chmod 666", "permission denied", "chmod 666 /dev/fuse")
	if err := os.Chmod(filepath.Join(s.base, "fuse"), 0o666); err != nil {
		t.Fatal(err)
	}

	helper, err := exec.LookPath("fusermount3")
	if err == nil {
		helper, err = filepath.EvalSymlinks(helper)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(s.base, "fusermount3")
	copyFile(t, helper, plain, 0o755)
	bind(t, plain, helper)
	sick("fusermount3", "chmod u+s "+filepath.Dir(helper), "fusermount3")
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	sick("fusermount3", "apt-get install fuse3", "fusermount3 not found", "apt-get install fuse3")
	s.mount(t) // which root does without it
	s.usable(t)
	s.umount(t)
	if err := unix.Unmount(helper, 0); err != nil {
		t.Fatal(err)
	}
	healthy()
	s.gone(t, "")
}

func TestCLINoDevice(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newSite(t)
	dev := filepath.Join(s.base, "dev")
	if err := os.Mkdir(dev, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"null", "urandom"} {
		node := filepath.Join(dev, name)
		if err := os.WriteFile(node, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		bind(t, "/dev/"+name, node)
	}
	if err := unix.Mount(dev, "/dev", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, d := range []string{"/dev", dev + "/null", dev + "/urandom"} {
			if err := unix.Unmount(d, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, r := range []ran{s.runAs(t, nobody, s.mountArgs()...), s.run(t, s.mountArgs()...), s.run(t, s.mountArgs("-f")...)} {
		if err := r.wantError(1, "open /dev/fuse: no such file or directory", "modprobe fuse", "--device /dev/fuse"); err != nil {
			t.Error(err)
		}
	}
	for _, r := range []ran{s.run(t, "doctor"), s.runAs(t, nobody, "doctor")} {
		if err := r.wantError(1, "remedies"); err != nil {
			t.Error(err)
		}
		diagnose(t, r).want(t, "/dev/fuse", "modprobe fuse")
	}
	s.gone(t, "")
}

// Root in a container has often no CAP_SYS_ADMIN.
func TestCLIRootWithoutRights(t *testing.T) {
	needRoot(t)
	need(t, "setpriv")
	s := newSite(t)
	weak := func(args ...string) ran {
		cmd := s.command()
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args = setpriv, append([]string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", os.Args[0]}, args...)
		return finish(t, cmd)
	}
	if err := weak(s.mountArgs()...).wantError(1, "CAP_SYS_ADMIN", "operation not permitted"); err != nil {
		t.Error(err)
	}
	s.mount(t)
	if err := weak("umount", s.dir).wantError(1, s.dir+" cannot be unmounted"); err != nil {
		t.Error(err)
	}
	s.usable(t)
	s.umount(t)
	s.gone(t, "")
	r := weak("doctor")
	if err := r.wantError(1, "remedies"); err != nil {
		t.Error(err)
	}
	d := diagnose(t, r)
	d.want(t, "mount(2)", "fusermount3")
	if _, err := exec.LookPath("fusermount3"); err == nil {
		d.want(t, "fusermount3", "--cap-add SYS_ADMIN")
	}
}
