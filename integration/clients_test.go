package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// client is a run of a program that knows nothing of ipcfs. It is given the paths of its pipes as its last arguments, and says on stdout what it
// saw.
type client struct {
	run    []string // the program and its arguments before the paths
	pipes  int      // how many pipes it wants
	want   string   // its stdout, on a FIFO and on ipcfs
	except string   // why ipcfs is not held to it, if it is not: it is run on FIFOs only
}

// runClients runs each client on the kernel's own FIFOs and on a mount. Both must say what the client's want says.
func runClients(t *testing.T, clients []client) {
	m := newMount(t)
	for i, c := range clients {
		var name []string
		for _, arg := range c.run {
			name = append(name, filepath.Base(arg))
		}
		t.Run(strings.Join(name, " "), func(t *testing.T) {
			t.Run("fifo", func(t *testing.T) {
				paths := pipePaths(t.TempDir(), c.pipes, i)
				for _, p := range paths {
					if err := syscall.Mkfifo(p, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				c.check(t, paths)
			})
			t.Run("ipcfs", func(t *testing.T) {
				if c.except != "" {
					t.Log("not run: ", c.except)
					return
				}
				paths := pipePaths(m.pipes, c.pipes, i)
				for _, p := range paths {
					if err := touch(p); err != nil {
						t.Fatal(err)
					}
				}
				c.check(t, paths)
				for _, p := range paths {
					m.waitFor(t, filepath.Base(p), func(s pipeStat) bool { return s.readers+s.writers+s.bytes+s.waiting() == 0 })
				}
			})
		})
	}
}

func pipePaths(dir string, n, client int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("p%d.%d", client, i))
	}
	return paths
}

// touch creates a pipe as touch(1) does.
func touch(path string) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

// check runs the client on these pipes. Whatever it starts is in its process group, and ends with it.
func (c client) check(t *testing.T, pipes []string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), allowance)
	defer stop()
	cmd := exec.CommandContext(ctx, c.run[0], append(append([]string{}, c.run[1:]...), pipes...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = patience
	err := cmd.Run()
	if cmd.Process != nil {
		if e := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(e, syscall.ESRCH) {
			t.Errorf("the client left processes behind (%v)", e)
		}
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v (%w)", allowance, err)
	}
	if got := stdout.String(); err != nil || got != c.want {
		t.Errorf("%s: %v\n%s\n%s", strings.Join(cmd.Args, " "), err, differences(got, c.want), stderr.String())
	}
}

// differences shows where two texts differ first, after the lines in which they agree.
func differences(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := 0; i < len(g) || i < len(w); i++ {
		gl, wl := "(nothing)", "(nothing)"
		if i < len(g) {
			gl = g[i]
		}
		if i < len(w) {
			wl = w[i]
		}
		if gl != wl {
			return fmt.Sprintf("%s\nline %d is %q, want %q; then:\n%s", strings.Join(g[:min(i, len(g))], "\n"), i+1, gl, wl, strings.Join(g[min(i+1, len(g)):], "\n"))
		}
	}
	return got
}

// sources is the directory of the clients, which is where the tests run.
func sources(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "clients")
}
