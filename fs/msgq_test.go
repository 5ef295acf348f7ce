package fs

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
	"ipcfs/objects/msgq"
)

// queues is the node of the directory with the message queues.
func (f *tree) queues() uint64 {
	f.t.Helper()
	return f.lookup(thread1, fuse.FUSE_ROOT_ID, "msgq").NodeId
}

// queueOf is the queue of a node.
func (f *tree) queueOf(id uint64) *msgq.Queue {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[id].inode.object.(*msgqObject).queue
}

// Which names there are in a directory with a queue q and a directory d.
func TestViewNames(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	f.touch(dir, "q")
	if _, st := f.mkdir(dir, "d"); st != fuse.OK {
		t.Fatal(st)
	}
	for name, want := range map[string]fuse.Status{
		"q": fuse.OK, "q:7": fuse.OK, "q:-7": fuse.OK, "q:^7": fuse.OK, "q:raw": fuse.OK, "q:7:lines": fuse.OK, "q:peek": fuse.OK,
		"q:": fuse.EINVAL, ":7": fuse.EINVAL, ":": fuse.EINVAL, "q:0": fuse.EINVAL, "q:x": fuse.EINVAL, "q:7:": fuse.EINVAL, "q:7:8": fuse.EINVAL, "q:raw:7": fuse.EINVAL,
		"x:y:7": fuse.EINVAL, "x": fuse.ENOENT, "x:7": fuse.ENOENT, "x:x": fuse.EINVAL, "d:7": fuse.EINVAL, "d": fuse.OK,
		strings.Repeat("n", 255) + ":raw": fuse.ENOENT, strings.Repeat("n", 256): enametoolong, strings.Repeat("n", 256) + ":raw": enametoolong,
		"q:" + strings.Repeat("7", 254): fuse.EINVAL,
	} {
		if st := f.lookupStatus(dir, name); st != want {
			t.Errorf("LOOKUP of %s: %v, want %v", name, st, want)
		}
	}
	if st := f.lookupStatus(f.pipes(), "a:b"); st != fuse.ENOENT {
		t.Errorf("a colon in the name of a pipe: %v", st)
	}
	for _, c := range []struct {
		what      string
		got, want fuse.Status
	}{
		{"UNLINK of a view", f.unlink(dir, "q:7"), fuse.EPERM},
		{"UNLINK of a view of nothing", f.unlink(dir, "x:7"), fuse.ENOENT},
		{"RMDIR of a view", f.rmdir(dir, "q:7"), fuse.Status(syscall.ENOTDIR)},
		{"RENAME of a view", f.rename(dir, "q:7", dir, "r", 0), fuse.EPERM},
		{"RENAME to a view", f.rename(dir, "q", dir, "q:7", 0), fuse.EPERM},
		{"RENAME to a name with a colon", f.rename(dir, "q", dir, "r:7", 0), fuse.EINVAL},
		{"RENAME to a name that is none", f.rename(dir, "q", dir, "r:x", 0), fuse.EINVAL},
		{"RENAME of a directory to a view", f.rename(dir, "d", dir, "q:7", 0), fuse.EPERM},
		{"exchange with a view", f.rename(dir, "q", dir, "q:7", unix.RENAME_EXCHANGE), fuse.EPERM},
		{"MKNOD of a pipe", f.mknod(dir, "fifo", typeFIFO|0o600), fuse.EPERM},
		{"MKNOD of a view that is there", f.mknod(dir, "q:8", typeReg|0o600), eexist},
	} {
		f.want(c.what, c.got, c.want)
	}
	_, st := f.mkdir(dir, "a:7")
	f.want("MKDIR with a colon", st, fuse.EINVAL)
	h, out := header(thread1, dir), fuse.EntryOut{}
	f.want("SYMLINK with a colon", f.Symlink(nil, &h, "q", "a:7", &out), fuse.EINVAL)
	q := f.lookup(thread1, dir, "q").NodeId
	for _, c := range []struct {
		from       uint64
		name, what string
		want       fuse.Status
	}{
		{q, "l:7", "LINK with a colon", fuse.EINVAL}, {q, "q:7", "LINK to a view", eexist},
		{f.lookup(thread1, dir, "q:7").NodeId, "l", "LINK of a view", fuse.EPERM}, {q, "l", "LINK", fuse.OK},
	} {
		_, st := f.link(c.from, dir, c.name)
		f.want(c.what, st, c.want)
	}
}

