package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// accounts are all that the mount tells at one moment, while nothing happens.
type accounts struct {
	tables  map[string]map[string]map[string]string // proc/KIND by inode and column
	files   []map[string]string                     // proc/files
	sysvipc map[string]map[string]map[string]string // proc/sysvipc/KIND by id and column
	listed  map[string]map[string]string            // ipcfs ls by inode and key
	metrics metricSet
	wrong   []string
}

// byWord are rows by what they have in a column.
func byWord(rows []map[string]string, column string) (map[string]map[string]string, error) {
	m := make(map[string]map[string]string)
	for _, row := range rows {
		if m[row[column]] != nil {
			return nil, fmt.Errorf("two rows of %s %s", column, row[column])
		}
		m[row[column]] = row
	}
	return m, nil
}

// accounts reads what the mount tells.
func (m *mount) accounts() (*accounts, error) {
	a := &accounts{tables: make(map[string]map[string]map[string]string), sysvipc: make(map[string]map[string]map[string]string), listed: make(map[string]map[string]string)}
	table := func(name string) []map[string]string {
		text, err := os.ReadFile(filepath.Join(m.dir, "proc", name))
		rows, bad := parseTable(string(text))
		if err = errors.Join(err, bad); err != nil {
			a.differs("proc/"+name, "%v", err)
		}
		return rows
	}
	for _, kind := range []string{"pipes", "shm", "msgq"} {
		var err error
		if a.tables[kind], err = byWord(table(kind), "ino"); err != nil {
			return nil, err
		}
	}
	a.files = table("files")
	for name, id := range map[string]string{"msg": "msqid", "shm": "shmid"} {
		var err error
		if a.sysvipc[name], err = byWord(table("sysvipc/"+name), id); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "proc/metrics"))
	if err == nil {
		a.metrics, err = parseMetrics(string(text))
	}
	if err != nil {
		return nil, err
	}
	out, err := command("ls", "--json", m.dir).Output()
	if err != nil {
		return nil, err
	}
	var list struct {
		Objects []map[string]json.RawMessage
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("ipcfs ls --json: %w in %s", err, out)
	}
	for _, o := range list.Objects {
		row := make(map[string]string)
		for key, value := range o {
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			row[key] = text
		}
		a.listed[row["ino"]] = row
	}
	return a, nil
}

// differs notes that what is told of an object, or of all, is not the same everywhere.
func (a *accounts) differs(what, format string, v ...any) {
	a.wrong = append(a.wrong, what+": "+fmt.Sprintf(format, v...))
}

// equal compares two that tell the same.
func (a *accounts) equal(object, field string, got, want any, from string) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		a.differs(object, "%s is %s in its table, %s in %s", field, w, g, from)
	}
}

// sum adds a column of a kind up.
func (a *accounts) sum(kind string, columns ...string) (n int) {
	for _, row := range a.tables[kind] {
		for _, c := range columns {
			n += number(row[c])
		}
	}
	return n
}

// number is a word as a number; what is none comes out as nothing that could be right.
func number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		return -1 << 40
	}
	return n
}

// unescaped is a name of a table as it is.
func unescaped(name string) string {
	return regexp.MustCompile(`\\[0-7]{3}`).ReplaceAllStringFunc(name, func(s string) string {
		n, _ := strconv.ParseUint(s[1:], 8, 8)
		return string([]byte{byte(n)})
	})
}

// listedAs are the keys of ipcfs ls --json that show a word of the table as it is, by kind; "" is every kind. key:column where they have different names.
var listedAs = map[string]string{
	"":      "ino uid gid cuid cgid syscr rchar syscw wchar",
	"pipes": "used:bytes readers writers slots full:used opening:opens reading:reads writing:writes",
	"shm":   "size:shm_segsz used:rss nattch:shm_nattch cpid:shm_cprid lpid:shm_lprid attach:shm_atime detach:shm_dtime ctime:shm_ctime",
	"msgq":  "size:q_qbytes used:q_cbytes msgs:q_qnum lspid:q_lspid lrpid:q_lrpid send:q_stime recv:q_rtime sending:q_senders receiving:q_receivers ctime:q_ctime",
}

