package pipe

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"ipcfs/objects/ipc"
)

func TestReadTakesWhatIsThere(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w", "hello")
	s.read(r, "r1", 2)
	s.read(r, "r2", 100)
	s.readOp(r, "r3", ReadOp{Size: 1, NonBlock: true})
	s.close(w)
	s.read(r, "r4", 1)
	s.want("w=5", "r1=he", "r2=llo", "r3=EAGAIN", "r4=")
}

func TestWrongSide(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.read(w, "r", 1)
	s.write(r, "w", "x")
	ebadf := fmt.Sprintf("=%T %v", syscall.EBADF, syscall.EBADF)
	s.want("r"+ebadf, "w"+ebadf)
}

func TestWaitingReadersAreServedInOrder(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	for i := range 4 {
		s.read(r, fmt.Sprint("r", i), 2)
	}
	s.want()
	s.write(w, "w", "aabbc")
	s.want("w=5", "r0=aa", "r1=bb", "r2=c")
	s.write(w, "w", "d")
	s.want("w=1", "r3=d")
}

func TestEndsOfAWaitingRead(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	w2 := s.file(wronly)
	a, b := s.read(r, "a", 1), s.read(r, "b", 1)
	s.read(r, "c", 1)
	s.read(r, "d", 1)
	s.cancel(b)
	s.cancel(b) // it is complete: nothing happens
	s.want("b=EINTR")
	s.write(w, "w", "x")
	s.want("w=1", "a=x")
	s.cancel(a)
	s.close(w2)
	s.want() // a writer is left
	s.close(w)
	s.want("c=", "d=")
}

func TestEndsOfAWaitingWrite(t *testing.T) {
	const page3 = 3 * 4096
	for _, c := range []struct {
		name string
		end  func(s *steps, r *File, a, b *writing)
		want []string
	}{
		{"completed", func(s *steps, r *File, _, _ *writing) { s.read(r, "r", page3) }, []string{"r=12288.", "a=12288"}},
		{"cancelled", func(s *steps, _ *File, a, b *writing) { s.cancel(a); s.cancel(a); s.cancel(b) }, []string{"a=EINTR", "b=EINTR"}},
		{"cancelled with a part done", func(s *steps, r *File, a, _ *writing) { s.read(r, "r", 8192); s.cancel(a) }, []string{"r=8192.", "a=8192"}},
		{"cancelled when complete", func(s *steps, r *File, a, _ *writing) { s.read(r, "r", page3); s.cancel(a) }, []string{"r=12288.", "a=12288"}},
		{"last reader gone", func(s *steps, r *File, _, _ *writing) { s.close(r) }, []string{"a=EPIPE SIGPIPE", "b=EPIPE SIGPIPE"}},
		{"last reader gone with a part done", func(s *steps, r *File, _, _ *writing) { s.read(r, "r", 4096); s.close(r) },
			[]string{"r=4096.", "b=EPIPE SIGPIPE", "a=4096 SIGPIPE"}}, // a went on and waited again, behind b
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSteps(t)
			r, w := s.ends()
			s.fill(w, DefaultSlots)
			a, b := s.write(w, "a", bytesOf('a', page3)), s.write(w, "b", bytesOf('b', page3))
			s.want()
			c.end(s, r, a, b)
			s.want(c.want...)
		})
	}
}

func TestWaitingWritersAreServedInOrder(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	for i := range 4 {
		s.write(w, fmt.Sprint("w", i), bytesOf('a'+byte(i), 4096))
	}
	s.tryWrite(w, "w4", "x")
	s.want("w4=EAGAIN")
	s.read(r, "r", 2*4096)
	s.want("r=8192.", "w0=4096", "w1=4096")
	s.read(r, "r", 1) // no slot comes free
	s.want("r=.")
	s.read(r, "r", 4096)
	s.want("r=4096.", "w2=4096")
	s.read(r, "r", DefaultSlots*4096)
	s.want("r=53247. 4096a 4096b 4096c", "w3=4096")
}

// A writer that got one slot and needs more sleeps again at the end of the queue, so writers of many pages take turns.
func TestWritersTakeTurns(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.write(w, "a", bytesOf('a', 3*4096))
	s.write(w, "b", bytesOf('b', 2*4096))
	s.write(w, "c", bytesOf('c', 1*4096))
	for range 5 {
		s.read(r, "r", 4096)
	}
	s.want("r=4096.", "r=4096.", "r=4096.", "c=4096", "r=4096.", "r=4096.", "b=8192")
	s.read(r, "r", 20*4096)
	s.want("r=45056. 4096a 4096b 4096c 4096a 4096b", "a=12288")

	// Who gets two slots at once takes both.
	s.read(r, "r", 20*4096)
	s.want("r=4096a")
	s.fill(w, DefaultSlots)
	s.write(w, "a", bytesOf('a', 3*4096))
	s.write(w, "b", bytesOf('b', 3*4096))
	for range 3 {
		s.read(r, "r", 2*4096)
	}
	s.want("r=8192.", "r=8192.", "r=8192.", "a=12288", "b=12288")
	s.read(r, "r", 20*4096)
	s.want("r=40960. 8192a 8192b 4096a 4096b")
}

