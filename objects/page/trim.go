package page

import (
	"slices"

	"golang.org/x/sys/unix"
)

// trimBatch is how many pages are given back in one hold of the lock, so that an allocation waits some ten microseconds at most.
const trimBatch = 256

// Trim gives the memory of free pages back to the system if nothing was allocated since the Trim before, and returns how many bytes that
// were. The owner of the arena calls it now and then; what is in use is not touched, and Trim ends early when an allocation comes.
func (a *Arena) Trim() (int64, error) {
	a.mu.Lock()
	calls := a.calls
	idle := calls == a.seen
	a.seen = calls
	a.mu.Unlock()
	var given int64
	for idle {
		n, err := a.trimSome(calls)
		if err != nil || n == 0 {
			return given, err
		}
		given += n
	}
	return given, nil
}

// trimSome gives back up to trimBatch pages, unless something was allocated since the arena had seen calls allocations.
func (a *Arena) trimSome(calls uint64) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls != calls {
		return 0, nil
	}
	n := min(len(a.warm), trimBatch)
	free := a.warm[len(a.warm)-n:]
	slices.Sort(free)
	for start := 0; start < n; {
		end := start + 1
		for end < n && free[end] == free[end-1]+1 {
			end++
		}
		off, length := int64(free[start])*Size, int64(end-start)*Size
		if err := unix.Fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length); err != nil {
			return 0, err
		}
		start = end
	}
	a.cold = append(a.cold, free...)
	a.warm = a.warm[:len(a.warm)-n]
	return int64(n) * Size, nil
}
