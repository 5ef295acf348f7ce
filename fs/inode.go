package fs

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
)

// File types of an inode.
const (
	typeDir  = syscall.S_IFDIR
	typeReg  = syscall.S_IFREG
	typeFIFO = syscall.S_IFIFO
	typeLink = syscall.S_IFLNK
	typeSock = syscall.S_IFSOCK
)

// errStale makes the kernel walk the path once more (fs/namei.c:do_filp_open).
const errStale = syscall.ESTALE

// inode is a file of the tree. FS.mu guards it, but for what the object guards itself.
type inode struct {
	ino   uint64
	mode  uint32 // the type
	perm  ipc.Perm
	fixed bool // made at the start; it cannot be removed or renamed, and nothing can be created in the root or proc
	kind  kind // of the objects in a directory, or of the object; nil for the root and proc

	names []name // where it is; a directory has one, the root and what was removed none
	last  string // the last path it had, for those who look at an object that is still open

	entries map[string]*inode // of a directory
	subdirs uint32            // of those, the directories
	listing []dirEntry        // what listLocked made of them, until they change; its elements are never changed
	object  object            // of a file of a kind
	target  string            // of a symbolic link
	proc    procNode          // of a file of proc

	// find makes what has a name in a directory that entries does not have: an inode without a name, which lives as long as somebody knows it.
	find func(dir *inode, name string) (*inode, error)

	cuid, cgid uint32   // who made it; perm.UID and GID may be changed
	traffic    traffic  // of an object
	metrics    *metrics // of its kind; nil if it has none

	// times of what has no object
	atime, mtime, ctime time.Time

	nodes   int                // node ids that the kernel holds
	current *node              // the one that a LOOKUP may return, if there is one
	views   map[view]*node     // likewise for each view
	viewed  map[*node]struct{} // all of those ids that are of views
}

// name is an entry of a directory.
type name struct {
	dir  *inode
	name string
}

// node is a node id: a struct inode of the kernel.
//
// Whoever is blocked in WRITE holds the lock of the kernel's inode, and chmod, truncate, rename and unlink of the same inode would sleep behind
// it, unable to be killed. So no two path walks may share an inode in which somebody can block in WRITE. A stream (object.stream)
// has as many node ids as that takes, anything else has one:
//
//   - A LOOKUP returns the current node as long as that was never opened for writing, then a fresh one.
//   - An OPEN for writing of a node that another thread has looked up too, and might be about to lock, is refused once with ESTALE. The kernel walks
//     the path again, and whatever that walk looks up is a node that no other LOOKUP returns (FS.retry), also when the name means another object by now.
//
// Where the second walk makes no LOOKUP (the path ends in a bind-mounted file or in /proc/PID/fd) the same node comes again, and is
// let through: nobody reaches it by a walk of names alone. Threads that cannot be seen from the daemon's pid namespace are all number 0; they get
// a fresh node at every LOOKUP.
//
// What goes to the file of somebody else's descriptor and not by names (linkat, chmod, O_TRUNC of /proc/PID/fd/N) locks that inode before it asks us; that cannot be
// prevented here.
type node struct {
	id      uint64
	inode   *inode
	view    view
	nlookup uint64
	found   []foundName // of a view: where it was looked up
	tid     uint32      // the thread that looked it up first
	shared  bool        // another one did too
	hot     bool        // it was opened for writing
}

// foundName is a name that the kernel knows a node by.
type foundName struct {
	dir  uint64 // the node of the directory
	name string
}

// maxFound is how many names of a node of a view are known; more would have to be spelled or linked otherwise.
const maxFound = 4

// A second walk follows at once unless its thread was killed in between. What is older than retryAge is forgotten when there are retryMany. (At once is some ten seconds
// where thousands of threads open one name: each of their LOOKUPs makes the kernel drop what the others found.)
const (
	retryMany = 1 << 14
	retryAge  = time.Minute
)

func (i *inode) isDir() bool { return i.mode == typeDir }

// isStream says whether i is an object that has more than one node (see node).
func (i *inode) isStream() bool { return i.object != nil && i.object.stream() }