// A cancelled writer leaves its turn to the next.
func TestCancelledWriterLeavesTheQueueInOrder(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.write(w, "a", bytesOf('a', 4096))
	b := s.write(w, "b", bytesOf('b', 4096))
	s.write(w, "c", bytesOf('c', 4096))
	s.cancel(b)
	s.read(r, "r", 20*4096)
	s.want("b=EINTR", "r=65536.", "a=4096", "c=4096")
	s.read(r, "r", 20*4096)
	s.want("r=4096a 4096c")
}

// A waiting reader is served by a write of any size, and what it leaves goes to the next one and to the pipe.
func TestWriteLargerThanThePipeMeetsWaitingReaders(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.read(r, "r1", 4096)
	s.read(r, "r2", 5000)
	s.write(w, "w", bytesOf('a', 20*4096))
	s.want("r1=4096a", "r2=5000a")
	s.wantBytes(16*4096-904, DefaultSlots)
	s.read(r, "r3", 20*4096)
	s.want("r3=64632a", "w=81920")
	s.read(r, "r4", 20*4096)
	s.want("r4=8192a")
}

func TestMerging(t *testing.T) {
	for _, c := range []struct {
		first, second int
		slots         int
	}{
		{1, 1, 1}, {1, 4094, 1}, {1, 4095, 1}, {1, 4096, 2}, {1, 4097, 2},
		{4095, 1, 1}, {4095, 2, 2}, {4096, 1, 2}, {4097, 4095, 2}, {4097, 4096, 3}, {4097, 4097, 3},
		{2048, 2048, 1}, {2048, 2049, 2}, {2049, 2048, 2},
		{100, 8192, 3},       // whole pages leave no odd bytes to merge
		{100, 8192 + 1, 3},   // the odd byte fills up the page, the rest is whole pages
		{4000, 8192 + 97, 4}, // the odd bytes do not fit: three pages of its own
	} {
		s := newSteps(t)
		r, w := s.ends()
		s.tryWrite(w, "w1", bytesOf('a', c.first))
		s.tryWrite(w, "w2", bytesOf('b', c.second))
		s.want(fmt.Sprint("w1=", c.first), fmt.Sprint("w2=", c.second))
		if st := s.p.Stat(); st.Used != c.slots || st.Bytes != c.first+c.second {
			t.Errorf("%d and %d bytes: %+v, want %d slots", c.first, c.second, st, c.slots)
		}
		s.read(r, "r", c.first+c.second)
		want := bytesOf('a', c.first) + bytesOf('b', c.second)
		s.want("r=" + show([]byte(want)))
	}
}

// What was read of a page is not room for a merge.
func TestMergeAfterReadingAPart(t *testing.T) {
	for _, c := range []struct{ n, slots int }{{96, 1}, {97, 1}, {98, 2}} {
		s := newSteps(t)
		r, w := s.ends()
		s.write(w, "w", bytesOf('a', 3999))
		s.read(r, "r", 3000)
		s.write(w, "w", bytesOf('b', c.n))
		s.wantBytes(999+c.n, c.slots)
		s.read(r, "r", 4096)
		s.want("w=3999", "r=3000a", fmt.Sprint("w=", c.n), fmt.Sprintf("r=999a %db", c.n))
	}
}

// A reader may hold a page, to answer from it, while the rest of it is merged into, read and let go.
func TestMergeLeavesPiecesOfReadersAlone(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w", bytesOf('a', 2000))
	var done ipc.Completions
	op := ReadOp{Size: 1000, Done: wake{s, "r1"}}
	r.Read(&op, &done)
	done.Deliver()
	s.write(w, "w", bytesOf('b', 2000))
	s.read(r, "r2", 4096)
	s.write(w, "w", bytesOf('c', 4096))
	s.want("w=2000", "r1", "w=2000", "r2=1000a 2000b", "w=4096")
	if len(op.Pieces) != 1 || op.N != 1000 {
		t.Fatalf("N = %d in pieces %v", op.N, op.Pieces)
	}
	p := op.Pieces[0]
	if got := show(s.arena.Bytes(p.Ref)[p.Off : p.Off+p.N]); got != "1000a" {
		t.Errorf("the first reader's bytes became %s", got)
	}
	s.arena.Release(p.Ref)
}

