package fs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/lock"
	"ipcfs/objects/shm"
)

// Passthrough says whether the kernel shall read, write and map segments itself, without asking us (FOPEN_PASSTHROUGH).
type Passthrough int

// Ways to decide it.
const (
	PassthroughAuto Passthrough = iota // if it can be done
	PassthroughOn                      // FS.PassthroughError is then why the mount is of no use
	PassthroughOff
)

// shmKind is the kind under shm/. A segment is served in one of two ways, the same for all of a mount and decided before the first request:
//
//   - Passthrough: OPEN tells the kernel the segment's file, and read, write and mmap go to that. The store is a private one, so the limits hold there too.
//   - The page cache: the kernel keeps the pages, and asks for what it does not have and sends what was changed (FOPEN_KEEP_CACHE). All that use the segment
//     use the one inode and so the same pages; the file behind it is the backing store, of a counted store.
type shmKind struct {
	noViews
	fs          *FS
	decided     chan struct{} // closed when passthrough and store are set, by connected
	passthrough error         // why not; nil if it is used
	store       *shm.Store
	locks       *lock.Table
	buf         []byte // for the answers to READ; the thread that handles the requests owns it
}

func newShmKind(f *FS) *shmKind {
	store, _ := shm.NewStore(f.ns, false) // which cannot fail
	return &shmKind{
		fs: f, decided: make(chan struct{}), passthrough: errors.New("there is no connection"),
		store: store, locks: lock.NewTable(maxLocks), buf: make([]byte, conn.MaxWrite),
	}
}

// maxLocks bounds the advisory locks on all segments, and the calls that wait for one.
const maxLocks = 1 << 16

// PassthroughError is why the kernel does not serve shared memory itself; nil if it does. It waits for Connected, which a mount that has answered has behind it.
func (f *FS) PassthroughError() error {
	<-f.shm.decided
	return f.shm.passthrough
}

func (k *shmKind) connected(c *conn.Conn) {
	defer close(k.decided)
	switch {
	case k.fs.opts.Passthrough == PassthroughOff:
		k.passthrough = errors.New("it is turned off")
	case k.fs.ns.Limits().ShmMax < ipc.SHMMAX:
		k.passthrough = errors.New("a write would not be held to shmmax")
	default:
		k.passthrough = k.tryPassthrough(c)
	}
}

// tryPassthrough makes a private store if the kernel takes its files.
func (k *shmKind) tryPassthrough(c *conn.Conn) error {
	store, err := shm.NewStore(k.fs.ns, true)
	if err != nil {
		return err
	}
	g, err := store.New(ipc.Caller{})
	if err == nil {
		err = c.TryPassthrough(g.File())
		g.Destroy()
	}
	if err != nil {
		_ = store.Close() // the error that counts is the first one
		return err
	}
	k.store = store
	return nil
}

func (*shmKind) name() string             { return "shm" }
func (*shmKind) special(mode uint32) bool { return mode == typeFIFO || mode == typeSock }
func (k *shmKind) memory() memory {
	s := k.store.Stat()
	return memory{limit: s.Limit, free: s.Free}
}

// xattrs says how segments are served.
func (k *shmKind) xattrs() []xattr {
	return []xattr{{name: ownPrefix + "passthrough", hidden: true, get: func() string {
		if k.passthrough == nil {
			return "on"
		}
		return "off"
	}}}
}

func (*shmKind) columns() []column { return shmColumns }

// hidesXAttrs says that they are hidden: a program that copies a file with its attributes does not mean these.
func (*shmKind) hidesXAttrs() bool { return true }

func (k *shmKind) newObject(creator ipc.Caller) (object, error) {
	g, err := k.store.New(creator)
	if err != nil {
		return nil, err
	}
	return &shmObject{kind: k, segment: g, locks: k.locks.NewFile()}, nil
}

// shmObject is a file under shm/.
type shmObject struct {
	outlivesName
	kind    *shmKind
	segment *shm.Segment
	locks   *lock.File

	mu      sync.Mutex // guards backing; taken under FS.mu
	backing int32      // what the kernel calls the segment's file; 0 until it is first opened
}

func (*shmObject) stream() bool { return false }

