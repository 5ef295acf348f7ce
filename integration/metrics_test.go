package integration

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// metricSet are the values of proc/metrics, by the names of the series with their labels as they are written there.
type metricSet map[string]float64

// series are the names of one metric, as ipcfs_objects.
func (s metricSet) series(metric string) []string {
	var names []string
	for name := range s {
		if before, _, _ := strings.Cut(name, "{"); before == metric {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// label is the value of a label of a series.
func label(series, name string) string {
	if m := regexp.MustCompile(`[{,]` + name + `="([^"]*)"`).FindStringSubmatch(series); m != nil {
		return m[1]
	}
	return ""
}

// parseMetrics reads the text format of Prometheus as far as proc/metrics has it: each line of it is one of these, or it is wrong.
func parseMetrics(text string) (metricSet, error) {
	set := make(metricSet)
	sample := regexp.MustCompile(`^(ipcfs_[a-z_]+(?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})?) (\S+)$`)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "# HELP ipcfs_") || strings.HasPrefix(line, "# TYPE ipcfs_") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("proc/metrics has the line %q", line)
		}
		v, err := strconv.ParseFloat(m[2], 64)
		if _, twice := set[m[1]]; err != nil || twice {
			return nil, fmt.Errorf("proc/metrics: %q, %v, twice: %v", line, err, twice)
		}
		set[m[1]] = v
	}
	return set, nil
}

