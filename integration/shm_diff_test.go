package integration

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shmDeviations is what FUSE forces a segment to do otherwise than a file of a tmpfs, and what the sequences below therefore leave out or translate. The README
// tells them to users.
var shmDeviations = []string{
	"without passthrough the kernel asks for a page of its cache in one way, whether it is read or mapped: a hole that is read gets memory, as one that is touched does; " +
		"the tmpfs plays with files whose holes are touched before they are read",
	"without passthrough what is stored behind the end of the file in its last page is gone when the page is dropped: the sequences do not do it there",
	"without passthrough a store into a mapping changes st_mtime when it is written back: times are compared when they were set",
	"with passthrough a file that was opened with O_APPEND goes on to append when fcntl(2) takes the flag away: the sequences take away only what fcntl(2) gave",
	"under RLIMIT_FSIZE a tmpfs refuses fallocate(2) with FALLOC_FL_KEEP_SIZE beyond it, FUSE does not; and FUSE looks at the limit before the mode, a tmpfs after it: " +
		"under a limit the sequences give memory with mode 0 only",
	"POSIX ACLs are refused with EOPNOTSUPP, where a tmpfs has them",
	"fcntl(F_GET_SEALS) says EINVAL instead of F_SEAL_SEAL, and F_ADD_SEALS EINVAL instead of EPERM",
	"F_GETLK names the process that set a lock of an open file (F_OFD_SETLK), where a tmpfs says -1: FUSE does not tell them apart",
	"epoll_ctl(2) refuses a regular file of a tmpfs with EPERM, and takes one of a FUSE mount",
}

// player is a process of clients/segment.
type player struct {
	cmd *exec.Cmd
	in  *os.File
	out *os.File
	buf *bufio.Reader
}

// newPlayer starts a player that works in dir.
func newPlayer(t testing.TB, bin, dir string, args ...string) *player {
	t.Helper()
	fromUs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &player{cmd: exec.Command(bin, append([]string{dir}, args...)...), in: in, out: out, buf: bufio.NewReader(out)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = fromUs, toUs, os.Stderr
	err = p.cmd.Start()
	_ = fromUs.Close()
	_ = toUs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = out.Close()
	})
	return p
}

func (p *player) send(cmd string) error {
	_, err := p.in.WriteString(cmd + "\n")
	return err
}

func (p *player) answer() (string, error) {
	if err := p.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	s, err := p.buf.ReadString('\n')
	return strings.TrimSpace(s), err
}

// stage is a directory with two players.
type stage struct {
	dir     string
	players [2]*player
}

func newStage(t testing.TB, bin, dir string, args ...string) *stage {
	t.Helper()
	return &stage{dir, [2]*player{newPlayer(t, bin, dir, args...), newPlayer(t, bin, dir, args...)}}
}

