package fs

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func TestCreate(t *testing.T) {
	for _, flags := range []uint32{
		syscall.O_RDONLY, syscall.O_WRONLY, syscall.O_RDWR,
		syscall.O_WRONLY | syscall.O_NONBLOCK, // no ENXIO: the reader is waited for in write
		syscall.O_WRONLY | syscall.O_CREAT | syscall.O_EXCL | syscall.O_TRUNC, syscall.O_WRONLY | syscall.O_APPEND,
	} {
		f := newTree(t, 0)
		dir := f.pipes()
		out, st := f.create(thread1, dir, "p", flags)
		f.want("CREATE", st, fuse.OK)
		if out.Mode != syscall.S_IFREG|0o640 || out.Uid != 1000 || out.Gid != 1000 || out.Nlink != 1 || out.Size != streamSize {
			t.Errorf("flags %#x: %+v", flags, out.Attr)
		}
		if out.OpenFlags != streamFlags || f.handles.get(out.Fh) == nil {
			t.Errorf("flags %#x: open flags %#x, file %v", flags, out.OpenFlags, f.handles.get(out.Fh))
		}
		if out.EntryValid != 0 || out.EntryValidNsec != 0 { // or a second walk would share the node
			t.Errorf("flags %#x: the entry is valid for %d s", flags, out.EntryValid)
		}
		_, st = f.create(thread1, dir, "p", flags)
		f.want("second CREATE", st, eexist)
		f.wantLeft(3, 1)
	}
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	_, st := f.create(thread1, dir, "p", syscall.O_ACCMODE)
	f.want("CREATE without a mode", st, fuse.EINVAL)
	f.want("LOOKUP", f.lookupStatus(dir, "p"), fuse.ENOENT)
	f.wantLeft(2, 0)
	var out fuse.CreateOut
	f.want("TMPFILE", f.Tmpfile(nil, &fuse.CreateIn{InHeader: header(thread1, dir), Flags: syscall.O_ACCMODE}, &out), fuse.EINVAL)
	f.wantLeft(2, 0)
	if len(f.objects) != 0 {
		t.Errorf("%d pipes are left", len(f.objects))
	}
}

func TestTmpfileHasNoName(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	var out fuse.CreateOut
	f.want("TMPFILE", f.Tmpfile(nil, &fuse.CreateIn{InHeader: header(thread1, dir), Flags: syscall.O_RDWR, Mode: 0o600}, &out), fuse.OK)
	if out.Nlink != 0 {
		t.Errorf("nlink %d, want 0", out.Nlink)
	}
	f.wantLeft(3, 1)
	f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
	f.Forget(out.NodeId, 1)
	f.wantLeft(2, 0)
}

func TestNames(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	for _, c := range []struct {
		n    int
		want fuse.Status
	}{{1, fuse.OK}, {254, fuse.OK}, {255, fuse.OK}, {256, enametoolong}, {5000, enametoolong}} {
		name := strings.Repeat("n", c.n)
		lookup := fuse.ENOENT
		if c.want != fuse.OK {
			lookup = c.want
		}
		what := fmt.Sprintf("%d bytes: ", c.n)
		f.want(what+"LOOKUP", f.lookupStatus(dir, name), lookup)
		_, st := f.create(thread1, dir, name, syscall.O_RDWR)
		f.want(what+"CREATE", st, c.want)
		_, st = f.mkdir(dir, name[1:]+"d")
		f.want(what+"MKDIR", st, c.want)
		f.want(what+"RENAME", f.rename(dir, name[1:]+"d", dir, "d"+name[1:], 0), c.want)
		f.want(what+"RMDIR", f.rmdir(dir, "d"+name[1:]), c.want)
		f.want(what+"UNLINK", f.unlink(dir, name), c.want)
	}
	f.touch(dir, "p")
	f.want("RENAME to 256 bytes", f.rename(dir, "p", dir, strings.Repeat("n", 256), 0), enametoolong)
	f.lookup(thread1, dir, "p")
}

