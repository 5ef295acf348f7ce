package cli

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"ipcfs/cmd/ipcfs/inspect"
)

func TestStyleShow(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 25, 1, 30, 0, 0, zone)
	for _, c := range []struct {
		s     style
		value any
		want  string
	}{
		{style{}, nil, "-"}, {style{}, "a b", "a b"}, {style{}, "a\nb", `a\012b`}, {style{}, int64(1 << 40), "1099511627776"}, {style{}, perms(0o640), "rw-r-----"},
		{style{}, byteCount(1536), "1.5K"}, {style{bytes: true}, byteCount(1536), "1536"}, {style{}, byteCount(0), "0B"},
		{style{now: now}, moment(0), "-"},
		{style{now: now}, moment(now.Unix()), "01:30"},
		{style{now: now}, moment(now.Unix() - 90*60), "00:00"},
		{style{now: now}, moment(now.Unix() - 91*60), "2026-11-24"},
		{style{now: now}, moment(now.Unix() + 86400), "2026-11-26"},
		{style{now: now, long: true}, moment(now.Unix()), "2026-11-25 01:30:00 +0200"},
		{style{now: now, long: true}, moment(0), "-"},
	} {
		if got := c.s.show(c.value); got != c.want {
			t.Errorf("%v %T: %s, not %s", c.value, c.value, got, c.want)
		}
	}
}

func TestPerms(t *testing.T) {
	for p, want := range map[perms][2]string{0o777: {"rwxrwxrwx", `"0777"`}, 0: {"---------", `"0000"`}, 0o642: {"rw-r---w-", `"0642"`}, 0o111: {"--x--x--x", `"0111"`}} {
		text, err := p.MarshalJSON()
		if p.String() != want[0] || string(text) != want[1] || err != nil {
			t.Errorf("%o: %s, %s, %v", int64(p), p, text, err)
		}
	}
}

// A name does nothing to the terminal, and can be read back.
func TestVisible(t *testing.T) {
	for name, want := range map[string]string{
		"plain": "plain", "with blank": "with blank", "ü€": "ü€", "": "", "a\tb\n": `a\011b\012`, "\x1b[31m": `\033[31m`, `back\slash`: `back\134slash`,
		"\xff\xfe": `\377\376`, "\u202eabc": `\342\200\256abc`, "\u00a0": `\302\240`, "\ufffd": "\ufffd",
	} {
		got := visible(name)
		if got != want || inspect.Unescape(got) != name {
			t.Errorf("%q: %s, and back %q", name, got, inspect.Unescape(got))
		}
	}
}

func TestPrintTable(t *testing.T) {
	headings := []heading{{"KIND", false}, {"N", true}, {"NAME", false}}
	rows := [][]string{{"pipes", "7", "a"}, {"shm", "1234", "ü b"}, {"", "-", ""}}
	for _, c := range []struct {
		bare bool
		rows [][]string
		want string
	}{
		{false, rows, "KIND      N  NAME\npipes     7  a\nshm    1234  ü b\n          -  \n"},
		{true, rows[:2], "pipes     7  a\nshm    1234  ü b\n"},
		{false, nil, "KIND  N  NAME\n"},
		{true, nil, ""},
	} {
		var out bytes.Buffer
		if err := printTable(&out, headings, c.bare, c.rows); err != nil || out.String() != c.want {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
	if err := printTable(full{}, headings, false, rows); err == nil || err.Error() != "standard output: full" {
		t.Error(err)
	}
}

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestFieldsKeepTheirOrder(t *testing.T) {
	var out bytes.Buffer
	err := printJSON(&out, fields{
		{"z", "<&>"}, {"a", nil}, {"m", int64(math.MaxInt64)}, {"s", byteCount(4096)}, {"t", moment(7)}, {"p", perms(0o600)}, {"bad", "\xff"},
		{"list", []fields{{{"x", 1.5}}, {}}}, {"none", []int64{}}, {"y", true},
	})
	const want = `{"z":"<&>","a":null,"m":9223372036854775807,"s":4096,"t":7,"p":"0600","bad":"\\377","list":[{"x":1.5},{}],"none":[],"y":true}` + "\n"
	if err != nil || out.String() != want {
		t.Errorf("%s, %v", out.String(), err)
	}
}

func TestLargeSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 8192: "8K", 18446744073692774399: "16E", 1 << 63: "8E", 1<<63 + 1<<59: "9E", math.MaxUint64: "16E"} {
		if got := largeSize(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 12345 * time.Millisecond: "12.3s", 59999 * time.Millisecond: "59.9s", time.Minute: "1m00s", 3599 * time.Second: "59m59s",
		time.Hour: "1h00m", 25*time.Hour + time.Minute: "1d01h", 24 * time.Hour: "1d00h",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// Each user is looked up once, and one without a name has its number.
func TestNames(t *testing.T) {
	n := newNames()
	if got := n.user("0"); got != "root" || n.users["0"] != "root" {
		t.Error(got)
	}
	n.users["0"] = "known"
	if got := n.user("0"); got != "known" {
		t.Error(got)
	}
	if user, group := n.user("4294900001"), n.group("4294900001"); user != "4294900001" || group != "4294900001" {
		t.Error(user, group)
	}
}

// lines is a table of the expected lines, without the blanks that only indent them in the test.
func lines(text ...string) string { return strings.Join(text, "\n") + "\n" }

// Nothing in JSON does anything to a terminal.
func TestFieldsEscapeControls(t *testing.T) {
	got, err := fields{{"name", "a\u009b\u007f\né"}}.MarshalJSON()
	if want := `{"name":"a\u009b\u007f\né"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
