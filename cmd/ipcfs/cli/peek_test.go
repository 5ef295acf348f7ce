package cli

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParsePeeked(t *testing.T) {
	for line, want := range map[string]peeked{
		"type=7 size=5 pid=123 text=hello":                           {7, 123, []byte("hello")},
		"type=1 size=0 pid=0 text=":                                  {1, 0, []byte{}},
		"type=9223372036854775807 size=1 pid=4294967295 text= ":      {9223372036854775807, 4294967295, []byte(" ")},
		`type=1 size=8 pid=1 text=\\n\n\t\r\x00\xff\\`:               {1, 1, []byte("\\n\n\t\r\x00\xff\\")},
		`type=1 size=10 pid=1 text=\x410 text=ü`:                     {1, 1, []byte("A0 text=ü")},
		`type=1 size=8 pid=1 text=\\x41\\\\x4`:                       {1, 1, []byte(`\x41\\x4`)},
		"type=1 size=30 pid=1 text=type=1 size=0 pid=1 text=\\ntype": {1, 1, []byte("type=1 size=0 pid=1 text=\ntype")},
		"type=1 size=3 pid=1 text=" + "\xe2\x82\xac":                 {1, 1, []byte("€")},
		"type=1 size=4 pid=1 text=" + `\xe2\x82` + "ab":              {1, 1, []byte("\xe2\x82ab")},
		"type=1 size=3 pid=1 text=" + `"'` + "`":                     {1, 1, []byte("\"'`")},
		"type=2 size=1 pid=1 text=" + `\x7f`:                         {2, 1, []byte{0x7f}},
	} {
		if got, err := parsePeeked([]byte(line)); err != nil || cmp.Diff(want, got, cmp.AllowUnexported(peeked{})) != "" {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{
		"", "hello", "type=1 size=1 pid=1 text=", "type=1 size=1 pid=1 text=ab", "type=x size=1 pid=1 text=a", "type=-1 size=1 pid=1 text=a",
		"type=9223372036854775808 size=1 pid=1 text=a", "type=1 size=1 pid=4294967296 text=a", "type=1 size=4294967296 pid=1 text=a", "type=1 size=1 text=a",
		`type=1 size=1 pid=1 text=\`, `type=1 size=1 pid=1 text=\a`, `type=1 size=1 pid=1 text=\x4`, `type=1 size=1 pid=1 text=\xFF`, `type=1 size=1 pid=1 text=\x`,
		"type=1 size=1 pid=1 text=a ", " type=1 size=1 pid=1 text=a",
	} {
		if got, err := parsePeeked([]byte(line)); err == nil {
			t.Errorf("%s: taken for %+v", line, got)
		}
	}
}

func TestPeek(t *testing.T) {
	dir, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if err := peek(&queue{"q", dir}, "text", io.Discard); !errors.Is(err, unix.EISDIR) || err.Error() != "q: is a directory" {
		t.Error(err)
	}
	const text = "type=7 size=1 pid=3 text=a\ntype=1 size=1 pid=3 text=\\xff\n"
	for format, want := range map[string]string{
		"text": text,
		"json": `{"type":7,"size":1,"pid":3,"text":"a"}` + "\n" + `{"type":1,"size":1,"pid":3,"data":"/w=="}` + "\n",
	} {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fds[1], []byte(text)); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fds[1])
		q := &queue{"q", fds[0]}
		var out bytes.Buffer
		if err := peek(q, format, &out); err != nil || out.String() != want {
			t.Errorf("%s: %s, %v", format, out.String(), err)
		}
		q.close()
	}
}
