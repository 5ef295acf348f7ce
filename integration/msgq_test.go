package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// --msgmni bounds the queues that there are, whatever makes them.
func TestMsgqMsgmni(t *testing.T) {
	m := newMount(t, "--msgmni", "5")
	dir := filepath.Join(m.dir, "msgq")
	path := func(name string) string { return filepath.Join(dir, name) }
	for i := range 5 {
		if err := touch(path(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	more := map[string]func() error{
		"open":           func() error { return touch(path("a")) },
		"open of a view": func() error { return touch(path("a:7:lines")) },
		"mknod":          func() error { return unix.Mknod(path("a"), unix.S_IFREG|0o644, 0) },
		"O_TMPFILE": func() error {
			fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		},
	}
	for what, try := range more {
		if err := try(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s of a sixth queue: %v, want ENOSPC", what, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 5 {
			t.Errorf("%v, %v", names, err)
		}
	}
	if err := errors.Join(unix.Link(path("0"), path("b")), os.Mkdir(path("d"), 0o755), touch(path("1"))); err != nil {
		t.Errorf("what makes no queue: %v", err)
	}
	// A queue that is removed is none, though it is open; one with a second name is.
	fd := openFd(t, path("1"), unix.O_RDWR)
	defer unix.Close(fd)
	run(t, "rm", path("0"))
	if err := more["open"](); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("with the other name left: %v, want ENOSPC", err)
	}
	for what, try := range more {
		run(t, "rm", "-f", path("1"), path("a"))
		if err := try(); err != nil {
			t.Errorf("%s of a fifth queue: %v", what, err)
		}
		if what != "O_TMPFILE" {
			run(t, "rm", path("a"))
		}
		eventually(t, func() error { return touch(path("1")) }) // a moment after the close of what never had a name
	}
}

// When there is no memory a message is refused whole, whether there is room for it in its queue or not, and what was there stays.
func TestMsgqMemory(t *testing.T) {
	m := newMount(t, "--memory", "1M", "--msgmnb", "64M")
	watchD(t)
	before := daemonUse(t, m)
	dir := filepath.Join(m.dir, "msgq")
	if before.free != 256 {
		t.Errorf("%d pages are free, want 256", before.free)
	}
	text := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, msgMax) }
	q := newQueue(t, m, "q", false)
	fd := openFd(t, q, unix.O_RDWR|unix.O_NONBLOCK)
	defer unix.Close(fd)
	sent := 0
	for {
		n, err := unix.Write(fd, text(sent))
		if errors.Is(err, unix.ENOMEM) {
			break
		}
		if n != msgMax || err != nil || sent > 128 {
			t.Fatalf("write %d: %d, %v", sent, n, err)
		}
		sent++
	}
	if free := freePages(t, dir); sent < 64 || free > 3 {
		t.Errorf("%d messages were sent, %d pages are free", sent, free)
	}
	held := func(n int) {
		t.Helper()
		if got := attribute(t, q, "q_qnum"); got != n || attribute(t, q, "q_cbytes") != n*msgMax {
			t.Errorf("the queue holds %d messages of %d bytes, want %d", got, attribute(t, q, "q_cbytes"), n)
		}
	}
	held(sent)
	// Blocked or not, and whoever it is.
	for view, want := range map[string]error{"": unix.ENOMEM, ":7": unix.ENOMEM, ":raw": unix.ENOMEM, ":lines": unix.ENOMEM} {
		w := openFd(t, q+view, unix.O_WRONLY)
		b := bytes.Repeat([]byte{1}, msgMax)
		if view == ":raw" {
			b = append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, b...)
		}
		b[len(b)-1] = '\n'
		if n, err := retryEINTR(func() (int, error) { return unix.Write(w, b) }); n > 0 || !errors.Is(err, want) {
			t.Errorf("write to q%s without memory: %d, %v, want %v", view, n, err, want)
		}
		_ = unix.Close(w)
	}
	held(sent)
	// Names, attributes and reads need none.
	run(t, "sh", "-c", `cd "$0" && touch new && ls -l && stat new:7 && chmod 600 q && getfattr -n user.ipc.q_qnum q && rm new`, dir)
	b := make([]byte, msgMax)
	for i := range 2 {
		if n, err := unix.Read(fd, b); n != msgMax || err != nil || !bytes.Equal(b, text(i)) {
			t.Fatalf("read: %d, %v", n, err)
		}
	}
	if n, err := unix.Write(fd, text(sent)); n != msgMax || err != nil {
		t.Errorf("write after a read: %d, %v", n, err)
	}
	for i := 2; i <= sent; i++ {
		if n, err := unix.Read(fd, b); n != msgMax || err != nil || !bytes.Equal(b, text(i)) {
			t.Fatalf("read %d: %d, %v", i, n, err)
		}
	}
	held(0)
	before.unchanged(t, m)

	// Lines go in as far as there is memory.
	lines := openFd(t, q+":lines", unix.O_WRONLY|unix.O_NONBLOCK)
	defer unix.Close(lines)
	all := bytes.Repeat([]byte(strings.Repeat("x", 999)+"\n"), 1000)
	total := 0
	for {
		n, err := unix.Write(lines, all)
		if errors.Is(err, unix.ENOMEM) {
			break
		}
		if n <= 0 || n%1000 != 0 || err != nil {
			t.Fatalf("write of lines: %d, %v", n, err)
		}
		total += n
	}
	if n := attribute(t, q, "q_cbytes"); n != total || attribute(t, q, "q_qnum") != total/1000 {
		t.Errorf("%d bytes of lines were sent, and %d are there", total, n)
	}
	run(t, "rm", q)
	before.unchanged(t, m)

	// What waits for room has its memory already.
	small := newQueue(t, m, "small", false)
	run(t, "truncate", "-s", "1", small)
	waiting := startCrowd(t, small, "w", 40)
	queueWaits(t, small, 0, 40)
	large := startCrowd(t, small+":7", "wb", 200)
	eventually(t, func() error {
		if free := freePages(t, dir); free > 1 {
			return fmt.Errorf("%d pages are free, with %d senders waiting", free, attribute(t, small, "q_senders"))
		}
		return nil
	})
	w := openFd(t, small, unix.O_WRONLY)
	defer unix.Close(w)
	if n, err := retryEINTR(func() (int, error) { return unix.Write(w, text(0)) }); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("a write that would wait, without memory: %d, %v, want ENOMEM", n, err)
	}
	run(t, "rm", small)
	waiting.wantEnd(t, 40, "EIDRM")
	large.wantEnd(t, 200, "EIDRM", "ENOMEM", "ENOENT")
	before.unchanged(t, m)
}

