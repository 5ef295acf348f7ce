package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hammerSent is what clients/msgqhammer knows of a message, struct sent there.
type hammerSent struct {
	Slot, Seq, Inc, Type, Len uint32
	Told                      uint32 // bytes of it that its sender was told to have written
	Begun                     uint32 // and those that were on the way when the sender was killed
	_                         uint32
}

// hammerGot is a receipt, struct got there.
type hammerGot struct {
	Receiver, Inc, Slot, Seq, Type, Len uint32
	Read                                uint32 // which read of the receiver it was
	How                                 uint32
	Begin, End                          uint64 // of the read
}

// ways are the values of hammerGot.How.
var ways = [...]string{"logged", "in the buffer of a killed receiver", "left in the queue"}

// records reads a file of them.
func records[T any](t testing.TB, path string) []T {
	t.Helper()
	b, err := os.ReadFile(path)
	var one T
	if err != nil || len(b) == 0 || len(b)%int(unsafe.Sizeof(one)) != 0 {
		t.Fatalf("%s has %d bytes, %v", path, len(b), err)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(one)))
}

// hammerVerdict is what the records of a run come to.
type hammerVerdict struct {
	told, parts, flight, arrived int // messages told to be sent, of which only a part was told, on the way at a kill, and of these received
	receipts                     [len(ways)]int
	faults                       []string
}

func (v *hammerVerdict) fault(format string, args ...any) {
	if len(v.faults) < 20 {
		v.faults = append(v.faults, fmt.Sprintf(format, args...))
	}
}

// judgeHammer looks for what is lost, doubled, cut or out of order.
//
//   - A message of which its sender was told that it was sent is received once. One that was on the way when its sender was killed is received at most once.
//   - It is received whole; but the last one of a sender by lines that was killed, as far as it was written.
//   - What is received of a sender is all that it sent up to some message: what a kill cuts off is the end.
//   - The messages of one sender and one type are taken in the order in which they were sent. Of two that were taken by two reads we know the order if one read
//     ended before the other began, as those of one receiver do.
func judgeHammer(sent []hammerSent, got []hammerGot) *hammerVerdict {
	v := new(hammerVerdict)
	type key struct{ slot, seq uint32 }
	taken := make(map[key]int, len(got)) // index in got, from 1
	for i, g := range got {
		v.receipts[g.How]++
		if j := taken[key{g.Slot, g.Seq}]; j > 0 {
			v.fault("doubled: %+v and %+v", got[j-1], g)
		}
		taken[key{g.Slot, g.Seq}] = i + 1
	}
	known := 0
	type group struct{ slot, inc, typ uint32 }
	order := make(map[group][]int) // what was taken, in the order in which it was sent
	var missing, cut *hammerSent   // the first of this sender
	for i := range sent {
		s := &sent[i]
		if i == 0 || sent[i-1].Slot != s.Slot || sent[i-1].Inc != s.Inc {
			missing, cut = nil, nil
		}
		switch {
		case s.Told == s.Len:
			v.told++
		case s.Told > 0:
			v.parts++
		default:
			v.flight++
		}
		j := taken[key{s.Slot, s.Seq}]
		if j == 0 {
			switch {
			case s.Told > 0:
				v.fault("lost: %+v", *s)
			case missing == nil:
				missing = s
			}
			continue
		}
		known++
		g := &got[j-1]
		if s.Told == 0 {
			v.arrived++
		}
		if g.Type != s.Type || g.Len != s.Len && g.Len != s.Told && g.Len != s.Begun || g.Len > s.Begun || g.Len < s.Told {
			v.fault("sent as %+v and received as %+v", *s, *g)
		}
		if missing != nil || cut != nil {
			v.fault("received after what was not, %+v, or only in part, %+v: %+v", missing, cut, *s)
		}
		if g.Len < s.Len {
			cut = s
		}
		of := group{s.Slot, s.Inc, s.Type}
		order[of] = append(order[of], j-1)
	}
	if known != len(taken) {
		v.fault("%d messages were received, and %d of them sent", len(taken), known)
	}
	for _, list := range order {
		last := make(map[uint32]int)
		for _, i := range list {
			if j, ok := last[got[i].Receiver]; ok && j > i {
				v.fault("a receiver got %+v before %+v", got[i], got[j])
			}
			last[got[i].Receiver] = i
		}
		first := list[len(list)-1] // the one whose read ended first, of those behind
		for k := len(list) - 2; k >= 0; k-- {
			i := list[k]
			if got[first].End < got[i].Begin {
				v.fault("taken in the wrong order: %+v before %+v", got[first], got[i])
			}
			if got[i].End < got[first].End {
				first = i
			}
		}
	}
	return v
}

