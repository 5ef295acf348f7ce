// Package msgq is the kernel's message queue (ipc/msg.c, Linux 6.18) without the kernel: messages with a type, the receivers that wait for one that they take,
// the senders that wait for room, and the handover of a message straight to a receiver that waits for it. Nothing here blocks: an operation completes at once
// or waits as a record in one of the queue's queues until another operation completes it or it is cancelled.
//
// A queue is used through open files, each with a View: which messages it takes, and what a read and a write are.
//
// Lock order: Queue.mu, then the leaf locks of ipc.IDs and page.Arena. Completions are collected under Queue.mu and delivered by the caller after it.
//
// Why no wait is missed: a receiver waits only if no message is there that it takes, and each message that comes is offered to those who wait before it is put
// into the queue. A sender waits only if its message does not fit, and whatever makes room (a receive, a new limit) ends with wakeSendersLocked, which leaves none
// waiting whose message fits. checkInvariants says both in code.
//
// Differs from Linux:
//   - Who may use the queue is decided when it is opened; msgsnd(2) and msgrcv(2) look at each call.
//   - A change of the limit does not disturb those who wait to receive (the kernel lets them look at their permissions again).
//   - EAGAIN is said where msgrcv(2) says ENOMSG, and after the end of the queue EIDRM where a later msgsnd(2) says EINVAL, as nobody knows the id any more.
//   - Of several senders that a receive woke, the one that waited longest goes first; in the kernel they race for the lock.
package msgq

import (
	"math"
	"sync"
	"syscall"
	"time"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/internal/waitq"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// Store is the queues of a namespace: struct ipc_ids of IPC_MSG_IDS.
type Store struct {
	ns  *ipc.Namespace // set by NewStore, never changed
	ids ipc.IDs
}

// NewStore makes a store for the queues of ns.
func NewStore(ns *ipc.Namespace) *Store { return &Store{ns: ns} }

// InUse is how many queues exist.
func (s *Store) InUse() int { return s.ids.InUse() }

// Queue is struct msg_queue. Make one with Store.New.
type Queue struct {
	store *Store         // set by New, never changed
	ns    *ipc.Namespace // likewise

	mu          sync.Mutex // guards all below, and all of the open files
	removed     bool       // IPC_RMID: nothing is left of it
	first, last page.Ref   // q_messages, oldest first
	cbytes      int        // q_cbytes: bytes of the messages in the queue
	qnum        int        // q_qnum: messages in the queue
	qbytes      int        // q_qbytes: the limit of each of the two
	lspid       uint32     // q_lspid: who sent last
	lrpid       uint32     // q_lrpid: who received last
	stime       time.Time  // q_stime: when; zero if never
	rtime       time.Time  // q_rtime

	receivers waitq.Queue[*ReceiveOp] // q_receivers
	senders   waitq.Queue[*SendOp]    // q_senders
	polls     ipc.Polls[*File]
	woken     []*SendOp // room for wakeSendersLocked
	left      int       // of senders, the lines that released files left

	times ipc.Times
}

// New makes a queue (ipc/msg.c:newque). ENOSPC when there are msgmni.
func (s *Store) New() (*Queue, error) {
	limits := s.ns.Limits()
	if !s.ids.Add(limits.MsgMni) {
		return nil, syscall.ENOSPC
	}
	now := s.ns.Now()
	return &Queue{store: s, ns: s.ns, qbytes: int(limits.MsgMnb), times: ipc.Times{Atime: now, Mtime: now, Ctime: now}}, nil
}

// Remove ends the queue (IPC_RMID, ipc/msg.c:freeque): whoever waits gets EIDRM, the messages are dropped, and every operation from now on gets EIDRM. It does
// nothing to a queue that was removed. Takes the queue's lock.
func (q *Queue) Remove(done *ipc.Completions) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.removed {
		return
	}
	q.removed = true
	for r, ok := q.receivers.Pop(); ok; r, ok = q.receivers.Pop() {
		r.Err = syscall.EIDRM
		done.Add(r.Done)
	}
	for op, ok := q.senders.Pop(); ok; op, ok = q.senders.Pop() {
		q.giveUpLocked(op, syscall.EIDRM, done)
	}
	for q.first != 0 {
		m := q.first
		q.dequeueLocked(0, m)
		q.freeMsg(m)
	}
	q.polls.Wake(func(*File) uint32 { return ipc.POLLERR }, done)
	q.store.ids.Remove()
	q.checkInvariants()
}

