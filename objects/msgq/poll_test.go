package msgq

import (
	"fmt"
	"strings"
	"testing"

	"ipcfs/objects/ipc"
)

// What is ready through each view, and what wakes a poll of it.
func TestPoll(t *testing.T) {
	for view, want := range map[string][3]bool{ // woken by, and ready with, a message of type 1, 7, and 7 without text
		"":          {true, true, true},
		"raw":       {true, true, true},
		"1":         {true, false, false},
		"-6":        {true, false, false},
		"^1":        {false, true, true},
		"7:raw":     {false, true, true},
		"stream":    {true, true, false},
		"7:lines":   {false, true, false},
		"-7:stream": {true, true, false},
	} {
		for i, m := range []string{raw(1, "x"), raw(7, "x"), raw(7, "")} {
			s := newSteps(t)
			in, f := s.file("raw", wronly), s.file(view, rdonly)
			if events := s.poll(f, "p", ipc.POLLIN); events != 0 {
				t.Errorf("%q, empty: %#x", view, events)
			}
			s.send(in, "s", m)
			lines, ready := []string{fmt.Sprint("s=", len(m))}, uint32(0)
			if want[i] {
				lines, ready = append([]string{"p=woken"}, lines...), ipc.PollIn
			}
			s.want(lines...)
			if events := s.poll(f, "", ipc.POLLIN); events != ready {
				t.Errorf("%q, message %d: %#x, want %#x", view, i, events, ready)
			}
		}
	}
}

// A message that goes to a receiver which waits is no event.
func TestPollHandover(t *testing.T) {
	s := newSteps(t)
	f, g := s.file("", rdwr), s.file("", rdonly)
	s.poll(g, "p", ipc.POLLIN)
	s.receive(f, "r")
	s.send(f, "s1", "x")
	s.want("r=x", "s1=1")
	s.send(f, "s2", "y")
	s.want("p=woken", "s2=1")
	s.send(f, "s3", "z") // it was told once
	s.want("s3=1")
}

// Room for one byte is room.
func TestPollOut(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(3)
	f, r, w := s.file("", rdwr), s.file("", rdonly), s.file("", wronly)
	if s.poll(f, "", ipc.POLLOUT) != ipc.PollOut || s.poll(r, "", ipc.POLLIN|ipc.POLLOUT) != 0 {
		t.Error("an empty queue takes nothing, or from who cannot write")
	}
	s.send(f, "s", "abc")
	s.want("s=3")
	if s.poll(f, "f", ipc.POLLOUT) != ipc.PollIn || s.poll(w, "w", ipc.POLLIN|ipc.POLLOUT) != 0 {
		t.Error("a full queue takes more")
	}
	s.poll(r, "r", ipc.POLLOUT)
	s.setQBytes(4)
	s.want("f=woken", "w=woken")
	if s.poll(w, "w", ipc.POLLOUT) != ipc.PollOut {
		t.Error("there is room for a byte")
	}
	s.send(f, "s", strings.Repeat("x", 4))
	s.receive(f, "r1") // makes room, which the one who waits takes
	s.want("s=4", "r1=abc")
	s.receive(f, "r2")
	s.want("w=woken", "r2=xxxx")
	s.poll(w, "w", ipc.POLLOUT)
	s.close(w)
	s.send(f, "s", "abcd")
	s.receive(f, "r3")
	s.want("s=4", "r3=abcd") // who is gone is not told
}
