package integration

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The sizes of reads and writes: around 1, PIPE_BUF, a page and a half, and the capacity.
var sizes = []int{1, 2, 10, 1000, 2048, 2049, 4095, 4096, 4097, 6000, 8192, 20000, 65535, 65536, 65537, 70000, 131072, 200000}

// step is what one actor does or what is done to it: a command for clients/actor with @ for the directory, "kill" or "signal".
type step struct {
	actor int
	cmd   string
}

// slot is what the author of a scenario knows of an open slot.
type slot struct {
	object      int
	read, write bool
	appends     bool
}

// author invents a scenario while it is played in the kernel's world, whose answers it needs to know who can do what.
type author struct {
	rng     *rand.Rand
	slots   []map[int]slot // by actor
	names   map[string]int // object by name
	objects int
	resized map[int]bool
	opening map[int]struct {
		slot int
		to   slot
	}
}

func newAuthor(seed uint64, actors int) *author {
	a := &author{
		rng: rand.New(rand.NewPCG(seed, 1)), names: map[string]int{"p": 1}, objects: 1, resized: make(map[int]bool),
		opening: make(map[int]struct {
			slot int
			to   slot
		}),
	}
	for range actors {
		a.slots = append(a.slots, make(map[int]slot))
	}
	return a
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// next invents the next step.
func (a *author) next(c cast) step {
	var idle, busy []int
	for i, x := range c {
		switch {
		case x == nil:
		case x.busy == "":
			idle = append(idle, i)
		default:
			busy = append(busy, i)
		}
	}
	roll := a.rng.IntN(100)
	if len(busy) > 0 && (len(idle) == 0 || roll < 15) {
		return step{pick(a.rng, busy...), pick(a.rng, "signal", "signal", "kill")}
	}
	i := pick(a.rng, idle...)
	free := 0
	for ; ; free++ {
		if _, used := a.slots[i][free]; !used {
			break
		}
	}
	var open []int
	for s := range 12 {
		if _, ok := a.slots[i][s]; ok {
			open = append(open, s)
		}
	}
	if len(open) == 0 || roll < 35 && free < 8 {
		return a.open(i, free)
	}
	n := pick(a.rng, open...)
	s := a.slots[i][n]
	size := pick(a.rng, sizes...)
	inPoll, inRW := a.waits(c, busy)
	// When a poll and a read wait for the same bytes, whether the poll sees them before the read has taken them is chance, in the kernel too. So they
	// never wait together, nor do a poll and a write that want the same room.
	s.read = s.read && inPoll&unix.POLLIN == 0
	s.write = s.write && inPoll&unix.POLLOUT == 0
	timeout := pick(a.rng, 0, -1)
	if inRW {
		timeout = 0
	}
	switch roll := a.rng.IntN(100); {
	case roll < 55 && s.read && (!s.write || a.rng.IntN(2) == 0):
		if a.rng.IntN(4) == 0 {
			return step{i, fmt.Sprintf("readv %d %d %d", n, size, size/pick(a.rng, 1, 2, 7)+1)}
		}
		return step{i, fmt.Sprintf("read %d %d", n, size)}
	case roll < 55 && s.write:
		seed := a.rng.IntN(1000)
		if a.rng.IntN(4) == 0 {
			return step{i, fmt.Sprintf("writev %d %d %d %d", n, size, size/pick(a.rng, 1, 2, 7)+1, seed)}
		}
		return step{i, fmt.Sprintf("write %d %d %d", n, size, seed)}
	case roll < 62:
		return step{i, fmt.Sprintf("poll %d %d %d", n, pick(a.rng, unix.POLLIN, unix.POLLOUT, unix.POLLIN|unix.POLLOUT), timeout)}
	case roll < 70 && !inRW:
		return step{i, fmt.Sprintf("flags %d %d", n, pick(a.rng, 0, unix.O_NONBLOCK, unix.O_NONBLOCK|unix.O_DIRECT, unix.O_DIRECT))}
	case roll < 73 && free < 8:
		return step{i, fmt.Sprintf("dup %d %d", n, free)}
	case roll < 85:
		return step{i, fmt.Sprintf("close %d", n)}
	case roll < 88 && len(c) < 5 && !a.appends(i):
		return step{i, "fork"}
	case roll < 91:
		for name, object := range a.names {
			if object == s.object {
				return step{i, fmt.Sprintf("setpipe %d %d @%s", n, pick(a.rng, 1, 4096, 4097, 16384, 65536, 1<<20), name)}
			}
		}
		return step{i, "unlink @p"} // it has no name
	case roll < 93:
		return step{i, fmt.Sprintf("sigpipe %d", a.rng.IntN(2))}
	case roll < 95:
		return step{i, pick(a.rng, "rename @p @q", "rename @q @p")}
	case roll < 97:
		return step{i, "unlink @" + pick(a.rng, "p", "q")}
	case roll < 99:
		return step{i, "mkfifo @" + pick(a.rng, "p", "q")}
	}
	return step{i, "kill"}
}

// appends says whether actor i has an open file that its child must not share.
func (a *author) appends(i int) bool {
	for _, s := range a.slots[i] {
		if s.appends {
			return true
		}
	}
	return false
}

// waits says for which events polls are blocked, and whether a read or a write is.
func (a *author) waits(c cast, busy []int) (inPoll int, inRW bool) {
	for _, i := range busy {
		var n, events, timeout int
		switch {
		case strings.HasPrefix(c[i].busy, "poll"):
			if _, err := fmt.Sscanf(c[i].busy, "poll %d %d %d", &n, &events, &timeout); err != nil {
				panic(err)
			}
			if x := a.slots[i][n]; x.read {
				inPoll |= unix.POLLIN & events
			}
			if x := a.slots[i][n]; x.write {
				inPoll |= unix.POLLOUT & events
			}
		case !strings.HasPrefix(c[i].busy, "open"):
			inRW = true
		}
	}
	return inPoll, inRW
}

func (a *author) open(i, free int) step {
	name := pick(a.rng, "p", "p", "p", "q")
	if _, ok := a.names[name]; !ok {
		name = "p"
	}
	mode := pick(a.rng, unix.O_RDONLY, unix.O_RDONLY, unix.O_WRONLY, unix.O_WRONLY, unix.O_RDWR)
	flags := mode | pick(a.rng, 0, unix.O_NONBLOCK) | pick(a.rng, 0, 0, 0, unix.O_APPEND)
	x := a.opening[i]
	x.slot, x.to = free, slot{a.names[name], mode != unix.O_WRONLY, mode != unix.O_RDONLY, flags&unix.O_APPEND != 0}
	a.opening[i] = x
	return step{i, fmt.Sprintf("open %d @%s %d", free, name, flags)}
}

// learn notes what the steps and their answers changed, and returns the names of the pipes whose capacity a FIFO has forgotten now.
func (a *author) learn(c cast, s step, o outcome) (forgotten []string) {
	if s.cmd == "kill" {
		a.slots[s.actor] = nil
		delete(a.opening, s.actor)
	}
	for i, answer := range o.answers {
		if x, ok := a.opening[i]; ok {
			if strings.HasPrefix(answer, "0 ") {
				a.slots[i][x.slot] = x.to
			}
			delete(a.opening, i)
		}
	}
	if ok := strings.HasPrefix(o.answers[s.actor], "-1"); !ok && o.answers[s.actor] != "" {
		f := strings.Fields(s.cmd)
		n := -1
		if len(f) > 1 {
			if v, err := strconv.Atoi(f[1]); err == nil {
				n = v
			}
		}
		switch f[0] {
		case "close":
			delete(a.slots[s.actor], n)
		case "dup":
			to, _ := strconv.Atoi(f[2])
			a.slots[s.actor][to] = a.slots[s.actor][n]
		case "fork":
			child := make(map[int]slot)
			for k, v := range a.slots[s.actor] {
				child[k] = v
			}
			a.slots = append(a.slots, child)
		case "setpipe":
			a.resized[a.slots[s.actor][n].object] = true
		case "rename":
			from, to := f[1][1:], f[2][1:]
			a.names[to] = a.names[from]
			delete(a.names, from)
		case "unlink":
			delete(a.names, f[1][1:])
		case "mkfifo":
			a.objects++
			a.names[f[1][1:]] = a.objects
		}
	}
	inUse := make(map[int]bool)
	for i := range a.slots {
		for _, x := range a.slots[i] {
			inUse[x.object] = true
		}
	}
	for _, x := range a.opening {
		inUse[x.to.object] = true
	}
	for name, object := range a.names {
		if a.resized[object] && !inUse[object] {
			delete(a.resized, object)
			forgotten = append(forgotten, name)
		}
	}
	return forgotten
}