// The judge finds what is wrong with records that were right.
func TestMsgqHammerJudge(t *testing.T) {
	records := func() (sent []hammerSent, got []hammerGot) {
		for i := range uint32(10) {
			sent = append(sent, hammerSent{Slot: 1, Seq: i, Type: 7, Len: 30, Told: 30, Begun: 30})
			got = append(got, hammerGot{Receiver: i % 2, Slot: 1, Seq: i, Type: 7, Len: 30, Read: i, Begin: uint64(10 * i), End: uint64(10*i + 5)})
		}
		sent[8].Told, sent[9].Told, sent[9].Begun = 20, 0, 25
		got[9].Len = 25
		return sent, got
	}
	type spoiler func(sent []hammerSent, got []hammerGot) []hammerGot
	for _, c := range []struct {
		what  string // what the judge says, nothing if all is well
		spoil spoiler
	}{
		{"", func(_ []hammerSent, got []hammerGot) []hammerGot { return got }},
		{"", func(_ []hammerSent, got []hammerGot) []hammerGot { return got[:9] }},
		{"lost", func(_ []hammerSent, got []hammerGot) []hammerGot { return append(got[:4:4], got[5:]...) }},
		{"doubled", func(_ []hammerSent, got []hammerGot) []hammerGot { return append(got, got[3]) }},
		{"wrong order", func(_ []hammerSent, got []hammerGot) []hammerGot { got[3].Begin, got[3].End = 56, 70; return got }},
		{"a receiver got", func(_ []hammerSent, got []hammerGot) []hammerGot { got[3], got[5] = got[5], got[3]; return got }},
		{"received as", func(_ []hammerSent, got []hammerGot) []hammerGot { got[2].Len = 20; return got }},
		{"only in part", func(_ []hammerSent, got []hammerGot) []hammerGot { got[8].Len = 20; return got }},
		{"was not", func(sent []hammerSent, got []hammerGot) []hammerGot {
			sent[8].Told = 0
			return append(got[:8:8], got[9])
		}},
		{"of them sent", func(_ []hammerSent, got []hammerGot) []hammerGot { return append(got, hammerGot{Slot: 2}) }},
		{"sent as", func(_ []hammerSent, got []hammerGot) []hammerGot { got[1].Type = 8; return got }},
	} {
		sent, got := records()
		v := judgeHammer(sent, c.spoil(sent, got))
		if says := strings.Join(v.faults, "\n"); (c.what == "") != (says == "") || !strings.Contains(says, c.what) {
			t.Errorf("the judge says %q, want %q", says, c.what)
		}
	}
}

// TestMsgqHammer sends IPCFS_MSGQ_HAMMER messages (1,000,000) from 8 senders to 8 receivers, all of which are killed again and again, at any instant. What
// each of them knew is compared: see judgeHammer. It is exact: a receiver reads into memory that outlives it, and the kernel copies the answer to a read there
// before the process can die of the signal. So a receiver that is killed in read either has what it received in its buffer, or has taken nothing.
func TestMsgqHammer(t *testing.T) {
	bin := msgqClient(t, "msgqhammer")
	total := envNumber(t, "IPCFS_MSGQ_HAMMER", 1000000)
	seed := envNumber(t, "IPCFS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	m := newMount(t)
	watchD(t)
	dir := filepath.Join(m.dir, "msgq")
	base := daemonUse(t, m)
	for _, stage := range []string{"mixed", "paired"} { // paired has one sender and one receiver for each type
		t.Run(stage, func(t *testing.T) {
			q, out, began := filepath.Join(dir, stage), filepath.Join(t.TempDir(), "out"), time.Now()
			run(t, "touch", q)
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin, q, stage, strconv.FormatUint(total/2, 10), strconv.FormatUint(seed, 10), out)
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
			cmd.WaitDelay = patience
			says, err := cmd.CombinedOutput()
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			if err != nil {
				t.Fatalf("%v (%v): %s", err, ctx.Err(), says)
			}
			took := time.Since(began)
			sent, got := records[hammerSent](t, out+".sent"), records[hammerGot](t, out+".got")
			v := judgeHammer(sent, got)
			for _, f := range v.faults {
				t.Error(f)
			}
			t.Logf("%d messages in %v: %d told to be sent, %d in part; %d on the way at a kill, %d of them received", len(sent), took.Round(time.Second), v.told, v.parts, v.flight, v.arrived)
			t.Logf("received: %d %s, %d %s, %d %s", v.receipts[0], ways[0], v.receipts[1], ways[1], v.receipts[2], ways[2])
			t.Logf("%s", bytes.TrimSpace(says))
			if n := attribute(t, q, "q_qnum") + attribute(t, q, "q_cbytes") + attribute(t, q, "q_receivers") + attribute(t, q, "q_senders"); n != 0 {
				t.Errorf("the queue is not empty: %s", run(t, "getfattr", "-d", "-m", "-", q))
			}
			run(t, "rm", q)
		})
	}
	base.unchanged(t, m)
}

