// Command msgq is a client that uses a queue as files of package os, which wait in the runtime's poller: msgq QUEUE, which does not exist yet. It says ok, or fails.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func open(name string, flags int) *os.File {
	f, err := os.OpenFile(name, flags|syscall.O_NONBLOCK, 0o600)
	check(err)
	return f
}

func raw(mtype int, text string) []byte {
	return append(binary.NativeEndian.AppendUint64(nil, uint64(mtype)), text...)
}

func main() {
	q := os.Args[1]
	check(open(q, os.O_CREATE|os.O_WRONLY).Close())

	// Eight receivers, one for each type, and one sender of any type through raw, which has to wait for room.
	const each = 500
	var wg sync.WaitGroup
	for t := 1; t <= 8; t++ {
		f := open(fmt.Sprintf("%s:%d", q, t), os.O_RDONLY)
		wg.Go(func() {
			defer f.Close()
			b := make([]byte, 8192)
			for i := range each {
				n, err := f.Read(b)
				check(err)
				if want := fmt.Sprintf("%d.%d", t, i); string(b[:n]) != want {
					check(fmt.Errorf("type %d: %q instead of %q", t, b[:n], want))
				}
			}
		})
	}
	sender := open(q+":raw", os.O_WRONLY)
	for i := range each {
		for t := 1; t <= 8; t++ {
			_, err := sender.Write(raw(t, fmt.Sprintf("%d.%d", t, i)))
			check(err)
		}
	}
	wg.Wait()

	// A message that waits for a receiver, a deadline, and what removal does to who waits.
	low := open(q+":-3:raw", os.O_RDONLY)
	check(low.SetReadDeadline(time.Now().Add(20 * time.Millisecond)))
	if _, err := low.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		check(fmt.Errorf("after the deadline: %v", err))
	}
	check(low.SetReadDeadline(time.Time{}))
	for _, t := range []int{4, 3, 2} {
		_, err := sender.Write(raw(t, "x"))
		check(err)
	}
	for _, t := range []int{2, 3} {
		b := make([]byte, 100)
		n, err := low.Read(b)
		check(err)
		if string(b[:n]) != string(raw(t, "x")) {
			check(fmt.Errorf("%q instead of type %d", b[:n], t))
		}
	}
	peek, err := os.ReadFile(q + ":peek")
	check(err)
	if want := fmt.Sprintf("type=4 size=1 pid=%d text=x\n", os.Getpid()); string(peek) != want {
		check(fmt.Errorf("peek: %q", peek))
	}
	ended := make(chan error)
	go func() {
		_, err := low.Read(make([]byte, 100))
		ended <- err
	}()
	check(os.Remove(q))
	if err := <-ended; !errors.Is(err, syscall.EIDRM) {
		check(fmt.Errorf("after the end of the queue: %v", err))
	}
	fmt.Println("ok")
}
