package fs

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

// openLine is a row of proc/files: an open file and a process that has it, and what that waits for on it.
type openLine struct {
	fh   uint64
	file *handle
	pid  uint32     // who opened it or, with wait, who waits
	wait *operation // nil if nothing
}

// waits returns the operations that wait on objects.
func (f *FS) waits() (list []*operation) {
	if f.conn == nil {
		return nil
	}
	f.conn.Waiting(func(x conn.Canceler) {
		if w, ok := x.(interface{ what() operation }); ok {
			if o := w.what(); o.inode != nil && o.inode.object != nil {
				list = append(list, &o)
			}
		}
	})
	return list
}

// openLines returns a line for each operation that waits, and one for each open file unless he who opened it has such a line.
func openLines(handles map[uint64]*handle, waits []*operation) []openLine {
	lines := make([]openLine, 0, len(handles)+len(waits))
	waiting := make(map[*handle]bool, len(waits))
	for _, o := range waits {
		pid := processOf(&o.call.Header).PID
		h := handles[o.fh]
		if h == nil { // of an open
			h = &handle{inode: o.inode, view: o.view, flags: o.flags}
		}
		if pid == h.pid {
			waiting[h] = true
		}
		lines = append(lines, openLine{o.fh, h, pid, o})
	}
	for fh, h := range handles {
		if !waiting[h] {
			lines = append(lines, openLine{fh, h, h.pid, nil})
		}
	}
	slices.SortFunc(lines, func(a, b openLine) int {
		return cmp.Or(cmp.Compare(a.file.inode.ino, b.file.inode.ino), cmp.Compare(a.fh, b.fh), cmp.Compare(a.tid(), b.tid()))
	})
	return lines
}

// tid is the thread that waits, 0 if none does.
func (l openLine) tid() uint32 {
	if l.wait == nil {
		return 0
	}
	return l.wait.call.Header.Pid
}

