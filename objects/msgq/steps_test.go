package msgq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

const (
	rdonly = syscall.O_RDONLY
	wronly = syscall.O_WRONLY
	rdwr   = syscall.O_RDWR
)

// Who changes limits: root may go above them.
var (
	root  = ipc.Caller{}
	alice = ipc.Caller{UID: 1000}
)

// tb is what testing.T, testing.F and rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

var _ tb = (*testing.T)(nil)

// steps drives one queue step by step. Each call delivers what it completed, and want compares that, in order, with what it should have been. So an
// operation that was begun and is not in want is waiting.
type steps struct {
	t     tb
	arena *page.Arena
	now   time.Time // of the namespace
	store *Store
	q     *Queue
	log   []string
	open  []*File
	begun []ipc.Canceler
}

// smallLimits are limits that a test reaches with few bytes.
func smallLimits() ipc.Limits {
	l := ipc.DefaultLimits()
	l.MsgMax, l.MsgMnb, l.MsgMni = 50, 100, 3
	return l
}

func newSteps(t tb) *steps { return newStepsWith(t, 4096, smallLimits()) }

func newStepsWith(t tb, pages int, limits ipc.Limits) *steps {
	t.Helper()
	arena, err := page.New(int64(pages) * page.Size)
	if err != nil {
		t.Fatalf("arena: %v", err)
	}
	s := &steps{t: t, arena: arena, now: time.Unix(1000, 0)}
	s.store = NewStore(ipc.NewNamespace(arena, limits, func() time.Time { return s.now }))
	if s.q, err = s.store.New(); err != nil {
		t.Fatalf("queue: %v", err)
	}
	t.Cleanup(s.end)
	return s
}

// end cancels, closes and removes everything. The arena says then whether a page was lost.
func (s *steps) end() {
	for _, op := range s.begun {
		s.do(op.Cancel)
	}
	for len(s.open) > 0 {
		s.close(s.open[0])
	}
	s.do(s.q.Remove)
	if n := s.store.InUse(); n != 0 {
		s.t.Errorf("%d queues are left", n)
	}
	if st := s.arena.Stat(); st.InUse != 0 {
		s.t.Errorf("%d pages were lost", st.InUse)
		return
	}
	if err := s.arena.Close(); err != nil {
		s.t.Errorf("arena: %v", err)
	}
}

func (s *steps) do(f func(*ipc.Completions)) {
	var done ipc.Completions
	f(&done)
	done.Deliver()
}

// want says what was completed since it was asked last, in order.
func (s *steps) want(lines ...string) {
	s.t.Helper()
	got := s.log
	s.log = nil
	if !slices.Equal(got, lines) {
		s.t.Fatalf("completed %q, want %q", got, lines)
	}
}

// wantQueue says what is in the queue, as TYPE:TEXT.
func (s *steps) wantQueue(messages ...string) {
	s.t.Helper()
	list, err := s.q.Peek(Selector{}, 1<<20)
	if err != nil {
		s.t.Fatalf("peek: %v", err)
	}
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprintf("%d:%s", m.Type, m.Text))
	}
	if !slices.Equal(got, messages) {
		s.t.Fatalf("in the queue are %q, want %q", got, messages)
	}
}

// wantWaiting says how many receive and send.
func (s *steps) wantWaiting(receivers, senders int) {
	s.t.Helper()
	if st := s.q.Stat(); st.Receivers != receivers || st.Senders != senders {
		s.t.Fatalf("%d receivers and %d senders wait, want %d and %d", st.Receivers, st.Senders, receivers, senders)
	}
}

// file opens the queue through a view, "" for itself.
func (s *steps) file(view string, flags uint32) *File {
	s.t.Helper()
	v := View{}
	if view != "" {
		var err error
		if v, err = ParseView(view); err != nil {
			s.t.Fatalf("view %q: %v", view, err)
		}
	}
	f, err := s.q.Open(v, flags)
	if err != nil {
		s.t.Fatalf("open of %q: %v", view, err)
	}
	s.open = append(s.open, f)
	return f
}

