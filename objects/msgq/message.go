package msgq

import (
	"unsafe"

	"ipcfs/objects/internal/verify"
	"ipcfs/objects/page"
)

// msgMsg is the beginning of a message in the arena, struct msg_msg (include/linux/msg.h): the head of its first piece, with the text right behind it. What the
// piece does not hold goes on in others, each of which begins with the Ref of the next (struct msg_msgseg). A message is named by the Ref of its first piece.
type msgMsg struct {
	next  page.Ref // m_list: the message behind it
	seg   page.Ref // the piece with more of the text
	mtype int64    // m_type
	ts    uint32   // m_ts: bytes of the text
	pid   uint32   // who sent it
}

// What a piece holds besides the text.
const (
	headSize = int(unsafe.Sizeof(msgMsg{}))
	segSize  = int(unsafe.Sizeof(page.Ref(0)))
)

// head is the beginning of the message m.
func (q *Queue) head(m page.Ref) *msgMsg {
	return (*msgMsg)(unsafe.Pointer(unsafe.SliceData(q.ns.Arena.Bytes(m))))
}

// nextSeg is where a further piece names the one behind it.
func (q *Queue) nextSeg(seg page.Ref) *page.Ref {
	return (*page.Ref)(unsafe.Pointer(unsafe.SliceData(q.ns.Arena.Bytes(seg))))
}

// loadMsg makes a message of parts, n bytes together (ipc/msgutil.c:load_msg). ENOMEM, and nothing is taken.
func (q *Queue) loadMsg(mtype int64, pid uint32, n int, parts ...[]byte) (page.Ref, error) {
	arena := q.ns.Arena
	m, err := arena.Alloc(min(headSize+n, page.Size))
	if err != nil {
		return 0, err
	}
	head := q.head(m)
	*head = msgMsg{mtype: mtype, ts: uint32(n), pid: pid}
	to, link, left := arena.Bytes(m)[headSize:], &head.seg, n
	for _, from := range parts {
		for len(from) > 0 {
			if len(to) == 0 {
				seg, err := arena.Alloc(min(segSize+left, page.Size))
				if err != nil {
					q.freeMsg(m)
					return 0, err
				}
				*link, link = seg, q.nextSeg(seg)
				*link = 0
				to = arena.Bytes(seg)[segSize:]
			}
			k := copy(to, from)
			to, from, left = to[k:], from[k:], left-k
		}
	}
	verify.That(left == 0, "a message of %d bytes was given %d", n, n-left)
	return m, nil
}

// text appends the text of m to parts, piece by piece as it lies in the arena.
func (q *Queue) text(m page.Ref, parts [][]byte) [][]byte {
	head := q.head(m)
	left, from := int(head.ts), q.ns.Arena.Bytes(m)[headSize:]
	for seg := head.seg; ; seg = *q.nextSeg(seg) {
		from = from[:min(left, len(from))]
		parts = append(parts, from)
		if left -= len(from); left == 0 {
			return parts
		}
		from = q.ns.Arena.Bytes(seg)[segSize:]
	}
}

// appendText appends the text of m to b.
func (q *Queue) appendText(b []byte, m page.Ref) []byte {
	var room [4][]byte
	for _, part := range q.text(m, room[:0]) {
		b = append(b, part...)
	}
	return b
}

// freeMsg gives the memory of m back (ipc/msgutil.c:free_msg).
func (q *Queue) freeMsg(m page.Ref) {
	var room [4]page.Ref
	refs := append(room[:0], m)
	for seg := q.head(m).seg; seg != 0; seg = *q.nextSeg(seg) {
		refs = append(refs, seg)
	}
	q.ns.Arena.Release(refs...)
}

// findMsg looks for the message that s takes, and the one before it; 0 if there is none (ipc/msg.c:find_msg).
func (q *Queue) findMsg(s Selector) (before, m page.Ref) {
	for b, c := page.Ref(0), q.first; c != 0; {
		head := q.head(c)
		if s.match(head.mtype) {
			if s.mode != searchLessEqual || head.mtype == 1 {
				return b, c
			}
			before, m = b, c
			s.mtype = head.mtype - 1
		}
		b, c = c, head.next
	}
	return before, m
}

// enqueueLocked puts m behind the others.
func (q *Queue) enqueueLocked(m page.Ref) {
	verify.Held(&q.mu)
	if q.last == 0 {
		q.first = m
	} else {
		q.head(q.last).next = m
	}
	q.last = m
	q.cbytes += int(q.head(m).ts)
	q.qnum++
}

// dequeueLocked takes m out, which is behind before.
func (q *Queue) dequeueLocked(before, m page.Ref) {
	verify.Held(&q.mu)
	head := q.head(m)
	if before == 0 {
		q.first = head.next
	} else {
		q.head(before).next = head.next
	}
	if q.last == m {
		q.last = before
	}
	head.next = 0
	q.cbytes -= int(head.ts)
	q.qnum--
}
