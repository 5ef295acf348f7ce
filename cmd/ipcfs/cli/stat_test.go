package cli

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// detailsOf are the details of an object of the fixture, but those that its file has.
func detailsOf(t *testing.T, inTree string, ino int64) *details {
	t.Helper()
	in := target{fixture(t), inTree, ino}
	objects, err := in.objects()
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	d := &details{object: objects[0], times: []labeled{{"mtime", "Modified", moment(1000000003)}}}
	if err := d.readLimits(in.mount); err != nil {
		t.Fatal(err)
	}
	s, err := look([]target{in}, machine{})
	if err != nil {
		t.Fatal(err)
	}
	d.keep(s.shown)
	return d
}

func TestStat(t *testing.T) {
	pipe := detailsOf(t, "pipes/a", 7)
	pipe.ring = &ring{slots: 16, tail: 5, head: 7, bufs: []ringBuf{{0, 4096, true, false}, {0, 12, true, false}}}
	segment := detailsOf(t, "shm/s", 20)
	queue := detailsOf(t, "msgq/jobs", 30)
	queue.messages = []messageGroup{{1, 2, 10}, {7, 1, 1}}
	unreadable := detailsOf(t, "msgq/jobs", 30)
	unreadable.noDetail = "the messages cannot be read: no"
	unreadable.files = nil
	for _, c := range []struct {
		name    string
		details *details
		want    string
	}{
		{"pipe", pipe, lines(
			"Name:              pipes/a",
			"Kind:              pipes",
			"Inode:             7",
			"Permissions:       rw------- (0600)",
			"Owner:             root (0), group root (0)",
			"Creator:           root (0), group root (0)",
			"Size:              64K",
			"Used:              4K",
			"Open for reading:  1",
			"Open for writing:  1",
			"Slots:             16",
			"Slots in use:      2",
			"Waiting to open:   0",
			"Waiting to read:   1",
			"Waiting to write:  0",
			"Reads:             3",
			"Bytes read:        8K",
			"Writes:            5",
			"Bytes written:     12K",
			"Modified:          2001-09-09 01:46:43 +0000",
			"Largest size:      1M (pipe-max-size)",
			"",
			"Ring: 2 of 16 slots in use, tail 5, head 7; m: a small write may be added",
			"+0-------+1-------+2-------+3-------+4-------+5-------+6-------+7-------+",
			"|        |        |        |        |        |########|#       |        |",
			"|        |        |        |        |        |   4096m|     12m|        |",
			"+--------+--------+--------+--------+--------+--------+--------+--------+",
			"                                              ^tail             ^head",
			"+8-------+9-------+10------+11------+12------+13------+14------+15------+",
			"|        |        |        |        |        |        |        |        |",
			"|        |        |        |        |        |        |        |        |",
			"+--------+--------+--------+--------+--------+--------+--------+--------+",
			"",
			"Open files:",
			"PID  COMMAND  MODE  WAITS  TID  SINCE  FOR",
			"111  sh       r     READ   111   9.5s  222",
			"222  my prog  w     -        -      -  -",
		)},
		{"segment", segment, lines(
			"Name:                 shm/s",
			"Kind:                 shm",
			"Inode:                20",
			"Permissions:          rw------- (0600)",
			"Owner:                root (0), group root (0)",
			"Creator:              root (0), group root (0)",
			"Size:                 1M",
			"Used:                 8K",
			"Attached:             2",
			"Creator's process:    111",
			"Last user's process:  222",
			"Last attached:        2001-09-09 01:46:40 +0000",
			"Last detached:        -",
			"Last change:          2001-09-09 01:46:41 +0000",
			"Reads:                0",
			"Bytes read:           0B",
			"Writes:               0",
			"Bytes written:        0B",
			"Modified:             2001-09-09 01:46:43 +0000",
			"Largest size:         16E (shmmax)",
			"",
			"Open files: none",
			"",
			"Mapped by:",
			"PID  COMMAND  PERMS  BYTES",
			"111  sh       rw-s      1M",
			"555  -        r--s      4K",
		)},
		{"queue", queue, lines(
			"Last sender's process:    111",
			"Last receiver's process:  222",
			"Last sent:                2001-09-09 01:46:40 +0000",
			"Last received:            2001-09-09 01:47:40 +0000",
			"Waiting to send:          1",
			"Waiting to receive:       0",
			"Last change:              2001-09-09 01:46:42 +0000",
			"Reads:                    1",
			"Bytes read:               2B",
			"Writes:                   4",
			"Bytes written:            13B",
			"Modified:                 2001-09-09 01:46:43 +0000",
			"Largest message:          8K (msgmax)",
			"Size of new queues:       16K (msgmnb)",
			"",
			"Messages by type:",
			"TYPE  MSGS  BYTES",
			"   1     2    10B",
			"   7     1     1B",
			"",
			"Open files:",
			"PID  COMMAND  MODE  WAITS  TID  SINCE  FOR  VIEW",
			"111  sh       rw    WRITE  111  1m00s  222  -",
			"222  my prog  r     -        -      -  -    msgq/jobs:7",
		)},
		{"what cannot be read", unreadable, lines("", "the messages cannot be read: no", "", "Open files: none")},
	} {
		var out strings.Builder
		if err := c.details.print(&out, newNames(), style{long: true, now: time.Unix(1000000060, 0).UTC()}, 80); err != nil {
			t.Error(err)
		}
		got := out.String()
		if !strings.HasPrefix(c.want, "Name:") {
			got = got[max(0, len(got)-len(c.want)):]
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestStatAsJSON(t *testing.T) {
	pipe := detailsOf(t, "pipes/a", 7)
	pipe.ring = &ring{slots: 16}
	queue := detailsOf(t, "msgq/jobs", 30)
	queue.messages, queue.files = []messageGroup{{1, 2, 10}}, nil
	unreadable := detailsOf(t, "msgq/jobs", 30)
	unreadable.noDetail, unreadable.files = "no", nil
	for _, c := range []struct {
		details *details
		want    string // the end
	}{
		{pipe, `"wchar":12300,"name":"pipes/a","mtime":1000000003,"limits":{"pipe-max-size":1048576},"ring":{"slots":16,"head":0,"tail":0,"bufs":[],"complete":true},` +
			`"files":[{"name":"pipes/a","ino":7,"pid":111,"command":"sh","mode":"r","waits":"READ","waiter":111,"tid":111,"since":1000000050.5,"for":[222]},` +
			`{"name":"pipes/a","ino":7,"pid":222,"command":"my prog","mode":"w","waits":null}]}`},
		{detailsOf(t, "shm/s", 20), `"limits":{"shmmax":18446744073692774399},"files":[],"maps":[{"name":"shm/s","ino":20,"pid":111,"command":"sh","perms":"rw-s","bytes":1048576},` +
			`{"name":"shm/s","ino":20,"pid":555,"command":null,"perms":"r--s","bytes":4096}]}`},
		{queue, `"limits":{"msgmax":8192,"msgmnb":16384},"messages":[{"type":1,"count":2,"bytes":10}],"files":[]}`},
		{unreadable, `"limits":{"msgmax":8192,"msgmnb":16384},"problem":"no","files":[]}`},
	} {
		text, err := c.details.fields(newNames()).MarshalJSON()
		if got := string(text[max(0, len(text)-len(c.want)):]); err != nil || got != c.want {
			t.Errorf("%s\n%v", cmp.Diff(c.want, got), err)
		}
	}
}

func TestGroupMessages(t *testing.T) {
	got, err := groupMessages([]byte("type=7 size=1 pid=3 text=a\ntype=1 size=5 pid=3 text=type=\ntype=7 size=0 pid=0 text=\ntype=9223372036854775807 size=3 pid=1 text=\\xff\\n\\\\\n"))
	if want := []messageGroup{{1, 1, 5}, {7, 2, 1}, {9223372036854775807, 1, 3}}; err != nil || cmp.Diff(want, got, cmp.AllowUnexported(messageGroup{})) != "" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := groupMessages(nil); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, line := range []string{"hello\n", "\n", "type=-1 size=1 pid=1 text=a\n", "type=9223372036854775808 size=1 pid=1 text=a\n"} {
		if got, err := groupMessages([]byte(line)); err == nil {
			t.Errorf("%q: taken for %v", line, got)
		}
	}
}

// A directory has no details, and an object that was removed has none any more.
func TestReadDetailsErrors(t *testing.T) {
	m := fixture(t)
	if _, err := readDetails(target{m, "pipes", 0}, "p"); err == nil || err.Error() != "p is a directory; 'ipcfs ls' shows what is in it" {
		t.Error(err)
	}
	if _, err := readDetails(target{m, "pipes/gone", 77}, "p"); err == nil || err.Error() != "p was removed" {
		t.Error(err)
	}
	if _, err := readDetails(target{m, "pipes/a", 7}, "p"); err == nil || err.Error() != "p was removed" { // the table has it still, and no file is there
		t.Error(err)
	}
	if err := os.Remove(m.Path("proc/pipes")); err != nil {
		t.Fatal(err)
	}
	if _, err := readDetails(target{m, "pipes/a", 7}, "p"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
