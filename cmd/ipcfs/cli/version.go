package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is set by the linker; see the Makefile.
var Version = "devel"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fuse := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					if m.Path == "github.com/hanwen/go-fuse/v2" {
						fuse = m.Version
					}
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ipcfs %s (go-fuse %s, %s, %s/%s)\n", Version, fuse, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
