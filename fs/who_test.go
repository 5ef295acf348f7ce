package fs

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// There is a line for each open file and for each operation that waits, but only one for who waits on the file that he opened.
func TestOpenLines(t *testing.T) {
	f := newTree(t, 0)
	p, q := f.made(f.pipes(), "p"), f.made(f.queues(), "q")
	pipe, _ := f.inodeOf(p)
	queue, _ := f.inodeOf(q)
	handles := map[uint64]*handle{
		7: {inode: pipe, pid: 10, flags: syscall.O_RDWR}, 8: {inode: pipe, pid: 11, flags: syscall.O_RDONLY}, 9: {inode: queue, pid: 12, flags: syscall.O_WRONLY},
	}
	waits := func(node uint64, opcode, pid uint32, fh uint64) *operation {
		op := f.operationOn(node, opcode)
		op.call.Header.Pid, op.fh = pid, fh
		return &op
	}
	var got []string
	for _, l := range openLines(handles, []*operation{waits(p, opREAD, 11, 8), waits(q, opWRITE, 4194303, 9), waits(p, opOPEN, 4194302, 0)}) {
		w := l.words(commands{10: "a", 11: "b", 12: "c", 4194303: "d", 4194302: "e"}, "x")
		got = append(got, strings.Join(w[1:7], " "))
	}
	want := []string{
		"0 4194302 e r OPEN 4194302", "7 10 a rw - 0", "8 11 b r READ 11", "9 12 c w - 0", "9 4194303 d w WRITE 4194303",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestMappingsOf(t *testing.T) {
	a, b := &inode{ino: 31}, &inode{ino: 32}
	text := `55d0c0000000-55d0c0001000 r-xp 00000000 00:1f 31                         /usr/bin/x
7f0000000000-7f0000003000 rw-s 00000000 00:27 31                         /mnt/shm/s
7f0000010000-7f0000011000 r--s 00000000 00:27 31                         /mnt/shm/s
7f0000020000-7f0000021000 rw-s 00000000 00:27 32                         /mnt/shm/a b (deleted)
7f0000030000-7f0000032000 rw-s 00003000 00:27 31                         /mnt/shm/s
7f0000040000-7f0000041000 rw-s 00000000 00:27 33                         /mnt/shm/other
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
`
	got := mappingsOf(5, text, "00:27", map[uint64]*inode{31: a, 32: b})
	want := []mapping{{a, 5, "rw-s", 0x5000}, {a, 5, "r--s", 0x1000}, {b, 5, "rw-s", 0x1000}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := deviceName(0x27); got != "00:27" {
		t.Errorf("device 0x27 is %s", got)
	}
}

func TestEscapeName(t *testing.T) {
	for name, want := range map[string]string{
		"": "-", "a": "a", "a b": `a\040b`, "a\tb\nc": `a\011b\012c`, `a\b`: `a\134b`, "\x1b[31m\x7f": `\033[31m\177`, "é\u00a0中": "é\u00a0中",
	} {
		if got := escapeName(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// Of long texts only a few are made at once, whoever asks; one of which there is little to tell needs no place.
func TestLongTexts(t *testing.T) {
	f := newTree(t, 0)
	taken := -1
	n := &textNode{fs: f.FS, gather: func() func() []byte {
		return func() []byte { taken = len(f.texting); return nil }
	}}
	if n.text()(); taken != 0 {
		t.Errorf("a short text takes %d places", taken)
	}
	dir := f.queues()
	for i := range batch + 1 {
		f.made(dir, fmt.Sprint("q", i))
	}
	if n.text()(); taken != 1 {
		t.Errorf("a long text takes %d places", taken)
	}
}

// No more run at once than there are places, and nothing does for whom it is over.
func TestPlaces(t *testing.T) {
	const most = 2
	p := make(places, most)
	var running atomic.Int32
	begun, goOn := make(chan int32, 10), make(chan bool)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			p.run(nil, func() {
				begun <- running.Add(1)
				<-goOn
				running.Add(-1)
			})
		})
	}
	for range 10 {
		if n := <-begun; n > most {
			t.Errorf("%d run at once", n)
		}
		goOn <- true
	}
	all.Wait()
	over := make(chan struct{})
	close(over)
	make(places).run(over, func() { t.Error("runs, and it is over") })
}
