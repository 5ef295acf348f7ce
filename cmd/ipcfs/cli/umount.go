package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipcfs/fs/conn"
)

func newUmount() *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:     "umount DIR",
		Aliases: []string{"unmount"},
		Short:   "Unmount DIR and end its daemon",
		Long: `Unmount DIR and end its daemon.

While a process has a file of the mount open, or works in one of its directories, DIR is
busy and stays mounted. With --lazy it goes from the tree at once, those who have files
open go on with them, and the daemon ends when the last of them closes.`,
		Args:              oneDir,
		ValidArgsFunction: completeDirs,
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			mounted, err := isMount(dir)
			switch {
			case err != nil:
				return err
			case !mounted:
				return fmt.Errorf("%s is not an ipcfs mount", dir)
			}
			err = conn.Unmount(dir, lazy)
			if errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("%s is in use (fuser -m %s shows by whom); end those processes, or use --lazy", dir, dir)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "unmount now, clean up when nobody uses it any more")
	return cmd
}

// isMount says whether dir is where an ipcfs is mounted, be its daemon alive or not.
func isMount(dir string) (bool, error) {
	// The parent is resolved instead of dir, which may be a dead mount point that cannot be looked at.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		abs = target
	}
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.Mountpoint != abs || i.FSType != conn.FSType, false
	})
	if err != nil {
		return false, fmt.Errorf("reading /proc/self/mountinfo: %w", err)
	}
	return len(mounts) > 0, nil
}
