package msgq

import (
	"testing"

	"ipcfs/objects/ipc"
)

// A message is read piecemeal, and what was begun is the file's own until it is closed.
func TestStream(t *testing.T) {
	s := newSteps(t)
	in, a, b := s.file("", wronly), s.file("stream", rdonly), s.file("stream", rdonly)
	s.send(in, "s1", "hello\n")
	s.send(in, "s2", "world\n")
	s.want("s1=6", "s2=6")
	for _, c := range "hel" {
		s.receiveOp(a, "a", ReceiveOp{Size: 1})
		s.want("a=" + string(c))
	}
	if st := s.q.Stat(); st.QNum != 1 || st.CBytes != 6 {
		t.Errorf("a begun message counts: %+v", st)
	}
	s.receive(b, "b")
	s.receive(a, "a") // no more than the one message
	s.receiveNow(a, "a")
	s.want("b=world\n", "a=lo\n", "a=EAGAIN")

	s.send(in, "s", "dropped")
	s.receiveOp(a, "a", ReceiveOp{Size: 4})
	s.close(a)
	s.receiveNow(b, "b")
	s.want("s=7", "a=drop", "b=EAGAIN")
}

// What the first of the reads that wait on one file does not take, the others get, before another message.
func TestStreamShared(t *testing.T) {
	s := newSteps(t)
	in, a, b := s.file("", wronly), s.file("stream", rdonly), s.file("stream", rdonly)
	s.receiveOp(a, "a1", ReceiveOp{Size: 2})
	s.receiveOp(b, "b1", ReceiveOp{Size: 2})
	s.receiveOp(a, "a2", ReceiveOp{Size: 2})
	s.receiveOp(a, "a3", ReceiveOp{Size: 2})
	s.send(in, "s1", "123")
	s.want("a1=12", "a2=3", "s1=3")
	s.send(in, "s2", "45")
	s.want("b1=45", "s2=2")
	s.send(in, "s3", "678")
	s.want("a3=67", "s3=3")
	s.receive(a, "a4")
	s.want("a4=8")
}

// What no read takes of a message that went to one that waited is there for those who poll the file, and for no others.
func TestStreamPollRest(t *testing.T) {
	s := newSteps(t)
	in, a, b := s.file("", wronly), s.file("stream", rdonly), s.file("stream", rdonly)
	s.receiveOp(a, "r1", ReceiveOp{Size: 2})
	s.receiveOp(a, "r2", ReceiveOp{Size: 2})
	s.poll(a, "pa", ipc.POLLIN)
	s.poll(b, "pb", ipc.POLLIN)
	s.send(in, "s1", "1234")
	s.want("r1=12", "r2=34", "s1=4")
	s.receiveOp(a, "r3", ReceiveOp{Size: 2})
	s.send(in, "s2", "567")
	s.want("r3=56", "pa=woken", "s2=3")
}

// A message of no bytes is passed over.
func TestStreamEmpty(t *testing.T) {
	s := newSteps(t)
	in, f := s.file("raw", wronly), s.file("stream", rdonly)
	s.send(in, "s", raw(1, ""))
	if events := s.poll(f, "p", ipc.POLLIN); events != 0 {
		t.Errorf("poll says %#x", events)
	}
	s.receiveNow(f, "r1")
	s.want("s=8", "r1=EAGAIN")
	s.receive(f, "r2")
	s.send(in, "s", raw(1, ""))
	s.want("s=8")
	s.wantQueue()
	s.send(in, "s", raw(1, "x"))
	s.want("r2=x", "s=9")
}
