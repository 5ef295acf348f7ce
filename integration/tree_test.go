package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// filled opens a new pipe for reading and writing and puts data into it.
func filled(t testing.TB, path, data string) int {
	t.Helper()
	fd := openFd(t, path, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK)
	if n, err := retryEINTR(func() (int, error) { return unix.Write(fd, []byte(data)) }); n != len(data) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	return fd
}

// drained reads what a pipe holds.
func drained(t testing.TB, fd int) string {
	t.Helper()
	var all []byte
	for buf := make([]byte, 1<<16); ; {
		n, err := retryEINTR(func() (int, error) { return unix.Read(fd, buf) })
		switch {
		case errors.Is(err, unix.EAGAIN) || err == nil && n == 0:
			return string(all)
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, buf[:n]...)
	}
}

func TestTreeLongNames(t *testing.T) {
	m := newMount(t)
	longest, tooLong := strings.Repeat("n", 255), strings.Repeat("n", 256)
	p := makePipe(t, filepath.Join(m.pipes, longest))
	fd := openFd(t, filepath.Join(m.pipes, "short"), unix.O_RDWR|unix.O_CREAT)
	_ = unix.Close(fd)
	q := filepath.Join(m.pipes, tooLong)
	for what, err := range map[string]error{
		"open":   func() error { _, err := unix.Open(q, unix.O_RDWR|unix.O_CREAT, 0o644); return err }(),
		"stat":   unix.Stat(q, new(unix.Stat_t)),
		"mkdir":  unix.Mkdir(q, 0o755),
		"mknod":  unix.Mknod(q, unix.S_IFREG|0o644, 0),
		"unlink": unix.Unlink(q),
		"rename": unix.Rename(p, q),
	} {
		if !errors.Is(err, unix.ENAMETOOLONG) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m.waitFor(t, longest, func(p pipeStat) bool { return p.name != "" })
	if err := os.Rename(p, filepath.Join(m.pipes, "short")); err != nil {
		t.Error(err)
	}
	if err := os.Rename(filepath.Join(m.pipes, "short"), p); err != nil {
		t.Error(err)
	}
	odd := "a b\tc\n\\\xff\"'*"
	makePipe(t, filepath.Join(m.pipes, odd))
	names, err := os.ReadDir(m.pipes)
	if err != nil || len(names) != 2 || names[0].Name() != odd && names[1].Name() != odd {
		t.Errorf("%v, %v", names, err)
	}
}

func TestTreeInodesReached(t *testing.T) {
	m := newMount(t, "--inodes", "20")
	var made []string
	for {
		p := filepath.Join(m.pipes, fmt.Sprint(len(made)))
		fd, err := unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil || len(made) > 20 {
			t.Fatal(len(made), err)
		}
		_ = unix.Close(fd)
		made = append(made, p)
	}
	p := filepath.Join(m.pipes, "more")
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil || st.Files != 20 || st.Ffree != 0 {
		t.Errorf("statfs: %d of %d free, %v", st.Ffree, st.Files, err)
	}
	for what, err := range map[string]error{
		"mkdir":     unix.Mkdir(p, 0o755),
		"mknod":     unix.Mknod(p, unix.S_IFREG|0o644, 0),
		"mkfifo":    unix.Mkfifo(p, 0o644),
		"O_TMPFILE": func() error { _, err := unix.Open(m.pipes, unix.O_TMPFILE|unix.O_RDWR, 0o644); return err }(),
	} {
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if names, err := os.ReadDir(m.pipes); err != nil || len(names) != len(made) {
		t.Errorf("%d files instead of %d, %v", len(names), len(made), err)
	}
	stats, err := m.stats()
	if err != nil || len(stats) != len(made) {
		t.Errorf("%d pipes instead of %d, %v", len(stats), len(made), err)
	}
	if err := os.Remove(made[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // the kernel forgets an inode when it likes
		fd, err := unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	})
}

func TestTreeMemoryFull(t *testing.T) {
	m := newMount(t, "--memory", "64K")
	one, two := filled(t, filepath.Join(m.pipes, "one"), strings.Repeat("1", 40<<10)), filled(t, filepath.Join(m.pipes, "two"), "")
	defer unix.Close(one)
	defer unix.Close(two)
	text := bytes.Repeat([]byte("0123456789abcdef"), 4<<10) // 64 KiB, where 24 are left
	n, err := retryEINTR(func() (int, error) { return unix.Write(two, text) })
	if err != nil || n <= 0 || n > 24<<10 {
		t.Fatalf("a writer for whom some memory is left got %d, %v", n, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.pipes, &st); err != nil || st.Blocks != 16 || st.Bfree != 0 || st.Bavail != 0 || st.Bsize != 4096 || st.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
	for range 3 {
		if n, err := retryEINTR(func() (int, error) { return unix.Write(two, text[:5000]) }); !errors.Is(err, unix.ENOMEM) {
			t.Errorf("a writer for whom no memory is left got %d, %v", n, err)
		}
	}
	if got := drained(t, two); got != string(text[:n]) {
		t.Errorf("%d bytes came out instead of %d, or others", len(got), n)
	}
	if n, err := retryEINTR(func() (int, error) { return unix.Write(two, text[:20<<10]) }); n != 20<<10 || err != nil {
		t.Errorf("after reading: %d, %v", n, err)
	}
	if got := drained(t, one); got != strings.Repeat("1", 40<<10) {
		t.Errorf("%d bytes came out of the other pipe", len(got))
	}
	if got := drained(t, two); got != string(text[:20<<10]) {
		t.Errorf("%d bytes came out", len(got))
	}
	if err := unix.Statfs(m.pipes, &st); err != nil || st.Bfree != 16 {
		t.Errorf("%d blocks free at the end, %v", st.Bfree, err)
	}
}

func TestTreeKilledClients(t *testing.T) {
	s := newSite(t)
	s.mount(t)
	for range 3 {
		blockers, release := blockEverywhere(t, s)
		for _, b := range blockers {
			if err := b.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		for _, b := range blockers {
			b.wait(t)
		}
		release()
		for _, name := range []string{"openr", "openw", "read", "write", "poll"} {
			eventually(t, func() error {
				return waitsIn(s, name, func(p pipeStat) bool {
					return p.name != "" && p.waiting() == 0 && p.readers == 0 && p.writers == 0 && p.bytes == 0
				})
			})
		}
		s.usable(t)
	}
	c := s.connection(t)
	s.umount(t)
	s.gone(t, c)
}

func TestTreeTmpfile(t *testing.T) {
	m := newMount(t)
	fd := openFd(t, m.pipes, unix.O_TMPFILE|unix.O_RDWR)
	defer unix.Close(fd)
	if names, err := os.ReadDir(m.pipes); err != nil || len(names) > 0 {
		t.Errorf("it has a name: %v, %v", names, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Nlink != 0 {
		t.Errorf("%d links, %v", st.Nlink, err)
	}
	w := openFd(t, fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY)
	if _, err := unix.Write(w, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	r := openFd(t, fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY)
	if n, err := unix.Read(r, buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("read %q, %v", buf[:max(n, 0)], err)
	}
	p := filepath.Join(m.pipes, "p")
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, p, unix.AT_SYMLINK_FOLLOW); err != nil {
		t.Errorf("it cannot be given a name: %v", err)
	}
	var named unix.Stat_t
	if err := unix.Stat(p, &named); err != nil || named.Ino != st.Ino || named.Nlink != 1 {
		t.Errorf("with a name it is inode %d with %d links, %v; without it was inode %d", named.Ino, named.Nlink, err, st.Ino)
	}
	if err := unix.Unlink(p); err != nil {
		t.Error(err)
	}
	_, _ = unix.Close(w), unix.Close(r)
	_ = unix.Close(fd)
	eventually(t, func() error {
		stats, err := m.stats()
		if err == nil && len(stats) > 0 {
			err = fmt.Errorf("it lives on: %v", stats)
		}
		return err
	})
}

func TestTreeRename(t *testing.T) {
	m := newMount(t)
	at := func(name string) string { return filepath.Join(m.pipes, name) }
	a, b := filled(t, at("a"), "from a"), filled(t, at("b"), "from b")
	defer unix.Close(a)
	defer unix.Close(b)
	for _, d := range []string{"d", "d/sub", "e"} {
		if err := os.Mkdir(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, at(from), unix.AT_FDCWD, at(to), flags)
	}
	for _, c := range []struct {
		from, to string
		flags    uint
		want     error
	}{
		{"a", "b", unix.RENAME_NOREPLACE, unix.EEXIST},
		{"a", "none", unix.RENAME_EXCHANGE, unix.ENOENT},
		{"none", "a", 0, unix.ENOENT},
		{"a", "b", unix.RENAME_EXCHANGE, nil}, // b is the one "from a"
		{"a", "a", 0, nil}, {"a", "a", unix.RENAME_EXCHANGE, nil}, {"a", "a", unix.RENAME_NOREPLACE, unix.EEXIST},
		{"b", "c", unix.RENAME_NOREPLACE, nil},
		{"c", "d/c", 0, nil},
		{"d/c", "e", unix.RENAME_EXCHANGE, nil}, // a file for a directory
		{"d/c", "d/sub", 0, nil},                // an empty directory over another
		{"e", "d/sub", 0, unix.EISDIR}, {"d/sub", "e", 0, unix.ENOTDIR},
		{"d", "d/sub/x", 0, unix.EINVAL}, {"d/sub", "d", 0, unix.ENOTEMPTY}, {"d/sub", "d", unix.RENAME_EXCHANGE, unix.EINVAL},
		{"a", "../a", 0, unix.EPERM}, {"a", "../proc/pipes", 0, unix.EPERM}, {"../proc/pipes", "x", 0, unix.EPERM}, {"../pipes", "x", 0, unix.EINVAL},
		{"../pipes", "../x", 0, unix.EPERM}, {"a", "w", unix.RENAME_WHITEOUT, unix.EINVAL},
	} {
		if err := rename(c.from, c.to, c.flags); err != c.want && !errors.Is(err, c.want) {
			t.Errorf("rename %s to %s, flags %d: %v instead of %v", c.from, c.to, c.flags, err, c.want)
		}
	}
	for name, want := range map[string]string{"e": "from a", "a": "from b"} {
		fd := openFd(t, at(name), unix.O_RDONLY|unix.O_NONBLOCK)
		if got := drained(t, fd); got != want {
			t.Errorf("%s held %q", name, got)
		}
		_ = unix.Close(fd)
	}
	if err := errors.Join(os.Remove(at("d/sub")), os.Remove(at("d")), os.Remove(at("e")), os.Remove(at("a"))); err != nil {
		t.Error(err)
	}
}

func TestTreeUnlinkWhileOpen(t *testing.T) {
	m := newMount(t)
	p := filepath.Join(m.pipes, "p")
	old := filled(t, p, "old")
	defer unix.Close(old)
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("open after unlink: %v", err)
	}
	anew := filled(t, p, "new")
	defer unix.Close(anew)
	if got := drained(t, old); got != "old" {
		t.Errorf("the old one held %q", got)
	}
	var was, is unix.Stat_t
	if err := errors.Join(unix.Fstat(old, &was), unix.Fstat(anew, &is)); err != nil || was.Ino == is.Ino || was.Nlink != 0 || is.Nlink != 1 {
		t.Errorf("inodes %d and %d, links %d and %d, %v", was.Ino, is.Ino, was.Nlink, is.Nlink, err)
	}
	if _, err := unix.Write(old, []byte("more")); err != nil {
		t.Error(err)
	}
	if got := drained(t, anew); got != "new" {
		t.Errorf("the new one held %q", got)
	}
}

func TestTreeSubdirectories(t *testing.T) {
	m := newMount(t)
	deep := m.pipes
	for range 40 {
		deep = filepath.Join(deep, "d")
		if err := os.Mkdir(deep, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fd := filled(t, filepath.Join(deep, "p"), "deep")
	m.waitFor(t, strings.Repeat("d/", 40)+"p", func(p pipeStat) bool { return p.bytes == 4 })
	if got := drained(t, fd); got != "deep" {
		t.Errorf("%q", got)
	}
	_ = unix.Close(fd)
	if err := unix.Rmdir(deep); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("rmdir of a full directory: %v", err)
	}
	if err := unix.Unlink(deep); !errors.Is(err, unix.EISDIR) {
		t.Errorf("unlink of a directory: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(m.pipes, &st); err != nil || st.Nlink != 3 {
		t.Errorf("pipes/ has %d links, %v", st.Nlink, err)
	}
	if err := os.RemoveAll(filepath.Join(m.pipes, "d")); err != nil {
		t.Error(err)
	}
	gone, err := os.Open(m.pipes)
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if err := os.Mkdir(filepath.Join(m.pipes, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := openFd(t, filepath.Join(m.pipes, "x"), unix.O_RDONLY|unix.O_DIRECTORY)
	defer unix.Close(d)
	if err := os.Remove(filepath.Join(m.pipes, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Openat(d, "p", unix.O_RDWR|unix.O_CREAT, 0o644); !errors.Is(err, unix.ENOENT) {
		t.Errorf("creating in a removed directory: %v", err)
	}
}

// A reader of a directory sees every name that is there all the time exactly once, whatever comes and goes meanwhile.
func TestTreeReadManyNames(t *testing.T) {
	m := newMount(t)
	const steady = 3000
	for i := range steady {
		if err := unix.Mknod(filepath.Join(m.pipes, fmt.Sprintf("steady%04d", i)), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			p := filepath.Join(m.pipes, fmt.Sprintf("%c%d", 'a'+i%26, i%100))
			if err := unix.Mknod(p, unix.S_IFREG|0o644, 0); err != nil {
				stopped <- fmt.Errorf("mknod: %w", err)
				return
			}
			if err := unix.Unlink(p); err != nil {
				stopped <- fmt.Errorf("unlink: %w", err)
				return
			}
		}
	}()
	for range 5 {
		d, err := os.Open(m.pipes)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for {
			some, err := d.Readdirnames(100)
			names = append(names, some...)
			if err != nil {
				break
			}
		}
		_ = d.Close()
		names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "steady") })
		slices.Sort(names)
		if len(names) != steady || len(slices.Compact(names)) != steady {
			t.Errorf("%d names, %d different, instead of %d", len(names), len(slices.Compact(names)), steady)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if r := finish(t, exec.Command("sh", "-c", `ls -l "$0" | wc -l`, m.pipes)); strings.TrimSpace(r.out) != fmt.Sprint(steady+1) || r.err != "" {
		t.Errorf("ls: %+v", r)
	}
}
