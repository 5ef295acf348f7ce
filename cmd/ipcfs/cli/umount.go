package cli

import (
	"errors"
	"fmt"
	"os"

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
			p, err := lookAt(args[0])
			switch {
			case errors.Is(err, unix.ENOENT):
				return fmt.Errorf("%s does not exist", args[0])
			case err != nil:
				return dirError(args[0], err)
			case !p.isOurs():
				return fmt.Errorf("%s is not an ipcfs mount", args[0])
			}
			return unmount(p, lazy)
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "unmount now, clean up when nobody uses it any more")
	return cmd
}

// unmount unmounts what is at p.
func unmount(p place, lazy bool) error {
	if uid, ok := p.owner(); ok && os.Geteuid() != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s was mounted by user %d; only that user and root can unmount it", p.path, uid)
	}
	err := conn.Unmount(p.path, lazy)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is in use (fuser -m %s shows by whom); end those processes, or use --lazy", p.path, p.path)
	case err != nil:
		return fmt.Errorf("%s cannot be unmounted: %w", p.path, err)
	}
	return nil
}
