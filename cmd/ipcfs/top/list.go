package top

import (
	"cmp"
	"slices"
	"strings"

	"ipcfs/cmd/ipcfs/inspect"
)

// order is what the list is sorted by.
type order int

// The orders, in the sequence in which the key goes through them.
const (
	byKind order = iota
	byName
	byFill
	byBytes
	byIn
	byOut
	byWaiters
	orders // how many there are
)

// descends says whether the largest is what one looks for: then it comes first, unless the order is reversed.
func (o order) descends() bool { return o > byName }

// String is the order in words.
func (o order) String() string {
	return [orders]string{"kind", "name", "fill", "bytes", "rate in", "rate out", "waiters"}[o]
}

// compare compares two objects by the order alone, smaller before larger.
func (o order) compare(a, b *object) int {
	switch o {
	case byKind:
		return cmp.Compare(slices.Index(inspect.Kinds, a.kind), slices.Index(inspect.Kinds, b.kind))
	case byName:
		return cmp.Compare(a.name, b.name)
	case byFill:
		return cmp.Compare(a.fill, b.fill)
	case byBytes:
		return cmp.Compare(a.held, b.held)
	case byIn:
		return cmp.Compare(a.rate.in, b.rate.in)
	case byOut:
		return cmp.Compare(a.rate.out, b.rate.out)
	case byWaiters:
		return cmp.Compare(a.waiters, b.waiters)
	}
	return 0
}

// choice is which objects are shown, and in which order.
type choice struct {
	order       order
	reversed    bool
	kind        string // "" is all
	filter      string
	waitingOnly bool
}

// descending says whether larger ones come first.
func (c *choice) descending() bool { return c.order.descends() != c.reversed }

// shows says whether an object is one of the chosen. Capitals count as small letters.
func (c *choice) shows(o *object) bool {
	return (c.kind == "" || o.kind == c.kind) && (!c.waitingOnly || o.waiters > 0) &&
		(c.filter == "" || strings.Contains(strings.ToLower(o.name), strings.ToLower(c.filter)))
}

// of chooses among objects and sorts. What is equal is in the order of names, so that the list does not flicker.
func (c *choice) of(objects []object) []*object {
	chosen := make([]*object, 0, len(objects))
	for i := range objects {
		if c.shows(&objects[i]) {
			chosen = append(chosen, &objects[i])
		}
	}
	descending := c.descending()
	slices.SortFunc(chosen, func(a, b *object) int {
		n := c.order.compare(a, b)
		if descending {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.name, b.name), byKind.compare(a, b), cmp.Compare(a.ino, b.ino))
	})
	return chosen
}

// list is the chosen objects, and which of them is selected.
type list struct {
	objects []*object
	cursor  int   // index of the selected one; 0 if there is none
	ino     int64 // the selected one is this, wherever it gets to; 0 if there is none
	top     int   // index of the first that is on the screen
}

// replace puts other objects in the list. The selected one stays selected; if it is not there any more, the one that is now in its place is.
func (l *list) replace(objects []*object) {
	l.objects = objects
	if at := slices.IndexFunc(objects, func(o *object) bool { return o.ino == l.ino }); at >= 0 {
		l.cursor = at
	}
	l.move(0)
}

// move selects the object that is by places further down, or the nearest that there is.
func (l *list) move(by int) {
	l.cursor = max(min(l.cursor+by, len(l.objects)-1), 0)
	l.ino = 0
	if o := l.selected(); o != nil {
		l.ino = o.ino
	}
}

// selected is the selected object, nil if the list is empty.
func (l *list) selected() *object {
	if l.cursor >= len(l.objects) {
		return nil
	}
	return l.objects[l.cursor]
}

// scroll moves the list no further than it must so that the selected object is on a screen of so many rows, which are not left empty.
func (l *list) scroll(rows int) {
	l.top = max(min(l.top, l.cursor, len(l.objects)-rows), l.cursor-rows+1, 0)
}

// shown is the part of the list that is on a screen of so many rows, and the index of its first.
func (l *list) shown(rows int) (first int, objects []*object) {
	first = min(l.top, len(l.objects))
	return first, l.objects[first:min(first+max(rows, 0), len(l.objects))]
}
