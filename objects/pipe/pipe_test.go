package pipe

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

const (
	nonBlock = syscall.O_NONBLOCK
	rdonly   = syscall.O_RDONLY
	wronly   = syscall.O_WRONLY
	rdwr     = syscall.O_RDWR
)

// tb is what testing.T, testing.F and rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

var _ tb = (*testing.T)(nil)

// steps drives one pipe step by step. Each call delivers what it completed, and want compares that, in order, with what it should
// have been. So an operation that was begun and is not in want is waiting.
type steps struct {
	t     tb
	arena *page.Arena
	ns    *ipc.Namespace
	now   time.Time // of the namespace
	p     *Pipe
	log   []string
	open  []*File
	begun []ipc.Canceler
}

// newSteps makes a pipe with room for whatever a test does.
func newSteps(t tb) *steps { return newStepsWith(t, 4096, ipc.DefaultLimits()) }

func newStepsWith(t tb, pages int, limits ipc.Limits) *steps {
	t.Helper()
	arena, err := page.New(int64(pages) * page.Size)
	if err != nil {
		t.Fatalf("arena: %v", err)
	}
	s := &steps{t: t, arena: arena, now: time.Unix(1000, 0)}
	s.ns = ipc.NewNamespace(arena, limits, func() time.Time { return s.now })
	s.p = New(s.ns)
	t.Cleanup(s.end)
	return s
}

// end cancels and closes everything. The arena says then whether a page was lost.
func (s *steps) end() {
	for _, op := range s.begun {
		s.do(op.Cancel)
	}
	for len(s.open) > 0 {
		s.close(s.open[0])
	}
	if st := s.p.Stat(); st.Readers != 0 || st.Writers != 0 || st.Bytes != 0 || st.WaitingOpens+st.WaitingReads+st.WaitingWrites != 0 {
		s.t.Errorf("after the last close: %+v", st)
	}
	if n := s.ns.PipeBuffers(0) + s.ns.PipeBuffers(alice.UID); n != 0 {
		s.t.Errorf("%d pages are accounted to users after the last close", n)
	}
	if st := s.arena.Stat(); st.InUse != 0 {
		s.t.Errorf("%d pages were lost", st.InUse)
		return
	}
	if err := s.arena.Close(); err != nil {
		s.t.Errorf("arena: %v", err)
	}
}

// Who opens: root has no limits, alice has.
var (
	root  = ipc.Caller{}
	alice = ipc.Caller{UID: 1000, GID: 1000}
)

func (s *steps) do(f func(*ipc.Completions)) {
	var done ipc.Completions
	f(&done)
	done.Deliver()
}

