package fs

import (
	"strconv"
	"sync/atomic"

	"ipcfs/objects/ipc"
)

// column is a number that is told of each object of a kind: in the table of the kind in proc, as an extended attribute, and, summed up, in proc/metrics. All take it from
// object.values.
type column struct {
	name  string                                            // of the column and, after ownPrefix, of the attribute
	width int                                               // of the column; less than the name takes as much as that. noColumn if it is only an attribute
	holds bool                                              // it is the bytes that the object holds
	waits string                                            // it is how many operations of this name wait
	set   func(o object, caller ipc.Caller, n uint64) error // nil if it cannot be set: EPERM
}

// noColumn is the width of what is only an attribute.
const noColumn = -1

// The columns that every object has, before and after those of its kind.
var (
	columnsBefore = []string{"perms", "uid", "gid", "cuid", "cgid"}
	columnsAfter  = []string{"syscr", "rchar", "syscw", "wchar"}
)

// traffic is what went through an object since it was made, as in /proc/PID/io: reads, bytes read, writes, bytes written.
type traffic struct{ syscr, rchar, syscw, wchar atomic.Uint64 }

// count counts an operation that went well.
func (t *traffic) count(opcode uint32, n int) {
	switch opcode {
	case opREAD:
		t.syscr.Add(1)
		t.rchar.Add(uint64(n))
	case opWRITE:
		t.syscw.Add(1)
		t.wchar.Add(uint64(n))
	}
}

// words are the traffic in the order of columnsAfter.
func (t *traffic) words() []string {
	var words []string
	for _, n := range []*atomic.Uint64{&t.syscr, &t.rchar, &t.syscw, &t.wchar} {
		words = append(words, strconv.FormatUint(n.Load(), 10))
	}
	return words
}

// known is what the tree itself knows of an object at one moment.
type known struct {
	ino        uint64
	path       string
	named      bool
	perm       ipc.Perm // as stat(2) shows it
	cuid, cgid uint32
}

// words are what is known in the order of columnsBefore.
func (k known) words() []string {
	words := []string{strconv.FormatUint(uint64(k.perm.Mode), 8)}
	for _, n := range []uint32{k.perm.UID, k.perm.GID, k.cuid, k.cgid} {
		words = append(words, strconv.FormatUint(uint64(n), 10))
	}
	return words
}

// knownLocked is what the tree knows of an object.
func (f *FS) knownLocked(i *inode) known {
	return known{ino: i.ino, path: i.pathLocked(), named: len(i.names) > 0, perm: f.shownPerm(i.perm), cuid: i.cuid, cgid: i.cgid}
}

// shownPerm is what the mount options uid=, gid= and umask= make of an owner and a mode.
func (f *FS) shownPerm(p ipc.Perm) ipc.Perm {
	if f.opts.UID != nil {
		p.UID = *f.opts.UID
	}
	if f.opts.GID != nil {
		p.GID = *f.opts.GID
	}
	if f.opts.Umask != nil {
		p.Mode = 0o777 &^ *f.opts.Umask
	}
	return p
}