// unlisted says whether i is something that find made.
func (i *inode) unlisted() bool { return i.kind == nil && !i.fixed }

// newInodeLocked makes an inode without a name.
func (f *FS) newInodeLocked(k kind, mode uint32, perm ipc.Perm) *inode {
	f.lastIno++
	f.inodes++
	now := f.now()
	i := &inode{ino: f.lastIno, kind: k, mode: mode, perm: perm, cuid: perm.UID, cgid: perm.GID, atime: now, mtime: now, ctime: now}
	if k != nil {
		i.metrics = f.metrics[k.name()]
	}
	if mode == typeDir {
		i.entries = make(map[string]*inode)
	}
	return i
}

// newNodeLocked makes a node id, which counts for nothing until a LOOKUP counts it.
func (f *FS) newNodeLocked(i *inode, v view, tid uint32) *node {
	f.lastID++
	n := &node{id: f.lastID, inode: i, view: v, tid: tid}
	f.nodes[n.id] = n
	i.nodes++
	if v != nil {
		if i.viewed == nil {
			i.viewed = make(map[*node]struct{})
		}
		i.viewed[n] = struct{}{}
	}
	return n
}

// foundLocked notes where a node of a view was found.
func (n *node) foundLocked(dir uint64, name string) {
	if at := (foundName{dir, name}); n.view != nil && len(n.found) < maxFound && !slices.Contains(n.found, at) {
		n.found = append(n.found, at)
	}
}

// forgetViewsLocked makes the kernel forget the names of views of an object that is removed. It drops those of an object itself when it has removed them, but of these it
// does not know, and would keep them, and with them the object, for as long as it has memory.
func (f *FS) forgetViewsLocked(i *inode) {
	if f.conn == nil {
		return
	}
	for n := range i.viewed {
		for _, at := range n.found {
			f.conn.NotifyInvalEntry(at.dir, at.name)
		}
	}
}

// currentLocked is the node that a LOOKUP of the view may return; nil if there is none.
func (i *inode) currentLocked(v view) *node {
	if v == nil {
		return i.current
	}
	return i.views[v]
}

// setCurrentLocked makes n the node that a LOOKUP of its view may return.
func (i *inode) setCurrentLocked(n *node) {
	switch {
	case n.view == nil:
		i.current = n
	case i.views == nil:
		i.views = map[view]*node{n.view: n}
	default:
		i.views[n.view] = n
	}
}

// retireLocked sees to it that no LOOKUP returns n any more.
func (i *inode) retireLocked(n *node) {
	switch {
	case i.currentLocked(n.view) != n:
	case n.view == nil:
		i.current = nil
	default:
		delete(i.views, n.view)
	}
}

// lookupNodeLocked returns the node id for a path walk of tid that has come to the view v of i, and counts it.
func (f *FS) lookupNodeLocked(i *inode, v view, tid uint32) *node {
	n := i.currentLocked(v)
	_, again := f.retry[tid]
	switch {
	case i.isStream() && (again || tid == 0):
		n = f.newNodeLocked(i, v, tid)
	case n == nil:
		n = f.newNodeLocked(i, v, tid)
		i.setCurrentLocked(n)
	case n.tid != tid:
		n.shared = true
	}
	n.nlookup++
	return n
}

// admitOpenLocked decides on an OPEN of n by tid: fuse.OK or, once, ESTALE.
func (f *FS) admitOpenLocked(n *node, tid, flags uint32) fuse.Status {
	i := n.inode
	if !i.isStream() || flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		return fuse.OK
	}
	_, again := f.retry[tid]
	delete(f.retry, tid)
	if n.hot {
		return fuse.OK
	}
	if (n.shared || n.tid != tid) && !again && tid != 0 {
		f.beginRetryLocked(tid)
		return fuse.Status(errStale)
	}
	n.hot = true
	i.retireLocked(n)
	return fuse.OK
}

func (f *FS) beginRetryLocked(tid uint32) {
	now := f.now()
	if len(f.retry) >= retryMany {
		maps.DeleteFunc(f.retry, func(_ uint32, since time.Time) bool { return now.Sub(since) > retryAge })
	}
	f.retry[tid] = now
}

