// Package fs is the FUSE face of the objects: names, inodes, open files, attributes, and for each kind of object one file that turns
// file operations into operations of the object. It holds no semantics of any kind; those are in objects.
//
// What can wait comes as a conn.Call (FS is a conn.Handler), everything else through go-fuse (FS is a fuse.RawFileSystem).
//
// Lock order:
//
//	FS.mu            the tree and the inode table
//	  handles.mu     the open files
//	  locks of objects
//	metrics.mu, traces.mu, traces.asking, traceFile.mu: leaves
//
// No lock is held while a call is answered.
//
// What is told of the objects (proc, extended attributes) is made of two things only: the numbers that an object gives of itself (object.values, columns.go) and the
// requests to it (operation.go).
package fs

import (
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// Options of a file system.
type Options struct {
	AllowOther bool    // the directories of the kinds are for all users, sticky, instead of for the owner only
	UID, GID   *uint32 // if set, the owner that every node shows (mount options uid= and gid=)
	Umask      *uint32 // if set, every node shows mode 0777 less it (mount option umask=)
	OwnerUID   uint32  // who owns the directories made at the start
	OwnerGID   uint32
	MaxInodes  int // files and directories that users may have; more give ENOSPC

	Passthrough Passthrough
	Logger      *log.Logger
}

// FS is one mounted tree over one namespace. All methods may be called at once; none blocks.
type FS struct {
	opts    Options
	ns      *ipc.Namespace
	handles handles
	kinds   []kind // in the order in which they are told of; set by New, like the next four
	shm     *shmKind
	msgq    *msgqKind
	metrics map[string]*metrics // by kind
	traces  traces
	writers *writers
	conn    *conn.Conn             // set by Connected; nil in tests without one
	dev     atomic.Pointer[string] // the device of the mount, as /proc/PID/maps names it; nil if it is not known
	texting places                 // for the long texts that are made
	lookers lookers                // for the looks at threads beside the requests

	mu      sync.Mutex // guards all below, the inodes and the nodes
	root    *inode
	nodes   map[uint64]*node
	retry   map[uint32]time.Time // threads whose OPEN was answered ESTALE and has not come again, since when; see node
	lastID  uint64               // node ids are never used again
	lastIno uint64               // nor inode numbers
	objects map[*inode]struct{}  // every inode that is an object
	inodes  int                  // inodes that users have, and the names beyond the first of each
	targets int                  // bytes of the symbolic links
	texts   int                  // bytes of the open files of proc
}

var (
	_ conn.Handler = (*FS)(nil)
)

// New makes the tree: a directory for each kind, and proc.
func New(ns *ipc.Namespace, opts Options) *FS {
	f := &FS{opts: opts, ns: ns, nodes: make(map[uint64]*node), retry: make(map[uint32]time.Time), objects: make(map[*inode]struct{})}
	f.texting, f.lookers = make(places, maxTexting), newLookers()
	f.shm, f.msgq = newShmKind(f), newMsgqKind(f)
	f.kinds = []kind{pipes{fs: f}, f.shm, f.msgq}
	f.metrics = make(map[string]*metrics)
	for _, k := range f.kinds {
		f.metrics[k.name()] = newMetrics()
	}
	f.traces.commands.name = "comm"
	f.writers = newWriters()
	owner := ipc.Perm{UID: opts.OwnerUID, GID: opts.OwnerGID}
	f.root = f.newInodeLocked(nil, typeDir, withMode(owner, 0o555))
	f.root.fixed = true
	f.root.current = f.newNodeLocked(f.root, nil, 0)
	f.root.current.nlookup = 1 // the kernel never forgets the root

	mode := uint32(0o700)
	if opts.AllowOther {
		mode = 0o1777
	}
	for _, k := range f.kinds {
		d := f.newInodeLocked(k, typeDir, withMode(owner, mode))
		d.fixed = true
		f.linkLocked(f.root, k.name(), d)
	}
	f.makeProcLocked(owner)
	f.inodes = 0 // what the tree begins with does not count
	return f
}

func withMode(p ipc.Perm, mode uint32) ipc.Perm {
	p.Mode = mode
	return p
}

// Connected is told of the connection over which the requests come, before the first of them.
func (f *FS) Connected(c *conn.Conn) {
	f.conn = c
	f.shm.connected(c)
}

// Mounted is told the number of the device that the mount is (st_dev), without which nobody can be found who maps a segment.
func (f *FS) Mounted(dev uint64) {
	name := deviceName(dev)
	f.dev.Store(&name)
}

// Close releases every open file and ends every object, as the end of the mount does. The connection must not be served any more. The error is that of
// giving memory back.
func (f *FS) Close() error {
	f.conn = nil // so that all is done when we return
	f.writers.calls.close()
	f.traces.close()
	for fh, h := range f.handles.removeAll() {
		h.release(fh)
	}
	for i := range f.objects {
		i.object.drop()
	}
	clear(f.objects)
	return f.shm.store.Close()
}

// String is the name of the file system.
func (f *FS) String() string { return "ipcfs" }

// now is the time of changes that the tree itself makes.
func (f *FS) now() time.Time { return f.ns.Now() }

// callerOf is who made a request, but for the process (see processOf).
func callerOf(h *fuse.InHeader) ipc.Caller {
	return ipc.Caller{UID: h.Uid, GID: h.Gid}
}

// Open answers OPEN. An object may answer later, when its partner comes.
func (f *FS) Open(c conn.Call, in *fuse.OpenIn) {
	f.mu.Lock()
	n := f.nodes[in.NodeId]
	if n == nil {
		f.mu.Unlock()
		f.opts.Logger.Printf("BUG: OPEN of node %d, which is not known", in.NodeId)
		c.ReplyStatus(fuse.Status(errStale))
		return
	}
	st := f.admitOpenLocked(n, in.Pid, in.Flags)
	i, v := n.inode, n.view
	f.mu.Unlock()
	op := f.begin(c, i, v, 0)
	op.flags = in.Flags
	switch {
	case !st.Ok():
		c.ReplyStatus(st) // and it comes again
	case i.proc != nil:
		i.proc.open(op, in)
	case i.object != nil:
		i.object.open(op, in)
	default:
		c.ReplyStatus(fuse.EINVAL)
	}
}

// Read answers READ.
func (f *FS) Read(c conn.Call, in *fuse.ReadIn) {
	if h := f.handles.get(in.Fh); h != nil {
		h.read(f.begin(c, h.inode, h.view, in.Fh), in)
		return
	}
	c.ReplyStatus(fuse.EBADF)
}

// Write answers WRITE.
func (f *FS) Write(c conn.Call, in *fuse.WriteIn, data []byte) {
	if h := f.handles.get(in.Fh); h != nil {
		h.write(f.begin(c, h.inode, h.view, in.Fh), in, data)
		return
	}
	c.ReplyStatus(fuse.EBADF)
}

// Poll answers POLL.
func (f *FS) Poll(c conn.Call, in *conn.PollIn) {
	if h := f.handles.get(in.Fh); h != nil {
		h.poll(c, in)
		return
	}
	c.ReplyStatus(fuse.EBADF)
}

// Release forgets an open file.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h := f.handles.remove(in.Fh)
	if h == nil {
		return
	}
	op := f.begin(conn.Call{Header: in.InHeader}, h.inode, h.view, in.Fh)
	op.call.Header.Pid = h.pid // it may come in nobody's name
	h.release(in.Fh)
	op.end(noBytes, nil)
}
