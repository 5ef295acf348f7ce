package fs

import (
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/ipc"
)

// The notation is that of the kernel (integration/knob_test.go asks it).
func TestParseKnob(t *testing.T) {
	for _, c := range []struct {
		s      string
		signed bool
		n      uint64
		used   int // -1: EINVAL
	}{
		{"4096", true, 4096, 4}, {"4096\n", true, 4096, 5}, {" 4097 \n", true, 4097, 7}, {"\v\f\r7", true, 7, 4}, {"0x1000", true, 4096, 6}, {"0X1f", false, 31, 4},
		{"010", true, 8, 3}, {"0", true, 0, 1}, {"-0", true, 0, 2}, {"-0", false, 0, -1}, {"-1", true, 0, -1}, {"12 abc", true, 12, 3}, {"12\n13", true, 12, 3},
		{"", true, 0, -1}, {"\n", true, 0, -1}, {"abc", true, 0, -1}, {"12abc", true, 0, -1}, {"1.5", true, 0, -1}, {"+5", true, 0, -1}, {"08", true, 0, -1},
		{"0x", true, 0, -1}, {"0b11", true, 0, -1}, {"1_000", true, 0, -1}, {"12\r\n", true, 0, -1}, {"12\x00", true, 0, -1},
		{"18446744073709551615", false, 1<<64 - 1, 20}, {"18446744073709551616", false, 0, -1}, {strings.Repeat("0", 30) + "7", true, 0, -1},
		{"1" + strings.Repeat(" ", 100), true, 1, 101}, {"4100 \v", true, 4100, 6}, {strings.Repeat("0", 20) + "7", true, 0, -1}, {strings.Repeat("0", 19) + "7", true, 7, 20},
		{strings.Repeat(" ", 4095) + "7", true, 0, -1}, {strings.Repeat(" ", 4094) + "78", true, 7, 4096}, {"1 " + strings.Repeat("1", 7998), true, 1, 3907},
	} {
		n, used, err := parseKnob(c.s, c.signed)
		switch {
		case c.used < 0 && err != syscall.EINVAL:
			t.Errorf("%q: %d, %v, want EINVAL", c.s, n, err)
		case c.used >= 0 && (n != c.n || used != c.used || err != nil):
			t.Errorf("%q: %d after %d bytes, %v, want %d after %d", c.s, n, used, err, c.n, c.used)
		}
	}
}

// Each knob takes its highest and lowest number and acts on the namespace, and refuses what is beyond.
func TestKnobs(t *testing.T) {
	f := newTree(t, 0)
	limits := f.ns.Limits()
	for _, c := range []struct {
		dir, name string
		lowest    uint64
		highest   uint64
		get       func() uint64
	}{
		{"kernel", "msgmax", 0, MaxMsgMax, func() uint64 { return uint64(f.ns.Limits().MsgMax) }},
		{"kernel", "msgmnb", 0, 1<<31 - 1, func() uint64 { return uint64(f.ns.Limits().MsgMnb) }},
		{"kernel", "msgmni", 0, 1 << 15, func() uint64 { return uint64(f.ns.Limits().MsgMni) }},
		{"kernel", "shmmni", 0, 1 << 15, func() uint64 { return uint64(f.ns.Limits().ShmMni) }},
		{"kernel", "shmmax", 0, 1<<64 - 1, func() uint64 { return f.ns.Limits().ShmMax }},
		{"kernel", "shmall", 1, 1<<51 - 1, func() uint64 { return f.ns.Limits().ShmAll }},
		{"fs", "pipe-max-size", 4096, 1 << 31, func() uint64 { return uint64(f.ns.Limits().PipeMaxSize) }},
		{"fs", "pipe-user-pages-soft", 0, 1<<64 - 1, func() uint64 { return uint64(f.ns.Limits().PipeUserPagesSoft) }},
		{"fs", "pipe-user-pages-hard", 0, 1<<64 - 1, func() uint64 { return uint64(f.ns.Limits().PipeUserPagesHard) }},
	} {
		k := f.knobs()[c.dir][c.name]
		for _, n := range []uint64{c.lowest, c.highest} {
			if err := k.set(n); err != nil || c.get() != n || k.get() != n {
				t.Errorf("%s: set to %d, and is %d, %d, %v", c.name, n, k.get(), c.get(), err)
			}
		}
	}
	if err := f.knobs()["kernel"]["shmall"].set(0); err != syscall.EINVAL {
		t.Errorf("shmall 0: %v", err)
	}
	max := f.knobs()["fs"]["pipe-max-size"]
	for n, want := range map[uint64]uint64{0: 4096, 1: 4096, 4096: 4096, 4097: 8192, 1<<31 - 1: 1 << 31} {
		if err := max.set(n); err != nil || max.get() != want {
			t.Errorf("pipe-max-size %d: is %d, want %d, %v", n, max.get(), want, err)
		}
	}
	f.ns.SetLimits(func(l *ipc.Limits) { *l = limits })
}

