package waitq

import (
	"slices"
	"testing"
)

type op struct {
	Entry[*op]
	id int
}

func ids(q *Queue[*op]) []int {
	var got []int
	for o := range q.All() {
		got = append(got, o.id)
	}
	return got
}

func TestOrderAndRemoval(t *testing.T) {
	var q, other Queue[*op]
	ops := make([]op, 5)
	for i := range ops {
		ops[i].id = i
		q.Push(&ops[i].Entry, &ops[i])
	}
	for _, i := range []int{2, 0, 4} { // middle, first, last
		if other.Remove(&ops[i].Entry) {
			t.Fatalf("operation %d was removed from a queue that it is not in", i)
		}
		if !q.Remove(&ops[i].Entry) || ops[i].Waiting() {
			t.Fatalf("operation %d was not removed", i)
		}
		if q.Remove(&ops[i].Entry) {
			t.Fatalf("operation %d was removed twice", i)
		}
	}
	if got := ids(&q); !slices.Equal(got, []int{1, 3}) || q.Len() != 2 {
		t.Fatalf("left %v (Len %d), want [1 3]", got, q.Len())
	}
	q.Push(&ops[0].Entry, &ops[0])
	for _, want := range []int{1, 3, 0} {
		if got, ok := q.Pop(); !ok || got.id != want {
			t.Fatalf("Pop = %v, %v, want %d", got, ok, want)
		}
	}
	if _, ok := q.Pop(); ok || q.Len() != 0 {
		t.Fatal("Pop of an empty queue gave an operation")
	}
}

func TestAllAllowsRemoval(t *testing.T) {
	var q Queue[*op]
	ops := make([]op, 4)
	for i := range ops {
		ops[i].id = i
		q.Push(&ops[i].Entry, &ops[i])
	}
	for o := range q.All() {
		if o.id%2 == 0 {
			q.Remove(&o.Entry)
		}
	}
	if got := ids(&q); !slices.Equal(got, []int{1, 3}) {
		t.Fatalf("left %v, want [1 3]", got)
	}
}

func TestPushTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a second Push of the same operation did not panic")
		}
	}()
	var q Queue[*op]
	var o op
	q.Push(&o.Entry, &o)
	q.Push(&o.Entry, &o)
}
