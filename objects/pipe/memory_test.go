package pipe

import (
	"testing"

	"ipcfs/objects/ipc"
)

// newTight is a pipe with memory for n pages only.
func newTight(t *testing.T, n int) *steps { return newStepsWith(t, n, ipc.DefaultLimits()) }

func TestNoMemory(t *testing.T) {
	t.Run("nothing is written", func(t *testing.T) {
		s := newTight(t, 1)
		r, w := s.ends()
		s.write(w, "w1", bytesOf('a', 4096))
		s.write(w, "w2", "b")
		s.want("w1=4096", "w2=ENOMEM")
		s.read(r, "r", 4096)
		s.write(w, "w3", "c")
		s.want("r=4096a", "w3=1")
	})
	t.Run("a part is written", func(t *testing.T) {
		s := newTight(t, 3)
		r, w := s.ends()
		s.write(w, "w1", bytesOf('a', 4096+100))
		s.write(w, "w2", bytesOf('b', 2*4096+50)) // 50 merge, one page is left
		s.want("w1=4196", "w2=4146")
		s.read(r, "r", 5*4096)
		s.want("r=4196a 4146b")
	})
	t.Run("only the merge is written", func(t *testing.T) {
		s := newTight(t, 1)
		_, w := s.ends()
		s.write(w, "w1", "a")
		s.write(w, "w2", bytesOf('b', 4097))
		s.want("w1=1", "w2=1")
	})
	t.Run("a waiting write ends with what had room", func(t *testing.T) {
		s := newTight(t, DefaultSlots+2)
		r, w := s.ends()
		s.write(w, "w1", bytesOf('a', (DefaultSlots+5)*4096))
		s.want()
		s.write(w, "w2", "b")
		s.want("w2=ENOMEM")
		s.read(r, "r", 20*4096)
		s.want("r=65536a", "w1=73728")
	})
	t.Run("no page for what would wait", func(t *testing.T) {
		s := newTight(t, DefaultSlots)
		_, w := s.ends()
		s.write(w, "w1", bytesOf('a', 20*4096))
		s.want("w1=65536")
	})
	t.Run("cancel gives the memory back", func(t *testing.T) {
		s := newTight(t, DefaultSlots+3)
		_, w := s.ends()
		s.fill(w, DefaultSlots)
		s.cancel(s.write(w, "w1", bytesOf('a', 3*4096)))
		s.cancel(s.write(w, "w2", bytesOf('b', 3*4096)))
		s.want("w1=EINTR", "w2=EINTR")
	})
	t.Run("before the first reader", func(t *testing.T) {
		s := newTight(t, 1)
		w := s.creates(wronly)
		s.write(w, "w1", bytesOf('a', 5000))
		s.write(w, "w2", "b")
		s.want("w2=ENOMEM")
		s.file(rdonly)
		s.want("w1=4096")
	})
	t.Run("packets share pages", func(t *testing.T) {
		s := newTight(t, 1)
		_, w := s.ends()
		for range DefaultSlots {
			s.packet(w, "w", "small")
			s.want("w=5")
		}
	})
}