// proc can be looked at and walked through, and nothing can be made or removed in it.
func TestTraceNames(t *testing.T) {
	f := newTree(t, 0)
	f.touch(f.queues(), "q")
	if _, st := f.mkdir(f.queues(), "d"); st != fuse.OK {
		t.Fatal(st)
	}
	proc := f.lookup(thread1, fuse.FUSE_ROOT_ID, "proc").NodeId
	before := f.inodes
	dir := f.lookup(thread1, proc, "trace:msgq")
	if dir.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		t.Fatalf("trace:msgq has mode %o", dir.Mode)
	}
	for name, want := range map[string]string{"q": "msgq/q", "not there": "msgq/not there", "*": "msgq/*"} {
		n := f.lookup(thread1, dir.NodeId, name)
		if got := f.nodes[n.NodeId].inode.proc.(*traceNode).pattern; got != want || n.Mode != syscall.S_IFREG|0o400 {
			t.Errorf("%s traces %s, mode %o", name, got, n.Mode)
		}
		f.Forget(n.NodeId, 1)
	}
	d := f.lookup(thread1, dir.NodeId, "d")
	x := f.lookup(thread1, d.NodeId, "x")
	if got := f.nodes[x.NodeId].inode.proc.(*traceNode).pattern; got != "msgq/d/x" {
		t.Errorf("d/x traces %s", got)
	}
	for name, want := range map[string]fuse.Status{"trace:": fuse.EINVAL, "trace:[": fuse.EINVAL, "trace:proc": fuse.ENOENT, "tracer": fuse.ENOENT} {
		f.want("LOOKUP of "+name, f.lookupStatus(proc, name), want)
	}
	for _, id := range []uint64{x.NodeId, d.NodeId, dir.NodeId} {
		f.Forget(id, 1)
	}
	if f.inodes != before {
		t.Errorf("%d inodes, before %d", f.inodes, before)
	}
	f.want("UNLINK", f.unlink(proc, "trace:msgq"), fuse.ENOENT)
	f.want("MKNOD", f.mknod(proc, "trace:x", typeReg|0o600), fuse.EPERM)
}

// Which operations a trace is for.
func TestTraceMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"msgq/q", "msgq/q", true}, {"msgq/q", "msgq/qq", false}, {"msgq/*", "msgq/q", true}, {"msgq/*", "msgq/d/q", true}, {"msgq/*", "pipes/q", false},
		{"msgq/d", "msgq/d/q", true}, {"*", "shm/s", true}, {"msgq/q", "", false}, {"msgq/q?", "msgq/q1", true},
		{"msgq/q", "msgq", false}, {"*/q", "msgq/d/q", false}, {"msgq/*/q", "msgq/d/q/r", true},
		{"msgq/a", "msgq/a" + strings.Repeat("/d", 1900), true}, {"msgq/d", "msgq/a" + strings.Repeat("/d", 1900), false},
	} {
		if got := (&traceFile{pattern: c.pattern}).matches(c.path); got != c.want {
			t.Errorf("%s for %.30s: %v", c.pattern, c.path, got)
		}
	}
}
