package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

// traceConfig is what the command line of trace asks for.
type traceConfig struct {
	count      uint
	json       bool
	noheadings bool
}

func newTrace() *cobra.Command {
	var c traceConfig
	cmd := &cobra.Command{
		Use:   "trace [flags] [PATH]",
		Short: "Show the operations on objects as they end",
		Long: `Show the operations on the object PATH, which need not exist yet, or on all below the directory
PATH, as they end, a line for each: when it began, the process that asked for it, what it was,
how many bytes it moved, how it ended, how long it took, and of what. Without PATH it is the
directory where you are, if that is in a mount, or else the only mount there is. What the
kernel does without asking the daemon is not seen, as reads and writes of a segment.

It goes on until it is interrupted, and then the exit status is 0, or for --count lines. If
operations come faster than they are printed some are left out, and a line tells how many.
While it runs the mount is in use, and is not unmounted but with 'ipcfs umount --lazy'.
With --json each is an object on a line, with the times in seconds, and a line such as
{"dropped":7} tells what was left out.

  ipcfs trace DIR
  ipcfs trace DIR/msgq/jobs
  ipcfs trace -n 100 --json DIR/pipes | jq -r .operation | sort | uniq -c`,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.count == 0 && cmd.Flags().Changed("count") {
				return usagef("-n 0: at least 1")
			}
			return atMostOne(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.trace(first(args), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.UintVarP(&c.count, "count", "n", 0, "end after so many operations (default: no limit)")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.BoolVar(&c.noheadings, "noheadings", false, "print no headings")
	return cmd
}

// trace prints what the mount tells of its operations.
func (c *traceConfig) trace(arg string, out io.Writer) error {
	m, name, err := findTrace(arg)
	if err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGINT, unix.SIGTERM) // before it begins
	defer signal.Stop(interrupted)
	file := m.Path(name)
	var fd int
	err = retry(func() (err error) {
		fd, err = unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: there is no such file; 'ipcfs version' should be that of the daemon", file)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%s: others trace too much already; end one of them", file)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: permission denied; root and the owner of the mount may trace all, others an object of their own", file)
	case err != nil:
		return targetError(file, err)
	}
	// It is not closed: a read may still wait in it when the process ends.
	err = c.print(source(fd, interrupted, goneOf(out)), out)
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", m.Dir, inspect.ErrGone)
	}
	if errors.Is(err, errOutputGone) {
		return endByBrokenPipe()
	}
	return err
}

// findTrace is the file of proc that traces what arg names.
func findTrace(arg string) (m inspect.Mount, name string, err error) {
	m, inTree, err := findMount(arg)
	if err != nil {
		return m, "", err
	}
	if arg == "" {
		arg = m.Path(inTree)
	}
	if err := (target{mount: m, inTree: inTree}).check(arg); err != nil {
		return m, "", err
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Stat(m.Path(inTree), &st) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return m, "", targetError(arg, err)
	}
	return m, traceName(inTree, err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR), nil
}

// traceName is the name of the file that traces an object, or all below a directory. Its last element is a pattern, in which a name has to stand for itself.
func traceName(inTree string, isDir bool) string {
	switch {
	case inTree == ".":
		return "proc/trace"
	case isDir:
		return "proc/trace:" + inTree + "/*"
	}
	dir, base := path.Split(inTree)
	return "proc/trace:" + dir + regexp.MustCompile(`[\\*?[]`).ReplaceAllString(base, `\$0`)
}

// goneOf tells when nobody reads the output any more; if it is not standard output, never.
func goneOf(out io.Writer) <-chan struct{} {
	gone := make(chan struct{})
	if out == io.Writer(os.Stdout) {
		go func() {
			fds := []unix.PollFd{{Fd: int32(unix.Stdout)}}
			if err := retry(func() error { _, err := unix.Ppoll(fds, nil, nil); return err }); err == nil && isGone(fds[0]) != nil {
				close(gone)
			}
		}()
	}
	return gone
}

// source returns what reads the next piece of fd: io.EOF when it is interrupted, errOutputGone when nobody wants it, io.ErrUnexpectedEOF when fd has ended. The read itself
// goes on until the process ends.
func source(fd int, interrupted <-chan os.Signal, gone <-chan struct{}) func() ([]byte, error) {
	type piece struct {
		text []byte
		err  error
	}
	pieces := make(chan piece)
	go func() {
		for {
			text := make([]byte, 64<<10)
			n := 0
			err := retry(func() (err error) {
				n, err = unix.Read(fd, text)
				return err
			})
			if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			pieces <- piece{text[:max(0, n)], err}
			if err != nil {
				return
			}
		}
	}()
	return func() ([]byte, error) {
		select {
		case p := <-pieces:
			return p.text, p.err
		case <-interrupted:
			return nil, io.EOF
		case <-gone:
			return nil, errOutputGone
		}
	}
}

// print prints the lines that next returns piece by piece, until there were enough of them, or next fails. io.EOF is no failure.
func (c *traceConfig) print(next func() ([]byte, error), out io.Writer) error {
	var shown bytes.Buffer
	if !c.json && !c.noheadings {
		shown.WriteString(traceHeading)
	}
	var rest []byte
	for left := c.count; ; {
		if _, err := out.Write(shown.Bytes()); err != nil {
			return outputError(err)
		}
		if c.count > 0 && left == 0 {
			return nil
		}
		shown.Reset()
		text, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		rest = append(rest, text...)
		for c.count == 0 || left > 0 {
			line, after, whole := bytes.Cut(rest, []byte{'\n'})
			if !whole {
				break
			}
			rest = after
			isEvent, err := c.show(&shown, string(line))
			if err != nil {
				return err
			}
			if isEvent {
				left--
			}
		}
	}
}

// show writes a line of the trace. It may be one that tells how many are missing.
func (c *traceConfig) show(to *bytes.Buffer, line string) (isEvent bool, err error) {
	if rest, ok := strings.CutPrefix(line, "# dropped "); ok {
		n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
		switch {
		case err != nil:
			return false, notUnderstood(line)
		case c.json:
			fmt.Fprintf(to, "{\"dropped\":%d}\n", n)
		default:
			fmt.Fprintf(to, "# %s left out: they came faster than they were printed\n", count(int(n), "operation"))
		}
		return false, nil
	}
	e, err := parseTraced(line)
	if err != nil {
		return false, err
	}
	if !c.json {
		to.WriteString(e.line(time.Local))
		return true, nil
	}
	text, err := jsonLine(e.fields())
	to.Write(text)
	return true, err
}

// traced is a line of the trace.
type traced struct {
	began     string // seconds since 1970, with a fraction
	at        time.Time
	pid       int64
	command   string
	operation string
	path      string
	bytes     int64 // -1 if it moves none
	result    string
	seconds   string // that it took
	took      time.Duration
}

// notUnderstood is that a line of the trace is not one.
func notUnderstood(line string) error {
	return fmt.Errorf("the trace shows an operation as %.100q, which is not understood; 'ipcfs version' should be that of the daemon", line)
}

// fractionForm is seconds with a fraction of at most nine digits.
var fractionForm = regexp.MustCompile(`^(\d{1,12})(?:\.(\d{1,9}))?$`)

// parseSeconds reads seconds with a fraction, which a float64 would not hold.
func parseSeconds(s string) (whole, nano int64, ok bool) {
	f := fractionForm.FindStringSubmatch(s)
	if f == nil {
		return 0, 0, false
	}
	whole, err1 := strconv.ParseInt(f[1], 10, 64)
	nano, err2 := strconv.ParseInt((f[2] + "000000000")[:9], 10, 64)
	return whole, nano, err1 == nil && err2 == nil
}

// parseTraced reads a line of the trace.
func parseTraced(line string) (traced, error) {
	w := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
	if len(w) != 8 {
		return traced{}, notUnderstood(line)
	}
	e := traced{began: w[0], command: inspect.Unescape(w[2]), operation: w[3], path: inspect.Unescape(w[4]), bytes: -1, result: w[6], seconds: w[7]}
	second, nano, ok1 := parseSeconds(e.began)
	took, fraction, ok2 := parseSeconds(e.seconds)
	pid, err1 := strconv.ParseInt(w[1], 10, 64)
	var err2 error
	if w[5] != "-" {
		e.bytes, err2 = strconv.ParseInt(w[5], 10, 64)
	}
	if !ok1 || !ok2 || errors.Join(err1, err2) != nil {
		return traced{}, notUnderstood(line)
	}
	e.at, e.pid, e.took = time.Unix(second, nano), pid, time.Duration(took)*time.Second+time.Duration(fraction)
	return e, nil
}

// The columns of the trace have room for what mostly is in them; what is longer moves the rest of its line.
const (
	traceColumns = "%-15s  %7s  %-15s  %-11s  %8s  %-9s  %10s  %s\n"
	clock        = "15:04:05.000000"
)

var traceHeading = fmt.Sprintf(traceColumns, "TIME", "PID", "COMMAND", "OPERATION", "BYTES", "RESULT", "DURATION", "PATH")

// line is a line for people.
func (e traced) line(zone *time.Location) string {
	moved := "-"
	if e.bytes >= 0 {
		moved = strconv.FormatInt(e.bytes, 10)
	}
	return fmt.Sprintf(traceColumns, e.at.In(zone).Format(clock), strconv.FormatInt(e.pid, 10), named(e.command), visible(e.operation), moved, visible(e.result),
		e.took.Round(time.Microsecond), named(e.path))
}

// fields is a line as JSON.
func (e traced) fields() fields {
	f := fields{
		{"time", json.Number(e.began)}, {"pid", e.pid}, {"command", orNull(e.command)}, {"operation", e.operation}, {"path", orNull(e.path)},
		{"bytes", nil}, {"result", e.result}, {"duration", json.Number(e.seconds)},
	}
	if e.bytes >= 0 {
		f[5].value = e.bytes
	}
	return f
}
