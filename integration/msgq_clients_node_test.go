package integration

import (
	"path/filepath"
	"testing"
)

func TestMsgqClientsNode(t *testing.T) {
	need(t, "node")
	node := func(file, scenario string) []string {
		return []string{"node", filepath.Join(sources(t), "msgq", "node", file), scenario}
	}
	runQueueClients(t, []queueClient{
		{run: node("streams.js", "chunks"), want: "EIDRM,EIDRM,EIDRM\n"},
		{run: node("streams.js", "callbacks"), want: `too small: E2BIG left: four
three
EIDRM,EIDRM go
`},
		{run: node("streams.js", "errors"), want: `empty: EAGAIN
too long: EINVAL
pieces too long: EINVAL
pieces: 8192
full: 8192 EAGAIN
no room: E2BIG
room in pieces: 8192
at a position: ESPIPE
8192
:-7 EINVAL
:^7 EINVAL
:7:peek EINVAL
unknown: EINVAL EINVAL false true
another: ENOENT EEXIST
view: EPERM EPERM EINVAL
size: 1048576 true false
removed: EIDRM EIDRM EINVAL 0
`},
		{run: node("streams.js", "writing"), want: `one two 8192 
last
EINVAL 
EIDRM 5000 lines
`},
		{run: node("streams.js", "through"), want: "EIDRM\n"},
		{run: node("streams.js", "peek"), want: `type=3 size=6 text=zwöi\n
type=5 size=0 text=
type=3 size=6 text=zwöi\n
true  5 0
`},
		{run: node("work.js", "jobs"), want: "600 jobs, each done once\n"},
		{run: node("work.js", "priorities"), want: `1:1 1:4 3:2 5:0 5:3
6 5 
{"type":4,"text":"this"} not this
EINVAL
EINVAL
EINVAL
EINVAL

`},
		{run: node("work.js", "replies"), want: "each got its own replies\n"},
		{run: node("work.js", "raw"), want: "as they were\n"},
	})
}
