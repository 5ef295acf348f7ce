package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
			if err := prepareDir(&c); err != nil {
				return err
			}
			if c.foreground {
				return serve(&c, nil)
			}
			return startDaemon()
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&options, "option", "o", nil, "mount options, see above")
	f.BoolVarP(&c.foreground, "foreground", "f", false, "stay in the foreground and log to standard error")
	f.BoolVar(&c.debug, "debug", false, "log every request")
	f.StringVar(&c.logFile, "log", "", "log to this `FILE` (default: the journal or syslog)")
	f.Var(&c.memory, "memory", "most memory for the data in all objects; a write that needs more gets ENOMEM")
	f.IntVar(&c.inodes, "inodes", c.inodes, "most files and directories; more get ENOSPC")
	f.Var(uintSize{&c.limits.PipeMaxSize}, "pipe-max-size", "most capacity that an ordinary user may give a pipe")
	f.UintVar(&c.limits.PipeUserPagesSoft, "pipe-user-pages-soft", c.limits.PipeUserPagesSoft, "pages of pipes of an ordinary user above which new pipes are small (0: no limit)")
	f.UintVar(&c.limits.PipeUserPagesHard, "pipe-user-pages-hard", c.limits.PipeUserPagesHard, "pages of pipes of an ordinary user above which there are no new ones (0: no limit)")
	return cmd
}

// prepareDir makes sure that c.dir can be mounted on, makes it absolute and frees it from a mount whose daemon is dead.
func prepareDir(c *mountConfig) error {
	for conn.Dead(c.dir) {
		if err := conn.Unmount(c.dir, true); err != nil {
			return fmt.Errorf("%s is a dead mount and cannot be freed: %w", c.dir, err)
		}
	}
	mounted, err := isMount(c.dir)
	switch {
	case err != nil:
		return err
	case mounted:
		return fmt.Errorf("an ipcfs is mounted on %s already; 'ipcfs umount %s' ends it", c.dir, c.dir)
	}
	entries, err := os.ReadDir(c.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist; make the directory first: mkdir -p %s", c.dir, c.dir)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a directory", c.dir)
	case err != nil:
		return fmt.Errorf("%s cannot be read: %w", c.dir, errors.Unwrap(err))
	case len(entries) > 0 && !c.nonempty:
		return fmt.Errorf("%s is not empty; mount on an empty directory, or hide what is in it with -o nonempty", c.dir)
	}
	abs, err := filepath.EvalSymlinks(c.dir)
	if err == nil {
		abs, err = filepath.Abs(abs)
	}
	if err != nil {
		return err
	}
	c.dir = abs
	return nil
}