// Who may set q_qbytes, and to what.
func TestMsgqQBytes(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	dir := filepath.Join(m.dir, "msgq")
	q := newQueue(t, m, "q", false)
	if err := errors.Join(os.Chown(q, nobody, nobody), os.Chmod(q, 0o644)); err != nil {
		t.Fatal(err)
	}
	set := "setfattr -n user.ipc.q_qbytes q -v "
	for _, c := range []struct {
		uid  uint32
		do   string
		want string // in what it says; nothing, and it is done
		left int
	}{
		{nobody, "truncate -s 16385 q", "Operation not permitted", 16384}, {nobody, set + "16385", "Operation not permitted", 16384}, {nobody, "truncate -s 100 q", "", 100},
		{nobody, set + "16384", "", 16384}, {another, "truncate -s 100 q", "Permission denied", 16384}, {another, set + "100", "Permission denied", 16384},
		{0, "truncate -s 16385 q", "", 16385}, {0, set + "1000000", "", 1000000}, {nobody, set + "1000000", "Operation not permitted", 1000000}, {nobody, set + "50", "", 50},
		{0, set + "0", "", 0}, {0, set + "x", "Invalid argument", 0}, {0, set + "-1", "Invalid argument", 0}, {0, set + "2147483648", "Invalid argument", 0},
		{0, set + "''", "Invalid argument", 0}, {0, "truncate -s 2G q", "Invalid argument", 0}, {0, "truncate -s 77 q", "", 77}, {0, "truncate -s 0 q && : >q", "", 77},
		{0, "setfattr -n user.ipc.q_qnum -v 1 q", "Operation not permitted", 77}, {0, "setfattr -x user.ipc.q_qbytes q", "Operation not permitted", 77},
		{0, "truncate -s 2147483647 q:7", "", 2147483647},
	} {
		r := shell(t, c.uid, dir, c.do)
		if c.want == "" && r.allowed() != nil || !strings.Contains(r.err, c.want) || c.want != "" && r.status == 0 {
			t.Errorf("user %d: %s: %+v, want %q", c.uid, c.do, r, c.want)
		}
		if n := attribute(t, q, "q_qbytes"); n != c.left {
			t.Errorf("user %d: %s: q_qbytes is %d, want %d", c.uid, c.do, n, c.left)
		}
	}
}

