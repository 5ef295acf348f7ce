package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// largestMsgMax is the most that --msgmax may be.
const largestMsgMax = 1<<20 - 2*4096

// memoryAt is n bytes of memory that begin off bytes into a page.
func memoryAt(t testing.TB, off, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, off+n+4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b[off : off+n : off+n]
}

// letters fills b with what no other seed is likely to give, and what is not the same a page further on.
func letters(b []byte, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range min(len(b), 251) {
		b[i] = byte('a' + rng.IntN(26))
	}
	for n := 251; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// pieces cuts b into n pieces as equal as can be; the rest of more than len(b) are empty.
func pieces(b []byte, n int) [][]byte {
	v := make([][]byte, n)
	for i := range v {
		v[i] = b[i*len(b)/n : (i+1)*len(b)/n]
	}
	return v
}

// writes are the ways to write one buffer.
var writes = map[string]func(fd int, v [][]byte) (int, error){
	"write": func(fd int, v [][]byte) (int, error) {
		if len(v) == 1 {
			return unix.Write(fd, v[0])
		}
		return unix.Writev(fd, v)
	},
	"append": func(fd int, v [][]byte) (int, error) {
		const rwfAppend = 0x10
		return unix.Pwritev2(fd, v, -1, rwfAppend)
	},
}

// texts is what the queue holds, through a view of it.
func texts(t testing.TB, q string) [][]byte {
	t.Helper()
	fd := openFd(t, q, unix.O_RDONLY|unix.O_NONBLOCK)
	defer unix.Close(fd)
	b := memoryAt(t, 0, 1<<20)
	var all [][]byte
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Read(fd, b) })
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(b[:n]))
	}
}

// wholeOrNothing fails the test unless a write of v either sent all of it but head as one message or was refused with EINVAL and sent nothing. It says whether
// it was sent. The queue is empty then.
func wholeOrNothing(t testing.TB, q, what string, head []byte, v [][]byte, n int, err error) bool {
	t.Helper()
	held, sent := texts(t, q+":raw"), bytes.Join(v, nil)
	switch {
	case errors.Is(err, unix.EINVAL) && len(held) == 0:
		return false
	case err == nil && n == len(sent) && len(held) == 1 && bytes.Equal(held[0][8:], sent[len(head):]):
		return true
	}
	var sizes []int
	for _, m := range held {
		sizes = append(sizes, len(m)-8)
	}
	t.Errorf("%s of %d bytes in %d pieces: %d, %v, and the queue had messages of %v bytes", what, len(sent), len(v), n, err, sizes)
	return false
}

// eachSender runs f for each way to send: a view, and how it was opened. head is what must come before the text.
func eachSender(t *testing.T, q string, f func(what string, fd int, head []byte, write func(int, [][]byte) (int, error))) {
	for _, view := range []string{"", ":7", ":raw"} {
		for _, flags := range []int{0, unix.O_APPEND} {
			for name, write := range writes {
				fd := openFd(t, q+view, unix.O_WRONLY|unix.O_NONBLOCK|flags)
				var head []byte
				if view == ":raw" {
					head = []byte{9, 0, 0, 0, 0, 0, 0, 0}
				}
				f(fmt.Sprintf("%s to q%s with flags %#x", name, view, flags), fd, head, write)
				_ = unix.Close(fd)
			}
		}
	}
}

// eachMsgMax runs f on a queue with much room, for the usual longest message and the longest that can be had.
func eachMsgMax(t *testing.T, f func(t *testing.T, q string, most int)) {
	for _, most := range []int{msgMax, largestMsgMax} {
		t.Run(fmt.Sprintf("msgmax=%d", most), func(t *testing.T) {
			m := newMount(t, "--msgmax", strconv.Itoa(most), "--msgmnb", "64M")
			before := daemonUse(t, m)
			q := newQueue(t, m, "q", false)
			f(t, q, most)
			run(t, "rm", q)
			before.unchanged(t, m)
		})
	}
}

