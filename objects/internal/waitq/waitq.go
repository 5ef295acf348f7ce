// Package waitq is the wait queue of the simulated kernel (wait_queue_head_t): first in, first out, and made of operations
// instead of sleeping tasks. Nobody sleeps in it. Who makes an operation possible takes it from the queue and completes it; a
// cancel takes it out.
//
// A queue has no lock: the lock of its object guards it and every entry in it.
package waitq

// Entry links a waiting operation into at most one queue. An operation embeds it. The zero Entry is in no queue.
type Entry[T any] struct {
	next, prev *Entry[T]
	queue      *Queue[T]
	op         T
}

// Waiting says whether the entry is in a queue.
func (e *Entry[T]) Waiting() bool { return e.queue != nil }

// Queue is a list of waiting operations, longest wait first. The zero Queue is empty.
type Queue[T any] struct {
	first, last *Entry[T]
	n           int
}

// Len is the number of waiting operations.
func (q *Queue[T]) Len() int { return q.n }

// Push appends op through e, the entry embedded in it. It panics if e is in a queue already.
func (q *Queue[T]) Push(e *Entry[T], op T) {
	if e.queue != nil {
		panic("waitq: operation is in a queue already")
	}
	e.op, e.queue, e.prev, e.next = op, q, q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	q.n++
}

// Pop takes out the operation that waited longest; ok is false when nobody waits.
func (q *Queue[T]) Pop() (op T, ok bool) {
	e := q.first
	if e == nil {
		return op, false
	}
	op = e.op
	q.Remove(e)
	return op, true
}

// Remove unlinks e and says whether it was in q: of a completion and a cancel that meet, the second finds it gone.
func (q *Queue[T]) Remove(e *Entry[T]) bool {
	if e.queue != q {
		return false
	}
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	var none T
	e.next, e.prev, e.queue, e.op = nil, nil, nil, none
	q.n--
	return true
}

// All yields the waiting operations, longest wait first. The one that was just yielded may be removed.
func (q *Queue[T]) All() func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for e := q.first; e != nil; {
			next := e.next
			if !yield(e.op) {
				return
			}
			e = next
		}
	}
}
