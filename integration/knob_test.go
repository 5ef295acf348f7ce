package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// knobCalls are system calls on a file of proc/sys, and what they returned.
type knobCalls struct {
	path string
	fd   int
	said []string
}

func (c *knobCalls) say(call string, n int, err error, more ...string) {
	result := strconv.Itoa(n)
	if err != nil {
		result = unix.ErrnoName(err.(unix.Errno))
	}
	c.said = append(c.said, strings.Join(append([]string{call, result}, more...), " "))
}

func (c *knobCalls) open(flags int) {
	c.close()
	fd, err := retryEINTR(func() (int, error) { return unix.Open(c.path, flags|unix.O_CLOEXEC, 0) })
	c.fd = fd
	if err != nil {
		c.say("open", 0, err)
	}
}

func (c *knobCalls) close() {
	if c.fd >= 0 {
		if err := unix.Close(c.fd); err != nil {
			c.say("close", 0, err)
		}
	}
	c.fd = -1
}

func (c *knobCalls) write(text string) {
	n, err := retryEINTR(func() (int, error) { return unix.Write(c.fd, []byte(text)) })
	c.say("write", n, err)
}

func (c *knobCalls) writev(texts ...string) {
	var v [][]byte
	for _, text := range texts {
		v = append(v, []byte(text))
	}
	n, err := retryEINTR(func() (int, error) { return unix.Writev(c.fd, v) })
	c.say("writev", n, err)
}

func (c *knobCalls) pwrite(text string, at int64) {
	n, err := retryEINTR(func() (int, error) { return unix.Pwrite(c.fd, []byte(text), at) })
	c.say("pwrite", n, err)
}

func (c *knobCalls) read(n int) {
	b := make([]byte, n)
	n, err := retryEINTR(func() (int, error) { return unix.Read(c.fd, b) })
	c.say("read", n, err, strconv.Quote(string(b[:max(n, 0)])))
}

func (c *knobCalls) pread(n int, at int64) {
	b := make([]byte, n)
	n, err := retryEINTR(func() (int, error) { return unix.Pread(c.fd, b, at) })
	c.say("pread", n, err, strconv.Quote(string(b[:max(n, 0)])))
}

func (c *knobCalls) seek(at int64) {
	n, err := unix.Seek(c.fd, at, io.SeekStart)
	c.say("lseek", int(n), err)
}

func (c *knobCalls) truncate(size int64) {
	c.say("truncate", 0, unix.Truncate(c.path, size))
}

func (c *knobCalls) ftruncate(size int64) {
	c.say("ftruncate", 0, unix.Ftruncate(c.fd, size))
}

