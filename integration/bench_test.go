package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// nullFS is go-fuse's own server on a node that does nothing: one file, n, whose writes vanish and whose reads are zeros. It is what a request costs
// without an object behind it.
type nullFS struct{ fuse.RawFileSystem }

const nullNode = 2

func nullAttr(id uint64) fuse.Attr {
	if id == fuse.FUSE_ROOT_ID {
		return fuse.Attr{Ino: id, Mode: fuse.S_IFDIR | 0o755, Nlink: 2}
	}
	return fuse.Attr{Ino: id, Mode: fuse.S_IFREG | 0o666, Nlink: 1, Size: 1 << 40}
}

func (nullFS) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name != "n" {
		return fuse.ENOENT
	}
	out.NodeId, out.Attr = nullNode, nullAttr(nullNode)
	return fuse.OK
}

func (nullFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr = nullAttr(in.NodeId)
	return fuse.OK
}

func (nullFS) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

func (nullFS) Read(_ <-chan struct{}, _ *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	return fuse.ReadResultData(buf), fuse.OK
}

func (nullFS) Write(_ <-chan struct{}, _ *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return uint32(len(data)), fuse.OK
}

// asNull makes the test binary serve a nullFS on the directory that it names, until it is unmounted.
const asNull = "IPCFS_TEST_AS_NULL"

func serveNull(dir string) error {
	server, err := fuse.NewServer(nullFS{fuse.NewDefaultRawFileSystem()}, dir, &fuse.MountOptions{MaxWrite: 1 << 20, DirectMount: true, FsName: "null", Name: "null"})
	if err != nil {
		return err
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return err
	}
	fmt.Println("ready")
	server.Wait()
	return nil
}

// mountNull mounts a nullFS, served by a process of its own, and returns the path of its file.
func mountNull(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asNull+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	})
	ready := make([]byte, len("ready"))
	if _, err := out.Read(ready); err != nil || string(ready) != "ready" {
		t.Fatalf("%q, %v", ready, err)
	}
	return filepath.Join(dir, "n")
}

// benchRounds is how often everything is measured, in turn, so that a drift of the machine's speed hits all alike. Medians are printed.
const benchRounds = 5

// conditions says on what a benchmark ran, when, and how.
func conditions(b *testing.B) string {
	b.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("Linux %s, %s, %d CPUs, %s; medians of %d rounds", unix.ByteSliceToString(u.Release[:]), runtime.Version(), runtime.NumCPU(),
		time.Now().Format(time.DateOnly), benchRounds)
}

// benchNumbers runs a program of a benchmark and returns the numbers that it prints. The program ends with the thread that calls: runtime.LockOSThread.
func benchNumbers(b *testing.B, bin string, args ...string) []float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // what it made in the kernel it removes then
	cmd.WaitDelay = patience
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%s %v: %v: %s", bin, args, err, stderr.String())
	}
	var v []float64
	for _, f := range strings.Fields(string(out)) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatalf("%s %v: %q: %v", bin, args, out, err)
		}
		v = append(v, n)
	}
	if len(v) == 0 {
		b.Fatalf("%s %v prints nothing", bin, args)
	}
	return v
}

// BenchmarkPipes measures an ipcfs pipe, a FIFO of the kernel and nullFS in one run, and prints a table.
func BenchmarkPipes(b *testing.B) {
	need(b, "cc")
	bin, err := compile("bench")
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread() // see benchNumbers
	m := newMountWith(b, mountWith{binary: realBinary(b), env: []string{"IPCFS_VERIFY=0"}})
	null := mountNull(b)
	fifos := b.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := unix.Mkfifo(filepath.Join(fifos, name), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := unix.Mknod(filepath.Join(m.pipes, name), unix.S_IFREG|0o600, 0); err != nil {
			b.Fatal(err)
		}
	}
	bench := func(args ...string) float64 { return benchNumbers(b, bin, args...)[0] }
	type row struct {
		what, unit string
		measure    [3]func() float64 // ipcfs, FIFO, go-fuse
		seen       [3][]float64
	}
	const trips = 10000
	rows := []*row{{what: "one byte, there and back", unit: "us", measure: [3]func() float64{
		func() float64 { return bench("roundtrip", m.pipes+"/a", m.pipes+"/b", strconv.Itoa(trips)) / 1e3 },
		func() float64 { return bench("roundtrip", fifos+"/a", fifos+"/b", strconv.Itoa(trips)) / 1e3 },
		// A round trip is two writes and two reads.
		func() float64 { return 2 * bench("alone", null, "1", strconv.Itoa(trips)) / trips / 1e3 },
	}}}
	for _, size := range []int{4 << 10, 64 << 10, 128 << 10, 1 << 20} {
		total := min(size*20000, 1<<30)
		through := func(path string) func() float64 {
			return func() float64 {
				return float64(total) / (1 << 20) / (bench("throughput", path, strconv.Itoa(size), strconv.Itoa(total)) / 1e9)
			}
		}
		n := total / size
		rows = append(rows, &row{what: fmt.Sprintf("throughput, %d KiB a call", size>>10), unit: "MiB/s", measure: [3]func() float64{
			through(m.pipes + "/a"), through(fifos + "/a"),
			func() float64 {
				return float64(total) / (1 << 20) / (bench("alone", null, strconv.Itoa(size), strconv.Itoa(n)) / 1e9)
			},
		}})
	}
	for range benchRounds {
		for _, r := range rows {
			for i, f := range r.measure {
				r.seen[i] = append(r.seen[i], f())
			}
		}
	}
	fmt.Println(conditions(b))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tipcfs pipe\tkernel FIFO\tgo-fuse, null node\tipcfs/FIFO\tipcfs/go-fuse\t")
	for _, r := range rows {
		var v [3]float64
		for i, s := range r.seen {
			slices.Sort(s)
			v[i] = s[len(s)/2]
		}
		fmt.Fprintf(w, "%s\t%.1f %s\t%.1f %s\t%.1f %s\t%.2f\t%.2f\t\n", r.what, v[0], r.unit, v[1], r.unit, v[2], r.unit, v[0]/v[1], v[0]/v[2])
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
