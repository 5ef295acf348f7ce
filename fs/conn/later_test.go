package conn

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// gone is the number of a thread that nobody has.
const gone = 0

// later makes the operation of a call of the thread tid begin later. The ready of it sends whether it is over to looked, and takes from again, twice; began gets a word when it begins.
func later(conn *Conn, unique uint64, tid int) (looked, again, began chan bool) {
	x := &waitingRead{call: Call{conn: conn, Header: fuse.InHeader{Unique: unique, Caller: fuse.Caller{Pid: uint32(tid)}}}}
	looked, again, began = make(chan bool), make(chan bool), make(chan bool, 2)
	x.call.Later(
		func(over <-chan struct{}) {
			for range 2 {
				select {
				case <-over:
					looked <- true
				default:
					looked <- false
				}
				<-again
			}
		},
		x, func() { began <- true }, func() {}, x.Cancel())
	return looked, again, began
}

// interrupted interrupts a call that is to have no answer yet, and returns when that was handled.
func (k *kernel) interrupted(unique uint64) {
	k.t.Helper()
	k.interrupt(3, unique)
	k.send(opOPEN, 6, make([]byte, 8))
	if st, _ := k.answer(6); st != 0 {
		k.t.Fatalf("OPEN after INTERRUPT: %v", st)
	}
}

// What begins later begins also if its caller was interrupted meanwhile, which then ends its wait, and can be interrupted as any when it has begun.
func TestLater(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	conn := <-c.told
	for unique, early := range map[uint64]bool{100: true, 102: false} {
		looked, again, began := later(conn, unique, os.Getpid())
		for range 2 {
			if <-looked {
				t.Error("given up, though the caller is there")
			}
			if early {
				k.interrupted(unique)
			}
			if len(began) > 0 {
				t.Error("begun before it is ready")
			}
			again <- true
		}
		if !early {
			<-began
			k.interrupt(3, unique)
		}
		if st, _ := k.answer(unique); st != unix.EINTR {
			t.Errorf("%v, want EINTR", st)
		}
		if early && len(began) != 1 {
			t.Errorf("begun %d times", len(began))
		}
		k.interrupt(3, unique)
		if st, _ := k.answer(3); st != unix.EAGAIN {
			t.Errorf("INTERRUPT of what is answered: %v", st)
		}
	}
}

// What was to begin later and whose caller is gone, or goes after he was interrupted, does not begin.
func TestLaterOfWhoIsGone(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	conn := <-c.told
	for range 20 { // since he may be looked at late
		for unique, goes := range map[uint64]bool{100: false, 102: true} {
			tid, end := gone, func() {}
			if goes {
				cmd := exec.Command("cat")
				in, err := cmd.StdinPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				tid, end = cmd.Process.Pid, func() {
					_ = in.Close()
					if err := cmd.Wait(); err != nil {
						t.Error(err)
					}
				}
			}
			looked, again, began := later(conn, unique, tid)
			if <-looked {
				t.Error("given up before anything happened")
			}
			if goes {
				k.interrupted(unique)
			} else {
				k.interrupt(3, unique)
			}
			end()
			if st, _ := k.answer(unique); st != unix.EINTR {
				t.Errorf("%v, want EINTR", st)
			}
			again <- true
			if !<-looked {
				t.Error("goes on for nobody")
			}
			again <- true
			if len(began) > 0 {
				t.Error("begun")
			}
		}
	}
}

// The connection ends, whoever is held up.
func TestLaterHeldUp(t *testing.T) {
	h := heldUp{until: make(chan bool), held: make(chan bool)}
	t.Cleanup(func() { close(h.until) }) // when the connection has ended
	k := newKernel(t, h, false)
	k.send(opREAD, 100, make([]byte, unsafe.Sizeof(fuse.ReadIn{})-unsafe.Sizeof(fuse.InHeader{})))
	<-h.held
}

// heldUp is a Handler whose READs are held up before they begin.
type heldUp struct {
	handler
	until, held chan bool
}

func (h heldUp) Read(c Call, _ *fuse.ReadIn) {
	x := &waitingRead{c}
	c.Later(func(<-chan struct{}) { h.held <- true; <-h.until }, x, func() { panic("begun") }, func() {}, x.Cancel())
}

// A panic of what begins later costs one request an EIO, and what it completed before is told.
func TestPanicLater(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	x := &waitingRead{call: Call{conn: <-c.told, Header: fuse.InHeader{Unique: 100}}}
	delivered := make(chan bool, 1)
	x.call.Later(func(<-chan struct{}) {}, x, func() { panic("later") }, func() { delivered <- true }, func() {})
	if st, _ := k.answer(100); st != unix.EIO || len(delivered) != 1 {
		t.Fatalf("%v, want EIO; delivered %d", st, len(delivered))
	}
	k.interrupt(3, 100) // no lock is left held
	if st, _ := k.answer(3); st != unix.EAGAIN {
		t.Fatalf("%v, want EAGAIN", st)
	}
}

// A panic of what makes it ready costs one request an EIO, and the log says where it was.
func TestPanicBeforeLater(t *testing.T) {
	c := connected{told: make(chan *Conn, 1)}
	k := newKernel(t, c, false)
	x := &waitingRead{call: Call{conn: <-c.told, Header: fuse.InHeader{Unique: 100}}}
	x.call.Later(panicsReady, x, func() { t.Error("begun") }, func() {}, func() {})
	if st, _ := k.answer(100); st != unix.EIO {
		t.Fatalf("%v, want EIO", st)
	}
	if got := k.log.String(); !strings.Contains(got, "panic: ready") || !strings.Contains(got, "panicsReady") {
		t.Errorf("the log is %s", got)
	}
}

func panicsReady(<-chan struct{}) { panic("ready") }

// Who is to be killed is told from his signals.
func TestKillPending(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nSigQ:\t0/1\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n": true,
		"Name:\tx\nSigPnd:\tffffffffffffffff\n":                                        true,
		"SigPnd:\t0000000000000200\nShdPnd:\t0000000000000100\n":                       false,
		"": false,
	} {
		if got := killPending(status); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
	me := Call{Header: fuse.InHeader{Caller: fuse.Caller{Pid: uint32(os.Getpid())}}}
	if me.callerKilled() {
		t.Error("this process is to be killed")
	}
}
