package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
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
	// What the caller left open (a lock file of a script, the end of a pipe) is not the daemon's.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
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
	if err = serve(c, func() { tell(readyWord) }); err != nil {
		tell(err.Error())
	}
	return err
}

// trimInterval is how often free memory is looked after: what was not needed for so long is given back.
const trimInterval = time.Second

// serve mounts and serves until the mount is gone. It calls ready when requests are answered. The first SIGTERM or SIGINT unmounts; if
// the mount is in use it is taken out of the tree, and what is under way there fails with ECONNABORTED or ENOTCONN as the process
// ends. The second ends the process at once.
func serve(c *mountConfig, ready func()) (err error) {
	release, err := prepareDir(c)
	if err != nil {
		return err
	}
	defer release()
	logger, err := openLog(c)
	if err != nil {
		return err
	}
	defer logger.Close()
	// All paths are absolute or open by now, and the caller may want to unmount or remove the directory it was in.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	liftFileLimit()
	arena, err := page.New(int64(c.memory))
	if errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("reserving %v of memory: larger than a file may be here; raise the limit (ulimit -f unlimited)", &c.memory)
	}
	if err != nil {
		return fmt.Errorf("reserving %v of memory: %w", &c.memory, err)
	}
	tree := fs.New(ipc.NewNamespace(arena, c.limits, time.Now), fs.Options{
		AllowOther: c.mount.AllowOther,
		UID:        c.uid, GID: c.gid, Umask: c.umask,
		OwnerUID: uint32(os.Geteuid()), OwnerGID: uint32(os.Getegid()),
		MaxInodes:   c.inodes,
		Passthrough: fs.Passthrough(c.passthrough),
		Logger:      logger.Logger,
	})
	signals := catchSignals(c.foreground)

	fd, err := conn.Mount(c.dir, c.mount)
	if err != nil {
		return err
	}
	release()
	connection := conn.New(fd, tree, tree.Raw(), conn.Options{Debug: c.debug, Logger: logger.Logger})
	served := make(chan error, 1)
	go func() { served <- connection.Serve() }()
	dev, err := handshake(c.dir, served)
	if err != nil {
		_ = conn.Unmount(c.dir, true)
		return err
	}
	tree.Mounted(dev)
	why := tree.PassthroughError()
	if why != nil && c.passthrough == passthrough(fs.PassthroughOn) {
		_ = conn.Unmount(c.dir, true)
		return fmt.Errorf("--passthrough=on: %w; leave it out to do without", why)
	}
	logger.Printf("mounted on %s; shared memory %s", c.dir, describeShm(why))
	if ready == nil {
		ready = func() { fmt.Fprintf(os.Stderr, "ipcfs: mounted on %s; Ctrl-C unmounts\n", c.dir) }
	}
	ready()

	trim := time.NewTicker(trimInterval)
	defer trim.Stop()
	left := make(chan error, 1)
	leaving := false
	for {
		select {
		case <-trim.C:
			if _, err := arena.Trim(); err != nil {
				logger.Printf("giving memory back: %v", err)
			}
		case sig := <-signals:
			if leaving {
				err := fmt.Errorf("ended by a second signal (%v) while the mount was still in use", sig)
				logger.Print(err)
				return err
			}
			leaving = true
			logger.Printf("%v: unmounting %s (bind mounts of it go on until a second signal)", sig, c.dir)
			go func() { left <- leave(dev) }() // fusermount3 may take its time, but not the signals
		case err := <-left:
			switch {
			case errors.Is(err, errInUse):
				logger.Printf("%s: %v; what is under way there fails", c.dir, err)
				return nil
			case err != nil:
				logger.Printf("%v; a second signal ends the daemon all the same", err)
			}
		case err := <-served:
			if err != nil {
				logger.Print(err)
				return err
			}
			logger.Printf("unmounted")
			connection.CancelAll() // after an abort there may be some
			err = tree.Close()
			_ = connection.Close()
			return errors.Join(err, arena.Close())
		}
	}
}

// describeShm says how shared memory is served; why is why not by passthrough.
func describeShm(why error) string {
	if why == nil {
		return "by passthrough"
	}
	return fmt.Sprintf("through the page cache, since passthrough cannot be used: %v", why)
}

// liftFileLimit lifts RLIMIT_FSIZE as far as it goes: what objects hold is files, and it would be the clients' limit.
func liftFileLimit() {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &r) != nil {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil { // which takes root
		r.Cur = r.Max
		_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &r)
	}
}

// catchSignals says which signals end the daemon. A terminal that goes away takes only what runs in its foreground with it, and not even that
// under nohup(1).
func catchSignals(foreground bool) <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if foreground && !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	} else {
		signal.Ignore(syscall.SIGHUP)
	}
	signal.Ignore(syscall.SIGPIPE)
	return signals
}

// handshake waits until the new mount on dir answers, and returns its device number.
func handshake(dir string, served <-chan error) (dev uint64, err error) {
	answered := make(chan error, 1)
	var st unix.Stat_t
	go func() { answered <- unix.Stat(dir, &st) }()
	select {
	case err = <-answered:
	case err = <-served: // then nobody will answer
		if err == nil {
			err = errors.New("it was unmounted at once")
		}
	}
	if err != nil {
		return 0, fmt.Errorf("the mount does not answer: %w", err)
	}
	return st.Dev, nil
}

// errInUse is what leave says when the mount lives on without a place in the tree.
var errInUse = errors.New("files of the mount are still open")

// leave unmounts the mount with this device number, wherever it is by now: a directory above it may have another name, and after a lazy unmount
// another mount may be where it was. errInUse if it is out of the tree with files open.
func leave(dev uint64) error {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != conn.FSType || i.Root != "/" || unix.Mkdev(uint32(i.Major), uint32(i.Minor)) != dev, false
	})
	switch {
	case err != nil:
		return fmt.Errorf("reading /proc/self/mountinfo: %w", err)
	case len(mounts) == 0: // unmounted lazily
		return errInUse
	}
	dir := mounts[0].Mountpoint
	if p, err := lookAt(dir); err != nil || p.mount == nil || p.mount.ID != mounts[0].ID {
		return fmt.Errorf("%s cannot be unmounted: something else is mounted over it", dir)
	}
	err = conn.Unmount(dir, false)
	if errors.Is(err, unix.EBUSY) {
		if err = conn.Unmount(dir, true); err == nil {
			return errInUse
		}
	}
	if err != nil {
		return fmt.Errorf("%s cannot be unmounted: %w", dir, err)
	}
	return nil
}