// metrics reads proc/metrics.
func (m *mount) metrics(t testing.TB) metricSet {
	t.Helper()
	set, err := parseMetrics(readText(t, m.dir, "proc/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// checkHistograms says what is wrong with the histograms of a set: their buckets only grow, the last one and the count are the count of operations, and no operation failed more
// often than it was.
func (s metricSet) checkHistograms() error {
	var errs error
	wrong := func(format string, v ...any) { errs = errors.Join(errs, fmt.Errorf(format, v...)) }
	const duration = "ipcfs_operation_duration_seconds"
	operations := s.series("ipcfs_operations_total")
	if counts := s.series(duration + "_count"); len(counts) != len(operations) {
		wrong("%d histograms for %d counters of operations", len(counts), len(operations))
	}
	failed := make(map[string]float64)
	for _, name := range s.series("ipcfs_errors_total") {
		failed[label(name, "kind")+" "+label(name, "operation")] += s[name]
	}
	buckets := make(map[string]map[float64]float64)
	for _, name := range s.series(duration + "_bucket") {
		key := label(name, "kind") + " " + label(name, "operation")
		le, err := strconv.ParseFloat(label(name, "le"), 64)
		if err != nil {
			wrong("%s: %v", name, err)
		}
		if buckets[key] == nil {
			buckets[key] = make(map[float64]float64)
		}
		buckets[key][le] = s[name]
	}
	for _, name := range operations {
		kind, operation := label(name, "kind"), label(name, "operation")
		key, labels := kind+" "+operation, fmt.Sprintf(`{kind=%q,operation=%q}`, kind, operation)
		n := s[name]
		bounds := slices.Sorted(maps.Keys(buckets[key]))
		if len(bounds) < 10 {
			wrong("%s: buckets %v", key, bounds)
			continue
		}
		before := 0.0
		for _, le := range bounds {
			if buckets[key][le] < before {
				wrong("%s: %v took at most %v seconds, and %v less", key, buckets[key][le], le, before)
			}
			before = buckets[key][le]
		}
		if count, sum := s[duration+"_count"+labels], s[duration+"_sum"+labels]; count != n || before != n || n < 1 || sum <= 0 {
			wrong("%s: %v operations, %v in the histogram, %v in its last bucket, %v seconds", key, n, count, before, sum)
		}
		if failed[key] > n {
			wrong("%s: %v of %v failed", key, failed[key], n)
		}
		delete(failed, key)
	}
	if len(failed) > 0 {
		wrong("errors of operations that never were: %v", failed)
	}
	return errs
}

// promtool lets Prometheus's own tool judge proc/metrics: it has nothing to say.
func (m *mount) promtool(t testing.TB) {
	t.Helper()
	cmd := exec.Command("promtool", "check", "metrics")
	text := readText(t, m.dir, "proc/metrics")
	cmd.Stdin = strings.NewReader(text)
	if r := finish(t, cmd); r.status != 0 || r.out != "" || r.err != "" {
		t.Errorf("promtool check metrics: %+v of\n%s", r, text)
	}
}

// metricNames are all that proc/metrics tells of: a scrape of a mount on which nothing was done has those that are no counters of operations.
var metricNames = []string{
	"arena_idle_bytes", "arena_limit_bytes", "arena_used_bytes", "ids", "inodes", "inodes_limit", "object_bytes", "objects", "open_files", "shm_limit_bytes", "shm_used_bytes",
	"symlink_bytes", "symlink_limit_bytes", "trace_dropped_total", "trace_events_total", "trace_readers", "transferred_bytes_total", "waiters",
}

func TestMetricsOfNothing(t *testing.T) {
	need(t, "promtool")
	m := newMount(t, "--memory", "64M", "--inodes", "1000", "--shmall", "32M")
	m.promtool(t)
	set := m.metrics(t)
	names := make(map[string]bool)
	for name := range set {
		name, _, _ = strings.Cut(name, "{")
		names[strings.TrimPrefix(name, "ipcfs_")] = true
	}
	if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, metricNames) {
		t.Errorf("there are %v, want %v", got, metricNames)
	}
	for name, v := range set {
		want := map[string]float64{
			"ipcfs_arena_limit_bytes": 64 << 20, "ipcfs_inodes_limit": 1000, "ipcfs_shm_limit_bytes": 32 << 20, "ipcfs_symlink_limit_bytes": 64 << 20, "ipcfs_arena_idle_bytes": v,
		}[name]
		if v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	for _, kind := range []string{"pipes", "shm", "msgq"} {
		for _, name := range []string{`ipcfs_objects{kind=%q}`, `ipcfs_object_bytes{kind=%q}`, `ipcfs_open_files{kind=%q}`, `ipcfs_transferred_bytes_total{direction="read",kind=%q}`} {
			if _, ok := set[fmt.Sprintf(name, kind)]; !ok {
				t.Errorf("there is no "+name, kind)
			}
		}
	}
	if err := set.checkHistograms(); err != nil {
		t.Error(err)
	}
}

// metricScript does one thing after the other, and keeps the account of what was done, by the labels of the counters.
type metricScript struct {
	*testing.T
	done, failed map[string]int // by "KIND OPERATION" and "KIND OPERATION ERRNO"
	moved        map[string]int // by "KIND DIRECTION"
}

// did notes an operation.
func (s *metricScript) did(operation string, err error) {
	s.done[operation]++
	var errno unix.Errno
	if errors.As(err, &errno) {
		s.failed[operation+" "+unix.ErrnoName(errno)]++
	}
}

// want does what is to end with an error, or nil.
func (s *metricScript) want(operation string, err, want error) {
	s.Helper()
	s.did(operation, err)
	if !errors.Is(err, want) {
		s.Errorf("%s: %v, want %v", operation, err, want)
	}
}

func (s *metricScript) read(kind string, fd, n int, want error) {
	s.Helper()
	n, err := unix.Read(fd, make([]byte, n))
	s.want(kind+" READ", err, want)
	s.moved[kind+" read"] += max(n, 0)
}

func (s *metricScript) write(kind string, fd, n int, want error) {
	s.Helper()
	n, err := unix.Write(fd, make([]byte, n))
	s.want(kind+" WRITE", err, want)
	s.moved[kind+" write"] += max(n, 0)
}

func (s *metricScript) open(operation, path string, flags int, want error) int {
	s.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	s.want(operation, err, want)
	if err != nil {
		return -1
	}
	return fd
}

func (s *metricScript) close(kind string, fd int) {
	_ = unix.Close(fd)
	s.did(kind+" RELEASE", nil)
}

// compare compares the account with proc/metrics. What is closed is released a moment later.
func (s *metricScript) compare(m *mount) {
	s.Helper()
	eventually(s, func() error {
		set := m.metrics(s.T)
		got, failed, moved := make(map[string]int), make(map[string]int), make(map[string]int)
		for _, name := range set.series("ipcfs_operations_total") {
			got[label(name, "kind")+" "+label(name, "operation")] = int(set[name])
		}
		for _, name := range set.series("ipcfs_errors_total") {
			failed[label(name, "kind")+" "+label(name, "operation")+" "+label(name, "errno")] = int(set[name])
		}
		for _, name := range set.series("ipcfs_transferred_bytes_total") {
			if set[name] != 0 {
				moved[label(name, "kind")+" "+label(name, "direction")] = int(set[name])
			}
		}
		for what, pair := range map[string][2]map[string]int{"operations": {got, s.done}, "errors": {failed, s.failed}, "bytes": {moved, s.moved}} {
			if !maps.Equal(pair[0], pair[1]) {
				return fmt.Errorf("%s in proc/metrics are\n%v, want\n%v", what, pair[0], pair[1])
			}
		}
		return set.checkHistograms()
	})
}

// What a script did is what the counters say, to the last error. All is done by this one thread, without waiting, so that nothing is done twice.
func TestMetricsOfAScript(t *testing.T) {
	needRoot(t)
	need(t, "promtool")
	m := newMount(t, "--msgmni", "3", "--shmmni", "2", "--shmall", "40K", "--passthrough=off")
	s := &metricScript{t, make(map[string]int), make(map[string]int), make(map[string]int)}
	p, q, g := filepath.Join(m.pipes, "p"), filepath.Join(m.msgq, "q"), filepath.Join(m.shm, "g")

	r := s.open("pipes CREATE", p, unix.O_RDONLY|unix.O_CREAT|unix.O_NONBLOCK, nil)
	s.read("pipes", r, 10, nil) // no writer: the end
	w := s.open("pipes OPEN", p, unix.O_WRONLY|unix.O_NONBLOCK, nil)
	for range 3 {
		s.read("pipes", r, 10, unix.EAGAIN)
	}
	s.write("pipes", w, 100, nil)
	s.read("pipes", r, 60, nil)
	s.read("pipes", r, 60, nil)
	for range 16 {
		s.write("pipes", w, 4096, nil)
	}
	s.write("pipes", w, 4096, unix.EAGAIN)
	s.write("pipes", w, 1, unix.EAGAIN)
	s.want("pipes SETXATTR", unix.Setxattr(p, "user.ipc.capacity", []byte("4096"), 0), unix.EBUSY)
	s.want("pipes SETXATTR", unix.Setxattr(p, "user.ipc.capacity", []byte("x"), 0), unix.EINVAL)
	s.want("pipes SETXATTR", unix.Setxattr(p, "user.ipc.capacity", []byte("131072"), 0), nil)
	s.want("pipes REMOVEXATTR", unix.Removexattr(p, "user.ipc.capacity"), unix.EPERM)
	s.close("pipes", r)
	eventually(t, func() error { // it is released when the kernel says so
		if set := m.metrics(t); set[`ipcfs_open_files{kind="pipes"}`] != 1 {
			return errors.New("the reader is still there")
		}
		return nil
	})
	for range 5 {
		s.write("pipes", w, 10, unix.EPIPE)
	}
	s.close("pipes", w)
	s.open("pipes OPEN", p, unix.O_WRONLY|unix.O_NONBLOCK, unix.ENXIO)
	s.want("pipes SETATTR", unix.Chmod(p, 0o600), nil)
	s.want("pipes MKDIR", unix.Mkdir(filepath.Join(m.pipes, "d"), 0o755), nil)
	s.want("pipes RENAME", unix.Rename(p, filepath.Join(m.pipes, "d/p")), nil)
	s.want("pipes LINK", unix.Link(filepath.Join(m.pipes, "d/p"), p), nil)
	s.want("pipes SYMLINK", unix.Symlink("p", filepath.Join(m.pipes, "l")), nil)
	s.want("pipes RMDIR", unix.Rmdir(filepath.Join(m.pipes, "d")), unix.ENOTEMPTY)
	s.want("pipes UNLINK", unix.Unlink(filepath.Join(m.pipes, "d/p")), nil)
	s.want("pipes RMDIR", unix.Rmdir(filepath.Join(m.pipes, "d")), nil)
	s.want("pipes UNLINK", unix.Unlink(p), nil)
	s.want("pipes UNLINK", unix.Unlink(filepath.Join(m.pipes, "l")), nil)
	s.close("pipes", s.open("pipes TMPFILE", m.pipes, unix.O_TMPFILE|unix.O_RDWR, nil))

	fd := s.open("msgq CREATE", q, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, nil)
	for range 4 {
		s.read("msgq", fd, 10, unix.EAGAIN)
	}
	s.write("msgq", fd, 100, nil)
	s.read("msgq", fd, 99, unix.E2BIG)
	s.write("msgq", fd, msgMax+1, unix.EINVAL)
	s.write("msgq", fd, msgMax, nil)
	s.write("msgq", fd, msgMax, unix.EAGAIN)
	s.read("msgq", fd, 1000, nil)
	view := s.open("msgq OPEN", q+":7", unix.O_RDONLY|unix.O_NONBLOCK, nil)
	s.read("msgq", view, msgMax, unix.EAGAIN)
	s.close("msgq", view)
	peek := s.open("msgq OPEN", q+":peek", unix.O_RDONLY, nil)
	if n, err := unix.Read(peek, make([]byte, 1<<16)); n <= 0 || err != nil { // it takes nothing from the queue, and is not counted
		t.Errorf("peek: %d, %v", n, err)
	}
	s.close("msgq", peek)
	for i := range 2 {
		s.want("msgq MKNOD", unix.Mknod(filepath.Join(m.msgq, fmt.Sprint(i)), unix.S_IFREG|0o644, 0), nil)
	}
	s.want("msgq MKNOD", unix.Mknod(filepath.Join(m.msgq, "more"), unix.S_IFREG|0o644, 0), unix.ENOSPC)
	s.open("msgq CREATE", filepath.Join(m.msgq, "more"), unix.O_RDWR|unix.O_CREAT, unix.ENOSPC)
	s.want("msgq SETXATTR", unix.Setxattr(q, "user.ipc.q_qnum", []byte("1"), 0), unix.EPERM)
	s.want("msgq SETXATTR", unix.Setxattr(q, "user.ipc.q_qbytes", []byte("5"), 0), nil)
	s.want("msgq UNLINK", unix.Unlink(q), nil)
	for range 2 {
		s.read("msgq", fd, 10, unix.EIDRM)
		s.write("msgq", fd, 10, unix.EIDRM)
	}
	s.close("msgq", fd)

	fd = s.open("shm CREATE", g, unix.O_RDWR|unix.O_CREAT, nil)
	s.want("shm SETATTR", unix.Ftruncate(fd, 1<<20), nil)
	s.want("shm FALLOCATE", unix.Fallocate(fd, 0, 0, 41<<10), unix.ENOSPC)
	s.want("shm FALLOCATE", unix.Fallocate(fd, 0, 0, 40<<10), nil)
	s.want("shm MKNOD", unix.Mknod(filepath.Join(m.shm, "two"), unix.S_IFREG|0o644, 0), nil)
	s.want("shm MKNOD", unix.Mknod(filepath.Join(m.shm, "three"), unix.S_IFREG|0o644, 0), unix.ENOSPC)
	s.want("shm RENAME", unix.Renameat2(unix.AT_FDCWD, g, unix.AT_FDCWD, filepath.Join(m.shm, "two"), unix.RENAME_EXCHANGE), nil)
	s.want("shm UNLINK", unix.Unlink(g), nil)
	s.close("shm", fd)

	s.compare(m)
	m.promtool(t)
	eventually(t, func() error { // the kernel forgets what is gone a moment later
		set := m.metrics(t)
		for name, want := range map[string]float64{`ipcfs_objects{kind="pipes"}`: 0, `ipcfs_objects{kind="shm"}`: 1, "ipcfs_arena_used_bytes": 0, "ipcfs_shm_used_bytes": 40 << 10} {
			if set[name] != want {
				return fmt.Errorf("%s is %v, want %v", name, set[name], want)
			}
		}
		return nil
	})

	// Who is interrupted in his wait has waited, and failed.
	path := makePipe(t, filepath.Join(m.pipes, "waited"))
	s.done["pipes CREATE"]++
	s.done["pipes RELEASE"]++
	var waiting []*blocker
	for range 3 {
		waiting = append(waiting, startBlocker(t, exec.Command("sh", "-c", `exec cat <>"$0"`, path), nil))
	}
	m.waitFor(t, "waited", func(p pipeStat) bool { return p.waitReads == 3 })
	if n := m.metrics(t)[`ipcfs_waiters{kind="pipes",operation="READ"}`]; n != 3 {
		t.Errorf("%v wait to read, want 3", n)
	}
	for _, b := range waiting {
		if err := b.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		b.wait(t)
		for _, op := range []string{"OPEN", "RELEASE"} {
			s.did("pipes "+op, nil)
		}
		s.did("pipes READ", unix.EINTR)
	}
	s.compare(m)
	m.promtool(t)
}

// What is removed and not open any more is nowhere: not in the tables, not in the sums, and takes none of the inodes; by whatever name it was used before.
func TestMetricsOfWhatIsGone(t *testing.T) {
	m := newMount(t)
	dirs := map[string]string{"pipes": m.pipes, "shm": m.shm, "msgq": m.msgq}
	for _, c := range []struct{ kind, do string }{
		{"pipes", "exec 3<>x; echo x >&3; read y <&3"}, {"pipes", ": 3<>x; ln x y; mv y z; rm z; getfattr -d x >/dev/null; chmod 600 x"}, {"shm", "echo x >x; cat x >/dev/null; mv x z; ln z x; rm z"},
		{"msgq", "echo x >x; dd if=x of=/dev/null count=1 status=none"}, {"msgq", "echo x >x:7; stat x:raw >/dev/null; cat x:peek >/dev/null; chmod 600 x:lines"},
	} {
		run(t, "sh", "-e", "-c", `cd "$0"; `+c.do+`; rm x`, dirs[c.kind])
		eventually(t, func() error {
			set, table := m.metrics(t), readText(t, m.dir, "proc", c.kind)
			if n := set[fmt.Sprintf("ipcfs_objects{kind=%q}", c.kind)]; n != 0 || set["ipcfs_inodes"] != 0 || strings.Count(table, "\n") != 1 {
				return fmt.Errorf("after %s in %s there are %v objects, %v inodes, and\n%s", c.do, c.kind, n, set["ipcfs_inodes"], table)
			}
			return nil
		})
	}
}

// Under load, what is a counter only grows and the histograms agree with the counters; afterwards all that was done is counted.
func TestMetricsUnderLoad(t *testing.T) {
	need(t, "promtool")
	m := newMount(t)
	seed := envNumber(t, "IPCFS_SEED", rand.Uint64())
	t.Logf("IPCFS_SEED=%d", seed)
	const clients, rounds = 6, 200
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			dir := pick(rng, m.pipes, m.msgq, m.shm)
			for range rounds {
				path := filepath.Join(dir, strconv.Itoa(rng.IntN(4)))
				fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
				if err != nil {
					continue
				}
				for range rng.IntN(10) {
					if b := make([]byte, rng.IntN(10000)); rng.IntN(2) == 0 {
						_, _ = unix.Write(fd, b)
					} else {
						_, _ = unix.Read(fd, b)
					}
				}
				_ = unix.Close(fd)
				if rng.IntN(20) == 0 {
					_ = os.Remove(path)
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(stop)
	}()
	before, scrapes := metricSet{}, 0
	for ended := false; !ended || scrapes < 3; scrapes++ {
		select {
		case <-stop:
			ended = true
		default:
		}
		now := m.metrics(t)
		for name, v := range before {
			metric, _, _ := strings.Cut(name, "{")
			for _, suffix := range []string{"_total", "_count", "_sum", "_bucket"} {
				if n, ok := now[name]; strings.HasSuffix(metric, suffix) && (!ok || n < v) {
					t.Errorf("scrape %d: %s was %v and is %v, %v", scrapes, name, v, n, ok)
				}
			}
		}
		if err := now.checkHistograms(); err != nil {
			t.Errorf("scrape %d: %v", scrapes, err)
		}
		before = now
	}
	m.promtool(t)
	t.Logf("%d scrapes", scrapes)
}
