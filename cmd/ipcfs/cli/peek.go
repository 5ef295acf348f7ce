package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/objects/msgq"
)

func newPeek() *cobra.Command {
	var selector string
	format := format{of: []string{"text", "json"}}
	cmd := &cobra.Command{
		Use:   "peek [flags] PATH",
		Short: "Show the messages in a message queue, and leave them there",
		Long: `Show the messages in the queue PATH, oldest first, a line for each, and take none: type, size
in bytes, the process that sent it, and the text, with what cannot be printed as in a
string of C. --type shows only those that 'ipcfs recv --type' could take.

  ipcfs peek DIR/msgq/jobs             # as: cat DIR/msgq/jobs:peek
  ipcfs peek --type -7 DIR/msgq/jobs   # as: cat DIR/msgq/jobs:-7:peek
  ipcfs peek --format json DIR/msgq/jobs | jq .text`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := parseSelector(selector)
			if err != nil {
				return err
			}
			q, err := openQueue(args[0], msgq.View{Selector: s, Mode: msgq.ModePeek}.String(), unix.O_RDONLY)
			switch {
			case errors.Is(err, unix.ENFILE):
				return fmt.Errorf("%s holds more than can be shown at once; choose by --type", args[0])
			case err != nil:
				return err
			}
			defer q.close()
			return peek(q, format.value, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&selector, "type", "", "show only messages that `N`, -N or ^N selects (default: all)")
	format.addTo(cmd, "how to print the messages")
	return cmd
}

// peek prints the lines of the view peek.
func peek(q *queue, format string, out io.Writer) error {
	text, err := io.ReadAll(q)
	if err != nil {
		return queueError(q.path, err)
	}
	if format != "json" {
		if _, err := out.Write(text); err != nil {
			return outputError(err)
		}
		return nil
	}
	buffered := bufio.NewWriter(out)
	for line := range bytes.Lines(text) {
		m, err := parsePeeked(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			return fmt.Errorf("%s: %w; 'ipcfs version' should be that of the daemon", q.path, err)
		}
		object, err := formatJSON(m.mtype, &m.pid, m.text)
		if err != nil {
			return err
		}
		if _, err := buffered.Write(object); err != nil {
			return outputError(err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return outputError(err)
	}
	return nil
}

// peeked is a message that was looked at.
type peeked struct {
	mtype int64
	pid   uint32
	text  []byte
}

var peekedForm = regexp.MustCompile(`^type=(\d+) size=(\d+) pid=(\d+) text=((?:[^\\]|\\[\\ntr]|\\x[0-9a-f]{2})*)$`)

// parsePeeked reads a line of the view peek, without its newline.
func parsePeeked(line []byte) (peeked, error) {
	wrong := fmt.Errorf("the queue shows a message as %.100q, which is not understood", line)
	f := peekedForm.FindSubmatch(line)
	if f == nil {
		return peeked{}, wrong
	}
	mtype, err1 := strconv.ParseInt(string(f[1]), 10, 64)
	size, err2 := strconv.ParseUint(string(f[2]), 10, 31)
	pid, err3 := strconv.ParseUint(string(f[3]), 10, 32)
	text := unescape(f[4])
	if errors.Join(err1, err2, err3) != nil || len(text) != int(size) {
		return peeked{}, wrong
	}
	return peeked{mtype, uint32(pid), text}, nil
}

// unescape undoes \\, \n, \t, \r and \xHH, where every backslash begins one of these.
func unescape(s []byte) []byte {
	text := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			text = append(text, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			text = append(text, '\n')
		case 't':
			text = append(text, '\t')
		case 'r':
			text = append(text, '\r')
		case 'x':
			b, _ := strconv.ParseUint(string(s[i+1:i+3]), 16, 8)
			text = append(text, byte(b))
			i += 2
		default:
			text = append(text, s[i])
		}
	}
	return text
}