func TestWriteToAnAlmostFullPipe(t *testing.T) {
	for _, c := range []struct {
		last, n int // bytes in the last page, and to write
		want    string
	}{
		{4096, 1, "EAGAIN"}, {4096, 4096, "EAGAIN"}, {4096, 4097, "EAGAIN"},
		{4095, 1, "1"}, {4095, 2, "EAGAIN"}, {4095, 4096, "EAGAIN"}, {4095, 4097, "1"}, {4095, 4098, "EAGAIN"},
		{1, 4095, "4095"}, {1, 4096, "EAGAIN"}, {1, 8191, "4095"},
		{0, 4095, "4095"}, {0, 4096, "4096"}, {0, 4097, "4096"}, {0, 9000, "4096"},
	} {
		s := newSteps(t)
		_, w := s.ends()
		s.fill(w, DefaultSlots-1)
		if c.last > 0 {
			s.tryWrite(w, "last", bytesOf('l', c.last))
			s.want(fmt.Sprint("last=", c.last))
		}
		s.tryWrite(w, "w", bytesOf('a', c.n))
		if got := s.log[0]; got != "w="+c.want {
			t.Errorf("%d bytes in the last page, write of %d: %s, want %s", c.last, c.n, got, c.want)
		}
		s.log = nil
	}
}

// A merge needs no slot, so it overtakes the writers that wait for one.
func TestMergeIntoAFullPipeOvertakes(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots-1)
	s.write(w, "w1", bytesOf('a', 4000))
	s.write(w, "w2", bytesOf('b', 97))
	s.write(w, "w3", bytesOf('c', 96))
	s.want("w1=4000", "w3=96")
	s.read(r, "r", 20*4096)
	s.want("r=61440. 4000a 96c", "w2=97")
}

// A pipe is full when its slots are, not its pages; the figures are Linux's.
func TestSlots(t *testing.T) {
	for _, c := range []struct{ n, full, part, bytes int }{
		{2048, 32, 0, 65536}, {2049, 16, 0, 32784}, {4095, 16, 0, 65520}, {4096, 16, 0, 65536}, {4097, 10, 4096, 45066}, {8192, 8, 0, 65536},
	} {
		s := newSteps(t)
		_, w := s.ends()
		for range c.full {
			s.tryWrite(w, "w", bytesOf('a', c.n))
			s.want(fmt.Sprint("w=", c.n))
		}
		s.tryWrite(w, "w", bytesOf('a', c.n))
		if c.part > 0 {
			s.want(fmt.Sprint("w=", c.part))
		} else {
			s.want("w=EAGAIN")
		}
		s.wantBytes(c.bytes, DefaultSlots)
	}
}

// The counters of slots run through zero.
func TestCountersWrap(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.p.ring.head -= 3
	s.p.ring.tail -= 3
	for i := range DefaultSlots {
		s.packet(w, "w", string('a'+rune(i)))
		s.wantBytes(i+1, i+1)
	}
	s.packet(w, "w", "x")
	for range DefaultSlots {
		s.read(r, "r", 10)
	}
	want := append(slices.Repeat([]string{"w=1"}, DefaultSlots), "w=EAGAIN")
	for i := range DefaultSlots {
		want = append(want, "r="+string('a'+rune(i)))
	}
	s.want(want...)
}

func TestPackets(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.packet(w, "w1", "first")
	s.packet(w, "w2", "second")
	s.packet(w, "w3", bytesOf('x', 4097))
	s.want("w1=5", "w2=6", "w3=4097")
	s.wantBytes(5+6+4097, 4)
	s.read(r, "r", 100)
	s.read(r, "r", 2) // the rest of the packet is discarded
	s.wantBytes(4097, 2)
	s.read(r, "r", 8192)
	s.read(r, "r", 8192)
	s.want("r=first", "r=se", "r=4096x", "r=x")
	for range DefaultSlots {
		s.packet(w, "w", "p")
	}
	s.log = nil
	s.packet(w, "w", "p") // a packet takes a slot, and nothing merges into it
	s.tryWrite(w, "w", "p")
	s.want("w=EAGAIN", "w=EAGAIN")
}

// O_DIRECT says how new slots are made. The odd bytes still merge into a page that allows it, as in the kernel.
func TestPacketsAndPages(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w1", "page,")
	s.packet(w, "w2", "merged")
	s.packet(w, "w3", bytesOf('p', 4096))
	s.write(w, "w4", "page")
	s.want("w1=5", "w2=6", "w3=4096", "w4=4")
	s.wantBytes(5+6+4096+4, 3)
	s.read(r, "r1", 20) // goes on to the packet, ends with it
	s.read(r, "r2", 20)
	s.want("r1="+show([]byte("page,merged"+bytesOf('p', 9))), "r2=page")
}