// A message that is too long is refused whole, however it comes.
func TestMsgqOversized(t *testing.T) {
	eachMsgMax(t, func(t *testing.T, q string, most int) {
		for _, size := range []int{most + 1, 1 << 20, 1<<20 + 1, 1<<20 + most, 4 << 20} {
			for _, off := range []int{0, 1, 4095} {
				eachSender(t, q, func(what string, fd int, head []byte, write func(int, [][]byte) (int, error)) {
					b := memoryAt(t, off, len(head)+size)
					letters(b, uint64(size))
					copy(b, head)
					n, err := write(fd, [][]byte{b})
					if wholeOrNothing(t, q, fmt.Sprintf("%s, at %d", what, off), head, [][]byte{b}, n, err) {
						t.Errorf("%s: %d bytes were sent", what, size)
					}
				})
			}
		}
	})
}

// Messages go through whole from and to whatever memory, in up to 100 pieces; those that must go in several WRITEs are refused.
func TestMsgqWholeFromAnyMemory(t *testing.T) {
	eachMsgMax(t, func(t *testing.T, q string, most int) {
		for _, size := range []int{1, 4056, 4057, 4096, most - 1, most} {
			for _, off := range []int{0, 1, 4095} {
				for _, n := range []int{1, 2, 7, 100} {
					eachSender(t, q, func(what string, fd int, head []byte, write func(int, [][]byte) (int, error)) {
						b := memoryAt(t, off, len(head)+size)
						letters(b, uint64(size+off))
						copy(b, head)
						v := pieces(b, n)
						k, err := write(fd, v)
						sent := wholeOrNothing(t, q, fmt.Sprintf("%s, at %d", what, off), head, v, k, err)
						if !sent && (most == msgMax || n == 1) {
							t.Errorf("%s: %d bytes at %d, in %d pieces, were refused", what, size, off, n)
						}
					})
				}
			}
		}

		// The other way round.
		r, w := openFd(t, q, unix.O_RDONLY|unix.O_NONBLOCK), openFd(t, q, unix.O_WRONLY|unix.O_NONBLOCK)
		defer unix.Close(r)
		defer unix.Close(w)
		for _, size := range []int{1, 4096, most} {
			for _, off := range []int{0, 1, 4095} {
				for _, n := range []int{1, 2, 7, 100} {
					from, to := memoryAt(t, 0, size), memoryAt(t, off, size)
					letters(from, uint64(size+off))
					for _, text := range [][]byte{from, []byte("the next one")} {
						if k, err := unix.Write(w, text); k != len(text) || err != nil {
							t.Fatalf("write of %d: %d, %v", len(text), k, err)
						}
					}
					v := pieces(to, n)
					k, err := unix.Readv(r, v)
					whole := k == size && err == nil && bytes.Equal(from, to)
					mayRefuse := most == largestMsgMax && n > 1 // it is more than one READ
					if !whole && (!mayRefuse || !errors.Is(err, unix.E2BIG)) {
						t.Errorf("readv of %d bytes to %d pieces at %d: %d, %v", size, n, off, k, err)
					}
					left := texts(t, q)
					if !whole && (len(left) != 2 || !bytes.Equal(left[0], from)) || whole && (len(left) != 1 || string(left[0]) != "the next one") {
						t.Errorf("readv of %d bytes to %d pieces at %d left %d messages", size, n, off, len(left))
					}
				}
			}
		}
	})
}

