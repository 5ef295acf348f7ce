package pipe

import (
	"testing"

	"ipcfs/objects/ipc"
)

func TestPollBits(t *testing.T) {
	for _, c := range []struct {
		name string
		file func(s *steps) *File
		want uint32
	}{
		{"reader before any writer", func(s *steps) *File { return s.file(rdonly | nonBlock) }, 0},
		{"reader, empty", func(s *steps) *File { r, _ := s.ends(); return r }, 0},
		{"reader, data", func(s *steps) *File { r, w := s.ends(); s.write(w, "w", "x"); return r }, ipc.PollIn},
		{"reader, data, no writer", func(s *steps) *File { r, w := s.ends(); s.write(w, "w", "x"); s.close(w); return r }, ipc.PollIn | ipc.POLLHUP},
		{"reader, no writer any more", func(s *steps) *File { r, w := s.ends(); s.close(w); return r }, ipc.POLLHUP},
		{"reader, the writer is back", func(s *steps) *File { r, w := s.ends(); s.close(w); s.file(wronly); return r }, 0},
		{"second reader, opened after the writer left", func(s *steps) *File { _, w := s.ends(); s.close(w); return s.file(rdonly | nonBlock) }, 0},
		{"second reader, another writer came and went", func(s *steps) *File {
			_, w := s.ends()
			s.close(w)
			r := s.file(rdonly | nonBlock)
			s.close(s.file(wronly))
			return r
		}, ipc.POLLHUP},
		{"reader that waited for its writer", func(s *steps) *File {
			r := s.opens("r", rdonly)
			s.close(s.file(wronly))
			return r.File
		}, ipc.POLLHUP},
		{"created reader, no writer yet", func(s *steps) *File { return s.creates(rdonly) }, 0},
		{"created reader, its writer left", func(s *steps) *File { r := s.creates(rdonly); s.close(s.file(wronly)); return r }, ipc.POLLHUP},
		{"created reader that would not wait", func(s *steps) *File { return s.creates(rdonly | nonBlock) }, 0},
		{"writer, empty", func(s *steps) *File { _, w := s.ends(); return w }, ipc.PollOut},
		{"writer, room", func(s *steps) *File { _, w := s.ends(); s.fill(w, DefaultSlots-1); return w }, ipc.PollOut},
		{"writer, full", func(s *steps) *File { _, w := s.ends(); s.fill(w, DefaultSlots); return w }, 0},
		{"writer, no reader", func(s *steps) *File { r, w := s.ends(); s.close(r); return w }, ipc.PollOut | ipc.POLLERR},
		{"writer, full, no reader", func(s *steps) *File {
			r, w := s.ends()
			s.fill(w, DefaultSlots)
			s.close(r)
			return w
		}, ipc.POLLERR},
		{"created writer, no reader yet", func(s *steps) *File { return s.creates(wronly) }, 0},
		{"created writer, reader", func(s *steps) *File { w := s.creates(wronly); s.file(rdonly); return w }, ipc.PollOut},
		{"created writer, its reader left", func(s *steps) *File { w := s.creates(wronly); s.close(s.file(rdonly)); return w }, ipc.PollOut | ipc.POLLERR},
		{"both, empty", func(s *steps) *File { return s.file(rdwr) }, ipc.PollOut},
		{"both, data", func(s *steps) *File { f := s.file(rdwr); s.write(f, "w", "x"); return f }, ipc.PollIn | ipc.PollOut},
		{"both, full", func(s *steps) *File { f := s.file(rdwr); s.fill(f, DefaultSlots); return f }, ipc.PollIn},
	} {
		s := newSteps(t)
		f := c.file(s)
		if got := f.Poll(0, nil); got != c.want { // the bits do not depend on what is asked for
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}

func TestWriteWakesReaders(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	r2 := s.file(rdonly)
	s.poll(r, "r", ipc.PollIn)
	s.poll(r2, "r2", ipc.PollIn)
	s.poll(w, "w", ipc.PollIn) // a writer is never readable
	s.write(w, "x", "a")
	s.want("r", "r2", "x=1")
	s.write(w, "x", "b") // once only
	s.want("x=1")
	s.poll(r, "r", ipc.PollIn)
	s.write(w, "x", "c") // an edge-triggered epoll is told of every write, also into a pipe that was not empty
	s.want("r", "x=1")
	s.poll(r, "r", ipc.POLLRDNORM)
	s.poll(r2, "r2", ipc.PollOut)
	s.write(w, "x", "d")
	s.want("r", "x=1")
}

func TestReadWakesWriters(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.poll(w, "w", ipc.PollOut)
	s.read(r, "x", 4095)
	s.want("x=4095.") // no slot came free
	s.read(r, "x", 1)
	s.want("w", "x=.")
	s.poll(w, "w", ipc.PollOut)
	s.read(r, "x", 4096) // it was not full before
	s.want("x=4096.")
	s.fill(w, 2)
	s.poll(w, "w", ipc.POLLWRNORM)
	s.read(r, "x", 20*4096)
	s.want("w", "x=65536.")
}

// Room that goes to a waiting writer at once was there all the same, as for an edge-triggered epoll in the kernel.
func TestWaitingOperationsAndPolls(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.write(w, "x", bytesOf('a', 4096))
	s.poll(w, "w", ipc.PollOut)
	s.read(r, "y", 4096)
	s.want("w", "y=4096.", "x=4096")

	s.write(w, "x", bytesOf('b', 4096))
	s.poll(r, "r", ipc.PollIn)
	s.read(r, "y", 4096) // the writer that goes on has written again
	s.want("y=4096.", "r", "x=4096")

	s.read(r, "y", 20*4096)
	s.log = nil
	s.read(r, "y", 1)
	s.poll(r, "r", ipc.PollIn)
	s.write(w, "x", "d") // told though a waiting reader took all
	s.want("r", "x=1", "y=d")
}

func TestClosesWakePolls(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	w2 := s.file(wronly)
	s.poll(r, "r", 0) // ipc.POLLHUP and ipc.POLLERR need not be asked for
	s.close(w2)
	s.want()
	s.close(w)
	s.want("r")

	w = s.file(wronly)
	s.poll(w, "w", 0)
	s.close(r)
	s.want("w")
}

func TestOpensWakePolls(t *testing.T) {
	s := newSteps(t)
	w := s.creates(wronly)
	s.poll(w, "w", ipc.PollOut)
	r := s.file(rdonly)
	s.want("w")
	s.poll(w, "w", ipc.PollOut)
	s.file(rdonly) // a second reader changes nothing
	s.want()
	s.close(r)
	s.want()
}

func TestPollRegistration(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	both := s.file(rdwr)
	s.poll(both, "old", ipc.PollIn)
	if got := s.poll(both, "new", ipc.PollOut); got != ipc.PollOut { // events add up, the last wake is told
		t.Fatalf("poll = %#x", got)
	}
	if got := both.Poll(ipc.PollIn, nil); got != ipc.PollOut { // asking only is no registration, and ends none
		t.Fatalf("poll = %#x", got)
	}
	s.write(w, "x", "a")
	s.want("new", "x=1")
	s.poll(both, "new", ipc.PollOut) // the events of the registration before are forgotten
	s.write(w, "x", "b")
	s.want("x=1")

	s.poll(r, "r", ipc.PollIn)
	s.close(r) // who closes is told nothing
	s.write(w, "x", "c")
	s.want("x=1")
}

func TestResizeWakesPolls(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.poll(w, "w", ipc.PollOut)
	s.poll(r, "r", ipc.PollIn)
	s.resize(root, 32*4096, nil)
	s.want("w")
	if got := w.Poll(0, nil); got != ipc.PollOut {
		t.Fatalf("poll = %#x, want ipc.POLLOUT", got)
	}
}
