package integration

import (
	"path/filepath"
	"regexp"
	"testing"
)

func TestMsgqClientsPython(t *testing.T) {
	need(t, "python3")
	python := func(file string, args ...string) []string {
		// -B: no files of Python's beside its sources.
		return append([]string{"python3", "-B", filepath.Join(sources(t), "msgq", "python", file)}, args...)
	}
	var clients []queueClient
	for _, how := range []string{"multiprocessing", "subprocess"} {
		clients = append(clients, queueClient{run: python("work.py", "jobs", how), want: "1000 jobs, each done once\n"})
	}
	for _, by := range []string{"select", "poll", "epoll", "selectors", "edge"} {
		want := `empty:
7: q q:-7 q:7 q:7:raw q:lines q:stream
again: q q:-7 q:7 q:7:raw q:lines q:stream
received:
2: q q:-7 q:^7 q:lines q:stream
again: q q:-7 q:^7 q:lines q:stream
received:
9: q q:^7 q:lines q:stream
again: q q:^7 q:lines q:stream
received:
removed: q q:-7 q:7 q:7:raw q:^7 q:lines q:stream
EIDRM
`
		if by == "edge" {
			want = regexp.MustCompile("again:.*\n").ReplaceAllString(want, "")
		}
		clients = append(clients, queueClient{run: python("ready.py", "views", by), want: want})
	}
	runQueueClients(t, append(clients, []queueClient{
		{run: python("work.py", "priorities"), want: `[(1, b'1'), (1, b'4'), (3, b'2'), (5, b'0'), (5, b'3')]
EAGAIN
b'6' b'5' EAGAIN
EINVAL EINVAL EINVAL
`},
		{run: python("work.py", "replies"), want: "each got its own replies\n"},
		{run: python("work.py", "peek"), want: `b'one\n' 256 b''
`},
		{run: python("work.py", "raw"), want: `EINVAL
EINVAL
EINVAL
EINVAL
EINVAL
E2BIG EINVAL True EAGAIN
`},

		{run: python("ready.py", "many"), want: "0 left of 3200\n"},
		{run: python("ready.py", "work"), want: "60 jobs in order\n"},
		{run: python("ready.py", "replies"), want: "each got its own replies\n"},
		{run: python("ready.py", "ends"), want: `timeout
b'later'
1
['OSError Identifier removed'] 1
`},
		{run: python("ready.py", "lines"), want: `b'the last'
b'' True
`},

		{run: python("files.py", "writers"), want: `[b'one message', b'another']
[b'a line\n', b'two words\n', b'no end']
1 8192 1
[1, 8192, 1]
[b'appended', b'0\n', b'1\n', b'2\n']
EINVAL 0
EEXIST EEXIST EINVAL
EINVAL
`},
		{run: python("files.py", "readers"), want: `b'one' 3 b'two' E2BIG b'three'
False False ESPIPE ESPIPE
['zeile eins\n', 'zeile zw\xf6i\n', 'rest of it\n']
b'012' b'34' b'3456' b'789'
None
`},
		{run: python("files.py", "loop"), want: "['Identifier removed', 'Identifier removed', 'Identifier removed']\n"},
		{run: python("files.py", "programs"), want: `b'hello\n'
b'cat: -: Identifier removed\n' 1
`},
		{run: python("files.py", "copies"), want: `[8000, 8000]
type=3
ENODEV
1 True False True
`},
		{run: python("files.py", "logs"), want: `[b'it burns\n', b'it smokes\n', b'so it goes\n', b'so it went\n']
`},
		{run: python("files.py", "text_of_a_moment"), want: "type=1 2\n"},
	}...))
}
