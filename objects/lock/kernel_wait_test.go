package lock

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestKernelWaits runs the scripts on the locks of the running kernel: each step completes the same. An owner is a thread with a table of descriptors of its
// own, since that is what a process is to fs/locks.c.
func TestKernelWaits(t *testing.T) {
	interruptible(t)
	for name, script := range waits {
		t.Run(name, func(t *testing.T) {
			k := newKernelSteps(t, "ABCD")
			for i, line := range script {
				text, want := cutLine(line)
				slices.Sort(want) // threads that are woken together run in any order
				if got := k.do(text); !slices.Equal(got, want) {
					t.Fatalf("line %d, %q completed %q, want %q", i+1, text, got, want)
				}
			}
		})
	}
}

// interruptible makes SIGUSR1 interrupt a system call: Go's handlers restart it.
func interruptible(t *testing.T) {
	t.Helper()
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGUSR1)
	t.Cleanup(func() { signal.Stop(c) })
	const saRestart = 0x10000000
	var action [4]uintptr // struct kernel_sigaction: the handler, the flags, and the rest
	for _, change := range []struct{ new, old unsafe.Pointer }{{nil, unsafe.Pointer(&action)}, {unsafe.Pointer(&action), nil}} {
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGUSR1), uintptr(change.new), uintptr(change.old), 8, 0, 0); e != 0 {
			t.Fatal(e)
		}
		action[1] &^= saRestart
	}
}

// kernelSteps does steps on two files of the kernel.
type kernelSteps struct {
	t      *testing.T
	paths  [2]string
	owners map[string]*kernelOwner
}

// kernelOwner is a thread that owns locks.
type kernelOwner struct {
	name  string
	tid   int
	calls chan func() string
	done  chan string // what a call returned
	busy  bool        // a call has been sent, and its result not been taken
	fds   [2]int
}

func newKernelSteps(t *testing.T, names string) *kernelSteps {
	t.Helper()
	// The poller of Go's runtime is in the table of descriptors that the threads copy, if it is there before them.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	dir := t.TempDir()
	k := &kernelSteps{t: t, paths: [2]string{filepath.Join(dir, "0"), filepath.Join(dir, "1")}, owners: map[string]*kernelOwner{}}
	for _, name := range strings.Split(names, "") {
		o := &kernelOwner{name: name, calls: make(chan func() string), done: make(chan string, 1)}
		go o.run()
		k.owners[name] = o
		t.Cleanup(func() { close(o.calls) })
		for i := range k.paths {
			o.call(func() string { return o.open(k.paths[i], i) })
			if got := k.settle(); !slices.Equal(got, []string{name + " ok"}) {
				t.Fatalf("open: %q", got)
			}
		}
	}
	return k
}

// run makes the calls on a thread that ends with it, and its descriptors with the thread.
func (o *kernelOwner) run() {
	runtime.LockOSThread()
	o.tid = unix.Gettid()
	// With SIGURG Go's runtime preempts threads, also one in a system call, which is then restarted and waits behind the others.
	preempt := unix.Sigset_t{}
	preempt.Val[0] = 1 << (unix.SIGURG - 1)
	err := errors.Join(unix.PthreadSigmask(unix.SIG_BLOCK, &preempt, nil), unix.Unshare(unix.CLONE_FILES))
	for f := range o.calls {
		if err != nil {
			o.done <- err.Error()
			continue
		}
		o.done <- f()
	}
}

func (o *kernelOwner) call(f func() string) {
	o.busy = true
	o.calls <- f
}

func (o *kernelOwner) open(path string, i int) string {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	o.fds[i] = fd
	return result(err)
}

// flush closes another descriptor of the file: fs/locks.c asks for none in particular.
func (o *kernelOwner) flush(path string) string {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	unix.Close(fd)
	return result(err)
}

func (o *kernelOwner) reopen(path string, i int) string {
	unix.Close(o.fds[i])
	return o.open(path, i)
}

// do does one step and returns, sorted, what has been completed when everybody else waits.
func (k *kernelSteps) do(text string) []string {
	k.t.Helper()
	st := parse(k.t, text)
	o, i := k.owners[st.name], 0
	if st.other {
		i = 1
	}
	unsaid := "" // the end of a call that is no operation of a script
	switch st.verb {
	case "flush":
		unsaid = o.name + " ok"
		o.call(func() string { return o.flush(k.paths[i]) })
	case "close":
		unsaid = o.name + " ok"
		o.call(func() string { return o.reopen(k.paths[i], i) })
	case "cancel":
		if !o.busy {
			return nil
		}
		if err := unix.Tgkill(os.Getpid(), o.tid, unix.SIGUSR1); err != nil {
			k.t.Fatal(err)
		}
	default:
		o.call(func() string { return setlk(o.fds[i], st.lock, st.wait) })
	}
	ended := k.settle()
	for st.verb == "cancel" && o.busy { // the signal is on its way
		ended = append(ended, k.settle()...)
	}
	return slices.DeleteFunc(ended, func(s string) bool { return s == unsaid })
}

// settleLooks is how often settle looks before it calls something stuck: some ten seconds.
const settleLooks = 200000

// settle waits until every call is complete or waits for a lock, and returns what was completed. That a thread sleeps in fcntl does not say enough: it also
// does so while somebody else reads /proc/locks. That it is in there does not either: what does not fit in one read may be told twice.
func (k *kernelSteps) settle() (ended []string) {
	k.t.Helper()
	for range settleLooks {
		var busy []*kernelOwner
		for _, o := range k.owners {
			if !o.busy {
				continue
			}
			select {
			case r := <-o.done:
				o.busy = false
				ended = append(ended, o.name+" "+r)
			default:
				busy = append(busy, o)
			}
		}
		awake := func(o *kernelOwner) bool { return !k.asleep(o) }
		if len(busy) == 0 || k.waiting() == len(busy) && !slices.ContainsFunc(busy, awake) {
			slices.Sort(ended)
			return ended
		}
		runtime.Gosched()
	}
	k.t.Fatal("the calls do not settle")
	return nil
}

// waiting is how many calls of this process wait for a lock: lines of /proc/locks like "2: -> POSIX  ADVISORY  WRITE 99 fd:01:12 0 9", where 99 is the process.
// Who was woken and did not run yet is not there.
func (k *kernelSteps) waiting() int {
	k.t.Helper()
	n := 0
	for line := range strings.Lines(k.read("/proc/locks")) {
		if words := strings.Fields(line); len(words) > 5 && words[1] == "->" && words[5] == fmt.Sprint(os.Getpid()) {
			n++
		}
	}
	return n
}

// asleep says whether the thread sleeps in fcntl or flock. If it runs the file says "running"; if it waits for a call, another number.
func (k *kernelSteps) asleep(o *kernelOwner) bool {
	k.t.Helper()
	number, _, _ := strings.Cut(k.read(fmt.Sprintf("/proc/self/task/%d/syscall", o.tid)), " ")
	return number == fmt.Sprint(unix.SYS_FCNTL) || number == fmt.Sprint(unix.SYS_FLOCK)
}

// read returns what is in a file of /proc: in one read, if the kernel can.
func (k *kernelSteps) read(path string) string {
	k.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(1 << 16)
	if _, err := b.ReadFrom(f); err != nil {
		k.t.Fatal(err)
	}
	return b.String()
}
