package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipcfs/cmd/ipcfs/inspect"
)

// The files of proc of a mount, as ipcfs writes them.
var procFixture = map[string]string{
	"proc/pipes": `       ino perms   uid   gid  cuid  cgid readers writers      bytes  used slots opens reads writes    syscr    rchar    syscw    wchar name
         7   600     0     0     0     0       1       1       4108     2    16     0     1      0        3     8192        5    12300 pipes/a
         8   644 99999     0 99999     0       0       2          0     0     1     2     0      0        0        0        0        0 pipes/sub/b\040c
         9   600     0     0     0     0       1       0          0     0    16     0     0      0        0        0        0        0 pipes/old\040(deleted)
`,
	"proc/shm": `       ino perms   uid   gid  cuid  cgid  shm_segsz shm_nattch shm_cprid shm_lprid shm_atime shm_dtime shm_ctime        rss    syscr    rchar    syscw    wchar name
        20   600     0     0     0     0    1048576          2       111       222 1000000000         0 1000000001       8192        0        0        0        0 shm/s
        21   600     0     0     0     0       4096          0       111         0          0         0          0          0        0        0        0        0 -
`,
	"proc/msgq": `       ino perms   uid   gid  cuid  cgid   q_cbytes     q_qnum   q_qbytes q_lspid q_lrpid    q_stime    q_rtime    q_ctime q_receivers q_senders    syscr    rchar    syscw    wchar name
        30   620     0     0     0     0         11          3      16384     111     222 1000000000 1000000060 1000000002           0         1        1        2        4       13 msgq/jobs
`,
	"proc/files": `       ino     fh     pid command         mode   wait     tid             since name
         7      1     111 sh                 r   READ     111 1000000050.500000 pipes/a
         7      2     222 my\040prog         w      -       0                 0 pipes/a
         8      0     333 cat                r   OPEN     333 1000000040.250000 pipes/sub/b\040c
         8      3     444 cat                w   OPEN     444 1000000040.250000 pipes/sub/b\040c
         9      4     111 sh                 r      -       0                 0 pipes/old\040(deleted)
        30      5     111 sh                rw  WRITE     111 1000000000.000000 msgq/jobs
        30      6     222 my\040prog         r      -       0                 0 msgq/jobs:7
`,
	"proc/maps": `       ino     pid command         perms        bytes name
        20     111 sh              rw-s       1048576 shm/s
        20     555 -               r--s          4096 shm/s
`,
	"proc/metrics": `# HELP ipcfs_ids Objects that count for msgmni and shmmni.
# TYPE ipcfs_ids gauge
ipcfs_ids{kind="msgq"} 1
ipcfs_ids{kind="shm"} 1024
ipcfs_arena_limit_bytes 1.073741824e+09
ipcfs_arena_used_bytes 8192
ipcfs_inodes 12
ipcfs_inodes_limit 1.048576e+06
ipcfs_shm_used_bytes 8192
ipcfs_symlink_bytes 0
ipcfs_symlink_limit_bytes 1.6777216e+07
`,
	"proc/sys/kernel/msgmni": "32000\n", "proc/sys/kernel/msgmax": "8192\n", "proc/sys/kernel/msgmnb": "16384\n",
	"proc/sys/kernel/shmmni": "4096\n", "proc/sys/kernel/shmall": "18446744073692774399\n", "proc/sys/kernel/shmmax": "18446744073692774399\n",
	"proc/sys/fs/pipe-max-size": "1048576\n", "proc/sys/fs/pipe-user-pages-soft": "16384\n", "proc/sys/fs/pipe-user-pages-hard": "0\n",
}

// fixture makes a directory that looks like a mount, as far as proc goes.
func fixture(t testing.TB) inspect.Mount {
	t.Helper()
	dir := t.TempDir()
	for name, text := range procFixture {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return inspect.Mount{Dir: dir}
}

func TestTargetObjects(t *testing.T) {
	m := fixture(t)
	for _, c := range []struct {
		inTree string
		ino    int64
		want   string
	}{
		{".", 0, "pipes/a|pipes/sub/b c|pipes/old (deleted)|shm/s||msgq/jobs"},
		{"pipes", 0, "pipes/a|pipes/sub/b c|pipes/old (deleted)"},
		{"pipes/sub", 0, "pipes/sub/b c"},
		{"pipes/su", 0, ""},
		{"pipes/another name of it", 7, "pipes/a"},
		{"shm", 0, "shm/s|"},
		{"shm/sub", 0, ""},
		{"msgq/jobs", 30, "msgq/jobs"},
	} {
		objects, err := target{m, c.inTree, c.ino}.objects()
		var names []string
		for _, o := range objects {
			names = append(names, o.Name("name"))
		}
		if got := strings.Join(names, "|"); err != nil || got != c.want {
			t.Errorf("%s %d: %s, %v", c.inTree, c.ino, got, err)
		}
	}
}

// What no object can be is told by its name.
func TestTargetCheck(t *testing.T) {
	m := inspect.Mount{Dir: t.TempDir()}
	if err := os.Mkdir(m.Path("processes"), 0o755); err != nil {
		t.Fatal(err)
	}
	for inTree, want := range map[string]string{
		".": "", "pipes": "", "pipes/a": "", "msgq/sub/jobs": "", "pipes/a:b": "", "shm/x:7": "",
		"proc":           "X is in proc, which tells of the objects and holds none; name an object in one of pipes, shm, msgq",
		"proc/pipes":     "X is in proc, which tells of the objects and holds none; name an object in one of pipes, shm, msgq",
		"msgq/jobs:7":    "X is a view of a queue; name the queue, jobs",
		"msgq/d/j:peek":  "X is a view of a queue; name the queue, j",
		"pipe/a":         "X does not exist",
		"processes/pids": "X is of a kind that this command does not know; 'ipcfs version' should be that of the daemon",
	} {
		got := ""
		if err := (target{mount: m, inTree: inTree}).check("X"); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s", inTree, got)
		}
	}
}

// What is in no mount, or not there, is said in a line that names it.
func TestFindTargetErrors(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for path, want := range map[string]string{
		".":           ". is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"missing":     "missing does not exist",
		"missing/sub": "missing/sub does not exist",
	} {
		if _, err := findTarget(path); err == nil || err.Error() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}
