package cli

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/objects/msgq"
)

// packets is a queue that is not one: what is written to it comes out of peer, write by write.
func packets(t *testing.T) (q *queue, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	return &queue{"q", fds[0]}, fds[1]
}

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"q": true, "/a/q": true, "a:b/q": true, "a:/../q": true, "q/": true, "": false,
		"q:7": false, "a/q:raw": false, "q:": false, ":": false, "a:b/q:7": false, "q:7/": false,
	} {
		err := checkPath(path)
		if usage := (usageError{}); (err == nil) != ok || err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestParseSelector(t *testing.T) {
	for text, want := range map[string]string{
		"": "raw", "1": "1:raw", "7": "7:raw", "-7": "-7:raw", "^7": "^7:raw",
		"9223372036854775807": "9223372036854775807:raw", "-9223372036854775807": "-9223372036854775807:raw",
	} {
		s, err := parseSelector(text)
		if got := rawView(s); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-0", "^0", "+7", "07", "7 ", "^-7", "--7", "raw", "7:raw", "lines", "x", "^", "-", ":", "/", "7/q", "9223372036854775808"} {
		s, err := parseSelector(text)
		if usage := (usageError{}); !errors.As(err, &usage) || s != (msgq.Selector{}) {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "2": 2 * time.Second, "2.5": 2500 * time.Millisecond, "100ms": 100 * time.Millisecond, "1m30s": 90 * time.Second, "0.000000001": 1,
		"9223372036": 9223372036 * time.Second,
	} {
		var v timeout
		if err := v.Set(text); err != nil || v != (timeout{true, want}) {
			t.Errorf("%s: %+v, %v", text, v, err)
		}
		var back timeout
		if err := back.Set(v.String()); err != nil || back != v {
			t.Errorf("%s is shown as %s", text, v.String())
		}
	}
	for _, text := range []string{"", " ", "-1", "-1s", "x", "1x", "1e3", ".5", "1.", "inf", "NaN", "9223372037", "99999999999999999999"} {
		var v timeout
		if err := v.Set(text); err == nil || v.limited {
			t.Errorf("%q is taken for %v", text, v)
		}
	}
	if s := (&timeout{}).String(); s != "" {
		t.Errorf("no timeout is shown as %q", s)
	}
}

func TestFormatJSON(t *testing.T) {
	pid := uint32(0)
	for _, c := range []struct {
		mtype int64
		pid   *uint32
		text  string
		want  string
	}{
		{7, nil, "hello", `{"type":7,"size":5,"text":"hello"}`},
		{1, nil, "", `{"type":1,"size":0,"text":""}`},
		{math.MaxInt64, &pid, "<ü>&\n\"\\\x00", `{"type":9223372036854775807,"size":9,"pid":0,"text":"<ü>&\n\"\\\u0000"}`},
		{1, nil, "\xff\x00", `{"type":1,"size":2,"data":"/wA="}`},
		{1, nil, "\uFFFD", `{"type":1,"size":3,"text":"` + "\uFFFD" + `"}`},
	} {
		line, err := formatJSON(c.mtype, c.pid, []byte(c.text))
		if err != nil || string(line) != c.want+"\n" {
			t.Errorf("%q: %s, %v", c.text, line, err)
		}
		var back message
		if err := json.Unmarshal(line, &back); err != nil || back.Text != nil && *back.Text != c.text || back.Text == nil && string(back.Data) != c.text {
			t.Errorf("%s is read back as %+v, %v", line, back, err)
		}
	}
}

func TestFormat(t *testing.T) {
	f := format{of: []string{"a", "b"}}
	if err := f.Set("b"); err != nil || f.value != "b" {
		t.Errorf("%+v, %v", f, err)
	}
	for _, word := range []string{"", "c", "A", "a,b"} {
		if err := f.Set(word); err == nil || f.value != "b" || !strings.Contains(err.Error(), "a, b") {
			t.Errorf("%q: %+v, %v", word, f, err)
		}
	}
}

func TestWithin(t *testing.T) {
	forever := func() error {
		_, err := unix.Ppoll(nil, nil, nil)
		return err
	}
	const d = 20 * time.Millisecond
	began := time.Now()
	if err := within(d, forever); !errors.Is(err, unix.EINTR) || time.Since(began) < d {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	calls := 0
	err := within(time.Hour, func() error {
		if calls++; calls < 3 { // a signal that is not ours
			return unix.EINTR
		}
		return unix.EIDRM
	})
	if !errors.Is(err, unix.EIDRM) || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}
}
