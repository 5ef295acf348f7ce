package integration

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// As for pipes, a Go client is a process of its own: its poller and its threads are not those of these tests, nor the daemon's.
func TestMsgqClientsGo(t *testing.T) {
	need(t, "go")
	bin := filepath.Join(t.TempDir(), "goroutines")
	if out, err := exec.Command("go", "build", "-o", bin, "./clients/msgq/goroutines").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	runQueueClients(t, []queueClient{
		{run: []string{bin, "deadlines"}, want: `no error no error
read: "", deadline
read: "", deadline
read: "three", no error
read: "", deadline
no error
read: "late", no error
no error
read: "", deadline
no error
write: 0, deadline
no error 2
write: 100, no error
100 0
`},
		{run: []string{bin, "closing"}, want: `no error
read: "", closed
read: "", closed
no error
write: 0, closed
8192
8192
0 0 0
`},
		{run: []string{bin, "views"}, want: "4000 received, left: 0\n"},
		{run: []string{bin, "removed"}, want: `read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
read: "", identifier removed
write: 0, identifier removed
no such file or directory
`},
		{run: []string{bin, "jobs"}, want: "3000 jobs, each done once\n"},
		{run: []string{bin, "priorities"}, want: `1:3 1:5 3:1 3:7 5:0 5:4 8:2 9223372036854775807:6 
4 this 1
invalid argument
invalid argument
`},
		{run: []string{bin, "replies"}, want: "each got its own replies\n"},
		{run: []string{bin, "peek"}, want: `type=7 size=3 text=one
type=6 size=9 text=two\nlines
type=5 size=0 text=
type=4 size=2 text=\xff\x00
type=6 type=5 type=4 4
invalid argument
`},
		{run: []string{bin, "lines"}, want: `20000 lines
"hello\n" no error
"world\n" no error
13 bytes, identifier removed one two three
`},
		{run: []string{bin, "raw"}, want: `invalid argument 0
invalid argument 0
invalid argument 0
invalid argument 0
invalid argument 0
invalid argument 1
argument list too long 1
7 seven
`},
	})
}
