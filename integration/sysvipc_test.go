package integration

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
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
