package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ipcfs/cmd/ipcfs/inspect"
)

// need is what an operation waits for: that others do something with an object that they have open for it.
type need struct {
	mount string
	ino   int64
	mode  string // "r" or "w", "" for either
}

// need is what has to be open for others, so that one of them can end the wait.
func (u *use) need() need {
	n := need{u.mount, u.ino, ""}
	switch {
	case u.wait == "READ" || u.wait == "OPEN" && u.mode == "r":
		n.mode = "w"
	case u.wait == "WRITE" || u.wait == "OPEN" && u.mode == "w":
		n.mode = "r"
	}
	return n // who waits for a lock is not told who has it: anybody who has it open may
}

// meets are the needs that who has the file open could meet: none while it is being opened.
func (u *use) meets() []need {
	if u.wait == "OPEN" {
		return nil
	}
	list := []need{{u.mount, u.ino, ""}}
	for _, mode := range []string{"r", "w"} {
		if strings.Contains(u.mode, mode) {
			list = append(list, need{u.mount, u.ino, mode})
		}
	}
	return list
}

// holders are the processes that can meet a need, in order.
type holders map[need][]int64

// add adds the process of a use.
func (h holders) add(u *use) {
	for _, n := range u.meets() {
		h[n] = append(h[n], u.pid)
	}
}

// sort puts them in order, each once.
func (h holders) sort() {
	for n, pids := range h {
		slices.Sort(pids)
		h[n] = slices.Compact(pids)
	}
}

// but are those that can meet a need but one process. Mostly that is none of them, and nothing is copied: there may be thousands of both.
func (h holders) but(n need, pid int64) []int64 {
	pids := h[n]
	if at, found := slices.BinarySearch(pids, pid); found {
		return slices.Concat(pids[:at], pids[at+1:])
	}
	return pids
}

// findWaiters finds of each operation that waits the process that does, and the other processes that could end the wait.
func findWaiters(uses []use, on processes) {
	all, alive := make(holders), make(holders)
	for i := range uses {
		u := &uses[i]
		all.add(u)
		if u.command != "" {
			alive.add(u)
		}
	}
	all.sort()
	alive.sort()
	for i := range uses {
		u := &uses[i]
		if u.wait == "" {
			continue
		}
		u.waiter, u.waiterCommand = u.pid, u.command
		if u.tid != u.pid && u.tid != 0 { // a further thread
			if pid, command, ok := on.of(u.tid); ok && pid != u.pid {
				u.waiter, u.waiterCommand = pid, command
			}
		}
		u.frees, u.alive = all.but(u.need(), u.waiter), alive.but(u.need(), u.waiter)
	}
}

// deadlock is a ring of processes, of which each waits for the next one.
type deadlock struct {
	waits    []deadlockWait
	possible bool // a process in it has threads that do not wait, or that cannot be counted
}

// deadlockWait is a process that waits for another one.
type deadlockWait struct {
	use           *use
	holder        int64
	holderCommand string
}

// findDeadlocks finds the processes that can only be freed by each other, and of each group of them one ring; findWaiters came before. A process of which more than one
// thread waits can go on when one of them can.
func findDeadlocks(uses []use, on processes) (found []deadlock) {
	waits := make(map[int64][]*use) // by the process that waits
	commands := make(map[int64]string)
	for i := range uses {
		u := &uses[i]
		commands[u.pid] = u.command
		if u.wait != "" {
			waits[u.waiter] = append(waits[u.waiter], u)
		}
	}
	stuck := findStuck(uses, waits)
	next := func(pid int64) (*use, int64) { return waits[pid][0], waits[pid][0].frees[0] }
	const walked = -1            // instead of a place on the way
	place := make(map[int64]int) // on the way from where it began, 1 for the first
	for _, from := range slices.Sorted(maps.Keys(stuck)) {
		var way []int64
		pid := from
		for place[pid] == 0 {
			way = append(way, pid)
			place[pid] = len(way)
			_, pid = next(pid)
		}
		if at := place[pid]; at > 0 {
			var d deadlock
			for _, pid := range way[at-1:] {
				u, holder := next(pid)
				d.waits = append(d.waits, deadlockWait{u, holder, commands[holder]})
				n, ok := on.threads(pid)
				d.possible = d.possible || !ok || n > threadsOf(waits[pid])
			}
			found = append(found, d)
		}
		for _, pid := range way {
			place[pid] = walked
		}
	}
	return found
}

// threadsOf is how many threads wait.
func threadsOf(waits []*use) int {
	tids := make(map[int64]bool)
	for _, u := range waits {
		tids[u.tid] = true
	}
	return len(tids)
}

// findStuck finds the largest set of processes that all wait, and only for each other: all that wait but those that do so for nobody, or that somebody who is not in the set could free.
func findStuck(uses []use, waits map[int64][]*use) map[int64]bool {
	stuck := make(map[int64]bool)
	waiters := make(map[need][]int64)
	meets := make(map[int64]map[need]bool)
	for i := range uses {
		u := &uses[i]
		if meets[u.pid] == nil {
			meets[u.pid] = make(map[need]bool)
		}
		for _, n := range u.meets() {
			meets[u.pid][n] = true
		}
		if u.wait != "" {
			stuck[u.waiter] = true
			waiters[u.need()] = append(waiters[u.need()], u.waiter)
		}
	}
	var free []int64
	for pid := range meets {
		if !stuck[pid] {
			free = append(free, pid)
		}
	}
	for pid := range stuck {
		if slices.ContainsFunc(waits[pid], func(u *use) bool { return len(u.frees) == 0 }) {
			delete(stuck, pid)
			free = append(free, pid)
		}
	}
	for len(free) > 0 {
		pid := free[len(free)-1]
		free = free[:len(free)-1]
		for n := range meets[pid] {
			for _, waiter := range waiters[n] {
				if waiter != pid && stuck[waiter] {
					delete(stuck, waiter)
					free = append(free, waiter)
				}
			}
			delete(waiters, n)
		}
	}
	return stuck
}

// line is the deadlock in words.
func (d deadlock) line(one bool) string {
	var parts []string
	for _, w := range d.waits {
		parts = append(parts, fmt.Sprintf("%d (%s) waits to %s, which %d (%s) holds",
			w.use.waiter, named(w.use.waiterCommand), w.use.doing(one), w.holder, named(w.holderCommand)))
	}
	what := "deadlock: "
	if d.possible {
		what = "possible deadlock: "
	}
	return what + strings.Join(parts, "; ")
}

// doing is what the operation does that waits, as "read pipes/p".
func (u *use) doing(one bool) string {
	verb, name := strings.ToLower(u.wait), named(u.fullName(one))
	switch {
	case u.wait == "SETLKW":
		verb = "lock"
	case u.wait == "OPEN" && u.mode == "r":
		name += " for reading"
	case u.wait == "OPEN" && u.mode == "w":
		name += " for writing"
	}
	return verb + " " + name
}

// fullName is the name in the tree, or in the file system if there is not only one mount.
func (u *use) fullName(one bool) string {
	if one || u.name == "" {
		return u.name
	}
	return inspect.Mount{Dir: u.mount}.Path(u.name)
}

// fields is the deadlock as JSON.
func (d deadlock) fields(one bool) fields {
	waits := make([]fields, len(d.waits))
	for i, w := range d.waits {
		waits[i] = fields{
			{"pid", w.use.waiter}, {"command", w.use.waiterCommand}, {"waits", w.use.wait}, {"name", orNull(w.use.fullName(one))},
			{"holder", w.holder}, {"holder_command", w.holderCommand},
		}
	}
	return fields{{"possible", d.possible}, {"waits", waits}}
}
