package fs

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/prometheus/client_golang/prometheus"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// traceRoom is how many bytes of lines are kept for a reader of proc/trace that does not come for them. What is more is dropped, and counted.
const traceRoom = 1 << 20

// traceDelay is how long a reader that waits is let wait once there is something for him: to wake him costs the operations that are traced more than the line does,
// and so he gets those of some time at once.
const traceDelay = 5 * time.Millisecond

// traces are the open files of proc/trace.
type traces struct {
	readers atomic.Pointer[[]*traceFile] // nil or empty if there are none; a slice is never changed

	mu      sync.Mutex // held while readers is replaced
	traced  atomic.Uint64
	dropped atomic.Uint64

	asking   sync.Mutex // guards commands; a leaf
	commands taskFiles  // /proc/PID/comm
}

// appendCommand appends the command that a process runs, escaped; "-" if it is gone or not known.
func (t *traces) appendCommand(b []byte, pid uint32) []byte {
	var name [64]byte
	t.asking.Lock()
	n, err := t.commands.read(pid, name[:])
	t.asking.Unlock()
	if err != nil || pid == 0 {
		return append(b, '-')
	}
	return append(b, escapeName(string(bytes.TrimSuffix(name[:n], []byte{'\n'})))...)
}

// close gives back what was kept open to ask for commands.
func (t *traces) close() {
	t.asking.Lock()
	defer t.asking.Unlock()
	t.commands.close()
}

// add tells the readers of an operation that ended. It costs a look at a pointer if there are none.
func (t *traces) add(o *operation, n int, took time.Duration, err error) {
	readers := t.readers.Load()
	if readers == nil || opcodes[o.call.Header.Opcode] == "" {
		return
	}
	e := event{operation: *o, n: n, took: took, err: err} // a copy, so that nothing that nobody traces has to be kept on the heap
	for _, r := range *readers {
		r.add(&e)
	}
}

// change makes the list of readers another one.
func (t *traces) change(to func([]*traceFile) []*traceFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var readers []*traceFile
	if old := t.readers.Load(); old != nil {
		readers = slices.Clone(*old)
	}
	if readers = to(readers); len(readers) == 0 {
		t.readers.Store(nil)
		return
	}
	t.readers.Store(&readers)
}

// collect tells proc/metrics.
func (t *traces) collect(out chan<- prometheus.Metric) {
	readers := 0
	if list := t.readers.Load(); list != nil {
		readers = len(*list)
	}
	out <- prometheus.MustNewConstMetric(descTraces, prometheus.GaugeValue, float64(readers))
	out <- prometheus.MustNewConstMetric(descTraced, prometheus.CounterValue, float64(t.traced.Load()))
	out <- prometheus.MustNewConstMetric(descDropped, prometheus.CounterValue, float64(t.dropped.Load()))
}

// event is an operation that ended, and what of it costs something to find out, if somebody wants to know.
type event struct {
	operation
	n    int
	took time.Duration
	err  error

	from, to string   // what it was done to, and what that became
	was      string   // from, or what it was before it was removed
	uids     []uint32 // who may see it: who did it, who owns what it was done to and, of a name, what that led to
	line     []byte
}

// look finds out what the operation was done to.
func (e *event) look() {
	if e.from == "" {
		e.fs.mu.Lock()
		defer e.fs.mu.Unlock()
		e.from, e.to = e.pathsLocked()
		e.was, e.uids = e.from, []uint32{e.call.Header.Uid, e.inode.perm.UID}
		if e.target != nil {
			e.uids = append(e.uids, e.target.perm.UID)
		}
		if len(e.inode.names) == 0 && e.inode.last != "" {
			e.was = e.inode.last
		}
	}
}

// text is the line of the event.
func (e *event) text() []byte {
	if e.line != nil {
		return e.line
	}
	e.look()
	b := make([]byte, 0, 128)
	pid := processOf(&e.call.Header).PID
	b = appendStamp(b, e.begun)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(pid), 10)
	b = append(b, ' ')
	b = e.fs.traces.appendCommand(b, pid)
	b = append(append(append(b, ' '), opcodes[e.call.Header.Opcode]...), ' ')
	b = append(b, escapeName(withView(e.from, e.view))...)
	if e.to != "" {
		b = append(append(b, "->"...), escapeName(e.to)...)
	}
	b = append(b, ' ')
	switch {
	case e.err != nil:
		b = append(append(b, "- "...), errnoName(e.err)...)
	case e.n == noBytes:
		b = append(b, "- ok"...)
	default:
		b = append(strconv.AppendInt(b, int64(e.n), 10), " ok"...)
	}
	b = strconv.AppendFloat(append(b, ' '), e.took.Seconds(), 'f', 6, 64)
	e.line = append(b, '\n')
	return e.line
}

// traceNode is proc/trace, or proc/trace:PATTERN.
type traceNode struct {
	fs      *FS
	pattern string // of the objects; "" for all
}

// open begins a trace for the one who opens. ENFILE if there are too many.
func (n *traceNode) open(op operation, in *fuse.OpenIn) {
	uid := in.Uid
	if uid == n.fs.opts.OwnerUID {
		uid = 0
	}
	n.fs.mu.Lock()
	err := n.fs.holdTextLocked(traceRoom)
	n.fs.mu.Unlock()
	if err != nil {
		op.fail(err)
		return
	}
	t := &traceFile{fs: n.fs, pattern: n.pattern, uid: uid}
	n.fs.traces.change(func(readers []*traceFile) []*traceFile { return append(readers, t) })
	op.replyOpen(opened{file: t, flags: streamFlags})
}

