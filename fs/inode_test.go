package fs

import (
	"bytes"
	"log"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// tree is a file system without a mount, whose requests a test makes by hand.
type tree struct {
	*FS
	t   *testing.T
	now time.Time
}

// newTree makes a tree of at most maxInodes files; 0 is enough for any test.
func newTree(t *testing.T, maxInodes int) *tree {
	t.Helper()
	arena, err := page.New(64 * page.Size)
	if err != nil {
		t.Fatal(err)
	}
	if maxInodes == 0 {
		maxInodes = 1000
	}
	f := &tree{t: t, now: time.Unix(1000, 0)}
	var logged bytes.Buffer
	f.FS = New(ipc.NewNamespace(arena, ipc.DefaultLimits(), func() time.Time { return f.now }), Options{
		AllowOther: true, MaxInodes: maxInodes, Logger: log.New(&logged, "", 0),
	})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := arena.Close(); err != nil {
			t.Error(err)
		}
		if logged.Len() > 0 {
			t.Errorf("logged: %s", &logged)
		}
	})
	return f
}

// Threads that make requests.
const (
	thread1 = 101 + iota
	thread2
	thread3
)

const (
	estale       = fuse.Status(syscall.ESTALE)
	eexist       = fuse.Status(syscall.EEXIST)
	enotempty    = fuse.Status(syscall.ENOTEMPTY)
	enospc       = fuse.Status(syscall.ENOSPC)
	enametoolong = fuse.Status(syscall.ENAMETOOLONG)
)

func header(tid uint32, dir uint64) fuse.InHeader {
	return fuse.InHeader{NodeId: dir, Caller: fuse.Caller{Owner: fuse.Owner{Uid: 1000, Gid: 1000}, Pid: tid}}
}

func (f *tree) want(what string, got, want fuse.Status) {
	f.t.Helper()
	if got != want {
		f.t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// lookup is a LOOKUP that finds something.
func (f *tree) lookup(tid uint32, dir uint64, name string) fuse.EntryOut {
	f.t.Helper()
	h := header(tid, dir)
	var out fuse.EntryOut
	f.want("LOOKUP of "+name, f.Lookup(nil, &h, name, &out), fuse.OK)
	return out
}

func (f *tree) lookupStatus(dir uint64, name string) fuse.Status {
	h := header(thread1, dir)
	var out fuse.EntryOut
	return f.Lookup(nil, &h, name, &out)
}

// pipes is the node of the directory with the pipes.
func (f *tree) pipes() uint64 {
	f.t.Helper()
	return f.lookup(thread1, fuse.FUSE_ROOT_ID, "pipes").NodeId
}

func (f *tree) create(tid uint32, dir uint64, name string, flags uint32) (fuse.CreateOut, fuse.Status) {
	in := fuse.CreateIn{InHeader: header(tid, dir), Flags: flags, Mode: 0o640}
	var out fuse.CreateOut
	st := f.Create(nil, &in, name, &out)
	return out, st
}

// touch makes a pipe that nobody has open and of which the kernel has forgotten the node.
func (f *tree) touch(dir uint64, name string) {
	f.t.Helper()
	out, st := f.create(thread1, dir, name, syscall.O_RDWR|syscall.O_NONBLOCK)
	f.want("CREATE of "+name, st, fuse.OK)
	f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
	f.Forget(out.NodeId, 1)
}

func (f *tree) mkdir(dir uint64, name string) (fuse.EntryOut, fuse.Status) {
	var out fuse.EntryOut
	st := f.Mkdir(nil, &fuse.MkdirIn{InHeader: header(thread1, dir), Mode: 0o755}, name, &out)
	return out, st
}

func (f *tree) unlink(dir uint64, name string) fuse.Status {
	h := header(thread1, dir)
	return f.Unlink(nil, &h, name)
}

func (f *tree) rmdir(dir uint64, name string) fuse.Status {
	h := header(thread1, dir)
	return f.Rmdir(nil, &h, name)
}

// admit is the decision on an OPEN.
func (f *tree) admit(id uint64, tid, flags uint32) fuse.Status {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[id]
	if n == nil {
		f.t.Fatalf("node %d is not known", id)
	}
	return f.admitOpenLocked(n, tid, flags)
}

// wantLeft says how many node ids and inodes there are.
func (f *tree) wantLeft(nodes, inodes int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.nodes) != nodes || f.inodes != inodes {
		f.t.Fatalf("%d nodes and %d inodes, want %d and %d", len(f.nodes), f.inodes, nodes, inodes)
	}
}

func TestLookupsAreCounted(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	f.wantLeft(2, 1)
	a := f.lookup(thread1, dir, "p")
	b := f.lookup(thread2, dir, "p")
	if a.NodeId != b.NodeId || a.Ino != b.Ino {
		t.Fatalf("two lookups of what nobody writes to: nodes %d and %d, inodes %d and %d", a.NodeId, b.NodeId, a.Ino, b.Ino)
	}
	f.Forget(a.NodeId, 1)
	f.wantLeft(3, 1)
	f.Forget(a.NodeId, 1)
	f.wantLeft(2, 1)
	if c := f.lookup(thread1, dir, "p"); c.NodeId == a.NodeId || c.Ino != a.Ino {
		t.Fatalf("looked up again: node %d, inode %d; before they were %d and %d", c.NodeId, c.Ino, a.NodeId, a.Ino)
	} else {
		f.Forget(c.NodeId, 5) // more than there are is no harm
	}
	f.Forget(dir, 1)
	f.wantLeft(1, 1)
	f.Forget(dir, 1)
	f.Forget(12345, 1)
	f.Forget(fuse.FUSE_ROOT_ID, 1000) // the root is never forgotten
	f.pipes()
}

func TestForgetDropsWhatHasNoName(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	n := f.lookup(thread1, dir, "p").NodeId
	f.want("UNLINK", f.unlink(dir, "p"), fuse.OK)
	f.want("LOOKUP of what is gone", f.lookupStatus(dir, "p"), fuse.ENOENT)
	f.wantLeft(3, 1)
	var attr fuse.AttrOut
	f.want("GETATTR of what is gone", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(thread1, n)}, &attr), fuse.OK)
	if attr.Nlink != 0 {
		t.Errorf("nlink %d, want 0", attr.Nlink)
	}
	if got := string(f.procTable(f.kinds[0])()()); !strings.Contains(got, ` pipes/p\040(deleted)`) {
		t.Errorf("proc/pipes does not show what is still known:\n%s", got)
	}
	f.Forget(n, 1)
	f.wantLeft(2, 0)
	f.want("GETATTR of what is forgotten", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(thread1, n)}, &attr), estale)
	if len(f.objects) != 0 {
		t.Errorf("%d pipes are left", len(f.objects))
	}
}