// SetQBytes sets q_qbytes, how many bytes and how many messages the queue may hold (IPC_SET, ipc/msg.c:msgctl_down). More room lets waiting senders go on. A limit
// below what the queue holds drops nothing.
//
// EPERM above msgmnb without the right to; EINVAL above 2^31 - 1; EIDRM. Takes the queue's lock.
func (q *Queue) SetQBytes(caller ipc.Caller, n uint64, done *ipc.Completions) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.removed:
		return syscall.EIDRM
	case n > math.MaxInt32:
		return syscall.EINVAL
	case n > uint64(q.ns.Limits().MsgMnb) && !caller.Privileged():
		return syscall.EPERM
	}
	q.qbytes = int(n)
	q.times.Ctime = q.ns.Now()
	q.roomLocked(done)
	q.checkInvariants()
	return nil
}

// SetTimes replaces the times that are not zero.
func (q *Queue) SetTimes(t ipc.Times) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.times.Set(t)
}

// Times returns the times of the last receive, the last send and the last change (q_ctime).
func (q *Queue) Times() ipc.Times {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.times
}

// Stat is a snapshot of a queue: the fields of struct msqid_ds, and how many wait.
type Stat struct {
	CBytes, QNum, QBytes int
	LSPid, LRPid         uint32    // 0 if nobody did
	STime, RTime         time.Time // zero if never
	CTime                time.Time
	Receivers, Senders   int  // operations that wait
	Removed              bool // IPC_RMID
}

// Stat returns a snapshot. Takes the queue's lock, for a time in proportion to those who wait to send.
func (q *Queue) Stat() Stat {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stat{
		CBytes: q.cbytes, QNum: q.qnum, QBytes: q.qbytes, LSPid: q.lspid, LRPid: q.lrpid,
		STime: q.stime, RTime: q.rtime, CTime: q.times.Ctime,
		Receivers: q.receivers.Len(), Senders: q.waitingSendersLocked(), Removed: q.removed,
	}
}

// waitingSendersLocked is how many operations wait to send: nobody waits with the line that a released file left, and behind a write of lines wait those of its file.
func (q *Queue) waitingSendersLocked() int {
	n := 0
	for op := range q.senders.All() {
		switch {
		case op.last:
		case op.msg != 0:
			n++
		default:
			n += 1 + op.file.behind.Len()
		}
	}
	return n
}

// Message is a copy of a message.
type Message struct {
	Type int64
	PID  uint32 // who sent it
	Text []byte
}

// Peek returns copies of the messages that s takes, oldest first, and takes none. E2BIG if their texts are more than limit bytes; EIDRM. Takes the queue's lock.
func (q *Queue) Peek(s Selector, limit int) ([]Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.removed {
		return nil, syscall.EIDRM
	}
	var list []Message
	for m := q.first; m != 0; m = q.head(m).next {
		head := q.head(m)
		if !s.match(head.mtype) {
			continue
		}
		if limit -= int(head.ts); limit < 0 {
			return nil, syscall.E2BIG
		}
		list = append(list, Message{head.mtype, head.pid, q.appendText(nil, m)})
	}
	return list, nil
}

// msgMax is the longest message.
func (q *Queue) msgMax() int { return int(q.ns.Limits().MsgMax) }

// fits says whether a message of n bytes can be sent now (ipc/msg.c:msg_fits_inqueue).
func (q *Queue) fits(n int) bool {
	return n+q.cbytes <= q.qbytes && 1+q.qnum <= q.qbytes
}

// checkInvariants panics unless the queue is in a state that may be seen from outside of its lock. It looks only if assertions are on.
func (q *Queue) checkInvariants() {
	if !verify.On {
		return
	}
	verify.Held(&q.mu)
	bytes, num, left, last := 0, 0, 0, page.Ref(0)
	for m := q.first; m != 0; m = q.head(m).next {
		head := q.head(m)
		verify.That(head.mtype > 0, "a message of type %d", head.mtype)
		bytes, num, last = bytes+int(head.ts), num+1, m
		for r := range q.receivers.All() {
			verify.That(!r.file.view.Selector.match(head.mtype), "a receiver waits for %v, and type %d is there", r.file.view, head.mtype)
		}
	}
	verify.That(bytes == q.cbytes && num == q.qnum && last == q.last, "%d messages of %d bytes, counted are %d of %d", num, bytes, q.qnum, q.cbytes)
	for op := range q.senders.All() {
		verify.That(!q.fits(op.size), "a sender waits with %d bytes, and there is room: %d messages of %d bytes, limit %d", op.size, q.qnum, q.cbytes, q.qbytes)
		if op.last {
			left++
		}
	}
	verify.That(left == q.left, "%d lines are left, counted are %d", left, q.left)
	if q.removed {
		verify.That(q.qnum+q.receivers.Len()+q.senders.Len() == 0, "removed with %d messages, %d receivers, %d senders", q.qnum, q.receivers.Len(), q.senders.Len())
	}
}
