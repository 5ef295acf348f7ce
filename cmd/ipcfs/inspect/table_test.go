package inspect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseTable(t *testing.T) {
	const text = "  ino bytes since    name\n" +
		"    7     0 1.250000 pipes/a\n" +
		"12345 99999999999 0 pipes/sub/b\\040c\n"
	table, err := ParseTable(text, "ino", "name")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ino", "bytes", "since", "name"}; !slices.Equal(table.Columns, want) {
		t.Errorf("columns %q, want %q", table.Columns, want)
	}
	if len(table.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(table.Rows))
	}
	a, b := table.Rows[0], table.Rows[1]
	if a.Int("ino") != 7 || a.Int("bytes") != 0 || a.Float("since") != 1.25 || a.Text("name") != "pipes/a" || a.Name("name") != "pipes/a" {
		t.Errorf("the first row is %q", a.words)
	}
	if b.Int("ino") != 12345 || b.Int("bytes") != 99999999999 || b.Float("since") != 0 || b.Text("name") != `pipes/sub/b\040c` || b.Name("name") != "pipes/sub/b c" {
		t.Errorf("the second row is %q", b.words)
	}
	if got := table.Sum("bytes"); got != 99999999999 {
		t.Errorf("the sum is %d", got)
	}
	// What is not there, and what is no number.
	if a.Text("nope") != "" || a.Int("nope") != 0 || a.Float("nope") != 0 || a.Name("nope") != "" || a.Int("name") != 0 || a.Float("name") != 0 || table.Sum("nope") != 0 {
		t.Error("a column that is not there has a value")
	}
}

func TestParseTableWithoutRows(t *testing.T) {
	for text, columns := range map[string]int{"": 0, "\n": 0, "   \n": 0, "name": 1, "ino name\n": 2, "  ino   name  \n": 2} {
		table, err := ParseTable(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if len(table.Columns) != columns || len(table.Rows) != 0 {
			t.Errorf("%q: columns %q, %d rows", text, table.Columns, len(table.Rows))
		}
	}
}

// TestParseTableParts: only blanks part words, since whatever else looks like one may stand in a name.
func TestParseTableParts(t *testing.T) {
	for _, name := range []string{"a\tb", "a\vb", "a\u00a0b", "a\u2028b", "a\rb", "\xff\xfe", "日本", `\`} {
		table, err := ParseTable("ino name\n1 " + name + "\n2 next")
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if len(table.Rows) != 2 || table.Rows[0].Text("name") != name || table.Rows[1].Text("name") != "next" {
			t.Errorf("%q: %v", name, table.Rows)
		}
	}
}

func TestParseTableErrors(t *testing.T) {
	for _, c := range []struct{ text, needed, want string }{
		{"", "ino", "there is no column ino; 'ipcfs version' should be that of the daemon"},
		{"ino name\n", "bytes", "there is no column bytes; 'ipcfs version' should be that of the daemon"},
		{"ino name\n1\n", "ino", `a line of 1 words for 2 columns: "1\n"`},
		{"ino name\n1 a b\n", "ino", `a line of 3 words for 2 columns: "1 a b\n"`},
		{"ino name\n1 a\n\n2 b\n", "ino", `a line of 0 words for 2 columns: "\n"`},
		{"ino name\n1 a\n2", "ino", `a line of 1 words for 2 columns: "2"`},
	} {
		if _, err := ParseTable(c.text, c.needed); err == nil || err.Error() != c.want {
			t.Errorf("%q: error %v, want %s", c.text, err, c.want)
		}
	}
	_, err := ParseTable("ino name\n" + strings.Repeat("word ", 100000))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("the error about a line that is long: %.400v", err)
	}
}

func TestUnescape(t *testing.T) {
	for word, want := range map[string]string{
		"": "", "-": "", "--": "--", "pipes/a": "pipes/a",
		`a\040b`: "a b", `\011\012`: "\t\n", `\134`: `\`, `\134040`: `\040`, `\177\001`: "\x7f\x01", `\303\274`: "ü", `\377\000`: "\xff\x00",
		`pipes/p\040(deleted)`: "pipes/p (deleted)",
		// What is no escape stays as it is: three octal digits of at most \377.
		`\`: `\`, `\0`: `\0`, `\04`: `\04`, `a\`: `a\`, `\400`: `\400`, `\777`: `\777`, `\08a`: `\08a`, `\999`: `\999`, `\x20`: `\x20`, `\+12`: `\+12`, `\-12`: `\-12`,
		`\1_2`: `\1_2`, `\ 12`: `\ 12`, `\\040`: `\ `,
	} {
		if got := Unescape(word); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", word, got, want)
		}
	}
}

// escaped writes a name as /proc/self/mounts does, and proc of an ipcfs.
func escaped(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f || c == '\\' {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func FuzzUnescape(f *testing.F) {
	for _, name := range []string{"pipes/a b", `\040`, `\\`, "\n", "\xff", "ü\x7f"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		_ = Unescape(name) // does not panic
		word := escaped(name)
		if name != "-" && Unescape(word) != name {
			t.Fatalf("%q is written as %q, and read as %q", name, word, Unescape(word))
		}
		table, err := ParseTable("ino name\n1 x" + word + "\n")
		if err != nil || len(table.Rows) != 1 || table.Rows[0].Name("name") != "x"+name {
			t.Fatalf("the row of %q is not what it was: %v", name, err)
		}
	})
}