func TestInodesAreLimited(t *testing.T) {
	f := newTree(t, 2)
	dir := f.pipes()
	f.touch(dir, "a")
	sub, st := f.mkdir(dir, "sub")
	f.want("MKDIR", st, fuse.OK)
	_, st = f.create(thread1, dir, "b", syscall.O_RDWR)
	f.want("CREATE above the limit", st, enospc)
	_, st = f.mkdir(dir, "b")
	f.want("MKDIR above the limit", st, enospc)
	var out fuse.CreateOut
	f.want("TMPFILE above the limit", f.Tmpfile(nil, &fuse.CreateIn{InHeader: header(thread1, dir), Flags: syscall.O_RDWR}, &out), enospc)
	_, st = f.create(thread1, dir, "a", syscall.O_RDWR)
	f.want("CREATE of what is there", st, eexist)
	f.want("LOOKUP", f.lookupStatus(dir, "b"), fuse.ENOENT)
	var stat fuse.StatfsOut
	h := header(thread1, dir)
	f.StatFs(nil, &h, &stat)
	if stat.Files != 2 || stat.Ffree != 0 {
		t.Errorf("STATFS: %d of %d files are free, want 0 of %d", stat.Ffree, stat.Files, 2)
	}

	f.want("RMDIR", f.rmdir(dir, "sub"), fuse.OK)
	_, st = f.create(thread1, dir, "b", syscall.O_RDWR)
	f.want("CREATE while the directory is known", st, enospc)
	f.Forget(sub.NodeId, 1)
	_, st = f.create(thread1, dir, "b", syscall.O_RDWR)
	f.want("CREATE when there is room", st, fuse.OK)
}

func TestMknod(t *testing.T) {
	for _, c := range []struct {
		mode uint32
		want fuse.Status
	}{
		{syscall.S_IFREG, fuse.OK}, {syscall.S_IFIFO, fuse.OK},
		{syscall.S_IFCHR, fuse.EPERM}, {syscall.S_IFBLK, fuse.EPERM}, {syscall.S_IFSOCK, fuse.EPERM}, {0, fuse.EPERM},
	} {
		f := newTree(t, 0)
		dir := f.pipes()
		var out fuse.EntryOut
		f.want(fmt.Sprintf("MKNOD of %#o", c.mode), f.Mknod(nil, &fuse.MknodIn{InHeader: header(thread1, dir), Mode: c.mode | 0o600}, "n", &out), c.want)
		if c.want == fuse.OK && out.Mode != c.mode|0o600 {
			t.Errorf("mode %#o, want %#o", out.Mode, c.mode|0o600)
		}
		if (c.mode == syscall.S_IFREG) != (len(f.objects) == 1) { // the kernel carries a FIFO itself
			t.Errorf("%#o: %d objects", c.mode, len(f.objects))
		}
	}
}

func TestSetGroupIDIsInherited(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	sub, _ := f.mkdir(dir, "sub")
	var attr fuse.AttrOut
	f.want("SETATTR", f.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{
		InHeader: header(thread1, sub.NodeId), Valid: fuse.FATTR_MODE | fuse.FATTR_GID, Mode: 0o2775, Owner: fuse.Owner{Gid: 77},
	}}, &attr), fuse.OK)
	p, _ := f.create(thread1, sub.NodeId, "p", syscall.O_RDWR)
	d, _ := f.mkdir(sub.NodeId, "d")
	if p.Gid != 77 || p.Mode&syscall.S_ISGID != 0 {
		t.Errorf("a pipe has group %d and mode %#o", p.Gid, p.Mode)
	}
	if d.Gid != 77 || d.Mode&syscall.S_ISGID == 0 {
		t.Errorf("a directory has group %d and mode %#o", d.Gid, d.Mode)
	}
}

func TestWhatIsFixed(t *testing.T) {
	f := newTree(t, 0)
	const r = fuse.FUSE_ROOT_ID
	dir := f.pipes()
	proc := f.lookup(thread1, r, "proc").NodeId
	text := f.lookup(thread1, proc, "pipes").NodeId
	f.touch(dir, "p")
	for _, d := range []uint64{r, proc} {
		_, st := f.create(thread1, d, "new", syscall.O_RDWR)
		f.want("CREATE", st, fuse.EPERM)
		_, st = f.mkdir(d, "new")
		f.want("MKDIR", st, fuse.EPERM)
		f.want("RENAME to", f.rename(dir, "p", d, "new", 0), fuse.EPERM)
		f.want("RENAME over", f.rename(dir, "p", d, "pipes", 0), fuse.EPERM)
	}
	f.want("RMDIR of a kind", f.rmdir(r, "pipes"), fuse.EPERM)
	f.want("RMDIR of proc", f.rmdir(r, "proc"), fuse.EPERM)
	f.want("UNLINK in proc", f.unlink(proc, "pipes"), fuse.EPERM)
	f.want("RENAME of a kind", f.rename(r, "pipes", r, "tubes", 0), fuse.EPERM)
	f.want("RENAME out of proc", f.rename(proc, "pipes", dir, "new", 0), fuse.EPERM)
	f.want("exchange with proc", f.rename(dir, "p", proc, "pipes", unix.RENAME_EXCHANGE), fuse.EPERM)
	f.want("LOOKUP in a file", f.lookupStatus(text, "x"), fuse.ENOTDIR)
	f.want("LOOKUP in what is not known", f.lookupStatus(9999, "x"), estale)
}

