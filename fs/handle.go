package fs

import "sync"

// handles is the table of open files by the fh that the kernel holds. Its lock may be taken under FS.mu; nothing is called while it is held. An fh
// is never used again, so a request for a file that is gone finds nothing.
type handles struct {
	mu   sync.Mutex // guards all below
	last uint64
	open map[uint64]file
}

// add enters o and returns its fh.
func (t *handles) add(o file) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[uint64]file)
	}
	t.last++
	t.open[t.last] = o
	return t.last
}

// get returns the file, nil if it was released.
func (t *handles) get(fh uint64) file {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[fh]
}

// remove takes the file out and returns it, nil if it is not there. The caller releases it.
func (t *handles) remove(fh uint64) file {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.open[fh]
	delete(t.open, fh)
	return o
}

// removeAll takes out every file.
func (t *handles) removeAll() []file {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []file
	for _, o := range t.open {
		all = append(all, o)
	}
	t.open = nil
	return all
}
