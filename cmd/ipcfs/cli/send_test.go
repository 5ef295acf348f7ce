package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

func TestParseType(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "7": 7, "9223372036854775807": 9223372036854775807} {
		if n, err := parseType(text); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "-7", "^7", "+7", "x", "1.0", "0x1", " 1", "9223372036854775808"} {
		n, err := parseType(text)
		if usage := (usageError{}); !errors.As(err, &usage) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

// received are the packets that came, those of struct msgbuf as TYPE:TEXT.
func received(t *testing.T, fd int, raw bool) (list []string) {
	t.Helper()
	for buf := make([]byte, 1<<20); ; {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return list
		case err != nil || raw && n < typeSize:
			t.Fatalf("%d bytes, %v", n, err)
		case raw:
			list = append(list, fmt.Sprintf("%d:%s", binary.NativeEndian.Uint64(buf), buf[typeSize:n]))
		default:
			list = append(list, string(buf[:n]))
		}
	}
}

// However standard input comes, its records are the messages.
func TestSendRecords(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil}, {"\x00", []string{""}}, {"a", []string{"a"}}, {"a\x00", []string{"a"}}, {"a\x00b", []string{"a", "b"}}, {"\x00\x00a\x00", []string{"", "", "a"}},
		{"one\ntwo\x00three\n\x00", []string{"one\ntwo", "three\n"}},
	} {
		for name, split := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader} {
			q, peer := packets(t)
			s := &sender{raw: q, mtype: 7}
			err := s.sendRecords(split(strings.NewReader(c.text)), 0, s.sendEach)
			var want []string
			for _, text := range c.want {
				want = append(want, "7:"+text)
			}
			if got := received(t, peer, true); err != nil || !slices.Equal(got, want) || s.sent != len(want) {
				t.Errorf("%q %s: %q, %d sent, %v", c.text, name, got, s.sent, err)
			}
		}
	}
}

// Lines go out as they come, whole, and many at once; the last without its newline by itself.
func TestSendLines(t *testing.T) {
	r := iotest.DataErrReader(io.MultiReader(strings.NewReader("a\nb"), strings.NewReader("b\n\nc\nd"), strings.NewReader("d"), strings.NewReader("d")))
	q, peer := packets(t)
	lines, linesPeer := packets(t)
	s := &sender{raw: q, lines: lines, mtype: 1}
	if err := s.sendRecords(r, '\n', s.sendLines); err != nil || s.sent != 5 {
		t.Errorf("%d sent, %v", s.sent, err)
	}
	if got := received(t, linesPeer, false); !slices.Equal(got, []string{"a\n", "bb\n\nc\n"}) {
		t.Errorf("%q", got)
	}
	if got := received(t, peer, true); !slices.Equal(got, []string{"1:ddd"}) {
		t.Errorf("%q", got)
	}
}

// What came before an error of standard input is sent, but no part of a record.
func TestSendRecordsInputFails(t *testing.T) {
	q, peer := packets(t)
	s := &sender{raw: q, mtype: 1}
	err := s.sendRecords(io.MultiReader(strings.NewReader("a\x00b"), iotest.ErrReader(unix.EIO)), 0, s.sendEach)
	if err == nil || err.Error() != "standard input: input/output error" {
		t.Error(err)
	}
	if got := received(t, peer, true); !slices.Equal(got, []string{"1:a"}) {
		t.Errorf("%q", got)
	}
}

// A record longer than any message can be is refused before it has been read to its end.
func TestSendRecordsTooLong(t *testing.T) {
	q, peer := packets(t)
	s := &sender{raw: q, mtype: 1}
	err := s.sendRecords(io.MultiReader(strings.NewReader("a\x00"), bytes.NewReader(make([]byte, 0)), endless{}), 0, s.sendEach)
	if err == nil || err.Error() != "q: message 2 is longer than 1040384 bytes, and no queue takes that; the one before it was sent" {
		t.Error(err)
	}
	if got := received(t, peer, true); !slices.Equal(got, []string{"1:a"}) {
		t.Errorf("%q", got)
	}
}

type endless struct{}

// Read never ends.
func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestSendFailed(t *testing.T) {
	for _, c := range []struct {
		err  error
		wait timeout
		sent int
		size int
		want string
	}{
		{unix.EAGAIN, timeout{true, 0}, 0, 1, "q has no room now for a message of 1 byte"},
		{unix.EAGAIN, timeout{true, 2e9}, 0, 2, "q had no room within 2s for a message of 2 bytes"},
		{unix.EAGAIN, timeout{true, 2e9}, 1, 0, "q had no room within 2s for message 2 (0 bytes); the one before it was sent"},
		{unix.EINVAL, timeout{}, 2, 9000, "q does not take message 3 (9000 bytes): that is more than msgmax, which 'ipcfs mount --msgmax' sets; the 2 before it were sent"},
		{unix.ENOMEM, timeout{}, 0, 5, "q: no memory is left for a message of 5 bytes; 'ipcfs mount --memory' sets how much the mount has"},
		{unix.EIDRM, timeout{}, 3, 5, "q was removed; the 3 before it were sent"},
		{unix.EIO, timeout{}, 0, 5, "q: input/output error"},
	} {
		s := &sender{raw: &queue{path: "q"}, timeout: c.wait, sent: c.sent}
		if got := s.failed(c.err, c.size).Error(); got != c.want {
			t.Errorf("%v: %s", c.err, got)
		}
	}
}
