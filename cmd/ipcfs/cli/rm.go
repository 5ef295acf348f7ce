package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm PATH...",
		Short: "Remove objects",
		Long: `Remove the objects PATH, as ipcrm(1) does: pipes, segments and queues of a mount, and nothing
else. Who has a pipe or a segment open goes on with it, and it ends with the last of them;
who waits on a queue that is removed, or uses it later, gets an error (EIDRM).

What cannot be removed is said, a line for each, and the others are removed; the exit status
is 1 then.

  ipcfs rm DIR/pipes/p DIR/msgq/jobs`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usagef("at least one object is needed, 0 given")
			case slices.Contains(args, ""):
				return usagef("a path is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, arg := range args {
				if err := removeObject(arg); err != nil {
					errs = append(errs, err)
				}
			}
			return lineForEach(cmd, errs)
		},
	}
}

// removeObject unlinks what arg names if it is an object.
func removeObject(arg string) error {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(arg, &st) }); err != nil {
		return targetError(arg, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return fmt.Errorf("%s is a symbolic link and no object; rm(1) removes the link", arg)
	}
	m, inTree, err := findMount(arg)
	if err != nil {
		return err
	}
	if err := (target{mount: m, inTree: inTree}).check(arg); err != nil {
		return err
	}
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case isDir && !strings.Contains(inTree, "/"): // the root, or a kind
		return fmt.Errorf("%s is a directory that stays as long as the mount; name the objects in it", arg)
	case isDir:
		return fmt.Errorf("%s is a directory; name the objects in it, or remove it with rmdir(1) when it is empty", arg)
	}
	err = retry(func() error { return unix.Unlink(m.Path(inTree)) })
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s may not be removed: permission denied; that takes the right to write to its directory", arg)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s may not be removed: operation not permitted; its owner and that of the directory may", arg)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s may not be removed: the mount is read-only", arg)
	case err != nil:
		return targetError(arg, err)
	}
	return nil
}

// lineForEach prints all errors but the last one as Main does, and returns that.
func lineForEach(cmd *cobra.Command, errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	last := len(errs) - 1
	for _, err := range errs[:last] {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", cmd.CommandPath(), oneLine(err))
	}
	return errs[last]
}
