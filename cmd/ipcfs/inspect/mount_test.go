package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/mnt", "/mnt", true},
		{"/mnt/pipes", "/mnt", true},
		{"/mnt2", "/mnt", false},
		{"/mn", "/mnt", false},
		{"/", "/mnt", false},
		{"/mnt", "/", true},
		{"/", "/", true},
		{"/a/mnt", "/mnt", false},
	} {
		if got := below(c.path, c.dir); got != c.want {
			t.Errorf("below(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

// mounted is a mount of the device 0:minor as /proc/self/mountinfo has it.
func mounted(minor int, root, mountpoint string) *mountinfo.Info {
	return &mountinfo.Info{Minor: minor, Root: root, Mountpoint: mountpoint}
}

func TestOnly(t *testing.T) {
	const many = "more than one ipcfs is mounted; name the directory ('findmnt -t fuse.ipcfs' lists them)"
	for name, c := range map[string]struct {
		mounts []*mountinfo.Info
		dir    string
		err    string
	}{
		"none":                   {err: errNone.Error()},
		"one":                    {mounts: []*mountinfo.Info{mounted(40, "/", "/a")}, dir: "/a"},
		"two":                    {mounts: []*mountinfo.Info{mounted(40, "/", "/a"), mounted(41, "/", "/b")}, err: many},
		"one, mounted twice":     {mounts: []*mountinfo.Info{mounted(40, "/", "/a"), mounted(40, "/", "/b")}, dir: "/a"},
		"a part of it elsewhere": {mounts: []*mountinfo.Info{mounted(40, "/msgq", "/q"), mounted(40, "/", "/a"), mounted(40, "/pipes", "/p")}, dir: "/a"},
		"only a part":            {mounts: []*mountinfo.Info{mounted(40, "/msgq", "/q")}, err: errNone.Error()},
		"a part of another one":  {mounts: []*mountinfo.Info{mounted(41, "/msgq", "/q"), mounted(40, "/", "/a")}, dir: "/a"},
	} {
		m, inTree, err := only(c.mounts)
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: error %v, want %s", name, err, c.err)
			}
		case err != nil || m.Dir != c.dir || inTree != ".":
			t.Errorf("%s: %q, %q, %v", name, m.Dir, inTree, err)
		}
	}
}

// realTempDir is a directory of the test without symbolic links in its path, as the list of mounts has it.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree makes directories and symbolic links (FROM -> TO) in dir.
func tree(t *testing.T, dir string, what ...string) {
	t.Helper()
	for _, w := range what {
		from, to, isLink := strings.Cut(w, " -> ")
		path := filepath.Join(dir, from)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if isLink {
			err = errors.Join(err, os.Symlink(to, path))
		} else {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFindInMounts looks for paths among mounts that are only said to be there.
func TestFindInMounts(t *testing.T) {
	dir := realTempDir(t)
	tree(t, dir, "a/pipes/sub", "a/pipes/inner", "a2/pipes", "q", "shadow/pipes", "outside", "link -> a/pipes", "outer -> outside", "a/pipes/away -> ../../outside", "a/pipes/up -> ../shm",
		"loop -> loop", "dead -> nope/nope")
	mounts := []*mountinfo.Info{
		mounted(39, "/", dir+"/shadow"), // below the one after it, and not to be seen
		mounted(40, "/", dir+"/a"), mounted(41, "/", dir+"/a2"), mounted(41, "/msgq", dir+"/q"),
		mounted(42, "/", dir+"/a/pipes/inner"), mounted(43, "/", dir+"/shadow"),
	}
	for path, want := range map[string]struct{ in, inTree string }{
		"a": {"a", "."}, "a/": {"a", "."}, "a/.": {"a", "."}, "a/pipes": {"a", "pipes"}, "a/pipes/sub": {"a", "pipes/sub"}, "a/pipes/sub/../sub": {"a", "pipes/sub"},
		"a/pipes/p": {"a", "pipes/p"}, "a/nope": {"a", "nope"}, "a/pipes/a b\n": {"a", "pipes/a b\n"}, "a/pipes/up": {"a", "pipes/up"}, // they need not exist
		"a2": {"a2", "."}, "a2/pipes/p": {"a2", "pipes/p"}, // a begins its name
		"q": {"a2", "msgq"}, "q/jobs": {"a2", "msgq/jobs"}, // a bind mount of a part
		"link": {"a", "pipes"}, "link/p": {"a", "pipes/p"}, "link/sub": {"a", "pipes/sub"},
		"a/pipes/inner": {"a/pipes/inner", "."}, "a/pipes/inner/x": {"a/pipes/inner", "x"}, "link/inner/x": {"a/pipes/inner", "x"}, // the nearest
		"shadow/pipes": {"shadow", "pipes"}, // the one that came last
	} {
		m, inTree, err := find(filepath.Join(dir, "/")+"/"+path, mounts)
		if err != nil || m.Dir != dir+"/"+want.in || inTree != want.inTree {
			t.Errorf("%q: %q, %q, %v; want %+v", path, m.Dir, inTree, err, want)
		}
	}
	for path, want := range map[string]string{
		"":             " is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"outside":      " is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"outer/x":      " does not exist",
		"a3":           " does not exist",
		"a/pipes/away": " is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"a/nope/x":     " does not exist",
		"dead/x":       " does not exist",
	} {
		path = dir + "/" + path
		if _, _, err := find(path, mounts); err == nil || err.Error() != path+want {
			t.Errorf("%q: error %v, want %s", path, err, want)
		}
	}
	if _, _, err := find(dir+"/loop/x", mounts); err == nil {
		t.Error("a link to itself is found")
	}
}

// TestFindPart: of a part of a tree whose rest is not mounted nothing can be told.
func TestFindPart(t *testing.T) {
	dir := realTempDir(t)
	tree(t, dir, "q", "a")
	mounts := []*mountinfo.Info{mounted(41, "/msgq", dir+"/q"), mounted(40, "/", dir+"/a"), {Major: 1, Minor: 41, Root: "/", Mountpoint: "/b"}}
	const want = " is in a bind mount of a part of an ipcfs, and the whole is not mounted here: its proc directory cannot be read"
	for _, path := range []string{dir + "/q", dir + "/q/jobs"} {
		if _, _, err := find(path, mounts); err == nil || err.Error() != path+want {
			t.Errorf("error %v", err)
		}
	}
}

// TestFindRelative: a path without a slash before it begins in the working directory.
func TestFindRelative(t *testing.T) {
	dir := realTempDir(t)
	tree(t, dir, "a/pipes/sub")
	t.Chdir(dir + "/a/pipes")
	mounts := []*mountinfo.Info{mounted(40, "/", dir+"/a")}
	for path, want := range map[string]string{".": "pipes", "..": ".", "sub": "pipes/sub", "p": "pipes/p", "../msgq": "msgq", "sub/../../shm": "shm"} {
		if m, inTree, err := find(path, mounts); err != nil || m.Dir != dir+"/a" || inTree != want {
			t.Errorf("%q: %q, %q, %v; want %q", path, m.Dir, inTree, err, want)
		}
	}
	if _, _, err := find("../..", mounts); err == nil || err.Error() != "../.. is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them" {
		t.Errorf("error %v", err)
	}
}

// fakeMount is a directory with these files, by path, that is read as if it were a mount.
func fakeMount(t *testing.T, files map[string]string) Mount {
	t.Helper()
	m := Mount{t.TempDir()}
	for path, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(m.Path(path)), 0o755), os.WriteFile(m.Path(path), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestRead(t *testing.T) {
	long := strings.Repeat("0123456789abcde\n", 1<<16) // longer than what is read at once
	m := fakeMount(t, map[string]string{"proc/metrics": long, "proc/sys/kernel/msgmax": "8192\n", "proc/empty": ""})
	for name, want := range map[string]string{"metrics": long, "sys/kernel/msgmax": "8192\n", "empty": ""} {
		if text, err := m.Read(name); err != nil || text != want {
			t.Errorf("%s: %d bytes, error %v", name, len(text), err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	m := fakeMount(t, map[string]string{"proc/metrics": "", "proc/dir/file": ""})
	for name, want := range map[string]error{"nope": unix.ENOENT, "dir": unix.EISDIR, "metrics/x": unix.ENOTDIR} {
		_, err := m.Read(name)
		if !errors.Is(err, want) || errors.Is(err, ErrGone) || err.Error() != m.Path("proc/"+name)+": "+want.Error() {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	// Where there is not even the file that all mounts have, there is no mount any more.
	for _, files := range []map[string]string{nil, {"proc/pipes": ""}, {"pipes/p": ""}} {
		m := fakeMount(t, files)
		_, err := m.Read("nope")
		if !errors.Is(err, ErrGone) || err.Error() != m.Dir+": the mount is gone; 'ipcfs mount' makes a new one" {
			t.Errorf("%v: error %v", files, err)
		}
	}
	if _, err := (Mount{"/nonexistent/mnt"}).Read("pipes"); !errors.Is(err, ErrGone) {
		t.Errorf("error %v", err)
	}
}

func TestTables(t *testing.T) {
	const common = "ino perms uid gid cuid cgid syscr rchar syscw wchar name "
	m := fakeMount(t, map[string]string{
		"proc/metrics": "",
		"proc/pipes":   common + "readers writers bytes used slots opens reads writes\n7 644 0 0 0 0 1 2 3 4 pipes/p 1 1 10 1 16 0 0 0\n",
		"proc/shm":     common + "shm_segsz shm_nattch shm_cprid shm_lprid shm_atime shm_dtime shm_ctime\n", // an older one, without rss
		"proc/msgq":    common + "q_cbytes q_qnum q_qbytes q_lspid q_lrpid q_stime q_rtime q_ctime q_receivers q_senders new\n7 644\n",
		"proc/files":   "ino fh pid command mode wait tid since name\n7 1 2 sh r - 0 0 pipes/p\n",
		"proc/maps":    "ino pid command perms bytes name\n",
	})
	for name, read := range map[string]func() (*Table, error){"pipes": func() (*Table, error) { return m.Objects("pipes") }, "files": m.Files} {
		if table, err := read(); err != nil || len(table.Rows) != 1 || table.Rows[0].Int("ino") != 7 || table.Rows[0].Name("name") != "pipes/p" {
			t.Errorf("%s: %v, error %v", name, table, err)
		}
	}
	if table, err := m.Maps(); err != nil || len(table.Rows) != 0 {
		t.Errorf("maps: %v, error %v", table, err)
	}
	for kind, want := range map[string]string{
		"shm":  m.Path("proc/shm") + ": there is no column rss; 'ipcfs version' should be that of the daemon",
		"msgq": m.Path("proc/msgq") + `: a line of 2 words for 22 columns: "7 644\n"`,
		"sem":  m.Path("proc/sem") + ": no such file or directory",
	} {
		if _, err := m.Objects(kind); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", kind, err, want)
		}
	}
}