// An OPEN that may block in WRITE gets a node of its own, after one ESTALE if it has to.
func TestAdmitOpen(t *testing.T) {
	const write, read = syscall.O_WRONLY, syscall.O_RDONLY
	for _, c := range []struct {
		name    string
		lookups []uint32 // threads that looked the name up
		opener  uint32
		flags   uint32
		want    fuse.Status
	}{
		{"nobody else knows the node", []uint32{thread1}, thread1, write, fuse.OK},
		{"the same thread knows it twice", []uint32{thread1, thread1}, thread1, write, fuse.OK},
		{"another one knows it too", []uint32{thread1, thread2}, thread1, write, estale},
		{"another one knew it first", []uint32{thread2, thread1}, thread1, write, estale},
		{"both ways is writing too", []uint32{thread1, thread2}, thread1, syscall.O_RDWR, estale},
		{"only another one knows it", []uint32{thread2}, thread1, write, estale},
		{"a reader shares", []uint32{thread1, thread2}, thread1, read, fuse.OK},
		{"a reader by another's lookup", []uint32{thread2}, thread1, read, fuse.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t, 0)
			dir := f.pipes()
			f.touch(dir, "p")
			var first, last fuse.EntryOut
			for i, tid := range c.lookups {
				last = f.lookup(tid, dir, "p")
				if i == 0 {
					first = last
				}
			}
			if first.NodeId != last.NodeId {
				t.Fatalf("nodes %d and %d before any open", first.NodeId, last.NodeId)
			}
			f.want("OPEN", f.admit(last.NodeId, c.opener, c.flags), c.want)
			if c.want == estale {
				again := f.lookup(c.opener, dir, "p")
				other := f.lookup(thread3, dir, "p")
				if again.NodeId == first.NodeId || other.NodeId == again.NodeId || again.Ino != first.Ino {
					t.Fatalf("nodes: %d before, %d to walk again, %d for somebody else", first.NodeId, again.NodeId, other.NodeId)
				}
				if other.NodeId != first.NodeId {
					t.Errorf("somebody else gets node %d, want %d, which nobody has open for writing", other.NodeId, first.NodeId)
				}
				f.want("second OPEN", f.admit(again.NodeId, c.opener, c.flags), fuse.OK)
				// The promise was for one walk.
				if next := f.lookup(c.opener, dir, "p"); next.NodeId != first.NodeId {
					t.Errorf("node %d for a later walk, want %d", next.NodeId, first.NodeId)
				}
			} else if c.flags != read {
				if next := f.lookup(thread2, dir, "p"); next.NodeId == first.NodeId {
					t.Error("a walk got the node that is open for writing")
				}
			}
		})
	}
}