func (o *shmObject) open(op operation, in *fuse.OpenIn) {
	opened, err := o.create(processOf(&in.InHeader), in.Flags, op.view)
	op.answerOpen(opened, err)
}

func (o *shmObject) create(caller ipc.Caller, _ uint32, _ view) (opened, error) {
	x := opened{flags: fuse.FOPEN_KEEP_CACHE}
	if o.kind.passthrough == nil {
		id, err := o.openBacking()
		if err != nil {
			return opened{}, err
		}
		x = opened{flags: fuse.FOPEN_PASSTHROUGH, backing: id}
	}
	o.segment.Attach(caller)
	x.file = &shmFile{object: o, caller: caller}
	return x, nil
}

// processOf is who made a request, with the number of the process where FUSE tells that of the thread (0 stays 0).
func processOf(h *fuse.InHeader) ipc.Caller {
	c := callerOf(h)
	c.PID = h.Pid
	if tid := int(c.PID); tid == 0 || unix.Tgkill(tid, tid, 0) != unix.ESRCH {
		return c // it is the first thread, as nearly always
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID))
	if err != nil {
		return c // it is gone, or there is no /proc
	}
	for line := range strings.Lines(string(text)) {
		var pid uint32
		if _, err := fmt.Sscanf(line, "Tgid: %d", &pid); err == nil {
			c.PID = pid
		}
	}
	return c
}

// openBacking makes the segment's file known to the kernel, once: all that have a segment open must have it with the same id.
func (o *shmObject) openBacking() (int32, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.backing == 0 {
		id, err := o.kind.fs.conn.OpenBacking(o.segment.File())
		if err != nil {
			return 0, err
		}
		o.backing = id
	}
	return o.backing, nil
}

// drop ends the segment: it has no name, is not open, and is not mapped either, since a mapping keeps the kernel's inode, and so the node.
func (o *shmObject) drop() {
	c := o.kind.fs.conn
	if o.backing != 0 && c != nil {
		_ = c.CloseBacking(o.backing) // after the end of the connection there is no such id any more
	}
	if c != nil && o.held() > longBytes {
		c.Background(o.segment.Destroy)
		return
	}
	o.segment.Destroy()
}

// held is how many bytes of memory the segment has.
func (o *shmObject) held() int64 {
	s, err := o.segment.Stat()
	if err != nil {
		return 0
	}
	return s.Blocks * 512
}

func (o *shmObject) setSize(_ ipc.Caller, size uint64) error { return o.segment.SetSize(size) }

func (o *shmObject) attr(a *fuse.Attr) {
	s, err := o.segment.Stat()
	if err != nil {
		o.kind.fs.opts.Logger.Printf("BUG: fstat of a segment: %v", err)
		return
	}
	a.Size, a.Blocks = uint64(s.Segsz), uint64(s.Blocks)
	a.SetTimes(&s.Atime, &s.Mtime, &s.Ctime)
}

func (o *shmObject) setTimes(atime, mtime, ctime time.Time) {
	if !atime.IsZero() || !mtime.IsZero() {
		if err := o.segment.SetTimes(atime, mtime); err != nil {
			o.kind.fs.opts.Logger.Printf("BUG: times of a segment: %v", err)
		}
	}
	if !ctime.IsZero() {
		o.segment.Changed(ctime)
	}
}

func (o *shmObject) ownXAttrs() xattrStore { return o.segment }

// shmColumns are the fields of struct shmid_kernel, and the bytes that have memory. Times are in seconds since 1970, 0 is never.
var shmColumns = []column{
	{name: "shm_segsz", width: 12}, {name: "shm_nattch"}, {name: "shm_cprid"}, {name: "shm_lprid"},
	{name: "shm_atime", width: 10}, {name: "shm_dtime", width: 10}, {name: "shm_ctime", width: 10}, {name: "rss", width: 12, holds: true},
}

// values are the numbers of shmColumns.
func (o *shmObject) values() []int64 {
	s, err := o.segment.Stat()
	if err != nil {
		return nil
	}
	return []int64{s.Segsz, int64(s.Nattch), int64(s.CPrid), int64(s.LPrid), seconds(s.Atim), seconds(s.Dtim), seconds(s.Ctim), s.Blocks * 512}
}

func (*shmObject) xattrs() []xattr { return nil }
