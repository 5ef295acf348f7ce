package pipe

import (
	"fmt"
	"syscall"
	"testing"

	"ipcfs/objects/ipc"
)

func TestOpenWaitsForTheOtherSide(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second uint32
	}{
		{"reader, writer", rdonly, wronly},
		{"reader, writer that would not wait", rdonly, wronly | nonBlock},
		{"reader, both", rdonly, rdwr},
		{"writer, reader", wronly, rdonly},
		{"writer, reader that would not wait", wronly, rdonly | nonBlock},
		{"writer, both", wronly, rdwr},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSteps(t)
			s.opens("a", c.first)
			s.opens("b", c.first)
			s.want()
			if st := s.p.Stat(); st.WaitingOpens != 2 || st.Readers+st.Writers != 2 {
				t.Fatalf("two opens wait: %+v", st)
			}
			s.opens("c", c.second)
			s.want("a=ok", "b=ok", "c=ok") // the longest wait first
			s.opens("d", c.first)
			s.want("d=ok")
		})
	}
}

func TestOpenThatNeverWaits(t *testing.T) {
	for _, c := range []struct {
		flags uint32
		want  string
	}{
		{rdonly | nonBlock, "a=ok"},
		{wronly | nonBlock, "a=ENXIO"},
		{rdwr, "a=ok"},
		{rdwr | nonBlock, "a=ok"},
		{syscall.O_ACCMODE, fmt.Sprintf("a=%T %v", syscall.EINVAL, syscall.EINVAL)},
	} {
		s := newSteps(t)
		s.opens("a", c.flags)
		s.want(c.want)
		s.opens("w", wronly|nonBlock) // a reader is there only if the first open made one
		if c.want == "a=ok" {
			s.want("w=ok")
		} else {
			s.want("w=ENXIO")
		}
	}
}

// A partner counts even if it is gone again before anybody could look (fs/pipe.c:wait_for_partner compares counters, not readers).
func TestPartnerThatCameAndWent(t *testing.T) {
	s := newSteps(t)
	w := s.opens("w", wronly)
	r := s.file(rdonly | nonBlock)
	s.want("w=ok")
	s.close(r)
	s.write(w.File, "x", "lost")
	s.want("x=EPIPE SIGPIPE")
}

func TestCancelledOpenNeverWas(t *testing.T) {
	for _, c := range []struct {
		name         string
		flags, other uint32
	}{{"reader", rdonly, wronly}, {"writer", wronly, rdonly}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSteps(t)
			a, b, d := s.opens("a", c.flags), s.opens("b", c.flags), s.opens("d", c.flags)
			s.cancel(b)
			s.want("b=EINTR")
			s.cancel(b)
			s.want()
			s.opens("other", c.other)
			s.want("a=ok", "d=ok", "other=ok")
			s.cancel(a)
			s.cancel(d)
			s.want()
			if st := s.p.Stat(); st.Readers+st.Writers != 3 {
				t.Fatalf("three files are open: %+v", st)
			}
		})
	}
}

func TestCancelledReaderIsNoPartner(t *testing.T) {
	s := newSteps(t)
	s.cancel(s.opens("r", rdonly))
	s.opens("w", wronly|nonBlock)
	s.want("r=EINTR", "w=ENXIO")
	if st := s.p.Stat(); st.Readers != 0 || st.Slots != DefaultSlots {
		t.Fatalf("nobody has it open: %+v", st)
	}
}

func TestLastCloseDropsWhatIsHeld(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w", "old")
	s.close(r)
	s.wantBytes(3, 1)
	s.close(w)
	s.wantBytes(0, 0)
	r = s.file(rdonly | nonBlock)
	if got := r.Poll(ipc.PollIn, nil); got != 0 { // the writer of the life before does not count
		t.Fatalf("poll of a new reader = %#x, want 0", got)
	}
	s.want("w=3")
	s.read(r, "r", 10)
	s.want("r=")
}

// What a writer left is still there for the reader that comes later, as long as anybody has the pipe open.
func TestHeldDataOutlivesItsWriter(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w", "kept")
	s.close(w)
	s.read(r, "r1", 2)
	r2 := s.file(rdonly | nonBlock)
	s.read(r2, "r2", 10)
	s.read(r2, "r3", 10)
	s.want("w=4", "r1=ke", "r2=pt", "r3=")
}

func TestCreatingOpenNeverWaits(t *testing.T) {
	for _, flags := range []uint32{rdonly, wronly, rdwr, rdonly | nonBlock, wronly | nonBlock, rdwr | nonBlock} {
		s := newSteps(t)
		s.creates(flags)
	}
}

