package fs

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// openDir opens a directory and returns its fh.
func (f *tree) openDir(dir uint64) uint64 {
	f.t.Helper()
	var out fuse.OpenOut
	f.want("OPENDIR", f.OpenDir(nil, &fuse.OpenIn{InHeader: header(thread1, dir)}, &out), fuse.OK)
	return out.Fh
}

// listed is an entry as READDIR or READDIRPLUS gave it.
type listed struct {
	name string
	off  uint64
	node uint64 // of READDIRPLUS
}

// readDir reads a directory from an offset, with a buffer of so many bytes.
func (f *tree) readDir(plus bool, dir, fh, off uint64, size int) (all []listed) {
	f.t.Helper()
	buf := make([]uint64, size/8) // entries are looked at as structures
	list := fuse.NewDirEntryList(unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), size), off)
	in := fuse.ReadIn{InHeader: header(thread1, dir), Fh: fh, Offset: off}
	if plus {
		f.want("READDIRPLUS", f.ReadDirPlus(nil, &in, list), fuse.OK)
	} else {
		f.want("READDIR", f.ReadDir(nil, &in, list), fuse.OK)
	}
	// include/uapi/linux/fuse.h: struct fuse_dirent
	type dirent struct {
		ino, off       uint64
		namelen, dtype uint32
	}
	for b := list.Bytes(); len(b) > 0; {
		var l listed
		if plus {
			e := (*fuse.EntryOut)(unsafe.Pointer(&b[0]))
			l.node = e.NodeId
			b = b[unsafe.Sizeof(*e):]
		}
		d := (*dirent)(unsafe.Pointer(&b[0]))
		n := unsafe.Sizeof(*d)
		l.name, l.off = string(b[n:n+uintptr(d.namelen)]), d.off
		all = append(all, l)
		b = b[(n+uintptr(d.namelen)+7)&^7:]
	}
	return all
}

func namesOf(all []listed) (names []string) {
	for _, l := range all {
		names = append(names, l.name)
	}
	return names
}

// Removing and making names between two reads skips none of the others and shows none twice.
func TestReadDirWhileNamesComeAndGo(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("p%02d", i)
		f.touch(dir, name)
		want = append(want, name)
	}
	for _, plus := range []bool{false, true} {
		fh := f.openDir(dir)
		var got []string
		off := uint64(0)
		for n := 0; ; n++ {
			part := f.readDir(plus, dir, fh, off, 1024)
			if len(part) == 0 {
				break
			}
			got = append(got, namesOf(part)...)
			off = part[len(part)-1].off
			if n == 0 {
				f.want("UNLINK", f.unlink(dir, "p00"), fuse.OK) // read already
				f.want("UNLINK", f.unlink(dir, "p19"), fuse.OK) // still to come
				f.touch(dir, "a-new")
			}
		}
		if !slices.Equal(got, append([]string{".", ".."}, want...)) {
			t.Errorf("plus %v: %q", plus, got)
		}
		// From the beginning it looks anew.
		again := namesOf(f.readDir(plus, dir, fh, 0, 1<<16))
		if !slices.Equal(again, slices.Concat([]string{".", "..", "a-new"}, want[1:19])) {
			t.Errorf("plus %v: from the beginning %q", plus, again)
		}
		f.ReleaseDir(&fuse.ReleaseIn{Fh: fh})
		f.want("UNLINK", f.unlink(dir, "a-new"), fuse.OK)
		f.touch(dir, "p00")
		f.touch(dir, "p19")
	}
	f.wantLeft(2, 20) // READDIRPLUS counts no lookup of an object
}

// READDIRPLUS counts a lookup of each directory that it names, but of no object: a walk to one begins with its own LOOKUP.
func TestReadDirPlusCountsDirectories(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	sub, _ := f.mkdir(dir, "sub")
	fh := f.openDir(dir)
	for _, l := range f.readDir(true, dir, fh, 0, 4096) {
		want := uint64(0)
		if l.name == "sub" {
			want = sub.NodeId
		}
		if l.node != want {
			t.Errorf("%s has node %d, want %d", l.name, l.node, want)
		}
	}
	f.Forget(sub.NodeId, 1)
	f.wantLeft(3, 2)
	f.Forget(sub.NodeId, 1)
	f.wantLeft(2, 2)
}

func TestReadDirOfWhatIsNotOpen(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	p, _ := f.create(thread1, dir, "p", syscall.O_RDWR)
	fh := f.openDir(dir)
	for _, c := range []struct {
		what    string
		dir, fh uint64
		want    fuse.Status
	}{
		{"no such fh", dir, 9999, fuse.EBADF},
		{"the fh of a pipe", dir, p.Fh, fuse.EBADF},
		{"a pipe", p.NodeId, fh, fuse.ENOTDIR},
		{"an unknown node", 9999, fh, estale},
	} {
		buf := make([]byte, 1024)
		in := fuse.ReadIn{InHeader: header(thread1, c.dir), Fh: c.fh}
		f.want(c.what, f.ReadDir(nil, &in, fuse.NewDirEntryList(buf, 0)), c.want)
		f.want(c.what, f.ReadDirPlus(nil, &in, fuse.NewDirEntryList(buf, 0)), c.want)
	}
	f.want("OPENDIR of a pipe", f.OpenDir(nil, &fuse.OpenIn{InHeader: header(thread1, p.NodeId)}, &fuse.OpenOut{}), fuse.ENOTDIR)
}

func TestReadDirOfARemovedDirectory(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	sub, _ := f.mkdir(dir, "sub")
	fh := f.openDir(sub.NodeId)
	f.want("RMDIR", f.rmdir(dir, "sub"), fuse.OK)
	if got := namesOf(f.readDir(false, sub.NodeId, fh, 0, 1024)); !slices.Equal(got, []string{".", ".."}) {
		t.Errorf("%q", got)
	}
}