// The end of the daemon ends whoever waits at once, and the next mount is a new one.
func TestMsgqDaemonEnds(t *testing.T) {
	for _, sig := range []os.Signal{unix.SIGKILL, unix.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newSite(t)
			watchD(t)
			f := s.foreground(t)
			m := &mount{dir: s.dir}
			empty, full := newQueue(t, m, "empty", false), newQueue(t, m, "full", true)
			held := openFd(t, full, unix.O_RDWR)
			defer unix.Close(held)
			receivers, _, _ := waitingReceivers.come(t, empty)
			senders, _, _ := waitingSenders.come(t, full)
			poll := exec.Command(os.Args[0])
			poll.Env = append(os.Environ(), asPoll+"="+empty+":7")
			p := startBlocker(t, poll, nil)
			eventually(t, func() error {
				if !p.blockedIn(unix.SYS_PPOLL) {
					return errors.New("the client does not poll")
				}
				return nil
			})
			f.signal(t, sig)
			if status := f.status(t); sig == unix.SIGTERM && status != 0 {
				t.Errorf("the daemon ended with %d: %s", status, f.out)
			}
			for i, w := range waitingReceivers {
				receivers[i].wantEnd(t, w.n, "ENOTCONN", "ECONNABORTED")
			}
			for i, w := range waitingSenders {
				senders[i].wantEnd(t, w.n, "ENOTCONN", "ECONNABORTED")
			}
			allFailed(t, []*blocker{p})
			for what, call := range map[string]func() (int, error){
				"read":  func() (int, error) { return unix.Read(held, make([]byte, msgMax)) },
				"write": func() (int, error) { return unix.Write(held, []byte("x")) },
			} {
				if _, err := call(); !errors.Is(err, unix.ENOTCONN) {
					t.Errorf("%s after the end: %v", what, err)
				}
			}
			s.log = filepath.Join(s.logs, "second")
			s.mount(t)
			s.usable(t)
			if names, err := os.ReadDir(filepath.Join(s.dir, "msgq")); err != nil || len(names) != 0 {
				t.Errorf("a new namespace has %v, %v", names, err)
			}
			s.umount(t)
			s.gone(t, "")
		})
	}
}