// result is what all the calls returned and what the file says then, for another one that opens it.
func (c *knobCalls) result() string {
	c.close()
	text, err := os.ReadFile(c.path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s; then it is %q", strings.Join(c.said, ", "), text)
}

// knobTry is what is done to a file of proc/sys.
type knobTry struct {
	name string
	do   func(c *knobCalls)
}

// knobTries are all that are done to each, each after it was set to what it is at first.
func knobTries() (list []knobTry) {
	long := strings.Repeat("0", 30)
	for _, text := range []string{
		"", "\n", " ", "  \t", "4096", "4096\n", " 4097 \n", "\t4098", "\v\f\r4099", "4100 \v", "0x1000", "0X1f", "0x", "0xg", "010", "08", "00", "0", "1", "-1", "-0", "- 1", "--1", "+5",
		"abc", "12abc", "12 abc", "12 13", "12\n13", "12\t13\n", "12,", "12, 13", ",12", "12\x00", "12 \x00", "\x0012", "12\x00abc", "12\r\n", "12\r", "1.5", "1e3", "0b11", "1_000",
		"4095", "32768", "32769", "1040384", "1040385", "1048577", "2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
		"18446744073692774399", "18446744073709551615", "18446744073709551616", "99999999999999999999999", "-2147483648", "-18446744073709551615",
		"1" + strings.Repeat(" ", 100), strings.Repeat(" ", 100) + "7", long + "7", "0x" + long + "7", "000000000000000000007", "0000000000000000000007", "1" + strings.Repeat(" ", 4094),
		"7" + strings.Repeat("\n", 4095), "9" + strings.Repeat(" ", 5000), strings.Repeat(" ", 4094) + "7", strings.Repeat(" ", 4095) + "7", strings.Repeat(" ", 4094) + "78", strings.Repeat("1 ", 2000),
		strings.Repeat(" ", 4093) + "78", strings.Repeat("1 ", 4000), "1" + strings.Repeat(" ", 4090) + "x" + strings.Repeat(" ", 5000), strings.Repeat(" ", 9000) + "7",
	} {
		name := fmt.Sprintf("write %q", text)
		if len(text) > 30 {
			name = fmt.Sprintf("write %q... of %d bytes", text[:3], len(text))
		}
		list = append(list, knobTry{name, func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.write(text)
		}})
	}
	return append(list,
		knobTry{"write behind the beginning", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.pwrite("5", 3)
			c.pwrite("6\n", 1)
			c.pwrite("abc", 1)
		}},
		knobTry{"seek and write", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.seek(2)
			c.write("7")
			c.seek(0)
			c.write("8")
		}},
		knobTry{"two writes on one descriptor", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.write("100\n")
			c.write("200\n")
		}},
		knobTry{"a byte at a time", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			for _, b := range "123\n" {
				c.write(string(b))
			}
		}},
		knobTry{"a write that fails and one that does not", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.write("x")
			c.write("9")
		}},
		knobTry{"two numbers in two pieces", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.writev("1", "2\n")
		}},
		knobTry{"O_APPEND", func(c *knobCalls) {
			c.open(unix.O_WRONLY | unix.O_APPEND)
			c.write("77")
			c.write("78\n")
		}},
		knobTry{"O_APPEND of what fails, and of what does not", func(c *knobCalls) {
			c.open(unix.O_WRONLY | unix.O_APPEND)
			c.write("x")
			c.write("9")
			c.write("10")
		}},
		knobTry{"O_TRUNC", func(c *knobCalls) {
			c.open(unix.O_WRONLY | unix.O_TRUNC)
			c.write("79\n")
		}},
		knobTry{"O_TRUNC alone", func(c *knobCalls) { c.open(unix.O_WRONLY | unix.O_TRUNC) }},
		knobTry{"O_CREAT|O_TRUNC", func(c *knobCalls) {
			c.open(unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC)
			c.write("80")
		}},
		knobTry{"O_EXCL", func(c *knobCalls) { c.open(unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL) }},
		knobTry{"truncate", func(c *knobCalls) {
			c.truncate(0)
			c.truncate(5)
			c.open(unix.O_WRONLY)
			c.ftruncate(0)
			c.ftruncate(7)
			c.write("81")
		}},
		knobTry{"read, then write", func(c *knobCalls) {
			c.open(unix.O_RDWR)
			c.read(100)
			c.write("82")
			c.seek(0)
			c.write("83")
			c.seek(0)
		}},
		knobTry{"write, then read", func(c *knobCalls) {
			c.open(unix.O_RDWR)
			c.write("84\n")
			c.read(100)
		}},
		knobTry{"write what may only be read", func(c *knobCalls) {
			c.open(unix.O_RDONLY)
			c.write("85")
			c.ftruncate(0)
		}},
		knobTry{"read what may only be written", func(c *knobCalls) {
			c.open(unix.O_WRONLY)
			c.read(10)
		}},
		knobTry{"read to the end", func(c *knobCalls) {
			c.open(unix.O_RDONLY)
			c.read(100)
			c.read(100)
		}},
		knobTry{"read of nothing", func(c *knobCalls) {
			c.open(unix.O_RDONLY)
			c.read(0)
			c.read(100)
		}},
		knobTry{"read far behind the end", func(c *knobCalls) {
			c.open(unix.O_RDONLY)
			c.pread(10, 100)
			c.pread(100, 0)
		}},
		knobTry{"read in pieces", func(c *knobCalls) {
			c.open(unix.O_RDONLY)
			c.read(2)
			c.read(2)
			c.pread(100, 1)
		}},
		knobTry{"read after it changed", func(c *knobCalls) {
			c.open(unix.O_RDWR)
			c.write("86\n")
			c.seek(0)
			c.read(100)
		}},
	)
}

