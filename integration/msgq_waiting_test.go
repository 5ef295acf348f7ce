package integration

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is a run of clients/msgqcrowd: many who use a queue at the same time.
type crowd struct {
	*blocker
	says *output
}

// startCrowd lets n threads, or processes, read or write once, as letters say (see clients/msgqcrowd).
func startCrowd(t testing.TB, path, letters string, n int) *crowd {
	t.Helper()
	c := &crowd{says: new(output)}
	cmd := exec.Command(msgqClient(t, "msgqcrowd"), path, letters, strconv.Itoa(n))
	cmd.Stdout = c.says
	c.blocker = startBlocker(t, cmd, nil)
	return c
}

// wantEnd waits until all of the crowd have ended, which must have been with one of these errors.
func (c *crowd) wantEnd(t testing.TB, n int, errs ...string) {
	t.Helper()
	c.wait(t)
	sum := 0
	for _, line := range strings.Split(strings.TrimSpace(c.says.String()), "\n") {
		name, count, _ := strings.Cut(line, " ")
		k, err := strconv.Atoi(count)
		if sum += k; err != nil || !slices.Contains(errs, name) {
			t.Errorf("%v: %q, want %v", c.cmd.Args[1:], line, errs)
		}
	}
	if sum != n {
		t.Errorf("%v: %d have ended, want %d; %s", c.cmd.Args[1:], sum, n, c.out)
	}
}

// queueWaits waits until so many receivers and senders wait.
func queueWaits(t testing.TB, q string, receivers, senders int) {
	t.Helper()
	eventually(t, func() error {
		if r, s := attribute(t, q, "q_receivers"), attribute(t, q, "q_senders"); r != receivers || s != senders {
			return fmt.Errorf("%d receivers and %d senders wait at %s, want %d and %d", r, s, q, receivers, senders)
		}
		return nil
	})
}

// newQueue makes a queue on the mount; full, if it is to be full of messages of type 1.
func newQueue(t testing.TB, m *mount, name string, full bool) string {
	t.Helper()
	q := makePipe(t, filepath.Join(m.dir, "msgq", name))
	if full {
		fd := openFd(t, q, unix.O_WRONLY|unix.O_NONBLOCK)
		defer unix.Close(fd)
		for range msgMnb / msgMax {
			if n, err := unix.Write(fd, make([]byte, msgMax)); n != msgMax || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
	}
	return q
}

// visitors are groups of those who wait at a queue.
type visitors []struct {
	view, letters string
	n             int
}

var (
	waitingReceivers = visitors{
		{"", "r", 3}, {":7", "r", 2}, {":-7", "r", 2}, {":^7", "r", 2}, {":raw", "r", 2}, {":^7:raw", "r", 2}, {":lines", "r", 2},
		{":-7:lines", "r", 2}, {":stream", "r", 2}, {"", "rs", 4}, {":7", "rf", 4}, {":lines", "rf", 3}, {":stream", "rs", 3},
	}
	waitingSenders = visitors{
		{"", "w", 3}, {"", "wa", 3}, {":7", "w", 2}, {":7", "wa", 2}, {":raw", "w", 2}, {":raw", "wa", 2}, {":lines", "w", 2}, {":7:lines", "wa", 2},
		{"", "ws", 4}, {":7", "wf", 4}, {":raw", "wf", 3}, {":lines", "wf", 4}, {":7:lines", "ws", 4},
	}
)

// come lets them come one group after the other, each when all of that before wait.
func (v visitors) come(t testing.TB, q string) (crowds []*crowd, receivers, senders int) {
	t.Helper()
	for _, w := range v {
		crowds = append(crowds, startCrowd(t, q+w.view, w.letters, w.n))
		if w.letters[0] == 'r' {
			receivers += w.n
		} else {
			senders += w.n
		}
		queueWaits(t, q, receivers, senders)
	}
	return crowds, receivers, senders
}

// rm ends whoever waits, through whatever view, and returns at once; so does every later call on a file that is open.
func TestMsgqRemovalEndsAll(t *testing.T) {
	m := newMount(t)
	watchD(t)
	before := daemonUse(t, m)
	for name, v := range map[string]visitors{"receivers": waitingReceivers, "senders": waitingSenders} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, m, name, name == "senders")
			fd, raw := openFd(t, q, unix.O_RDWR), openFd(t, q+":lines", unix.O_RDWR)
			defer unix.Close(fd)
			defer unix.Close(raw)
			if _, err := unix.Write(raw, []byte("a line without its end")); err != nil {
				t.Error(err)
			}
			crowds, _, _ := v.come(t, q)
			run(t, "rm", q)
			for i, c := range crowds {
				c.wantEnd(t, v[i].n, "EIDRM")
			}
			for what, call := range map[string]func() (int, error){
				"read":      func() (int, error) { return unix.Read(fd, make([]byte, 10)) },
				"write":     func() (int, error) { return unix.Write(fd, []byte("x")) },
				"lines":     func() (int, error) { return unix.Write(raw, []byte("its end\n")) },
				"ftruncate": func() (int, error) { return 0, unix.Ftruncate(fd, 100) },
				"fsetxattr": func() (int, error) { return 0, unix.Fsetxattr(fd, "user.ipc.q_qbytes", []byte("100"), 0) },
			} {
				if n, err := retryEINTR(call); !errors.Is(err, unix.EIDRM) {
					t.Errorf("%s after the end of the queue: %d, %v, want EIDRM", what, n, err)
				}
			}
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
			if n, err := unix.Poll(p, 0); n != 1 || p[0].Revents&unix.POLLERR == 0 {
				t.Errorf("poll: %d, %#x, %v, want POLLERR", n, p[0].Revents, err)
			}
		})
	}
	before.unchanged(t, m)
}

