package msgq

import (
	"bytes"

	"ipcfs/objects/page"
)

// buffer is bytes in pages of the arena, first in, first out. The zero buffer is empty.
type buffer struct {
	refs []page.Ref
	off  int // where they begin in the first page
	n    int // how many there are
}

// append adds data at the end. ENOMEM, and nothing is added.
func (b *buffer) append(arena *page.Arena, data []byte) error {
	n := b.n
	for len(data) > 0 {
		at := (b.off + b.n) % page.Size
		if b.off+b.n == len(b.refs)*page.Size {
			ref, err := arena.AllocPage()
			if err != nil {
				b.truncate(arena, n)
				return err
			}
			b.refs = append(b.refs, ref)
		}
		k := copy(arena.Bytes(b.refs[len(b.refs)-1])[at:], data)
		b.n += k
		data = data[k:]
	}
	return nil
}

// parts appends the first n bytes to parts, as they lie in the pages.
func (b *buffer) parts(arena *page.Arena, n int, parts [][]byte) [][]byte {
	off := b.off
	for _, ref := range b.refs {
		if n == 0 {
			break
		}
		part := arena.Bytes(ref)[off:]
		part = part[:min(n, len(part))]
		parts = append(parts, part)
		n, off = n-len(part), 0
	}
	return parts
}

// bytes is a copy of all.
func (b *buffer) bytes(arena *page.Arena) []byte {
	return bytes.Join(b.parts(arena, b.n, nil), nil)
}

// line is the length of the first line, its newline included; 0 if there is no newline in the first most bytes.
func (b *buffer) line(arena *page.Arena, most int) int {
	n := 0
	var room [4][]byte
	for _, part := range b.parts(arena, min(b.n, most), room[:0]) {
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			return n + i + 1
		}
		n += len(part)
	}
	return 0
}

// discard takes the first n bytes away.
func (b *buffer) discard(arena *page.Arena, n int) {
	b.off += n
	b.n -= n
	gone := b.off / page.Size
	if b.n == 0 {
		gone = len(b.refs)
	}
	if b.off %= page.Size; b.n == 0 {
		b.off = 0
	}
	if gone > 0 {
		arena.Release(b.refs[:gone]...)
		b.refs = b.refs[:copy(b.refs, b.refs[gone:])]
	}
}

// truncate leaves the first n bytes.
func (b *buffer) truncate(arena *page.Arena, n int) {
	if n == 0 {
		b.discard(arena, b.n)
		return
	}
	keep := (b.off + n + page.Size - 1) / page.Size
	arena.Release(b.refs[keep:]...)
	b.refs = b.refs[:keep]
	b.n = n
}