func TestUnlinkAndRmdir(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	sub, st := f.mkdir(dir, "sub")
	f.want("MKDIR", st, fuse.OK)
	if sub.Mode != syscall.S_IFDIR|0o755 || sub.Nlink != 2 {
		t.Errorf("a new directory: %+v", sub.Attr)
	}
	wantNlink := func(want uint32) {
		t.Helper()
		if got := f.lookup(thread1, fuse.FUSE_ROOT_ID, "pipes").Nlink; got != want {
			t.Errorf("the directory has %d links, want %d", got, want)
		}
	}
	wantNlink(3)
	f.touch(sub.NodeId, "p")
	f.want("UNLINK of a directory", f.unlink(dir, "sub"), fuse.EISDIR)
	f.want("RMDIR of a pipe", f.rmdir(sub.NodeId, "p"), fuse.ENOTDIR)
	f.want("RMDIR of what is not empty", f.rmdir(dir, "sub"), enotempty)
	f.want("UNLINK of nothing", f.unlink(dir, "x"), fuse.ENOENT)
	f.want("RMDIR of nothing", f.rmdir(dir, "x"), fuse.ENOENT)
	f.want("UNLINK", f.unlink(sub.NodeId, "p"), fuse.OK)
	f.want("RMDIR", f.rmdir(dir, "sub"), fuse.OK)
	wantNlink(2)
	_, st = f.create(thread1, sub.NodeId, "late", syscall.O_RDWR)
	f.want("CREATE in a directory that is gone", st, fuse.ENOENT)
	_, st = f.mkdir(sub.NodeId, "late")
	f.want("MKDIR in a directory that is gone", st, fuse.ENOENT)
	f.Forget(sub.NodeId, 1)
	f.Forget(dir, 3)
	f.wantLeft(1, 0)
}

// A name that comes back is another object; who knows the old one keeps it.
func TestUnlinkAndCreateAgain(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	a, _ := f.create(thread1, dir, "p", syscall.O_RDWR)
	f.want("UNLINK", f.unlink(dir, "p"), fuse.OK)
	b, st := f.create(thread1, dir, "p", syscall.O_RDWR)
	f.want("CREATE", st, fuse.OK)
	if a.Ino == b.Ino || a.NodeId == b.NodeId || a.Fh == b.Fh {
		t.Errorf("the old one is inode %d, node %d, file %d; the new one %d, %d, %d", a.Ino, a.NodeId, a.Fh, b.Ino, b.NodeId, b.Fh)
	}
	f.want("OPEN of the old one", f.admit(a.NodeId, thread1, syscall.O_RDONLY), fuse.OK)
	f.wantLeft(4, 2)
}

func (f *tree) rename(from uint64, oldName string, to uint64, newName string, flags uint32) fuse.Status {
	return f.Rename(nil, &fuse.RenameIn{InHeader: header(thread1, from), Newdir: to, Flags: flags}, oldName, newName)
}

// otherKind stands for the kinds to come.
type otherKind struct{ pipes }

