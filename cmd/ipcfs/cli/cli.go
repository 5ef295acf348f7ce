// Package cli is the command ipcfs: a file for each subcommand. It is a package of its own so that the test binary can be the command.
//
// Exit status: 0, 1 if something went wrong, 2 if the command line was wrong. An error is one line on standard error that says what
// was wrong and what to do.
package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command line of the process and returns its exit status.
func Main() int {
	root := newRoot()
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(os.Stderr, "%s: %s (see '%s --help')\n", cmd.CommandPath(), oneLine(err), cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", cmd.CommandPath(), oneLine(err))
	return exitError
}

// oneLine is an error as one line that does nothing to a terminal, whatever names are in it.
func oneLine(err error) string {
	var b strings.Builder
	for _, r := range err.Error() {
		if unicode.IsControl(r) {
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ipcfs",
		Short: "An IPC namespace that is a directory",
		Long: `ipcfs mounts a directory in which every file is an IPC object with the semantics of the
kernel's own. Creating a file under DIR/pipes makes a pipe: what one process writes into
it another one reads, in order, each byte once, with the blocking, the limits and the
errors of a FIFO. A file under DIR/shm is a segment of shared memory, as one in /dev/shm:
who maps it shares its pages. A file under DIR/msgq is a message queue: each write is a
message, each read takes one, and DIR/msgq/NAME:7 is the same queue for messages of type 7.

  ipcfs mount ~/ipc             # the mount is ready when the command returns
  echo hello > ~/ipc/pipes/p &  # waits for a reader, as on a FIFO
  cat ~/ipc/pipes/p             # hello
  ipcfs ls ~/ipc                # what there is; who has it open, and who waits: ipcfs who ~/ipc
  truncate -s 1M ~/ipc/shm/s    # a segment; df ~/ipc/shm tells what all of them take
  echo job > ~/ipc/msgq/q       # a message; cat ~/ipc/msgq/q:peek shows it, cat ~/ipc/msgq/q takes it
  ipcfs umount ~/ipc

What the files of a mount are, 'ipcfs files' tells, and ipcfs(5).`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newMount(), newUmount(), newSend(), newRecv(), newPeek(),
		newLs(), newStat(), newWho(), newTop(), newTrace(), newLimits(), newRm(), newFiles(), newDoctor(), newVersion(), newMan())
	root.SetHelpCommand(newHelp())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	refuseArgs(root)
	return root
}

// newHelp is cobra's help command, but one that does not call an unknown topic a success.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if of, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range of.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, c.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("unknown command %q", strings.Join(args, " "))
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// refuseArgs makes usage errors of what cobra's own commands say about their arguments.
func refuseArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var usage usageError
			if err != nil && !errors.As(err, &usage) {
				return usageError{err}
			}
			return err
		}
	}
	if cmd.Name() == "completion" { // it has no run function, and then cobra prints help whatever the arguments are
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, c := range cmd.Commands() {
		refuseArgs(c)
	}
}

// oneDir is the check for commands that take one directory.
func oneDir(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("exactly one directory is needed, %d given", len(args))
	}
	return nil
}

// noArgs is the check for commands that take none.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// completeDirs lets the shell complete directories.
func completeDirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
