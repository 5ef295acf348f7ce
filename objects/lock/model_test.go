package lock

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	modelOwners = 4
	modelBytes  = 12 // of a file; the last one stands for all up to the end
)

// model is what two files have locked, byte by byte, and who waits. Locks are nowhere in it: runs of bytes of a kind are.
type model struct {
	max   int
	files [2]modelFile
	log   []string
}

type modelFile struct {
	bytes [modelOwners][modelBytes]modelByte
	order []int // owners with a byte, by when they had their first
	flock []modelFlock
	waits []*modelOp // longest wait first
}

// modelByte is how an owner has a byte: not, if there is no kind.
type modelByte struct {
	kind   rune
	handle uint64
}

type modelFlock struct {
	owner  int
	kind   rune
	handle uint64
}

// modelOp is an operation for the bytes from ... to.
type modelOp struct {
	name     string
	file     *modelFile
	flock    bool
	kind     rune // r, w or u
	owner    int
	handle   uint64
	from, to int
	wait     bool
	blocker  int
	woken    bool
}

func (m *model) end(op *modelOp, err string) { m.log = append(m.log, op.name+" "+err) }

// count is what the limit is compared with.
func (m *model) count() int {
	n := 0
	for i := range m.files {
		f := &m.files[i]
		n += len(f.flock) + len(f.waits) + len(f.runs())
	}
	return n
}

// runs are the locks: runs of bytes of an owner and a kind.
func (f *modelFile) runs() (runs []string) {
	for _, owner := range f.order {
		for i := 0; i < modelBytes; {
			from, b := i, f.bytes[owner][i]
			for i < modelBytes && f.bytes[owner][i] == b {
				i++
			}
			if b.kind != 0 {
				runs = append(runs, fmt.Sprintf("%c %c %s/%d", 'A'+owner, b.kind, showBytes(from, i-1), b.handle))
			}
		}
	}
	return runs
}

