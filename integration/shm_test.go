package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eachPassthrough runs f on a mount for each way to serve shared memory.
func eachPassthrough(t *testing.T, args []string, f func(t *testing.T, m *mount)) {
	for _, mode := range []string{"on", "off"} {
		t.Run("passthrough="+mode, func(t *testing.T) {
			if mode == "on" {
				needRoot(t)
			}
			f(t, newMount(t, append([]string{"--passthrough=" + mode}, args...)...))
		})
	}
}

// openAt opens a segment of the mount, or makes it.
func (m *mount) openAt(t testing.TB, name string, flags int) int {
	t.Helper()
	fd, err := unix.Open(filepath.Join(m.shm, name), flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// mapped maps n bytes of a segment.
func mapped(t testing.TB, fd, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// freePages is what statfs(2) says of dir.
func freePages(t testing.TB, dir string) uint64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bfree
}

// attribute is the number in an attribute of the file.
func attribute(t testing.TB, path, name string) int {
	t.Helper()
	b := make([]byte, 32)
	n, err := unix.Getxattr(path, "user.ipc."+name, b)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	v, err := strconv.Atoi(string(b[:n]))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// systemShmem is the memory of all files in memory of the machine, in bytes (tmpfs, memfd).
func systemShmem(t testing.TB) int {
	t.Helper()
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kB int
		if _, err := fmt.Sscanf(s.Text(), "Shmem: %d kB", &kB); err == nil {
			return kB << 10
		}
	}
	t.Fatal("no Shmem in /proc/meminfo")
	return 0
}

// The memory of what was unlinked lives until the last mapping is gone, is counted until then, and comes back.
func TestShmLivesUntilTheLastMappingIsGone(t *testing.T) {
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		const size = 64 << 20
		free, system := freePages(t, m.shm), systemShmem(t)
		fd := m.openAt(t, "big", unix.O_RDWR|unix.O_CREAT)
		if err := unix.Ftruncate(fd, size); err != nil {
			t.Fatal(err)
		}
		a, b := mapped(t, fd, size), mapped(t, fd, size)
		eventually(t, func() error { // others come and go meanwhile, and the kernel may write pages to the disk
			for i := 0; i < size; i += 4096 {
				a[i] = byte(i >> 12)
			}
			if more := systemShmem(t) - system; more < size/2 {
				return fmt.Errorf("the system counts %d bytes more", more)
			}
			return nil
		})
		if got := free - freePages(t, m.shm); got != size/4096 {
			t.Errorf("%d pages are taken, want %d", got, size/4096)
		}
		// With passthrough the mapping is of the file behind, and RELEASE comes with the last descriptor; else it waits for the mapping too.
		nattch := map[bool]int{true: 0, false: 1}[strings.HasSuffix(t.Name(), "on")]
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if n := attribute(t, filepath.Join(m.shm, "big"), "shm_nattch"); n != nattch {
				return fmt.Errorf("shm_nattch is %d while it is mapped only, want %d", n, nattch)
			}
			return nil
		})
		if err := unix.Unlink(filepath.Join(m.shm, "big")); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < size; i += 4096 {
			if b[i] != byte(i>>12) {
				t.Fatalf("byte %d is %d after unlink", i, b[i])
			}
		}
		if err := unix.Munmap(a); err != nil {
			t.Fatal(err)
		}
		if b[4096] = 77; b[4096] != 77 || b[8192] != 2 {
			t.Error("the other mapping lost its memory")
		}
		if got := free - freePages(t, m.shm); got != size/4096 {
			t.Errorf("%d pages are taken while it is mapped, want %d", got, size/4096)
		}
		if err := unix.Munmap(b); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if got := freePages(t, m.shm); got != free {
				return fmt.Errorf("%d pages are free, want %d", got, free)
			}
			if more := systemShmem(t) - system; more > size/2 {
				return fmt.Errorf("the system still counts %d bytes more", more)
			}
			return nil
		})
	})
}

