package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// startRedis starts a redis-server that keeps nothing on disk, and returns its socket. The server ends with the benchmark, or with the thread that
// started it: the caller has locked it.
func startRedis(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	socket, logFile := filepath.Join(dir, "socket"), filepath.Join(dir, "log")
	cmd := exec.Command("redis-server", "--save", "", "--appendonly", "no", "--port", "0", "--unixsocket", socket, "--dir", dir, "--logfile", logFile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-exited:
			if err == nil && !b.Failed() {
				return
			}
			log, _ := os.ReadFile(logFile)
			b.Errorf("redis-server ended with %v:\n%s", err, log)
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			b.Errorf("redis-server does not end, and was killed: %v", <-exited)
		}
	})
	eventually(b, func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err
	})
	return socket
}

// msgqRow is a line of the table: what was seen of each system, in each round.
type msgqRow struct {
	what string
	rate bool // the values are messages a second; else microseconds
	seen [][]float64
}

func (r *msgqRow) format(v float64) string {
	if r.rate {
		return fmt.Sprintf("%.0f /s", v)
	}
	return fmt.Sprintf("%.1f us", v)
}

func medianOf(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// ratio is how many times as fast as system 0 system i was: the median of the rounds, each against itself.
func (r *msgqRow) ratio(i int) float64 {
	var v []float64
	for round, own := range r.seen[0] {
		q := r.seen[i][round] / own
		if !r.rate {
			q = 1 / q
		}
		v = append(v, q)
	}
	return medianOf(v)
}

// BenchmarkMsgq measures message queues of ipcfs, of the kernel (SysV, POSIX) and lists of a Redis in one run, and prints a table.
//
// Each system has a queue of its usual size: 16384 bytes for ipcfs and SysV, 10 messages for POSIX, as much as comes for Redis. In every part as many
// messages have arrived as were sent, or the benchmark fails.
func BenchmarkMsgq(b *testing.B) {
	need(b, "cc", "redis-server")
	bin, err := compile("msgqbench")
	if err != nil {
		b.Fatal(err)
	}
	// What is started here ends with this thread, that is with this function or with the process.
	runtime.LockOSThread()
	m := newMountWith(b, mountWith{binary: realBinary(b), env: []string{"IPCFS_VERIFY=0"}})
	queues := filepath.Join(m.dir, "msgq")
	systems := []struct {
		head, name, place string
	}{
		{"ipcfs", "ipcfs", queues},
		{"ipcfs :lines", "lines", queues},
		{"SysV", "sysv", "-"},
		{"POSIX", "posix", "-"},
		{"Redis", "redis", startRedis(b)},
	}

	const each = 300 // milliseconds that a part takes
	type part struct {
		rows    []*msgqRow
		measure func(name, place string) []float64 // a value for each of rows
		lines   bool                               // it can be measured through :lines
	}
	var parts []part
	row := func(what string, rate bool) *msgqRow {
		return &msgqRow{what: what, rate: rate, seen: make([][]float64, len(systems))}
	}
	for _, size := range []int{16, 512, 8000} {
		for _, n := range []int{1, 4} {
			parts = append(parts, part{
				rows: []*msgqRow{row(fmt.Sprintf("%d bytes, %d to %d", size, n, n), true)},
				measure: func(name, place string) []float64 {
					v := benchNumbers(b, bin, "throughput", name, place, strconv.Itoa(size), strconv.Itoa(n), strconv.Itoa(each))
					if len(v) != 2 {
						b.Fatalf("msgqbench throughput prints %v", v)
					}
					return []float64{v[0] / (v[1] / 1e9)}
				},
				lines: true,
			})
		}
	}
	parts = append(parts, part{
		rows: []*msgqRow{row("request and reply, median", false), row("99th percentile", false)},
		measure: func(name, place string) []float64 {
			v := benchNumbers(b, bin, "latency", name, place, "16", strconv.Itoa(each))
			if len(v) != 3 {
				b.Fatalf("msgqbench latency prints %v", v)
			}
			return []float64{v[1] / 1e3, v[2] / 1e3}
		},
	})

	for round := range benchRounds {
		for _, p := range parts {
			for k := range systems {
				// Another one begins each time, and what follows whom changes too.
				i := (k + round) % len(systems)
				if round%2 == 1 {
					i = len(systems) - 1 - i
				}
				if systems[i].name == "lines" && !p.lines {
					continue
				}
				for j, v := range p.measure(systems[i].name, systems[i].place) {
					p.rows[j].seen[i] = append(p.rows[j].seen[i], v)
				}
			}
		}
	}

	fmt.Printf("%s; x: as fast as ipcfs, one message a call, in the same round\n", conditions(b))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	for i, s := range systems {
		fmt.Fprintf(w, "\t%s", s.head)
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w, "\t")
	for _, p := range parts {
		for _, r := range p.rows {
			fmt.Fprint(w, r.what)
			for i, v := range r.seen {
				switch {
				case len(v) == 0:
					fmt.Fprint(w, "\t-\t")
				case i == 0:
					fmt.Fprintf(w, "\t%s", r.format(medianOf(v)))
				default:
					fmt.Fprintf(w, "\t%s\t%.2fx", r.format(medianOf(v)), r.ratio(i))
				}
			}
			fmt.Fprintln(w, "\t")
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
