package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

func lines(pipes []string) error {
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	in := bufio.NewScanner(rd)
	out := bufio.NewWriter(wr)
	for i := range 3 {
		scanned := make(chan bool)
		go func() { scanned <- in.Scan() }()
		untilWaiting(1)
		fmt.Fprintf(out, "line %d\n", i)
		if err := out.Flush(); err != nil {
			return err
		}
		fmt.Println(<-scanned, in.Text())
	}
	wrote := make(chan error)
	go func() {
		for i := range 100_000 {
			fmt.Fprintln(out, i)
		}
		wrote <- errors.Join(out.Flush(), wr.Close())
	}()
	n := 0
	for in.Scan() {
		if in.Text() != fmt.Sprint(n) {
			return fmt.Errorf("line %d is %q", n, in.Text())
		}
		n++
	}
	fmt.Println(n, what(in.Err()), what(<-wrote))
	return rd.Close()
}

// pattern is what a stream has; it repeats at no power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// copies 16 MiB from a file through two pipes into another file. Go tries its own short ways for some of these copies.
func copies(pipes []string) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	data := pattern(16 << 20)
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, data, 0o600); err != nil {
		return err
	}
	hops := []string{from, pipes[0], pipes[1], to}
	done := make([]error, 3)
	sizes := make([]int64, 3)
	var wg sync.WaitGroup
	for i := range done {
		wg.Go(func() { sizes[i], done[i] = copyFile(hops[i+1], hops[i]) })
	}
	wg.Wait()
	for i := range done {
		fmt.Println("copied", sizes[i], what(done[i]))
	}
	got, err := os.ReadFile(to)
	fmt.Println("the same:", bytes.Equal(got, data))
	return err
}

func copyFile(to, from string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	flag := os.O_WRONLY
	if filepath.Base(to) == "to" {
		flag |= os.O_CREATE
	}
	out, err := os.OpenFile(to, flag, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}

// whole reads the pipe to its end; os.ReadFile takes the size of a file for a hint only.
func whole(pipes []string) error {
	data := pattern(3 << 20)
	wrote := make(chan error)
	go func() { wrote <- os.WriteFile(pipes[0], data, 0) }()
	got, err := os.ReadFile(pipes[0])
	fmt.Println(len(got), bytes.Equal(got, data), what(err), what(<-wrote))
	return nil
}

// many goroutines write to one pipe, and many read: no line is torn, none lost.
func many(pipes []string) error {
	const writers, each = 64, 200
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, writers)
	for i := range writers {
		wg.Go(func() {
			line := bytes.Repeat([]byte{byte('!' + i)}, 32*(1+i%4))
			line[len(line)-1] = '\n'
			for range each {
				if _, err := wr.Write(line); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	go func() { wg.Wait(); _ = wr.Close(); close(failed) }()
	count := make(map[byte]int)
	in := bufio.NewScanner(rd)
	for in.Scan() {
		line := in.Bytes()
		i := int(line[0] - '!')
		if len(line) != 32*(1+i%4)-1 || len(bytes.Trim(line, string(line[:1]))) != 0 {
			return fmt.Errorf("a torn line: %q", line)
		}
		count[line[0]]++
	}
	for err := range failed {
		return err
	}
	for b, n := range count {
		if n != each {
			return fmt.Errorf("%d lines of %c", n, b)
		}
	}
	fmt.Println(len(count), "goroutines wrote", each, "lines each")
	return rd.Close()
}

// bothSides is one file opened O_RDWR, read and written by goroutines at once. Of the readers one waits for the file, the others for that one.
func bothSides(pipes []string) error {
	f, err := os.OpenFile(pipes[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	const readers, size = 16, 1 << 20
	got := make(chan int)
	for range readers {
		go func() {
			n, _ := io.ReadFull(f, make([]byte, size/readers))
			got <- n
		}()
	}
	untilWaiting(1)
	fmt.Println(write(f, size))
	sum := 0
	for range readers {
		sum += <-got
	}
	fmt.Println("read:", sum)
	return f.Close()
}

// descriptors: SyscallConn waits for a file between system calls of one's own, and Fd makes it blocking.
func descriptors(pipes []string) error {
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	raw, err := rd.SyscallConn()
	if err != nil {
		return err
	}
	tries := 0
	result := waiting(func() string {
		var n int
		var errRead error
		buf := make([]byte, 100)
		err := raw.Read(func(fd uintptr) bool {
			tries++
			n, errRead = syscall.Read(int(fd), buf)
			return !errors.Is(errRead, syscall.EAGAIN)
		})
		return fmt.Sprintf("read: %q, %s, %s", buf[:n], what(errRead), what(err))
	})
	fmt.Println(write(wr, 3))
	fmt.Println(<-result)
	fmt.Println("waited:", tries > 1)
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, rd.Fd(), syscall.F_GETFL, 0)
	fmt.Println("non-blocking:", errno == 0 && flags&syscall.O_NONBLOCK != 0)
	if err := wr.Close(); err != nil {
		return err
	}
	fmt.Println(read(rd))
	return rd.Close()
}

// commands have the pipe as their stdin and stdout.
func commands(pipes []string) error {
	rd, wr, err := openBoth(pipes[0])
	if err != nil {
		return err
	}
	first := exec.Command("seq", "100000")
	first.Stdout = wr
	second := exec.Command("grep", "-c", "7")
	second.Stdin = rd
	var out bytes.Buffer
	second.Stdout = &out
	if err := errors.Join(first.Start(), second.Start(), rd.Close(), wr.Close()); err != nil {
		return err
	}
	fmt.Print(what(first.Wait()), ", ", what(second.Wait()), ", ", out.String())

	// A command that writes on is ended by SIGPIPE when its reader goes.
	if rd, wr, err = openBoth(pipes[0]); err != nil {
		return err
	}
	yes := exec.Command("yes")
	yes.Stdout = wr
	if err := errors.Join(yes.Start(), wr.Close()); err != nil {
		return err
	}
	said := make([]byte, 4)
	_, err = io.ReadFull(rd, said)
	fmt.Printf("%q, %s, %s\n", said, what(err), what(rd.Close()))
	fmt.Println(yes.Wait())
	return nil
}
