package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/fs"
	"ipcfs/objects/msgq"
)

// sendConfig is what the command line of send asks for.
type sendConfig struct {
	mtype       string
	lines, null bool
	timeout     timeout
}

func newSend() *cobra.Command {
	var c sendConfig
	cmd := &cobra.Command{
		Use:   "send [flags] PATH [TEXT...]",
		Short: "Send messages to a message queue",
		Long: `Send each TEXT as one message to the queue PATH, in order, with no newline added. Without
TEXT all of standard input is one message; with --lines each of its lines is one, newline
included; with --null all that ends with a NUL is one, without it. What is left behind the
last newline or NUL is a message too.

While the queue is full the command waits for room, with --timeout as long as that for each
message. It makes no queue. If it fails, what it sent before stays sent, and the error
says how much that was.

  ipcfs send DIR/msgq/jobs 'first job' 'second job'
  ipcfs send --type 7 DIR/msgq/jobs urgent   # as: printf urgent > DIR/msgq/jobs:7
  ipcfs send DIR/msgq/jobs -- -x             # a text that looks like a flag
  ipcfs send DIR/msgq/jobs < picture         # at most msgmax bytes
  ipcfs send --lines DIR/msgq/jobs < list    # as: cat list > DIR/msgq/jobs:lines
  find . -print0 | ipcfs send -0 DIR/msgq/jobs
  ipcfs send --timeout 0 DIR/msgq/jobs x || echo full`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usagef("the path of a queue is needed")
			case c.lines && c.null:
				return usagef("--lines and --null exclude each other")
			case len(args) > 1 && (c.lines || c.null):
				return usagef("--lines and --null are for standard input, and there is a text: %q", args[1])
			}
			return checkPath(args[0])
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.send(args[0], args[1:], cmd.InOrStdin()) },
	}
	f := cmd.Flags()
	f.StringVar(&c.mtype, "type", "1", "type of the messages, `N` from 1 to 2^63-1")
	f.BoolVar(&c.lines, "lines", false, "send each line of standard input")
	f.BoolVarP(&c.null, "null", "0", false, "send each record of standard input that ends with a NUL")
	f.Var(&c.timeout, "timeout", "wait at most so long for room for a message, as 2.5 (seconds) or 100ms; 0: not at all (default: no limit)")
	return cmd
}

// send sends the texts, or what is in the standard input.
func (c *sendConfig) send(path string, texts []string, stdin io.Reader) error {
	mtype, err := parseType(c.mtype)
	if err != nil {
		return err
	}
	s, err := c.open(path, mtype)
	if err != nil {
		return err
	}
	defer s.close()
	switch {
	case c.lines:
		return s.sendRecords(stdin, '\n', s.sendLines)
	case c.null:
		return s.sendRecords(stdin, 0, s.sendEach)
	case len(texts) > 0:
		for _, text := range texts {
			if err := s.send([]byte(text)); err != nil {
				return err
			}
		}
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(stdin, tooLong))
	if err != nil {
		return inputError(err)
	}
	return s.send(text)
}

// parseType reads the value of --type of a sender.
func parseType(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || s[0] == '+' {
		return 0, usagef("--type %s: not a number from 1 to %d", s, math.MaxInt64)
	}
	return n, nil
}

// tooLong is the size of a message that no mount takes.
const tooLong = fs.MaxMsgMax + 1

// sender sends messages of one type to a queue.
type sender struct {
	raw, lines *queue // lines may be nil
	mtype      int64
	timeout    timeout
	sent       int    // how many messages
	room       []byte // for a struct msgbuf
}

func (c *sendConfig) open(path string, mtype int64) (*sender, error) {
	flags := unix.O_WRONLY
	if c.timeout.limited && c.timeout.d == 0 {
		flags |= unix.O_NONBLOCK
	}
	s := &sender{mtype: mtype, timeout: c.timeout}
	var err error
	if s.raw, err = openQueue(path, rawView(msgq.Selector{}), flags); err != nil || !c.lines { // the type is in each message
		return s, err
	}
	as := msgq.View{Mode: msgq.ModeLines}
	if mtype != 1 {
		as.Selector = msgq.Select(mtype, false)
	}
	if s.lines, err = openQueue(path, as.String(), flags); err != nil {
		s.close()
	}
	return s, err
}