// The first write of a file that was created has the four ends of the open(2) that a FIFO would have waited in.
func TestFirstWriteWaitsForTheFirstReader(t *testing.T) {
	start := func(t *testing.T) (*steps, *File) {
		s := newSteps(t)
		w := s.creates(wronly)
		if got := w.Poll(ipc.PollOut, nil); got != 0 {
			t.Fatalf("poll = %#x before the first reader, want 0", got)
		}
		return s, w
	}
	t.Run("completed", func(t *testing.T) {
		s, w := start(t)
		s.write(w, "w1", "one")
		s.write(w, "w2", "two")
		s.tryWrite(w, "w3", "three")
		s.want("w3=EAGAIN")
		r := s.file(rdonly) // it does not wait: the creator is a writer
		s.want("w1=3", "w2=3")
		s.read(r, "r", 10)
		s.want("r=onetwo")
		s.write(w, "w4", "four")
		s.close(r)
		s.write(w, "w5", "five") // only the first reader is waited for
		s.want("w4=4", "w5=EPIPE SIGPIPE")
	})
	t.Run("completed by a reader that waits in read", func(t *testing.T) {
		s, w := start(t)
		s.write(w, "w", "one")
		both := s.file(rdwr)
		s.want("w=3")
		s.read(both, "r", 10)
		s.want("r=one")
	})
	t.Run("more than fits goes on as any write", func(t *testing.T) {
		s, w := start(t)
		s.write(w, "w1", bytesOf('a', (DefaultSlots+1)*4096))
		s.write(w, "w2", "b")
		r := s.file(rdonly)
		s.want()
		s.wantBytes(DefaultSlots*4096, DefaultSlots)
		s.read(r, "r1", 4096)
		s.want("r1=4096a", "w1=69632")
		s.read(r, "r2", 4096)
		s.want("r2=4096a", "w2=1")
	})
	t.Run("cancelled", func(t *testing.T) {
		s, w := start(t)
		w1 := s.write(w, "w1", bytesOf('a', 10000))
		w2 := s.write(w, "w2", "two")
		s.cancel(w1)
		s.cancel(w1)
		s.want("w1=EINTR")
		r := s.file(rdonly)
		s.cancel(w2)
		s.read(r, "r", 10)
		s.want("w2=3", "r=two")
	})
	t.Run("the reader came and went before", func(t *testing.T) {
		s, w := start(t)
		s.close(s.file(rdonly))
		s.write(w, "w", "one")
		s.want("w=EPIPE SIGPIPE")
		if got := w.Poll(ipc.PollOut, nil); got != ipc.PollOut|ipc.POLLERR {
			t.Fatalf("poll = %#x, want ipc.POLLOUT and ipc.POLLERR", got)
		}
	})
	t.Run("the reader goes while the rest waits", func(t *testing.T) {
		s, w := start(t)
		s.write(w, "w", bytesOf('a', (DefaultSlots+1)*4096))
		s.close(s.file(rdonly))
		s.want("w=65536 SIGPIPE")
	})
	t.Run("another writer does not help", func(t *testing.T) {
		s, w := start(t)
		s.write(w, "w", "one")
		s.opens("o", wronly)
		s.want()
		s.opens("r", rdonly)
		s.want("o=ok", "w=3", "r=ok")
	})
}

func TestFirstReadWaitsForTheFirstWriter(t *testing.T) {
	start := func(t *testing.T) (*steps, *File) {
		s := newSteps(t)
		r := s.creates(rdonly)
		if got := r.Poll(ipc.PollIn, nil); got != 0 {
			t.Fatalf("poll = %#x before the first writer, want 0", got)
		}
		return s, r
	}
	t.Run("completed", func(t *testing.T) {
		s, r := start(t)
		s.read(r, "r1", 3)
		s.read(r, "r2", 3)
		s.readOp(r, "r3", ReadOp{Size: 3, NonBlock: true})
		s.want("r3=EAGAIN")
		w := s.file(wronly)
		s.want()
		s.write(w, "w", "onetwo")
		s.want("w=6", "r1=one", "r2=two")
	})
	t.Run("cancelled", func(t *testing.T) {
		s, r := start(t)
		r1, r2 := s.read(r, "r1", 3), s.read(r, "r2", 3)
		s.cancel(r1)
		s.cancel(r1)
		s.want("r1=EINTR")
		w := s.file(wronly)
		s.write(w, "w", "two")
		s.cancel(r2)
		s.want("w=3", "r2=two")
	})
	t.Run("the writer comes and goes", func(t *testing.T) {
		s, r := start(t)
		s.read(r, "r1", 3)
		s.read(r, "r2", 3)
		w := s.file(wronly)
		s.want()
		s.close(w)
		s.want("r1=", "r2=")
		s.read(r, "r3", 3) // only the first writer is waited for
		s.want("r3=")
		if got := r.Poll(ipc.PollIn, nil); got != ipc.POLLHUP {
			t.Fatalf("poll = %#x, want ipc.POLLHUP", got)
		}
	})
	t.Run("without waiting there is no partner to wait for", func(t *testing.T) {
		s := newSteps(t)
		r := s.creates(rdonly | nonBlock)
		s.read(r, "r", 3)
		s.want("r=")
	})
}

func TestFirstWritesMerge(t *testing.T) {
	s := newSteps(t)
	w := s.creates(wronly)
	for i := range DefaultSlots + 1 {
		s.write(w, fmt.Sprint("w", i), "x")
	}
	s.file(rdonly)
	s.wantBytes(DefaultSlots+1, 1)
}
