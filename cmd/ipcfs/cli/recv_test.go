package cli

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestShow(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{"text", "a", "a\n"}, {"text", "a\n", "a\n"}, {"text", "a\n\n", "a\n\n"}, {"text", "", "\n"}, {"text", "\n", "\n"}, {"text", "\xff\x00", "\xff\x00\n"},
		{"raw", "a", "a"}, {"raw", "a\n", "a\n"}, {"raw", "", ""}, {"raw", "\xff\x00", "\xff\x00"},
		{"json", "a\n", `{"type":7,"size":2,"text":"a\n"}` + "\n"}, {"json", "\xff", `{"type":7,"size":1,"data":"/w=="}` + "\n"},
	} {
		config := recvConfig{format: format{value: c.format}}
		if got, err := config.show(7, []byte(c.text)); err != nil || string(got) != c.want {
			t.Errorf("%s of %q: %q, %v", c.format, c.text, got, err)
		}
	}
}

func TestNone(t *testing.T) {
	for selector, want := range map[string]string{
		"": "q has no message now", "7": "q has no message of type 7 now", "-7": "q has no message of type 7 or below now", "^7": "q has no message of a type other than 7 now",
	} {
		if got := (&recvConfig{selector: selector, timeout: timeout{true, 0}}).none("q").Error(); got != want {
			t.Errorf("%s: %s", selector, got)
		}
	}
	if got := (&recvConfig{timeout: timeout{true, 1e8}}).none("q").Error(); got != "q: no message came within 100ms" {
		t.Error(got)
	}
}

func TestReceiverNext(t *testing.T) {
	q, peer := packets(t)
	send := func(mtype uint64, text string) {
		if _, err := unix.Write(peer, append(binary.NativeEndian.AppendUint64(nil, mtype), text...)); err != nil {
			t.Error(err)
		}
	}
	wait := func(d time.Duration) *receiver {
		return &receiver{queue: q, out: output{io.Discard, -1}, timeout: timeout{true, d}, buf: make([]byte, firstRoom)}
	}
	const d = 20 * time.Millisecond
	began := time.Now()
	if _, _, err := wait(d).next(); !errors.Is(err, errNone) || time.Since(began) < d {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if _, _, err := wait(0).next(); !errors.Is(err, errNone) {
		t.Error(err)
	}
	send(7, "")
	if mtype, text, err := wait(0).next(); mtype != 7 || len(text) != 0 || err != nil {
		t.Errorf("%d %q %v", mtype, text, err)
	}
	go send(1<<62, "hello")
	if mtype, text, err := wait(time.Hour).next(); mtype != 1<<62 || string(text) != "hello" || err != nil {
		t.Errorf("%d %q %v", mtype, text, err)
	}
}

// With an output that nobody reads no message is taken, be it there before or not.
func TestReceiverOutputGone(t *testing.T) {
	q, peer := packets(t)
	var out [2]int
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(out[1])
	r := &receiver{queue: q, out: output{io.Discard, int32(out[1])}, buf: make([]byte, firstRoom)}
	gone := make(chan error, 1)
	go func() {
		_, _, err := r.next()
		gone <- err
	}()
	_ = unix.Close(out[0])
	if err := <-gone; !errors.Is(err, errOutputGone) {
		t.Error(err)
	}
	if _, err := unix.Write(peer, make([]byte, typeSize)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.next(); !errors.Is(err, errOutputGone) {
		t.Error(err)
	}
	if n, err := unix.Read(q.fd, make([]byte, typeSize)); n != typeSize || err != nil {
		t.Errorf("the message is gone: %d, %v", n, err)
	}
}
