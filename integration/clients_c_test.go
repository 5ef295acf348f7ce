package integration

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// compileC compiles clients/c/*.c into a directory of the test, and returns where to find a client by its name.
func compileC(t *testing.T) func(name string) string {
	t.Helper()
	need(t, "cc")
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(sources(t), "c", "*.c"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	bin := func(name string) string { return filepath.Join(dir, name) }
	for _, f := range files {
		name := filepath.Base(f[:len(f)-len(".c")])
		if out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin(name), f).CombinedOutput(); err != nil {
			t.Fatalf("cc %s: %v\n%s", f, err, out)
		}
	}
	return bin
}

// SA_RESTART is not here: a call that FUSE answers with EINTR is not restarted. Nor are FIONREAD and F_SETPIPE_SZ, which the kernel does not let
// a FUSE file answer. A close reaches the other end of an epoll without being waited for, so the clients sleep for it.
func TestClientsC(t *testing.T) {
	bin := compileC(t)
	runClients(t, []client{
		{run: []string{bin("wait"), "select"}, pipes: 5, want: `data
before: nothing
woken: IN
again: IN
room after full
full: 65536
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: IN
again: IN
last reader closes
full: 65536
before: nothing
woken: OUT
again: OUT
last reader closes, waiting for errors
before: nothing
woken: OUT
again: OUT
`},
		{run: []string{bin("wait"), "pselect"}, pipes: 5, want: `data
before: nothing
woken: IN
again: IN
room after full
full: 65536
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: IN
again: IN
last reader closes
full: 65536
before: nothing
woken: OUT
again: OUT
last reader closes, waiting for errors
before: nothing
woken: OUT
again: OUT
`},
		{run: []string{bin("wait"), "poll"}, pipes: 5, want: `data
before: nothing
woken: IN
again: IN
room after full
full: 65536
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: HUP
again: HUP
last reader closes
full: 65536
before: nothing
woken: ERR
again: ERR
last reader closes, waiting for errors
before: nothing
woken: ERR
again: ERR
`},
		{run: []string{bin("wait"), "ppoll"}, pipes: 5, want: `data
before: nothing
woken: IN
again: IN
room after full
full: 65536
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: HUP
again: HUP
last reader closes
full: 65536
before: nothing
woken: ERR
again: ERR
last reader closes, waiting for errors
before: nothing
woken: ERR
again: ERR
`},
		{run: []string{bin("wait"), "epoll-level"}, pipes: 5, want: `data
before: nothing
woken: IN
again: IN
room after full
full: 65536
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: HUP
again: HUP
last reader closes
full: 65536
before: nothing
woken: ERR
again: ERR
last reader closes, waiting for errors
before: nothing
woken: ERR
again: ERR
`},
		{run: []string{bin("wait"), "epoll-edge"}, pipes: 5, want: `data
before: nothing
woken: IN
again: nothing
room after full
full: 65536
before: nothing
woken: OUT
again: nothing
last writer closes
before: nothing
woken: HUP
again: nothing
last reader closes
full: 65536
before: nothing
woken: ERR
again: nothing
last reader closes, waiting for errors
before: nothing
woken: ERR
again: nothing
`},

		{run: []string{bin("epoll"), "level"}, pipes: 1, want: `written: IN
not read: IN
read: 2 on
something left: IN
read: 1 e
nothing left: nothing
closed: HUP
still closed: HUP
opened again: nothing
written: IN
read: 3 two
`},
		{run: []string{bin("epoll"), "edges-in"}, pipes: 1, want: `empty: nothing
first write: IN
second write, nothing read yet: IN
no write: nothing
read: 2 on
something left: nothing
read: 4 etwo
nothing left: nothing
third write: IN
closed: IN HUP
still closed: nothing
read: 5 three
read: 0
`},
		{run: []string{bin("epoll"), "edges-out"}, pipes: 1, want: `empty: OUT
still empty: nothing
full: 65536
full: nothing
100 bytes of the first page read: nothing
the first page read: OUT
the second page read: nothing
full: 8192
all read: OUT
closed: OUT ERR
still closed: nothing
`},
		{run: []string{bin("epoll"), "oneshot"}, pipes: 1, want: `first write: IN
second write: nothing
armed again: IN
fired: nothing
read: 6 onetwo
third write: IN
closed, not armed: nothing
closed, armed: IN HUP
`},
		{run: []string{bin("epoll"), "several"}, pipes: 1, want: `written: IN
written: IN
written: IN
written: IN
written: IN
again, level: IN
again, edge: nothing
again, level: IN
again, edge: nothing
again, level: IN
read: 1 x
written: IN
written: IN
written: IN
written: IN
written: IN
again, level: IN
again, edge: nothing
again, level: IN
again, edge: nothing
again, level: IN
read: 1 x
written: IN
written: IN
written: IN
written: IN
written: IN
again, level: IN
again, edge: nothing
again, level: IN
again, edge: nothing
again, level: IN
read: 1 x
closed: HUP
closed: HUP
closed: HUP
closed: HUP
closed: HUP
`},
		{run: []string{bin("epoll"), "both-ends"}, pipes: 1, want: `events: 1
it is the writer: 1
full: 65536
filled: IN
it is the reader: 1
read: OUT
it is the writer: 1
events: 0
reader closed: OUT ERR
again: nothing
`},
		{run: []string{bin("epoll"), "two-sides"}, pipes: 1, want: `empty, in: nothing
empty, out: OUT
written, in: IN
written, out: nothing
`,
			except: "FUSE_NOTIFY_POLL cannot say which side it is for, so both epolls look again, and the one for room finds room: an edge too many.",
		},
		{run: []string{bin("epoll"), "nested"}, pipes: 1, want: `outer: IN
inner: IN
read: 1 x
outer: nothing
outer: IN
inner: HUP
`},
		{run: []string{bin("epoll"), "closed"}, pipes: 1, want: `duplicate open: IN
all closed: nothing
another open file: nothing
read: 1 x
`},

		{run: []string{bin("share"), "rdwr"}, pipes: 1, want: `empty: OUT
written: IN OUT
read: 5 hello
full: 65536
full: IN
others came and went: IN
read all: 65536
read empty: EAGAIN
read: 4 kept
read until the last writer closes: 0
`},
		{run: []string{bin("share"), "one-descriptor"}, pipes: 1, want: `13 bytes: to the reader
write: 200000
read: 200000, all of it: 1
`},
		{run: []string{bin("share"), "in-order"}, pipes: 1, want: `read 0: 1 a
read 1: 1 b
read 2: 1 c
read 3: 1 d
full: 65536
read: 4096
write 0: 4096
read: 4096
write 1: 4096
read: 4096
write 2: 4096
read: 4096
write 3: 4096
page of A
page of B
page of C
page of D
`},
		{run: []string{bin("share"), "many-threads"}, pipes: 1, want: `thread 0: wrote 100000, read 100000
thread 1: wrote 100000, read 100000
thread 2: wrote 100000, read 100000
thread 3: wrote 100000, read 100000
thread 4: wrote 100000, read 100000
thread 5: wrote 100000, read 100000
thread 6: wrote 100000, read 100000
thread 7: wrote 100000, read 100000
`},
		{run: []string{bin("share"), "forked"}, pipes: 1, want: `read: 5 child
the child's flag: 1
full: 65536
child writes: 10
read: 65536
read: 10 last words
read: 0
child ended by Killed
read: 65536
read: 0
`},
		{run: []string{bin("share"), "nonblock"}, pipes: 1, want: `read: EAGAIN
another read: EAGAIN
the read that waited: 5
read: EAGAIN
write 100000: 65536
write 1: EAGAIN
read 6000: 6000
write 4097: 4096
write 4096: EAGAIN
read 8192: 8192
the write that waited: 4096
read all: 59536
read: 0
open for writing without a reader: ENXIO
`},
		{run: []string{bin("share"), "duplicates"}, pipes: 1, want: `flag: 1
read: 3 dup
read: EAGAIN
flag: 1
read: 3 dup
read: EAGAIN
flag: 1
read: 3 dup
read: EAGAIN
flag: 1
read: 3 dup
read: 0
`},
		{run: []string{bin("share"), "cloexec"}, pipes: 1, want: `closed by exec: 0
kept by exec: EAGAIN
the program ended: 0
FD_CLOEXEC: 0
closed by exec: 0
`},

		{run: []string{bin("signals"), "sigpipe-default"}, pipes: 2, want: `child ended by Broken pipe
child ended by Broken pipe
`},
		{run: []string{bin("signals"), "sigpipe-ignored"}, pipes: 2, want: `write: EPIPE
write: EPIPE
non-blocking write: EPIPE
write of nothing: 0
write of 100000: 65536
write: EPIPE
read: 65536
write: 1
read: 1 x
`},
		{run: []string{bin("signals"), "sigpipe-handled"}, pipes: 2, want: `write: EPIPE
SIGPIPE, by the thread that wrote: 1
writev: EPIPE
SIGPIPE
write of 100000: 65536
SIGPIPE, by the thread that wrote: 1
`},
		{run: []string{bin("signals"), "sigpipe-blocked"}, pipes: 2, want: `write: EPIPE
pending: 1
taken: 1
another: 0
`},
		{run: []string{bin("signals"), "eintr"}, pipes: 2, want: `read: EINTR
SIGUSR1
read: 4 kept
write: EINTR
SIGUSR1
read all: 65536
write of 100000: 65536
SIGUSR1
read all: 65536
read: EAGAIN
`},
		{run: []string{bin("signals"), "eintr-open"}, pipes: 2, want: `open: EINTR
SIGUSR1
open: EINTR
SIGUSR1
open for writing without a reader: ENXIO
child ended by Killed
child ended by Killed
open for writing without a reader: ENXIO
`},
		{run: []string{bin("signals"), "eintr-poll"}, pipes: 2, want: `poll: EINTR
SIGUSR1
epoll_wait: EINTR
SIGUSR1
`},

		{run: []string{bin("data"), "writev-readv"}, pipes: 1, want: `writev: 1024
readv: 1024
the same: 1
writev: 4096
readv: 4096
the same: 1
writev: 65536
readv: 65536
the same: 1
readv of what is not there: 1000
readv of all that is there: 3072
readv of a quarter: 768
readv of nothing: EAGAIN
writev with empty pieces: 64
readv: 64
`},
		{run: []string{bin("data"), "long-writev"}, pipes: 1, want: `writev: 1033216
read: 1033216, the same: 1
`},
		{run: []string{bin("data"), "atomic-writev"}, pipes: 1, want: `writev into the room of a part: EAGAIN
read: 62440
`,
			except: "more than 256 pieces come as several WRITEs, and nothing says of the first that there is more: a part goes in.",
		},
		{run: []string{bin("data"), "large"}, pipes: 1, want: `write: 3145728
the same: 1
`},
		{run: []string{bin("data"), "packets"}, pipes: 1, want: `read: 3 one
read of a part: 2 tw
read: 5 three
write: 10000
read: 4096
read: 4096
read: 1808
packets until full: 16
read: 6 packet
read: 10 streamlast
read: EAGAIN
read: 7
read: 2 ab
readv: 5
read: 6 second
`},
		{run: []string{bin("data"), "open-direct"}, pipes: 1, want: `open: EINVAL
`,
			except: "open with O_DIRECT is accepted, and gives packets.",
		},
	})
}
