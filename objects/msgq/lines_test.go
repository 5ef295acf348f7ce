package msgq

import (
	"fmt"
	"strings"
	"testing"
)

// Each line is a message; the last piece without a newline waits for its rest, and is sent when the file is released.
func TestLines(t *testing.T) {
	s := newSteps(t)
	f, other := s.file("lines", wronly), s.file("7:lines", wronly)
	s.send(f, "s1", "one\ntwo\n\nthr")
	s.send(other, "s2", "seven")
	s.send(f, "s3", "ee\n4")
	s.send(f, "s4", "")
	s.want("s1=12", "s2=5", "s3=4", "s4=0")
	s.wantQueue("1:one\n", "1:two\n", "1:\n", "1:three\n")
	s.close(other)
	s.close(f)
	s.wantQueue("1:one\n", "1:two\n", "1:\n", "1:three\n", "7:seven", "1:4")
}

// A read gives as many whole messages as there is room for, of those that the view takes.
func TestReceiveLines(t *testing.T) {
	s := newSteps(t)
	in, lines, seven := s.file("raw", wronly), s.file("lines", rdonly), s.file("7:lines", rdonly)
	for _, m := range []string{raw(1, "one\n"), raw(7, "a\n"), raw(1, ""), raw(1, "no newline"), raw(7, "b\n"), raw(1, "last\n")} {
		s.send(in, "s", m)
	}
	s.log = nil
	s.receiveOp(lines, "r1", ReceiveOp{Size: 3})
	s.receiveOp(lines, "r2", ReceiveOp{Size: 6 + 9}) // and a byte less than the next
	s.receive(seven, "r3")
	s.receive(lines, "r4")
	s.receiveNow(lines, "r5")
	s.want("r1=E2BIG", "r2=one\na\n", "r3=b\n", "r4=no newlinelast\n", "r5=EAGAIN")
	s.send(in, "s", raw(1, ""))
	s.receive(lines, "r6") // takes that, and waits
	s.want("s=8")
	s.wantQueue()
	s.send(in, "s", raw(1, "")) // goes to it, and it waits on
	s.want("s=8")
	s.send(in, "s", raw(1, "x"))
	s.want("r6=x", "s=9")
}

// Lines that do not fit wait, and what makes room lets as many go on as fit. One read takes them all, if it has room.
func TestLinesWait(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(10)
	in, out, many := s.file("lines", wronly), s.file("", rdonly), s.file("lines", rdonly)
	s.send(in, "s1", "1234\n1234\n123\n56\n8\nrest")
	s.want()
	s.wantQueue("1:1234\n", "1:1234\n")
	s.receive(out, "r1")
	s.want("r1=1234\n")
	s.wantQueue("1:1234\n", "1:123\n")
	s.receive(many, "r2")
	s.want("s1=23", "r2=1234\n123\n56\n8\n")
	s.wantQueue()
	s.send(in, "s2", "!\n")
	s.want("s2=2")
	s.wantQueue("1:rest!\n")
}

// A write that is ended while it waits was of the lines that went, and nothing of it is left behind; what its file had before is.
func TestLinesCancel(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(6)
	in, out := s.file("lines", wronly), s.file("", rdonly)
	s.send(in, "s1", "12345\nab")
	s2 := s.send(in, "s2", "c\nd\nef")
	s.do(s2.Cancel)
	s.want("s1=8", "s2=EINTR")
	s3 := s.send(in, "s3", "\nx\n1234\n56")
	s.receive(out, "r1")
	s.want("r1=12345\n") // "ab\n" and "x\n" went
	s.do(s3.Cancel)
	s.want("s3=3")
	s.receive(out, "r2")
	s.receive(out, "r3")
	s.send(in, "s4", "y\n")
	s.want("r2=ab\n", "r3=x\n", "s4=2")
	s.wantQueue("1:y\n")
	s.setQBytes(4)
	s5 := s.send(in, "s5", "1\n1234\n") // the first goes at once
	s.do(s5.Cancel)
	s.want("s5=2")
	s.wantQueue("1:y\n", "1:1\n")
}

// The writes of one file go one after another, in the order in which they came.
func TestLinesOfOneFile(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(4)
	in, out, other := s.file("lines", wronly), s.file("", rdonly), s.file("lines", wronly)
	s.send(in, "s0", "123\n")
	s.send(in, "s1", "a\nb")
	s.send(in, "s2", "c\nd")
	s3 := s.send(in, "s3", "never\n")
	s.send(in, "s4", "e\n")
	s.sendNow(in, "s5", "f")
	s.send(other, "o", "oo\n")
	s.want("s0=4", "s5=EAGAIN")
	s.do(s3.Cancel)
	s.want("s3=EINTR")
	s.wantWaiting(0, 4) // s1, s2 and s4 behind it, and the other
	s.receive(out, "r")
	s.want("s1=3", "r=123\n") // then "bc\n", which does not fit behind "a\n"; nor does the other's
	s.receive(out, "r")
	s.want("o=3", "r=a\n") // the other waited longer than "bc\n"
	s.receive(out, "r")
	s.want("s2=3", "r=oo\n")
	s.receive(out, "r")
	s.want("s4=2", "r=bc\n")
	s.wantQueue("1:de\n")
}

