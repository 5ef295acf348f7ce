package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

func newMount() *cobra.Command {
	c := defaultMountConfig()
	var options []string
	cmd := &cobra.Command{
		Use:   "mount [flags] DIR",
		Short: "Mount a new IPC namespace on DIR",
		Long: `Mount a new IPC namespace on DIR, an empty directory. The command returns when the mount is
ready; a daemon serves it until 'ipcfs umount DIR' or SIGTERM. If an earlier daemon was
killed and left DIR dead ("Transport endpoint is not connected"), DIR is freed first.

` + mountOptionsHelp,
		Args:              oneDir,
		ValidArgsFunction: completeDirs,
		RunE: func(_ *cobra.Command, args []string) error {
			c.dir = args[0]
			for _, list := range options {
				for _, o := range strings.Split(list, ",") {
					if err := c.apply(o); err != nil {
						return err
					}
				}
			}
			if err := c.check(); err != nil {
				return err
			}
			if ready := os.Getenv(readyEnv); ready != "" {
				return serveAsDaemon(&c, ready)
			}
			if c.foreground {
				return serve(&c, nil)
			}
			// The daemon looks again; what is wrong is better said before there is one.
			release, err := prepareDir(&c)
			if err != nil {
				return err
			}
			release()
			return startDaemon()
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&options, "option", "o", nil, "mount options, see above")
	f.BoolVarP(&c.foreground, "foreground", "f", false, "stay in the foreground and log to standard error")
	f.BoolVar(&c.debug, "debug", false, "log every request")
	f.StringVar(&c.logFile, "log", "", "log to this `FILE` (default: the journal or syslog)")
	f.Var(&c.memory, "memory", "most memory for the data in all objects but shared memory; a write that needs more gets ENOMEM")
	f.IntVar(&c.inodes, "inodes", c.inodes, "most files and directories; more get ENOSPC")
	f.Var(uintSize{&c.limits.PipeMaxSize}, "pipe-max-size", "most capacity that an ordinary user may give a pipe")
	f.UintVar(&c.limits.PipeUserPagesSoft, "pipe-user-pages-soft", c.limits.PipeUserPagesSoft, "pages of pipes of an ordinary user above which new pipes are small (0: no limit)")
	f.Var(&c.passthrough, "passthrough", "let the kernel itself read, write and map shared memory: on, off, or auto, which is on where it works")
	f.Var(shmAll{&c.limits.ShmAll}, "shmall", "most memory for all segments of shared memory; what needs more gets ENOSPC, or SIGBUS in a mapping")
	f.Var(shmMax{&c.limits.ShmMax}, "shmmax", "largest segment; a larger size gets EINVAL (default: no limit)")
	f.IntVar(&c.limits.ShmMni, "shmmni", c.limits.ShmMni, "most segments; more get ENOSPC")
	f.Var(uintSize{&c.limits.MsgMax}, "msgmax", "longest message; a longer one gets EINVAL")
	f.Var(uintSize{&c.limits.MsgMnb}, "msgmnb", "bytes that a new message queue may hold, and most that an ordinary user may let one hold")
	f.IntVar(&c.limits.MsgMni, "msgmni", c.limits.MsgMni, "most message queues; more get ENOSPC")
	f.UintVar(&c.limits.PipeUserPagesHard, "pipe-user-pages-hard", c.limits.PipeUserPagesHard, "pages of pipes of an ordinary user above which there are no new ones (0: no limit)")
	return cmd
}

// prepareDir makes sure that c.dir can be mounted on, makes it absolute and frees it from a mount whose daemon is dead. Until release is called no
// other ipcfs can mount there.
func prepareDir(c *mountConfig) (release func(), err error) {
	if c.dir, err = freeDead(c.dir); err != nil {
		return nil, err
	}
	dir, err := os.Open(c.dir)
	if err != nil {
		return nil, dirError(c.dir, err)
	}
	defer func() {
		if err != nil {
			_ = dir.Close()
		}
	}()
	// Without it two could find the directory free and mount one over the other. A file system without locks has to do without.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is being mounted on by another process, or locked; try again", c.dir)
	}
	p, err := lookAt(c.dir)
	switch {
	case err != nil:
		return nil, dirError(c.dir, err)
	case p.isOurs():
		return nil, alreadyMounted(c.dir)
	}
	names, err := dir.Readdirnames(1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, dirError(c.dir, err)
	case len(names) > 0 && !c.nonempty:
		return nil, fmt.Errorf("%s is not empty; mount on an empty directory, or hide what is in it with -o nonempty", c.dir)
	}
	return func() { _ = dir.Close() }, nil
}

// freeDead frees dir from mounts of ipcfs whose daemon is dead, and returns its absolute path.
func freeDead(dir string) (path string, err error) {
	for {
		p, err := lookAt(dir)
		switch {
		case err != nil:
			return "", dirError(dir, err)
		case !p.isOurs():
			return p.path, nil
		case !isDead(p.path):
			return "", alreadyMounted(p.path)
		}
		if err := unmount(p, true); err != nil {
			return "", fmt.Errorf("the daemon of %s is dead: %w", p.path, err)
		}
	}
}

// answerPatience is how long a daemon may take to show that it lives. One that is stopped (SIGSTOP, a debugger) never does, and who asks it cannot
// even be interrupted.
const answerPatience = 5 * time.Second

// isDead says whether the daemon of the mount on dir is known to be dead.
func isDead(dir string) bool {
	dead := make(chan bool, 1)
	go func() { dead <- conn.Dead(dir) }()
	select {
	case d := <-dead:
		return d
	case <-time.After(answerPatience):
		return false
	}
}

func alreadyMounted(dir string) error {
	return fmt.Errorf("an ipcfs is mounted on %s already; 'ipcfs umount %s' ends it", dir, dir)
}
