package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLimits(t *testing.T) {
	m := fixture(t)
	amounts, err := readLimits(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config limitsConfig
		want   string
	}{
		{limitsConfig{}, lines(
			"RESOURCE  DESCRIPTION                                                          LIMIT  USED    USE%",
			"MSGMNI    Number of message queues                                             32000     1   0.00%",
			"MSGMAX    Max size of message (bytes)                                             8K     -       -",
			"MSGMNB    Default max size of queue (bytes)                                      16K     -       -",
			"SHMMNI    Shared memory segments                                                4096  1024  25.00%",
			"SHMALL    Shared memory pages                                   18446744073692774399     2   0.00%",
			"SHMMAX    Max size of shared memory segment (bytes)                              16E     -       -",
			"PIPEMAX   Max size of pipe of a user without privilege (bytes)                    1M     -       -",
			"PIPESOFT  Pages of pipes of a user, then pipes are small                       16384     -       -",
			"PIPEHARD  Pages of pipes of a user, then there are no more                         -     -       -",
			"MEMORY    Memory of pipes and queues (bytes)                                      1G    8K   0.00%",
			"INODES    Number of files and directories                                    1048576    12   0.00%",
			"SYMLINKS  Targets of symbolic links (bytes)                                      16M    0B   0.00%",
		)},
		{limitsConfig{json: true}, `{"limits":[` + strings.Join([]string{
			`{"resource":"MSGMNI","description":"Number of message queues","limit":32000,"used":1}`,
			`{"resource":"MSGMAX","description":"Max size of message (bytes)","limit":8192,"used":null}`,
			`{"resource":"MSGMNB","description":"Default max size of queue (bytes)","limit":16384,"used":null}`,
			`{"resource":"SHMMNI","description":"Shared memory segments","limit":4096,"used":1024}`,
			`{"resource":"SHMALL","description":"Shared memory pages","limit":18446744073692774399,"used":2}`,
			`{"resource":"SHMMAX","description":"Max size of shared memory segment (bytes)","limit":18446744073692774399,"used":null}`,
			`{"resource":"PIPEMAX","description":"Max size of pipe of a user without privilege (bytes)","limit":1048576,"used":null}`,
			`{"resource":"PIPESOFT","description":"Pages of pipes of a user, then pipes are small","limit":16384,"used":null}`,
			`{"resource":"PIPEHARD","description":"Pages of pipes of a user, then there are no more","limit":null,"used":null}`,
			`{"resource":"MEMORY","description":"Memory of pipes and queues (bytes)","limit":1073741824,"used":8192}`,
			`{"resource":"INODES","description":"Number of files and directories","limit":1048576,"used":12}`,
			`{"resource":"SYMLINKS","description":"Targets of symbolic links (bytes)","limit":16777216,"used":0}`,
		}, ",") + "]}\n"},
	} {
		var out bytes.Buffer
		if err := c.config.print(&out, amounts); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%+v:\n%s", c.config, diff)
		}
	}
	var out bytes.Buffer
	if err := (&limitsConfig{bytes: true, noheadings: true}).print(&out, amounts[1:2]); err != nil || out.String() != "MSGMAX  Max size of message (bytes)  8192  -  -\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// A daemon that tells less than it should is of another version.
func TestReadLimitsErrors(t *testing.T) {
	m := fixture(t)
	for _, c := range []struct{ file, text, want string }{
		{"proc/sys/kernel/msgmax", "many\n", m.Path("proc/sys/kernel/msgmax") + `: "many\n" is not a number`},
		{"proc/metrics", "ipcfs_ids{kind=\"msgq\"} 1\n", m.Path("proc/metrics") + `: there is no ipcfs_ids{kind="shm"}; 'ipcfs version' should be that of the daemon`},
	} {
		if err := os.WriteFile(m.Path(c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readLimits(m); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.file, err)
		}
		if err := os.WriteFile(m.Path(c.file), []byte(procFixture[c.file]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseMetrics(t *testing.T) {
	got := parseMetrics(`# HELP a_b what it is
# TYPE a_b gauge
a_b 1
a_c{kind="x y",how="}"} 2.5e+03 1700000000
a_d{le="+Inf"} +Inf
a_e
a_f x

 a_g	7
a_h{}3
`)
	if inf := got[`a_d{le="+Inf"}`]; inf <= 1e308 {
		t.Error(inf)
	}
	delete(got, `a_d{le="+Inf"}`)
	if diff := cmp.Diff(map[string]float64{"a_b": 1, `a_c{kind="x y",how="}"}`: 2500, "a_h{}": 3, "a_g": 7}, got); diff != "" {
		t.Error(diff)
	}
}
