package fs

import (
	"path"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// pollReady is what poll says of a file that never waits (DEFAULT_POLLMASK).
const pollReady = ipc.PollIn | ipc.PollOut

// maxTexts bounds the bytes of all open files of proc together, if there is more than one.
const maxTexts = 64 << 20

// maxTexting is how many long texts are made at once: each takes some ten times its size while it is.
const maxTexting = 2

// procNode is a file of proc.
type procNode interface {
	// open answers OPEN.
	open(op operation, in *fuse.OpenIn)
	// truncate is told that the file is to be cut or made longer.
	truncate(size uint64) fuse.Status
}

// makeProcLocked makes proc and all that is in it.
func (f *FS) makeProcLocked(owner ipc.Perm) {
	dir := func(in *inode, name string) *inode {
		d := f.newInodeLocked(nil, typeDir, withMode(owner, 0o555))
		d.fixed = true
		f.linkLocked(in, name, d)
		return d
	}
	file := func(in *inode, name string, mode uint32, n procNode) {
		i := f.newInodeLocked(nil, typeReg, withMode(owner, mode))
		i.fixed, i.proc = true, n
		f.linkLocked(in, name, i)
	}
	text := func(in *inode, name string, gather func() func() []byte) { file(in, name, 0o444, &textNode{f, gather}) }

	proc := dir(f.root, "proc")
	for _, k := range f.kinds {
		text(proc, k.name(), f.procTable(k))
	}
	text(proc, "files", f.procFiles)
	text(proc, "maps", f.procMaps)
	text(proc, "metrics", f.procMetrics)
	file(proc, "trace", 0o400, &traceNode{fs: f})
	proc.find = f.findTraceLocked
	sysvipc := dir(proc, "sysvipc")
	text(sysvipc, "msg", f.procSysv(f.msgq, sysvMsg))
	text(sysvipc, "sem", procSysvSem)
	text(sysvipc, "shm", f.procSysv(f.shm, sysvShm))
	sys := dir(proc, "sys")
	for _, d := range []string{"fs", "kernel"} {
		in := dir(sys, d)
		for name, k := range f.knobs()[d] {
			file(in, name, 0o644, k)
		}
	}
}

// textNode is a file whose text is made when it is opened. What gather does is of the moment in which it is opened, and quick if there is little to tell; the function that it
// returns makes the text, beside the requests.
type textNode struct {
	fs     *FS
	gather func() func() []byte
}

// open answers OPEN with the text of this moment.
func (n *textNode) open(op operation, _ *fuse.OpenIn) {
	text := n.text()
	op.openBeside(func() (opened, error) {
		t, err := n.fs.newText(text())
		return opened{file: t, flags: textFlags}, err
	})
}

// text returns what makes the text: of this moment, or, if there is much to tell, of the one in which there is a place for it.
func (n *textNode) text() func() []byte {
	if n.fs.tellsLittle() {
		return n.gather()
	}
	return func() (b []byte) {
		n.fs.texting.run(nil, func() { b = n.gather()() })
		return b
	}
}

// tellsLittle says whether there are so few objects and open files that what is told of them is gathered at once.
func (f *FS) tellsLittle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.objects)+f.handles.len() <= batch
}

// truncate refuses: the text is not anybody's to change. That it is cut to nothing is what `>` begins with; the write is refused.
func (*textNode) truncate(size uint64) fuse.Status {
	if size > 0 {
		return fuse.EINVAL
	}
	return fuse.OK
}

// textFlags open a file of proc: every read comes here.
const textFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH

// textFile is an open file of proc: the text of the moment in which it was opened.
type textFile struct {
	fs   *FS
	text []byte
}

// newText makes an open file of a text. ENFILE if those that are open hold too much already.
func (f *FS) newText(text []byte) (*textFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &textFile{fs: f, text: text}, f.holdTextLocked(len(text))
}

// holdTextLocked counts n bytes of a text that is opened. ENFILE if those that are open hold too much already.
func (f *FS) holdTextLocked(n int) error {
	if f.texts > 0 && f.texts+n > maxTexts {
		return syscall.ENFILE
	}
	f.texts += n
	return nil
}

func (t *textFile) release(uint64) {
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	t.fs.texts -= len(t.text)
}

func (t *textFile) read(op operation, in *fuse.ReadIn) {
	from := t.text[min(in.Offset, uint64(len(t.text))):]
	op.call.ReplyData(from[:min(int(in.Size), len(from))])
}

func (*textFile) write(op operation, _ *fuse.WriteIn, _ []byte) { op.fail(syscall.EBADF) }
func (*textFile) poll(c conn.Call, _ *conn.PollIn)              { c.ReplyPoll(pollReady) }

// traceName begins the names in proc that trace a part of the tree.
const traceName = "trace:"

// findTraceLocked makes proc/trace:NAME, which no directory lists: NAME is a directory of the tree, in which there is a trace for every name; that may be a
// pattern (path.Match), and need not exist. EINVAL for what is no pattern.
func (f *FS) findTraceLocked(proc *inode, name string) (*inode, error) {
	p, ok := strings.CutPrefix(name, traceName)
	if !ok {
		return nil, syscall.ENOENT
	}
	return f.traceLocked(proc, f.root, p, p)
}

// traceLocked makes the inode for a name in the directory dir of the tree, whose path in it is p: a directory if that is one.
func (f *FS) traceLocked(proc, dir *inode, name, p string) (*inode, error) {
	if _, err := path.Match(name, ""); err != nil || name == "" {
		return nil, syscall.EINVAL
	}
	if f.inodes >= f.opts.MaxInodes {
		return nil, syscall.ENOSPC
	}
	found := dir.entries[name]
	if found != nil && found.isDir() {
		if found.kind == nil { // proc
			return nil, syscall.ENOENT
		}
		d := f.newInodeLocked(nil, typeDir, withMode(proc.perm, 0o555))
		d.find = func(_ *inode, name string) (*inode, error) {
			return f.traceLocked(proc, found, name, p+"/"+name)
		}
		return d, nil
	}
	owner := proc.perm
	if found != nil {
		owner = found.perm
	}
	i := f.newInodeLocked(nil, typeReg, withMode(owner, 0o400))
	i.proc = &traceNode{fs: f, pattern: p}
	return i, nil
}
