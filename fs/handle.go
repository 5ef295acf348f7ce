package fs

import "sync"

// handle is an open file: what the kernel's fh stands for.
type handle struct {
	file
	inode *inode
	view  view
	pid   uint32 // the process that opened it; 0 if it is not known
	flags uint32 // of the open
}

// handles is the table of open files by the fh that the kernel holds. Its lock may be taken under FS.mu; nothing is called while it is held. An fh
// is never used again, so a request for a file that is gone finds nothing.
type handles struct {
	mu   sync.Mutex // guards all below
	last uint64
	open map[uint64]*handle // none is ever changed
}

// add enters h and returns its fh.
func (t *handles) add(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[uint64]*handle)
	}
	t.last++
	t.open[t.last] = h
	return t.last
}

// get returns the open file, nil if it was released.
func (t *handles) get(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[fh]
}

// remove takes the open file out and returns it, nil if it is not there. The caller releases it.
func (t *handles) remove(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.open[fh]
	delete(t.open, fh)
	return h
}

// removeAll takes out every open file.
func (t *handles) removeAll() map[uint64]*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.open
	t.open = nil
	return all
}

// len is how many files are open.
func (t *handles) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// ofObjects returns the open files of objects, by fh.
func (t *handles) ofObjects() map[uint64]*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make(map[uint64]*handle, len(t.open))
	for fh, h := range t.open {
		if h.inode != nil && h.inode.object != nil {
			list[fh] = h
		}
	}
	return list
}

// byKind counts the open files of objects.
func (t *handles) byKind() map[string]int {
	n := make(map[string]int)
	for _, h := range t.ofObjects() {
		n[h.inode.kind.name()]++
	}
	return n
}
