package fs

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
)

// pollReady is what poll says of a file that never waits (DEFAULT_POLLMASK).
const pollReady = ipc.PollIn | ipc.PollOut

// maxTexts bounds the bytes of all open files of proc together, if there is more than one.
const maxTexts = 64 << 20

// textFile is an open file of proc: the text of the moment in which it was opened.
type textFile struct {
	fs   *FS
	text []byte
}

// openText answers the OPEN of a file of proc.
func (f *FS) openText(c conn.Call, i *inode) {
	t := &textFile{fs: f, text: i.text()}
	f.mu.Lock()
	err := f.holdTextLocked(len(t.text))
	f.mu.Unlock()
	if err != nil {
		c.ReplyStatus(f.status(err))
		return
	}
	opened{fh: f.handles.add(t), flags: fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH}.answer(f, c)
}

// holdTextLocked counts n bytes of a text that is opened. ENFILE if those that are open hold too much already.
func (f *FS) holdTextLocked(n int) error {
	if f.texts > 0 && f.texts+n > maxTexts {
		return syscall.ENFILE
	}
	f.texts += n
	return nil
}

func (t *textFile) release() {
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	t.fs.texts -= len(t.text)
}

func (t *textFile) read(c conn.Call, in *fuse.ReadIn) {
	from := t.text[min(in.Offset, uint64(len(t.text))):]
	c.ReplyData(from[:min(int(in.Size), len(from))])
}

func (*textFile) write(c conn.Call, _ *fuse.WriteIn, _ []byte) { c.ReplyStatus(fuse.EBADF) }
func (*textFile) poll(c conn.Call, _ *conn.PollIn)             { c.ReplyPoll(pollReady) }

// procPipes is proc/pipes: a line for each pipe, in the order in which they were made.
func (f *FS) procPipes() []byte {
	type line struct {
		ino    uint64
		path   string
		object *pipeObject
	}
	f.mu.Lock()
	lines := make([]line, 0, len(f.objects))
	for i := range f.objects {
		if o, ok := i.object.(*pipeObject); ok {
			lines = append(lines, line{i.ino, i.pathLocked(), o})
		}
	}
	f.mu.Unlock()
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.ino, b.ino) })
	var b bytes.Buffer
	b.WriteString(pipesHeader)
	for _, l := range lines {
		b.WriteString(l.object.statLine(l.ino, escapeName(l.path)))
	}
	return b.Bytes()
}

// escapeName writes a name as the kernel does in /proc/self/mounts, so that it is one word of one line. No name is "-".
func escapeName(s string) string {
	if s == "" {
		return "-"
	}
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}