// knobDifferences are all that a try may lead to on the mount and not in the kernel, and why. Whatever else differs is wrong, and so is what does not differ any more.
var knobDifferences = []struct {
	knobs string // by blanks; all if ""
	try   string
	mount string // what there is on the mount; $NUMBER is what the knob is at first
	why   string
}{
	{"msgmax", `write "1040385"`, `write EINVAL; then it is "$NUMBER\n"`, longMessage},
	{"msgmax", `write "1048577"`, `write EINVAL; then it is "$NUMBER\n"`, longMessage},
	{"msgmax", `write "2147483647"`, `write EINVAL; then it is "$NUMBER\n"`, longMessage},
	{"shmall", `write "0"`, `write EINVAL; then it is "$NUMBER\n"`, nothingAtAll},
	{"shmall", `write "00"`, `write EINVAL; then it is "$NUMBER\n"`, nothingAtAll},
	{"shmall", `write "9223372036854775807"`, `write 19; then it is "2251799813685247\n"`, pagesInBytes},
	{"shmall", `write "9223372036854775808"`, `write 19; then it is "2251799813685247\n"`, pagesInBytes},
	{"shmall", `write "18446744073692774399"`, `write 20; then it is "2251799813685247\n"`, pagesInBytes},
	{"shmall", `write "18446744073709551615"`, `write 20; then it is "2251799813685247\n"`, pagesInBytes},
	{"", "read in pieces", "", "the kernel has nothing behind the first piece, of whatever size; here the number is there to its end"},
	{"", "write, then read", "", ofItsMoment},
	{"", "read after it changed", `write 3, lseek 0, read $LENGTH "$NUMBER\n"; then it is "86\n"`, ofItsMoment},
}

const (
	longMessage  = "a longer message and its type do not come in one WRITE"
	nothingAtAll = "0 is no limit to a tmpfs"
	pagesInBytes = "the limit in bytes is a number of 63 bits"
	ofItsMoment  = "what is read is the number of the moment in which the file was opened"
)

// What is written to a knob leads to what it leads to in the kernel: the same result, the same error, the same number.
func TestKnobsBesideTheKernel(t *testing.T) {
	ownIPC(t)
	m := newMount(t)
	used := make([]bool, len(knobDifferences))
	for knob, number := range map[string]string{
		"msgmax": "8192", "msgmnb": "16384", "msgmni": "32000", "shmmax": "18446744073692774399", "shmmni": "4096", "shmall": "1000000",
	} {
		paths := [2]string{filepath.Join("/proc/sys/kernel", knob), filepath.Join(m.dir, "proc/sys/kernel", knob)}
		if knob != "shmall" {
			for _, p := range paths {
				if text := readText(t, p); text != number+"\n" {
					t.Errorf("%s is %q at first, want %s", p, text, number)
				}
			}
		}
		for _, try := range knobTries() {
			var results [2]string
			for i, p := range paths {
				if err := os.WriteFile(p, []byte(number), 0o644); err != nil {
					t.Fatal(err)
				}
				c := &knobCalls{path: p, fd: -1}
				try.do(c)
				results[i] = c.result()
			}
			want, why := results[0], ""
			for i, d := range knobDifferences {
				if d.try == try.name && (d.knobs == "" || slices.Contains(strings.Fields(d.knobs), knob)) {
					used[i], why = true, d.why
					want = strings.NewReplacer("$NUMBER", number, "$LENGTH", strconv.Itoa(len(number)+1)).Replace(d.mount)
				}
			}
			switch {
			case why != "" && results[0] == results[1]:
				t.Errorf("%s: %s: it is as in the kernel: %s; but %s", knob, try.name, results[0], why)
			case want != "" && results[1] != want:
				t.Errorf("%s: %s:\n%s, in the kernel\n%s, want\n%s", knob, try.name, results[1], results[0], want)
			}
		}
	}
	for i, d := range knobDifferences {
		if !used[i] {
			t.Errorf("nothing is tried that makes the difference %+v", d)
		}
	}

	// The limits of pipes are the machine's, and so only read. What the machine has can be written here, and reads as it.
	for _, knob := range []string{"pipe-max-size", "pipe-user-pages-soft", "pipe-user-pages-hard"} {
		kernel, ours := filepath.Join("/proc/sys/fs", knob), filepath.Join(m.dir, "proc/sys/fs", knob)
		text := readText(t, kernel)
		if err := os.WriteFile(ours, []byte(text), 0o644); err != nil || readText(t, ours) != text {
			t.Errorf("%s is %q, want %q, %v", ours, readText(t, ours), text, err)
		}
		var st, kst unix.Stat_t
		if err := errors.Join(unix.Stat(ours, &st), unix.Stat(kernel, &kst)); err != nil || st.Mode != kst.Mode || st.Size != kst.Size || st.Uid != kst.Uid {
			t.Errorf("%s: mode %o, size %d, user %d, want %o, %d, %d, %v", ours, st.Mode, st.Size, st.Uid, kst.Mode, kst.Size, kst.Uid, err)
		}
	}
}