// A vector of more than 256 pieces comes in several WRITEs. It is one message, or none.
func TestMsgqManyPieces(t *testing.T) {
	eachMsgMax(t, func(t *testing.T, q string, _ int) {
		sent := make(map[string]int)
		for _, n := range []int{255, 256, 257, 512, 513, 1023, 1024} {
			for _, size := range []int{1, 7, 8} {
				eachSender(t, q, func(what string, fd int, head []byte, write func(int, [][]byte) (int, error)) {
					b := memoryAt(t, 0, len(head)+n*size)
					letters(b, uint64(n*size))
					copy(b, head)
					v := pieces(b, n)
					k, err := write(fd, v)
					switch whole := wholeOrNothing(t, q, what, head, v, k, err); {
					case whole:
						sent["whole"]++
					case n < 256:
						t.Errorf("%s: %d bytes in %d pieces: %d, %v", what, len(b), n, k, err)
					default:
						sent["refused"]++
					}
					// Empty pieces, which are none.
					sparse := make([][]byte, 1024)
					for i := range 100 {
						sparse[10*i] = b[i : i+1]
					}
					if head != nil {
						sparse[0] = b[:8]
					}
					k, err = write(fd, sparse)
					wholeOrNothing(t, q, what+", most of them empty,", head, sparse, k, err)
				})
			}
		}
		t.Logf("%v", sent)

		// A read into as many pieces takes what comes in the first READ, or nothing.
		w, r := openFd(t, q, unix.O_WRONLY|unix.O_NONBLOCK), openFd(t, q, unix.O_RDONLY|unix.O_NONBLOCK)
		defer unix.Close(r)
		defer unix.Close(w)
		for _, size := range []int{1, 255, 256, 257, 2047, 2048, 2049, 8192} {
			from, to := memoryAt(t, 0, size), memoryAt(t, 0, 8192)
			letters(from, uint64(size))
			for _, text := range [][]byte{from, []byte("the next one")} {
				if k, err := unix.Write(w, text); k != len(text) || err != nil {
					t.Fatalf("write of %d: %d, %v", len(text), k, err)
				}
			}
			k, err := unix.Readv(r, pieces(to, 1024))
			left := texts(t, q)
			switch {
			case err == nil && k == size && bytes.Equal(to[:size], from) && len(left) == 1:
			case errors.Is(err, unix.E2BIG) && len(left) == 2 && bytes.Equal(left[0], from):
			default:
				t.Errorf("readv of a message of %d bytes to 1024 pieces: %d, %v, and %d messages are left", size, k, err, len(left))
			}
		}
	})
}

// Through lines a write is bytes, however many pieces and WRITEs it is.
func TestMsgqLinesArePieces(t *testing.T) {
	eachMsgMax(t, func(t *testing.T, q string, most int) {
		for _, c := range []struct{ size, pieces int }{{1024, 1024}, {7168, 1024}, {8192, 1024}, {1<<20 + 1, 1}, {4 << 20, 1}, {4 << 20, 1000}} {
			for _, off := range []int{0, 1} {
				for name, write := range writes {
					b := memoryAt(t, off, c.size)
					letters(b, uint64(c.size))
					rng := rand.New(rand.NewPCG(uint64(c.size), 1))
					for at := 0; at < c.size; at += 1 + rng.IntN(min(c.size/8, msgMax)) {
						b[at] = '\n'
					}
					fd := openFd(t, q+":lines", unix.O_WRONLY|unix.O_NONBLOCK)
					n, err := write(fd, pieces(b, c.pieces))
					_ = unix.Close(fd) // and what is behind the last newline comes
					if n != c.size || err != nil {
						t.Errorf("%s of %+v: %d, %v", name, c, n, err)
					}
					eventually(t, func() error {
						if got, want := attribute(t, q, "q_cbytes"), c.size; got != want {
							return fmt.Errorf("%d bytes are in the queue, want %d", got, want)
						}
						return nil
					})
					held := texts(t, q)
					if !bytes.Equal(bytes.Join(held, nil), b) || len(held) != len(bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))) {
						t.Errorf("%s of %+v: %d messages of other bytes", name, c, len(held))
					}
				}
			}
		}
		// A line that is too long is refused, and what is before it in the same write is not.
		fd := openFd(t, q+":lines", unix.O_WRONLY|unix.O_NONBLOCK)
		defer unix.Close(fd)
		long := bytes.Repeat([]byte("x"), most+1)
		for _, c := range []struct {
			text []byte
			n    int
			held []string
		}{
			{long, -1, nil}, {append(bytes.Clone(long), '\n'), -1, nil}, {append([]byte("short\n"), long...), 6, []string{"short\n"}}, {[]byte("again\n"), 6, []string{"again\n"}},
		} {
			n, err := unix.Write(fd, c.text)
			held := texts(t, q)
			if n != c.n || (err == nil) != (n > 0) || err != nil && !errors.Is(err, unix.EINVAL) || len(held) != len(c.held) || len(held) > 0 && string(held[0]) != c.held[0] {
				t.Errorf("write of %d bytes: %d, %v, %q", len(c.text), n, err, held)
			}
		}
	})
}
