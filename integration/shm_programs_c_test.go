package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compileShm compiles clients/shm/*.c into a directory of the test, and returns how to run a scenario of one.
func compileShm(t *testing.T) func(name, scenario string) []string {
	t.Helper()
	need(t, "cc")
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(sources(t), "shm", "*.c"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	for _, f := range files {
		bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(f), ".c"))
		if out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, f, "-lrt").CombinedOutput(); err != nil {
			t.Fatalf("cc %s: %v\n%s", f, err, out)
		}
	}
	return func(name, scenario string) []string { return []string{filepath.Join(dir, name), scenario} }
}

// The holder of a lock that is killed is gone when the test has reaped it, and so must its locks be.
func TestShmC(t *testing.T) {
	c := compileShm(t)
	runShmPrograms(t, []shmProgram{
		{run: c("memory", "shared"), want: `no segment yet: ENOENT
new: 0 bytes, 0 blocks, FD_CLOEXEC 1
outside: -rw-r----- 1 131072 block "hello"
another exclusive open: EEXIST
the other reads: hello, on another page
reads: stored by the other, the end
pread: stored by the other
the other reads what was written: written
reads: written by the other
outside: -rw-r----- 1 131072 block "stored by the ot"
unlinked again: ENOENT
unlinked, opened: ENOENT
outside: nothing
outside: -rw------- 1 65536 block "another one by t"
the other, after unlink: stored by the other
after unlink: still shared
left alone: still shared; another one by the same name
`},
		{run: c("memory", "resize"), want: `touched, empty
child ended by Bus error
touched, one unit
it is 1
touched, beyond the end
child ended by Bus error
outside: -rw------- 1 196608 block "xxxxxxxxxxxxxxxx"
kept: x x, of the last page: 0
touched, cut off
child ended by Bus error
grown again: x, then 0
a hole: 121 0 121
posix_fallocate: 0
outside: -rw------- 1 262144 block "yyyyyyyyyyyyyyyy"
pread: remapped
touched, O_TRUNC
child ended by Bus error
empty again: 0
`},
		{run: c("memory", "protection"), want: `writable mapping of a file opened for reading: EACCES
touched, for reading only
child ended by Segmentation fault
mprotect: EACCES
shared shared mine, seen
ftruncate: EINVAL
write: EBADF
`},
		{run: c("memory", "atomics"), want: `sum: 2000000
`},
		{run: c("memory", "kept"), want: `wrong words: 0
wrong words after MADV_PAGEOUT: 0
posix_fadvise: 0
read: 16777216, wrong words: 0
`},
		{run: c("memory", "code"), want: `written: 42
patched: 43
added: 44
private: 43
made executable: 43
`},

		{run: c("sync", "named-semaphores"), want: `none yet: ENOENT
another exclusive one: EEXIST
the same in one process: 1
outside: -rw------- 1 32 sem.ping ""
outside: -rw------- 1 32 sem.pong ""
ping: 0
sem_trywait: EAGAIN
sem_timedwait: ETIMEDOUT
it waited: 1
sem_timedwait: 0
sem_timedwait: ETIMEDOUT
unlinked again: ENOENT
another one by the same name: 1
outside: -rw------- 1 32 sem.pong ""
the other, unlinked: ENOENT
the other was woken
the fourth of three: EAGAIN
`},
		{run: c("sync", "semaphore-race"), want: `not all had the same: 0 of 30
outside: nothing
`},
		{run: c("sync", "mutexes"), want: `outside: -rw------- 1 65536 sync "state"
counter: 200000, turns: 2000
pthread_cond_timedwait: ETIMEDOUT
`},
		{run: c("sync", "robust"), want: `another tries: EBUSY
child ended by Killed
lock: EOWNERDEAD
words: 1 0
another tries: EBUSY
consistent: 0
another tries: 0
lock: 0
holder without pages
child ended by Killed
lock: EOWNERDEAD
words: 2 1
another tries: EBUSY
consistent: 0
another tries: 0
lock: 0
holder that exits
lock: EOWNERDEAD
words: 3 2
another tries: EBUSY
consistent: 0
another tries: 0
lock: 0
holder that becomes another program
lock: EOWNERDEAD
words: 4 3
another tries: EBUSY
consistent: 0
another tries: 0
lock: 0
somebody waits
child ended by Killed
the waiter locks: EOWNERDEAD
the waiter repairs: 0
another tries: 0
not repaired
child ended by Killed
lock: EOWNERDEAD
lock: ENOTRECOVERABLE
`},
		{run: c("sync", "robust-storm"), want: `child ended by Killed
child ended by Killed
not as it should be: 0 of 60
`},
		{run: c("sync", "futexes"), want: `nobody waits: 0
another value: EAGAIN
timeout: ETIMEDOUT
another word: 0
private: 0
wake 2: 2
woken: 0, word is 6
woken: 0, word is 6
moved to another word: 1
wake nobody: 0
wake all: 1
woken: 0, word is 6
wake by another mapping: 1
woken, may only read: 0, word is 7
child ended by Killed
wake all: 0
`},

		{run: c("locks", "flock"), want: `first: exclusive: 0
exclusive: EAGAIN
shared: EAGAIN
child ended by Killed
waited: exclusive: 0
first: shared: 0
shared: 0
exclusive: EAGAIN
mine: shared: 0
child ended by Killed
exclusive, one shared left: EAGAIN
unlock: 0
waited: exclusive: 0
mine: exclusive: 0
another open file: EAGAIN
a duplicate: 0
one of two closed: EAGAIN
both closed: 0
a new file by the same name: 0
`},
		{run: c("locks", "fcntl"), want: `free: nobody
first: write 100+100: 0
all: write 100 100, by whom it should
before: nobody
behind: nobody
its last byte: write 100 100, by whom it should
before: 0
its first byte: EAGAIN
child ended by Killed
waited: read: 0
after the kill: read 150 0, by whom it should
for reading: nobody
another reader: 0
mine: write: EAGAIN
mine: write 0+150: 0
first: write 500: 0
freed by exit: 0
mine is not the child's: EAGAIN
mine by another open file: 0
after a close: 0
`},
		{run: c("locks", "deadlock"), want: `crosswise: EDEADLK
the other waited and has it
`},
		{run: c("locks", "ofd"), want: `mine: write 0+10: 0
another open file: EAGAIN
another open file, behind: 0
in the way: write 0 10
in the way of a process: write 0 10
a lock of the process: EAGAIN
others: EAGAIN
others, the child has it: EAGAIN
child ended by Killed
waited: write 0+20: 0
what waited: write 0 20
a process: write 0+10: 0
in the way of an open file: write 0 10
an open file: EAGAIN
child ended by Killed
waited: write: 0
flock: 0
records beside flock: 0
records of open files beside flock: 0
`},
		{run: c("locks", "ofd-pids"), want: `an open file, asked by another: write 0 10, by whom it should
an open file, asked by a process: write 0 10, by whom it should
a process: 0
a process, asked by an open file: write 0 10, by whom it should
child ended by Killed
`,
			except: "FUSE does not say which locks belong to an open file, so F_GETLK names the process that set one, where Linux says -1.",
		},

		{run: c("files", "links"), want: `link to a name that is there: EEXIST
the same: 1
linked: 2 links, 8 bytes: one file
stored by the other name: 2 links, 8 bytes: two name
outside: -rw------- 2 8 first "two name"
outside: -rw------- 2 8 second "two name"
the first name is gone: 1 links, 8 bytes: two name
outside: -rw------- 1 8 second "two name"
both are gone: 0 links, 8 bytes: two name
a link of what has no name: ENOENT
`},
		{run: c("files", "tmpfile"), want: `new: 0 links, 7 bytes: no name
outside: nothing
linkat AT_EMPTY_PATH: 0
linkat /proc/self/fd: 0
linkat /proc/self/fd: EEXIST
linked: 2 links, 7 bytes: 2 names
the same: 1
outside: -rw-r----- 2 7 first "2 names"
outside: -rw-r----- 2 7 second "2 names"
linkat /proc/self/fd: 0
linked: 1 links, 0 bytes: 
linkat /proc/self/fd: ENOENT
O_TMPFILE for reading only: EINVAL
`},
		{run: c("files", "renames"), want: `RENAME_NOREPLACE: EEXIST
RENAME_EXCHANGE: 0
outside: -rw------- 1 9 current "version 2"
outside: -rw------- 1 9 next "version 1"
on top of the other: 1 links, 9 bytes: version 3
replaced: 0 links, 9 bytes: version 4
outside: drwxr-xr-x directory
moved: 1 links, 9 bytes: version 5
rmdir: ENOTEMPTY
outside: Lrwxrwxrwx 1 symlink
`},
		{run: c("files", "programs"), want: `execve: ETXTBSY
hello from /dev/shm/program
script: /dev/shm/script
hello from /dev/shm/program
execve: EACCES
hello from /dev/shm/program
open for writing while it runs: ETXTBSY
truncate while it runs: ETXTBSY
open for reading while it runs: 0
outside: -rw-r--r-- 1 26 script "#!/bin/sh\necho s"
outside: -rwxr-xr-x 1 25 interpreted "#!/dev/shm/progr"
`},
		{run: c("files", "sockets"), want: `bound again: EADDRINUSE
nobody listens: ECONNREFUSED
outside: Srwxr-xr-x 1 datagrams
outside: Srwxr-xr-x 1 stream
connected to /dev/shm/stream of the parent: 1
the server read: hello
the client read: welcome
datagram: datagram
open: ENXIO
closed: ECONNREFUSED
unlinked: ENOENT
`},
		{run: c("files", "fifo"), want: `again: EEXIST
nobody reads: ENXIO
outside: prw------- 1 fifo
read: 16 through the fifo
read: 0
`},
	})
}
