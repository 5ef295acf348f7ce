package fs

import (
	"bytes"
	"errors"
	"fmt"
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

// longPeek is from how many bytes and messages of a queue on its text is made beside the requests.
const longPeek = 1 << 16

// openPeek answers OPEN of the view.
func (o *msgqObject) openPeek(op operation, s msgq.Selector) {
	open := func() (opened, error) {
		text, err := o.peekText(s)
		o.fs.mu.Lock()
		defer o.fs.mu.Unlock()
		return o.fs.peekFileLocked(text, err)
	}
	if st := o.queue.Stat(); st.CBytes+st.QNum < longPeek {
		op.answerOpen(open())
		return
	}
	op.openBeside(func() (x opened, err error) {
		o.fs.texting.run(nil, func() { x, err = open() })
		return x, err
	})
}

// peekText is what the view tells of the messages that s takes. ENFILE if they are too many.
func (o *msgqObject) peekText(s msgq.Selector) ([]byte, error) {
	list, err := o.queue.Peek(s, maxTexts)
	if errors.Is(err, syscall.E2BIG) {
		err = syscall.ENFILE
	}
	var b bytes.Buffer
	for _, m := range list {
		fmt.Fprintf(&b, "type=%d size=%d pid=%d text=", m.Type, len(m.Text), m.PID)
		escapeText(&b, m.Text)
		b.WriteByte('\n')
	}
	return b.Bytes(), err
}

// peekFileLocked makes an open file of a text, or passes on an error. ENFILE if those that are open hold too much already.
func (f *FS) peekFileLocked(text []byte, err error) (opened, error) {
	if err == nil {
		err = f.holdTextLocked(len(text))
	}
	if err != nil {
		return opened{}, err
	}
	return opened{file: &peekFile{textFile: textFile{fs: f, text: text}}, flags: streamFlags}, nil
}

const hexDigits = "0123456789abcdef"

// escapeText writes text so that it is a part of one line: what cannot be printed, and the backslash, as in a string of C.
func escapeText(b *bytes.Buffer, text []byte) {
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
				b.Write([]byte{'\\', 'x', hexDigits[c>>4], hexDigits[c&15]})
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