func showBytes(from, to int) string {
	if to == modelBytes-1 {
		return fmt.Sprintf("%d-", from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// blockedBy is the first owner with something in the way of op, or -1.
func (op *modelOp) blockedBy() int {
	conflicts := func(kind rune) bool { return kind == 'w' || kind == 'r' && op.kind == 'w' }
	if op.kind == 'u' {
		return -1
	}
	if op.flock {
		for _, l := range op.file.flock {
			if l.owner != op.owner && conflicts(l.kind) {
				return l.owner
			}
		}
		return -1
	}
	for _, owner := range op.file.order {
		for i := op.from; i <= op.to; i++ {
			if owner != op.owner && conflicts(op.file.bytes[owner][i].kind) {
				return owner
			}
		}
	}
	return -1
}

// waitsFor says whether the owner a waits for b, directly or through others. Who is woken does not wait.
func (m *model) waitsFor(a, b int) bool {
	for i := range m.files {
		for _, op := range m.files[i].waits {
			if !op.flock && !op.woken && op.owner == a && (op.blocker == b || m.waitsFor(op.blocker, b)) {
				return true
			}
		}
	}
	return false
}

// try is one try of op: its result, or EAGAIN.
func (m *model) try(op *modelOp) syscall.Errno {
	f := op.file
	if op.flock {
		for i, l := range f.flock {
			if l.owner != op.owner {
				continue
			}
			if l.kind == op.kind {
				return 0
			}
			f.flock = slices.Delete(f.flock, i, i+1)
			f.wake(true, op.owner, 0)
			break
		}
	}
	if by := op.blockedBy(); by >= 0 {
		op.blocker = by
		if op.wait && !op.flock && m.waitsFor(by, op.owner) {
			return unix.EDEADLK
		}
		return unix.EAGAIN
	}
	if op.flock {
		if op.kind != 'u' {
			if m.count()-btoi(slices.Contains(f.waits, op)) >= m.max {
				return unix.ENOLCK
			}
			f.flock = append(f.flock, modelFlock{op.owner, op.kind, op.handle})
		}
		return 0
	}
	was, order := f.bytes[op.owner], slices.Clone(f.order)
	f.set(op)
	if m.count()-btoi(slices.Contains(f.waits, op)) > m.max {
		f.bytes[op.owner], f.order = was, order
		return unix.ENOLCK
	}
	for i, b := range was {
		if now := f.bytes[op.owner][i]; b.kind == 'w' && now.kind != 'w' || b.kind == 'r' && now.kind == 0 {
			f.wake(false, op.owner, i)
		}
	}
	return 0
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// set gives the owner the bytes of op. The run that they become a part of goes with them to the handle.
func (f *modelFile) set(op *modelOp) {
	bytes := &f.bytes[op.owner]
	for i := op.from; i <= op.to; i++ {
		bytes[i] = modelByte{}
		if op.kind != 'u' {
			bytes[i] = modelByte{op.kind, op.handle}
		}
	}
	for i := op.from; op.kind != 'u' && i >= 0 && bytes[i].kind == op.kind; i-- {
		bytes[i].handle = op.handle
	}
	for i := op.to; op.kind != 'u' && i < modelBytes && bytes[i].kind == op.kind; i++ {
		bytes[i].handle = op.handle
	}
	f.reorder()
}

func (f *modelFile) reorder() {
	has := func(owner int) bool {
		return slices.ContainsFunc(f.bytes[owner][:], func(b modelByte) bool { return b.kind != 0 })
	}
	f.order = slices.DeleteFunc(f.order, func(owner int) bool { return !has(owner) })
	for owner := range modelOwners {
		if has(owner) && !slices.Contains(f.order, owner) {
			f.order = append(f.order, owner)
		}
	}
}

// wake notes that the owner gave up the byte.
func (f *modelFile) wake(flock bool, owner, i int) {
	for _, op := range f.waits {
		if op.flock == flock && op.blocker == owner && (flock || op.from <= i && i <= op.to) {
			op.woken = true
		}
	}
}

// lock is SETLK or SETLKW.
func (m *model) lock(op *modelOp) {
	switch e := m.try(op); {
	case e == 0:
		m.end(op, "ok")
	case e != unix.EAGAIN || !op.wait:
		m.end(op, unix.ErrnoName(e))
	case m.count() >= m.max:
		m.end(op, "ENOLCK")
	default:
		op.file.waits = append(op.file.waits, op)
	}
	m.pump(op.file)
}

// pump tries whoever is woken and waited longest, until nobody is.
func (m *model) pump(f *modelFile) {
	for {
		i := slices.IndexFunc(f.waits, func(op *modelOp) bool { return op.woken })
		if i < 0 {
			return
		}
		op := f.waits[i]
		op.woken = false
		e := m.try(op)
		if e == unix.EAGAIN {
			continue
		}
		f.waits = slices.DeleteFunc(f.waits, func(w *modelOp) bool { return w == op })
		m.end(op, map[bool]string{true: "ok", false: unix.ErrnoName(e)}[e == 0])
	}
}

// stop ends the waits that are chosen.
func (m *model) stop(f *modelFile, chosen func(*modelOp) bool) {
	f.waits = slices.DeleteFunc(f.waits, func(op *modelOp) bool {
		if chosen(op) {
			m.end(op, "EINTR")
			return true
		}
		return false
	})
}

// drop gives up all that is chosen.
func (m *model) drop(f *modelFile, chosen func(flock bool, owner int, handle uint64) bool) {
	for owner := range modelOwners {
		for i, b := range f.bytes[owner] {
			if b.kind != 0 && chosen(false, owner, b.handle) {
				f.bytes[owner][i] = modelByte{}
				f.wake(false, owner, i)
			}
		}
	}
	f.reorder()
	f.flock = slices.DeleteFunc(f.flock, func(l modelFlock) bool {
		drop := chosen(true, l.owner, l.handle)
		if drop {
			f.wake(true, l.owner, 0)
		}
		return drop
	})
	m.pump(f)
}
