package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownIPC gives the goroutine of the test, and the processes that it starts from then on, an IPC namespace of their own, in which /proc/sysvipc and
// /proc/sys/kernel are about nobody else's objects. The thread ends with the goroutine, and the namespace with it.
func ownIPC(t *testing.T) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	before, err := os.Readlink("/proc/thread-self/ns/ipc")
	if err == nil {
		err = unix.Unshare(unix.CLONE_NEWIPC)
	}
	if err != nil {
		skip(t, "no IPC namespace: %v", err)
	}
	if after, err := os.Readlink("/proc/thread-self/ns/ipc"); err != nil || after == before {
		t.Fatalf("the IPC namespace is still %s, %v", after, err)
	}
}

// inodeOf is st_ino of a file, which is the id and the key of the object.
func inodeOf(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st.Ino
}

// sysvQueue is a message queue of the kernel, in the namespace of the thread.
type sysvQueue int

// sysvMsgGet makes one.
func sysvMsgGet(t testing.TB, key, mode int) sysvQueue {
	t.Helper()
	id, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(key), uintptr(ipcCreat|ipcExcl|mode), 0)
	if errno != 0 {
		t.Fatalf("msgget: %v", errno)
	}
	return sysvQueue(id)
}

// sysvMsgBuf is struct msgbuf.
type sysvMsgBuf struct {
	mtype int64
	mtext [1 << 15]byte
}

func (q sysvQueue) send(t testing.TB, n int) {
	t.Helper()
	buf := sysvMsgBuf{mtype: 1}
	if _, _, errno := unix.Syscall6(unix.SYS_MSGSND, uintptr(q), uintptr(unsafe.Pointer(&buf)), uintptr(n), ipcNowait, 0, 0); errno != 0 {
		t.Fatalf("msgsnd of %d bytes: %v", n, errno)
	}
}

func (q sysvQueue) receive(t testing.TB) {
	t.Helper()
	var buf sysvMsgBuf
	if _, _, errno := unix.Syscall6(unix.SYS_MSGRCV, uintptr(q), uintptr(unsafe.Pointer(&buf)), unsafe.Sizeof(buf.mtext), 0, ipcNowait, 0); errno != 0 {
		t.Fatalf("msgrcv: %v", errno)
	}
}

// sysvMsqid is struct msqid64_ds.
type sysvMsqid struct {
	perm                   unix.SysvIpcPerm
	stime, rtime, ctime    int64
	cbytes, qnum, qbytes   uint64
	lspid, lrpid           int32
	unused4, unused5, more uint64
}

func (q sysvQueue) control(t testing.TB, cmd int, ds *sysvMsqid) {
	t.Helper()
	if _, _, errno := unix.Syscall(unix.SYS_MSGCTL, uintptr(q), uintptr(cmd), uintptr(unsafe.Pointer(ds))); errno != 0 {
		t.Fatalf("msgctl %d: %v", cmd, errno)
	}
}

// set changes owner and mode.
func (q sysvQueue) set(t testing.TB, uid, gid uint32, mode uint32) {
	t.Helper()
	var ds sysvMsqid
	q.control(t, unix.IPC_STAT, &ds)
	ds.perm.Uid, ds.perm.Gid, ds.perm.Mode = uid, gid, mode
	q.control(t, unix.IPC_SET, &ds)
}

// asEffective runs f with another effective user and group in this thread alone.
func asEffective(t testing.TB, uid, gid uint32, f func()) {
	t.Helper()
	become := func(call, id uintptr) {
		if _, _, errno := unix.RawSyscall(call, ^uintptr(0), id, ^uintptr(0)); errno != 0 {
			t.Errorf("becoming %d: %v", id, errno)
		}
	}
	become(unix.SYS_SETRESGID, uintptr(gid))
	become(unix.SYS_SETRESUID, uintptr(uid))
	defer func() {
		become(unix.SYS_SETRESUID, 0) // first, since the right to change the group comes with it
		become(unix.SYS_SETRESGID, 0)
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}()
	f()
}