// The call that crosses a limit fails and changes nothing.
func TestShmLimits(t *testing.T) {
	eachPassthrough(t, []string{"--shmall", "1M", "--shmmni", "5"}, func(t *testing.T, m *mount) {
		const pages = 256
		path := func(name string) string { return filepath.Join(m.shm, name) }
		var df bytes.Buffer
		cmd := exec.Command("df", "--output=size,used,avail", "-k", m.shm)
		cmd.Stdout = &df
		if err := cmd.Run(); err != nil || !strings.HasSuffix(strings.Join(strings.Fields(df.String()), " "), " 1024 0 1024") {
			t.Errorf("df: %v: %s", err, df.String())
		}
		a, b := m.openAt(t, "a", unix.O_RDWR|unix.O_CREAT), m.openAt(t, "b", unix.O_RDWR|unix.O_CREAT)
		defer unix.Close(b)
		if err := unix.Fallocate(a, 0, 0, pages*4096); err != nil {
			t.Fatal(err)
		}
		if got := freePages(t, m.shm); got != 0 {
			t.Errorf("%d pages are free", got)
		}
		for what, err := range map[string]error{
			"fallocate":                       unix.Fallocate(b, 0, 0, 1),
			"write":                           func() error { _, err := unix.Pwrite(b, []byte("x"), 0); return err }(),
			"copy":                            func() error { _, err := unix.CopyFileRange(a, new(int64), b, new(int64), 10, 0); return err }(),
			"fallocate of more than there is": unix.Fallocate(a, 0, 0, (pages+1)*4096),
		} {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s: %v, want ENOSPC", what, err)
			}
		}
		for name, size := range map[string]int64{"a": pages * 4096, "b": 0} {
			if st, err := os.Stat(path(name)); err != nil || st.Size() != size {
				t.Errorf("%s has %v, %v, want size %d", name, st, err, size)
			}
		}
		if err := unix.Ftruncate(b, 1<<40); err != nil {
			t.Errorf("a size that needs no memory: %v", err)
		}
		// In a mapping the limit is a SIGBUS, which Go cannot take: a child does.
		stored := exec.Command("python3", "-c", "import mmap,os,sys; m=mmap.mmap(os.open(sys.argv[1],os.O_RDWR),4096); m[0:1]=b'x'", path("b"))
		err := stored.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGBUS {
			t.Errorf("a store without memory for it: %v, want SIGBUS", err)
		}

		for _, name := range []string{"c", "d", "e"} {
			if err := touch(path(name)); err != nil {
				t.Fatal(err)
			}
		}
		for what, err := range map[string]error{
			"open":  touch(path("f")),
			"mknod": unix.Mknod(path("f"), unix.S_IFREG|0o644, 0),
			"O_TMPFILE": func() error {
				fd, err := unix.Open(m.shm, unix.O_TMPFILE|unix.O_RDWR, 0o600)
				if err == nil {
					_ = unix.Close(fd)
				}
				return err
			}(),
		} {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s of a sixth segment: %v, want ENOSPC", what, err)
			}
		}
		if names, err := os.ReadDir(m.shm); err != nil || len(names) != 5 {
			t.Errorf("%v, %v", names, err)
		}
		if err := errors.Join(unix.Link(path("c"), path("g")), unix.Unlink(path("a"))); err != nil {
			t.Errorf("a second name: %v", err)
		}
		if got := freePages(t, m.shm); got != 0 {
			t.Errorf("%d pages are free while the file is open", got)
		}
		_ = unix.Close(a)
		eventually(t, func() error {
			if got := freePages(t, m.shm); got != pages {
				return fmt.Errorf("%d pages are free, want %d", got, pages)
			}
			return touch(path("f"))
		})
	})
}

