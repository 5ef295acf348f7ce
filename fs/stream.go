package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// What the kinds have in common whose reads and writes are messages to the object (object.stream).

// streamFlags open a stream: every read and write comes here, at once and in its own time; it cannot seek; close sends nothing but RELEASE.
const streamFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH

// streamSize is the size that a stream shows: a write(2) within it takes the lock of the kernel's inode shared, so that the writers of one open file do not
// queue behind each other where no signal reaches them. A larger one, and any append, takes it exclusively; a larger size would mislead who reads st_size bytes.
const streamSize = conn.MaxWrite

// streamAttr fills in what a stream shows of a size.
func streamAttr(a *fuse.Attr) {
	a.Size, a.Blocks = streamSize, streamSize/512 // without blocks, cp would take it for a hole
}

// fillsPageCache says whether a READ of a stream is for the page cache, for a private mmap or for splice(2), and would be asked for again. It is to be refused.
func fillsPageCache(in *fuse.ReadIn) bool { return in.ReadFlags&fuse.READ_LOCKOWNER == 0 }

// continuesWrite says whether a WRITE is a later piece of one write(2). An append (O_APPEND or RWF_APPEND) begins at what the kernel takes for the end of
// the file: at streamSize, and further up after each append. So what begins there counts as a new write; a piece of a write of more than 1 MiB that is not
// known for one is whole pages but for odd alignments, where nothing but the use of slots can differ.
func continuesWrite(in *fuse.WriteIn) bool {
	return in.Flags&syscall.O_APPEND == 0 && in.Offset > 0 && in.Offset < streamSize
}

// cancel cancels an operation and returns what tells so.
func cancel(op ipc.Canceler) func() {
	var done ipc.Completions
	op.Cancel(&done)
	return done.Deliver
}

// nothing is the completion of an operation whose caller looks at the result itself.
type nothing struct{}

// Deliver does nothing.
func (nothing) Deliver() {}

// pollWake wakes the polls of an open file.
type pollWake struct {
	call conn.Call
	kh   uint64
}

// Deliver sends NOTIFY_POLL.
func (w *pollWake) Deliver() { w.call.NotifyPoll(w.kh) }

// pollWakeOf is what wakes those who wait in POLL; nil if nobody does.
func pollWakeOf(c conn.Call, in *conn.PollIn) ipc.Completion {
	if in.Flags&conn.PollScheduleNotify == 0 {
		return nil
	}
	return &pollWake{call: c, kh: in.Kh}
}