// words are the columns of the line, and last the name.
func (l openLine) words(commands commands, path string) []string {
	what, since := "-", "0"
	if l.wait != nil {
		what, since = opcodes[l.wait.call.Header.Opcode], stamp(l.wait.begun)
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return []string{
		number(l.file.inode.ino), number(l.fh), number(uint64(l.pid)), commands.of(l.pid), modeOf(l.file.flags),
		what, number(uint64(l.tid())), since, escapeName(path),
	}
}

// procFiles is proc/files: a line for each open file of an object and for each operation that waits on one, and one for each open that waits. (Who has got an open file
// from another process is seen only while he waits.)
func (f *FS) procFiles() func() []byte {
	handles, waits := f.handles.ofObjects(), f.waits()
	return f.soon(len(handles)+len(waits), func() []byte {
		t := newTable(tableColumn{"ino", 10}, tableColumn{"fh", 6}, tableColumn{"pid", 7}, tableColumn{"command", 15}, tableColumn{"mode", 4},
			tableColumn{"wait", 6}, tableColumn{"tid", 7}, tableColumn{"since", 17})
		commands := commands{}
		for some := range slices.Chunk(openLines(handles, waits), batch) {
			paths := make([]string, len(some))
			f.mu.Lock()
			for n, l := range some {
				paths[n] = withView(l.file.inode.pathLocked(), l.file.view)
			}
			f.mu.Unlock()
			for n, l := range some {
				t.line(l.words(commands, paths[n]))
			}
		}
		return t.Bytes()
	})
}

// modeOf is the access mode of an open file.
func modeOf(flags uint32) string {
	switch flags & syscall.O_ACCMODE {
	case syscall.O_RDONLY:
		return "r"
	case syscall.O_WRONLY:
		return "w"
	}
	return "rw"
}

// stamp is a time in seconds since 1970, to the microsecond.
func stamp(t time.Time) string { return string(appendStamp(nil, t)) }

// appendStamp appends a stamp.
func appendStamp(b []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	b = append(strconv.AppendInt(b, micros/1e6, 10), '.')
	rest := strconv.AppendInt(nil, 1e6+micros%1e6, 10) // with a 1 before it, for the zeros
	return append(b, rest[1:]...)
}

// commands are the names of processes, each asked for once.
type commands map[uint32]string

// of is the command that a process runs, escaped; "-" if it is gone or not known.
func (c commands) of(pid uint32) string {
	if name, ok := c[pid]; ok {
		return name
	}
	c[pid] = commandOf(pid)
	return c[pid]
}

// commandOf is the command that a process or thread runs, escaped.
func commandOf(pid uint32) string {
	if pid == 0 {
		return "-"
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "-"
	}
	return escapeName(strings.TrimSuffix(string(text), "\n"))
}

// mapping is how much of a segment a process maps with some rights.
type mapping struct {
	inode *inode
	pid   uint32
	perms string
	bytes uint64
}

// procMaps is proc/maps: a line for each process that maps a segment, and for each kind of rights in it. It looks into /proc/PID/maps of all processes that the daemon may
// look at, and so is made beside.
func (f *FS) procMaps() func() []byte {
	segments := make(map[uint64]*inode)
	for _, i := range f.objectsByKind()[f.shm.name()] {
		segments[i.ino] = i
	}
	dev := f.dev.Load()
	if dev == nil {
		dev = new(string)
	}
	return func() []byte {
		t := newTable(tableColumn{"ino", 10}, tableColumn{"pid", 7}, tableColumn{"command", 15}, tableColumn{"perms", 5}, tableColumn{"bytes", 12})
		commands := commands{}
		for _, m := range mappings(*dev, segments) {
			f.mu.Lock()
			path := m.inode.pathLocked()
			f.mu.Unlock()
			t.line([]string{
				strconv.FormatUint(m.inode.ino, 10), strconv.FormatUint(uint64(m.pid), 10), commands.of(m.pid), m.perms, strconv.FormatUint(m.bytes, 10), escapeName(path),
			})
		}
		return t.Bytes()
	}
}

// mappings looks for the processes that map one of the segments, which are files of the device dev by inode number. They are in the order of segments and processes.
func mappings(dev string, segments map[uint64]*inode) []mapping {
	if len(segments) == 0 || dev == "" {
		return nil
	}
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []mapping
	for _, n := range names {
		pid, err := strconv.ParseUint(n.Name(), 10, 32)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + n.Name() + "/maps")
		if err != nil || !strings.Contains(string(text), " "+dev+" ") {
			continue // it is gone, or another user's; or has none, as most
		}
		list = append(list, mappingsOf(uint32(pid), string(text), dev, segments)...)
	}
	slices.SortStableFunc(list, func(a, b mapping) int {
		return cmp.Or(cmp.Compare(a.inode.ino, b.inode.ino), cmp.Compare(a.pid, b.pid))
	})
	return list
}

// mappingsOf finds the segments in the text of /proc/PID/maps.
func mappingsOf(pid uint32, text, dev string, segments map[uint64]*inode) (list []mapping) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line) // range, rights, offset, device, inode, path
		if len(words) < 5 || words[3] != dev {
			continue
		}
		from, to, _ := strings.Cut(words[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		ino, err3 := strconv.ParseUint(words[4], 10, 64)
		i := segments[ino]
		if err1 != nil || err2 != nil || err3 != nil || i == nil {
			continue
		}
		n := slices.IndexFunc(list, func(m mapping) bool { return m.inode == i && m.perms == words[1] })
		if n < 0 {
			n, list = len(list), append(list, mapping{inode: i, pid: pid, perms: words[1]})
		}
		list[n].bytes += end - start
	}
	return list
}

// deviceName writes a device number as /proc/PID/maps does.
func deviceName(dev uint64) string { return fmt.Sprintf("%02x:%02x", unix.Major(dev), unix.Minor(dev)) }