// --shmmax bounds whatever makes a segment longer.
func TestShmmax(t *testing.T) {
	m := newMount(t, "--shmmax", "64K")
	fd := m.openAt(t, "a", unix.O_RDWR|unix.O_CREAT)
	defer unix.Close(fd)
	for what, err := range map[string]error{
		"ftruncate": unix.Ftruncate(fd, 64<<10+1),
		"truncate":  unix.Truncate(filepath.Join(m.shm, "a"), 64<<10+1),
		"fallocate": unix.Fallocate(fd, 0, 64<<10, 1),
		"write":     func() error { _, err := unix.Pwrite(fd, []byte("x"), 64<<10); return err }(),
	} {
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s above shmmax: %v, want EINVAL", what, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size != 0 || st.Blocks != 0 {
		t.Errorf("what was refused left %d bytes, %d blocks, %v", st.Size, st.Blocks, err)
	}
	// The kernel may send a write in pieces: then it goes in as far as it may.
	if n, err := unix.Pwrite(fd, []byte("xy"), 64<<10-1); n != 1 && !errors.Is(err, unix.EINVAL) {
		t.Errorf("write across shmmax: %d, %v", n, err)
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Size > 64<<10 {
		t.Errorf("%d bytes, %v", st.Size, err)
	}
	r := finish(t, command("mount", "--shmmax", "64K", "--passthrough=on", m.dir))
	if err := r.wantError(2, "--shmmax", "--passthrough=on", "leave one of them out"); err != nil {
		t.Error(err)
	}
}

// 4096 segments, as Linux has it, then ENOSPC.
func TestShmmni(t *testing.T) {
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		for i := range 4096 {
			if err := touch(filepath.Join(m.shm, strconv.Itoa(i))); err != nil {
				t.Fatalf("segment %d: %v", i, err)
			}
		}
		if err := touch(filepath.Join(m.shm, "more")); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("one more: %v, want ENOSPC", err)
		}
		if _, err := os.Stat(filepath.Join(m.shm, "more")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was refused: %v", err)
		}
		if err := os.RemoveAll(filepath.Join(m.shm, "17")); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return touch(filepath.Join(m.shm, "more")) })
	})
}

// The fields of struct shmid_kernel.
func TestShmFields(t *testing.T) {
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		p := filepath.Join(m.shm, "a")
		want := func(what string, fields map[string]int) {
			t.Helper()
			for name, value := range fields {
				if got := attribute(t, p, name); got != value {
					t.Errorf("%s: %s is %d, want %d", what, name, got, value)
				}
			}
		}
		fd := m.openAt(t, "a", unix.O_RDWR|unix.O_CREAT)
		us := os.Getpid() // though it was one of our threads
		if attribute(t, p, "shm_atime") == 0 || attribute(t, p, "shm_ctime") == 0 {
			t.Error("no time of the attach, or of the making")
		}
		want("open", map[string]int{"shm_nattch": 1, "shm_segsz": 0, "shm_dtime": 0, "shm_cprid": us, "shm_lprid": us})
		if err := unix.Ftruncate(fd, 5000); err != nil {
			t.Fatal(err)
		}
		other := m.openAt(t, "a", unix.O_RDONLY)
		want("open twice", map[string]int{"shm_nattch": 2, "shm_segsz": 5000})
		cat := exec.Command("cat", p)
		if err := cat.Run(); err != nil {
			t.Fatal(err)
		}
		want("closed by another process", map[string]int{"shm_cprid": us, "shm_lprid": cat.Process.Pid})
		_ = unix.Close(other)
		eventually(t, func() error {
			if n := attribute(t, p, "shm_nattch"); n != 1 {
				return fmt.Errorf("shm_nattch is %d, want 1", n)
			}
			return nil
		})
		if attribute(t, p, "shm_dtime") == 0 {
			t.Error("no time of the detach")
		}
		_ = unix.Close(fd)
		if err := unix.Setxattr(p, "user.ipc.shm_nattch", []byte("7"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("setting a field: %v, want EPERM", err)
		}
		if err := unix.Setxattr(p, "user.ipc.else", []byte("7"), 0); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("adding a field: %v, want EOPNOTSUPP", err)
		}
		list := make([]byte, 1000)
		if n, err := unix.Listxattr(p, list); err != nil || n != 0 {
			t.Errorf("fields are listed, for cp to copy: %q, %v", list[:n], err)
		}
		how := make([]byte, 10)
		n, err := unix.Getxattr(m.shm, "user.ipc.passthrough", how)
		if err != nil || !strings.Contains(t.Name(), "passthrough="+string(how[:n])) {
			t.Errorf("passthrough is %q, %v", how[:n], err)
		}
		log, err := os.ReadFile(m.logFile)
		if say := map[string]string{"on": "by passthrough", "off": "through the page cache"}[string(how[:n])]; err != nil || !strings.Contains(string(log), say) {
			t.Errorf("the log does not say %q: %s, %v", say, log, err)
		}
	})
}

