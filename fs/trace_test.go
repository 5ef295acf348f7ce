package fs

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
)

// made makes an object, and returns a node of it.
func (f *tree) made(dir uint64, name string) uint64 {
	f.t.Helper()
	f.touch(dir, name)
	return f.lookup(thread1, dir, name).NodeId
}

// operationOn is an operation of a process that is not there, on the object of a node.
func (f *tree) operationOn(id uint64, opcode uint32) operation {
	i, v := f.inodeOf(id)
	return f.begin(conn.Call{Header: fuse.InHeader{Opcode: opcode, NodeId: id}}, i, v, 0)
}

// traceOf begins a trace without a reader.
func (f *tree) traceOf(pattern string, uid uint32) *traceFile {
	t := &traceFile{fs: f.FS, pattern: pattern, uid: uid}
	f.texts += traceRoom
	f.traces.change(func(list []*traceFile) []*traceFile { return append(list, t) })
	f.t.Cleanup(func() { t.release(0) })
	return t
}

// readAll is what a reader with a buffer of n bytes gets.
func (t *traceFile) readAll(n int) (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.lines) > 0 {
		list = append(list, string(t.takeLocked(n)))
	}
	return list
}

func TestTraceLines(t *testing.T) {
	f := newTree(t, 0)
	q, p := f.made(f.queues(), "a b"), f.made(f.pipes(), "p")
	all, queues, others := f.traceOf("", 0), f.traceOf("msgq/*", 0), f.traceOf("", 1001) // the objects are of user 1000
	for _, c := range []struct {
		node   uint64
		opcode uint32
		n      int
		err    error
	}{{q, opWRITE, 7, nil}, {q, opREAD, noBytes, syscall.EAGAIN}, {p, opOPEN, noBytes, nil}, {p, 3, noBytes, nil}} {
		op := f.operationOn(c.node, c.opcode)
		f.now = f.now.Add(1500 * time.Microsecond)
		op.end(c.n, c.err)
	}
	want := []string{
		`1000.000000 0 - WRITE msgq/a\040b 7 ok 0.001500` + "\n",
		`1000.001500 0 - READ msgq/a\040b - EAGAIN 0.001500` + "\n",
		`1000.003000 0 - OPEN pipes/p - ok 0.001500` + "\n",
	}
	if got := strings.Join(all.readAll(1<<20), ""); got != strings.Join(want, "") {
		t.Errorf("all:\n%swant\n%s", got, strings.Join(want, ""))
	}
	if got := strings.Join(queues.readAll(1<<20), ""); got != strings.Join(want[:2], "") {
		t.Errorf("queues:\n%s", got)
	}
	if got := others.readAll(1 << 20); len(got) > 0 {
		t.Errorf("those of user 1001: %q", got)
	}
	i, _ := f.inodeOf(q)
	if got := strings.Join(i.traffic.words(), " "); got != "0 0 1 7" {
		t.Errorf("the traffic of the queue is %s", got)
	}
}

// What is done to a name is told to the owner of what it led to, whoever did it; and a view is no part of the name.
func TestTraceOfNames(t *testing.T) {
	f := newTree(t, 0)
	dir := f.queues()
	f.made(dir, "q") // of user 1000
	owner, other, made := f.traceOf("msgq/q", 1000), f.traceOf("msgq/q", 1001), f.traceOf("msgq/new", 0)
	h := fuse.InHeader{Opcode: 10, NodeId: dir} // by root
	f.want("UNLINK", f.Raw().Unlink(nil, &h, "q"), fuse.OK)
	in := fuse.CreateIn{InHeader: fuse.InHeader{Opcode: 35, NodeId: dir}, Flags: syscall.O_RDWR, Mode: 0o600}
	var out fuse.CreateOut
	f.want("CREATE", f.Raw().Create(nil, &in, "new:raw", &out), fuse.OK)
	for _, c := range []struct {
		who  string
		t    *traceFile
		want string
	}{
		{"the owner", owner, "1000.000000 0 - UNLINK msgq/q - ok 0.000000\n"},
		{"another", other, ""},
		{"who waits for the new one", made, "1000.000000 0 - CREATE msgq/new:raw - ok 0.000000\n"},
	} {
		if got := strings.Join(c.t.readAll(1<<20), ""); got != c.want {
			t.Errorf("%s is told %q, want %q", c.who, got, c.want)
		}
	}
	f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
}

// A reader gets whole lines as far as they fit, and what he was too slow for is counted where it is missing.
func TestTraceRoom(t *testing.T) {
	f := newTree(t, 0)
	p := f.made(f.pipes(), "p")
	tr := f.traceOf("", 0)
	const events = 40000
	for range events {
		op := f.operationOn(p, opWRITE)
		op.end(1, nil)
	}
	lines, dropped := 0, 0
	for _, part := range tr.readAll(1000) {
		if len(part) > 1000 || !strings.HasSuffix(part, "\n") {
			t.Fatalf("a read of 1000 bytes gave %q", part)
		}
		for line := range strings.Lines(part) {
			if _, err := fmt.Sscanf(line, "# dropped %d", &dropped); err != nil {
				lines++
			}
		}
	}
	if dropped == 0 || lines+dropped != events || f.traces.dropped.Load() != uint64(dropped) || f.traces.traced.Load() != uint64(lines) {
		t.Errorf("%d lines and %d dropped of %d; counted are %d and %d", lines, dropped, events, f.traces.traced.Load(), f.traces.dropped.Load())
	}
	op := f.operationOn(p, opWRITE)
	op.end(1, nil)
	if got := tr.readAll(10); len(got) < 2 || strings.Count(strings.Join(got, ""), "\n") != 1 {
		t.Errorf("a line in reads of 10 bytes: %q", got)
	}
}

// With nobody who reads, nothing is made of an operation.
func TestTraceCostsNothing(t *testing.T) {
	f := newTree(t, 0)
	p := f.made(f.pipes(), "p")
	op := f.operationOn(p, opWRITE)
	if n := testing.AllocsPerRun(100, func() { op.end(1, nil) }); n != 0 {
		t.Errorf("%v allocations for an operation that nobody traces", n)
	}
}
