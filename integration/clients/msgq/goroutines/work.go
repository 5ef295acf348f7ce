package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// views are received from by goroutines, one for each, while others send through as many: a queue of 100 bytes makes all of them wait.
func views() {
	const types, each = 20, 200
	check(os.Truncate(queue, 100))
	var wg sync.WaitGroup
	for t := 1; t <= types; t++ {
		wg.Go(func() {
			f := open(fmt.Sprintf(":%d", t), os.O_RDONLY)
			defer f.Close()
			for i := range each {
				got := mustReceive(f)
				expect(got == fmt.Sprintf("%d of %d", i, t), "type %d, message %d is %q", t, i, got)
			}
		})
	}
	for s := range 4 {
		wg.Go(func() {
			f := open(":raw", os.O_WRONLY)
			defer f.Close()
			for i := range each {
				for t := s + 1; t <= types; t += 4 {
					send(f, message(int64(t), fmt.Sprintf("%d of %d", i, t)))
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(types*each, "received, left:", field("q_qnum"))
}

// jobs are shared by workers; some by one file, some by files of their own, some of which do not wait in the poller but in a system call.
func jobs() {
	const n = 3000
	var wg sync.WaitGroup
	var done [n]atomic.Int32
	shared, blocking := open(":-2:raw", os.O_RDONLY), openBlocking(":-2:raw")
	for _, f := range []*os.File{shared, shared, shared, open(":-2:raw", os.O_RDONLY), open(":-2:raw", os.O_RDONLY), blocking, blocking} {
		wg.Go(func() {
			for {
				mtype, text := parse(mustReceive(f))
				if mtype == 2 {
					return
				}
				i, err := strconv.Atoi(text)
				check(err)
				done[i].Add(1)
			}
		})
	}
	w := open(":raw", os.O_WRONLY)
	for i := range n {
		send(w, message(1, strconv.Itoa(i)))
	}
	for range 7 {
		send(w, message(2, "end"))
	}
	wg.Wait()
	for i := range done {
		expect(done[i].Load() == 1, "job %d was done %d times", i, done[i].Load())
	}
	fmt.Println(n, "jobs, each done once")
}

func priorities() {
	w, low, all := open(":raw", os.O_WRONLY), open(":-5:raw", os.O_RDONLY), open(":-9223372036854775807:raw", os.O_RDONLY)
	for i, t := range []int64{5, 3, 8, 1, 5, 1, 1<<63 - 1, 3} {
		send(w, message(t, strconv.Itoa(i)))
	}
	for _, f := range []*os.File{low, low, low, low, low, low, all, all} {
		mtype, text := parse(mustReceive(f))
		fmt.Printf("%d:%s ", mtype, text)
	}
	fmt.Println()
	// who waits for the lowest takes the first that comes of those that he takes
	got := waiting(func() string { mtype, text := parse(mustReceive(low)); return fmt.Sprint(mtype, text) })
	send(w, message(6, "not this"))
	send(w, message(4, " this"))
	fmt.Println(<-got, field("q_qnum"))
	mustReceive(all)
	for _, view := range []string{":-5", ":^5"} {
		_, err := open(view, os.O_WRONLY).WriteString("x")
		fmt.Println(what(err))
	}
}

// command is this client in another process.
func command(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], role, queue)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// replies: servers and clients are processes; each client takes what is sent to its own number.
func replies() {
	var servers, clients []*exec.Cmd
	for range 2 {
		servers = append(servers, command("serve"))
		check(servers[len(servers)-1].Start())
	}
	for range 4 {
		clients = append(clients, command("ask"))
		check(clients[len(clients)-1].Start())
	}
	for _, c := range clients {
		check(c.Wait())
	}
	check(os.Remove(queue))
	for _, s := range servers {
		check(s.Wait())
	}
	fmt.Println("each got its own replies")
}

func serve() {
	requests, err := os.OpenFile(queue+":1", os.O_RDONLY, 0)
	w, err2 := os.OpenFile(queue+":raw", os.O_WRONLY, 0)
	if err = errors.Join(err, err2); errors.Is(err, os.ErrNotExist) {
		return // the other server has answered all
	}
	check(err)
	for {
		request, err := receive(requests)
		if errors.Is(err, syscall.EIDRM) {
			return
		}
		check(err)
		var pid, n int
		_, err = fmt.Sscan(request, &pid, &n)
		check(err)
		send(w, message(int64(pid), strconv.Itoa(n*n)))
	}
}

// ask asks from several goroutines, which find their answers by a second number in them.
func ask() {
	const goroutines, each = 5, 50
	requests, mine := open(":1", os.O_WRONLY), open(fmt.Sprintf(":%d", os.Getpid()), os.O_RDONLY)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				send(requests, fmt.Sprintf("%d %d", os.Getpid(), g*each+i))
			}
		})
	}
	left := make(map[string]bool)
	for i := range goroutines * each {
		left[strconv.Itoa(i*i)] = true
	}
	for len(left) > 0 {
		answer := mustReceive(mine)
		expect(left[answer], "%q is no answer, or came twice", answer)
		delete(left, answer)
	}
	wg.Wait()
}

// lines by bufio: a writer that is flushed, scanners on lines and stream, and the end of the queue as that of a copy.
func lines() {
	const n = 20000
	w := open(":lines", os.O_WRONLY)
	sent := make(chan error)
	go func() {
		b := bufio.NewWriter(w)
		for i := range n {
			if _, err := fmt.Fprintf(b, "line %d\n", i); err != nil {
				sent <- err
				return
			}
		}
		sent <- errors.Join(b.Flush(), w.Close())
	}()
	s := bufio.NewScanner(open(":lines", os.O_RDONLY))
	for i := range n {
		expect(s.Scan() && s.Text() == fmt.Sprintf("line %d", i), "line %d is %q, %v", i, s.Text(), s.Err())
	}
	check(<-sent)
	fmt.Println(n, "lines")

	plain, r := open("", os.O_WRONLY), bufio.NewReader(open(":stream", os.O_RDONLY))
	for _, text := range []string{"hel", "lo\nwor", "ld\n"} {
		send(plain, text)
	}
	for range 2 {
		line, err := r.ReadString('\n')
		fmt.Printf("%q %s\n", line, what(err))
	}

	var all strings.Builder
	copied := waiting(func() string {
		n, err := io.Copy(&all, open(":stream", os.O_RDONLY))
		return fmt.Sprint(n, " bytes, ", what(err))
	})
	for _, text := range []string{"one ", "two ", "three"} {
		send(plain, text)
	}
	untilField("q_qnum", 0)
	check(os.Remove(queue))
	fmt.Println(<-copied, all.String())
}
