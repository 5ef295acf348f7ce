package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// commands are what a script can say beyond the commands of testscript.
func (s *script) commands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"need":        s.cmdNeed,
		"mkpipe":      s.cmdMkpipe,
		"waitblocked": s.cmdWaitblocked,
		"waitqueue":   s.cmdWaitqueue,
	}
}

// cmdNeed is `need TOOL...`: the script cannot run without these.
func (s *script) cmdNeed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: need TOOL...")
	}
	need(s.t, args...)
}

// cmdMkpipe is `mkpipe NAME...`: it makes pipes below $P, each in the way of its side.
func (s *script) cmdMkpipe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mkpipe NAME...")
	}
	tool := "mkfifo"
	if s.mount != nil {
		tool = "touch"
	}
	for _, name := range args {
		ts.Check(ts.Exec(tool, filepath.Join(s.pipes, name)))
	}
}

// waits are the calls that wait on a pipe.
type waits struct{ opens, reads, writes int }

// cmdWaitblocked is `waitblocked NAME [opens=N] [reads=N] [writes=N]`: it waits until so many calls wait on the pipe.
func (s *script) cmdWaitblocked(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: waitblocked NAME [opens=N] [reads=N] [writes=N]"
	if neg || len(args) < 2 {
		ts.Fatalf(usage)
	}
	name := args[0]
	want := make(map[string]int)
	for _, arg := range args[1:] {
		what, number, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(number)
		if err != nil || what != "opens" && what != "reads" && what != "writes" {
			ts.Fatalf(usage)
		}
		want[what] = n
	}
	eventually(s.t, func() error {
		w, err := s.waitsOn(name)
		if err != nil {
			return err
		}
		got := map[string]int{"opens": w.opens, "reads": w.reads, "writes": w.writes}
		for what, n := range want {
			if got[what] != n {
				return fmt.Errorf("%s: %+v, want %v; processes:\n%s", name, w, want, s.describeProcesses())
			}
		}
		return nil
	})
}

// cmdWaitqueue is `waitqueue NAME FIELD=N...`: it waits until these fields of a queue have these values, q_receivers, q_senders and q_qnum for example.
func (s *script) cmdWaitqueue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitqueue NAME FIELD=N...")
	}
	for _, arg := range args[1:] {
		field, want, _ := strings.Cut(arg, "=")
		eventually(s.t, func() error {
			got, err := queueField(filepath.Join(s.mount.msgq, args[0]), field)
			if err == nil && got != want {
				err = fmt.Errorf("%s of %s is %s, want %s; processes:\n%s", field, args[0], got, want, s.describeProcesses())
			}
			return err
		})
	}
}

// queueField is a field of the queue at path.
func queueField(path, field string) (string, error) {
	b := make([]byte, 64)
	n, err := retryEINTR(func() (int, error) { return unix.Getxattr(path, "user.ipc."+field, b) })
	return string(b[:max(n, 0)]), err
}

// waitsOn says what waits on a pipe: ipcfs knows it; of a FIFO the processes of the script are asked.
func (s *script) waitsOn(name string) (waits, error) {
	var w waits
	if s.mount != nil {
		stats, err := s.mount.stats()
		if err != nil {
			return w, err
		}
		p, ok := stats[name]
		if !ok {
			return w, fmt.Errorf("no pipe %q in %v", name, stats)
		}
		return waits{p.waitOpens, p.waitReads, p.waitWrs}, nil
	}
	for _, pid := range s.processes() {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			return w, err
		}
		for _, thread := range threads {
			w.count(thread, filepath.Join(s.pipes, name))
		}
	}
	return w, nil
}

// count adds the thread with this directory in /proc, if it sleeps in a call on the file. One that waits only for the lock of a pipe is in state D.
func (w *waits) count(thread, path string) {
	// What cannot be read belongs to a thread that is gone, and that waits for nothing.
	stat, _ := os.ReadFile(filepath.Join(thread, "stat"))
	if !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" S ")) {
		return
	}
	text, _ := os.ReadFile(filepath.Join(thread, "syscall"))
	call := strings.Fields(string(text))
	if len(call) < 3 {
		return
	}
	isFile := func(arg string) bool {
		fd, err := strconv.ParseUint(arg, 0, 64)
		if err != nil {
			return false
		}
		link, _ := os.Readlink(filepath.Join(thread, "fd", strconv.FormatUint(fd, 10)))
		return strings.TrimSuffix(link, " (deleted)") == path
	}
	switch nr, _ := strconv.Atoi(call[0]); nr {
	case unix.SYS_READ, unix.SYS_READV:
		if isFile(call[1]) {
			w.reads++
		}
	case unix.SYS_WRITE, unix.SYS_WRITEV:
		if isFile(call[1]) {
			w.writes++
		}
	case unix.SYS_OPENAT:
		if opened := pathArgument(thread, call[2]); opened == path {
			w.opens++
		}
	}
}

// pathArgument reads the absolute path that an argument of a system call points to.
func pathArgument(thread, arg string) string {
	at, err := strconv.ParseInt(arg, 0, 64)
	if err != nil {
		return ""
	}
	mem, err := os.Open(filepath.Join(thread, "mem"))
	if err != nil {
		return ""
	}
	defer mem.Close()
	var path []byte
	for b := make([]byte, 1); len(path) < unix.PathMax; at++ {
		if _, err := mem.ReadAt(b, at); err != nil || b[0] == 0 {
			break
		}
		path = append(path, b[0])
	}
	if !filepath.IsAbs(string(path)) {
		dir, _ := os.Readlink(filepath.Join(thread, "cwd"))
		return filepath.Join(dir, string(path))
	}
	return filepath.Clean(string(path))
}