// What the owner changes on a segment, and what a write does to its set-user-ID bit, is as on a tmpfs.
func TestShmKillsSetUserID(t *testing.T) {
	needRoot(t)
	check := func(t *testing.T, dir string) {
		if err := os.Chmod(dir, 0o1777); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			mode, left uint32
			do         string
		}{
			{0o6777, 0o777, "echo >>F"}, {0o6767, 0o2767, "echo >>F"}, {0o6777, 0o777, "truncate -s 10 F"}, {0o6777, 0o777, "fallocate -l 20 F"},
			{0o6777, 0o6777, "cat F"}, {0o6777, 0o6777, "touch F"}, {0o6777, 0o777, "chgrp 65534 F"},
		} {
			p := filepath.Join(dir, "f")
			if err := os.WriteFile(p, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(unix.Chown(p, nobody, nobody), unix.Chmod(p, c.mode)); err != nil {
				t.Fatal(err)
			}
			// As its owner, who may change its group too.
			if r := shell(t, nobody, dir, strings.ReplaceAll(c.do, "F", "f")); r.status != 0 {
				t.Errorf("%s: %+v", c.do, r)
			}
			var st unix.Stat_t
			if err := unix.Stat(p, &st); err != nil || st.Mode&0o7777 != c.left {
				t.Errorf("%s of mode %o left %o, %v, want %o", c.do, c.mode, st.Mode&0o7777, err, c.left)
			}
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("tmpfs", func(t *testing.T) { check(t, tmpfsDir(t)) })
	eachPassthrough(t, nil, func(t *testing.T, m *mount) { check(t, m.shm) })
}

// Processes that mapped a segment keep it, and each other's stores, when the daemon is killed; the next mount heals the place.
func TestShmDaemonKilled(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	mustRun(t, s.run(t, "mount", "--passthrough=on", "--log", s.log, s.dir))
	p := filepath.Join(s.dir, "shm/a")
	fd := openFd(t, p, unix.O_RDWR|unix.O_CREAT)
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 1<<20); err != nil {
		t.Fatal(err)
	}
	ours := mapped(t, fd, 1<<20)
	defer func() { _ = unix.Munmap(ours) }()
	// A second process, which stores a number where we can see it whenever we store one where it can.
	other := exec.Command("python3", "-c", `
import mmap, os, sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 1 << 20)
print("mapped", flush=True)
for line in sys.stdin:
    n = int(line)
    ok = m[0] == n
    m[1 << 19] = n
    m[4096 * n] = n  # a page that nobody has touched before
    print("seen" if ok else "not seen", flush=True)
`, p)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	other.Stderr = os.Stderr
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := other.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	}()
	lines := bufio.NewReader(out)
	say := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); strings.TrimSpace(line) != want {
			t.Fatalf("the other process says %q, %v, want %q", line, err, want)
		}
	}
	exchange := func(n byte) {
		t.Helper()
		ours[0] = n
		if _, err := fmt.Fprintln(in, n); err != nil {
			t.Fatal(err)
		}
		say("seen")
		if ours[1<<19] != n || ours[4096*int(n)] != n {
			t.Errorf("round %d: we see %d and %d", n, ours[1<<19], ours[4096*int(n)])
		}
	}
	say("mapped")
	exchange(1)
	if err := unix.Kill(s.daemon(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.waitDead(t)
	exchange(2)
	exchange(3)
	if _, err := unix.Open(p, unix.O_RDWR, 0); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("open after the daemon is gone: %v, want ENOTCONN", err)
	}
	if n, err := unix.Pread(fd, make([]byte, 1), 0); n != 1 || err != nil {
		t.Errorf("read of what is open: %d, %v", n, err)
	}
	mustRun(t, s.run(t, "mount", "--log", s.log, s.dir))
	s.usable(t)
	if names, err := os.ReadDir(filepath.Join(s.dir, "shm")); err != nil || len(names) != 0 {
		t.Errorf("a new namespace has %v, %v", names, err)
	}
	exchange(4)
	s.umount(t)
}