func (s *sender) close() {
	for _, q := range []*queue{s.raw, s.lines} {
		if q != nil {
			q.close()
		}
	}
}

// send sends one message.
func (s *sender) send(text []byte) error {
	s.room = append(binary.NativeEndian.AppendUint64(s.room[:0], uint64(s.mtype)), text...)
	if _, err := s.write(s.raw, s.room); err != nil {
		return s.failed(err, len(text))
	}
	s.sent++
	return nil
}

// sendEach sends the records, each of which ends with a NUL, without it.
func (s *sender) sendEach(records []byte) error {
	for record := range bytes.SplitAfterSeq(records, []byte{0}) {
		if len(record) == 0 { // behind the last one
			break
		}
		if err := s.send(record[:len(record)-1]); err != nil {
			return err
		}
	}
	return nil
}

// sendLines sends whole lines, as many at once as there are. The file never has the beginning of a line to keep: it would send it, cut off, when the command
// fails.
func (s *sender) sendLines(lines []byte) error {
	for len(lines) > 0 {
		n, err := s.write(s.lines, lines)
		if err != nil {
			return s.failed(err, bytes.IndexByte(lines, '\n')+1)
		}
		s.sent += bytes.Count(lines[:n], []byte{'\n'})
		lines = lines[n:]
	}
	return nil
}

// sendRecords sends what r has: as it comes, the records that are there, each with its end, by send, and what is left at the end as one message.
func (s *sender) sendRecords(r io.Reader, end byte, send func(records []byte) error) error {
	buf, n := make([]byte, tooLong), 0 // so much comes in one WRITE, wherever it begins in a page
	for {
		k, err := r.Read(buf[n:])
		i := bytes.LastIndexByte(buf[n:n+k], end) + 1
		if i > 0 {
			i += n
			if err := send(buf[:i]); err != nil {
				return err
			}
		}
		n = copy(buf, buf[i:n+k])
		switch {
		case errors.Is(err, io.EOF):
			if n == 0 {
				return nil
			}
			return s.send(buf[:n])
		case err != nil:
			return inputError(err)
		case n == len(buf):
			return s.failed(unix.EINVAL, n)
		}
	}
}

// write is one write(2) that waits for room as long as it may. Without room it is EAGAIN.
func (s *sender) write(q *queue, b []byte) (n int, err error) {
	call := func() (err error) {
		n, err = unix.Write(q.fd, b)
		return err
	}
	if !s.timeout.limited || s.timeout.d == 0 {
		return n, retry(call)
	}
	if err = within(s.timeout.d, call); errors.Is(err, unix.EINTR) {
		err = unix.EAGAIN
	}
	return n, err
}

// failed says why the next message, of that size, cannot be sent.
func (s *sender) failed(err error, size int) error {
	path := s.raw.path
	what := "a message of " + count(size, "byte")
	if s.sent > 0 {
		what = fmt.Sprintf("message %d (%s)", s.sent+1, count(size, "byte"))
	}
	switch {
	case errors.Is(err, unix.EAGAIN) && s.timeout.d == 0:
		err = fmt.Errorf("%s has no room now for %s", path, what)
	case errors.Is(err, unix.EAGAIN):
		err = fmt.Errorf("%s had no room within %v for %s", path, s.timeout.d, what)
	case errors.Is(err, unix.EINVAL) && size >= tooLong:
		err = fmt.Errorf("%s: message %d is longer than %d bytes, and no queue takes that", path, s.sent+1, fs.MaxMsgMax)
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%s does not take %s: that is more than msgmax, which 'ipcfs mount --msgmax' sets", path, what)
	case errors.Is(err, unix.ENOMEM):
		err = fmt.Errorf("%s: no memory is left for %s; 'ipcfs mount --memory' sets how much the mount has", path, what)
	default:
		err = queueError(path, err)
	}
	switch s.sent {
	case 0:
		return err
	case 1:
		return fmt.Errorf("%w; the one before it was sent", err)
	}
	return fmt.Errorf("%w; the %d before it were sent", err, s.sent)
}

// inputError says why standard input cannot be read.
func inputError(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("standard input: %w", err)
}