func TestPacketWriterWaits(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.fill(w, DefaultSlots)
	s.writeOp(w, "w", bytesOf('p', 5000), WriteOp{Packet: true})
	s.read(r, "r", 20*4096)
	s.read(r, "r", 20*4096)
	s.read(r, "r", 20*4096)
	s.want("r=65536.", "w=5000", "r=4096p", "r=904p")
}

// The later pieces of a read(2) take what is there and never wait, and no piece goes past the end of a packet.
func TestReadInPieces(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	more := func(name string, n int) { s.readOp(r, name, ReadOp{Size: n, More: true}) }
	s.write(w, "w", "abcdef")
	s.read(r, "r1", 2)
	more("r2", 2)
	more("r3", 4)
	more("r4", 4)
	s.want("w=6", "r1=ab", "r2=cd", "r3=ef", "r4=")

	s.packet(w, "w", "one")
	s.packet(w, "w", "two")
	s.read(r, "r1", 3)
	more("r2", 3)
	more("r3", 3)
	s.want("w=3", "w=3", "r1=one", "r2=", "r3=")
	s.read(r, "r1", 2) // discards, which ends the packet too
	more("r2", 3)
	s.want("r1=tw", "r2=")

	s.write(w, "w", "a")
	s.read(r, "r1", 1)
	s.write(w, "w", "b")
	more("r2", 1)
	s.want("w=1", "r1=a", "w=1", "r2=b")
}

// A write(2) in pieces fills pages as in one.
func TestWriteInPieces(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	more := func(name, data string) {
		s.writeOp(w, name, data, WriteOp{NonBlock: true, More: true})
	}
	s.write(w, "w", bytesOf('a', 5000))
	more("m1", bytesOf('b', 5000))
	s.wantBytes(10000, 3)
	more("m2", bytesOf('c', 4096))
	s.wantBytes(14096, 4)
	s.tryWrite(w, "w", "!") // the last page has room, as after one write of it all
	s.wantBytes(14097, 4)
	s.want("w=5000", "m1=5000", "m2=4096", "w=1")
	s.read(r, "r", 20000)
	s.want("r=5000a 5000b 4096c 1!")
	more("m3", "alone") // everything before it was read
	s.want("m3=5")
	s.fill(w, DefaultSlots-1)
	s.tryWrite(w, "t", "x")
	more("m4", bytesOf('d', 5000)) // a part is a result
	more("m5", "e")
	s.want("t=EAGAIN", "m4=EAGAIN", "m5=EAGAIN")
}

func TestNoReader(t *testing.T) {
	s := newSteps(t)
	r, w := s.ends()
	s.write(w, "w1", "held")
	s.close(r)
	s.write(w, "w2", "x")
	s.tryWrite(w, "w3", "x")
	s.want("w1=4", "w2=EPIPE SIGPIPE", "w3=EPIPE SIGPIPE")
	s.wantBytes(4, 1)
}

func TestTimes(t *testing.T) {
	s := newSteps(t)
	made := s.now
	wantTimes := func(what string, want ipc.Times) {
		t.Helper()
		if got := s.p.Times(); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	tick := func() { s.now = s.now.Add(1) }
	tick()
	r, w := s.ends()
	s.readOp(r, "r", ReadOp{Size: 1, NonBlock: true})
	wantTimes("open and a read of nothing", ipc.Times{Atime: made, Mtime: made, Ctime: made})
	s.write(w, "w", "abc")
	wrote := s.now
	wantTimes("write", ipc.Times{Atime: made, Mtime: wrote, Ctime: wrote})
	tick()
	s.read(r, "r", 1)
	read := s.now
	wantTimes("read", ipc.Times{Atime: read, Mtime: wrote, Ctime: wrote})
	tick()
	s.tryWrite(w, "w", bytesOf('x', 100000))
	wrote = s.now
	wantTimes("write of a part", ipc.Times{Atime: read, Mtime: wrote, Ctime: wrote})
	tick()
	s.tryWrite(w, "w", bytesOf('x', 4096))
	wantTimes("write that fails", ipc.Times{Atime: read, Mtime: wrote, Ctime: wrote})
	s.write(w, "w", bytesOf('y', 4096))
	tick()
	s.read(r, "r", 8192)
	wantTimes("read that lets a writer go on", ipc.Times{Atime: s.now, Mtime: s.now, Ctime: s.now})
	s.p.SetTimes(ipc.Times{Atime: made})
	wantTimes("SetTimes of one", ipc.Times{Atime: made, Mtime: s.now, Ctime: s.now})
	s.log = nil
}