// An ordinary user, who cannot have passthrough, gets shared memory all the same, and is told why if he asks for it.
func TestShmOfOrdinaryUser(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newUsersSite(t)
	if err := s.runAs(t, nobody, "mount", "--passthrough=on", s.dir).wantError(1, "--passthrough=on", "not permitted", "leave it out"); err != nil {
		t.Error(err)
	}
	mustRun(t, s.runAs(t, nobody, s.mountArgs()...))
	r := shell(t, nobody, s.dir, "cd shm && truncate -s 1M a && echo hello | dd status=none of=a conv=notrunc bs=1 seek=4096 && cmp -n 6 -i 4096:0 a - <<X\nhello\nX\ngetfattr --only-values -n user.ipc.passthrough . && rm a")
	if r.status != 0 || !strings.HasSuffix(r.out, "off") {
		t.Errorf("%+v", r)
	}
	mustRun(t, s.runAs(t, nobody, "umount", s.dir))
}

// ACLs are refused, not kept for nothing; and the mount ends well with segments in it, large ones too.
func TestShmRefusesACLs(t *testing.T) {
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		fd := m.openAt(t, "a", unix.O_RDWR|unix.O_CREAT)
		defer unix.Close(fd)
		acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255} // u::rw,g::-,o::-
		if err := unix.Fsetxattr(fd, "system.posix_acl_access", acl, 0); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("setting an ACL: %v, want EOPNOTSUPP", err)
		}
		if err := unix.Fallocate(fd, 0, 0, 40<<20); err != nil {
			t.Error(err)
		}
	})
}

// A long fallocate does not keep others: what the daemon computes for long, it does beside.
func TestShmLongOperations(t *testing.T) {
	eachPassthrough(t, []string{"--shmall", "4G"}, func(t *testing.T, m *mount) {
		fd := m.openAt(t, "big", unix.O_RDWR|unix.O_CREAT)
		defer unix.Close(fd)
		var trips atomic.Int64
		ended := make(chan error, 1)
		go func() {
			// Go's own signals interrupt this thread again and again; the call goes on.
			err := unix.Fallocate(fd, 0, 0, 1<<30)
			if err == nil {
				err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1<<29)
			}
			if err == nil {
				err = unix.Ftruncate(fd, 1<<28)
			}
			ended <- err
		}()
		reading := exec.Command("sh", "-c", "while head -c 1M big > /dev/null && [ ! -e end ]; do :; done") // the very segment
		reading.Dir = m.shm
		if err := reading.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(touch(filepath.Join(m.shm, "end")), reading.Wait()); err != nil {
				t.Error(err)
			}
		}()
		p := makePipe(t, filepath.Join(m.pipes, "p"))
		pipe := openFd(t, p, unix.O_RDWR)
		defer unix.Close(pipe)
		for {
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
				// What was read of the hole may have memory.
				if free, want := freePages(t, m.shm), uint64(4<<30/4096); free > want || free < want-1<<20/4096 {
					t.Errorf("%d pages are free, want %d", free, want)
				}
				t.Logf("%d round trips meanwhile", trips.Load())
				return
			default:
			}
			if _, err := unix.Write(pipe, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := retryEINTR(func() (int, error) { return unix.Read(pipe, make([]byte, 1)) }); err != nil {
				t.Fatal(err)
			}
			trips.Add(1)
		}
	})
}

// Atomics of two threads through two mappings of one segment, which is what everything else is made of.
func TestShmAtomics(t *testing.T) {
	eachPassthrough(t, nil, func(t *testing.T, m *mount) {
		fd := m.openAt(t, "word", unix.O_RDWR|unix.O_CREAT)
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, 4096); err != nil {
			t.Fatal(err)
		}
		const adds = 100000
		done := make(chan struct{})
		for range 2 {
			b := mapped(t, fd, 4096)
			defer func() { _ = unix.Munmap(b) }()
			go func() {
				for range adds {
					atomic.AddUint64((*uint64)(unsafe.Pointer(&b[64])), 1)
				}
				done <- struct{}{}
			}()
		}
		<-done
		<-done
		b := make([]byte, 8)
		if n, err := unix.Pread(fd, b, 64); n != 8 || err != nil || *(*uint64)(unsafe.Pointer(&b[0])) != 2*adds {
			t.Errorf("the word is %d, %v", *(*uint64)(unsafe.Pointer(&b[0])), err)
		}
	})
}