// cell is a word of a line, and where it ends.
type cell struct {
	end  int
	word string
}

// cells are the words of a line.
func cells(line string) (list []cell) {
	for from := 0; ; {
		for from < len(line) && line[from] == ' ' {
			from++
		}
		if from == len(line) {
			return list
		}
		to := from
		for to < len(line) && line[to] != ' ' {
			to++
		}
		list = append(list, cell{to, line[from:to]})
		from = to
	}
}

// sameForm says how a file of proc/sysvipc differs from the kernel's about the same objects: not at all but in the words of some columns, which end at the same place.
// A time, which is one of the columns that end with "time", is set in both or in none.
func sameForm(kernel, ours string, free ...string) error {
	k, o := strings.Split(kernel, "\n"), strings.Split(ours, "\n")
	if len(k) != len(o) || k[0] != o[0] {
		return fmt.Errorf("there are %d lines below %q, want %d below %q", len(o), o[0], len(k), k[0])
	}
	columns := strings.Fields(k[0])
	for i := 1; i < len(k); i++ {
		kc, oc := cells(k[i]), cells(o[i])
		if len(kc) != len(oc) || len(k[i]) != len(o[i]) || len(kc) != len(columns) && k[i] != "" {
			return fmt.Errorf("line %d is\n%s, want\n%s", i, o[i], k[i])
		}
		for c := range kc {
			same := kc[c].word == oc[c].word
			switch {
			case slices.Contains(free, columns[c]):
				same = true
			case strings.HasSuffix(columns[c], "time"):
				same = (kc[c].word == "0") == (oc[c].word == "0")
			}
			if !same || kc[c].end != oc[c].end {
				return fmt.Errorf("%s in line %d is %q and ends at %d, want %q, %d:\n%s\n%s", columns[c], i, oc[c].word, oc[c].end, kc[c].word, kc[c].end, o[i], k[i])
			}
		}
	}
	return nil
}

