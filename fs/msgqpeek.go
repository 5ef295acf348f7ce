package fs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/msgq"
)

// peekFile is an open file of the view peek: the messages of the moment in which it was opened, a line for each.
type peekFile struct {
	textFile
	pos int // how much of the text was read: as a stream it is always read at offset 0. The thread that handles the requests owns it
}

// peek opens the view; FS.mu is held. ENFILE if the messages are too many.
func (o *msgqObject) peek(s msgq.Selector) (opened, error) {
	list, err := o.queue.Peek(s, maxTexts)
	if err != nil {
		if errors.Is(err, syscall.E2BIG) {
			err = syscall.ENFILE
		}
		return opened{}, err
	}
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "type=%d size=%d pid=%d text=", m.Type, len(m.Text), m.PID)
		escapeText(&b, m.Text)
		b.WriteByte('\n')
	}
	if err := o.fs.holdTextLocked(b.Len()); err != nil {
		return opened{}, err
	}
	return opened{file: &peekFile{textFile: textFile{fs: o.fs, text: []byte(b.String())}}, flags: streamFlags}, nil
}

// escapeText writes text so that it is a part of one line: what cannot be printed, and the backslash, as in a string of C.
func escapeText(b *strings.Builder, text []byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			for _, c := range text[:n] {
				fmt.Fprintf(b, `\x%02x`, c)
			}
		default:
			b.Write(text[:n])
		}
		text = text[n:]
	}
}

// read answers READ. To look is not to receive, so it does not count as one.
func (p *peekFile) read(op operation, in *fuse.ReadIn) {
	if fillsPageCache(in) {
		op.call.ReplyStatus(fuse.EINVAL)
		return
	}
	from := p.text[p.pos:]
	from = from[:min(int(in.Size), len(from))]
	p.pos += len(from)
	op.call.ReplyData(from)
}

func (*peekFile) write(op operation, _ *fuse.WriteIn, _ []byte) { op.fail(syscall.EINVAL) }