func TestWalksNeverMeetAWriter(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	out, st := f.create(thread1, dir, "p", syscall.O_WRONLY)
	f.want("CREATE", st, fuse.OK)
	ids := map[uint64]bool{out.NodeId: true}
	for tid := uint32(200); tid < 210; tid++ {
		n := f.lookup(tid, dir, "p").NodeId
		if ids[n] {
			t.Fatalf("node %d is open for writing and was looked up", n)
		}
		f.want("OPEN", f.admit(n, tid, syscall.O_WRONLY|syscall.O_APPEND), fuse.OK)
		ids[n] = true
	}
	n := f.lookup(thread1, dir, "p").NodeId
	if ids[n] {
		t.Fatalf("node %d is open for writing and was looked up", n)
	}
	for id := range ids {
		f.Forget(id, 1)
	}
	f.Forget(n, 1)
	f.wantLeft(2, 1)
}

// Through a bind mount of the file, or /proc/PID/fd, the second walk makes no LOOKUP and comes with the same node.
func TestStaleOnlyOnce(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	n := f.lookup(thread2, dir, "p").NodeId
	f.want("OPEN", f.admit(n, thread1, syscall.O_WRONLY), estale)
	f.want("OPEN of another thread", f.admit(n, thread3, syscall.O_WRONLY), estale)
	f.want("second OPEN", f.admit(n, thread1, syscall.O_WRONLY), fuse.OK)
	f.want("OPEN of a node that is open for writing", f.admit(n, thread2, syscall.O_WRONLY), fuse.OK)
	if len(f.retry) != 1 { // thread3 has not come again
		t.Errorf("%d threads are remembered, want 1", len(f.retry))
	}
}

// The second walk may come to another object. It needs a node of its own as much, or a third walk would have to follow.
func TestSecondWalkToAnotherObject(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	f.touch(dir, "q")
	q := f.lookup(thread2, dir, "q").NodeId
	f.want("OPEN", f.admit(f.lookup(thread2, dir, "p").NodeId, thread1, syscall.O_WRONLY), estale)
	f.want("RENAME", f.rename(dir, "q", dir, "p", 0), fuse.OK)
	again := f.lookup(thread1, dir, "p").NodeId
	if again == q {
		t.Fatalf("node %d is shared with who looked it up before", q)
	}
	f.want("OPEN for reading", f.admit(again, thread1, syscall.O_RDONLY), fuse.OK) // it ends nothing
	f.want("second OPEN", f.admit(again, thread1, syscall.O_WRONLY), fuse.OK)
	if len(f.retry) != 0 {
		t.Errorf("%d threads are remembered, want none", len(f.retry))
	}
}

// Threads that never come again do not make the memory of them grow.
func TestRetriesAreForgotten(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	n := f.lookup(thread2, dir, "p").NodeId
	for tid := range uint32(retryMany) {
		f.want("OPEN", f.admit(n, 1000+tid, syscall.O_WRONLY), estale)
	}
	f.now = f.now.Add(retryAge)
	f.want("OPEN", f.admit(n, 1000+retryMany, syscall.O_WRONLY), estale)
	if len(f.retry) != retryMany+1 { // they may still come
		t.Errorf("%d threads are remembered, want %d", len(f.retry), retryMany+1)
	}
	f.now = f.now.Add(1)
	f.want("OPEN", f.admit(n, 1001+retryMany, syscall.O_WRONLY), estale)
	if len(f.retry) != 2 {
		t.Errorf("%d threads are remembered, want 2", len(f.retry))
	}
	f.want("OPEN of one that came late", f.admit(n, 1000, syscall.O_WRONLY), estale)
}

// Callers outside of the daemon's pid namespace all have thread id 0, but are not one thread.
func TestInvisibleThreadsAreNotTheSame(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	f.touch(dir, "p")
	f.want("OPEN of what was looked up once", f.admit(f.lookup(0, dir, "p").NodeId, 0, syscall.O_WRONLY), fuse.OK)
	one, another := f.lookup(0, dir, "p").NodeId, f.lookup(0, dir, "p").NodeId
	if seen := f.lookup(thread1, dir, "p").NodeId; one == another || seen == one || seen == another {
		t.Errorf("nodes %d, %d and %d for two invisible threads and a visible one", one, another, seen)
	}
	f.want("OPEN of one", f.admit(one, 0, syscall.O_WRONLY), fuse.OK)
	f.want("OPEN of another", f.admit(another, 0, syscall.O_WRONLY), fuse.OK)
}

// Only objects have more than one node: the pages of a directory or of proc block nobody.
func TestDirectoriesAndProcKeepTheirNode(t *testing.T) {
	f := newTree(t, 0)
	dir := f.pipes()
	proc := f.lookup(thread1, fuse.FUSE_ROOT_ID, "proc").NodeId
	text := f.lookup(thread1, proc, "pipes").NodeId
	f.want("OPEN", f.admit(text, thread2, syscall.O_RDWR), fuse.OK)
	if again := f.lookup(thread2, proc, "pipes").NodeId; again != text {
		t.Errorf("proc/pipes has nodes %d and %d", text, again)
	}
	if again := f.lookup(thread2, fuse.FUSE_ROOT_ID, "pipes").NodeId; again != dir {
		t.Errorf("pipes has nodes %d and %d", dir, again)
	}
}