// sysvAs are the columns of proc/sysvipc by kind.
var sysvAs = map[string]string{
	"msgq": "msqid:ino perms cbytes:q_cbytes qnum:q_qnum lspid:q_lspid lrpid:q_lrpid uid gid cuid cgid stime:q_stime rtime:q_rtime ctime:q_ctime",
	"shm":  "shmid:ino size:shm_segsz cpid:shm_cprid lpid:shm_lprid nattch:shm_nattch uid gid cuid cgid atime:shm_atime dtime:shm_dtime ctime:shm_ctime rss",
}

// waitColumns are the columns that count who waits, by kind and operation.
var waitColumns = map[string]map[string]string{
	"pipes": {"OPEN": "opens", "READ": "reads", "WRITE": "writes"}, "msgq": {"READ": "q_receivers", "WRITE": "q_senders"}, "shm": {},
}

// columnPairs parts "key:column key".
func columnPairs(text string) map[string]string {
	m := make(map[string]string)
	for _, word := range strings.Fields(text) {
		key, column, found := strings.Cut(word, ":")
		if !found {
			column = key
		}
		m[key] = column
	}
	return m
}

// hasName says whether the object of a row was not removed.
func hasName(row map[string]string) bool {
	return !strings.HasSuffix(unescaped(row["name"]), " (deleted)")
}