// A mount ends well with messages in its queues: those of queues with and without a name, of a line that was not ended, and of one that was read in part.
func TestMsgqUnmountWithMessages(t *testing.T) {
	m := newMount(t)
	for i := range 20 {
		newQueue(t, m, strconv.Itoa(i), true)
	}
	q := newQueue(t, m, "q", false)
	run(t, "sh", "-c", `printf 'message' >"$0:7"; head -c 3 "$0:7:stream"; printf 'one\ntwo' >"$0:lines"; printf x >"$0"`, q)
	fd, err := unix.Open(filepath.Join(m.dir, "msgq"), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Write(fd, make([]byte, msgMax)); n != msgMax || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_ = unix.Close(fd)
	if n := attribute(t, q, "q_qnum"); n != 3 {
		t.Errorf("%d messages are left", n)
	}
}

// The mode of the queue decides through each view.
func TestMsgqPermissions(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	d := filepath.Join(m.dir, "msgq", "d") // not sticky: there `>` is refused for reasons of its own
	if err := errors.Join(os.Mkdir(d, 0o755), os.Chmod(d, 0o755)); err != nil {
		t.Fatal(err)
	}
	views := []string{"", ":7", ":-7", ":^7", ":raw", ":7:raw", ":lines", ":-7:lines", ":stream", ":^7:stream", ":peek", ":7:peek"}
	for name, mode := range map[string]os.FileMode{"closed": 0o600, "writable": 0o622, "readable": 0o644, "open": 0o666, "group": 0o660} {
		q := newQueue(t, m, "d/"+name, false)
		if err := errors.Join(os.Chmod(q, mode), os.Chown(q, 0, nobody)); err != nil {
			t.Fatal(err)
		}
		fd := openFd(t, q+":^1", unix.O_RDWR|unix.O_NONBLOCK) // keeps nothing from anybody
		defer unix.Close(fd)
		for _, uid := range []uint32{nobody, another} {
			bits := mode & 7
			if uid == nobody {
				bits = mode >> 3 & 7
			}
			for _, view := range views {
				peek := strings.HasSuffix(view, "peek")
				for do, need := range map[string]os.FileMode{": <Q": 4, "exec 3>>Q": 2, "exec 3<>Q": 6} {
					r := shell(t, uid, d, strings.ReplaceAll(do, "Q", name+view))
					err := r.allowed()
					if bits&need != need {
						if err = r.denied(); err == nil && !strings.Contains(r.err, "Permission denied") {
							err = fmt.Errorf("not EACCES: %+v", r)
						}
					}
					if err != nil && (!peek || need == 4) { // nobody can write to peek
						t.Errorf("user %d, mode %o: %s of %s: %v", uid, mode, do, view, err)
					}
				}
			}
			// What is sent arrives, and what may not be received stays.
			sends, receives := shell(t, uid, d, "printf hello >"+name), shell(t, uid, d, "dd iflag=nonblock count=1 status=none if="+name)
			want := 0
			switch bits & 6 {
			case 6:
				if sends.allowed() != nil || receives.out != "hello" {
					t.Errorf("user %d, mode %o: %+v, %+v", uid, mode, sends, receives)
				}
			case 4:
				if sends.denied() != nil || receives.status == 0 || !strings.Contains(receives.err, "temporarily unavailable") {
					t.Errorf("user %d, mode %o: %+v, %+v", uid, mode, sends, receives)
				}
			case 2:
				want = 1
				fallthrough
			default:
				if (sends.allowed() == nil) != (bits&2 != 0) || receives.denied() != nil {
					t.Errorf("user %d, mode %o: %+v, %+v", uid, mode, sends, receives)
				}
			}
			if n := len(texts(t, q)); n != want {
				t.Errorf("user %d, mode %o: %d messages are left, want %d", uid, mode, n, want)
			}
			for _, do := range []string{"chmod 666 Q", "chmod 666 Q:7", "chown 65533 Q", "touch -c -d @1 Q:7", "rm -f Q", "mv Q x", "rm -f Q:7", "setfattr -n user.ipc.q_lspid -v 1 Q:7"} {
				if err := shell(t, uid, d, strings.ReplaceAll(do, "Q", name)).denied(); err != nil {
					t.Errorf("user %d, mode %o: %s: %v", uid, mode, do, err)
				}
			}
		}
	}
}

// The directory is sticky: everybody makes queues, and removes his own.
func TestMsgqSticky(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	dir := filepath.Join(m.dir, "msgq")
	q := newQueue(t, m, "roots", false)
	if err := os.Chmod(q, 0o666); err != nil {
		t.Fatal(err)
	}
	c := startCrowd(t, q, "r", 1)
	queueWaits(t, q, 1, 0)
	for _, x := range []struct {
		uid   uint32
		do    string
		allow bool
	}{
		{nobody, "umask 0; touch theirs; printf hello >theirs", true}, {another, "rm -f theirs", false}, {another, "mv theirs mine", false}, {another, "rm -f roots", false},
		{another, "touch mine; mv mine roots", false}, {another, "mv mine theirs", false}, {another, "rm mine", true},
		{another, "dd status=none count=1 if=theirs of=/dev/null", true}, {nobody, "printf hello >new:7:lines; rm new", true}, {nobody, "rm -f theirs:7", false},
		{nobody, "mv theirs moved; rm moved", true}, {nobody, "ls -l >/dev/null; rm -f nothing", true},
	} {
		r := shell(t, x.uid, dir, x.do)
		err := r.denied()
		if x.allow {
			err = r.allowed()
		}
		if err != nil {
			t.Errorf("user %d: %s: %v", x.uid, x.do, err)
		}
	}
	queueWaits(t, q, 1, 0)
	if err := os.Remove(q); err != nil {
		t.Error(err)
	}
	c.wantEnd(t, 1, "EIDRM")
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left are %v, %v", names, err)
	}
}

// A queue of which thousands of views were looked up is removed at once, and the daemon does not need a thread for each to have them forgotten.
func TestMsgqManyViewsRemoved(t *testing.T) {
	m := newMount(t)
	q := newQueue(t, m, "q", false)
	const views = 12000 // more than Go's runtime has threads for
	var st unix.Stat_t
	for i := range views {
		if err := unix.Stat(fmt.Sprintf("%s:%d", q, i+1), &st); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Unlink(q); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		text := readText(t, m.dir, "proc/metrics")
		if !strings.Contains(text, "\nipcfs_inodes 0\n") {
			return errors.New("the removed queue is still an inode")
		}
		return nil
	})
	threads := 0
	for _, line := range strings.Split(procText(m.daemon.Process.Pid, "status"), "\n") {
		_, _ = fmt.Sscanf(line, "Threads: %d", &threads)
	}
	if threads == 0 || threads > 50 { // they do not end when they have nothing to do
		t.Errorf("the daemon has %d threads", threads)
	}
}
