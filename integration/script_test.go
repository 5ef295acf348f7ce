package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptLimit is how long one run of a script may take. Only a script that hangs gets there.
const scriptLimit = 2 * allowance

// TestScripts runs each script twice: on an ipcfs and on FIFOs of the kernel. What it expects is written once, so both have to give the same output.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			t.Run("ipcfs", func(t *testing.T) {
				t.Parallel()
				m := newMount(t)
				runScript(t, file, &script{t: t, pipes: m.pipes, mount: m})
			})
			t.Run("fifo", func(t *testing.T) {
				t.Parallel()
				runScript(t, file, &script{t: t, pipes: t.TempDir()})
			})
		})
	}
}

// TestQueueScripts runs each script about message queues, which no shell tool knows, on an ipcfs.
func TestQueueScripts(t *testing.T) { runScriptsOnMounts(t, "testdata/script/msgq/*.txtar") }

// TestLookScripts runs each script of somebody at a shell who looks into a mount: at the files of proc, at extended attributes, and with ipcfs ls and its like.
func TestLookScripts(t *testing.T) { runScriptsOnMounts(t, "testdata/script/look/*.txtar") }

// runScriptsOnMounts runs each script on an ipcfs of its own.
func runScriptsOnMounts(t *testing.T, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			runScript(t, file, &script{t: t, pipes: m.pipes, mount: m})
		})
	}
}

// script is one run of a script.
type script struct {
	t     *testing.T
	pipes string // where its pipes are, $P
	mount *mount // nil on FIFOs
	work  string // its own directory, $WORK: all its processes have it in their environment, and no others
}

func runScript(t *testing.T, file string, s *script) {
	need(t, "bash")
	testscript.RunT(scriptT{t}, testscript.Params{
		Files:               []string{file},
		Setup:               s.setup,
		Condition:           s.condition,
		Cmds:                s.commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// scriptT runs the one script of a RunT in the test that asked for it, not in another one below.
type scriptT struct{ *testing.T }

func (t scriptT) Run(_ string, f func(testscript.T)) { f(t) }
func (t scriptT) Parallel()                          {}
func (t scriptT) Verbose() bool                      { return testing.Verbose() }

func (s *script) setup(env *testscript.Env) error {
	s.work = env.WorkDir
	env.Setenv("P", s.pipes)
	env.Setenv("LC_ALL", "C")
	if s.mount != nil {
		env.Setenv("M", s.mount.dir)
	}
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ended) })
	// testscript waits for the commands in the background after this: when the script failed they may wait for ever.
	env.Defer(func() {
		s.endProcesses()
		close(ended)
		watching.Wait()
	})
	return nil
}

func (s *script) condition(name string) (bool, error) {
	switch name {
	case "ipcfs":
		return s.mount != nil, nil
	case "fifo":
		return s.mount == nil, nil
	case "root":
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("no such condition")
}

// watch ends a script that does not end by itself. It kills again and again, since a script that expects a command to fail goes on with the next.
// Processes that even then do not go away wait for an answer of the daemon, and go with the mount.
func (s *script) watch(ended chan struct{}) {
	limit := time.After(scriptLimit)
	select {
	case <-ended:
		return
	case <-limit:
	}
	s.t.Errorf("the script runs for more than %v; its processes:\n%s", scriptLimit, s.describeProcesses())
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	abort := time.After(patience)
	for {
		s.killProcesses()
		select {
		case <-ended:
			return
		case <-abort:
			if s.mount != nil {
				s.t.Error("its processes cannot be killed")
				s.mount.abort(s.t)
			}
		case <-again.C:
		}
	}
}

// endProcesses sees to it that the script leaves no process behind: a script that passed must have seen the end of each, or it fails now.
func (s *script) endProcesses() {
	if s.t.Failed() {
		s.t.Logf("processes of the script when it failed:\n%s", s.describeProcesses())
	} else if !s.waitForProcesses() {
		s.t.Errorf("the script left processes behind:\n%s", s.describeProcesses())
	}
	for len(s.processes()) > 0 { // until watch has freed even those that cannot be killed
		s.killProcesses()
		time.Sleep(time.Millisecond)
	}
}

// waitForProcesses waits for those whose parents did not: they are about to exit.
func (s *script) waitForProcesses() bool {
	for deadline := time.Now().Add(patience); len(s.processes()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func (s *script) killProcesses() {
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes returns the processes of the script, except those that are already dead and have no environment any more.
func (s *script) processes() []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Error(err)
	}
	var pids []int
	for _, dir := range dirs {
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, environ...), []byte("\x00WORK="+s.work+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *script) describeProcesses() string {
	var b strings.Builder
	for _, pid := range s.processes() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		fmt.Fprintf(&b, "%d: %s: syscall %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")), call)
	}
	return b.String()
}
