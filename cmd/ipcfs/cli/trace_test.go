package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const tracedLines = `1000000000.000123     111 sh              READ        pipes/a 5 ok 0.000123
1000000001.500000     222 my\040prog       RENAME      pipes/a->pipes/b\012 - EACCES 12.000001
# dropped 17
1000000002.000000       0 -               OPEN        - - ok 0.000000
`

func TestTraceName(t *testing.T) {
	for _, c := range []struct {
		inTree string
		isDir  bool
		want   string
	}{
		{".", true, "proc/trace"}, {"msgq", true, "proc/trace:msgq/*"}, {"pipes/sub", true, "proc/trace:pipes/sub/*"}, {"msgq/jobs", false, "proc/trace:msgq/jobs"},
		{"pipes/[a]*?/b[c]*?\\", false, `proc/trace:pipes/[a]*?/b\[c]\*\?\\`},
	} {
		if got := traceName(c.inTree, c.isDir); got != c.want {
			t.Errorf("%s: %s", c.inTree, got)
		}
	}
}

// inPieces returns text in pieces of n bytes, then err.
func inPieces(text string, n int, err error) func() ([]byte, error) {
	return func() ([]byte, error) {
		if text == "" {
			return nil, err
		}
		piece := text[:min(n, len(text))]
		text = text[len(piece):]
		return []byte(piece), nil
	}
}

func TestTracePrint(t *testing.T) {
	defer func(zone *time.Location) { time.Local = zone }(time.Local)
	time.Local = time.UTC
	first := "01:46:40.000123      111  sh               READ                5  ok              123µs  pipes/a\n"
	table := traceHeading + first +
		"01:46:41.500000      222  my prog          RENAME              -  EACCES     12.000001s  pipes/a->pipes/b\\012\n" +
		"# 17 operations left out: they came faster than they were printed\n" +
		"01:46:42.000000        0  -                OPEN                -  ok                 0s  -\n"
	asJSON := lines(
		`{"time":1000000000.000123,"pid":111,"command":"sh","operation":"READ","path":"pipes/a","bytes":5,"result":"ok","duration":0.000123}`,
		`{"time":1000000001.500000,"pid":222,"command":"my prog","operation":"RENAME","path":"pipes/a->pipes/b\n","bytes":null,"result":"EACCES","duration":12.000001}`,
		`{"dropped":17}`,
		`{"time":1000000002.000000,"pid":0,"command":null,"operation":"OPEN","path":null,"bytes":null,"result":"ok","duration":0.000000}`,
	)
	for _, c := range []struct {
		config traceConfig
		want   string
	}{
		{traceConfig{}, table},
		{traceConfig{json: true}, asJSON},
		{traceConfig{count: 1}, traceHeading + first},
		{traceConfig{count: 1, noheadings: true}, first},
		{traceConfig{count: 3}, table},
	} {
		for _, n := range []int{1, 7, 100, 1000} {
			var out bytes.Buffer
			if err := c.config.print(inPieces(tracedLines, n, io.EOF), &out); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Errorf("%+v in pieces of %d:\n%s", c.config, n, diff)
			}
		}
	}
	if want := "TIME                 PID  COMMAND          OPERATION       BYTES  RESULT       DURATION  PATH\n"; traceHeading != want {
		t.Errorf("%q", traceHeading)
	}
}

// What was read is printed before more is waited for.
func TestTracePrintsAtOnce(t *testing.T) {
	var out bytes.Buffer
	calls := 0
	err := (&traceConfig{json: true}).print(func() ([]byte, error) {
		calls++
		switch calls {
		case 1:
			return []byte("# dropped 1\n# dropped"), nil
		case 2:
			if out.String() != `{"dropped":1}`+"\n" {
				t.Errorf("%q", out.String())
			}
			return []byte(" 2\n"), nil
		}
		return nil, io.EOF
	}, &out)
	if err != nil || out.String() != lines(`{"dropped":1}`, `{"dropped":2}`) {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestTracePrintErrors(t *testing.T) {
	for _, line := range []string{"", "hello", "1 2 c O p - ok", "1 2 c O p - ok 1 2", "x 2 c O p - ok 1", "1 x c O p - ok 1", "1 2 c O p x ok 1", "1 2 c O p - ok x", "# dropped", "# dropped x",
		"-1 2 c O p - ok 1", "1 2 c O p - ok -1", "1.1234567890 2 c O p - ok 1", "1 2 c O p - ok 1e3"} {
		err := (&traceConfig{}).print(inPieces(line+"\n", 1000, io.EOF), io.Discard)
		if err == nil || !strings.HasSuffix(err.Error(), "'ipcfs version' should be that of the daemon") {
			t.Errorf("%s: %v", line, err)
		}
	}
	if err := (&traceConfig{}).print(inPieces(tracedLines, 50, unix.ENOTCONN), io.Discard); !errors.Is(err, unix.ENOTCONN) {
		t.Error(err)
	}
	if err := (&traceConfig{}).print(inPieces(tracedLines, 50, io.EOF), full{}); err == nil || err.Error() != "standard output: full" {
		t.Error(err)
	}
}

// A read that waits does not keep the command from ending.
func TestTraceSource(t *testing.T) {
	open := func() (fds [2]int) {
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		return fds
	}
	fds := open()
	interrupted, gone := make(chan os.Signal, 1), make(chan struct{})
	next := source(fds[0], interrupted, gone)
	for _, text := range []string{"a", "bc\n"} {
		if _, err := unix.Write(fds[1], []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := next(); string(got) != text || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	interrupted <- unix.SIGINT
	if _, err := next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	close(gone)
	if _, err := next(); !errors.Is(err, errOutputGone) {
		t.Error(err)
	}
	_ = unix.Close(fds[1])
	fds = open()
	_ = unix.Close(fds[1])
	if _, err := source(fds[0], nil, nil)(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := source(-1, nil, nil)(); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
}
