// Package inspect reads what a mount tells of itself: the files of its proc directory. It asks for nothing that any program could not read there.
package inspect

import (
	"fmt"
	"strconv"
	"strings"
)

// Table is a file of proc that is a table: a line of names of columns, then a line for each row.
type Table struct {
	Columns []string
	Rows    []Row
}

// Row is a line of a table.
type Row struct {
	columns map[string]int
	words   []string
}

// ParseTable reads the text of a table. It is an error if a line has not a word for each column, or if one of the columns needed is not there: then this
// program and the daemon are not of one version.
func ParseTable(text string, needed ...string) (*Table, error) {
	header, rest, _ := strings.Cut(text, "\n")
	t := &Table{Columns: split(header), Rows: make([]Row, 0, strings.Count(rest, "\n"))}
	columns := make(map[string]int, len(t.Columns))
	for i, c := range t.Columns {
		columns[c] = i
	}
	for _, c := range needed {
		if _, ok := columns[c]; !ok {
			return nil, fmt.Errorf("there is no column %s; 'ipcfs version' should be that of the daemon", c)
		}
	}
	for line := range strings.Lines(rest) {
		words := split(strings.TrimSuffix(line, "\n"))
		if len(words) != len(t.Columns) {
			return nil, fmt.Errorf("a line of %d words for %d columns: %.100q", len(words), len(t.Columns), line)
		}
		t.Rows = append(t.Rows, Row{columns, words})
	}
	return t, nil
}

// split parts a line at its blanks. Whatever else some would take for one may stand in a name.
func split(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
}

// Text is the word in a column, "" if there is no such column.
func (r Row) Text(column string) string {
	i, ok := r.columns[column]
	if !ok {
		return ""
	}
	return r.words[i]
}

// Int is the number in a column, 0 if there is none.
func (r Row) Int(column string) int64 {
	n, err := strconv.ParseInt(r.Text(column), 10, 64)
	if err != nil {
		return 0 // shmmax and the like do not fit; nobody asks for them here
	}
	return n
}

// Float is the number with a fraction in a column, 0 if there is none.
func (r Row) Float(column string) float64 {
	f, _ := strconv.ParseFloat(r.Text(column), 64)
	return f
}

// Name is the word in a column as it was before it was escaped.
func (r Row) Name(column string) string { return Unescape(r.Text(column)) }

// Unescape undoes the escapes of a word of proc: \NNN in octal, as in /proc/self/mounts. "-" is nothing.
func Unescape(word string) string {
	if word == "-" {
		return ""
	}
	if !strings.Contains(word, `\`) {
		return word
	}
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] == '\\' && i+3 < len(word) {
			if n, err := strconv.ParseUint(word[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(word[i])
	}
	return b.String()
}