// Forget takes back nlookup lookups of a node id.
func (f *FS) Forget(nodeid, nlookup uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[nodeid]
	if n == nil || n.inode == f.root {
		return
	}
	if n.nlookup -= min(nlookup, n.nlookup); n.nlookup > 0 {
		return
	}
	i := n.inode
	delete(f.nodes, nodeid)
	delete(i.viewed, n)
	i.retireLocked(n)
	i.nodes--
	f.dropLocked(i)
}

// maxLinks is how many names a file may have, as on ext4.
const maxLinks = 65000

// maxTargets bounds the bytes of all symbolic links together.
const maxTargets = 64 << 20

// dropLocked forgets an inode that has neither a name nor a node id. Whoever has it open holds a node id.
func (f *FS) dropLocked(i *inode) {
	if len(i.names) == 0 && i.nodes == 0 && i != f.root {
		if i.object != nil {
			delete(f.objects, i)
			i.object.drop()
		}
		f.targets -= len(i.target)
		f.inodes--
	}
}

// linkLocked gives i a name. Each name but the first counts as an inode.
func (f *FS) linkLocked(dir *inode, n string, i *inode) {
	dir.entries[n] = i
	dir.listing = nil
	i.names = append(i.names, name{dir, n})
	if len(i.names) > 1 {
		f.inodes++
	}
	if i.isDir() {
		dir.subdirs++
		i.listing = nil // its ".."
	}
	dir.touchLocked(f.now())
}

// unlinkLocked takes a name away.
func (f *FS) unlinkLocked(dir *inode, n string) {
	i := dir.entries[n]
	delete(dir.entries, n)
	dir.listing = nil
	last := len(i.names) - 1
	i.names[slices.Index(i.names, name{dir, n})] = i.names[last]
	i.names = i.names[:last]
	if last > 0 {
		f.inodes--
	}
	i.last = dir.pathLocked() + "/" + n
	if i.isDir() {
		dir.subdirs--
	}
	dir.touchLocked(f.now())
}

// removeLocked takes a name away for good. done is to be delivered when FS.mu is free.
func (f *FS) removeLocked(dir *inode, n string, done *ipc.Completions) {
	i := dir.entries[n]
	f.unlinkLocked(dir, n)
	i.changeLocked(f.now())
	if i.object != nil && len(i.names) == 0 {
		i.object.unlinked(done)
		f.forgetViewsLocked(i)
	}
	f.dropLocked(i)
}

// nlinkLocked is st_nlink. A directory counts its own "." and the ".." of each in it, until it is removed.
func (f *FS) nlinkLocked(i *inode) uint32 {
	if i.isDir() && (len(i.names) > 0 || i == f.root) {
		return 2 + i.subdirs
	}
	return uint32(len(i.names))
}

// parentLocked is where ".." leads.
func (i *inode) parentLocked() *inode {
	if len(i.names) == 0 {
		return i
	}
	return i.names[0].dir
}

// touchLocked notes that the content of a directory changed.
func (i *inode) touchLocked(now time.Time) { i.mtime, i.ctime = now, now }

// changeLocked notes that what is known of i changed: its owner, mode or name.
func (i *inode) changeLocked(now time.Time) {
	if i.object != nil {
		i.object.setTimes(time.Time{}, time.Time{}, now)
	}
	i.ctime = now
}

// pathLocked is where i is in the tree, one of its paths if it has several, with " (deleted)" behind its last one when it has none. Of a path longer than
// PATH_MAX only the end is told, behind "...".
func (i *inode) pathLocked() string {
	switch {
	case len(i.names) > 0:
		parts, length := []string{}, 0
		for ; len(i.names) > 0; i = i.names[0].dir {
			parts = append(parts, i.names[0].name)
			if length += len(i.names[0].name) + 1; length > unix.PathMax {
				parts = append(parts, "...")
				break
			}
		}
		slices.Reverse(parts)
		return strings.Join(parts, "/")
	case i.last != "":
		return i.last + " (deleted)"
	}
	return ""
}