// With O_NONBLOCK what fits goes.
func TestLinesNonBlock(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(6)
	f := s.file("lines", rdwr)
	s.sendNow(f, "s1", "a\nb\nccc\nd\n")
	s.sendNow(f, "s2", "ccc\n")
	s.sendNow(f, "s3", "c\nx")
	s.sendNow(f, "s4", "\n")
	s.want("s1=4", "s2=EAGAIN", "s3=3", "s4=EAGAIN") // the x needs no room yet
	s.wantQueue("1:a\n", "1:b\n", "1:c\n")
}

// A line longer than msgmax is refused, all of it; those before it are sent.
func TestLongLine(t *testing.T) {
	s := newSteps(t)
	long := strings.Repeat("x", 50)
	f := s.file("lines", rdwr)
	s.send(f, "s1", "short\n"+long+"\nafter\n")
	s.send(f, "s2", long+"\nafter\n")
	s.send(f, "s3", long)
	s.send(f, "s4", "\n")
	s.send(f, "s5", "ok\n")
	s.send(f, "s6", long)
	s.send(f, "s7", "x")
	s.want("s1=6", "s2=EINVAL", "s3=50", "s4=EINVAL", "s5=3", "s6=50", "s7=EINVAL")
	s.wantQueue("1:short\n", "1:ok\n")

	s.setQBytes(1)
	s.send(f, "s8", "a\nb\n"+long+long+"\nc\n")
	s.setQBytes(100)
	s.want("s8=4") // and the next write begins with the long line
	s.wantQueue("1:short\n", "1:ok\n", "1:a\n", "1:b\n")
	s.close(f)
	s.wantQueue("1:short\n", "1:ok\n", "1:a\n", "1:b\n")
}

// The last line of a released file waits for room as any message, and nobody for it.
func TestLastLineWaits(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(6)
	a, b, out := s.file("lines", wronly), s.file("lines", wronly), s.file("", rdonly)
	s.send(a, "s1", "12345\nlast")
	s.send(b, "s2", "lost")
	s.close(a)
	s.want("s1=10", "s2=4")
	s.wantWaiting(0, 0)
	s.receive(out, "r")
	s.want("r=12345\n")
	s.wantQueue("1:last")
	s.close(b)
	s.wantWaiting(0, 0)
	s.do(s.q.Remove)
	s.want()
}

// What released files leave waits with nobody, so it is bounded: there is no beginning of a line then.
func TestLinesLeft(t *testing.T) {
	s := newSteps(t)
	s.setQBytes(2)
	f, out := s.file("lines", rdwr), s.file("", rdonly)
	s.send(f, "s", "1\n")
	s.send(f, "s", "begun")
	s.want("s=2", "s=5")
	leave := func() {
		g := s.file("lines", wronly)
		s.send(g, "s", "abc")
		s.close(g)
	}
	for range 3 {
		leave()
		s.want("s=3")
	}
	leave()
	s.want("s=ENOMEM")
	s.send(f, "s", " before")
	s.want("s=7")
	s.setQBytes(4)
	s.wantQueue("1:1\n")
	s.receive(out, "r")
	s.want("r=1\n")
	s.wantQueue("1:abc")
	leave()
	s.want("s=3")
	s.do(s.q.Remove)
}

// A line of many writes, over pages; and one write of many lines, which wait.
func TestLinesOverPages(t *testing.T) {
	limits := smallLimits()
	limits.MsgMax, limits.MsgMnb = 20000, 20000
	s := newStepsWith(t, 4096, limits)
	f := s.file("lines", rdwr)
	want := ""
	for i := range 15 {
		part := strings.Repeat(string(rune('a'+i)), 1000)
		s.send(f, "s", part)
		s.want("s=1000")
		want += part
	}
	s.send(f, "s", "\n")
	s.receiveOp(f, "r", ReceiveOp{Size: 20000})
	s.want("s=1", "r="+want+"\n")

	text := ""
	for i := range 900 {
		text += strings.Repeat(string(rune('a'+i%26)), i%99) + "\n"
	}
	s.send(f, "s", text+"end")
	s.want()
	s.receiveOp(f, "r", ReceiveOp{Size: 1 << 20})
	s.want(fmt.Sprint("s=", len(text)+3), "r="+text)
	s.send(f, "s", "\n")
	s.receiveOp(f, "r", ReceiveOp{Size: 20000})
	s.want("s=1", "r=end\n")
}
