package fs

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (f *tree) link(node, dir uint64, name string) (fuse.EntryOut, fuse.Status) {
	var out fuse.EntryOut
	st := f.Link(nil, &fuse.LinkIn{InHeader: fuse.InHeader{NodeId: dir, Caller: fuse.Caller{Pid: thread1}}, Oldnodeid: node}, name, &out)
	return out, st
}

// A pipe with several names is one pipe until the last of them goes.
func TestHardLinks(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "a")
	a := f.lookup(thread1, dir, "a")
	d, _ := f.mkdir(dir, "d")
	b, st := f.link(a.NodeId, d.NodeId, "b")
	f.want("LINK", st, fuse.OK)
	if b.Ino != a.Ino || b.Nlink != 2 {
		t.Fatalf("the link is inode %d with %d links, want %d with 2", b.Ino, b.Nlink, a.Ino)
	}
	_, st = f.link(a.NodeId, dir, "d")
	f.want("LINK to a name that is taken", st, fuse.Status(syscall.EEXIST))
	_, st = f.link(a.NodeId, fuse.FUSE_ROOT_ID, "x")
	f.want("LINK at the top", st, fuse.EPERM)
	_, st = f.link(d.NodeId, dir, "x")
	f.want("LINK of a directory", st, fuse.EPERM)

	f.want("UNLINK of the first name", f.unlink(dir, "a"), fuse.OK)
	left := f.lookup(thread1, d.NodeId, "b")
	if left.Ino != a.Ino || left.Nlink != 1 || f.nodes[left.NodeId].inode.pathLocked() != "pipes/d/b" {
		t.Fatalf("left is inode %d with %d links, path %q", left.Ino, left.Nlink, f.nodes[left.NodeId].inode.pathLocked())
	}
	f.want("UNLINK of the last name", f.unlink(d.NodeId, "b"), fuse.OK)
	if got := f.nodes[left.NodeId].inode.pathLocked(); got != "pipes/d/b (deleted)" {
		t.Fatalf("path %q", got)
	}
}

// What O_TMPFILE made gets its first name by a link.
func TestLinkOfTmpfile(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	var out fuse.CreateOut
	st := f.Tmpfile(nil, &fuse.CreateIn{InHeader: fuse.InHeader{NodeId: dir, Caller: fuse.Caller{Pid: thread1}}, Flags: syscall.O_RDWR, Mode: 0o600}, &out)
	f.want("TMPFILE", st, fuse.OK)
	_, st = f.link(out.NodeId, dir, "named")
	f.want("LINK", st, fuse.OK)
	if e := f.lookup(thread2, dir, "named"); e.Ino != out.Ino || e.Nlink != 1 || e.NodeId == out.NodeId {
		t.Fatalf("named is inode %d by node %d with %d links; it was made as inode %d, node %d, which is open for writing", e.Ino, e.NodeId, e.Nlink, out.Ino, out.NodeId)
	}
	f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
}

func TestSymlink(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	var out fuse.EntryOut
	f.want("SYMLINK", f.Symlink(nil, &fuse.InHeader{NodeId: dir, Caller: fuse.Caller{Pid: thread1}}, "there", "s", &out), fuse.OK)
	if out.Mode != syscall.S_IFLNK|0o777 || out.Size != 5 {
		t.Fatalf("mode %o, size %d", out.Mode, out.Size)
	}
	got, st := f.Readlink(nil, &fuse.InHeader{NodeId: out.NodeId})
	if string(got) != "there" || st != fuse.OK {
		t.Fatalf("READLINK gives %q, %v", got, st)
	}
	_, st = f.Readlink(nil, &fuse.InHeader{NodeId: dir})
	f.want("READLINK of a directory", st, fuse.EINVAL)
}

// Names beyond the first count as inodes, and there is an end to them.
func TestLinksAreCounted(t *testing.T) {
	f := newTree(t, 4)
	dir := f.pipes()
	f.touch(dir, "a")
	a := f.lookup(thread1, dir, "a")
	for _, name := range []string{"b", "c", "d"} {
		_, st := f.link(a.NodeId, dir, name)
		f.want("LINK", st, fuse.OK)
	}
	_, st := f.link(a.NodeId, dir, "e")
	f.want("LINK above the limit", st, fuse.Status(syscall.ENOSPC))
	f.want("RENAME of one", f.rename(dir, "b", dir, "bb", 0), fuse.OK)
	f.want("UNLINK of one", f.unlink(dir, "a"), fuse.OK)
	_, st = f.link(a.NodeId, dir, "e")
	f.want("LINK in its place", st, fuse.OK)
	for _, name := range []string{"bb", "c", "d", "e"} {
		f.want("UNLINK", f.unlink(dir, name), fuse.OK)
	}
	if f.inodes != 1 { // a, which is still looked up
		t.Errorf("%d inodes are left, want %d", f.inodes, 1)
	}
}

// The targets of symbolic links are bounded together, and given back.
func TestSymlinkTargetsAreCounted(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	h := &fuse.InHeader{NodeId: dir, Caller: fuse.Caller{Pid: thread1}}
	var out fuse.EntryOut
	f.want("SYMLINK", f.Symlink(nil, h, "there", "s", &out), fuse.OK)
	f.targets = maxTargets - 4
	f.want("SYMLINK above the limit", f.Symlink(nil, h, "there", "t", &out), fuse.Status(syscall.ENOSPC))
	f.targets = 5
	f.want("UNLINK", f.unlink(dir, "s"), fuse.OK)
	f.Forget(out.NodeId, 1)
	if f.targets != 0 {
		t.Errorf("%d bytes are counted for no link", f.targets)
	}
}