// Creating a view creates the queue, which has its mode and owner.
func TestCreateThroughView(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	out, st := f.create(thread1, dir, "q:7", syscall.O_WRONLY)
	f.want("CREATE", st, fuse.OK)
	q, view := f.lookup(thread1, dir, "q"), f.lookup(thread1, dir, "q:7")
	if q.Mode != syscall.S_IFREG|0o640 || view.Mode != q.Mode || view.Uid != 1000 || view.Nlink != 1 || view.Size != streamSize {
		t.Errorf("the queue is %+v, the view %+v", q.Attr, view.Attr)
	}
	if view.Ino == q.Ino || view.Ino != out.Ino || view.Ino == f.lookup(thread1, dir, "q:8").Ino {
		t.Errorf("number %d of the queue, %d of the view, %d of its CREATE", q.Ino, view.Ino, out.Ino)
	}
	if view.NodeId == q.NodeId || view.NodeId == out.NodeId || q.EntryValid != 0 || view.EntryValid != 0 {
		t.Errorf("nodes %d, %d, %d; the entries are valid for %d and %d s", q.NodeId, view.NodeId, out.NodeId, q.EntryValid, view.EntryValid)
	}
	_, st = f.create(thread1, dir, "q:8", syscall.O_WRONLY)
	f.want("CREATE of another view", st, eexist)
	attr, st := f.setattr(view.NodeId, fuse.FATTR_MODE, func(in *fuse.SetAttrIn) { in.Mode = 0o600 })
	f.want("SETATTR of the view", st, fuse.OK)
	if attr.Mode != syscall.S_IFREG|0o600 || attr.Ino != view.Ino || f.lookup(thread1, dir, "q").Mode != attr.Mode {
		t.Errorf("chmod of the view: %+v", attr)
	}
	f.want("MKNOD of a view", f.mknod(dir, "r:raw", typeReg|0o600), fuse.OK)
	f.want("LOOKUP", f.lookupStatus(dir, "r"), fuse.OK)
}

