package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipcfs/fs"
	"ipcfs/fs/conn"
	"ipcfs/objects/ipc"
	"ipcfs/objects/page"
)

// readyEnv tells a process that it is the daemon, and the descriptor on which its parent waits for word of it.
const readyEnv = "IPCFS_READY_FD"

// readyWord is what a daemon writes there when its mount is ready; anything else is an error message.
const readyWord = "ready"

// startDaemon runs this very command line again in the background and waits until its mount is ready.
func startDaemon() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding myself: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0] // the name may decide what a test binary does
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	word, _ := io.ReadAll(r)
	switch s := strings.TrimSpace(string(word)); s {
	case readyWord:
		return nil
	case "":
		return fmt.Errorf("the daemon ended before the mount was ready: %v", cmd.Wait())
	default:
		return errors.New(s)
	}
}

// serveAsDaemon is the other end of startDaemon.
func serveAsDaemon(c *mountConfig, ready string) error {
	fd, err := strconv.Atoi(ready)
	if err != nil {
		return usagef("%s=%s: not a descriptor", readyEnv, ready)
	}
	unix.CloseOnExec(fd)
	_ = os.Unsetenv(readyEnv)
	pipe := os.NewFile(uintptr(fd), "ready")
	told := false
	tell := func(s string) {
		if !told {
			told = true
			_, _ = io.WriteString(pipe, s) // if the parent is gone, nobody wants to know
			_ = pipe.Close()
		}
	}
	if err = prepareDir(c); err == nil {
		err = serve(c, func() { tell(readyWord) })
	}
	if err != nil {
		tell(err.Error())
	}
	return err
}

// trimInterval is how often free memory is looked after: what was not needed for so long is given back.
const trimInterval = time.Second

// serve mounts and serves until the mount is gone. It calls ready when requests are answered. The first SIGTERM or SIGINT unmounts; if
// the mount is in use it is taken out of the tree, and what is under way there fails with ECONNABORTED or ENOTCONN as the process
// ends.
func serve(c *mountConfig, ready func()) error {
	logger, err := openLog(c)
	if err != nil {
		return err
	}
	defer logger.Close()

	arena, err := page.New(int64(c.memory))
	if err != nil {
		return fmt.Errorf("reserving %v of memory: %w", &c.memory, err)
	}
	tree := fs.New(ipc.NewNamespace(arena, c.limits, time.Now), fs.Options{
		AllowOther: c.mount.AllowOther,
		UID:        c.uid, GID: c.gid, Umask: c.umask,
		OwnerUID: uint32(os.Geteuid()), OwnerGID: uint32(os.Getegid()),
		MaxInodes: c.inodes,
		Logger:    logger.Logger,
	})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)

	fd, err := conn.Mount(c.dir, c.mount)
	if err != nil {
		return err
	}
	connection := conn.New(fd, tree, tree.Raw(), conn.Options{Debug: c.debug, Logger: logger.Logger})
	served := make(chan error, 1)
	go func() { served <- connection.Serve() }()
	logger.Printf("mounted on %s", c.dir)
	if ready == nil {
		ready = func() { fmt.Fprintf(os.Stderr, "ipcfs: mounted on %s; Ctrl-C unmounts\n", c.dir) }
	}
	var st unix.Stat_t
	if err := unix.Stat(c.dir, &st); err != nil { // answered by us, so the handshake with the kernel went well
		_ = conn.Unmount(c.dir, true)
		return fmt.Errorf("the mount does not answer: %w", err)
	}
	ready()

	trim := time.NewTicker(trimInterval)
	defer trim.Stop()
	forced := false
	for {
		select {
		case <-trim.C:
			if _, err := arena.Trim(); err != nil {
				logger.Printf("giving memory back: %v", err)
			}
		case sig := <-signals:
			if forced {
				return fmt.Errorf("ended by %v while files were open", sig)
			}
			forced = true
			logger.Printf("%v: unmounting %s", sig, c.dir)
			err := conn.Unmount(c.dir, false)
			if errors.Is(err, unix.EBUSY) {
				if err = conn.Unmount(c.dir, true); err == nil {
					logger.Printf("%s was in use; what was under way there fails", c.dir)
					return nil
				}
			}
			if err != nil {
				logger.Printf("unmounting %s: %v", c.dir, err)
			}
		case err := <-served:
			if err != nil {
				return err
			}
			logger.Printf("unmounted")
			tree.Close()
			_ = connection.Close()
			return arena.Close()
		}
	}
}
