package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ipcfs/cmd/ipcfs/inspect"
	"ipcfs/objects/page"
)

// limitsConfig is what the command line of limits asks for.
type limitsConfig struct {
	json       bool
	bytes      bool
	noheadings bool
}

func newLimits() *cobra.Command {
	var c limitsConfig
	cmd := &cobra.Command{
		Use:   "limits [flags] [PATH]",
		Short: "Show the limits of a mount, and how far they are used",
		Long: `Show the limits of the mount that PATH is in, and how much of each is used, as lsipc(1) does
for the kernel's own. Without PATH it is the mount in which you are, or else the only one
there is. A limit of '-' is none.

Those that are files of DIR/proc/sys can be changed there by root and by the owner of the
mount; the others were given to 'ipcfs mount'.

  ipcfs limits DIR
  echo 64 > DIR/proc/sys/kernel/msgmni   # at most 64 queues
  ipcfs limits --json DIR | jq '.limits[] | select(.limit and .used > .limit * 0.9)'`,
		Args: func(_ *cobra.Command, args []string) error { return atMostOne(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			m, _, err := findMount(first(args))
			if err != nil {
				return err
			}
			rows, err := readLimits(m)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), rows)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.BoolVarP(&c.bytes, "bytes", "b", false, "print sizes in bytes")
	f.BoolVarP(&c.noheadings, "noheadings", "n", false, "print no headings")
	return cmd
}

// limit is a limit, and where it is told how large it is and how much of it is used.
type limit struct {
	resource, description string

	from  string  // a file of proc/sys; a metric if it begins with metricPrefix
	used  string  // a metric; "" if nothing tells
	per   float64 // what of that metric is one of the limit
	size  bool    // in bytes
	maybe bool    // 0 is no limit
}

// metricPrefix begins the names of all metrics.
const metricPrefix = "ipcfs_"

// limits are all of them, those that lsipc(1) has too with its words.
var limits = []limit{
	{resource: "MSGMNI", description: "Number of message queues", from: "kernel/msgmni", used: `ipcfs_ids{kind="msgq"}`, per: 1},
	{resource: "MSGMAX", description: "Max size of message (bytes)", from: "kernel/msgmax", size: true},
	{resource: "MSGMNB", description: "Default max size of queue (bytes)", from: "kernel/msgmnb", size: true},
	{resource: "SHMMNI", description: "Shared memory segments", from: "kernel/shmmni", used: `ipcfs_ids{kind="shm"}`, per: 1},
	{resource: "SHMALL", description: "Shared memory pages", from: "kernel/shmall", used: "ipcfs_shm_used_bytes", per: page.Size},
	{resource: "SHMMAX", description: "Max size of shared memory segment (bytes)", from: "kernel/shmmax", size: true},
	{resource: "PIPEMAX", description: "Max size of pipe of a user without privilege (bytes)", from: "fs/pipe-max-size", size: true},
	{resource: "PIPESOFT", description: "Pages of pipes of a user, then pipes are small", from: "fs/pipe-user-pages-soft", maybe: true},
	{resource: "PIPEHARD", description: "Pages of pipes of a user, then there are no more", from: "fs/pipe-user-pages-hard", maybe: true},
	{resource: "MEMORY", description: "Memory of pipes and queues (bytes)", from: "ipcfs_arena_limit_bytes", used: "ipcfs_arena_used_bytes", per: 1, size: true},
	{resource: "INODES", description: "Number of files and directories", from: "ipcfs_inodes_limit", used: "ipcfs_inodes", per: 1},
	{resource: "SYMLINKS", description: "Targets of symbolic links (bytes)", from: "ipcfs_symlink_limit_bytes", used: "ipcfs_symlink_bytes", per: 1, size: true},
}

// amount is a limit with its value.
type amount struct {
	limit
	most    uint64
	now     uint64
	hasUsed bool
}

// readLimits reads the limits of a mount, and how far they are used.
func readLimits(m inspect.Mount) ([]amount, error) {
	text, err := m.Read("metrics")
	if err != nil {
		return nil, err
	}
	values := parseMetrics(text)
	var rows []amount
	for _, l := range limits {
		a := amount{limit: l}
		if strings.HasPrefix(l.from, metricPrefix) {
			v, ok := values[l.from]
			if !ok {
				return nil, noMetric(m, l.from)
			}
			a.most = uint64(v)
		} else if a.most, err = readLimit(m, l.from); err != nil {
			return nil, err
		}
		if l.used != "" {
			v, ok := values[l.used]
			if !ok {
				return nil, noMetric(m, l.used)
			}
			a.now, a.hasUsed = uint64(v/l.per), true
		}
		rows = append(rows, a)
	}
	return rows, nil
}

// noMetric is that the daemon does not tell what it should.
func noMetric(m inspect.Mount, name string) error {
	return fmt.Errorf("%s: there is no %s; 'ipcfs version' should be that of the daemon", m.Path("proc/metrics"), name)
}

// readLimit reads a file of proc/sys that is one number.
func readLimit(m inspect.Mount, name string) (uint64, error) {
	text, err := m.Read("sys/" + name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %.40q is not a number", m.Path("proc/sys/"+name), text)
	}
	return n, nil
}

// parseMetrics reads the text format of Prometheus: the value of each metric by its name with the labels as they stand there. What it does not understand it leaves out.
func parseMetrics(text string) map[string]float64 {
	values := make(map[string]float64)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.LastIndexByte(line, '}') + 1 // a label can have blanks in it
		if end == 0 {
			end = max(0, strings.IndexAny(line, " \t"))
		}
		words := strings.Fields(line[end:]) // a time may come behind the value
		if len(words) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(words[0], 64); err == nil {
			values[line[:end]] = v
		}
	}
	return values
}

// none says whether the value means that there is no limit.
func (a amount) none() bool { return a.maybe && a.most == 0 }

// cells is a row of the table.
func (a amount) cells(inBytes bool) []string {
	write := func(n uint64) string {
		if a.size && !inBytes {
			return largeSize(n)
		}
		return strconv.FormatUint(n, 10)
	}
	most, used, share := write(a.most), "-", "-"
	if a.none() {
		most = "-"
	}
	if a.hasUsed {
		used = write(a.now)
		if a.most > 0 {
			share = fmt.Sprintf("%.2f%%", 100*float64(a.now)/float64(a.most))
		}
	}
	return []string{a.resource, a.description, most, used, share}
}

// fields is a row as JSON, where no limit is null.
func (a amount) fields() fields {
	f := fields{{"resource", a.resource}, {"description", a.description}, {"limit", a.most}, {"used", nil}}
	if a.none() {
		f[2].value = nil
	}
	if a.hasUsed {
		f[3].value = a.now
	}
	return f
}

// print prints the limits.
func (c *limitsConfig) print(w io.Writer, amounts []amount) error {
	if c.json {
		list := make([]fields, len(amounts))
		for i, a := range amounts {
			list[i] = a.fields()
		}
		return printJSON(w, fields{{"limits", list}})
	}
	rows := make([][]string, len(amounts))
	for i, a := range amounts {
		rows[i] = a.cells(c.bytes)
	}
	return printTable(w, []heading{{"RESOURCE", false}, {"DESCRIPTION", false}, {"LIMIT", true}, {"USED", true}, {"USE%", true}}, c.noheadings, rows)
}
