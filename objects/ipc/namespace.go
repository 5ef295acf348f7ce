// Package ipc is what all kinds of objects share (ipc/util.c, ipc/namespace.c): the namespace with its limits, its clock and its
// memory, who calls, who owns an object, and how the end of an operation is told.
//
// Lock order: an object's lock, then Namespace.mu. Namespace.mu is a leaf: nothing is called while it is held.
//
// Differs from Linux: capabilities are not known across FUSE, so CAP_SYS_RESOURCE and CAP_SYS_ADMIN mean user id 0 here.
package ipc

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// Caller is who makes a call.
type Caller struct {
	UID, GID uint32
	PID      uint32 // 0 if it is not known, or cannot be seen from the daemon's pid namespace
}

// Privileged says whether the limits for ordinary users do not apply (CAP_SYS_RESOURCE, CAP_SYS_ADMIN).
func (c Caller) Privileged() bool { return c.UID == 0 }

// Perm is struct kern_ipc_perm: owner and mode. It has no lock of its own.
type Perm struct {
	UID, GID uint32
	Mode     uint32 // the twelve permission bits
}

// Limits are the knobs of /proc/sys/fs that bound pipes, see pipe(7), and those of /proc/sys/kernel that bound shared memory and message queues, see svipc(7).
// 0 means no limit for the two user limits.
type Limits struct {
	PipeMaxSize       uint // bytes; a power of two of pages: what an ordinary user may ask for
	PipeUserPagesSoft uint // pages an ordinary user may have before new pipes get the minimum and none may grow
	PipeUserPagesHard uint // pages an ordinary user may have before no pipe is made

	ShmMax uint64 // bytes: the most that a segment may have
	ShmAll uint64 // pages: the most that all segments may hold; more than 0
	ShmMni int    // segments that may exist

	MsgMax uint // bytes: the longest message
	MsgMnb uint // bytes: what a new queue may hold, and the most that an ordinary user may let one hold
	MsgMni int  // queues that may exist
}

// SHMMAX is the default of ShmMax: no limit but that of the size of a file (include/uapi/linux/shm.h).
const SHMMAX = math.MaxUint64 - 1<<24

// DefaultLimits are those of Linux. ShmAll, which Linux does not limit, is half of the memory of the machine, as for a tmpfs.
func DefaultLimits() Limits {
	limits := Limits{
		PipeMaxSize: 1 << 20, PipeUserPagesSoft: 16384, ShmMax: SHMMAX, ShmAll: 1 << 18, ShmMni: 4096,
		MsgMax: 8192, MsgMnb: 16384, MsgMni: 32000,
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		limits.ShmAll = max(info.Totalram*uint64(info.Unit)/2/page.Size, 1)
	}
	return limits
}

// Namespace is struct ipc_namespace: what the objects of one mount share.
type Namespace struct {
	Arena  *page.Arena      // set by NewNamespace, never changed
	Now    func() time.Time // the clock, likewise
	limits atomic.Pointer[Limits]

	mu       sync.Mutex     // guards pipeBufs, and the changes of limits
	pipeBufs map[uint32]int // user_struct.pipe_bufs: pages accounted to a user's pipes
}

// NewNamespace returns a namespace whose objects keep their data in arena and take the time from now.
func NewNamespace(arena *page.Arena, limits Limits, now func() time.Time) *Namespace {
	ns := &Namespace{Arena: arena, Now: now, pipeBufs: make(map[uint32]int)}
	ns.limits.Store(&limits)
	return ns
}

// Limits returns the limits in force. It takes no lock.
func (ns *Namespace) Limits() Limits { return *ns.limits.Load() }

// SetLimits changes the limits. They act from now on: what exists already and is above them stays. Takes Namespace.mu while change runs, which must not call the
// namespace.
func (ns *Namespace) SetLimits(change func(*Limits)) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	limits := *ns.limits.Load()
	change(&limits)
	ns.limits.Store(&limits)
}

// AccountPipeBuffers replaces old by new pages in what uid's pipes take and returns the sum (fs/pipe.c:account_pipe_buffers).
func (ns *Namespace) AccountPipeBuffers(uid uint32, old, new int) int {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	sum := ns.pipeBufs[uid] + new - old
	if sum == 0 {
		delete(ns.pipeBufs, uid)
	} else {
		ns.pipeBufs[uid] = sum
	}
	return sum
}

// PipeBuffers returns the pages accounted to uid's pipes.
func (ns *Namespace) PipeBuffers(uid uint32) int { return ns.AccountPipeBuffers(uid, 0, 0) }
