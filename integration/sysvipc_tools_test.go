package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withoutKeys is a file of proc/sysvipc with all keys but 0 made the same.
func withoutKeys(text string) string {
	lines := strings.Split(text, "\n")
	for i := 1; i < len(lines)-1; i++ {
		if len(lines[i]) > 10 && strings.TrimSpace(lines[i][:10]) != "0" {
			lines[i] = "         1" + lines[i][10:]
		}
	}
	return strings.Join(lines, "\n")
}

// sysvTools is a test of util-linux's own ipcs and lsipc, unmodified, in a mount namespace in which the files of a mount are bound over the kernel's. In the kernel there are
// other objects, which they must not show.
type sysvTools struct{ *testing.T }

// tool runs ipcs or lsipc.
func (t sysvTools) tool(args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	r := finish(t, cmd)
	if r.status != 0 || r.err != "" {
		t.Fatalf("%q: %+v", args, r)
	}
	return r.out
}

// rows are the words of the rows of each section of what ipcs says, in their order.
func (t sysvTools) rows(args ...string) map[string][]string {
	t.Helper()
	sections := make(map[string][]string)
	section, head := "", false
	for line := range strings.Lines(t.tool(args...)) {
		words := strings.Join(strings.Fields(line), " ")
		switch {
		case strings.HasPrefix(words, "------ "):
			section, head = strings.Trim(words, "- "), true
			sections[section] = nil
		case words == "" || section == "":
		case head:
			head = false
		default:
			sections[section] = append(sections[section], words)
		}
	}
	return sections
}

// want compares the rows of a section.
func (t sysvTools) want(args, section string, rows ...string) {
	t.Helper()
	got, ok := t.rows(strings.Fields(args)...)[section]
	if !ok || !slices.Equal(got, rows) {
		t.Errorf("%s: %s are\n%s, want\n%s", args, section, strings.Join(got, "\n"), strings.Join(rows, "\n"))
	}
}

// table is what lsipc --json lists.
func (t sysvTools) table(args string) []map[string]string {
	t.Helper()
	var doc map[string][]map[string]any
	out := t.tool(strings.Fields(args)...)
	d := json.NewDecoder(strings.NewReader(out))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil || len(doc) != 1 {
		t.Fatalf("%s: %v in %s", args, err, out)
	}
	var list []map[string]string
	for _, objects := range doc {
		for _, o := range objects {
			row := make(map[string]string)
			for key, value := range o {
				if value != nil {
					row[key] = fmt.Sprint(value)
				}
			}
			list = append(list, row)
		}
	}
	return list
}

// wantTable compares what lsipc --json lists, word for word.
func (t sysvTools) wantTable(args string, rows ...string) {
	t.Helper()
	var got []string
	for _, row := range t.table(args) {
		var words []string
		for _, key := range slices.Sorted(maps.Keys(row)) {
			words = append(words, key+"="+row[key])
		}
		got = append(got, strings.Join(words, " "))
	}
	if !slices.Equal(got, rows) {
		t.Errorf("%s: it lists\n%s, want\n%s", args, strings.Join(got, "\n"), strings.Join(rows, "\n"))
	}
}