func TestRename(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new string // paths below pipes
		flags    uint32
		want     fuse.Status
		tree     string // afterwards; a pipe shows the name that it began with
	}{
		{"a pipe", "a", "new", 0, fuse.OK, "b=b d/ d/in=in e/ new=a"},
		{"over a pipe", "a", "b", 0, fuse.OK, "b=a d/ d/in=in e/"},
		{"to another directory", "a", "e/x", 0, fuse.OK, "b=b d/ d/in=in e/ e/x=a"},
		{"out of a directory", "d/in", "in", 0, fuse.OK, "a=a b=b d/ e/ in=in"},
		{"a directory", "d", "new", 0, fuse.OK, "a=a b=b e/ new/ new/in=in"},
		{"a directory over an empty one", "d", "e", 0, fuse.OK, "a=a b=b e/ e/in=in"},
		{"a directory into another", "d", "e/d", 0, fuse.OK, "a=a b=b e/ e/d/ e/d/in=in"},
		{"a directory over a full one", "e", "d", 0, enotempty, ""},
		{"a directory over a pipe", "d", "a", 0, fuse.ENOTDIR, ""},
		{"a pipe over a directory", "a", "e", 0, fuse.EISDIR, ""},
		{"nothing", "x", "y", 0, fuse.ENOENT, ""},
		{"to itself", "a", "a", 0, fuse.OK, "a=a b=b d/ d/in=in e/"},
		{"no replace", "a", "b", unix.RENAME_NOREPLACE, eexist, ""},
		{"no replace, free", "a", "new", unix.RENAME_NOREPLACE, fuse.OK, "b=b d/ d/in=in e/ new=a"},
		{"exchange", "a", "b", unix.RENAME_EXCHANGE, fuse.OK, "a=b b=a d/ d/in=in e/"},
		{"exchange across directories", "a", "d/in", unix.RENAME_EXCHANGE, fuse.OK, "a=in b=b d/ d/in=a e/"},
		{"exchange of a pipe and a full directory", "a", "d", unix.RENAME_EXCHANGE, fuse.OK, "a/ a/in=in b=b d=a e/"},
		{"exchange with nothing", "a", "x", unix.RENAME_EXCHANGE, fuse.ENOENT, ""},
		{"whiteout", "a", "x", unix.RENAME_WHITEOUT, fuse.EINVAL, ""},
		{"to another kind", "a", "../others/a", 0, fuse.Status(syscall.EXDEV), ""},
		{"a directory to another kind", "d", "../others/d", 0, fuse.Status(syscall.EXDEV), ""},
		{"exchange with another kind", "a", "../others/o", unix.RENAME_EXCHANGE, fuse.Status(syscall.EXDEV), ""},
		// The kernel sends it when its two lookups of the name gave two nodes.
		{"exchange with itself", "a", "a", unix.RENAME_EXCHANGE, fuse.OK, "a=a b=b d/ d/in=in e/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t, 0)
			dir := f.pipes()
			others := f.newInodeLocked(otherKind{pipes{fs: f.FS}}, typeDir, f.root.perm)
			f.linkLocked(f.root, "others", others)
			for _, d := range []string{"d", "e"} {
				if _, st := f.mkdir(dir, d); st != fuse.OK {
					t.Fatal(st)
				}
			}
			inos := map[uint64]string{}
			for _, p := range []string{"a", "b", "d/in", "../others/o"} {
				in, name := f.walk(p)
				f.touch(in, name)
				inos[f.lookup(thread1, in, name).Ino] = name
			}
			before := f.list("", f.root.entries["pipes"], inos)
			from, oldName := f.walk(c.old)
			to, newName := f.walk(c.new)
			f.want("RENAME", f.rename(from, oldName, to, newName, c.flags), c.want)
			got := f.list("", f.root.entries["pipes"], inos)
			want := strings.Fields(c.tree)
			if c.want != fuse.OK {
				want = before
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			// Whatever moved, a directory has a link for its name, its own dot and each subdirectory.
			f.checkLinks(f.root)
		})
	}
}

// walk looks up the directory of a path below pipes and returns its node and the last name.
func (f *tree) walk(path string) (dir uint64, name string) {
	f.t.Helper()
	dir = f.pipes()
	parts := strings.Split(path, "/")
	for _, p := range parts[:len(parts)-1] {
		if p == ".." {
			dir = fuse.FUSE_ROOT_ID
			continue
		}
		dir = f.lookup(thread1, dir, p).NodeId
	}
	return dir, parts[len(parts)-1]
}

// list names what is in dir and below, sorted, and with each pipe the name by which inos knows it.
func (f *tree) list(prefix string, dir *inode, inos map[uint64]string) (all []string) {
	for name, i := range dir.entries {
		if i.pathLocked() == "" || i.parentLocked() != dir {
			f.t.Errorf("%s%s believes to be %s", prefix, name, i.pathLocked())
		}
		if i.isDir() {
			all = append(append(all, prefix+name+"/"), f.list(prefix+name+"/", i, inos)...)
		} else {
			all = append(all, prefix+name+"="+inos[i.ino])
		}
	}
	slices.Sort(all)
	return all
}

func (f *tree) checkLinks(dir *inode) {
	f.t.Helper()
	want := uint32(2)
	for _, i := range dir.entries {
		if i.isDir() {
			want++
			f.checkLinks(i)
		}
	}
	if n := f.nlinkLocked(dir); n != want {
		f.t.Errorf("%s has %d links, want %d", dir.pathLocked(), n, want)
	}
}

// What a rename replaces lives on for who knows it.
func TestRenameOverWhatIsKnown(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "a")
	b, _ := f.create(thread1, dir, "b", syscall.O_RDWR)
	f.want("RENAME", f.rename(dir, "a", dir, "b", 0), fuse.OK)
	f.wantLeft(3, 2)
	var attr fuse.AttrOut
	f.want("GETATTR", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(thread1, b.NodeId)}, &attr), fuse.OK)
	if attr.Nlink != 0 {
		t.Errorf("what was replaced has %d links", attr.Nlink)
	}
	f.Release(nil, &fuse.ReleaseIn{Fh: b.Fh})
	f.Forget(b.NodeId, 1)
	f.wantLeft(2, 1)
}
