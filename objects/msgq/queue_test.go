package msgq

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// Which message a receiver gets, of those that are there.
func TestReceiveSelects(t *testing.T) {
	for view, want := range map[string][]string{
		"":    {"4:d", "2:b", "2:B", "1:a", "3:c"},
		"2":   {"2:b", "2:B"},
		"5":   nil,
		"-1":  {"1:a"},
		"-2":  {"1:a", "2:b", "2:B"},
		"-3":  {"1:a", "2:b", "2:B", "3:c"},
		"-99": {"1:a", "2:b", "2:B", "3:c", "4:d"},
		"^2":  {"4:d", "1:a", "3:c"},
		"^5":  {"4:d", "2:b", "2:B", "1:a", "3:c"},
	} {
		t.Run(view, func(t *testing.T) {
			s := newSteps(t)
			in := s.file("raw", wronly)
			for _, m := range []string{raw(4, "d"), raw(2, "b"), raw(2, "B"), raw(1, "a"), raw(3, "c")} {
				s.send(in, "s", m)
				s.want("s=9")
			}
			out := s.file(strings.TrimPrefix(view+":raw", ":"), rdonly)
			for _, m := range want {
				s.receiveNow(out, "r")
				s.want("r=" + m)
			}
			s.receiveNow(out, "r")
			s.want("r=EAGAIN")
			if n := s.q.Stat().QNum; n != 5-len(want) {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}

// A message goes to the first receiver that waits and takes it, past those who do not; who has no room for it gets E2BIG and it goes on.
func TestPipelinedSend(t *testing.T) {
	s := newSteps(t)
	seven, any, low := s.file("7", rdwr), s.file("", rdwr), s.file("-5", rdonly)
	s.receive(seven, "seven")
	s.receiveOp(low, "small", ReceiveOp{Size: 3, PID: 9})
	s.receiveOp(low, "exact", ReceiveOp{Size: 4, PID: 10})
	s.receive(any, "any")
	s.wantWaiting(4, 0)
	s.send(any, "s1", "four")
	s.want("small=E2BIG", "exact=four", "s1=4")
	if st := s.q.Stat(); st.LRPid != 10 || st.LSPid != 1 || st.QNum != 0 || st.CBytes != 0 || !st.STime.Equal(s.now) || !st.RTime.Equal(s.now) {
		t.Errorf("after the handover: %+v", st)
	}
	s.send(seven, "s2", "x")
	s.want("seven=x", "s2=1")
	s.send(seven, "s3", "y")
	s.want("any=y", "s3=1")
	s.wantWaiting(0, 0)

	s.receiveOp(low, "small", ReceiveOp{Size: 3})
	s.send(any, "s4", "four") // nobody is left for it
	s.want("small=E2BIG", "s4=4")
	s.wantQueue("1:four")
	s.receiveOp(low, "again", ReceiveOp{Size: 3})
	s.want("again=E2BIG")
	s.wantQueue("1:four")
}

// The two limits of a queue: bytes, and as many messages.
func TestFull(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(10)
	in, out := s.file("raw", wronly), s.file("", rdonly)
	s.sendNow(in, "s1", raw(1, strings.Repeat("x", 9)))
	s.sendNow(in, "s2", raw(1, "yy"))
	s.sendNow(in, "s3", raw(1, "y"))
	s.sendNow(in, "s4", raw(1, ""))
	s.want("s1=17", "s2=EAGAIN", "s3=9", "s4=8")
	for range 7 {
		s.sendNow(in, "s", raw(1, ""))
		s.want("s=8")
	}
	s.sendNow(in, "s5", raw(1, "")) // ten messages of ten bytes
	s.want("s5=EAGAIN")
	s.send(in, "s6", raw(2, ""))
	s.wantWaiting(0, 1)
	s.receive(out, "r")
	s.want("s6=8", "r="+strings.Repeat("x", 9))

	s.setQBytes(0)
	for range 10 {
		s.receive(out, "r")
	}
	s.log = nil
	s.sendNow(in, "s7", raw(1, ""))
	s.want("s7=EAGAIN")
}

// A sender waits for room before it looks whether somebody waits for just its message.
func TestFullQueueComesBeforeTheReceiver(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(4)
	one, seven := s.file("1", rdwr), s.file("7", rdwr)
	s.send(one, "s1", "full")
	s.receive(seven, "r7")
	s.send(seven, "s7", "x")
	s.want("s1=4")
	s.wantWaiting(1, 1)
	s.receive(one, "r1")
	s.want("r7=x", "s7=1", "r1=full")
}

// Who waits to send, and in which order they go on.
func TestSenders(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(10)
	f := s.file("", rdwr)
	s.send(f, "s0", "0123456789")
	s.send(f, "big", "aaaaaaaa")
	s.send(f, "mid", "bbbbb")
	s.send(f, "low", "cc")
	s.want("s0=10")
	s.wantWaiting(0, 3)
	s.setQBytes(13)
	s.want("low=2") // room for 3
	s.send(f, "new", "d")
	s.want("new=1") // who comes now and fits is not kept back
	s.wantWaiting(0, 2)
	s.receive(f, "r")
	s.want("big=8", "r=0123456789") // both fit alone; the first took the room
	s.wantWaiting(0, 1)
	s.send(f, "more", "eeee")
	s.receive(f, "r")
	s.want("more=4", "r=cc") // past mid, which does not fit
	s.receive(f, "r")
	s.want("r=d")
	s.receive(f, "r")
	s.want("mid=5", "r=aaaaaaaa")
	s.wantQueue("1:eeee", "1:bbbbb")
}

// Who was woken and came too late waits behind those who came meanwhile.
func TestLoserGoesBehind(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(10)
	f := s.file("", rdwr)
	s.send(f, "s0", "0123456789")
	s.send(f, "a", "aaaaaa")
	s.send(f, "b", "bbbbbb")
	s.send(f, "c", "0123456789x") // never fits
	s.receive(f, "r")
	s.want("s0=10", "a=6", "r=0123456789")
	s.setQBytes(11)
	s.receive(f, "r") // c fits and is first now
	s.want("c=11", "r=aaaaaa")
	s.receive(f, "r")
	s.want("b=6", "r=0123456789x")
}

func TestRefused(t *testing.T) {
	s := newSteps(t)
	msgmax := strings.Repeat("m", 50)
	for _, c := range []struct {
		view, data, want string
		flags            uint32
		piece            bool
	}{
		{"", msgmax, "50", rdwr, false},
		{"", msgmax + "m", "EINVAL", rdwr, false},
		{"", "m", "EINVAL", rdwr, true},
		{"", "m", "EBADF", rdonly, false},
		{"raw", raw(1, msgmax), "58", wronly, false},
		{"raw", raw(1, msgmax+"m"), "EINVAL", wronly, false},
		{"raw", raw(0, "m"), "EINVAL", wronly, false},
		{"raw", raw(-1, "m"), "EINVAL", wronly, false},
		{"raw", raw(1, "")[:7], "EINVAL", wronly, false},
		{"-7", "m", "EINVAL", rdwr, false},
		{"^7", "m", "EINVAL", rdwr, false},
		{"-7:lines", "m\n", "EINVAL", rdwr, false},
		{"lines", "m\n", "EBADF", rdonly, false},
	} {
		f := s.file(c.view, c.flags)
		s.sendOp(f, "s", SendOp{Data: []byte(c.data), Piece: c.piece, NonBlock: true})
		s.want("s=" + c.want)
	}
	if st := s.q.Stat(); st.QNum != 2 {
		t.Errorf("%d messages are there, want 2", st.QNum)
	}
	s.receiveNow(s.file("", wronly), "r")
	s.receiveOp(s.file("raw", rdonly), "r", ReceiveOp{Size: 7})
	s.receiveOp(s.file("", rdonly), "r", ReceiveOp{Size: 100, More: true})
	s.want("r=EBADF", "r=EINVAL", "r=")
	if _, err := s.q.Open(View{Mode: ModePeek}, rdonly); err != syscall.EINVAL {
		t.Errorf("open to peek: %v", err)
	}
}

// The end of the queue: those who wait are told, receivers first, and those who come.
func TestRemove(t *testing.T) {
	s := newSteps(t)
	f, seven, lines, stream := s.file("", rdwr), s.file("7", rdwr), s.file("lines", rdwr), s.file("stream", rdonly)
	s.send(f, "s", "whole")
	s.receiveOp(stream, "r", ReceiveOp{Size: 2})
	s.send(f, "s", strings.Repeat("x", 50))
	s.send(f, "s", strings.Repeat("y", 45))
	s.send(lines, "l", "part")
	s.want("s=5", "r=wh", "s=50", "s=45", "l=4")
	s.receive(seven, "r1")
	s.receive(seven, "r2")
	s.send(f, "s1", strings.Repeat("z", 50))
	s.send(lines, "l1", " a\nb\nc")
	s.send(lines, "l2", "d\n") // behind l1
	if events := s.poll(f, "poll", ipc.POLLIN); events&ipc.POLLERR != 0 {
		t.Errorf("poll says %#x", events)
	}
	s.do(s.q.Remove)
	s.want("r1=EIDRM", "r2=EIDRM", "s1=EIDRM", "l1=EIDRM", "l2=EIDRM", "poll=woken")
	s.do(s.q.Remove)
	s.want()
	s.receive(f, "r")
	s.send(f, "s", "x")
	s.send(lines, "l", "x\n")
	s.receiveOp(stream, "rest", ReceiveOp{Size: 100}) // which was received before
	s.receive(stream, "r")
	s.want("r=EIDRM", "s=EIDRM", "l=EIDRM", "rest=ole", "r=EIDRM")
	if events := s.poll(f, "", ipc.POLLIN|ipc.POLLOUT); events != ipc.POLLERR|ipc.POLLHUP|ipc.PollIn|ipc.PollOut {
		t.Errorf("poll says %#x", events)
	}
	if _, err := s.q.Open(View{}, rdonly); err != syscall.EIDRM {
		t.Errorf("open: %v", err)
	}
	if _, err := s.q.Peek(Selector{}, 100); err != syscall.EIDRM {
		t.Errorf("peek: %v", err)
	}
	if err := s.q.SetQBytes(root, 100, nil); err != syscall.EIDRM {
		t.Errorf("q_qbytes: %v", err)
	}
	if n := s.store.InUse(); n != 0 {
		t.Errorf("%d queues exist", n)
	}
}

func TestSetQBytes(t *testing.T) {
	s := newSteps(t)
	for _, c := range []struct {
		caller ipc.Caller
		n      uint64
		want   error
	}{
		{alice, 100, nil}, {alice, 101, syscall.EPERM}, {root, 101, nil}, {alice, 0, nil}, {root, 1<<31 - 1, nil}, {root, 1 << 31, syscall.EINVAL}, {root, 1<<64 - 1, syscall.EINVAL},
	} {
		before := s.q.Stat()
		s.now = s.now.Add(time.Second)
		err := error(nil)
		s.do(func(done *ipc.Completions) { err = s.q.SetQBytes(c.caller, c.n, done) })
		st := s.q.Stat()
		if err != c.want || err == nil && (st.QBytes != int(c.n) || !st.CTime.Equal(s.now)) || err != nil && st != before {
			t.Errorf("%d by user %d: %v, %+v", c.n, c.caller.UID, err, st)
		}
	}
}

func TestMsgMni(t *testing.T) {
	s := newSteps(t)
	var more []*Queue
	for range 2 {
		q, err := s.store.New()
		if err != nil {
			t.Fatal(err)
		}
		more = append(more, q)
	}
	if _, err := s.store.New(); err != syscall.ENOSPC {
		t.Errorf("a fourth queue: %v", err)
	}
	s.do(more[0].Remove)
	q, err := s.store.New()
	if err != nil {
		t.Errorf("after one was removed: %v", err)
	}
	s.do(q.Remove)
	s.do(more[1].Remove)
}

// A wait ends by cancel, once, and leaves the others alone.
func TestCancel(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(4)
	f := s.file("", rdwr)
	r1, r2 := s.receive(f, "r1"), s.receive(f, "r2")
	s.do(r1.Cancel)
	s.do(r1.Cancel)
	s.want("r1=EINTR")
	s.send(f, "s0", "full")
	s.do(r2.Cancel) // it has got it
	s.want("r2=full", "s0=4")
	s.send(f, "s1", "full")
	s2, s3 := s.send(f, "s2", "two"), s.send(f, "s3", "tri")
	s.do(s2.Cancel)
	s.do(s2.Cancel)
	s.receive(f, "r3")
	s.do(s3.Cancel)
	s.want("s1=4", "s2=EINTR", "s3=3", "r3=full")
	s.wantQueue("1:tri")
}

// What the times and numbers of a queue say.
func TestStat(t *testing.T) {
	s := newSteps(t)
	f := s.file("", rdwr)
	if st := s.q.Stat(); !st.STime.IsZero() || !st.RTime.IsZero() || st.LSPid != 0 || st.LRPid != 0 || st.QBytes != 100 {
		t.Errorf("new: %+v", st)
	}
	made := s.now
	s.now = s.now.Add(time.Second)
	sent := s.now
	s.sendOp(f, "s", SendOp{Data: []byte("hello"), PID: 77})
	s.now = s.now.Add(time.Second)
	if st := s.q.Stat(); !st.STime.Equal(sent) || !st.RTime.IsZero() || !st.CTime.Equal(made) || st.LSPid != 77 || st.CBytes != 5 || st.QNum != 1 {
		t.Errorf("sent: %+v", st)
	}
	list, err := s.q.Peek(Selector{}, 5)
	if err != nil || len(list) != 1 || list[0].PID != 77 {
		t.Errorf("peek: %+v, %v", list, err)
	}
	if _, err := s.q.Peek(Selector{}, 4); err != syscall.E2BIG {
		t.Errorf("peek with room for 4 bytes: %v", err)
	}
	if list, err := s.q.Peek(Select(2, false), 4); err != nil || len(list) != 0 {
		t.Errorf("peek of another type: %+v, %v", list, err)
	}
	s.receiveOp(f, "r", ReceiveOp{Size: 5, PID: 78})
	s.want("s=5", "r=hello")
	if st := s.q.Stat(); !st.RTime.Equal(s.now) || st.LRPid != 78 || st.CBytes != 0 || st.QNum != 0 {
		t.Errorf("received: %+v", st)
	}
	if times := s.q.Times(); times != (ipc.Times{Atime: s.now, Mtime: sent, Ctime: made}) {
		t.Errorf("times: %+v", times)
	}
	touched := s.now.Add(time.Hour)
	s.q.SetTimes(ipc.Times{Mtime: touched})
	if times := s.q.Times(); times != (ipc.Times{Atime: s.now, Mtime: touched, Ctime: made}) || !s.q.Stat().STime.Equal(sent) {
		t.Errorf("touched: %+v, %+v", times, s.q.Stat())
	}
}

// Messages of all lengths around those at which another piece begins come back as they were.
func TestLengths(t *testing.T) {
	limits := smallLimits()
	limits.MsgMax, limits.MsgMnb = 20000, 1<<20
	s := newStepsWith(t, 4096, limits)
	f := s.file("raw", rdwr)
	s.dirty()
	text := make([]byte, 20000)
	for i := range text {
		text[i] = 'a' + byte(i*7%26)
	}
	for _, at := range []int{0, 64 - headSize, 128 - headSize, 2048 - headSize, page.Size - headSize, page.Size, 2*page.Size - headSize - segSize, 3*page.Size - headSize - 2*segSize, 20000} {
		for n := max(0, at-2); n <= min(20000, at+2); n++ {
			s.send(f, "s", raw(5, string(text[:n])))
			s.receiveOp(f, "r", ReceiveOp{Size: TypeSize + n})
			s.log = s.log[1:]
			s.want("r=5:" + string(text[:n]))
		}
	}
}

// Without memory a send is refused, and nothing is kept.
func TestNoMemory(t *testing.T) {
	limits := smallLimits()
	limits.MsgMax, limits.MsgMnb = 8192, 1<<20
	s := newStepsWith(t, 4, limits)
	f, lines := s.file("", rdwr), s.file("lines", rdwr)
	big := strings.Repeat("x", 8191) // two pages and a piece of a third
	s.send(f, "s1", big)
	s.send(f, "s2", big)
	s.send(f, "s3", "small")
	s.send(f, "s4", big[:4000])
	s.want("s1=8191", "s2=ENOMEM", "s3=5", "s4=4000")
	s.send(lines, "l1", "no page for what has no newline")
	s.want("l1=ENOMEM")
	s.send(lines, "l2", "but for this\nnot for that")
	s.want("l2=13")
	s.setQBytes(1)
	s.send(f, "s5", big)
	s.send(lines, "l3", "cannot be kept\n")
	s.want("s5=ENOMEM", "l3=ENOMEM")
	s.wantQueue("1:"+big, "1:small", "1:"+big[:4000], "1:but for this\n")
}
