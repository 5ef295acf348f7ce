package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMsgqClientsC compiles clients/msgq/c/*.c. What they say is what svipc(7) and msgop(2) say of a queue, and poll(2) of a file; there are no more events at an
// edge than there are messages.
func TestMsgqClientsC(t *testing.T) {
	need(t, "cc")
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(sources(t), "msgq", "c", "*.c"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	for _, f := range files {
		bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(f), ".c"))
		if out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, f).CombinedOutput(); err != nil {
			t.Fatalf("cc %s: %v\n%s", f, err, out)
		}
	}
	bin := func(name string, args ...string) []string { return append([]string{filepath.Join(dir, name)}, args...) }
	var clients []queueClient
	for _, by := range []string{"poll", "select", "epoll"} {
		clients = append(clients, queueClient{run: bin("wait", by), want: `empty: none
3: q q:-7 q:^7 q:raw q:lines q:stream q:^1:stream
3, again: q q:-7 q:^7 q:raw q:lines q:stream q:^1:stream
3 7: q q:7 q:-7 q:^7 q:raw q:7:raw q:lines q:7:lines q:stream q:^1:stream
7: q q:7 q:-7 q:raw q:7:raw q:lines q:7:lines q:stream q:^1:stream
9: q q:^7 q:raw q:lines q:stream q:^1:stream
1: q q:-7 q:^7 q:raw q:-2:raw q:lines q:stream
begun: q:stream
empty: none
7 of no bytes: q q:7 q:-7 q:raw q:7:raw
removed: q q:7 q:-7 q:^7 q:raw q:7:raw q:-2:raw q:lines q:7:lines q:stream q:^1:stream
`})
	}
	for _, by := range []string{"poll", "epoll", "edge", "select"} {
		want := `low: IN
low: type 5, 4: this
seven: IN
seven by lines: IN
seven: 5 seven
room for one: OUT
a higher limit: OUT
no bytes, but a message less: OUT
removed, reader: IN ERR HUP
removed, writer: OUT ERR HUP
removed, lines: IN ERR HUP
removed, waiting for nothing: ERR HUP
`
		if by == "select" { // which knows no others
			want = strings.NewReplacer("IN ERR HUP", "IN", "OUT ERR HUP", "OUT").Replace(want)
		}
		clients = append(clients, queueClient{run: bin("wait", "wakes", by), want: want})
	}
	runQueueClients(t, append(clients, []queueClient{
		{run: bin("wait", "edge"), want: `empty: none
3: q q:-7 q:^7 q:raw q:lines q:stream q:^1:stream
again: none
received: none
7: q q:7 q:-7 q:raw q:7:raw q:lines q:7:lines q:stream q:^1:stream
again: none
received: none
9: q q:^7 q:raw q:lines q:stream q:^1:stream
again: none
received: none
1: q q:-7 q:^7 q:raw q:-2:raw q:lines q:stream
again: none
received: none
1: q q:-7 q:^7 q:raw q:-2:raw q:lines q:stream
again: none
received: none
2: q q:-7 q:^7 q:raw q:-2:raw q:lines q:stream q:^1:stream
again: none
received: none
removed: q q:7 q:-7 q:^7 q:raw q:7:raw q:-2:raw q:lines q:7:lines q:stream q:^1:stream
`},
		{run: bin("wait", "end"), want: `empty: OUT
full: IN
full, of type 7: IN
removed: IN OUT ERR HUP
removed, of type 7: IN OUT ERR HUP
read: Identifier removed
write: Identifier removed
raw: Identifier removed
open: No such file or directory
open: No such file or directory
`},
		{run: bin("wait", "workers", "level"), want: "2000 jobs, each done once\n"},
		{run: bin("wait", "workers", "edge"), want: "2000 jobs, each done once\n"},

		{run: bin("data", "pieces"), want: "pieces are one message\n"},
		{run: bin("data", "oversized"), want: "refused whole\n"},
		{run: bin("data", "unaligned"), want: "any buffer will do\n"},
		{run: bin("data", "refusals"), want: `write of nothing: 0
read of nothing: 0
read without room: Argument list too long
raw read without room: Argument list too long
raw read without room for a type: EINVAL
pread: ESPIPE
pwrite: ESPIPE
lseek: ESPIPE
write to a reader: EBADF
read from a writer: EBADF
shared mapping: No such device
send through :-7: EINVAL
send through :^7: EINVAL
send through :peek: EINVAL
no type: EINVAL
type 0: EINVAL
type -1: EINVAL
the largest type: 9
no memory: Bad address
raw: type 1, 5: hello
raw: type 9223372036854775807, 1: x
raw: EAGAIN
read to no memory: Bad address
`},
		{run: bin("data", "peek"), want: `at the end: 0
of a type that is not there: 0
after the queue: 0
`},
		{run: bin("data", "lines"), want: `pieces: 13
no room for one: Argument list too long
room for one: 8 another

room for one and a half: 6 begin

all: 11 second
th


nothing: EAGAIN
held back: 0
sent at the end: 4 rest
the longest line: 8192
the longest line without end: 8192
both: 16384
10000 lines in order
`},

		{run: bin("signals", "eintr"), want: "EINTR, and nothing was lost\n"},
		{run: bin("signals", "eintr-lines"), want: "whole lines were sent\n"},
		{run: bin("signals", "undisturbed"), want: "nothing was lost\n"},
		{run: bin("signals", "eintr-poll"), want: `poll: EINTR
epoll_wait: EINTR
select: EINTR
`},
		{run: bin("signals", "killed"), want: "received: type 7, 14: for the living\n"},
		{run: bin("signals", "removed"), want: `14 calls ended
a new queue: EAGAIN
a new queue: 3 new
`},

		{run: bin("share", "in-order"), want: `0, of type 9: to 0
1, of type 5: to 2
2, of type 7: to 1
3, of type 7: to 3
4, of type 7: to 5
5, of type 7: to 6
7, of type 3: to 4
a
b
c
d
`},
		{run: bin("share", "one-descriptor"), want: "both ways\n"},
		{run: bin("share", "threads"), want: "4000 messages, each received once\n"},
		{run: bin("share", "forked"), want: `parent: 6 first 
child: 7 second 
parent: 5 third
line: 30 from the child and its parent

line: 4 last
received once: 1000 of 1000
`},
		{run: bin("share", "duplicates"), want: `one: 2 ab
its duplicate: 2 cd
opened anew: EAGAIN
opened anew: 2 gh
one: 2 ef
one: EAGAIN
by a descriptor that was sent: type 7, 9: passed on
closed meanwhile: 4
another: EAGAIN
the one that waited: 5
`},
		{run: bin("share", "appended"), want: "4000 messages, each received once\n"},

		{run: bin("work", "jobs"), want: "3000 jobs, each done once: 4498500\n"},
		{run: bin("work", "priorities"), want: "1:3 1:6 1:11 2:5 3:1 3:8 3:9 5:0 5:4 4:late 8:2 9:7 9223372036854775807:10 \n"},
		{run: bin("work", "replies"), want: "1000 requests, each answered to who asked\n"},
		{run: bin("work", "watched"), want: "seen, and not taken\n"},
	}...))
}
