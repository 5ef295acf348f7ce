package pipe

import "ipcfs/objects/page"

// Flags of a pipe_buffer, as in include/linux/pipe_fs_i.h.
const (
	bufFlagPacket   = 1 << 0 // PIPE_BUF_FLAG_PACKET: one packet, read at once or not at all
	bufFlagCanMerge = 1 << 1 // PIPE_BUF_FLAG_CAN_MERGE: a later small write may be appended to the page
)

// buffer is struct pipe_buffer: n bytes at off of a page or, for a packet, of a piece.
type buffer struct {
	ref   page.Ref
	off   uint16
	n     uint16
	flags uint8
}

// ring is the slots of a pipe. head and tail count slots ever filled and emptied; they wrap and are masked only to find a slot, so the
// slots are a power of two and there is no unused one between full and empty. A ring has no lock; the pipe's lock guards it.
type ring struct {
	head, tail uint32
	bufs       []buffer
}

func (r *ring) occupancy() int         { return int(r.head - r.tail) }
func (r *ring) empty() bool            { return r.head == r.tail }
func (r *ring) full() bool             { return r.occupancy() >= len(r.bufs) }
func (r *ring) at(slot uint32) *buffer { return &r.bufs[slot&uint32(len(r.bufs)-1)] }

// first is the slot to read from, last the one filled last; the ring must not be empty.
func (r *ring) first() *buffer { return r.at(r.tail) }
func (r *ring) last() *buffer  { return r.at(r.head - 1) }

// push fills a slot; the ring must not be full.
func (r *ring) push(b buffer) {
	*r.at(r.head) = b
	r.head++
}

// bytes is what a read could get, the answer to FIONREAD.
func (r *ring) bytes() int {
	sum := 0
	for slot := r.tail; slot != r.head; slot++ {
		sum += int(r.at(slot).n)
	}
	return sum
}

// resize moves what is held to a ring of slots slots, a power of two not below the occupancy.
func (r *ring) resize(slots int) {
	bufs := make([]buffer, slots)
	n := 0
	for slot := r.tail; slot != r.head; slot++ {
		bufs[n] = *r.at(slot)
		n++
	}
	*r = ring{head: uint32(n), bufs: bufs}
}
