package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

// Mount is a mounted tree.
type Mount struct{ Dir string } // where its root is

// errNone is that no mount was named and there is none, or more than one.
var errNone = errors.New("no ipcfs is mounted; 'ipcfs mount DIR' does that")

// Find returns the mount that path is in, and where in the tree of the mount it is ("." for the root). The path need not exist, but its directory must. If it is "",
// it is the working directory if that is in a mount, or else the root of the only one.
func Find(path string) (m Mount, inTree string, err error) {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.FSType != conn.FSType, false })
	if err != nil {
		return Mount{}, "", fmt.Errorf("%w; is a proc file system mounted on /proc?", err)
	}
	if path != "" {
		return findThere(path, mounts)
	}
	if _, err := os.Getwd(); err != nil {
		return Mount{}, "", errors.New("the working directory is gone; name a directory")
	}
	if m, inTree, err = findThere(".", mounts); err == nil {
		return m, inTree, nil
	}
	return only(mounts)
}

// findThere is find for what is really there: another file system that is mounted on a directory of the tree is not in the tree.
func findThere(path string, mounts []*mountinfo.Info) (Mount, string, error) {
	m, inTree, err := find(path, mounts)
	if err != nil {
		return Mount{}, "", err
	}
	var there, root unix.Stat_t
	err = unix.Lstat(path, &there)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Stat(dirOf(path), &there)
	}
	if err == nil && unix.Stat(m.Dir, &root) == nil && there.Mode&unix.S_IFMT != unix.S_IFLNK && there.Dev != root.Dev {
		return Mount{}, "", notIn(path)
	}
	return m, inTree, nil // what else may be wrong is seen when it is used
}

// notIn says that no mount has the path.
func notIn(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s does not exist", path)
	}
	return fmt.Errorf("%s is not in a mount of ipcfs; 'findmnt -t %s' lists them", path, conn.FSType)
}

// dirOf is the directory that the last element of a path is in. Nothing is cleaned: .. behind a symbolic link is above where the link leads to.
func dirOf(path string) string {
	path = strings.TrimRight(path, "/")
	return path[:strings.LastIndexByte(path, '/')+1] + "."
}

