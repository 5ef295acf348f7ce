package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipcfs/cmd/ipcfs/inspect"
)

// whoConfig is what the command line of who asks for.
type whoConfig struct {
	json       bool
	noheadings bool
}

func newWho() *cobra.Command {
	var c whoConfig
	cmd := &cobra.Command{
		Use:   "who [flags] [PATH...]",
		Short: "Show who has objects open, who waits, and for whom",
		Long: `Show who has the objects PATH open, or those below the directory PATH: a line for each open
file, and for each operation that waits on one, and for each process that maps a segment.
Without PATH it is the directory where you are, if that is in a mount, or else the only
mount there is.

PID is the process that opened the file or, in a line with an operation that waits, the one
that waits; MODE r, w or rw, of a segment that is mapped the rights as in /proc/PID/maps (rw-s). WAITS is the operation that waits, TID the thread that
does, SINCE for how long. FOR are the other processes that could end the wait: who waits to
read waits for those that have the object open for writing, who waits to write for those
that have it open for reading, who waits for a lock for all that have it open; '-' if
there is nobody. Who opens it later could end the wait too.

After the table there is a line for each deadlock, even if only some of its objects were
asked for: processes that all wait, and only for each other. It begins with 'possible
deadlock' if one of them has threads that do not wait, or that cannot be counted: such a
thread could go on. A process that got an open file from its parent is known to have
it only while it waits; it could go on too.

  ipcfs who
  ipcfs who DIR/pipes/p DIR/msgq
  ipcfs who --json DIR | jq '.deadlocks[].waits[].pid'`,
		Args: func(_ *cobra.Command, args []string) error {
			if slices.Contains(args, "") {
				return usagef("a path is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{""}
			}
			var targets []target
			for _, arg := range args {
				t, err := findTarget(arg)
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			s, err := look(targets, procfs{})
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), s, time.Now())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.BoolVarP(&c.noheadings, "noheadings", "n", false, "print no headings")
	return cmd
}

// use is an open file, or an operation that waits on it: a row of proc/files. Or it is a mapping of a segment: a row of proc/maps.
type use struct {
	mount   string // where the tree is
	ino     int64
	pid     int64
	command string
	mode    string // r, w or rw; of a mapping as in /proc/PID/maps
	mapped  bool   // it is a mapping
	bytes   int64  // of a mapping
	wait    string // OPEN, READ, WRITE or SETLKW, "" if none waits
	tid     int64
	since   float64 // when it began to wait, in seconds since 1970
	name    string

	waiter        int64 // the process that waits: not always the one that opened the file; 0 if none does
	waiterCommand string
	frees         []int64 // other processes that could end the wait
	alive         []int64 // of those, the ones that are there: a process that is gone may have left the file to another one
}

// situation is who has what open.
type situation struct {
	shown     []use // of the objects that were asked for
	deadlocks []deadlock
	one       bool // all is in one mount
}

// look reads the files and maps of the mounts in which the targets are.
func look(targets []target, on processes) (situation, error) {
	var files, mappings []use
	asked := make(map[string][]target) // by mount
	for _, t := range targets {
		asked[t.mount.Dir] = append(asked[t.mount.Dir], t)
	}
	for _, dir := range slices.Sorted(maps.Keys(asked)) {
		m := asked[dir][0].mount
		of, err := readUses(m)
		if err != nil {
			return situation{}, err
		}
		files = append(files, of...)
		if !slices.ContainsFunc(asked[dir], func(t target) bool { return slices.Contains(t.kinds(), "shm") }) {
			continue // to make the table the daemon looks at all processes
		}
		if of, err = readMaps(m); err != nil {
			return situation{}, err
		}
		mappings = append(mappings, of...)
	}
	findWaiters(files, on)
	s := situation{one: len(asked) == 1}
	wanted := func(u use) bool {
		return slices.ContainsFunc(asked[u.mount], func(t target) bool { return t.has(u.name, u.ino) })
	}
	deadlocks := findDeadlocks(files, on)
	for _, u := range append(files, mappings...) {
		if wanted(u) {
			s.shown = append(s.shown, u)
		}
	}
	for _, d := range deadlocks {
		if slices.ContainsFunc(d.waits, func(w deadlockWait) bool { return wanted(*w.use) }) {
			s.deadlocks = append(s.deadlocks, d)
		}
	}
	slices.SortStableFunc(s.shown, func(a, b use) int { return cmp.Or(cmp.Compare(a.mount, b.mount), cmp.Compare(a.ino, b.ino)) })
	return s, nil
}

// readUses reads the open files of a mount.
func readUses(m inspect.Mount) ([]use, error) {
	table, err := m.Files()
	if err != nil {
		return nil, err
	}
	uses := make([]use, len(table.Rows))
	for i, r := range table.Rows {
		uses[i] = use{
			mount: m.Dir, ino: r.Int("ino"), pid: r.Int("pid"), command: r.Name("command"), mode: r.Text("mode"), wait: r.Name("wait"), tid: r.Int("tid"),
			since: r.Float("since"), name: r.Name("name"),
		}
	}
	return uses, nil
}

// readMaps reads who maps the segments of a mount.
func readMaps(m inspect.Mount) ([]use, error) {
	table, err := m.Maps()
	if err != nil {
		return nil, err
	}
	uses := make([]use, len(table.Rows))
	for i, r := range table.Rows {
		uses[i] = use{
			mount: m.Dir, ino: r.Int("ino"), pid: r.Int("pid"), command: r.Name("command"), mode: r.Text("perms"), mapped: true, bytes: r.Int("bytes"), name: r.Name("name"),
		}
	}
	return uses, nil
}

// processes are what is asked of /proc about the processes of this machine.
type processes interface {
	of(tid int64) (pid int64, command string, ok bool) // the process of a thread
	threads(pid int64) (n int, ok bool)
}

// procfs asks /proc.
type procfs struct{}

// of reads the status of a thread.
func (p procfs) of(tid int64) (pid int64, command string, ok bool) {
	status := p.status(tid)
	if pid, _ = strconv.ParseInt(status["Tgid"], 10, 64); pid <= 0 {
		return 0, "", false
	}
	return pid, inspect.Unescape(p.status(pid)["Name"]), true
}

// threads reads the status of a process.
func (p procfs) threads(pid int64) (n int, ok bool) {
	n, err := strconv.Atoi(p.status(pid)["Threads"])
	return n, err == nil
}

// status is /proc/PID/status; empty if it cannot be read.
func (procfs) status(pid int64) map[string]string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	values := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		values[name] = strings.TrimSpace(value)
	}
	return values
}

