// Files is a client of pipes written in Go: os.File and what is built on it, without a word about what the pipes are. It runs the scenario that its first
// argument names on the pipes that the others name, and prints what it saw.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"
)

var scenarios = map[string]func(pipes []string) error{
	"deadlines":   deadlines,
	"close":       closeWhileReading,
	"open":        nonBlockingOpen,
	"sigpipe":     sigpipe,
	"lines":       lines,
	"copy":        copies,
	"whole":       whole,
	"many":        many,
	"both":        bothSides,
	"descriptors": descriptors,
	"commands":    commands,
}

func main() {
	if err := scenarios[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// openBoth opens both ends; each open waits for the other.
func openBoth(path string) (rd, wr *os.File, err error) {
	opened := make(chan error)
	go func() {
		var err error
		rd, err = os.Open(path)
		opened <- err
	}()
	wr, err = os.OpenFile(path, os.O_WRONLY, 0)
	return rd, wr, errors.Join(err, <-opened)
}

// untilWaiting waits until n goroutines wait for a file, which they do in Go's poller and not in a system call.
func untilWaiting(n int) {
	buf := make([]byte, 1<<20)
	for {
		stacks := buf[:runtime.Stack(buf, true)]
		if bytes.Count(stacks, []byte(" [IO wait")) >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
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
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// read and write make one call and return what came of it.
func read(f *os.File) string {
	buf := make([]byte, 100)
	n, err := f.Read(buf)
	return fmt.Sprintf("read: %q, %s", buf[:n], what(err))
}

func write(f *os.File, size int) string {
	n, err := f.Write(make([]byte, size))
	return fmt.Sprintf("write: %d, %s", n, what(err))
}

// waiting starts a call in a goroutine of its own and returns when it waits; what it says comes from the channel, so that the order of what is
// printed is that of the program.
func waiting(call func() string) <-chan string {
	result := make(chan string, 1)
	go func() { result <- call() }()
	untilWaiting(1)
	return result
}

// deadlines are kept by Go's poller, and only for files that can be polled.
func deadlines(pipes []string) error {
	const soon = 10 * time.Millisecond
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	fmt.Println("read in time:", what(rd.SetReadDeadline(time.Now().Add(soon))))
	fmt.Println(read(rd))
	fmt.Println(read(rd))
	fmt.Println("no deadline:", what(rd.SetReadDeadline(time.Time{})))
	result := waiting(func() string { return read(rd) })
	fmt.Println(write(wr, 3))
	fmt.Println(<-result)

	// A deadline that is set while the read waits. What comes after it is not read, and not lost.
	result = waiting(func() string { return read(rd) })
	fmt.Println("in the past:", what(rd.SetReadDeadline(time.Now().Add(-time.Hour))))
	fmt.Println(<-result)
	fmt.Println(write(wr, 3))
	fmt.Println(read(rd))
	fmt.Println("far away:", what(rd.SetReadDeadline(time.Now().Add(time.Hour))))
	fmt.Println(read(rd))

	result = waiting(func() string { return write(wr, 100_000) })
	fmt.Println("in the past:", what(wr.SetWriteDeadline(time.Now().Add(-time.Hour))))
	fmt.Println(<-result)
	fmt.Println("write in time:", what(wr.SetWriteDeadline(time.Now().Add(soon))))
	fmt.Println(write(wr, 1))
	fmt.Println("no deadline:", what(wr.SetWriteDeadline(time.Time{})))
	result = waiting(func() string { return write(wr, 4096) })
	n, err := io.ReadFull(rd, make([]byte, 65536+4096))
	fmt.Printf("read: %d, %s\n", n, what(err))
	fmt.Println(<-result)
	fmt.Println("close:", what(wr.Close()))
	fmt.Println(read(rd))
	return rd.Close()
}

func closeWhileReading(pipes []string) error {
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	result := waiting(func() string { return read(rd) })
	fmt.Println("close:", what(rd.Close()))
	fmt.Println(<-result)
	fmt.Println(read(rd))
	fmt.Println(write(wr, 1))
	return wr.Close()
}

func nonBlockingOpen(pipes []string) error {
	open := func(flag int) *os.File {
		f, err := os.OpenFile(pipes[0], flag|syscall.O_NONBLOCK, 0)
		fmt.Printf("open: %s\n", what(err))
		return f
	}
	open(os.O_WRONLY)
	rd := open(os.O_RDONLY)
	fmt.Println(read(rd))
	wr := open(os.O_WRONLY)
	// Non-blocking for the kernel, but a Go program waits.
	result := waiting(func() string { return read(rd) })
	fmt.Println(write(wr, 3))
	fmt.Println(<-result)
	result = waiting(func() string {
		said := write(wr, 200_000)
		return said + ", closed: " + what(wr.Close())
	})
	n, err := io.Copy(io.Discard, rd)
	fmt.Println(<-result)
	fmt.Printf("copy: %d, %s\n", n, what(err))
	return rd.Close()
}

// sigpipe: a Go program dies of it on its stdout and stderr only.
func sigpipe(pipes []string) error {
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	result := waiting(func() string { return write(wr, 100_000) })
	if err := rd.Close(); err != nil {
		return err
	}
	fmt.Println(<-result)
	fmt.Println(write(wr, 1))
	return wr.Close()
}
