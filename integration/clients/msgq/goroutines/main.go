// Goroutines is a client of a message queue written in Go: files of package os, which wait in the runtime's poller. It runs the scenario that its first argument
// names on the queue at the path that the second one names, which is empty, and is left so, or removed.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	queue     string
	scenarios = map[string]func(){
		"deadlines": deadlines, "views": views, "closing": closing, "removed": removed, "jobs": jobs, "priorities": priorities,
		"replies": replies, "serve": serve, "ask": ask, "peek": peek, "lines": lines, "raw": raw,
	}
)

func main() {
	queue = os.Args[2]
	scenarios[os.Args[1]]()
}

// expect ends the client if a condition does not hold.
func expect(holds bool, format string, args ...any) {
	if !holds {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		os.Exit(1)
	}
}

func check(err error) { expect(err == nil, "%v", err) }

// open opens a view of the queue as a file that waits in the poller: the runtime finds out by itself that it can.
func open(view string, flag int) *os.File {
	f, err := os.OpenFile(queue+view, flag, 0)
	check(err)
	return f
}

// openBlocking opens a view as a file that waits in a system call.
func openBlocking(view string) *os.File {
	fd, err := syscall.Open(queue+view, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	check(err)
	return os.NewFile(uintptr(fd), queue+view)
}

// what is what an error says to a program.
func what(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "no error"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "deadline"
	case errors.Is(err, fs.ErrClosed):
		return "closed"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// receive receives one message.
func receive(f *os.File) (string, error) {
	b := make([]byte, 8200)
	n, err := f.Read(b)
	return string(b[:n]), err
}

func mustReceive(f *os.File) string {
	s, err := receive(f)
	check(err)
	return s
}

func send(f *os.File, text string) {
	n, err := f.WriteString(text)
	check(err)
	expect(n == len(text), "%d of %d bytes were written", n, len(text))
}

// message is what goes through a view that is raw.
func message(mtype int64, text string) string {
	b, err := binary.Append(nil, binary.NativeEndian, mtype)
	check(err)
	return string(b) + text
}

func parse(m string) (mtype int64, text string) {
	expect(len(m) >= 8, "%q is no message", m)
	return int64(binary.NativeEndian.Uint64([]byte(m))), m[8:]
}

// field is a field of the queue.
func field(name string) int {
	b := make([]byte, 32)
	n, err := syscall.Getxattr(queue, "user.ipc."+name, b)
	check(err)
	i, err := strconv.Atoi(string(b[:n]))
	check(err)
	return i
}

// untilField waits until a field has a value.
func untilField(name string, value int) {
	for field(name) != value {
		time.Sleep(time.Millisecond)
	}
}

// waiting makes a call in a goroutine of its own.
func waiting(call func() string) <-chan string {
	result := make(chan string, 1)
	go func() { result <- call() }()
	return result
}

func reads(f *os.File) func() string {
	return func() string {
		s, err := receive(f)
		return fmt.Sprintf("read: %q, %s", s, what(err))
	}
}

func writes(f *os.File, size int) func() string {
	return func() string {
		n, err := f.Write(make([]byte, size))
		return fmt.Sprintf("write: %d, %s", n, what(err))
	}
}

// deadlines hold for both directions, and for each view by itself; what comes after one is not lost.
func deadlines() {
	const soon = 20 * time.Millisecond
	seven, low, w := open(":7", os.O_RDONLY), open(":-3", os.O_RDONLY), open(":7", os.O_WRONLY)
	fmt.Println(what(seven.SetReadDeadline(time.Now().Add(soon))), what(low.SetReadDeadline(time.Now().Add(time.Hour))))
	first := waiting(reads(low))
	fmt.Println(reads(seven)())
	fmt.Println(reads(seven)())
	send(open(":3", os.O_WRONLY), "three")
	fmt.Println(<-first)
	send(w, "late")
	fmt.Println(reads(seven)()) // a deadline that has passed holds even for what is there
	fmt.Println(what(seven.SetReadDeadline(time.Time{})))
	fmt.Println(reads(seven)())

	// one that is set while the read waits
	second := waiting(reads(seven))
	time.Sleep(soon)
	fmt.Println(what(seven.SetReadDeadline(time.Unix(1, 0))))
	fmt.Println(<-second)

	for field("q_cbytes") < 16384 {
		send(w, string(make([]byte, 8192)))
	}
	fmt.Println(what(w.SetWriteDeadline(time.Now().Add(soon))))
	fmt.Println(writes(w, 1)())
	fmt.Println(what(w.SetWriteDeadline(time.Time{})), field("q_qnum"))
	third := waiting(writes(w, 100))
	check(seven.SetReadDeadline(time.Time{}))
	mustReceive(seven)
	fmt.Println(<-third)
	mustReceive(seven)
	fmt.Println(len(mustReceive(seven)), field("q_qnum"))
}

// closing a file ends the reads and writes that wait by it; the queue is as it was.
func closing() {
	r, other, w := open("", os.O_RDONLY), open("", os.O_RDONLY), open(":2", os.O_WRONLY)
	first := waiting(reads(r))
	time.Sleep(10 * time.Millisecond)
	fmt.Println(what(r.Close()))
	fmt.Println(<-first)
	fmt.Println(reads(r)())
	for range 2 {
		send(w, string(make([]byte, 8192)))
	}
	second := waiting(writes(w, 5))
	time.Sleep(10 * time.Millisecond)
	fmt.Println(what(w.Close()))
	fmt.Println(<-second)
	for range 2 {
		fmt.Println(len(mustReceive(other)))
	}
	fmt.Println(field("q_qnum"), field("q_receivers"), field("q_senders"))
}

// removed is what those hear who wait by the poller, in a system call, and who come later.
func removed() {
	var waits []<-chan string
	for _, view := range []string{"", ":7", ":-7", ":^7:raw", ":lines", ":stream"} {
		waits = append(waits, waiting(reads(open(view, os.O_RDONLY))))
	}
	waits = append(waits, waiting(reads(openBlocking(":9"))))
	untilField("q_receivers", 1)
	late := open("", os.O_RDWR)
	check(os.Remove(queue))
	for _, w := range waits {
		fmt.Println(<-w)
	}
	fmt.Println(reads(late)())
	fmt.Println(writes(late, 5)())
	_, err := os.OpenFile(queue+":7", os.O_RDONLY, 0)
	fmt.Println(what(err))
}

// peek is a file like any other.
func peek() {
	raw := open(":raw", os.O_RDWR)
	for i, text := range []string{"one", "two\nlines", "", "\xff\x00"} {
		send(raw, message(int64(7-i), text))
	}
	text, err := os.ReadFile(queue + ":peek")
	check(err)
	fmt.Print(strings.ReplaceAll(string(text), fmt.Sprintf("pid=%d ", os.Getpid()), ""))
	f, err := os.Open(queue + ":-6:peek")
	check(err)
	for s := bufio.NewScanner(f); s.Scan(); {
		word, _, _ := strings.Cut(s.Text(), " ")
		fmt.Print(word, " ")
	}
	fmt.Println(field("q_qnum"))
	for range 4 {
		mustReceive(raw)
	}
	_, err = open(":peek", os.O_RDWR).WriteString("x")
	fmt.Println(what(err))
}

// raw: types and sizes at their edges.
func raw() {
	r, w := open(":raw", os.O_RDONLY), open(":raw", os.O_WRONLY)
	for _, mtype := range []int64{1, 7, 1<<31 - 1, 1 << 31, 1<<63 - 1} {
		for _, size := range []int{0, 1, 8, 4088, 8191, 8192} {
			want := message(mtype, strings.Repeat("x", size))
			send(w, want)
			expect(mustReceive(r) == want, "not the message of type %d and %d bytes", mtype, size)
		}
	}
	for _, bad := range []string{message(0, "x"), message(-7, "x"), message(-1<<63, "x"), "seven b", message(1, strings.Repeat("x", 8193))} {
		_, err := w.WriteString(bad)
		fmt.Println(what(err), field("q_qnum"))
	}
	send(w, message(7, "seven"))
	for _, size := range []int{7, 12} {
		_, err := r.Read(make([]byte, size))
		fmt.Println(what(err), field("q_qnum"))
	}
	mtype, text := parse(mustReceive(open(":7:raw", os.O_RDONLY)))
	fmt.Println(mtype, text)
}
