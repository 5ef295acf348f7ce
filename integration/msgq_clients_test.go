package integration

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMsgqClients runs clients in several languages, each of which makes a queue, uses it by type through views and raw, waits in the way of its language (poll and
// epoll, asyncio, the runtime's poller, streams), says ok, and removes it.
func TestMsgqClients(t *testing.T) {
	m := newMount(t)
	dir := filepath.Join(sources(t), "msgq")
	bin := t.TempDir()
	build := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	need(t, "cc", "python3", "node")
	build("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", bin+"/c", dir+"/client.c")
	build("go", "build", "-o", bin+"/go", "./clients/msgq/go")
	for name, run := range map[string][]string{
		"c": {bin + "/c"}, "go": {bin + "/go"}, "python": {"python3", dir + "/client.py"}, "node": {"node", dir + "/client.mjs"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 2*patience)
			defer stop()
			cmd := exec.CommandContext(ctx, run[0], append(run[1:], filepath.Join(m.msgq, name))...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			cmd.WaitDelay = patience
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "ok\n" {
				t.Errorf("%v: %v, %s", run, err, out)
			}
			if cmd.Process != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a failed one left
			}
		})
	}
}
