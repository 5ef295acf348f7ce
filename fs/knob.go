package fs

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// ipcMni is IPCMNI: the most objects of a kind that the kernel takes (ipc/util.h).
const ipcMni = 1 << 15

// knobs are the files of proc/sys, by directory and name.
func (f *FS) knobs() map[string]map[string]*knob {
	limit := func(max uint64, signed bool, get func(ipc.Limits) uint64, set func(*ipc.Limits, uint64)) *knob {
		return &knob{
			fs: f, max: max, signed: signed,
			get: func() uint64 { return get(f.ns.Limits()) },
			set: func(n uint64) error {
				f.ns.SetLimits(func(l *ipc.Limits) { set(l, n) })
				return nil
			},
		}
	}
	shmall := limit(math.MaxUint64, false, func(l ipc.Limits) uint64 { return l.ShmAll }, nil)
	shmall.set = func(n uint64) error { return f.shm.store.SetLimit(n) }
	pipeMaxSize := limit(1<<31, false, func(l ipc.Limits) uint64 { return uint64(l.PipeMaxSize) }, func(l *ipc.Limits, n uint64) {
		l.PipeMaxSize = uint(max(1<<bits.Len64(max(n, 1)-1), page.Size)) // fs/pipe.c:round_pipe_size
	})
	return map[string]map[string]*knob{
		"kernel": {
			"msgmax": limit(MaxMsgMax, true, func(l ipc.Limits) uint64 { return uint64(l.MsgMax) }, func(l *ipc.Limits, n uint64) { l.MsgMax = uint(n) }),
			"msgmnb": limit(math.MaxInt32, true, func(l ipc.Limits) uint64 { return uint64(l.MsgMnb) }, func(l *ipc.Limits, n uint64) { l.MsgMnb = uint(n) }),
			"msgmni": limit(ipcMni, true, func(l ipc.Limits) uint64 { return uint64(l.MsgMni) }, func(l *ipc.Limits, n uint64) { l.MsgMni = int(n) }),
			"shmmax": limit(math.MaxUint64, false, func(l ipc.Limits) uint64 { return l.ShmMax }, func(l *ipc.Limits, n uint64) { l.ShmMax = n }),
			"shmall": shmall,
			"shmmni": limit(ipcMni, true, func(l ipc.Limits) uint64 { return uint64(l.ShmMni) }, func(l *ipc.Limits, n uint64) { l.ShmMni = int(n) }),
		},
		"fs": {
			"pipe-max-size": pipeMaxSize,
			"pipe-user-pages-soft": limit(math.MaxUint64, false,
				func(l ipc.Limits) uint64 { return uint64(l.PipeUserPagesSoft) }, func(l *ipc.Limits, n uint64) { l.PipeUserPagesSoft = uint(n) }),
			"pipe-user-pages-hard": limit(math.MaxUint64, false,
				func(l ipc.Limits) uint64 { return uint64(l.PipeUserPagesHard) }, func(l *ipc.Limits, n uint64) { l.PipeUserPagesHard = uint(n) }),
		},
	}
}

// knob is a file of proc/sys: a limit, which can be read, and written by root and the owner of the mount (kernel/sysctl.c). It acts at once on what is done from then on.
type knob struct {
	fs     *FS
	max    uint64 // more is EINVAL
	signed bool   // the kernel keeps it in an int, and so reads "-0"
	get    func() uint64
	set    func(n uint64) error
}

// open answers OPEN.
func (k *knob) open(op operation, _ *fuse.OpenIn) {
	t, err := k.fs.newText(append(strconv.AppendUint(nil, k.get(), 10), '\n'))
	if err != nil {
		op.fail(err)
		return
	}
	op.replyOpen(opened{file: &knobFile{textFile: t, knob: k}, flags: textFlags})
}

// truncate does nothing, as with the kernel's.
func (*knob) truncate(uint64) fuse.Status { return fuse.OK }

// knobFile is an open file of proc/sys: what is read is the number of the moment in which it was opened.
type knobFile struct {
	*textFile
	knob *knob
	pos  uint64 // where the next append is; the thread that handles the requests owns it
}

// write sets the limit. What does not begin at the beginning of the file is ignored (kernel.sysctl_writes_strict). Where an append begins in the kernel's file is not
// told by FUSE: at what was written to this open file before.
func (k *knobFile) write(op operation, in *fuse.WriteIn, data []byte) {
	pos := in.Offset
	if in.Flags&syscall.O_APPEND != 0 {
		pos = k.pos
	}
	if pos > 0 {
		k.pos = pos + uint64(len(data))
		op.replyWrite(len(data))
		return
	}
	n, used, err := parseKnob(string(data), k.knob.signed)
	switch {
	case err != nil:
	case n > k.knob.max:
		err = syscall.EINVAL
	default:
		err = k.knob.set(n)
	}
	if err != nil {
		op.fail(err)
		return
	}
	k.pos = uint64(used)
	op.replyWrite(used)
}

// Of what is written, maxKnobText bytes are looked at, and a number has fewer digits than maxKnob (kernel/sysctl.c:TMPBUFLEN).
const (
	maxKnobText = 4095
	maxKnob     = 21
)

// parseKnob reads the number at the beginning of s as proc_dointvec does (kernel/sysctl.c:proc_get_long), and says how much of s that took: the blanks around it belong to it,
// what comes after them is ignored. EINVAL if s does not begin with a number, in the notation of C.
func parseKnob(s string, signed bool) (n uint64, used int, err error) {
	const blanks, ends = " \t\n\v\f\r", " \t\n"
	length := len(s)
	s = s[:min(length, maxKnobText)]
	word := strings.TrimLeft(s, blanks)
	rest := ""
	if end := strings.IndexAny(word, ends); end >= 0 {
		word, rest = word[:end], word[end:]
	}
	digits := word
	if signed {
		digits = strings.TrimPrefix(word, "-")
	}
	base := 10
	switch {
	case strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	n, err = strconv.ParseUint(digits, base, 64)
	if err != nil || len(word) >= maxKnob || n > 0 && word[0] == '-' {
		return 0, 0, syscall.EINVAL
	}
	return n, length - len(strings.TrimLeft(rest, blanks)), nil
}
