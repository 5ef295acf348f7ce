package integration

import (
	"path/filepath"
	"testing"
)

func TestClientsNode(t *testing.T) {
	need(t, "node")
	node := func(file, scenario string) []string {
		return []string{"node", filepath.Join(sources(t), "node", file), scenario}
	}
	runClients(t, []client{
		{run: node("files.js", "callbacks"), pipes: 1, want: `write: 5 hello
read: 5 hello
full: 65536
write: 100000 
read: 165536
end: 0 
`},
		{run: node("files.js", "errors"), pipes: 1, want: `writer without a reader: ENXIO
no writer yet: 0 
empty: EAGAIN
at a position: ESPIPE
full: 65536 
full: EAGAIN
broken: EPIPE
broken stream: EPIPE
`},
		{run: node("files.js", "streams"), pipes: 1, want: `first 
true 18 18
`},
		{run: node("files.js", "drain"), pipes: 1, want: `full: 65536
go on: false drained: 0
read: 115536 drained: 1
end: 0 
`},
		{run: node("files.js", "through"), pipes: 2, want: `4194304 true
`},
		{run: node("files.js", "broken_pipeline"), pipes: 1, want: `EPIPE
`},
		{run: node("files.js", "lines"), pipes: 1, want: `one
two
three true
`},
		{run: node("files.js", "promises"), pipes: 1, want: `5 hello
to the end of it
`},
		{run: node("files.js", "whole"), pipes: 1, want: `all of it
`},
		{run: node("files.js", "whole_large"), pipes: 1, want: `3145728 true
`,
			except: "for whole files Node reads st_size bytes of a regular file, which is 1 MiB here, and closes.",
		},

		{run: node("processes.js", "cat"), pipes: 2, want: `through cat
exit: 0
end: 0
`},
		{run: node("processes.js", "node"), pipes: 2, want: `got one
got two
got three
end
exit: 0
`},
		{run: node("processes.js", "output"), pipes: 1, want: `1048576 exit: 0
`},
	})
}
