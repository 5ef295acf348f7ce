package ipc

// Completion is something that happened to an operation under an object's lock and is to be told after it: an answer to send, a
// poll to wake. Deliver is called once, without any lock held; it must not block.
type Completion interface{ Deliver() }

// Completions collects, in order, what one call to an object completed: the caller's own operation and those of others that it
// made possible, as the kernel collects tasks on a wake_q. The caller of the object calls Deliver after the call returned. The zero
// value is empty. It is used by one goroutine.
type Completions struct{ list []Completion }

// Add appends c.
func (d *Completions) Add(c Completion) { d.list = append(d.list, c) }

// Deliver delivers everything in the order in which it was added and leaves the collection empty, ready for the next call. If one panics the others are
// delivered all the same, before the panic goes on: each is somebody's answer.
func (d *Completions) Deliver() {
	next := 0
	defer func() {
		rest := Completions{list: d.list[next:]}
		d.list = d.list[:0]
		if rest.Len() > 0 {
			rest.Deliver()
		}
	}()
	for next < len(d.list) {
		c := d.list[next]
		d.list[next] = nil
		next++
		c.Deliver()
	}
}

// Len is the number of completions not yet delivered.
func (d *Completions) Len() int { return len(d.list) }

// Canceler is an operation that may be waiting.
type Canceler interface {
	// Cancel ends the wait of the operation, as a signal does: it completes with EINTR, or with the count of what it has done
	// already. It does nothing to an operation that is complete. It takes the object's lock.
	Cancel(done *Completions)
}
