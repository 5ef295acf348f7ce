package integration

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// A Go client is a process of its own: in the daemon's, or in that of these tests, its poller and its threads would not be those of a client.
func TestClientsGo(t *testing.T) {
	need(t, "go")
	bin := filepath.Join(t.TempDir(), "files")
	if out, err := exec.Command("go", "build", "-o", bin, "./clients/go/files").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	runClients(t, []client{
		{run: []string{bin, "deadlines"}, pipes: 1, want: `read in time: no error
read: "", deadline
read: "", deadline
no deadline: no error
write: 3, no error
read: "\x00\x00\x00", no error
in the past: no error
read: "", deadline
write: 3, no error
read: "", deadline
far away: no error
read: "\x00\x00\x00", no error
in the past: no error
write: 65536, deadline
write in time: no error
write: 0, deadline
no deadline: no error
read: 69632, no error
write: 4096, no error
close: no error
read: "", EOF
`},
		{run: []string{bin, "close"}, pipes: 1, want: `close: no error
read: "", closed
read: "", closed
write: 0, broken pipe
`},
		{run: []string{bin, "open"}, pipes: 1, want: `open: no such device or address
open: no error
read: "", EOF
open: no error
write: 3, no error
read: "\x00\x00\x00", no error
write: 200000, no error, closed: no error
copy: 200000, no error
`},
		{run: []string{bin, "sigpipe"}, pipes: 1, want: `write: 65536, broken pipe
write: 0, broken pipe
`},
		{run: []string{bin, "lines"}, pipes: 1, want: `true line 0
true line 1
true line 2
100000 no error no error
`},
		{run: []string{bin, "copy"}, pipes: 2, want: `copied 16777216 no error
copied 16777216 no error
copied 16777216 no error
the same: true
`},
		{run: []string{bin, "whole"}, pipes: 1, want: `3145728 true no error no error
`},
		{run: []string{bin, "many"}, pipes: 1, want: `64 goroutines wrote 200 lines each
`},
		{run: []string{bin, "both"}, pipes: 1, want: `write: 1048576, no error
read: 1048576
`},
		{run: []string{bin, "descriptors"}, pipes: 1, want: `write: 3, no error
read: "\x00\x00\x00", no error, no error
waited: true
non-blocking: false
read: "", EOF
`},
		{run: []string{bin, "commands"}, pipes: 1, want: `no error, no error, 40951
"y\ny\n", no error, no error
signal: broken pipe
`},
	})
}
