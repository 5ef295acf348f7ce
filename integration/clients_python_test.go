package integration

import (
	"path/filepath"
	"testing"
)

func TestClientsPython(t *testing.T) {
	need(t, "python3")
	python := func(file, scenario string) []string {
		// -B: no files of Python's beside its sources.
		return []string{"python3", "-B", filepath.Join(sources(t), "python", file), scenario}
	}
	runClients(t, []client{
		{run: python("wait.py", "select"), pipes: 4, want: `data
before: nothing
woken: IN
again: IN
b'hello'
full: 65536
room after full
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: IN
again: IN
b''
full: 65536
last reader closes
before: nothing
woken: OUT
again: OUT
BrokenPipeError
`},
		{run: python("wait.py", "poll"), pipes: 4, want: `data
before: nothing
woken: IN
again: IN
b'hello'
full: 65536
room after full
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: HUP
again: HUP
b''
full: 65536
last reader closes
before: nothing
woken: ERR
again: ERR
BrokenPipeError
`},
		{run: python("wait.py", "epoll"), pipes: 4, want: `data
before: nothing
woken: IN
again: IN
b'hello'
full: 65536
room after full
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: HUP
again: HUP
b''
full: 65536
last reader closes
before: nothing
woken: ERR
again: ERR
BrokenPipeError
`},
		{run: python("wait.py", "edge"), pipes: 4, want: `data
before: nothing
woken: IN
again: nothing
b'hello'
full: 65536
room after full
before: nothing
woken: OUT
again: nothing
last writer closes
before: nothing
woken: HUP
again: nothing
b''
full: 65536
last reader closes
before: nothing
woken: ERR
again: nothing
BrokenPipeError
`},
		{run: python("wait.py", "selectors"), pipes: 4, want: `data
before: nothing
woken: IN
again: IN
b'hello'
full: 65536
room after full
before: nothing
woken: OUT
again: OUT
last writer closes
before: nothing
woken: IN
again: IN
b''
full: 65536
last reader closes
before: nothing
woken: OUT
again: OUT
BrokenPipeError
`},

		{run: python("files.py", "text"), pipes: 1, want: `seekable: False False tty: False
'first\n'
'sec\xf6nd\n'
'third, without an end but here\n'
'fourth\n'
'fifth'
''
`},
		{run: python("files.py", "line_buffered"), pipes: 1, want: `BlockingIOError
b'half whole\n'
`},
		{run: python("files.py", "split_character"), pipes: 1, want: `'\U0001f642'
`},
		{run: python("files.py", "binary_buffered"), pipes: 1, want: `held back: no position
b'012' b'0123' b'456789'
b'ten bytes.and 10 mor'
300001 b''
`},
		{run: python("files.py", "binary_unbuffered"), pipes: 1, want: `write: 10
b'0123' b'456789'
3 b'abc\x00\x00\x00\x00\x00'
100000 b''
`},
		{run: python("files.py", "non_blocking"), pipes: 1, want: `None None b''
write: 65536 None
65536 None
b'' b''
`},
		{run: python("files.py", "update"), pipes: 1, want: `File or stream is not seekable.
b'to myself'
b'appended'
b'a line\n'
OSError Illegal seek
OSError Illegal seek
`},
		{run: python("files.py", "calls"), pipes: 1, want: `3 8
b'onetw'
6 b'ee'
b'woken'
full: 65536
8192 5000 62344
BrokenPipeError Broken pipe
OSError No such device or address
`},
		{run: python("files.py", "sendfile"), pipes: 1, want: `30000
True
`},
		{run: python("files.py", "connection"), pipes: 1, want: `False
True {'a': [1, 2, 3]}
True b'woken'
1048576 None
EOFError
`},

		{run: python("processes.py", "stdin"), pipes: 1, want: `b'through cat\n'
b'' 0
`},
		{run: python("processes.py", "stdout"), pipes: 1, want: `588895 b'1\n2\n3\n' b'100000\n' 0
`},
		{run: python("processes.py", "broken"), pipes: 1, want: `b'yes\n'
-13
`},
		{run: python("processes.py", "by_name"), pipes: 1, want: `b'one\n' 0
Linux
 0
`},
		{run: python("processes.py", "run_input"), pipes: 1, want: `b'done\n'
b'by number'
`},
		{run: python("processes.py", "pipeline"), pipes: 2, want: `[b'17195'] 0 0 0
`},
		{run: python("processes.py", "python"), pipes: 2, want: `'False\n'
'got line 0\n'
'got line 1\n'
'got line 2\n'
'\n' 0
`},

		{run: python("aio.py", "wakes"), pipes: 4, want: `b'hello'
full: 65536
full: 65536
b''
BrokenPipeError
`},
		{run: python("aio.py", "many"), pipes: 16, want: `16 True
`},
		{run: python("aio.py", "stream"), pipes: 1, want: `b'one\n'
b'two\n'
b'12345'
b'rest' True
`},
		{run: python("aio.py", "timeout"), pipes: 1, want: `timeout
b'later'
`},
		{run: python("aio.py", "process"), pipes: 2, want: `b'through cat'
b'' 0
`},
	})
}