// truncate does nothing: it comes with `>`, and the write is refused.
func (*traceNode) truncate(uint64) fuse.Status { return fuse.OK }

// traceFile is an open file of proc/trace. Its lock is a leaf.
type traceFile struct {
	fs      *FS
	pattern string
	uid     uint32 // whose objects and operations are traced; 0 for all

	mu      sync.Mutex   // guards all below
	lines   []byte       // what was not read yet
	dropped int          // events that there was no room for since the last line
	reads   []*traceRead // that wait, longest first
	polls   ipc.Polls[*traceFile]
	polling ipc.PollWaiter[*traceFile]
	waking  *time.Timer // runs while those who wait are about to be told; nil if it does not
}

// wants says whether the file is for an operation on what it was opened for, or on what lies below that.
func (t *traceFile) wants(e *event) bool {
	if t.pattern == "" && t.uid == 0 {
		return true
	}
	e.look()
	return (t.uid == 0 || slices.Contains(e.uids, t.uid)) && (t.pattern == "" || t.matches(e.was) || t.matches(e.to))
}

// matches says whether the pattern is for a path or a directory above it: for as many of its names as the pattern has.
func (t *traceFile) matches(p string) bool {
	end := 0
	for range strings.Count(t.pattern, "/") + 1 {
		if end == len(p) {
			return false
		}
		if end > 0 {
			end++ // the slash
		}
		if n := strings.IndexByte(p[end:], '/'); n >= 0 {
			end += n
		} else {
			end = len(p)
		}
	}
	ok, _ := path.Match(t.pattern, p[:end])
	return ok
}

// add tells the file of an operation.
func (t *traceFile) add(e *event) {
	if !t.wants(e) || !t.hasRoom() {
		return
	}
	line := e.text() // which takes FS.mu and looks into /proc, and so is made without the lock
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fs.traces.traced.Add(1)
	t.tellLossLocked()
	t.lines = append(t.lines, line...)
	if t.waking == nil && (len(t.reads) > 0 || t.polling.Waiting()) {
		t.waking = time.AfterFunc(traceDelay, t.wake)
	}
}

// hasRoom says whether there is room for one more line; else it counts one that is lost.
func (t *traceFile) hasRoom() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < traceRoom {
		return true
	}
	t.dropped++
	t.fs.traces.dropped.Add(1)
	return false
}

// tellLossLocked writes how many events were lost at this place, if some were.
func (t *traceFile) tellLossLocked() {
	if t.dropped > 0 {
		t.lines = fmt.Appendf(t.lines, "# dropped %d\n", t.dropped)
		t.dropped = 0
	}
}

// wake tells those who wait that there is something to read.
func (t *traceFile) wake() {
	var done ipc.Completions
	defer done.Deliver()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waking = nil
	for len(t.reads) > 0 && len(t.lines) > 0 {
		x := t.reads[0]
		t.reads = t.reads[1:]
		x.data = t.takeLocked(x.size)
		done.Add(x)
	}
	if len(t.lines) > 0 {
		t.polls.Wake(func(*traceFile) uint32 { return ipc.PollIn }, &done)
	}
}

// takeLocked takes as many whole lines as fit into n bytes, or a part of one that is longer.
func (t *traceFile) takeLocked(n int) []byte {
	n = min(n, len(t.lines))
	if end := bytes.LastIndexByte(t.lines[:n], '\n'); end >= 0 {
		n = end + 1
	}
	data := t.lines[:n]
	if t.lines = t.lines[n:]; len(t.lines) == 0 {
		t.tellLossLocked()
	}
	return data
}

// traceRead is a READ of a trace on its way.
type traceRead struct {
	operation
	file *traceFile
	size int
	data []byte
	err  error
}

func (t *traceFile) read(op operation, in *fuse.ReadIn) {
	if fillsPageCache(in) {
		op.fail(syscall.EINVAL)
		return
	}
	x := &traceRead{operation: op, file: t, size: int(in.Size)}
	x.call.MayWait(x)
	t.mu.Lock()
	switch {
	case len(t.lines) > 0:
		x.data = t.takeLocked(x.size)
	case in.Flags&syscall.O_NONBLOCK != 0:
		x.err = syscall.EAGAIN
	default:
		t.reads = append(t.reads, x)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	x.Deliver()
}

// Deliver answers the READ.
func (x *traceRead) Deliver() {
	x.call.Answering()
	if x.err != nil {
		x.fail(x.err)
		return
	}
	x.replyData(x.data)
}

// Cancel ends the wait of the READ.
func (x *traceRead) Cancel() func() {
	t := x.file
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.reads, x)
	if i < 0 {
		return func() {}
	}
	t.reads = slices.Delete(t.reads, i, i+1)
	x.err = syscall.EINTR
	return x.Deliver
}

func (*traceFile) write(op operation, _ *fuse.WriteIn, _ []byte) { op.fail(syscall.EBADF) }

func (t *traceFile) poll(c conn.Call, in *conn.PollIn) {
	t.mu.Lock()
	t.polls.Wait(&t.polling, t, in.Events&ipc.PollIn, pollWakeOf(c, in))
	var mask uint32
	if len(t.lines) > 0 {
		mask = ipc.PollIn
	}
	t.mu.Unlock()
	c.ReplyPoll(mask)
}

func (t *traceFile) release(uint64) {
	t.fs.traces.change(func(readers []*traceFile) []*traceFile {
		return slices.DeleteFunc(readers, func(r *traceFile) bool { return r == t })
	})
	t.mu.Lock()
	if t.waking != nil {
		t.waking.Stop()
	}
	t.polls.Forget(&t.polling)
	t.mu.Unlock()
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	t.fs.texts -= traceRoom
}
