package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

func newStat() *cobra.Command {
	var asJSON, inBytes bool
	cmd := &cobra.Command{
		Use:   "stat [flags] PATH",
		Short: "Show everything about an object",
		Long: `Show everything about the object PATH: its fields, times and limits, who has it open, what
waits on it, for how long, and which processes could end the wait ('ipcfs who --help' says
how that is known). Nothing is taken out of it, and nobody is held up.

Of a pipe there is a drawing of the ring: a cell for each slot, with the bytes in it, and
where head and tail are. What is written goes into the slot at the head, what is read comes
from the one at the tail. Of a queue there is how many messages it has of each type, of a
segment which processes map it.

  ipcfs stat DIR/pipes/p
  ipcfs stat --json DIR/msgq/jobs | jq '.messages'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "" {
				return usagef("the path is empty")
			}
			if len(args) != 1 {
				return usagef("exactly one object is needed, %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := findTarget(args[0])
			if err != nil {
				return err
			}
			d, err := readDetails(t, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, d.fields(newNames()))
			}
			return d.print(out, newNames(), style{bytes: inBytes, long: true, now: time.Now()}, terminalWidth(out))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&inBytes, "bytes", "b", false, "print sizes in bytes")
	return cmd
}

// details are what stat tells of an object.
type details struct {
	object
	times  []labeled // of the file
	limits []labeled // of its kind

	ring     *ring // of a pipe; nil if it cannot be read
	messages []messageGroup
	noDetail string // why there is no ring, or no messages

	files, maps []use
}

// labeled is a value and what it is.
type labeled struct {
	key, label string
	value      any
}

// messageGroup are the messages of a type.
type messageGroup struct{ mtype, count, bytes int64 }

// readDetails reads what there is to tell of the object that arg names.
func readDetails(t target, arg string) (*details, error) {
	if t.ino == 0 {
		return nil, fmt.Errorf("%s is a directory; 'ipcfs ls' shows what is in it", arg)
	}
	objects, err := t.objects()
	switch {
	case err != nil:
		return nil, err
	case len(objects) == 0:
		return nil, removed(arg)
	}
	d := &details{object: objects[0]}
	if err := d.readTimes(t, arg); err != nil {
		return nil, err
	}
	if err := d.readLimits(t.mount); err != nil {
		return nil, err
	}
	s, err := look([]target{t}, procfs{})
	if err != nil {
		return nil, err
	}
	d.keep(s.shown)
	switch path := t.mount.Path(t.inTree); d.kind {
	case "pipes":
		if d.ring, err = readRing(path, uint64(d.Int("slots"))); err != nil {
			d.noDetail = fmt.Sprintf("the ring cannot be read: %v", err)
		}
	case "msgq":
		if d.messages, err = readMessages(path); err != nil {
			d.noDetail = fmt.Sprintf("the messages cannot be read: %v", err)
		}
	}
	return d, nil
}

// keep takes who uses the object.
func (d *details) keep(uses []use) {
	for _, u := range uses {
		if u.mapped {
			d.maps = append(d.maps, u)
		} else {
			d.files = append(d.files, u)
		}
	}
}

// readTimes reads the times of the file.
func (d *details) readTimes(t target, arg string) error {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(unix.AT_FDCWD, t.mount.Path(t.inTree), 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return removed(arg)
	case err != nil:
		return targetError(arg, err)
	}
	d.times = []labeled{{"atime", "Accessed", moment(st.Atime.Sec)}, {"mtime", "Modified", moment(st.Mtime.Sec)}, {"file_ctime", "Changed", moment(st.Ctime.Sec)}}
	if st.Mask&unix.STATX_BTIME != 0 {
		d.times = append(d.times, labeled{"btime", "Made", moment(st.Btime.Sec)})
	}
	return nil
}

// limitsOf are the files of proc/sys that limit the objects of a kind.
var limitsOf = map[string][]labeled{
	"pipes": {{"pipe-max-size", "Largest size", "fs/pipe-max-size"}},
	"shm":   {{"shmmax", "Largest size", "kernel/shmmax"}},
	"msgq":  {{"msgmax", "Largest message", "kernel/msgmax"}, {"msgmnb", "Size of new queues", "kernel/msgmnb"}},
}

// readLimits reads the limits of the kind.
func (d *details) readLimits(m inspect.Mount) error {
	for _, l := range limitsOf[d.kind] {
		n, err := readLimit(m, l.value.(string))
		if err != nil {
			return err
		}
		l.value = n
		d.limits = append(d.limits, l)
	}
	return nil
}

// readRing reads what a pipe holds from its attributes. They are read one after the other; if the pipe does not keep still, what came last has to do.
func readRing(path string, slots uint64) (*ring, error) {
	if slots == 0 {
		return nil, errors.New("the pipe has no slots; 'ipcfs version' should be that of the daemon")
	}
	for tries := 0; ; tries++ {
		r := &ring{slots: slots}
		tail, err1 := readCounter(path, "tail")
		head, err2 := readCounter(path, "head")
		text, err3 := readXAttr(path, "bufs")
		after, err4 := readCounter(path, "tail")
		if err := cmp.Or(err1, err2, err3, err4); err != nil {
			return nil, err
		}
		r.tail, r.head = tail, head
		var err error
		if r.bufs, r.more, err = parseBufs(text); err != nil {
			return nil, err
		}
		n := len(r.bufs)
		if still := tail == after && (r.occupied() == n || r.more && r.occupied() > n); still || tries == 10 {
			if !still { // the slots that hold data are one after the other at least
				r.tail, r.head, r.more = after, after+uint32(n), false
			}
			return r, nil
		}
	}
}

// readCounter reads an attribute that is a number.
func readCounter(path, name string) (uint32, error) {
	text, err := readXAttr(path, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("user.ipc.%s is %.40q; 'ipcfs version' should be that of the daemon", name, text)
	}
	return uint32(n), nil
}

// readXAttr reads an extended attribute of an object.
func readXAttr(path, name string) (string, error) {
	value := make([]byte, 64<<10) // the kernel allows no more
	n := 0
	err := retry(func() (err error) {
		n, err = unix.Getxattr(path, "user.ipc."+name, value)
		return err
	})
	switch {
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return "", errors.New("only who may read the object may read its attributes")
	case errors.Is(err, unix.ENODATA):
		return "", fmt.Errorf("there is no attribute user.ipc.%s; 'ipcfs version' should be that of the daemon", name)
	case err != nil:
		return "", err
	}
	return string(value[:n]), nil
}

// readMessages looks at the messages of a queue and takes none.
func readMessages(path string) ([]messageGroup, error) {
	q, err := openQueue(path, "peek", unix.O_RDONLY)
	switch {
	case errors.Is(err, unix.ENFILE):
		return nil, errors.New("there is more in them than can be shown at once; 'ipcfs peek --type' shows some")
	case err != nil:
		return nil, err
	}
	defer q.close()
	text, err := io.ReadAll(q)
	if err != nil {
		return nil, queueError(path, err)
	}
	return groupMessages(text)
}

// peekedHead is the beginning of a line of the view peek. The text behind it can be long, and is not looked at.
var peekedHead = regexp.MustCompile(`^type=(\d+) size=(\d+) pid=\d+ text=`)

// groupMessages counts the messages of each type.
func groupMessages(text []byte) ([]messageGroup, error) {
	groups := make(map[int64]messageGroup)
	for line := range bytes.Lines(text) {
		f := peekedHead.FindSubmatch(line)
		if f == nil {
			return nil, fmt.Errorf("the queue shows a message as %.100q, which is not understood; 'ipcfs version' should be that of the daemon", line)
		}
		mtype, err1 := strconv.ParseInt(string(f[1]), 10, 64)
		size, err2 := strconv.ParseInt(string(f[2]), 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("the queue shows a message as %.100q, which is not understood", line)
		}
		g := groups[mtype]
		groups[mtype] = messageGroup{mtype, g.count + 1, g.bytes + size}
	}
	var list []messageGroup
	for _, mtype := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, groups[mtype])
	}
	return list, nil
}
