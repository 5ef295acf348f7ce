package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/objects/msgq"
)

// What the commands have in common that send to message queues and receive from them. They do it through views of the queue (PATH:VIEW), as anybody could.

// queue is an open view of a message queue. Go's own poller knows nothing of it: what waits is a system call on fd.
type queue struct {
	path string // as the user wrote it
	fd   int
}

// openQueue opens a view of the queue at path, with access mode flags. It never makes a file. The errors are ready to be shown.
func openQueue(path, view string, flags int) (*queue, error) {
	if err := checkQueue(path); err != nil {
		return nil, err
	}
	name, err := queueName(path)
	if err != nil {
		return nil, err
	}
	var fd int
	err = retry(func() (err error) {
		fd, err = unix.Open(name+":"+view, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EIDRM): // it was there a moment ago
		if _, err := os.Lstat(name); err == nil {
			return nil, notQueue(path)
		}
		return nil, removed(path)
	case errors.Is(err, unix.EACCES):
		doing := map[int]string{unix.O_RDONLY: "reading", unix.O_WRONLY: "writing"}[flags&unix.O_ACCMODE]
		return nil, fmt.Errorf("%s may not be opened for %s: permission denied; its owner can change the mode (ls -l shows both)", path, doing)
	case err != nil:
		return nil, fmt.Errorf("%s:%s cannot be opened: %w", path, view, err)
	}
	// On another file system it might be any file of that name.
	if err := sameFileSystem(path, fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &queue{path, fd}, nil
}

func (q *queue) close() { _ = unix.Close(q.fd) }

// Read is read(2).
func (q *queue) Read(b []byte) (n int, err error) {
	err = retry(func() (err error) {
		n, err = unix.Read(q.fd, b)
		return err
	})
	switch {
	case err != nil:
		return 0, err
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// retry repeats a system call that a signal of Go's own runtime interrupted: FUSE does not restart it.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fuseMagic is the type of a FUSE file system to statfs(2), FUSE_SUPER_MAGIC (include/uapi/linux/magic.h).
const fuseMagic = 0x65735546

// checkQueue says what is wrong with path if no queue is there.
func checkQueue(path string) error {
	var st unix.Stat_t
	switch err := retry(func() error { return unix.Stat(path, &st) }); {
	case errors.Is(err, unix.ENOENT):
		return noQueue(path)
	case err != nil:
		return queueError(path, err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("%s is a directory; name a queue in it", path)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return notQueue(path)
	}
	var in unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(path, &in) }); err != nil {
		return queueError(path, err)
	}
	if in.Type != fuseMagic {
		return notQueue(path)
	}
	// Only a queue has it. Who may only send may not look at it, and has to believe.
	err := retry(func() error { _, err := unix.Getxattr(path, "user.ipc.q_qbytes", make([]byte, 32)); return err })
	switch {
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP):
		return notQueue(path)
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EIDRM):
		return removed(path)
	case err != nil && !errors.Is(err, unix.EACCES):
		return queueError(path, err)
	}
	return nil
}

// noQueue says that nothing is at path, and what to do.
func noQueue(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is a symbolic link to what does not exist", path)
	}
	dir := path[:strings.LastIndexByte(path, '/')+1]
	if dir == "" {
		dir = "."
	}
	var in unix.Statfs_t
	switch err := unix.Statfs(dir, &in); {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s does not exist, nor does the directory; is an ipcfs mounted there?", path)
	case err == nil && in.Type != fuseMagic:
		return fmt.Errorf("%s does not exist, and no ipcfs is mounted there; queues are in msgq/ of a mount", path)
	}
	return fmt.Errorf("%s does not exist; make the queue first: touch %s", path, path)
}

func notQueue(path string) error {
	return fmt.Errorf("%s is not a message queue of an ipcfs; queues are in msgq/ of a mount", path)
}

func removed(path string) error { return fmt.Errorf("%s was removed", path) }

// queueName is a path of the queue to which :VIEW can be added: not one of a symbolic link.
func queueName(path string) (string, error) {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeSymlink == 0 {
		return path, nil // what is wrong, open says
	}
	name, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, unix.ENOENT): // through /proc/PID/fd
		return "", fmt.Errorf("%s has no name, and so no views; write and read it itself", path)
	case err != nil:
		return "", queueError(path, err)
	case hasView(name):
		return "", fmt.Errorf("%s leads to a view of a queue (%s); name the queue, and choose by --type", path, name)
	}
	return name, nil
}

// sameFileSystem makes sure that fd is where path is.
func sameFileSystem(path string, fd int) error {
	var of, opened unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &opened) }); err != nil {
		return queueError(path, err)
	}
	switch err := retry(func() error { return unix.Stat(path, &of) }); {
	case errors.Is(err, unix.ENOENT):
		return removed(path)
	case err != nil:
		return queueError(path, err)
	case of.Dev != opened.Dev:
		return notQueue(path)
	}
	return nil
}

