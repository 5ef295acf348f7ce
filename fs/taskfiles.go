package fs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// taskFiles reads one file of /proc/TID, of one thread after the other. It keeps those of the threads open that it was asked about last, since most requests come from
// the thread that sent the one before, and to open a file takes longer than to read it. It has no lock.
type taskFiles struct {
	name string       // of the file
	seen [16]struct { // by thread, as many as there is room for
		tid uint32 // 0: none
		fd  int
	}
}

// read reads the beginning of the file of the thread tid into buf. The errors are those of open(2) and pread(2).
func (t *taskFiles) read(tid uint32, buf []byte) (n int, err error) {
	s := &t.seen[tid%uint32(len(t.seen))]
	err = unix.ESRCH
	if s.tid == tid {
		n, err = unix.Pread(s.fd, buf, 0)
	}
	if errors.Is(err, unix.ESRCH) { // nobody was looked at here, or a thread that is gone and whose number this one has got
		t.forget(s.tid)
		var fd int
		if fd, err = unix.Open(fmt.Sprintf("/proc/%d/%s", tid, t.name), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			s.tid, s.fd = tid, fd
			n, err = unix.Pread(fd, buf, 0)
		}
	}
	return max(n, 0), err
}

// forget closes what is open of a thread.
func (t *taskFiles) forget(tid uint32) {
	if s := &t.seen[tid%uint32(len(t.seen))]; tid != 0 && s.tid == tid {
		_ = unix.Close(s.fd)
		s.tid = 0
	}
}

// close closes all.
func (t *taskFiles) close() {
	for _, s := range t.seen {
		t.forget(s.tid)
	}
}
