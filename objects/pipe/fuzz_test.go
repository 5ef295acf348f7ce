package pipe

import (
	"maps"
	"slices"
	"testing"
)

// picker takes choices from bytes, two for each: zeros when they are used up.
func picker(program []byte) (pick func(int) int, more func() bool) {
	pick = func(n int) int {
		if len(program) < 2 {
			program = nil
			return 0
		}
		x := int(program[0])<<8 | int(program[1])
		program = program[2:]
		return x % n
	}
	return pick, func() bool { return len(program) > 0 }
}

// program encodes choices for picker.
func program(choices ...int) []byte {
	var p []byte
	for _, c := range choices {
		p = append(p, byte(c>>8), byte(c))
	}
	return p
}

// FuzzPipe does what the bytes say on a pipe and on the model. Waits and cancels included, both must tell the same in the same order.
func FuzzPipe(f *testing.F) {
	const cancel, closes, open, poll, read, resize, write = 0, 1, 2, 3, 4, 5, 6 // the names in their order
	f.Add([]byte{})
	// Both ends in one, a write that waits for two slots more than there are, reads.
	f.Add(program(0, open, 2, 0, write, 0, 1, 0, 0, 7, 2, read, 0, 7, 2, 1, 0, read, 0, 3, 2, 1, 0))
	// One slot, two reads that wait and one that is cancelled, a poll, a packet, the writer's close.
	f.Add(program(1, open, 3, 0, open, 1, read, 0, 3, 2, 1, 0, read, 0, 3, 2, 1, 0, cancel, 0, poll, 0, 1, write, 0, 1, 3, 0, 0, 2, read, 0, 3, 2, 1, 0, closes, 1))
	// Two slots, made by a writer of three pages; the first reader comes, there is more room, and no reader any more.
	f.Add(program(2, open, 1, 1, write, 0, 1, 0, 0, 5, 2, open, 3, resize, 2, 0, closes, 1, write, 0, 1, 0, 0, 0, 2))
	f.Fuzz(func(t *testing.T, program []byte) {
		pick, more := picker(program[:min(len(program), 2000)]) // longer ones find nothing new
		m := newMachine(t, pick)
		actions := m.actions()
		names := slices.Sorted(maps.Keys(actions))
		for more() {
			actions[names[pick(len(names))]]()
			m.compare()
		}
	})
}

// FuzzKernel does what the bytes say on a pipe and on a FIFO of the running kernel.
func FuzzKernel(f *testing.F) {
	f.Add([]byte{})
	f.Add(program(0, 2, 2, 0, 3, 1, 1, 0, 4, 2))
	f.Fuzz(func(t *testing.T, program []byte) {
		pick, more := picker(program[:min(len(program), 2000)])
		k := newKernelPipe(t)
		h := &twins{t: t, pick: pick, fifo: k, s: newSteps(t)}
		for more() {
			h.step()
		}
		h.closeAll()
	})
}