func (s *steps) logf(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

// want says what was completed since it was asked last, in order.
func (s *steps) want(lines ...string) {
	s.t.Helper()
	got := s.log
	s.log = nil
	if !slices.Equal(got, lines) {
		s.t.Fatalf("completed %q, want %q", got, lines)
	}
}

// wantBytes says what the pipe holds.
func (s *steps) wantBytes(bytes, slots int) {
	s.t.Helper()
	if st := s.p.Stat(); st.Bytes != bytes || st.Used != slots {
		s.t.Fatalf("holds %d bytes in %d slots, want %d in %d", st.Bytes, st.Used, bytes, slots)
	}
}

// opening is an open(2) on its way. It logs "name=ok" or an errno.
type opening struct {
	OpenOp
	s    *steps
	name string
}

func (o *opening) Deliver() {
	if o.Err == nil {
		o.s.open = append(o.s.open, o.File)
	}
	o.s.logf("%s=%s", o.name, result(o.Err, "ok"))
}

// result is how a completed operation looks in the log.
func result(err error, ok string) string {
	switch err {
	case nil:
		return ok
	case syscall.EAGAIN:
		return "EAGAIN"
	case syscall.EINTR:
		return "EINTR"
	case syscall.EPIPE:
		return "EPIPE"
	case syscall.ENXIO:
		return "ENXIO"
	case syscall.ENOMEM:
		return "ENOMEM"
	}
	return fmt.Sprintf("%T %v", err, err)
}

// begin begins an open.
func (s *steps) begin(name string, op OpenOp) *opening {
	o := &opening{OpenOp: op, s: s, name: name}
	o.Done = o
	s.begun = append(s.begun, o)
	s.do(func(d *ipc.Completions) { s.p.Open(&o.OpenOp, d) })
	return o
}

func (s *steps) opens(name string, flags uint32) *opening {
	return s.begin(name, OpenOp{Flags: flags})
}

// file opens a file that must not have to wait.
func (s *steps) file(flags uint32) *File {
	s.t.Helper()
	return s.mustOpen(OpenOp{Flags: flags})
}

// creates opens a file as the open that creates the pipe.
func (s *steps) creates(flags uint32) *File {
	s.t.Helper()
	return s.mustOpen(OpenOp{Flags: flags, NoWait: true})
}

func (s *steps) mustOpen(op OpenOp) *File {
	s.t.Helper()
	log := s.log
	s.log = nil
	o := s.begin("open", op)
	if !slices.Contains(s.log, "open=ok") {
		s.t.Fatalf("open with flags %#x: %q", op.Flags, s.log)
	}
	s.log = append(log, slices.DeleteFunc(s.log, func(l string) bool { return l == "open=ok" })...)
	return o.File
}

// ends opens a reader and a writer.
func (s *steps) ends() (r, w *File) {
	s.t.Helper()
	return s.file(rdonly | nonBlock), s.file(wronly)
}

func (s *steps) close(f *File) {
	i := slices.Index(s.open, f)
	if i < 0 {
		s.t.Fatalf("close of a file that is not open")
	}
	s.open = slices.Delete(s.open, i, i+1)
	s.do(f.Release)
}

func (s *steps) cancel(op ipc.Canceler) { s.do(op.Cancel) }

// reading is a read(2) on its way. It logs "name=data" or an errno.
type reading struct {
	ReadOp
	s    *steps
	name string
	data []byte
}

func (r *reading) Deliver() {
	for _, p := range r.Pieces {
		r.data = append(r.data, r.s.arena.Bytes(p.Ref)[p.Off:p.Off+p.N]...)
		r.s.arena.Release(p.Ref)
	}
	if len(r.data) != r.N || r.Err != nil && r.N != 0 {
		r.s.t.Errorf("%s: %d bytes in pieces, N = %d, Err = %v", r.name, len(r.data), r.N, r.Err)
	}
	r.s.logf("%s=%s", r.name, result(r.Err, show(r.data)))
}

func (s *steps) readOp(f *File, name string, op ReadOp) *reading {
	r := &reading{ReadOp: op, s: s, name: name}
	r.Done = r
	s.begun = append(s.begun, r)
	s.do(func(d *ipc.Completions) { f.Read(&r.ReadOp, d) })
	return r
}

func (s *steps) read(f *File, name string, n int) *reading { return s.readOp(f, name, ReadOp{Size: n}) }

// writing is a write(2) on its way. It logs "name=count" or an errno, and the signal.
type writing struct {
	WriteOp
	s    *steps
	name string
}

func (w *writing) Deliver() {
	if w.Err != nil && w.N != 0 {
		w.s.t.Errorf("%s: N = %d with Err = %v", w.name, w.N, w.Err)
	}
	line := w.name + "=" + result(w.Err, fmt.Sprint(w.N))
	if w.SigPipe {
		line += " SIGPIPE"
	}
	w.s.logf("%s", line)
}

func (s *steps) writeOp(f *File, name, data string, op WriteOp) *writing {
	buf := []byte(data)
	op.Data = buf
	w := &writing{WriteOp: op, s: s, name: name}
	w.Done = w
	s.begun = append(s.begun, w)
	s.do(func(d *ipc.Completions) { f.Write(&w.WriteOp, d) })
	clear(buf) // it is the caller's again, also while the write waits
	return w
}

func (s *steps) write(f *File, name, data string) *writing {
	return s.writeOp(f, name, data, WriteOp{})
}

func (s *steps) tryWrite(f *File, name, data string) *writing {
	return s.writeOp(f, name, data, WriteOp{NonBlock: true})
}

func (s *steps) packet(f *File, name, data string) *writing {
	return s.writeOp(f, name, data, WriteOp{NonBlock: true, Packet: true})
}

// fill writes n pages of '.'.
func (s *steps) fill(f *File, n int) {
	s.t.Helper()
	s.tryWrite(f, "fill", bytesOf('.', n*page.Size))
	s.want(fmt.Sprintf("fill=%d", n*page.Size))
}

// wake is a poll that waits. It logs its name.
type wake struct {
	s    *steps
	name string
}

func (w wake) Deliver() { w.s.logf("%s", w.name) }

func (s *steps) poll(f *File, name string, events uint32) uint32 {
	return f.Poll(events, wake{s, name})
}

// bytesOf is n times b.
func bytesOf(b byte, n int) string { return strings.Repeat(string(b), n) }

// pattern has data in which every byte tells where it comes from.
var pattern = func() []byte {
	p := make([]byte, 251+32*page.Size)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}()

// stream is the n bytes from the at-th on of an endless pattern.
func stream(at, n int) string { return string(pattern[at%251:][:n]) }

// show makes data short: itself, or its runs as in "4096a 1b", or a checksum.
func show(data []byte) string {
	if len(data) <= 20 {
		return string(data)
	}
	var runs []string
	for i := 0; i < len(data) && len(runs) <= 20; {
		j := i
		for j < len(data) && data[j] == data[i] {
			j++
		}
		runs = append(runs, fmt.Sprintf("%d%c", j-i, data[i]))
		i = j
	}
	if len(runs) > 20 {
		return fmt.Sprintf("%d bytes, crc %08x", len(data), crc32.ChecksumIEEE(data))
	}
	return strings.Join(runs, " ")
}

// What Stat and Bufs tell of the slots and counters.
func TestStatCounters(t *testing.T) {
	s := newSteps(t)
	if st := s.p.Stat(); st.Counters != (Counters{RCounter: 1, WCounter: 1}) {
		t.Fatalf("a new pipe has %+v", st.Counters)
	}
	f := s.file(rdwr)
	for _, n := range []int{4096, 10, 20} {
		s.write(f, "w", strings.Repeat("x", n))
	}
	s.read(f, "r", 100)
	want := Counters{Head: 2, Files: 1, RCounter: 2, WCounter: 2, NrAccounted: DefaultSlots}
	if st := s.p.Stat(); st.Counters != want {
		t.Errorf("%+v, want %+v", st.Counters, want)
	}
	if got, want := s.p.Bufs(9), []Buf{{Off: 100, N: 3996}, {N: 30, CanMerge: true}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := s.p.Bufs(1); len(got) != 1 {
		t.Errorf("%d slots, want 1", len(got))
	}
}
