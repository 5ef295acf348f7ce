package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

// How the commands that look into a mount show what they found: as a table for people, or as JSON with the values as they are.

// A value is a string, an int64, nil for what does not apply, or one of these.
type (
	byteCount int64 // shown as 1.5K, or as it is
	moment    int64 // seconds since 1970, 0 for never
	perms     int64 // the nine bits
)

// MarshalJSON writes the mode as chmod(1) takes it: JSON has no octal numbers.
func (p perms) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%04o"`, int64(p)), nil }

// String is the mode as ls(1) shows it, without the type.
func (p perms) String() string {
	const all = "rwxrwxrwx"
	text := []byte(all)
	for i := range text {
		if p>>(len(all)-1-i)&1 == 0 {
			text[i] = '-'
		}
	}
	return string(text)
}

// style is how values are written in a table.
type style struct {
	bytes bool      // sizes in bytes
	long  bool      // times with date, seconds and zone
	now   time.Time // decides what is today, and in which zone
}

// show writes a value as a cell.
func (s style) show(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		return visible(v)
	case byteCount:
		if s.bytes {
			return strconv.FormatInt(int64(v), 10)
		}
		return inspect.Size(int64(v))
	case moment:
		return s.time(int64(v))
	}
	return fmt.Sprint(value)
}

// time writes a time as lsipc(1) does: of today's the hour, of others the date.
func (s style) time(seconds int64) string {
	if seconds == 0 {
		return "-"
	}
	t := time.Unix(seconds, 0).In(s.now.Location())
	switch {
	case s.long:
		return t.Format("2006-01-02 15:04:05 -0700")
	case t.Format(time.DateOnly) == s.now.Format(time.DateOnly):
		return t.Format("15:04")
	}
	return t.Format(time.DateOnly)
}

// visible writes a name so that it is a part of one line and does nothing to a terminal: what cannot be printed, and the backslash, as \NNN in octal, which
// is how the files of proc do it.
func visible(name string) string {
	plain := func(r rune, n int) bool { return unicode.IsPrint(r) && r != '\\' && (r != utf8.RuneError || n > 1) }
	var b strings.Builder
	for rest := name; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		if plain(r, n) {
			b.WriteString(rest[:n])
		} else {
			for _, c := range []byte(rest[:n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		rest = rest[n:]
	}
	return b.String()
}

// named is visible, and "-" for what has no name.
func named(name string) string {
	if name == "" {
		return "-"
	}
	return visible(name)
}

// orNull is a name as a value: nil if there is none.
func orNull(name string) any {
	if name == "" {
		return nil
	}
	return name
}

// exactText is a string for JSON, which holds only UTF-8: others are written as in a table.
func exactText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return visible(s)
}

// names are the names of users and groups that were looked up before.
type names struct{ users, groups map[string]string }

// newNames makes an empty one.
func newNames() *names { return &names{map[string]string{}, map[string]string{}} }

// user is the name of a user, the number if there is none.
func (n *names) user(uid string) string {
	return cached(n.users, uid, func() (string, error) {
		u, err := user.LookupId(uid)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

// group is the name of a group, the number if there is none.
func (n *names) group(gid string) string {
	return cached(n.groups, gid, func() (string, error) {
		g, err := user.LookupGroupId(gid)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// cached is what known holds for id; it looks it up the first time.
func cached(known map[string]string, id string, lookUp func() (string, error)) string {
	name, ok := known[id]
	if !ok {
		var err error
		if name, err = lookUp(); err != nil || name == "" {
			name = id
		}
		known[id] = name
	}
	return name
}

// heading is a column of a table.
type heading struct {
	name  string
	right bool // numbers stand at the right
}

// printTable prints rows of cells, which have no control characters in them, below their headings unless bare.
func printTable(w io.Writer, headings []heading, bare bool, rows [][]string) error {
	widths := make([]int, len(headings)) // of what stands at the right; the rest tabwriter does
	for i, h := range headings {
		if !h.right {
			continue
		}
		if !bare {
			widths[i] = utf8.RuneCountInString(h.name)
		}
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	buffered := bufio.NewWriter(w)
	table := tabwriter.NewWriter(buffered, 0, 8, 2, ' ', 0)
	line := func(cell func(i int) string) {
		for i := range headings {
			end := "\t"
			if i == len(headings)-1 {
				end = "\n"
			}
			fmt.Fprintf(table, "%*s%s", widths[i], cell(i), end)
		}
	}
	if !bare {
		line(func(i int) string { return headings[i].name })
	}
	for _, row := range rows {
		line(func(i int) string { return row[i] })
	}
	if err := table.Flush(); err != nil {
		return outputError(err)
	}
	if err := buffered.Flush(); err != nil {
		return outputError(err)
	}
	return nil
}

// fields is a JSON object whose members stay in order.
type fields []field

type field struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (f fields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	encode := func(v any) error {
		switch plain := v.(type) { // for most the encoder is not needed, which takes longer
		case int64:
			b.WriteString(strconv.FormatInt(plain, 10))
			return nil
		case byteCount:
			b.WriteString(strconv.FormatInt(int64(plain), 10))
			return nil
		case string:
			if !strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
				b.WriteString(`"` + plain + `"`)
				return nil
			}
			v = exactText(plain)
		}
		from := b.Len()
		err := e.Encode(v)
		text := bytes.TrimSuffix(b.Bytes()[from:], []byte{'\n'})
		b.Truncate(from)
		for _, r := range string(text) { // JSON takes the other control characters as they are, but a terminal acts on them
			if unicode.IsControl(r) {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
		return err
	}
	b.WriteByte('{')
	for i, member := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(member.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(member.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// jsonLine is a value as a line.
func jsonLine(value any) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return line.Bytes(), err
}

// printJSON prints a value as a line.
func printJSON(w io.Writer, value any) error {
	line, err := jsonLine(value)
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return outputError(err)
	}
	return nil
}

// largeSize is inspect.Size for what may be as large as SHMMAX.
func largeSize(n uint64) string {
	if n > math.MaxInt64 {
		return strconv.FormatUint(n>>60+n>>59&1, 10) + "E"
	}
	return inspect.Size(int64(n))
}

// ago writes how long something took that is not over.
func ago(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// terminalWidth is how many columns the terminal has that out is, 80 if it is none.
func terminalWidth(out io.Writer) int {
	if out == io.Writer(os.Stdout) {
		if size, err := unix.IoctlGetWinsize(unix.Stdout, unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}