func (s *steps) close(f *File) {
	s.open = slices.DeleteFunc(s.open, func(x *File) bool { return x == f })
	s.do(f.Release)
}

// dirty writes over free memory, in pieces of each size, so that nothing can be taken for granted of what is in it.
func (s *steps) dirty() {
	s.t.Helper()
	var refs []page.Ref
	for n := 64; n <= page.Size; n *= 2 {
		for range 4 * page.Size / n {
			ref, err := s.arena.Alloc(n)
			if err != nil {
				s.t.Fatalf("%d bytes: %v", n, err)
			}
			for i := range s.arena.Bytes(ref) {
				s.arena.Bytes(ref)[i] = 0xa5
			}
			refs = append(refs, ref)
		}
	}
	s.arena.Release(refs...)
}

// told logs the end of an operation: NAME=RESULT.
type told struct {
	s      *steps
	name   string
	result func() string
}

func (c *told) Deliver() { c.s.log = append(c.s.log, c.name+"="+c.result()) }

func errnoName(err error) string {
	e, _ := err.(syscall.Errno)
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return fmt.Sprint("unexpected ", err)
}

// sendOp begins op, which logs as name: the count, or the errno.
func (s *steps) sendOp(f *File, name string, op SendOp) *SendOp {
	x := &op
	x.Done = &told{s, name, func() string {
		if x.Err != nil {
			return errnoName(x.Err)
		}
		return fmt.Sprint(x.N)
	}}
	s.begun = append(s.begun, x)
	data := bytes.Clone(op.Data)
	x.Data = data
	s.do(func(done *ipc.Completions) { f.Send(x, done) })
	clear(data) // it is the caller's again
	return x
}

// send sends text, waiting if it must.
func (s *steps) send(f *File, name, text string) *SendOp {
	return s.sendOp(f, name, SendOp{Data: []byte(text), PID: 1})
}

func (s *steps) sendNow(f *File, name, text string) *SendOp {
	return s.sendOp(f, name, SendOp{Data: []byte(text), PID: 1, NonBlock: true})
}

// raw is struct msgbuf.
func raw(mtype int64, text string) string {
	return string(binary.NativeEndian.AppendUint64(nil, uint64(mtype))) + text
}

// receiveOp begins op, which logs as name: the text, TYPE:TEXT with ModeRaw, or the errno.
func (s *steps) receiveOp(f *File, name string, op ReceiveOp) *ReceiveOp {
	x := &op
	x.Done = &told{s, name, func() string {
		if x.Err != nil {
			return errnoName(x.Err)
		}
		b := bytes.Join(x.Parts(nil), nil)
		x.Free()
		if len(b) != x.N {
			return fmt.Sprintf("%q, which is not %d bytes", b, x.N)
		}
		if f.view.Mode == ModeRaw && x.N >= TypeSize {
			return fmt.Sprintf("%d:%s", int64(binary.NativeEndian.Uint64(b)), b[TypeSize:])
		}
		return string(b)
	}}
	s.begun = append(s.begun, x)
	s.do(func(done *ipc.Completions) { f.Receive(x, done) })
	return x
}

// receive receives into room for 100 bytes, waiting if it must.
func (s *steps) receive(f *File, name string) *ReceiveOp {
	return s.receiveOp(f, name, ReceiveOp{Size: 100, PID: 2})
}

func (s *steps) receiveNow(f *File, name string) *ReceiveOp {
	return s.receiveOp(f, name, ReceiveOp{Size: 100, PID: 2, NonBlock: true})
}

func (s *steps) setQBytes(n uint64) {
	s.t.Helper()
	s.do(func(done *ipc.Completions) {
		if err := s.q.SetQBytes(root, n, done); err != nil {
			s.t.Fatalf("q_qbytes %d: %v", n, err)
		}
	})
}

// poll asks for wake-ups of events, which log as name, unless name is "".
func (s *steps) poll(f *File, name string, events uint32) uint32 {
	var wake ipc.Completion
	if name != "" {
		wake = &told{s, name, func() string { return "woken" }}
	}
	return f.Poll(events, wake)
}