// readText reads a file of some proc.
func readText(t testing.TB, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wideID is an user and a group of ten digits, in columns of five.
const wideID = 3000000000

// The files of proc/sysvipc are to the column what the kernel's are about the same objects, made and used by the same process. What must differ are the keys and ids (0 for
// the key of a segment that was removed in both) and the times.
func TestSysvIPCFormat(t *testing.T) {
	ownIPC(t)
	m := newMount(t)
	compare := func(what string) {
		t.Helper()
		for name, free := range map[string][]string{"msg": {"key", "msqid"}, "sem": nil, "shm": {"shmid"}} {
			eventually(t, func() error { // it hears of a close a moment later
				kernel, ours := readText(t, "/proc/sysvipc", name), readText(t, m.dir, "proc/sysvipc", name)
				if name == "shm" {
					kernel, ours = withoutKeys(kernel), withoutKeys(ours)
				}
				if err := sameForm(kernel, ours, free...); err != nil {
					return fmt.Errorf("%s: proc/sysvipc/%s: %w", what, name, err)
				}
				return nil
			})
		}
	}
	compare("nothing")
	for _, proc := range []string{"/proc", filepath.Join(m.dir, "proc")} {
		if err := os.WriteFile(filepath.Join(proc, "sys/kernel/msgmnb"), []byte("1000000000"), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	both := func(name string, key, mode int) (sysvQueue, string) {
		q := sysvMsgGet(t, key, mode)
		path := filepath.Join(m.msgq, name)
		if err := errors.Join(unix.Mknod(path, unix.S_IFREG|uint32(mode), 0), unix.Chmod(path, uint32(mode))); err != nil {
			t.Fatal(err)
		}
		return q, path
	}
	send := func(q sysvQueue, path string, n int) {
		q.send(t, n)
		fd := openFd(t, path, unix.O_WRONLY|unix.O_NONBLOCK)
		defer unix.Close(fd)
		if k, err := unix.Write(fd, make([]byte, n)); k != n || err != nil {
			t.Fatalf("write of %d bytes: %d, %v", n, k, err)
		}
	}
	receive := func(q sysvQueue, path string) {
		q.receive(t)
		fd := openFd(t, path, unix.O_RDONLY|unix.O_NONBLOCK)
		defer unix.Close(fd)
		if _, err := unix.Read(fd, make([]byte, msgMax)); err != nil {
			t.Fatal(err)
		}
	}
	both("empty", 1, 0o644)
	q, path := both("used", math.MaxInt32, 0o600)
	for _, n := range []int{1, 1000, msgMax} {
		send(q, path, n)
	}
	receive(q, path)
	q, path = both("wide", 0x1234, 0)
	q.set(t, wideID, wideID+1, 0o777)
	if err := errors.Join(os.Chmod(path, 0o777), os.Chown(path, wideID, wideID+1)); err != nil {
		t.Fatal(err)
	}
	for range 1280 {
		send(q, path, msgMax)
	}
	compare("queues")
	gone, goneAt := both("gone", 99, 0o644)
	held := openFd(t, goneAt, unix.O_RDWR)
	defer unix.Close(held)
	gone.control(t, unix.IPC_RMID, nil)
	if err := os.Remove(goneAt); err != nil {
		t.Fatal(err)
	}
	compare("a queue that is removed")
	asEffective(t, wideID, wideID, func() { both("of another", 77, 0o400) })
	compare("the queue of an user of ten digits")

	segment := func(name string, key, size, mode int) (int, string) {
		id, err := unix.SysvShmGet(key, size, ipcCreat|ipcExcl|shmNoReserve|mode)
		if err != nil {
			t.Fatalf("shmget of %d bytes: %v", size, err)
		}
		path := filepath.Join(m.shm, name)
		if err := errors.Join(unix.Mknod(path, unix.S_IFREG|uint32(mode), 0), unix.Chmod(path, uint32(mode)), os.Truncate(path, int64(size))); err != nil {
			t.Fatal(err)
		}
		return id, path
	}
	attach := func(id int, path string) (detach func()) {
		b, err := unix.SysvShmAttach(id, 0, 0)
		if err != nil {
			t.Fatalf("shmat: %v", err)
		}
		fd := openFd(t, path, unix.O_RDWR)
		if b[0] = 1; len(b) > 3*4096 {
			b[2*4096], b[3*4096] = 1, 1
		}
		for at := range 4 {
			if at != 1 && at*4096 < len(b) {
				if _, err := unix.Pwrite(fd, []byte{1}, int64(at*4096)); err != nil {
					t.Fatal(err)
				}
			}
		}
		detach = sync.OnceFunc(func() {
			if err := errors.Join(unix.SysvShmDetach(b), unix.Close(fd)); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(detach)
		return detach
	}
	id, path := segment("page", 1, 4096, 0o644)
	detach := attach(id, path)
	compare("a segment that is attached")
	attach(id, path)()
	detach()
	compare("and no more")
	segment("unused", 2, 12345, 0)
	id, path = segment("dest", 3, 1<<20, 0o600)
	detach = attach(id, path)
	if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	compare("a segment that is removed") // 1600
	if text := readText(t, m.dir, "proc/sysvipc/shm"); !strings.Contains(text, "  1600 ") {
		t.Errorf("no segment has the mode 1600:\n%s", text)
	}
	for i, size := range []int{1 << 40, 1<<62 - 4096} {
		id, path := segment(fmt.Sprint("huge", i), 100+i, size, 0o666)
		if size < 1<<62-4096 {
			continue // the kernel's can be mapped no more than ours
		}
		var ds unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &ds); err != nil {
			t.Fatal(err)
		}
		ds.Perm.Uid, ds.Perm.Gid = wideID, wideID
		if _, err := unix.SysvShmCtl(id, unix.IPC_SET, &ds); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, wideID, wideID); err != nil {
			t.Fatal(err)
		}
	}
	asEffective(t, wideID, wideID, func() { segment("of another", 77, 1, 0o600) })
	compare("segments")
	detach()
	compare("the removed one is gone")
}

// shmNoReserve is SHM_NORESERVE (include/uapi/linux/shm.h).
const shmNoReserve = 0o10000

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