// reset makes the stage as empty as it was.
func (s *stage) reset() error {
	for _, p := range s.players {
		if err := p.send("reset"); err != nil {
			return err
		}
		if _, err := p.answer(); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	return err
}

// both lets player i of each stage do the same and returns what each answered.
func both(stages [2]*stage, i int, cmd string) (answers [2]string, err error) {
	for _, s := range stages {
		if err := s.players[i].send(cmd); err != nil {
			return answers, err
		}
	}
	for n, s := range stages {
		if answers[n], err = s.players[i].answer(); err != nil {
			return answers, fmt.Errorf("player %d in %s does not answer %q: %w", i, s.dir, cmd, err)
		}
	}
	return answers, nil
}

// playwright makes up what the players do. It remembers what they have open, as far as it matters for good questions.
type playwright struct {
	rng    *rand.Rand
	open   [2]map[int]bool // by player: slots, and whether O_APPEND was among the flags
	mapped [2]map[int]int  // by player: the length of each mapping
	fsize  [2]bool         // by player: a file cannot get longer than it wants
}

var (
	shmNames   = []string{"a", "a", "a", "b", "b", "c", "s/a", "l"}
	shmSizes   = []int{0, 1, 2, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 20000, 65536, 65537, 100000}
	shmOffsets = []int{0, 0, 0, 1, 4095, 4096, 4097, 8192, 10000, 12288, 16384, 40960, 65536, 100000, 1 << 20, 1 << 31}
	xattrNames = []string{"user.a", "user.b", "user.a"}
)

func (w *playwright) of(n ...int) int { return pick(w.rng, n...) }
func (w *playwright) name() string    { return pick(w.rng, shmNames...) }
func (w *playwright) size() int       { return pick(w.rng, shmSizes...) }
func (w *playwright) off() int        { return pick(w.rng, shmOffsets...) }
func (w *playwright) seed() int       { return w.rng.IntN(1000) }
func (w *playwright) page() int       { return 4096 * w.rng.IntN(8) }

// anyOf picks a number that is in use, if it soon finds one.
func anyOf[T any](w *playwright, used map[int]T) int {
	for range 10 {
		i := w.rng.IntN(4)
		if _, ok := used[i]; ok {
			return i
		}
	}
	return 0
}

// next invents what player i does.
func (w *playwright) next(i int) string {
	fd, fd2, m := anyOf(w, w.open[i]), anyOf(w, w.open[i]), anyOf(w, w.mapped[i])
	if len(w.open[i]) == 0 || w.rng.IntN(10) == 0 {
		access := w.of(unix.O_RDWR, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY)
		if w.rng.IntN(12) == 0 {
			return fmt.Sprintf("open %d . %d", w.rng.IntN(4), unix.O_TMPFILE|w.of(unix.O_RDWR, unix.O_WRONLY))
		}
		flags := access | w.of(0, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT|unix.O_EXCL) | w.of(0, 0, 0, unix.O_TRUNC) | w.of(0, 0, 0, unix.O_APPEND) | w.of(0, 0, 0, 0, unix.O_NOFOLLOW)
		return fmt.Sprintf("open %d %s %d", w.rng.IntN(4), w.name(), flags)
	}
	keepSize, appends := w.of(0, unix.FALLOC_FL_KEEP_SIZE), w.rng.IntN(2)
	if w.fsize[i] {
		keepSize = 0
	}
	if w.open[i][fd] {
		appends = 1
	}
	// A store or a load that would go beyond a mapping is no question of the file.
	at := func(n int) int { return max(0, min(w.off(), w.mapped[i][m]-n)) }
	switch w.rng.IntN(44) {
	case 0, 1:
		return fmt.Sprintf("ftruncate %d %d", fd, w.off()+w.of(0, 0, 1, -1, 5000))
	case 2:
		return fmt.Sprintf("truncate %s %d", w.name(), w.off())
	case 3, 4:
		return fmt.Sprintf("fallocate %d %d %d %d", fd, keepSize, w.off()%(1<<20), w.size())
	case 5, 6, 7:
		if w.fsize[i] {
			return "fsize -1"
		}
		if w.rng.IntN(3) == 0 {
			return fmt.Sprintf("fallocate %d %d %d %d", fd, w.of(unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE, 0), w.page(), w.of(-1, 0, 4096))
		}
		return fmt.Sprintf("fallocate %d %d %d %d", fd, unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, w.off()%(1<<20), w.size())
	case 8, 9, 10:
		return fmt.Sprintf("lseek %d %d %d", fd, w.off()-w.of(0, 0, 1, 1000), w.of(unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE, 77))
	case 11, 12:
		return fmt.Sprintf("read %d %d", fd, w.size())
	case 13, 14:
		return fmt.Sprintf("write %d %d %d", fd, w.size(), w.seed())
	case 15, 16:
		return fmt.Sprintf("pread %d %d %d", fd, w.size(), w.off()-w.of(0, 0, 0, 1))
	case 17, 18, 19:
		return fmt.Sprintf("pwrite %d %d %d %d", fd, w.size(), w.off()-w.of(0, 0, 0, 1), w.seed())
	case 20:
		size := w.size()
		return fmt.Sprintf("preadv %d %d %d %d", fd, size, size/w.of(1, 2, 7)+1, w.off())
	case 21:
		size := w.size()
		return fmt.Sprintf("pwritev %d %d %d %d %d", fd, size, size/w.of(1, 2, 7)+1, w.off(), w.seed())
	case 22, 23:
		return fmt.Sprintf("copy %d %d %d %d %d", fd, w.off(), fd2, w.off(), w.size())
	case 24:
		if w.fsize[i] { // how much was read before the write that failed is nobody's business
			return "fsize -1"
		}
		return fmt.Sprintf("sendfile %d %d %d %d", fd, fd2, w.off(), w.size())
	case 25, 26, 27:
		flags := w.of(unix.MAP_SHARED, unix.MAP_SHARED, unix.MAP_SHARED, unix.MAP_PRIVATE)
		prot := w.of(unix.PROT_READ|unix.PROT_WRITE, unix.PROT_READ|unix.PROT_WRITE, unix.PROT_READ, unix.PROT_READ|unix.PROT_EXEC)
		return fmt.Sprintf("mmap %d %d %d %d %d", w.rng.IntN(4), fd, prot, flags, w.of(4096, 8192, 20480, 65536, 131072))
	case 28, 29:
		n := w.of(1, 8, 100, 4096, 5000)
		return fmt.Sprintf("load %d %d %d", m, at(n), n)
	case 30, 31, 32:
		n := w.of(1, 8, 100, 4096)
		return fmt.Sprintf("store %d %d %d %d", m, at(n)/n*n, n, w.seed())
	case 33:
		return fmt.Sprintf("add %d %d %d", m, at(8)&^7, w.seed())
	case 34:
		return pick(w.rng, fmt.Sprintf("munmap %d", m), fmt.Sprintf("msync %d %d", m, w.of(unix.MS_SYNC, unix.MS_ASYNC, unix.MS_INVALIDATE)),
			fmt.Sprintf("mprotect %d %d", m, w.of(unix.PROT_NONE, unix.PROT_READ, unix.PROT_READ|unix.PROT_WRITE, unix.PROT_READ|unix.PROT_EXEC)), fmt.Sprintf("call %d %d 1", m, at(1)))
	case 35:
		return fmt.Sprintf("madvise %d %d %d 4096", m, w.of(unix.MADV_DONTNEED, unix.MADV_REMOVE), at(4096)&^4095)
	case 36:
		return pick(w.rng, "link ", "link ", "rename ", "exchange ", "symlink ") + w.name() + " " + w.name()
	case 37:
		return pick(w.rng, fmt.Sprintf("linkfd %d %s", fd, w.name()), "symlink a l", "link a b", "rename a c")
	case 38:
		return "unlink " + w.name()
	case 39:
		return pick(w.rng, "mkdir s", "rmdir s", "stat "+w.name(), "stat "+w.name(), fmt.Sprintf("chmod %s %#o", w.name(), w.of(0o600, 0o644, 0o4755, 0o2755)))
	case 40:
		return pick(w.rng, fmt.Sprintf("utimens %s %d %d", w.name(), w.off(), w.off()), fmt.Sprintf("fsync %d %d", fd, w.rng.IntN(2)), fmt.Sprintf("append %d %d", fd, appends))
	case 41:
		return pick(w.rng, fmt.Sprintf("setxattr %d %s %d %d", fd, pick(w.rng, xattrNames...), w.of(0, 1, 100), w.of(0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE)),
			fmt.Sprintf("getxattr %d %s", fd, pick(w.rng, xattrNames...)), fmt.Sprintf("removexattr %d %s", fd, pick(w.rng, xattrNames...)), fmt.Sprintf("listxattr %d", fd))
	case 42:
		return pick(w.rng, fmt.Sprintf("fsize %d", w.of(-1, 10000, 65536)), "fsize -1", fmt.Sprintf("ret %d %d", fd, w.off()))
	}
	return fmt.Sprintf("close %d", fd)
}

// learn notes what player i's command changed.
func (w *playwright) learn(i int, cmd, answer string) {
	ok := !strings.HasPrefix(answer, "-1")
	var n, fd, prot, flags, length int
	switch f := strings.Fields(cmd); f[0] {
	case "open":
		if _, err := fmt.Sscanf(cmd, "open %d %s %d", &n, new(string), &flags); err == nil {
			if delete(w.open[i], n); ok {
				w.open[i][n] = flags&unix.O_APPEND != 0
			}
		}
	case "fsize":
		w.fsize[i] = cmd != "fsize -1"
	case "close":
		if _, err := fmt.Sscanf(cmd, "close %d", &n); err == nil {
			delete(w.open[i], n)
		}
	case "mmap":
		if _, err := fmt.Sscanf(cmd, "mmap %d %d %d %d %d", &n, &fd, &prot, &flags, &length); err == nil {
			if delete(w.mapped[i], n); ok {
				w.mapped[i][n] = length
			}
		}
	case "munmap":
		if _, err := fmt.Sscanf(cmd, "munmap %d", &n); err == nil {
			delete(w.mapped[i], n)
		}
	}
}

// errMemory is a difference in which pages have memory, and in nothing else that can be seen.
var errMemory = errors.New("only in what has memory")

// whatHasMemory matches what a player tells of which pages have memory.
var whatHasMemory = regexp.MustCompile(`[0-9]+ blocks|data( [0-9]+-[0-9]+)*`)

// inMemoryOnly says whether answers to a command differ only in which pages have memory.
func inMemoryOnly(cmd string, answers [2]string) bool {
	var n, off, whence int
	if _, err := fmt.Sscanf(cmd, "lseek %d %d %d", &n, &off, &whence); err == nil {
		return whence == unix.SEEK_DATA || whence == unix.SEEK_HOLE
	}
	return cmd == "tell" && answers[0] != answers[1] && whatHasMemory.ReplaceAllString(answers[0], "") == whatHasMemory.ReplaceAllString(answers[1], "")
}

// judgeSequence plays one sequence on both stages, and again when they differ: at any time the kernel may take back the page of a file of a tmpfs that was only read, as it
// does where it looks for cold memory (DAMON) or is told to drop its caches. That is not there when the same is played again; a fault is.
func judgeSequence(stages [2]*stage, seed uint64) (again bool, err error) {
	err = playSequence(stages, seed)
	for n := 0; n < 3 && errors.Is(err, errMemory); n++ {
		if next := playSequence(stages, seed); next == nil || !errors.Is(next, errMemory) {
			return true, next
		}
	}
	return false, err
}

// playSequence plays one sequence on both stages, and returns where they differ: an errMemory, if that is all.
func playSequence(stages [2]*stage, seed uint64) error {
	w := &playwright{rng: rand.New(rand.NewPCG(seed, 2))}
	for i := range w.open {
		w.open[i], w.mapped[i] = make(map[int]bool), make(map[int]int)
	}
	for _, s := range stages {
		if err := s.reset(); err != nil {
			return err
		}
	}
	var story strings.Builder
	for step := range 10 + w.rng.IntN(30) {
		i := w.rng.IntN(2)
		cmd := w.next(i)
		fmt.Fprintf(&story, "%2d. player %d: %s", step, i, cmd)
		a, err := both(stages, i, cmd)
		if err != nil {
			return fmt.Errorf("%s\n%w", story.String(), err)
		}
		fmt.Fprintf(&story, ": %s\n", a[0])
		if a[0] != a[1] {
			err := fmt.Errorf("%s    here: %s", story.String(), a[1])
			if inMemoryOnly(cmd, a) {
				err = fmt.Errorf("%w (%w)", err, errMemory)
			}
			return err
		}
		w.learn(i, cmd, a[0])
		for j := range 2 {
			if a, err = both(stages, j, "look"); err != nil {
				return fmt.Errorf("%s\n%w", story.String(), err)
			}
			if a[0] != a[1] {
				told, err := both(stages, j, "tell")
				if err == nil && inMemoryOnly("tell", told) {
					err = errMemory
				}
				return errors.Join(fmt.Errorf("%s    player %d sees %s (%s)\n    here %s (%s)", story.String(), j, a[0], told[0], a[1], told[1]), err)
			}
		}
	}
	return nil
}

// TestShmDifferential plays random sequences of two processes on files of a tmpfs and on segments of a mount, with passthrough and without. After each step
// the result, the errno, the signal and all that can be seen of every open file (size, links, mode, blocks, position, where it has data, and the bytes) must
// be equal. IPCFS_SEQUENCES sets how many, IPCFS_SEED the first.
func TestShmDifferential(t *testing.T) {
	need(t, "cc")
	bin, err := compile("segment")
	if err != nil {
		t.Fatal(err)
	}
	count := envNumber(t, "IPCFS_SEQUENCES", 2000)
	first := envNumber(t, "IPCFS_SEED", uint64(time.Now().UnixNano()))
	for _, mode := range []struct {
		name, passthrough string
		players, oracle   []string // what the players of both and those of the tmpfs are told
	}{{"passthrough", "on", nil, nil}, {"cache", "off", []string{"within"}, []string{"fill"}}} {
		t.Run(mode.name, func(t *testing.T) {
			m := newMount(t, "--passthrough="+mode.passthrough)
			dir := tmpfsDir(t)
			stages := [2]*stage{newStage(t, bin, dir, slices.Concat(mode.players, mode.oracle)...), newStage(t, bin, m.shm, mode.players...)}
			taken := uint64(0)
			for i := range count {
				again, err := judgeSequence(stages, first+i)
				if err != nil {
					t.Fatalf("sequence %d (seed %d): %v", i, first+i, err)
				}
				if again {
					taken++
				}
			}
			if taken > 1+count/100 {
				t.Errorf("in %d of %d sequences the kernel is to have taken back a page that was only read", taken, count)
			}
			for _, s := range stages {
				if err := s.reset(); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%s: %d sequences from seed %d, no difference to a tmpfs; in %d of them the kernel took a page back, and they were played again", mode.name, count, first, taken)
		})
	}
	if t.Failed() {
		return // what is wrong is last: who prints the end of a log prints that
	}
	t.Logf("Forced by FUSE, and left out or translated here:\n  %s", strings.Join(shmDeviations, "\n  "))
}

// tmpfsDir makes a directory for the test on the tmpfs of /dev/shm.
func tmpfsDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ipcfs-test-")
	if err != nil {
		skip(t, "no tmpfs on /dev/shm: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