// Each view has a node for LOOKUPs of its own, until that is opened for writing.
func TestNodesOfViews(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	f.touch(dir, "q")
	q, seven := f.lookup(thread1, dir, "q").NodeId, f.lookup(thread1, dir, "q:7").NodeId
	if f.lookup(thread1, dir, "q").NodeId != q || f.lookup(thread1, dir, "q:7").NodeId != seven || q == seven {
		t.Error("a LOOKUP of the same view gives another node")
	}
	f.want("OPEN", f.admit(seven, thread1, syscall.O_WRONLY), fuse.OK)
	if f.lookup(thread1, dir, "q").NodeId != q {
		t.Error("the open view took the node of the queue")
	}
	again := f.lookup(thread1, dir, "q:7").NodeId
	if again == seven {
		t.Error("a LOOKUP gives the node that is open for writing")
	}
	f.Forget(q, 3)
	f.Forget(seven, 2)
	f.Forget(again, 1)
	f.wantLeft(2, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.objects {
		if i.current != nil || len(i.views) > 0 {
			t.Errorf("nodes that are forgotten are left: %v, %v", i.current, i.views)
		}
	}
}

// The queue ends with its last name, also when another file takes it.
func TestQueueEndsWithItsName(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	out, st := f.create(thread1, dir, "q", syscall.O_RDWR)
	f.want("CREATE", st, fuse.OK)
	queue := f.queueOf(out.NodeId)
	open := func(want error) {
		t.Helper()
		if _, err := queue.Open(msgq.View{}, syscall.O_RDONLY); err != want {
			t.Errorf("open: %v, want %v", err, want)
		}
	}
	if _, st := f.link(out.NodeId, dir, "other"); st != fuse.OK {
		t.Fatal(st)
	}
	f.want("UNLINK", f.unlink(dir, "q"), fuse.OK)
	open(nil)
	f.want("RENAME", f.rename(dir, "other", dir, "q", 0), fuse.OK)
	open(nil)
	f.touch(dir, "new")
	f.want("RENAME over it", f.rename(dir, "new", dir, "q", 0), fuse.OK)
	open(syscall.EIDRM)

	out, st = f.create(thread1, dir, "p", syscall.O_RDWR)
	f.want("CREATE", st, fuse.OK)
	queue = f.queueOf(out.NodeId)
	f.want("exchange", f.rename(dir, "p", dir, "q", unix.RENAME_EXCHANGE), fuse.OK)
	open(nil)
	f.want("UNLINK", f.unlink(dir, "q"), fuse.OK)
	open(syscall.EIDRM)

	var tmp fuse.CreateOut
	f.want("TMPFILE", f.Tmpfile(nil, &fuse.CreateIn{InHeader: header(thread1, dir), Flags: syscall.O_RDWR}, &tmp), fuse.OK)
	queue = f.queueOf(tmp.NodeId)
	open(nil)
	f.Release(nil, &fuse.ReleaseIn{Fh: tmp.Fh})
	f.Forget(tmp.NodeId, 1)
	open(syscall.EIDRM)
}

// No more than msgmni queues, and what is refused leaves nothing.
func TestQueuesAreLimited(t *testing.T) {
	f := newTree(t, 50000)
	dir := f.queues()
	for i := range f.ns.Limits().MsgMni {
		f.want("MKNOD", f.mknod(dir, fmt.Sprint("q", i), typeReg|0o600), fuse.OK)
	}
	_, st := f.create(thread1, dir, "more", syscall.O_RDWR)
	f.want("CREATE", st, enospc)
	f.want("LOOKUP", f.lookupStatus(dir, "more"), fuse.ENOENT)
	f.want("UNLINK", f.unlink(dir, "q0"), fuse.OK)
	_, st = f.create(thread1, dir, "more", syscall.O_RDWR)
	f.want("CREATE after one was removed", st, fuse.OK)
}

// What peek shows.
func TestPeekText(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	out, _ := f.create(thread1, dir, "q", syscall.O_RDWR)
	q := f.queueOf(out.NodeId)
	raw, err := q.Open(msgq.View{Mode: msgq.ModeRaw}, syscall.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	var done ipc.Completions
	for _, text := range []string{"plain", "", "a b=c", "tab\tline\nreturn\rzero\x00back\\", "é ✓ \u200b\xff\xc3"} {
		raw.Send(&msgq.SendOp{Data: append([]byte{7, 0, 0, 0, 0, 0, 0, 0}, text...), PID: 5, Done: nothing{}}, &done)
	}
	done.Deliver()
	raw.Release(&done)
	want := `type=7 size=5 pid=5 text=plain
type=7 size=0 pid=5 text=
type=7 size=5 pid=5 text=a b=c
type=7 size=26 pid=5 text=tab\tline\nreturn\rzero\x00back\\
type=7 size=12 pid=5 text=é ✓ \xe2\x80\x8b\xff\xc3
`
	for view, want := range map[string]string{"q:peek": want, "q:7:peek": want, "q:-8:peek": want, "q:8:peek": "", "q:^7:peek": ""} {
		v := f.lookup(thread1, dir, view)
		f.mu.Lock()
		n := f.nodes[v.NodeId]
		o, err := n.inode.object.create(ipc.Caller{}, syscall.O_RDONLY, n.view)
		texts := f.texts
		f.mu.Unlock()
		if err != nil || o.flags != streamFlags {
			t.Fatalf("%s: %+v, %v", view, o, err)
		}
		if got := string(o.file.(*peekFile).text); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", view, got, want)
		}
		if texts != len(want) {
			t.Errorf("%d bytes are counted, want %d", texts, len(want))
		}
		o.file.release(0)
	}
	if f.texts != 0 || q.Stat().QNum != 5 {
		t.Errorf("%d bytes are counted, %d messages left", f.texts, q.Stat().QNum)
	}
}