// whoHeadings are the columns of who. Who shows one object alone leaves out the name.
var whoHeadings = []heading{{"PID", true}, {"COMMAND", false}, {"MODE", false}, {"WAITS", false}, {"TID", true}, {"SINCE", true}, {"FOR", false}, {"NAME", false}}

// maxFor is how many processes the column FOR has room for.
const maxFor = 5

// cells is a row of the table of who.
func (u use) cells(now time.Time) []string {
	tid, since, waitsFor := "-", "-", "-"
	if u.wait != "" {
		tid, since = strconv.FormatInt(u.tid, 10), ago(u.waited(now))
		var pids []string
		for _, pid := range u.alive[:min(len(u.alive), maxFor)] {
			pids = append(pids, strconv.FormatInt(pid, 10))
		}
		if more := len(u.alive) - maxFor; more > 0 {
			pids = append(pids, fmt.Sprintf("+%d", more))
		}
		if len(pids) > 0 {
			waitsFor = strings.Join(pids, ",")
		}
	}
	return []string{strconv.FormatInt(u.pid, 10), named(u.command), u.mode, named(u.wait), tid, since, waitsFor, named(u.name)}
}

// waited is how long the operation has waited.
func (u use) waited(now time.Time) time.Duration {
	whole, fraction := math.Modf(u.since)
	return now.Sub(time.Unix(int64(whole), int64(fraction*1e9)))
}

// fields is a row as JSON.
func (u use) fields() fields {
	f := fields{{"name", orNull(u.name)}, {"ino", u.ino}, {"pid", u.pid}, {"command", orNull(u.command)}}
	if u.mapped {
		return append(f, field{"perms", u.mode}, field{"bytes", u.bytes})
	}
	f = append(f, field{"mode", u.mode})
	if u.wait == "" {
		return append(f, field{"waits", nil})
	}
	waitsFor := u.alive
	if waitsFor == nil {
		waitsFor = []int64{}
	}
	return append(f, field{"waits", u.wait}, field{"waiter", u.waiter}, field{"tid", u.tid}, field{"since", u.since}, field{"for", waitsFor})
}

// print prints the table and the deadlocks.
func (c *whoConfig) print(w io.Writer, s situation, now time.Time) error {
	if !s.one { // a name in the tree says too little
		for i := range s.shown {
			if u := &s.shown[i]; u.name != "" {
				u.name = inspect.Mount{Dir: u.mount}.Path(u.name)
			}
		}
	}
	if c.json {
		files, maps := splitUses(s.shown)
		deadlocks := make([]fields, len(s.deadlocks))
		for i, d := range s.deadlocks {
			deadlocks[i] = d.fields(s.one)
		}
		return printJSON(w, fields{{"files", files}, {"maps", maps}, {"deadlocks", deadlocks}})
	}
	rows := make([][]string, len(s.shown))
	for i, u := range s.shown {
		rows[i] = u.cells(now)
	}
	if err := printTable(w, whoHeadings, c.noheadings, rows); err != nil {
		return err
	}
	for _, d := range s.deadlocks {
		if _, err := fmt.Fprintln(w, d.line(s.one)); err != nil {
			return outputError(err)
		}
	}
	return nil
}

// splitUses are the open files and the mappings as JSON.
func splitUses(uses []use) (files, maps []fields) {
	files, maps = []fields{}, []fields{}
	for _, u := range uses {
		if u.mapped {
			maps = append(maps, u.fields())
		} else {
			files = append(files, u.fields())
		}
	}
	return files, maps
}
