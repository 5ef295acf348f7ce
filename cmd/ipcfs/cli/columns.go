package cli

import (
	"slices"
	"strings"

	"ipcfs/objects/page"
)

// column is what ls can show of an object.
type column struct {
	name  string // of the column; in lower case the key in JSON
	label string // what it is, as stat and the help say it
	kind  string // the only kinds of objects that have it, by blanks; "" if all do
	right bool
	value func(o object, n *names) any
}

// of says whether the objects of a kind have the column; "" is any kind.
func (c column) of(kind string) bool {
	return c.kind == "" || kind == "" || slices.Contains(c.kinds(), kind)
}

// kinds are the only kinds that have the column, none if all do.
func (c column) kinds() []string { return strings.Fields(c.kind) }

// cell is the value for an object, nil if it has none.
func (c column) cell(o object, n *names) any {
	if !c.of(o.kind) {
		return nil
	}
	return c.value(o, n)
}

// number is a column that shows a word of the table as a number.
func number(name, label, kind, word string) column {
	return column{name, label, kind, true, func(o object, _ *names) any { return o.Int(word) }}
}

// bytesOf is a column that shows a word of the table as a size.
func bytesOf(name, label, kind, word string) column {
	return column{name, label, kind, true, func(o object, _ *names) any { return byteCount(o.Int(word)) }}
}

// userOf is a column that shows the user of a number in the table.
func userOf(name, label, word string) column {
	return column{name, label, "", false, func(o object, n *names) any { return n.user(o.Text(word)) }}
}

// groupOf is a column that shows the group of a number in the table.
func groupOf(name, label, word string) column {
	return column{name, label, "", false, func(o object, n *names) any { return n.group(o.Text(word)) }}
}

// timeOf is a column that shows a word of the table as a time.
func timeOf(name, label, kind, word string) column {
	return column{name, label, kind, false, func(o object, _ *names) any { return moment(o.Int(word)) }}
}

// columns are all of them, in the order in which JSON has them.
var columns = []column{
	{"KIND", "Kind", "", false, func(o object, _ *names) any { return o.kind }},
	number("INO", "Inode", "", "ino"),
	{"PERMS", "Permissions", "", false, func(o object, _ *names) any { return permsOf(o) }},
	userOf("OWNER", "Owner", "uid"),
	number("UID", "Owner's number", "", "uid"),
	groupOf("GROUP", "Group", "gid"),
	number("GID", "Group's number", "", "gid"),
	userOf("CREATOR", "Creator", "cuid"),
	number("CUID", "Creator's number", "", "cuid"),
	groupOf("CGROUP", "Creator's group", "cgid"),
	number("CGID", "Number of the creator's group", "", "cgid"),
	{"SIZE", "Size", "", true, func(o object, _ *names) any { return sizeOf(o) }},
	{"USED", "Used", "", true, func(o object, _ *names) any { return byteCount(o.Int(usedWords[o.kind])) }},
	{"WAITERS", "Waiting operations", "", true, func(o object, _ *names) any { return waitersOf(o) }},
	number("READERS", "Open for reading", "pipes", "readers"),
	number("WRITERS", "Open for writing", "pipes", "writers"),
	number("SLOTS", "Slots", "pipes", "slots"),
	number("FULL", "Slots in use", "pipes", "used"),
	number("OPENING", "Waiting to open", "pipes", "opens"),
	number("READING", "Waiting to read", "pipes", "reads"),
	number("WRITING", "Waiting to write", "pipes", "writes"),
	number("NATTCH", "Attached", "shm", "shm_nattch"),
	number("CPID", "Creator's process", "shm", "shm_cprid"),
	number("LPID", "Last user's process", "shm", "shm_lprid"),
	timeOf("ATTACH", "Last attached", "shm", "shm_atime"),
	timeOf("DETACH", "Last detached", "shm", "shm_dtime"),
	number("MSGS", "Messages", "msgq", "q_qnum"),
	number("LSPID", "Last sender's process", "msgq", "q_lspid"),
	number("LRPID", "Last receiver's process", "msgq", "q_lrpid"),
	timeOf("SEND", "Last sent", "msgq", "q_stime"),
	timeOf("RECV", "Last received", "msgq", "q_rtime"),
	number("SENDING", "Waiting to send", "msgq", "q_senders"),
	number("RECEIVING", "Waiting to receive", "msgq", "q_receivers"),
	{"CTIME", "Last change", "shm msgq", false, func(o object, _ *names) any { return moment(o.Int("shm_ctime") + o.Int("q_ctime")) }},
	number("SYSCR", "Reads", "", "syscr"),
	bytesOf("RCHAR", "Bytes read", "", "rchar"),
	number("SYSCW", "Writes", "", "syscw"),
	bytesOf("WCHAR", "Bytes written", "", "wchar"),
	{"NAME", "Name", "", false, func(o object, _ *names) any { return orNull(o.Name("name")) }},
}

// defaultColumns are those that ls shows of a kind, "" for all kinds together.
var defaultColumns = map[string]string{
	"":      "KIND,PERMS,OWNER,SIZE,USED,WAITERS,NAME",
	"pipes": "PERMS,OWNER,READERS,WRITERS,SIZE,USED,OPENING,READING,WRITING,NAME",
	"shm":   "PERMS,OWNER,SIZE,USED,NATTCH,CPID,LPID,ATTACH,DETACH,NAME",
	"msgq":  "PERMS,OWNER,SIZE,USED,MSGS,SENDING,RECEIVING,LSPID,LRPID,SEND,RECV,NAME",
}

// usedWords are what says how many bytes an object has of the memory that it may have, by kind.
var usedWords = map[string]string{"pipes": "bytes", "shm": "rss", "msgq": "q_cbytes"}

// permsOf is the mode of an object, which is octal in the table.
func permsOf(o object) (p perms) {
	for _, digit := range o.Text("perms") {
		p = p<<3 | perms(digit-'0')&7
	}
	return p & 0o777
}

// sizeOf is how much an object holds at most.
func sizeOf(o object) byteCount {
	switch o.kind {
	case "pipes":
		return byteCount(o.Int("slots") * page.Size)
	case "shm":
		return byteCount(o.Int("shm_segsz"))
	}
	return byteCount(o.Int("q_qbytes"))
}

// waitersOf is how many operations wait on an object. On a segment none does.
func waitersOf(o object) int64 {
	return o.Int("opens") + o.Int("reads") + o.Int("writes") + o.Int("q_senders") + o.Int("q_receivers")
}

// chooseColumns returns the columns that a list of names chooses, for objects of a kind.
func chooseColumns(names, kind string) ([]column, error) {
	var chosen []column
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(columns, func(c column) bool { return strings.EqualFold(c.name, name) && c.of(kind) })
		if i < 0 {
			of := ""
			if kind != "" {
				of = " of " + kind
			}
			return nil, usagef("--output: no column %q%s; there are %s", name, of, strings.Join(columnNames(kind), ", "))
		}
		chosen = append(chosen, columns[i])
	}
	return chosen, nil
}

// columnNames are the names of the columns that objects of a kind have.
func columnNames(kind string) (names []string) {
	for _, c := range columns {
		if c.of(kind) {
			names = append(names, c.name)
		}
	}
	return names
}
