package fs

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
)

// countedFile counts its releases.
type countedFile struct{ released int }

func (*countedFile) read(operation, *fuse.ReadIn)           {}
func (*countedFile) write(operation, *fuse.WriteIn, []byte) {}
func (*countedFile) poll(conn.Call, *conn.PollIn)           {}
func (c *countedFile) release(uint64)                       { c.released++ }

func TestHandlesAreNeverUsedAgain(t *testing.T) {
	var h handles
	if h.get(0) != nil || h.get(1) != nil || h.remove(1) != nil || len(h.removeAll()) != 0 {
		t.Fatal("an empty table has files")
	}
	a, b := &handle{file: &countedFile{}}, &handle{file: &countedFile{}}
	fa, fb := h.add(a), h.add(b)
	if fa == fb || fa == 0 || fb == 0 {
		t.Fatalf("file handles %d and %d", fa, fb)
	}
	if h.get(fa) != a || h.get(fb) != b {
		t.Fatal("a file handle has another one's file")
	}
	if h.remove(fa) != a {
		t.Fatal("the file that was removed is another one")
	}
	if h.get(fa) != nil || h.remove(fa) != nil {
		t.Fatal("a file that was removed is still there")
	}
	if fc := h.add(a); fc == fa || fc == fb {
		t.Fatalf("file handle %d was used again", fc)
	}
	if n := len(h.removeAll()); n != 2 {
		t.Fatalf("%d files, want 2", n)
	}
	if h.get(fb) != nil {
		t.Fatal("a file is left")
	}
	if fd := h.add(b); fd <= fb+1 {
		t.Fatalf("file handle %d was used again", fd)
	}
}

func TestReleaseOnce(t *testing.T) {
	f := newTree(t, 0)
	c := &countedFile{}
	fh := f.handles.add(&handle{file: c})
	f.Release(nil, &fuse.ReleaseIn{Fh: fh})
	f.Release(nil, &fuse.ReleaseIn{Fh: fh})
	if c.released != 1 {
		t.Errorf("released %d times, want once", c.released)
	}
}

func TestCloseReleasesAll(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	c := &countedFile{}
	f.handles.add(&handle{file: c})
	if _, st := f.create(thread1, dir, "p", syscall.O_RDWR); st != fuse.OK {
		t.Fatal(st)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if c.released != 1 {
		t.Errorf("released %d times, want once", c.released)
	}
	if n := f.ns.PipeBuffers(1000); n != 0 { // what was created is closed too
		t.Errorf("%d pages are accounted", n)
	}
}