// find is Find for a path that is not "". Of the mounts above it, the one that is nearest and came last has it.
func find(path string, mounts []*mountinfo.Info) (Mount, string, error) {
	from := path
	if !filepath.IsAbs(from) {
		wd, err := os.Getwd()
		if err != nil {
			return Mount{}, "", errors.New("the working directory is gone")
		}
		from = wd + "/" + from
	}
	real, err := filepath.EvalSymlinks(from)
	if errors.Is(err, os.ErrNotExist) {
		if real, err = filepath.EvalSymlinks(dirOf(from)); err == nil {
			real = filepath.Join(real, filepath.Base(from))
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return Mount{}, "", fmt.Errorf("%s does not exist", path)
	}
	if err != nil {
		var e unix.Errno
		if errors.As(err, &e) { // without the words that Go puts before it
			err = e
		}
		return Mount{}, "", fmt.Errorf("%s: %w", path, err)
	}
	var in *mountinfo.Info
	for _, i := range mounts {
		if below(real, i.Mountpoint) && (in == nil || len(i.Mountpoint) >= len(in.Mountpoint)) {
			in = i
		}
	}
	if in == nil {
		return Mount{}, "", notIn(path)
	}
	rel, err := filepath.Rel(in.Mountpoint, real)
	if err != nil {
		return Mount{}, "", err
	}
	inTree := strings.TrimPrefix(filepath.Join(in.Root, rel), "/")
	if inTree == "" {
		inTree = "."
	}
	// Of a bind mount of a part of the tree, the proc directory is somewhere else.
	for _, i := range mounts {
		if i.Root == "/" && i.Major == in.Major && i.Minor == in.Minor {
			return Mount{i.Mountpoint}, inTree, nil
		}
	}
	return Mount{}, "", fmt.Errorf("%s is in a bind mount of a part of an ipcfs, and the whole is not mounted here: its proc directory cannot be read", path)
}

// below says whether path is dir or in it.
func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// only returns the root of the one tree that is mounted.
func only(mounts []*mountinfo.Info) (Mount, string, error) {
	var found *mountinfo.Info
	for _, i := range mounts {
		switch {
		case i.Root != "/":
		case found == nil:
			found = i
		case found.Major != i.Major || found.Minor != i.Minor:
			return Mount{}, "", fmt.Errorf("more than one ipcfs is mounted; name the directory ('findmnt -t %s' lists them)", conn.FSType)
		}
	}
	if found == nil {
		return Mount{}, "", errNone
	}
	return Mount{found.Mountpoint}, ".", nil
}

// Path is where a file of the tree is.
func (m Mount) Path(inTree string) string { return filepath.Join(m.Dir, inTree) }

// Read returns the text of a file of proc, such as "pipes" or "sys/kernel/msgmax". The error names the file and says what to do if the mount is gone.
func (m Mount) Read(name string) (string, error) {
	path := filepath.Join(m.Dir, "proc", name)
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var b strings.Builder
		// A proc file has no size, and each read is a request to the daemon: large ones.
		if _, err = io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{f}, make([]byte, 1<<18)); err == nil {
			return b.String(), nil
		}
	}
	var e unix.Errno
	if errors.As(err, &e) {
		err = e
	}
	switch {
	case errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED):
		return "", fmt.Errorf("%s: %w", m.Dir, ErrGone)
	case errors.Is(err, unix.ENOENT):
		if _, statErr := os.Lstat(filepath.Join(m.Dir, "proc/metrics")); errors.Is(statErr, unix.ENOENT) {
			return "", fmt.Errorf("%s: %w", m.Dir, ErrGone)
		}
	}
	return "", fmt.Errorf("%s: %w", path, err)
}

// ErrGone is that the mount was unmounted, or its daemon has ended.
var ErrGone = errors.New("the mount is gone; 'ipcfs mount' makes a new one")

// table reads a table of proc.
func (m Mount) table(name string, needed ...string) (*Table, error) {
	text, err := m.Read(name)
	if err != nil {
		return nil, err
	}
	t, err := ParseTable(text, needed...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(m.Dir, "proc", name), err)
	}
	return t, nil
}

// Kinds are the kinds of objects, in the order in which they are shown.
var Kinds = []string{"pipes", "shm", "msgq"}

// columns are the columns without which the table of a kind says nothing.
var columns = map[string][]string{
	"":      {"ino", "perms", "uid", "gid", "cuid", "cgid", "syscr", "rchar", "syscw", "wchar", "name"},
	"pipes": {"readers", "writers", "bytes", "used", "slots", "opens", "reads", "writes"},
	"shm":   {"shm_segsz", "shm_nattch", "shm_cprid", "shm_lprid", "shm_atime", "shm_dtime", "shm_ctime", "rss"},
	"msgq":  {"q_cbytes", "q_qnum", "q_qbytes", "q_lspid", "q_lrpid", "q_stime", "q_rtime", "q_ctime", "q_receivers", "q_senders"},
}

// Objects reads the table of a kind: a row for each object, in the order in which they were made.
func (m Mount) Objects(kind string) (*Table, error) {
	return m.table(kind, slices.Concat(columns[""], columns[kind])...)
}

// Files reads who has what open: a row for each open file, and for each operation that waits.
func (m Mount) Files() (*Table, error) {
	return m.table("files", "ino", "fh", "pid", "command", "mode", "wait", "tid", "since", "name")
}

// Maps reads who maps which segment: a row for each process and kind of access.
func (m Mount) Maps() (*Table, error) {
	return m.table("maps", "ino", "pid", "command", "perms", "bytes", "name")
}

// Sum is the sum of a column.
func (t *Table) Sum(column string) (sum int64) {
	for _, r := range t.Rows {
		sum += r.Int(column)
	}
	return sum
}