// object compares all that is told of one object with its row of the table of its kind. fds are what this process has open.
func (a *accounts) object(m *mount, kind string, row map[string]string, fds []int) {
	what := fmt.Sprintf("%s %s (%s)", kind, row["ino"], row["name"])
	name := unescaped(row["name"])
	named := hasName(row)

	// Its attributes, and what stat(2) says: by its name, or by a file that is open.
	var st unix.Stat_t
	get := func(attr string, b []byte) (int, error) { return unix.Getxattr(filepath.Join(m.dir, name), attr, b) }
	err := unix.Lstat(filepath.Join(m.dir, name), &st)
	if !named {
		i := slices.IndexFunc(fds, func(fd int) bool { // the number of a view has more in its upper half
			return unix.Fstat(fd, &st) == nil && fmt.Sprint(uint32(st.Ino)) == row["ino"]
		})
		if i < 0 {
			a.differs(what, "it has no name, and nobody has it open")
			return
		}
		get = func(attr string, b []byte) (int, error) { return unix.Fgetxattr(fds[i], attr, b) }
		err = nil
	}
	if err != nil {
		a.differs(what, "stat: %v", err)
		return
	}
	a.equal(what, "ino", uint32(st.Ino), row["ino"], "stat")
	a.equal(what, "perms", strconv.FormatUint(uint64(st.Mode&0o7777), 8), row["perms"], "stat")
	a.equal(what, "uid", st.Uid, row["uid"], "stat")
	a.equal(what, "gid", st.Gid, row["gid"], "stat")
	if kind == "shm" {
		a.equal(what, "shm_segsz", st.Size, row["shm_segsz"], "stat")
		a.equal(what, "rss", st.Blocks*512, row["rss"], "stat")
	}
	if named != (st.Nlink > 0) {
		a.differs(what, "it has %d names", st.Nlink)
	}
	attr := func(column string) string {
		b := make([]byte, 1<<16)
		n, err := get("user.ipc."+column, b)
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
	for column, word := range row {
		if column != "ino" && column != "name" {
			a.equal(what, column, attr(column), word, "its attribute")
		}
	}
	if kind == "pipes" {
		a.equal(what, "slots", number(attr("capacity"))/4096, row["slots"], "the attribute capacity")
		a.equal(what, "used", number(attr("head"))-number(attr("tail")), row["used"], "the attributes head and tail")
		bytes, used := 0, 0
		for word := range strings.FieldsSeq(attr("bufs")) {
			var off, n int
			if _, err := fmt.Sscanf(word, "%d+%d", &off, &n); err != nil {
				a.differs(what, "bufs has %q", word)
			}
			bytes, used = bytes+n, used+1
		}
		a.equal(what, "bytes", bytes, row["bytes"], "the attribute bufs")
		a.equal(what, "used", used, row["used"], "the attribute bufs")
	}

	// ipcfs ls.
	listed := a.listed[row["ino"]]
	if listed == nil {
		a.differs(what, "ipcfs ls --json does not list it")
		return
	}
	for _, keys := range []string{listedAs[""], listedAs[kind]} {
		for key, column := range columnPairs(keys) {
			a.equal(what, column, listed[key], row[column], "ls --json as "+key)
		}
	}
	a.equal(what, "name", listed["name"], name, "ls --json")
	a.equal(what, "kind", listed["kind"], kind, "ls --json")
	a.equal(what, "perms", strings.TrimLeft(listed["perms"], "0"), strings.TrimLeft(row["perms"], "0"), "ls --json")
	waits := 0
	for _, column := range waitColumns[kind] {
		waits += number(row[column])
	}
	a.equal(what, "the sum of those who wait", listed["waiters"], waits, "ls --json")
	if kind == "pipes" {
		a.equal(what, "slots", number(listed["size"])/4096, row["slots"], "ls --json as size")
	}

	// proc/sysvipc.
	if kind == "pipes" {
		return
	}
	sysv := a.sysvipc[map[string]string{"msgq": "msg", "shm": "shm"}[kind]][row["ino"]]
	if removed := kind == "msgq" && !named; removed != (sysv == nil) {
		a.differs(what, "removed: %v, and in proc/sysvipc it is %v", removed, sysv)
	}
	if sysv == nil {
		return
	}
	for key, column := range columnPairs(sysvAs[kind]) {
		a.equal(what, column, sysv[key], row[column], "proc/sysvipc as "+key)
	}
	perms, _ := strconv.ParseUint(row["perms"], 8, 32)
	key := row["ino"]
	if perms &= 0o777; !named {
		key, perms = "0", perms|0o1000
	}
	a.equal(what, "key", sysv["key"], key, "proc/sysvipc")
	a.equal(what, "perms", sysv["perms"], strconv.FormatUint(perms, 8), "proc/sysvipc")
}

// opens compares proc/files with what the objects say of who has them open, and who waits.
func (a *accounts) opens() {
	type use struct{ files, readers, writers map[string]bool }
	uses := make(map[string]use)
	waits := make(map[string]int) // by inode and operation
	opening := make(map[string]map[string]int)
	for _, row := range a.files {
		ino := row["ino"]
		if uses[ino].files == nil {
			uses[ino] = use{make(map[string]bool), make(map[string]bool), make(map[string]bool)}
			opening[ino] = make(map[string]int)
		}
		if row["wait"] != "-" {
			waits[ino+" "+row["wait"]]++
		}
		if row["fh"] == "0" {
			opening[ino][row["mode"]]++
			continue
		}
		uses[ino].files[row["fh"]] = true
		if strings.Contains(row["mode"], "r") {
			uses[ino].readers[row["fh"]] = true
		}
		if strings.Contains(row["mode"], "w") {
			uses[ino].writers[row["fh"]] = true
		}
	}
	for kind, rows := range a.tables {
		open := 0
		for ino, row := range rows {
			what := fmt.Sprintf("%s %s (%s)", kind, ino, row["name"])
			u := uses[ino]
			open += len(u.files)
			delete(uses, ino)
			switch kind {
			case "pipes": // who waits to open is one already
				a.equal(what, "readers", len(u.readers)+opening[ino]["r"], row["readers"], "proc/files")
				a.equal(what, "writers", len(u.writers)+opening[ino]["w"], row["writers"], "proc/files")
			case "shm":
				a.equal(what, "shm_nattch", len(u.files), row["shm_nattch"], "proc/files")
			}
			for operation, column := range waitColumns[kind] {
				a.equal(what, column, waits[ino+" "+operation], row[column], "proc/files")
			}
		}
		a.equal(kind, "the number of open files", a.metrics[fmt.Sprintf("ipcfs_open_files{kind=%q}", kind)], open, "proc/metrics")
	}
	for ino := range uses {
		a.differs("proc/files", "inode %s is in no table", ino)
	}
	for _, row := range a.files {
		name := unescaped(row["name"])
		for _, rows := range a.tables {
			if o := rows[row["ino"]]; o != nil && name != unescaped(o["name"]) && !strings.HasPrefix(name, unescaped(o["name"])+":") {
				a.differs("proc/files", "inode %s is %q, and %q in its table", row["ino"], row["name"], o["name"])
			}
		}
	}
}

// sums compares proc/metrics with what adds up in the tables, and with statfs(2).
func (a *accounts) sums(m *mount) {
	gauge := func(format string, v ...any) int {
		n, ok := a.metrics[fmt.Sprintf(format, v...)]
		if !ok {
			return 0 // of what never was
		}
		return int(n)
	}
	for kind, held := range map[string]string{"pipes": "bytes", "shm": "rss", "msgq": "q_cbytes"} {
		a.equal(kind, "the number of rows", gauge("ipcfs_objects{kind=%q}", kind), len(a.tables[kind]), "proc/metrics")
		a.equal(kind, "the sum of "+held, gauge("ipcfs_object_bytes{kind=%q}", kind), a.sum(kind, held), "proc/metrics")
		for operation, column := range waitColumns[kind] {
			a.equal(kind, "the sum of "+column, gauge("ipcfs_waiters{kind=%q,operation=%q}", kind, operation), a.sum(kind, column), "proc/metrics")
		}
		for operation, columns := range map[string][2]string{"READ": {"syscr", "rchar"}, "WRITE": {"syscw", "wchar"}} {
			failed := 0
			for _, name := range a.metrics.series("ipcfs_errors_total") {
				if label(name, "kind") == kind && label(name, "operation") == operation {
					failed += int(a.metrics[name])
				}
			}
			a.equal(kind, "the sum of "+columns[0], gauge("ipcfs_operations_total{kind=%q,operation=%q}", kind, operation)-failed, a.sum(kind, columns[0]), "proc/metrics")
			a.equal(kind, "the sum of "+columns[1], gauge("ipcfs_transferred_bytes_total{direction=%q,kind=%q}", strings.ToLower(operation), kind), a.sum(kind, columns[1]), "proc/metrics")
		}
	}
	for dir, names := range map[string][2]string{m.pipes: {"arena_limit_bytes", "arena_used_bytes"}, m.msgq: {"arena_limit_bytes", "arena_used_bytes"}, m.shm: {"shm_limit_bytes", "shm_used_bytes"}} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			a.differs(dir, "statfs: %v", err)
		}
		a.equal("df of "+filepath.Base(dir), names[0], gauge("ipcfs_%s", names[0])/4096, st.Blocks, "proc/metrics")
		a.equal("df of "+filepath.Base(dir), names[1], gauge("ipcfs_%s", names[1])/4096, st.Blocks-st.Bfree, "proc/metrics")
		a.equal("df of "+filepath.Base(dir), "inodes_limit", gauge("ipcfs_inodes_limit"), st.Files, "proc/metrics")
		a.equal("df of "+filepath.Base(dir), "inodes", gauge("ipcfs_inodes"), st.Files-st.Ffree, "proc/metrics")
	}
	a.equal("shm", "the sum of rss", gauge("ipcfs_shm_used_bytes"), a.sum("shm", "rss"), "proc/metrics as shm_used_bytes")
	if held := 4096 * a.sum("pipes", "used"); gauge("ipcfs_arena_used_bytes") < held {
		a.differs("pipes", "they hold %d bytes of pages, and all objects %d", held, gauge("ipcfs_arena_used_bytes"))
	}
	// Each name of a file, each directory, and what has no name any more.
	inodes := 0
	for _, d := range []string{m.pipes, m.shm, m.msgq} {
		if err := filepath.WalkDir(d, func(string, fs.DirEntry, error) error { inodes++; return nil }); err != nil {
			a.differs(d, "%v", err)
		}
		inodes-- // itself
	}
	for _, rows := range a.tables {
		for _, row := range rows {
			if !hasName(row) {
				inodes++
			}
		}
	}
	a.equal("the mount", "the number of names and of objects without one", gauge("ipcfs_inodes"), inodes, "proc/metrics")

	a.equal("ipcfs ls", "the number of rows", len(a.listed), len(a.tables["pipes"])+len(a.tables["shm"])+len(a.tables["msgq"]), "ls --json")
	named := 0
	for _, row := range a.tables["msgq"] {
		if hasName(row) {
			named++
		}
	}
	a.equal("msgq", "the number of rows with a name", len(a.sysvipc["msg"]), named, "proc/sysvipc")
	a.equal("shm", "the number of rows", len(a.sysvipc["shm"]), len(a.tables["shm"]), "proc/sysvipc")
}