// queueError says what is wrong with the queue at path.
func queueError(path string, err error) error {
	switch {
	case errors.Is(err, unix.EIDRM):
		return removed(path)
	case errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED):
		return fmt.Errorf("%s is on a mount whose daemon has ended; 'ipcfs mount' on its directory makes a new one", path)
	}
	var errno unix.Errno
	if errors.As(err, &errno) { // without the words that Go puts before it
		err = errno
	}
	return fmt.Errorf("%s: %w", path, err)
}

// hasView says whether path names a view: a queue has no colon in its name.
func hasView(path string) bool {
	path = strings.TrimRight(path, "/")
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ":")
}

// checkPath is the check of an argument that names a queue.
func checkPath(path string) error {
	switch {
	case path == "":
		return usagef("the path of the queue is empty")
	case hasView(path):
		return usagef("%s names a view; name the queue, and choose by --type", path)
	}
	return nil
}

// onePath is the check for commands that take one queue.
func onePath(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("exactly one queue is needed, %d given", len(args))
	}
	return checkPath(args[0])
}

// parseSelector reads the value of --type of a receiver: N, -N, ^N or, for any message, nothing.
func parseSelector(s string) (msgq.Selector, error) {
	if s == "" {
		return msgq.Selector{}, nil
	}
	v, err := msgq.ParseView(s)
	if err != nil || v.Mode != msgq.ModeMessage {
		return msgq.Selector{}, usagef("--type %s: not N, -N or ^N with N from 1 to 2^63-1", s)
	}
	return v.Selector, nil
}

// rawView is the view in which each read and write is struct msgbuf.
func rawView(s msgq.Selector) string { return msgq.View{Selector: s, Mode: msgq.ModeRaw}.String() }

// timeout is a flag value: how long to wait.
type timeout struct {
	limited bool // it was given
	d       time.Duration
}

var secondsForm = regexp.MustCompile(`^\d+(\.\d+)?$`)

// Set parses s: seconds, or a duration of Go's.
func (t *timeout) Set(s string) error {
	text := s
	if secondsForm.MatchString(s) {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time such as 0, 2.5, 100ms or 1m30s", s)
	}
	*t = timeout{true, d}
	return nil
}

// String is the time as Set reads it, nothing if none was given.
func (t *timeout) String() string {
	if !t.limited {
		return ""
	}
	return t.d.String()
}

// Type names the value in the help.
func (*timeout) Type() string { return "time" }

// within makes a system call on a file of ipcfs, where no signal lets a call go on; after d a signal ends its wait, and the error is EINTR. (To wait in poll(2)
// instead does not do for a write, as POLLOUT promises room for one byte only, and it would have no place among those who wait.)
func within(d time.Duration, call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	var late atomic.Bool
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// Again and again, since a signal that comes before the call is lost. This one Go's runtime sends itself.
		for wait := d; ; wait = time.Millisecond {
			select {
			case <-stop:
				return
			case <-time.After(wait):
				late.Store(true)
				_ = unix.Tgkill(pid, tid, unix.SIGURG)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	for {
		if err := call(); !errors.Is(err, unix.EINTR) || late.Load() {
			return err
		}
	}
}

// message is how a message is shown as JSON.
type message struct {
	Type int64   `json:"type"`
	Size int     `json:"size"`
	PID  *uint32 `json:"pid,omitempty"`  // who sent it, if that is known
	Text *string `json:"text,omitempty"` // nil if it is not UTF-8, which JSON cannot hold
	Data []byte  `json:"data,omitempty"` // then all of it
}

// formatJSON is a message as a line.
func formatJSON(mtype int64, pid *uint32, text []byte) ([]byte, error) {
	m := message{Type: mtype, Size: len(text), PID: pid}
	if utf8.Valid(text) {
		s := string(text)
		m.Text = &s
	} else {
		m.Data = text
	}
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(m)
	return line.Bytes(), err
}

// format is a flag value: one of some words.
type format struct {
	value string
	of    []string
}

// Set takes s if it is one of the words.
func (f *format) Set(s string) error {
	for _, word := range f.of {
		if s == word {
			f.value = s
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", s, strings.Join(f.of, ", "))
}

// String is the word.
func (f *format) String() string { return f.value }

// Type names the words in the help.
func (f *format) Type() string { return strings.Join(f.of, "|") }

// addTo adds the flag --format to a command.
func (f *format) addTo(cmd *cobra.Command, usage string) {
	f.value = f.of[0]
	cmd.Flags().Var(f, "format", usage)
	if err := cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(f.of, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// outputError says why nothing more can be printed.
func outputError(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("standard output: %w", err)
}

// count is n and what there are n of.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