// msgqClient is the program of clients/NAME.
func msgqClient(t testing.TB, name string) string {
	t.Helper()
	need(t, "cc", "setfattr")
	bin, err := compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// daemonUsage is what a daemon has in use.
type daemonUsage struct {
	free uint64 // pages of the arena that are not
	fds  int    // descriptors, but for those with which it looks at its clients
	rss  int64
}

func daemonUse(t testing.TB, m *mount) daemonUsage {
	t.Helper()
	u := daemonUsage{free: freePages(t, filepath.Join(m.dir, "msgq"))}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", m.daemon.Process.Pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("the descriptors of the daemon: %v", err)
	}
	looks := 0
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); strings.HasSuffix(target, "/syscall") {
			looks++
		}
	}
	if u.fds = len(fds) - looks; looks > 16 {
		t.Errorf("the daemon keeps an eye on %d threads", looks)
	}
	for _, line := range strings.Split(procText(m.daemon.Process.Pid, "status"), "\n") {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &u.rss); n == 1 {
			u.rss <<= 10
			break
		}
	}
	return u
}

// unchanged fails the test if the daemon has more pages or descriptors in use than it had.
func (u daemonUsage) unchanged(t testing.TB, m *mount) {
	t.Helper()
	eventually(t, func() error {
		if now := daemonUse(t, m); now.free != u.free || now.fds > u.fds {
			return fmt.Errorf("%d pages are free and %d descriptors open, want %d and %d", now.free, now.fds, u.free, u.fds)
		}
		return nil
	})
}

// Queues that come and go leave nothing behind in the daemon.
func TestMsgqNothingGrows(t *testing.T) {
	m := newMountWith(t, mountWith{binary: realBinary(t), env: []string{"IPCFS_VERIFY=0"}})
	q := filepath.Join(m.dir, "msgq", "q")
	round := func(i int) error {
		fd, err := unix.Open(q, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		open := []int{fd}
		defer func() {
			for _, fd := range open {
				_ = unix.Close(fd)
			}
		}()
		for _, view := range []string{":7", ":raw", ":lines", ":stream", ":^3", ":peek"} {
			access := map[bool]int{true: unix.O_RDONLY, false: unix.O_RDWR}[view == ":peek"]
			v, err := unix.Open(q+view, access|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", view, err)
			}
			open = append(open, v)
		}
		b := bytes.Repeat([]byte("line\n"), 1500)
		var errs []error
		_, err = unix.Write(open[0], b[:1+i%7000])
		_, err2 := unix.Write(open[1], b[:100])
		_, err3 := unix.Write(open[3], b[:2002]) // 400 lines, and a beginning
		_, err4 := unix.Read(open[4], b[:10])    // and the rest stays with the file
		_, err5 := unix.Read(open[3], b)
		errs = append(errs, err, err2, err3, err4, err5)
		if i%2 == 0 { // or the last close ends it, and then rm
			errs = append(errs, unix.Unlink(q))
			return errors.Join(errs...)
		}
		for _, fd := range open {
			errs = append(errs, unix.Close(fd))
		}
		open = nil
		return errors.Join(append(errs, unix.Unlink(q))...)
	}
	rounds := func(n int) {
		for i := range n {
			if err := round(i); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	}
	start := daemonUse(t, m)
	rounds(1000)
	before := daemonUse(t, m)
	rounds(4000)
	start.unchanged(t, m)
	after := daemonUse(t, m)
	t.Logf("daemon's resident memory: %d KiB, after 1000 queues %d KiB, after 5000 %d KiB; descriptors: %d, %d, %d", start.rss>>10, before.rss>>10, after.rss>>10, start.fds, before.fds, after.fds)
	if after.rss > before.rss+8<<20 {
		t.Errorf("resident memory went from %d to %d KiB", before.rss>>10, after.rss>>10)
	}
}