// Appends to one open file wait for each other in the kernel, where no signal reaches them; the end of the queue does.
func TestMsgqRemovalEndsAppenders(t *testing.T) {
	m := newMount(t)
	for _, view := range []string{"", ":7", ":raw", ":lines"} {
		q := newQueue(t, m, "q", true)
		c := startCrowd(t, q+view, "waf", 4)
		queueWaits(t, q, 0, 1)
		run(t, "chmod", "600", q)
		run(t, "rm", q)
		c.wantEnd(t, 4, "EIDRM")
	}
}

// Whoever has nothing to do with those who wait does not wait for them; and the new limit makes room.
func TestMsgqWaitersHoldNobodyUp(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	watchD(t)
	dir := filepath.Join(m.dir, "msgq")
	q, moved := newQueue(t, m, "q", true), filepath.Join(dir, "moved")
	receivers := visitors{{":9", "r", 3}, {":9:lines", "r", 2}, {":9:raw", "rf", 2}, {":^1", "rs", 2}}
	all := append(slices.Clone(receivers), waitingSenders...)
	crowds, waiting, sending := all.come(t, q)

	for _, name := range []string{q, q + ":7", q + ":raw"} {
		run(t, "stat", name)
		run(t, "chmod", "600", name)
		run(t, "chown", "0:0", name)
		run(t, "touch", name)
		run(t, "touch", "-d", "2001-01-01", name)
		run(t, "getfattr", "-d", "-m", "-", name)
		run(t, "setfattr", "-n", "user.ipc.q_qbytes", "-v", strconv.Itoa(msgMnb), name)
		run(t, "truncate", "-s", strconv.Itoa(msgMnb), name)
		run(t, "dd", "if=/dev/null", "of="+name, "oflag=nonblock", "status=none") // opens with O_TRUNC
		run(t, "sh", "-c", `: 3> "$0"; : 3>> "$0"; : 3<> "$0"; : 3< "$0"`, name)
	}
	run(t, "ls", "-l", dir)
	if lines := strings.Count(run(t, "cat", q+":peek"), "\n"); lines != msgMnb/msgMax {
		t.Errorf("peek shows %d messages", lines)
	}
	run(t, "mv", q, moved)
	run(t, "ln", moved, q)
	run(t, "rm", moved)
	queueWaits(t, q, waiting, sending)
	// Each of them has 8 bytes to send.
	for i, set := range [][]string{{"truncate", "-s"}, {"setfattr", "-n", "user.ipc.q_qbytes", "-v"}} {
		run(t, set[0], append(set[1:], strconv.Itoa(msgMnb+8*(i+1)), q)...)
		queueWaits(t, q, waiting, sending-i-1)
	}
	run(t, "truncate", "-s", strconv.Itoa(1<<20), q) // for all, one of them to a receiver of ^1
	eventually(t, func() error {
		if n := attribute(t, q, "q_senders"); n != 0 {
			return fmt.Errorf("%d senders wait", n)
		}
		return nil
	})
	run(t, "rm", q)
	for i, w := range all {
		crowds[i].wantEnd(t, w.n, map[byte][]string{'r': {"EIDRM", "OK"}, 'w': {"OK"}}[w.letters[0]]...)
	}
}

// A thousand who wait to receive and a thousand who wait to send, on one queue.
func TestMsgqThousands(t *testing.T) {
	m := newMount(t)
	before := daemonUse(t, m)
	const n = 1000
	for _, end := range []string{"rm", "kill"} {
		t.Run(end, func(t *testing.T) {
			q := newQueue(t, m, "q", true)
			began := time.Now()
			r, s := startCrowd(t, q+":9", "r", n), startCrowd(t, q, "w", n)
			queueWaits(t, q, n, n)
			waiting := time.Since(began)
			began = time.Now()
			if end == "rm" {
				run(t, "rm", q)
				r.wantEnd(t, n, "EIDRM")
				s.wantEnd(t, n, "EIDRM")
			} else {
				for _, c := range []*crowd{r, s} {
					if err := c.cmd.Process.Kill(); err != nil {
						t.Error(err)
					}
					c.wait(t)
				}
				queueWaits(t, q, 0, 0)
				if n := attribute(t, q, "q_qnum"); n != msgMnb/msgMax {
					t.Errorf("the queue holds %d messages", n)
				}
				fd := openFd(t, q, unix.O_RDWR|unix.O_NONBLOCK)
				defer unix.Close(fd)
				// None of those that were killed may take or send anything now.
				for i := range msgMnb / msgMax {
					if n, err := unix.Read(fd, make([]byte, msgMax)); n != msgMax || err != nil {
						t.Errorf("read %d: %d, %v", i, n, err)
					}
				}
				if n, err := unix.Write(fd, []byte("x")); n != 1 || err != nil || attribute(t, q, "q_qnum") != 1 || attribute(t, q, "q_cbytes") != 1 {
					t.Errorf("write: %d, %v; the queue holds %d messages", n, err, attribute(t, q, "q_qnum"))
				}
				run(t, "rm", q)
			}
			t.Logf("they waited after %v, and ended within %v", waiting.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		})
	}
	before.unchanged(t, m)
}