// After a load at random has stopped every place that tells a number of an object, or the sum of all, tells the same one: the tables of proc, proc/files, proc/sysvipc, extended
// attributes, stat(2), statfs(2), ipcfs ls and proc/metrics.
func TestNumbersAgree(t *testing.T) {
	needRoot(t)
	need(t, "cc", "flock")
	eachPassthrough(t, []string{"--shmall", "4M", "--memory", "8M"}, func(t *testing.T, m *mount) {
		seed := envNumber(t, "IPCFS_SEED", rand.Uint64())
		t.Logf("IPCFS_SEED=%d", seed)
		l := &load{mount: m}
		l.run(t, seed)
		l.block(t)
		seen := make(map[string]int)
		eventually(t, func() error { // the mount hears of a close a moment later
			a, err := m.accounts()
			if err != nil {
				return err
			}
			for kind, rows := range a.tables {
				for _, row := range rows {
					a.object(m, kind, row, l.held)
				}
			}
			a.opens()
			a.sums(m)
			if len(a.wrong) > 0 {
				slices.Sort(a.wrong)
				return fmt.Errorf("%d numbers do not agree:\n%s", len(a.wrong), strings.Join(a.wrong, "\n"))
			}
			seen = a.coverage()
			return nil
		})
		for what, least := range map[string]int{"pipes": 5, "shm": 5, "msgq": 5, "removed": 3, "files": 20, "views": 3, "waits": 20, "bytes": 3, "errors": 3} {
			if seen[what] < least {
				t.Errorf("the load led to %d %s only: %v", seen[what], what, seen)
			}
		}
		t.Log(seen)
	})
}

// coverage is what there was to compare, so that a load that does nothing is seen.
func (a *accounts) coverage() map[string]int {
	n := map[string]int{"files": len(a.files), "errors": len(a.metrics.series("ipcfs_errors_total"))}
	for kind, rows := range maps.All(a.tables) {
		n[kind] = len(rows)
		for _, row := range rows {
			if !hasName(row) {
				n["removed"]++
			}
			if row["bytes"]+row["rss"]+row["q_cbytes"] != "0" {
				n["bytes"]++
			}
		}
	}
	for _, row := range a.files {
		if strings.Contains(row["name"], ":") {
			n["views"]++
		}
		if row["wait"] != "-" {
			n["waits"]++
		}
	}
	return n
}
