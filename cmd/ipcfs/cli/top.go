package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipcfs/cmd/ipcfs/top"
)

// newTop is the live view of a mount.
func newTop() *cobra.Command {
	interval := timeout{limited: true, d: time.Second}
	cmd := &cobra.Command{
		Use:   "top [flags] [DIR]",
		Short: "Watch all objects of a mount",
		Long: `Show the pipes, segments and queues of the mount DIR in a full screen that is refreshed all
the time: how full each is, what is written into it and read out of it in a second, who has
it open, and how many operations wait. Without DIR it is the mount that the working
directory is in, or the only one. DIR may be in the mount: DIR/pipes shows only pipes.

The keys are shown by ?; the most useful are the arrows to select, enter for who uses the
object and who waits for it, s to sort, / to search for names, tab to show only one kind,
w to show only what is waited for, p to pause and q to quit.

The rates are those since the last refresh. What programs do to a segment that they have
mapped, or that the kernel serves itself, is not counted.

  ipcfs top ~/ipc
  ipcfs top -d 0.2 ~/ipc/msgq`,
		Args: func(_ *cobra.Command, args []string) error {
			if interval.d < top.MinInterval {
				return usagef("--interval %v: at least %v", interval.d, top.MinInterval)
			}
			return atMostOne(args)
		},
		ValidArgsFunction: completeDirs,
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := findTarget(first(args))
			if err != nil {
				return err
			}
			_, below, _ := strings.Cut(t.inTree, "/")
			return top.Run(t.mount, top.Options{Interval: interval.d, Kind: t.kind(), Filter: below})
		},
	}
	cmd.Flags().VarP(&interval, "interval", "d", "time from one refresh to the next, as 2 (seconds) or 500ms")
	return cmd
}
