package fs

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is an object in a table, with its numbers of one moment.
type row struct {
	known
	inode  *inode
	values []int64
}

// objectsByKind returns the objects of each kind.
func (f *FS) objectsByKind() map[string][]*inode {
	f.mu.Lock()
	defer f.mu.Unlock()
	objects := make(map[string][]*inode)
	for i := range f.objects {
		objects[i.kind.name()] = append(objects[i.kind.name()], i)
	}
	return objects
}

// batch is of how many objects the tree is asked at a time, so that nobody who needs it has to wait for longer than that takes.
const batch = 64

// rows returns what is told of some objects, in the order in which they were made. It takes FS.mu, and the locks of the objects.
func (f *FS) rows(objects []*inode) []row {
	slices.SortFunc(objects, func(a, b *inode) int { return cmp.Compare(a.ino, b.ino) })
	rows := make([]row, 0, len(objects))
	for some := range slices.Chunk(objects, batch) {
		first := len(rows)
		f.mu.Lock()
		for _, i := range some {
			rows = append(rows, row{known: f.knownLocked(i), inode: i})
		}
		f.mu.Unlock()
		for r := first; r < len(rows); r++ {
			rows[r].values = rows[r].inode.object.values()
		}
	}
	return slices.DeleteFunc(rows, func(r row) bool { return r.values == nil }) // it ended meanwhile
}

// procTable is the table of a kind: a line for each object.
func (f *FS) procTable(k kind) func() func() []byte {
	return func() func() []byte {
		objects := f.objectsByKind()[k.name()]
		return f.soon(len(objects), func() []byte { return tableOf(k, f.rows(objects)) })
	}
}

// soon makes a text at once if that takes no longer than a request does, so that it is one of one moment, and else leaves it to be made beside.
func (f *FS) soon(objects int, text func() []byte) func() []byte {
	if objects > batch {
		return text
	}
	made := text()
	return func() []byte { return made }
}

// tableOf writes the rows of a kind.
func tableOf(k kind, rows []row) []byte {
	columns := []tableColumn{{"ino", 10}}
	for _, name := range columnsBefore {
		columns = append(columns, tableColumn{name, 5})
	}
	own := k.columns()
	for _, c := range own {
		if c.width != noColumn {
			columns = append(columns, tableColumn{c.name, c.width})
		}
	}
	for _, name := range columnsAfter {
		columns = append(columns, tableColumn{name, 8})
	}
	t := newTable(columns...)
	for _, r := range rows {
		words := append([]string{strconv.FormatUint(r.ino, 10)}, r.words()...)
		for c, v := range r.values {
			if own[c].width != noColumn {
				words = append(words, strconv.FormatInt(v, 10))
			}
		}
		t.line(append(append(words, r.inode.traffic.words()...), escapeName(r.path)))
	}
	return t.Bytes()
}

// table is a text in the style of /proc/sysvipc: names of columns, then a line for each row, right aligned, and last a name, which is as long as it is.
type table struct {
	bytes.Buffer
	columns []tableColumn
}

// tableColumn is a column: its name, and how wide it is at least.
type tableColumn struct {
	name  string
	width int
}

// newTable begins a table with the names of its columns; the last one, name, is added to them.
func newTable(columns ...tableColumn) *table {
	t := &table{}
	var names []string
	for _, c := range columns {
		t.columns = append(t.columns, tableColumn{c.name, max(c.width, len(c.name))})
		names = append(names, c.name)
	}
	t.line(append(names, "name"))
	return t
}

// line writes a row: a word for each column, and the name.
func (t *table) line(words []string) {
	for i, c := range t.columns {
		t.WriteString(strings.Repeat(" ", max(c.width-len(words[i]), 0)))
		t.WriteString(words[i])
		t.WriteByte(' ')
	}
	t.WriteString(words[len(words)-1])
	t.WriteByte('\n')
}

// escapeName writes a name as the kernel does in /proc/self/mounts, so that it is one word of one line. No name is "-".
func escapeName(s string) string {
	if s == "" {
		return "-"
	}
	return nameEscapes.Replace(s)
}

// nameEscapes are what parts words and lines, what a terminal would act on, and the backslash itself.
var nameEscapes = func() *strings.Replacer {
	pairs := []string{`\`, `\134`, "\x7f", `\177`}
	for c := range byte(0x21) {
		pairs = append(pairs, string(rune(c)), fmt.Sprintf(`\%03o`, c))
	}
	return strings.NewReplacer(pairs...)
}()

// seconds is a time in seconds since 1970, 0 for never.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
