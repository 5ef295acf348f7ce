package ipc

import "sync"

// IDs is struct ipc_ids (ipc/util.h): how many objects of a kind exist. Its lock is a leaf. The zero IDs is ready for use.
type IDs struct {
	mu    sync.Mutex // guards inUse
	inUse int
}

// Add counts one more object, unless there are limit already (ipc/util.c:ipc_addid).
func (ids *IDs) Add(limit int) bool {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.inUse >= limit {
		return false
	}
	ids.inUse++
	return true
}

// Remove counts one object less (ipc/util.c:ipc_rmid).
func (ids *IDs) Remove() {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.inUse--
}

// InUse is how many objects exist.
func (ids *IDs) InUse() int {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	return ids.inUse
}