// nameOf is what a user is called, or his number.
func nameOf(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// groupOf is what a group is called, or its number.
func groupOf(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

// date is a number of seconds as ipcs writes it.
func date(seconds int) string {
	if seconds == 0 {
		return "Not set"
	}
	return strings.Join(strings.Fields(time.Unix(int64(seconds), 0).UTC().Format("Jan _2 15:04:05")), " ")
}

// ipcs(1) and lsipc(1) list what a mount has. (ipcs -u and the q_qbytes of ipcs -q -i they do not read but ask msgctl(2) and shmctl(2), which only the kernel answers.)
func TestSysvIPCTools(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	need(t, "ipcs", "lsipc")
	ownIPC(t)
	m := newMount(t)
	s := sysvTools{t}
	// What is in the kernel.
	for i := range 3 {
		q := sysvMsgGet(t, 0xdec0+i, 0o611)
		for range 5 + i {
			q.send(t, 77)
		}
	}
	for i := range 4 {
		if _, err := unix.SysvShmGet(0xdec0+i, 7777*(i+1), ipcCreat|0o611); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_SEMGET, 0xdec0, 5, ipcCreat|0o611); errno != 0 {
		t.Fatal(errno)
	}
	if out := s.tool("ipcs"); strings.Count(out, "0x0000dec") != 8 {
		t.Errorf("the kernel's objects are\n%s", out)
	}

	over := func(from, to string) {
		bind(t, filepath.Join(m.dir, from), to)
		t.Cleanup(func() {
			if err := unix.Unmount(to, 0); err != nil {
				t.Errorf("umount %s: %v", to, err)
			}
		})
	}
	over("proc/sysvipc", "/proc/sysvipc")
	for _, knob := range []string{"msgmax", "msgmnb", "msgmni", "shmmax", "shmall", "shmmni"} {
		over("proc/sys/kernel/"+knob, "/proc/sys/kernel/"+knob)
	}
	for _, section := range []string{"Message Queues", "Shared Memory Segments", "Semaphore Arrays"} {
		s.want("ipcs", section)
	}

	run(t, "sh", "-c", `cd "$0" && umask 022 && mkdir sub && touch sub/empty && printf hello >q && printf world! >q && printf x >q && dd if=q of=/dev/null count=1 status=none
		chmod 640 q && chmod 600 sub/empty && chown 65534:65533 sub/empty && touch "with blank"`, m.msgq)
	run(t, "sh", "-c", `cd "$0" && umask 022 && truncate -s 10000 s && printf x | dd of=s conv=notrunc status=none && chmod 640 s && chown 65533:65534 s && truncate -s 5M gone && truncate -s 1T huge`, m.shm)
	paths := map[string]string{"q": m.msgq, "sub/empty": m.msgq, "with blank": m.msgq, "s": m.shm, "gone": m.shm, "huge": m.shm}
	ids := make(map[string]uint64)
	for name, dir := range paths {
		ids[name] = inodeOf(t, filepath.Join(dir, name))
	}
	key := func(name string) string { return fmt.Sprintf("0x%08x", ids[name]) }
	fd, again := m.openAt(t, "gone", unix.O_RDWR), m.openAt(t, "gone", unix.O_RDONLY)
	letGo := sync.OnceFunc(func() { _, _ = unix.Close(fd), unix.Close(again) })
	defer letGo()
	removed := openFd(t, newQueue(t, m, "removed", true), unix.O_RDWR)
	defer unix.Close(removed)
	run(t, "rm", filepath.Join(m.shm, "gone"), filepath.Join(m.msgq, "removed"))
	field := func(name, field string) int { return attribute(t, filepath.Join(paths[name], name), field) }
	goneField := func(name string) (n int) { // the path is gone, the open file is not
		b := make([]byte, 32)
		l, err := unix.Fgetxattr(fd, "user.ipc."+name, b)
		if err == nil {
			n, err = strconv.Atoi(string(b[:l]))
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	number := func(format string, v ...any) string { return fmt.Sprintf(format, v...) }
	root, theirs, others := nameOf(0), nameOf(nobody), nameOf(another)
	daemonSees := field("q", "q_lspid")
	if daemonSees == 0 || field("q", "q_lrpid") == daemonSees {
		t.Errorf("the last sender is %d, the last receiver %d", daemonSees, field("q", "q_lrpid"))
	}

	queues := []string{
		number("%s %d %s 600 0 0", key("sub/empty"), ids["sub/empty"], theirs), number("%s %d %s 640 7 2", key("q"), ids["q"], root),
		number("%s %d %s 644 0 0", key("with blank"), ids["with blank"], root),
	}
	segments := []string{
		number("%s %d %s 640 10000 0", key("s"), ids["s"], others), number("0x00000000 %d %s 644 %d 2 dest", ids["gone"], root, 5<<20),
		number("%s %d %s 644 %d 0", key("huge"), ids["huge"], root, 1<<40),
	}
	s.want("ipcs -q", "Message Queues", queues...)
	s.want("ipcs -m", "Shared Memory Segments", segments...)
	s.want("ipcs -s", "Semaphore Arrays")
	for _, args := range []string{"ipcs", "ipcs -a"} {
		s.want(args, "Message Queues", queues...)
		s.want(args, "Shared Memory Segments", segments...)
		s.want(args, "Semaphore Arrays")
	}
	s.want("ipcs -q -p", "Message Queues PIDs",
		number("%d %s 0 0", ids["sub/empty"], theirs), number("%d %s %d %d", ids["q"], root, daemonSees, field("q", "q_lrpid")), number("%d %s 0 0", ids["with blank"], root))
	s.want("ipcs -m -p", "Shared Memory Creator/Last-op PIDs",
		number("%d %s %d %d", ids["s"], others, field("s", "shm_cprid"), field("s", "shm_lprid")),
		number("%d %s %d %d", ids["gone"], root, goneField("shm_cprid"), os.Getpid()),
		number("%d %s %d %d", ids["huge"], root, field("huge", "shm_cprid"), field("huge", "shm_lprid")))
	times := func(name string, columns ...string) string {
		words := number("%d %s", ids[name], nameOf(field(name, "uid")))
		for _, c := range columns {
			words += " " + date(field(name, c))
		}
		return words
	}
	s.want("ipcs -q -t", "Message Queues Send/Recv/Change Times",
		times("sub/empty", "q_stime", "q_rtime", "q_ctime"), times("q", "q_stime", "q_rtime", "q_ctime"), times("with blank", "q_stime", "q_rtime", "q_ctime"))
	s.want("ipcs -m -t", "Shared Memory Attach/Detach/Change Times", times("s", "shm_atime", "shm_dtime", "shm_ctime"),
		number("%d %s %s %s %s", ids["gone"], root, date(goneField("shm_atime")), date(goneField("shm_dtime")), date(goneField("shm_ctime"))),
		times("huge", "shm_atime", "shm_dtime", "shm_ctime"))
	g0, g1, g2 := groupOf(0), groupOf(nobody), groupOf(another)
	s.want("ipcs -q -c", "Message Queues Creators/Owners", number("%d 600 %s %s %s %s", ids["sub/empty"], root, g0, theirs, g2),
		number("%d 640 %s %s %s %s", ids["q"], root, g0, root, g0), number("%d 644 %s %s %s %s", ids["with blank"], root, g0, root, g0))
	s.want("ipcs -m -c", "Shared Memory Segment Creators/Owners", number("%d 640 %s %s %s %s", ids["s"], root, g0, others, g1),
		number("%d 644 %s %s %s %s", ids["gone"], root, g0, root, g0), number("%d 644 %s %s %s %s", ids["huge"], root, g0, root, g0))

	words := func(args string, has ...string) {
		t.Helper()
		out := s.tool(strings.Fields(args)...)
		for _, w := range has {
			if !slices.Contains(strings.Fields(out), w) {
				t.Errorf("%s does not say %s:\n%s", args, w, out)
			}
		}
	}
	words(number("ipcs -q -i %d", ids["q"]), number("msqid=%d", ids["q"]), "mode=0640", "cbytes=7", "qnum=2", number("lspid=%d", daemonSees), "uid=0")
	words(number("ipcs -q -i %d", ids["sub/empty"]), "uid=65534", "gid=65533", "cuid=0", "cgid=0", "mode=0600", "qnum=0")
	words(number("ipcs -m -i %d", ids["s"]), number("shmid=%d", ids["s"]), "uid=65533", "gid=65534", "mode=0640", "bytes=10000", "nattch=0")
	words(number("ipcs -m -i %d", ids["gone"]), "mode=01644", "access_perms=0644", number("bytes=%d", 5<<20), "nattch=2", number("lpid=%d", os.Getpid()))
	for _, args := range []string{"ipcs -q -i 0", "ipcs -m -i 0", "lsipc -q -i 0", "lsipc -m -i 1"} { // ids of the kernel's
		cmd := exec.Command(strings.Fields(args)[0], strings.Fields(args)[1:]...)
		if r := finish(t, cmd); !strings.Contains(r.err, "not found") {
			t.Errorf("%s: %+v", args, r)
		}
	}

	// lsipc.
	listed := func(args string, names ...string) {
		t.Helper()
		var got, want []string
		for i, line := range strings.Split(strings.TrimSpace(s.tool(strings.Fields(args)...)), "\n") {
			if f := strings.Fields(line); i > 0 && len(f) > 2 {
				got = append(got, f[1])
			}
		}
		for _, name := range names {
			want = append(want, number("%d", ids[name]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", args, got, want)
		}
	}
	listed("lsipc -q", "sub/empty", "q", "with blank")
	listed("lsipc -m", "s", "gone", "huge")
	s.wantTable("lsipc -q -J -b -o KEY,ID,OWNER,PERMS,CUID,CGID,UID,GID,USEDBYTES,MSGS,LSPID,LRPID",
		number("cgid=0 cuid=0 gid=65533 id=%d key=%s lrpid=0 lspid=0 msgs=0 owner=%s perms=rw------- uid=65534 usedbytes=0", ids["sub/empty"], key("sub/empty"), theirs),
		number("cgid=0 cuid=0 gid=0 id=%d key=%s lrpid=%d lspid=%d msgs=2 owner=%s perms=rw-r----- uid=0 usedbytes=7", ids["q"], key("q"), field("q", "q_lrpid"), daemonSees, root),
		number("cgid=0 cuid=0 gid=0 id=%d key=%s lrpid=0 lspid=0 msgs=0 owner=%s perms=rw-r--r-- uid=0 usedbytes=0", ids["with blank"], key("with blank"), root))
	s.wantTable("lsipc -m -J -b -o KEY,ID,OWNER,PERMS,SIZE,NATTCH,STATUS,UID,GID",
		number("gid=65534 id=%d key=%s nattch=0 owner=%s perms=rw-r----- size=10000 uid=65533", ids["s"], key("s"), others),
		number("gid=0 id=%d key=0x00000000 nattch=2 owner=%s perms=rw-r--r-- size=%d status=dest uid=0", ids["gone"], root, 5<<20),
		number("gid=0 id=%d key=%s nattch=0 owner=%s perms=rw-r--r-- size=%d uid=0", ids["huge"], key("huge"), root, 1<<40))
	words(number("lsipc -q -i %d", ids["q"]), key("q"), number("%d", ids["q"]), "rw-r-----", "7B", number("%d", daemonSees))
	words(number("lsipc -m -i %d", ids["gone"]), "0x00000000", number("%d", ids["gone"]), "5M", "dest")
	if out := s.tool("lsipc", "-s"); strings.Contains(out, "dec0") {
		t.Errorf("lsipc -s shows the kernel's sets:\n%s", out)
	}

	// The limits, and how much of them is used.
	for knob, n := range map[string]string{"msgmni": "1111", "msgmax": "2222", "msgmnb": "3333", "shmmni": "4444", "shmall": "555555", "shmmax": "6666666666"} {
		if err := os.WriteFile(filepath.Join(m.dir, "proc/sys/kernel", knob), []byte(n), 0o644); err != nil {
			t.Error(err)
		}
	}
	limits := make(map[string]string)
	for _, row := range s.table("lsipc -J -b") {
		limits[row["resource"]] = row["limit"] + " " + row["used"]
	}
	pages := (10000 + 5<<20 + 1<<40) / 4096
	for resource, want := range map[string]string{
		"MSGMNI": "1111 3", "MSGMAX": "2222 ", "MSGMNB": "3333 ", "SHMMNI": "4444 3", "SHMALL": number("555555 %d", pages), "SHMMAX": "6666666666 ", "SEMMNI": limits["SEMMNI"],
	} {
		if got := strings.ReplaceAll(limits[resource], "<nil>", ""); got != want && strings.TrimSuffix(got, "-") != want {
			t.Errorf("lsipc: %s is %q, want %q", resource, got, want)
		}
	}
	words("ipcs -l", "1111", "2222", "3333", "4444", number("%d", 555555*4), number("%d", 6666666666/1024))

	// With the last who has it the removed segment is none any more.
	letGo()
	eventually(t, func() error {
		if out := s.tool("ipcs", "-m"); strings.Contains(out, "dest") {
			return fmt.Errorf("it is still there:\n%s", out)
		}
		return nil
	})
	s.want("ipcs -m", "Shared Memory Segments", segments[0], segments[2])
	if b := []byte(s.tool("ipcs")); bytes.Contains(b, []byte("dec")) {
		t.Errorf("the kernel's are among them:\n%s", b)
	}
}
