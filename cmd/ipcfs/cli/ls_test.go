package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// list is what ls prints of a part of the fixture.
func (c *lsConfig) list(t *testing.T, of target) string {
	t.Helper()
	objects, err := of.objects()
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := c.columns(of.kind())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.print(&out, objects, chosen, time.Unix(1000000100, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLs(t *testing.T) {
	m := fixture(t)
	for _, c := range []struct {
		config lsConfig
		inTree string
		want   string
	}{
		{lsConfig{}, ".", lines(
			"KIND   PERMS      OWNER  SIZE  USED  WAITERS  NAME",
			"pipes  rw-------  root    64K    4K        1  pipes/a",
			"pipes  rw-r--r--  99999    4K    0B        2  pipes/sub/b c",
			"pipes  rw-------  root    64K    0B        0  pipes/old (deleted)",
			"shm    rw-------  root     1M    8K        0  shm/s",
			"shm    rw-------  root     4K    0B        0  -",
			"msgq   rw--w----  root    16K   11B        1  msgq/jobs",
		)},
		{lsConfig{bytes: true}, "pipes", lines(
			"PERMS      OWNER  READERS  WRITERS   SIZE  USED  OPENING  READING  WRITING  NAME",
			"rw-------  root         1        1  65536  4108        0        1        0  pipes/a",
			"rw-r--r--  99999        0        2   4096     0        2        0        0  pipes/sub/b c",
			"rw-------  root         1        0  65536     0        0        0        0  pipes/old (deleted)",
		)},
		{lsConfig{}, "shm", lines(
			"PERMS      OWNER  SIZE  USED  NATTCH  CPID  LPID  ATTACH  DETACH  NAME",
			"rw-------  root     1M    8K       2   111   222  01:46   -       shm/s",
			"rw-------  root     4K    0B       0   111     0  -       -       -",
		)},
		{lsConfig{}, "msgq", lines(
			"PERMS      OWNER  SIZE  USED  MSGS  SENDING  RECEIVING  LSPID  LRPID  SEND   RECV   NAME",
			"rw--w----  root    16K   11B     3        1          0    111    222  01:46  01:47  msgq/jobs",
		)},
		{lsConfig{output: "name,Ino,MSGS"}, ".", lines(
			"NAME                 INO  MSGS",
			"pipes/a                7     -",
			"pipes/sub/b c          8     -",
			"pipes/old (deleted)    9     -",
			"shm/s                 20     -",
			"-                     21     -",
			"msgq/jobs             30     3",
		)},
		{lsConfig{output: "NAME", noheadings: true}, "pipes/sub", "pipes/sub/b c\n"},
		{lsConfig{}, "pipes/none", "PERMS  OWNER  READERS  WRITERS  SIZE  USED  OPENING  READING  WRITING  NAME\n"},
		{lsConfig{json: true, output: "NAME,OWNER,PERMS,SIZE,MSGS,CTIME"}, ".", lines(
			`{"objects":[`,
			`{"name":"pipes/a","owner":"root","perms":"0600","size":65536},`,
			`{"name":"pipes/sub/b c","owner":"99999","perms":"0644","size":4096},`,
			`{"name":"pipes/old (deleted)","owner":"root","perms":"0600","size":65536},`,
			`{"name":"shm/s","owner":"root","perms":"0600","size":1048576,"ctime":1000000001},`,
			`{"name":null,"owner":"root","perms":"0600","size":4096,"ctime":0},`,
			`{"name":"msgq/jobs","owner":"root","perms":"0620","size":16384,"msgs":3,"ctime":1000000002}`,
			`]}`,
		)},
		{lsConfig{json: true}, "pipes/none", `{"objects":[]}` + "\n"},
	} {
		if diff := cmp.Diff(c.want, c.config.list(t, target{mount: m, inTree: c.inTree})); diff != "" {
			t.Errorf("%+v %s:\n%s", c.config, c.inTree, diff)
		}
	}
}

// JSON without --output has all that there is.
func TestLsAllAsJSON(t *testing.T) {
	text := (&lsConfig{json: true}).list(t, target{mount: fixture(t), inTree: "msgq"})
	var got struct{ Objects []map[string]any }
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Objects) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	want := map[string]any{
		"kind": "msgq", "ino": 30.0, "perms": "0620", "owner": "root", "uid": 0.0, "group": "root", "gid": 0.0, "creator": "root", "cuid": 0.0, "cgroup": "root", "cgid": 0.0,
		"size": 16384.0, "used": 11.0, "waiters": 1.0, "msgs": 3.0, "lspid": 111.0, "lrpid": 222.0, "send": 1000000000.0, "recv": 1000000060.0, "sending": 1.0,
		"receiving": 0.0, "ctime": 1000000002.0, "syscr": 1.0, "rchar": 2.0, "syscw": 4.0, "wchar": 13.0, "name": "msgq/jobs",
	}
	if diff := cmp.Diff(want, got.Objects[0]); diff != "" {
		t.Error(diff)
	}
}

func TestChooseColumns(t *testing.T) {
	for _, c := range []struct{ names, kind, want string }{
		{"BOGUS", "", `--output: no column "BOGUS"; there are KIND, INO, `},
		{"NAME,", "", `--output: no column ""; there are KIND, `},
		{"MSGS", "pipes", `--output: no column "MSGS" of pipes; there are KIND, `},
	} {
		_, err := chooseColumns(c.names, c.kind)
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s of %s: %v", c.names, c.kind, err)
		}
	}
	for kind, names := range defaultColumns {
		if _, err := chooseColumns(names, kind); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestCompleteColumns(t *testing.T) {
	for typed, want := range map[string]string{"si": "SIZE", "NAME,rea": "NAME,READERS NAME,READING", "x": "", "NAME,MSGS,": "NAME,MSGS,KIND NAME,MSGS,INO"} {
		names, directive := completeColumns(nil, nil, typed)
		var words []string
		for _, n := range names[:min(2, len(names))] {
			word, _, _ := strings.Cut(n, "\t")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); got != want || directive != cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace {
			t.Errorf("%s: %s", typed, got)
		}
	}
}

// A name does not get out of its row.
func TestLsNameIsOneLine(t *testing.T) {
	m := fixture(t)
	header, _, _ := strings.Cut(procFixture["proc/msgq"], "\n")
	text := header + "\n1 600 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 msgq/\\012\\033[2J\xff\\134\n"
	if err := os.WriteFile(m.Path("proc/msgq"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := (&lsConfig{output: "NAME"}).list(t, target{mount: m, inTree: "msgq"}); got != "NAME\n"+`msgq/\012\033[2J\377\134`+"\n" {
		t.Errorf("%q", got)
	}
	if got := (&lsConfig{output: "NAME", json: true}).list(t, target{mount: m, inTree: "msgq"}); got != "{\"objects\":[\n"+`{"name":"msgq/\\012\\033[2J\\377\\134"}`+"\n]}\n" {
		t.Errorf("%q", got)
	}
}

func BenchmarkLs(b *testing.B) {
	var text strings.Builder
	header, _, _ := strings.Cut(procFixture["proc/pipes"], "\n")
	text.WriteString(header + "\n")
	for i := range 10000 {
		fmt.Fprintf(&text, "%10d   600     0     0     0     0       0       0          0     0    16     0     0      0        0        0        0        0 pipes/%d\n", i, i)
	}
	m := fixture(b)
	if err := os.WriteFile(m.Path("proc/pipes"), []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, c := range []lsConfig{{}, {json: true}} {
		b.Run(fmt.Sprintf("json=%v", c.json), func(b *testing.B) {
			for b.Loop() {
				objects, err := target{mount: m, inTree: "."}.objects()
				if err != nil {
					b.Fatal(err)
				}
				chosen, _ := c.columns("")
				if err := c.print(new(bytes.Buffer), objects, chosen, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
