package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
)

// operation is a request to an object, or to a directory of objects, from its coming to its answer. All that is told of requests is told from it: who waits
// (proc/files), how many there were and how long they took (proc/metrics), and each of them (proc/trace).
type operation struct {
	fs    *FS
	call  conn.Call
	inode *inode
	view  view
	fh    uint64    // the open file; 0 for OPEN, and for what does without one
	flags uint32    // of an OPEN
	begun time.Time // when it came

	// Of what is done to a name: the entry of the directory inode, what that led to, nil if nothing, and, of RENAME, the entry that it becomes.
	name   string
	target *inode
	to     *inode
	toName string
}

// noBytes is the size of an operation that moves none.
const noBytes = -1

// begin begins an operation on an inode that the caller of c has open, or opens.
func (f *FS) begin(c conn.Call, i *inode, v view, fh uint64) operation {
	return operation{fs: f, call: c, inode: i, view: v, fh: fh, begun: f.now()}
}

// what is for those who look at operations that wait (conn.Conn.Waiting).
func (o *operation) what() operation { return *o }

// end notes that the operation is over: n bytes were read or written, noBytes if it is neither, or it failed with err. It is to be called before the caller is
// answered, so that he who looks afterwards finds it counted, and without any lock.
func (o *operation) end(n int, err error) {
	if o.inode == nil || o.inode.metrics == nil {
		return
	}
	took := o.fs.now().Sub(o.begun)
	o.inode.metrics.count(o.call.Header.Opcode, n, took, err)
	if err == nil && o.inode.object != nil {
		o.inode.traffic.count(o.call.Header.Opcode, n)
	}
	o.fs.traces.add(o, n, took, err)
}

// fail answers with an error; with nil, that all is well.
func (o *operation) fail(err error) {
	o.end(noBytes, err)
	o.call.ReplyStatus(o.fs.status(err))
}

// replyData answers READ.
func (o *operation) replyData(parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	o.end(n, nil)
	o.call.ReplyData(parts...)
}

// replyWrite answers WRITE.
func (o *operation) replyWrite(n int) {
	o.end(n, nil)
	o.call.ReplyWrite(n)
}

// replyOpen answers OPEN with a file that was opened, and enters it in the table. If the caller does not get it any more, it is released.
func (o *operation) replyOpen(x opened) {
	o.end(noBytes, nil)
	fh := o.fs.handles.add(&handle{file: x.file, inode: o.inode, view: o.view, pid: processOf(&o.call.Header).PID, flags: o.flags})
	out := x.out(fh)
	if !o.call.ReplyOpen(&out) {
		o.fs.handles.remove(fh).release(fh)
	}
}

// answerOpen answers OPEN with a file that was opened, or the error.
func (o *operation) answerOpen(x opened, err error) {
	if err != nil {
		o.fail(err)
		return
	}
	o.replyOpen(x)
}

// openBeside answers OPEN with what open opens beside the requests (Call.Beside).
func (o operation) openBeside(open func() (opened, error)) {
	o.call.Beside(func(c conn.Call) {
		x, err := open()
		c.Answering()
		o.call = c
		o.answerOpen(x, err)
	})
}

// watch begins an operation that a method of FS is about to answer. name is the entry of the directory that it is done to, "" if it is done to the node itself.
func (f *FS) watch(h *fuse.InHeader, name string) *watched {
	w := &watched{operation{fs: f, call: conn.Call{Header: *h}, name: name, begun: f.now()}}
	w.inode, w.view = f.inodeOf(h.NodeId)
	if name != "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		if e, st := f.entryOfLocked(h.NodeId, name); st.Ok() || st == fuse.ENOENT {
			w.name, w.view, w.target = e.name, e.view, e.inode
		}
	}
	return w
}

// inodeOf is what a node id stands for; nil if it is not known.
func (f *FS) inodeOf(id uint64) (*inode, view) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[id]; n != nil {
		return n.inode, n.view
	}
	return nil, nil
}

// watched is an operation that never waits.
type watched struct{ operation }

// done ends it with the status that it is answered with, and returns that.
func (w *watched) done(st fuse.Status) fuse.Status {
	var err error
	if !st.Ok() {
		err = syscall.Errno(st)
	}
	w.end(noBytes, err)
	return st
}

// pathsLocked are what the operation is done to as a path in the tree, without the view, and of RENAME what it becomes. FS.mu is held.
func (o *operation) pathsLocked() (from, to string) {
	from = o.inode.pathLocked()
	if o.name != "" {
		from += "/" + o.name
	}
	if o.to != nil {
		to = o.to.pathLocked() + "/" + o.toName
	}
	return from, to
}

// withView is the path of an object as the view of it is named.
func withView(path string, v view) string {
	if v == nil {
		return path
	}
	return path + ":" + v.String()
}
