package ipc

import "time"

// Times are the times of an object that stat(2) shows: the last read, write and change. They have no lock of their own.
type Times struct{ Atime, Mtime, Ctime time.Time }

// Set replaces those that are not zero in u.
func (t *Times) Set(u Times) {
	for _, x := range []struct {
		to   *time.Time
		from time.Time
	}{{&t.Atime, u.Atime}, {&t.Mtime, u.Mtime}, {&t.Ctime, u.Ctime}} {
		if !x.from.IsZero() {
			*x.to = x.from
		}
	}
}
