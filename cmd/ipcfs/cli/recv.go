package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/fs"
)

// recvConfig is what the command line of recv asks for.
type recvConfig struct {
	selector string
	count    uint
	follow   bool
	timeout  timeout
	format   format
}

func newRecv() *cobra.Command {
	c := recvConfig{count: 1, format: format{of: []string{"text", "json", "raw"}}}
	cmd := &cobra.Command{
		Use:   "recv [flags] PATH",
		Short: "Receive messages from a message queue",
		Long: `Take a message from the queue PATH and print it; wait while there is none. Of several who
receive, each message goes to one.

--type chooses: 7 is the first message of type 7, -7 the first of the lowest type that is not
above 7, and ^7 the first of any type but 7. Without it any message is taken.

--format is how a message is printed: text ends it with a newline unless it has one, raw
adds nothing, json makes it a line such as {"type":7,"size":5,"text":"hello"}, with "data"
in base64 instead of "text" if the message is not UTF-8.

With --timeout the exit status is 1 if no message came in time; what came before has been
printed. It is 1 too when the queue is removed. When nobody reads the output any more the
command ends and takes no other message; while the output is full it takes none. A message
that was taken and then cannot be printed is lost.

  ipcfs recv DIR/msgq/jobs
  ipcfs recv --type 7 --timeout 0 DIR/msgq/jobs   # one that is there, of type 7
  ipcfs recv -n 3 --format json DIR/msgq/jobs
  ipcfs recv -f DIR/msgq/jobs | while read -r job; do echo "$job"; done
  ipcfs recv --format raw DIR/msgq/jobs > file    # as: dd bs=1M count=1 if=DIR/msgq/jobs > file`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case c.count == 0:
				return usagef("-n 0: at least 1")
			case c.follow && cmd.Flags().Changed("count"):
				return usagef("--follow and --count exclude each other")
			}
			return onePath(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.receive(args[0], cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&c.selector, "type", "", "take only messages that `N`, -N or ^N selects (default: any)")
	f.UintVarP(&c.count, "count", "n", c.count, "end after so many messages")
	f.BoolVarP(&c.follow, "follow", "f", false, "go on until interrupted, or until the queue is removed")
	f.Var(&c.timeout, "timeout", "wait at most so long for each message, as 2.5 (seconds) or 100ms; 0: not at all (default: no limit)")
	c.format.addTo(cmd, "how to print a message")
	return cmd
}

// receive prints as many messages as it is to.
func (c *recvConfig) receive(path string, out io.Writer) error {
	selector, err := parseSelector(c.selector)
	if err != nil {
		return err
	}
	q, err := openQueue(path, rawView(selector), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer q.close()
	r := &receiver{queue: q, out: output{out, -1}, timeout: c.timeout, buf: make([]byte, firstRoom)}
	if out == io.Writer(os.Stdout) {
		r.out.fd = int32(unix.Stdout)
	}
	for n := uint(0); c.follow || n < c.count; n++ {
		mtype, text, err := r.next()
		switch {
		case errors.Is(err, errNone):
			return c.none(path)
		case errors.Is(err, errOutputGone):
			return endByBrokenPipe()
		case err != nil:
			return queueError(path, err)
		}
		shown, err := c.show(mtype, text)
		if err != nil {
			return err
		}
		if _, err := r.out.Write(shown); err != nil {
			return fmt.Errorf("%w; a message of %s was taken and is lost", outputError(err), count(len(text), "byte"))
		}
	}
	return nil
}

// none says that no message came in time.
func (c *recvConfig) none(path string) error {
	what := "message"
	switch sign, number := c.selector[:min(1, len(c.selector))], strings.TrimLeft(c.selector, "-^"); sign {
	case "":
	case "-":
		what += " of type " + number + " or below"
	case "^":
		what += " of a type other than " + number
	default:
		what += " of type " + number
	}
	if c.timeout.d == 0 {
		return fmt.Errorf("%s has no %s now", path, what)
	}
	return fmt.Errorf("%s: no %s came within %v", path, what, c.timeout.d)
}

// show is a message as it is printed; it may be text itself, with the room behind it.
func (c *recvConfig) show(mtype int64, text []byte) ([]byte, error) {
	switch c.format.value {
	case "json":
		return formatJSON(mtype, nil, text)
	case "text":
		if len(text) == 0 || text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
	}
	return text, nil
}

// output is where messages are printed.
type output struct {
	io.Writer
	fd int32 // to poll; -1 if there is none
}

// errOutputGone is that nobody reads the output any more.
var errOutputGone = errors.New("nobody reads the output any more")

// errNone is that no message came in time.
var errNone = errors.New("no message")

// typeSize is the size of the type before the text in struct msgbuf.
const typeSize = 8

// Room for a message. Most need less than firstRoom, and the kernel has a price for each page that a read could fill.
const (
	firstRoom = 16 << 10
	mostRoom  = typeSize + fs.MaxMsgMax
)

// receiver takes messages from a queue, opened with O_NONBLOCK.
type receiver struct {
	queue   *queue
	out     output
	timeout timeout
	buf     []byte
}

// next takes a message, once there is room in the output; text is good until the next one. errNone, errOutputGone, or what read(2) says.
func (r *receiver) next() (mtype int64, text []byte, err error) {
	if err := r.waitForOutput(); err != nil {
		return 0, nil, err
	}
	deadline := time.Now().Add(r.timeout.d)
	for {
		n, err := r.queue.Read(r.buf)
		switch {
		case errors.Is(err, unix.E2BIG) && len(r.buf) < mostRoom: // it is still there
			r.buf = make([]byte, mostRoom)
		case errors.Is(err, unix.EAGAIN):
			left := time.Duration(-1)
			if r.timeout.limited {
				if left = time.Until(deadline); left <= 0 {
					return 0, nil, errNone
				}
			}
			if err := r.waitForMessage(left); err != nil {
				return 0, nil, err
			}
		case err != nil:
			return 0, nil, err
		default:
			return int64(binary.NativeEndian.Uint64(r.buf)), r.buf[typeSize:n], nil
		}
	}
}

// waitForOutput waits until something can be printed.
func (r *receiver) waitForOutput() error {
	if r.out.fd < 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: r.out.fd, Events: unix.POLLOUT}}
	if err := retry(func() error { _, err := unix.Ppoll(fds, nil, nil); return err }); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	return isGone(fds[0])
}

// waitForMessage waits for a message, at most as long as left unless that is negative, and as long as somebody reads the output. It may return earlier.
func (r *receiver) waitForMessage(left time.Duration) error {
	fds := []unix.PollFd{{Fd: r.out.fd}, {Fd: int32(r.queue.fd), Events: unix.POLLIN}} // a negative one is passed over
	var most *unix.Timespec
	if left >= 0 {
		t := unix.NsecToTimespec(int64(left))
		most = &t
	}
	if _, err := unix.Ppoll(fds, most, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	return isGone(fds[0])
}

// isGone is errOutputGone if poll(2) says it of the output.
func isGone(out unix.PollFd) error {
	if out.Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
		return errOutputGone
	}
	return nil
}

// endByBrokenPipe ends the process as a write to standard output would: by SIGPIPE, as other tools end. (Go's runtime takes that signal for a reason to end only
// from a write, and a write to the true output might find that somebody reads it again.)
func endByBrokenPipe() error {
	r, w, err := os.Pipe()
	if err == nil {
		_ = r.Close()
		if err = unix.Dup3(int(w.Fd()), unix.Stdout, 0); err == nil {
			_, err = os.Stdout.Write([]byte{0})
		}
	}
	return outputError(err)
}