// setKnob writes a number to a file of proc/sys, and looks whether it is there.
func (m *mount) setKnob(t testing.TB, knob string, n uint64) {
	t.Helper()
	text := strconv.FormatUint(n, 10)
	path := filepath.Join(m.dir, "proc/sys", knob)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if now := readText(t, path); now != text+"\n" {
		t.Errorf("%s is %q after %s was written", knob, now, text)
	}
}

// wantErrno compares the error of a call.
func wantErrno(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// Each knob of message queues acts on what is done from then on, on the next system call, and not on what there is.
func TestKnobsOfQueues(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	q := newQueue(t, m, "q", false)
	fd := openFd(t, q, unix.O_RDWR|unix.O_NONBLOCK)
	defer unix.Close(fd)
	send := func(n int) error {
		_, err := retryEINTR(func() (int, error) { return unix.Write(fd, make([]byte, n)) })
		return err
	}
	for _, most := range []int{50, 0, 1, 20000, 8192} {
		m.setKnob(t, "kernel/msgmax", uint64(most))
		m.setKnob(t, "kernel/msgmnb", 100000)
		run(t, "truncate", "-s", "100000", q)
		wantErrno(t, fmt.Sprintf("a message one longer than msgmax %d", most), send(most+1), unix.EINVAL)
		if most > 0 {
			wantErrno(t, fmt.Sprintf("a message as long as msgmax %d", most), send(most), nil)
			if n, err := unix.Read(fd, make([]byte, most)); n != most || err != nil {
				t.Errorf("read: %d, %v", n, err)
			}
		}
	}

	for _, most := range []int{100, 0, 1 << 20} {
		m.setKnob(t, "kernel/msgmnb", uint64(most))
		path := newQueue(t, m, fmt.Sprint("mnb", most), false)
		if n := attribute(t, path, "q_qbytes"); n != most {
			t.Errorf("a new queue may hold %d bytes with msgmnb %d", n, most)
		}
		if n := attribute(t, q, "q_qbytes"); n != 100000 {
			t.Errorf("an old queue may hold %d bytes now", n)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		set := fmt.Sprintf("setfattr -n user.ipc.q_qbytes mnb%d -v ", most)
		if err := errors.Join(shell(t, nobody, m.msgq, set+strconv.Itoa(most+1)).denied(), shell(t, nobody, m.msgq, set+strconv.Itoa(most)).allowed(), shell(t, 0, m.msgq, set+strconv.Itoa(most+1)).allowed()); err != nil {
			t.Errorf("q_qbytes with msgmnb %d: %v", most, err)
		}
	}

	m.setKnob(t, "kernel/msgmni", 5) // q and three are there
	wantErrno(t, "the fifth queue", touch(filepath.Join(m.msgq, "5")), nil)
	wantErrno(t, "the sixth queue of five", touch(filepath.Join(m.msgq, "6")), unix.ENOSPC)
	m.setKnob(t, "kernel/msgmni", 1) // fewer than there are
	wantErrno(t, "a queue that is there", touch(q), nil)
	run(t, "rm", filepath.Join(m.msgq, "5"))
	wantErrno(t, "the fifth queue of one", touch(filepath.Join(m.msgq, "6")), unix.ENOSPC)
	m.setKnob(t, "kernel/msgmni", 32768)
	wantErrno(t, "the fifth queue of 32768", touch(filepath.Join(m.msgq, "6")), nil)
}

// Each knob of segments acts on what is done from then on.
func TestKnobsOfSegments(t *testing.T) {
	eachPassthrough(t, []string{"--shmall", "100M"}, func(t *testing.T, m *mount) {
		fd := m.openAt(t, "s", unix.O_RDWR|unix.O_CREAT)
		defer unix.Close(fd)
		for _, most := range []int64{10000, 0, 1 << 40} {
			m.setKnob(t, "kernel/shmmax", uint64(most))
			wantErrno(t, fmt.Sprintf("a segment one larger than shmmax %d", most), unix.Ftruncate(fd, most+1), unix.EINVAL)
			wantErrno(t, fmt.Sprintf("fallocate beyond shmmax %d", most), unix.Fallocate(fd, 0, most, 1), unix.EINVAL)
			wantErrno(t, fmt.Sprintf("a segment as large as shmmax %d", most), unix.Ftruncate(fd, most), nil)
		}
		m.setKnob(t, "kernel/shmmax", 1000)
		if n := attribute(t, filepath.Join(m.shm, "s"), "shm_segsz"); n != 1<<40 {
			t.Errorf("the segment that is there has %d bytes now", n)
		}
		m.setKnob(t, "kernel/shmmax", 18446744073692774399)

		wantErrno(t, "ftruncate", unix.Ftruncate(fd, 0), nil)
		disk := func() (pages, free uint64) {
			var st unix.Statfs_t
			if err := unix.Statfs(m.shm, &st); err != nil {
				t.Fatal(err)
			}
			return st.Blocks, st.Bfree
		}
		for _, pages := range []int64{10, 1, 3000} {
			m.setKnob(t, "kernel/shmall", uint64(pages))
			if all, free := disk(); all != uint64(pages) || free != uint64(pages) {
				t.Errorf("df shows %d pages, %d free, with shmall %d", all, free, pages)
			}
			wantErrno(t, fmt.Sprintf("a page more than shmall %d", pages), unix.Fallocate(fd, 0, 0, (pages+1)*4096), unix.ENOSPC)
			wantErrno(t, fmt.Sprintf("as much as shmall %d", pages), unix.Fallocate(fd, 0, 0, pages*4096), nil)
			if all, free := disk(); all != uint64(pages) || free != 0 {
				t.Errorf("df shows %d pages, %d free, with all of shmall %d taken", all, free, pages)
			}
			if n, err := unix.Pwrite(fd, []byte("x"), pages*4096); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("write of a page more than shmall %d: %d, %v", pages, n, err)
			}
			for n, want := range map[int64]error{pages - 1: unix.EINVAL, 0: unix.EINVAL, pages: nil, pages + 2: nil} {
				wantErrno(t, fmt.Sprintf("shmall %d while %d pages are held", n, pages),
					os.WriteFile(filepath.Join(m.dir, "proc/sys/kernel/shmall"), []byte(strconv.FormatInt(n, 10)), 0o644), want)
			}
			m.setKnob(t, "kernel/shmall", uint64(pages+2))
			wantErrno(t, "one of two pages more", unix.Fallocate(fd, 0, 0, (pages+1)*4096), nil)
			if all, free := disk(); all != uint64(pages+2) || free != 1 {
				t.Errorf("df shows %d pages, %d free, want %d, 1", all, free, pages+2)
			}
			wantErrno(t, "ftruncate", unix.Ftruncate(fd, 0), nil)
		}

		create := func(name string) error {
			fd, err := unix.Open(filepath.Join(m.shm, name), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		}
		m.setKnob(t, "kernel/shmmni", 2)
		wantErrno(t, "the second segment of two", create("2"), nil)
		wantErrno(t, "the third segment of two", create("3"), unix.ENOSPC)
		m.setKnob(t, "kernel/shmmni", 0)
		wantErrno(t, "a segment that is there", create("2"), nil)
		wantErrno(t, "the third segment of none", create("3"), unix.ENOSPC)
		m.setKnob(t, "kernel/shmmni", 3)
		wantErrno(t, "the third segment of three", create("3"), nil)
	})
}

// Each knob of pipes acts on what an ordinary user does from then on, and on root not at all.
func TestKnobsOfPipes(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	set := func(uid uint32, n int) ran {
		return shell(t, uid, m.pipes, fmt.Sprintf("setfattr -n user.ipc.capacity -v %d p", n))
	}
	p := makePipe(t, filepath.Join(m.pipes, "p"))
	if err := os.Chown(p, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{8192, 4096, 1 << 21} {
		if err := set(0, 4096).allowed(); err != nil {
			t.Fatal(err)
		}
		m.setKnob(t, "fs/pipe-max-size", uint64(most))
		if err := errors.Join(set(nobody, most+1).denied(), set(nobody, most).allowed()); err != nil || attribute(t, p, "capacity") != most {
			t.Errorf("pipe-max-size %d: the capacity is %d, %v", most, attribute(t, p, "capacity"), err)
		}
		if err := set(0, 2*most).allowed(); err != nil || attribute(t, p, "capacity") != 2*most {
			t.Errorf("root with pipe-max-size %d: the capacity is %d, %v", most, attribute(t, p, "capacity"), err)
		}
	}
	m.setKnob(t, "fs/pipe-max-size", 1<<20)

	// What a pipe gets when it is first opened by an user who has one of 16 pages open already.
	opens := func(uid uint32) string {
		r := shell(t, uid, m.pipes, `exec 3<>a; exec 4<>b && getfattr --only-values -n user.ipc.capacity b; status=$?; rm -f a b; exit $status`)
		if r.status != 0 {
			return r.err[strings.LastIndexByte(strings.TrimSpace(r.err), ':')+2:]
		}
		return r.out
	}
	for _, c := range []struct {
		soft, hard uint64
		want       string
	}{
		{0, 0, "65536"}, {32, 0, "65536"}, {31, 0, "8192"}, {1, 0, "8192"}, {0, 32, "65536"}, {0, 31, "Cannot allocate memory\n"}, {16, 31, "8192"}, {0, 0, "65536"},
		{18446744073709551615, 18446744073709551615, "65536"}, {9223372036854775808, 0, "65536"}, {0, 9223372036854775808, "65536"},
	} {
		m.setKnob(t, "fs/pipe-user-pages-soft", c.soft)
		m.setKnob(t, "fs/pipe-user-pages-hard", c.hard)
		if got := opens(nobody); got != c.want {
			t.Errorf("with pipe-user-pages-soft %d and -hard %d a second pipe is %q, want %q", c.soft, c.hard, got, c.want)
		}
		if got := opens(0); got != "65536" {
			t.Errorf("with pipe-user-pages-soft %d and -hard %d a second pipe of root is %q", c.soft, c.hard, got)
		}
	}
}

// knobFiles are all files of proc/sys.
var knobFiles = []string{
	"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/shmmax", "kernel/shmall", "kernel/shmmni", "fs/pipe-max-size", "fs/pipe-user-pages-soft", "fs/pipe-user-pages-hard",
}

// Who may write to a knob: root, and nobody else on root's mount.
func TestKnobsOfRoot(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	for _, knob := range knobFiles {
		dir := filepath.Join(m.dir, "proc/sys")
		before := readText(t, dir, knob)
		for _, uid := range []uint32{nobody, another} {
			if r := shell(t, uid, dir, "cat "+knob); r.out != before || r.allowed() != nil {
				t.Errorf("user %d reads %s: %+v", uid, knob, r)
			}
			for _, do := range []string{"echo 8192 >", "echo 8192 >>", "echo 8192 1<>"} {
				if r := shell(t, uid, dir, do+knob); r.denied() != nil || !strings.Contains(r.err, "Permission denied") {
					t.Errorf("user %d: %s%s: %+v", uid, do, knob, r)
				}
			}
		}
		for _, do := range []string{"rm -f ", "mv -f /dev/null ", "chmod 666 ", "chown 65534 "} {
			if err := shell(t, nobody, dir, do+knob).denied(); err != nil {
				t.Errorf("%s%s: %v", do, knob, err)
			}
		}
		if r := shell(t, 0, dir, "echo 8192 >"+knob); r.allowed() != nil || readText(t, dir, knob) != "8192\n" {
			t.Errorf("root: %s: %+v", knob, r)
		}
	}
}

// On a mount of an ordinary user it is he who may write, and root; not a third.
func TestKnobsOfTheOwnerOfTheMount(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newUsersSite(t)
	s.bindFuseConf(t, "user_allow_other\n")
	mustRun(t, s.runAs(t, nobody, s.mountArgs("-o", "allow_other")...))
	dir := filepath.Join(s.dir, "proc/sys")
	for _, knob := range knobFiles {
		for uid, may := range map[uint32]bool{nobody: true, another: false, 0: true} {
			n, before := fmt.Sprint(8192<<(uid&3)), readText(t, dir, knob) // another number for each
			r := shell(t, uid, dir, "echo "+n+" >"+knob)
			if err := r.allowed(); may && (err != nil || readText(t, dir, knob) != n+"\n") {
				t.Errorf("user %d: %s: %v, and it is %q, want %s", uid, knob, err, readText(t, dir, knob), n)
			}
			if !may && (r.denied() != nil || !strings.Contains(r.err, "Permission denied") || readText(t, dir, knob) != before) {
				t.Errorf("user %d: %s: %+v, and it is %q", uid, knob, r, readText(t, dir, knob))
			}
		}
	}
	mustRun(t, s.runAs(t, nobody, "umount", s.dir))
	s.gone(t, "")
}
