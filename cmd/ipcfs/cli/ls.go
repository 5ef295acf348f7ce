package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// lsConfig is what the command line of ls asks for.
type lsConfig struct {
	output     string
	json       bool
	bytes      bool
	noheadings bool
}

func newLs() *cobra.Command {
	var c lsConfig
	cmd := &cobra.Command{
		Use:   "ls [flags] [PATH]",
		Short: "List the objects of a mount",
		Long: `List the objects below PATH, a line for each, in the order in which they were made, as lsipc(1)
does for the kernel's own: of a mount, of the directory of a kind with the columns of that
kind, of a directory in it, or one object. Without PATH it is the directory where you are,
if that is in a mount, or else the only mount there is. Listing opens no object and waits
for none.

SIZE is the capacity of a pipe, the size of a segment, the most bytes of a queue; USED the
bytes in a pipe or queue, and the memory that a segment has. A name that was removed while
its object is still in use ends with (deleted). --json has all columns unless --output
chooses some, as far as the kind has them, sizes in bytes and times in seconds since 1970
(0: never).

  ipcfs ls DIR
  ipcfs ls DIR/msgq
  ipcfs ls -o READERS,WRITERS,NAME DIR/pipes
  ipcfs ls --json DIR | jq -r '.objects[] | select(.waiters > 0).name'

Columns for --output:
` + columnsHelp(),
		Args: func(_ *cobra.Command, args []string) error {
			if c.output != "" {
				if _, err := chooseColumns(c.output, ""); err != nil {
					return err
				}
			}
			return atMostOne(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := findTarget(first(args))
			if err != nil {
				return err
			}
			chosen, err := c.columns(t.kind())
			if err != nil {
				return err
			}
			objects, err := t.objects()
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), objects, chosen, time.Now())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&c.output, "output", "o", "", "show only these columns, as `COL[,COL...]`")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.BoolVarP(&c.bytes, "bytes", "b", false, "print sizes in bytes")
	f.BoolVarP(&c.noheadings, "noheadings", "n", false, "print no headings")
	if err := cmd.RegisterFlagCompletionFunc("output", completeColumns); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

// columnsHelp is a line for each column.
func columnsHelp() string {
	var lines []string
	for _, c := range columns {
		line := fmt.Sprintf("  %-9s  %s", c.name, c.label)
		if c.kind != "" {
			line += " (" + strings.Join(c.kinds(), ", ") + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// completeColumns completes the last of the names that are there.
func completeColumns(_ *cobra.Command, _ []string, toComplete string) (names []string, _ cobra.ShellCompDirective) {
	before, last := toComplete[:strings.LastIndexByte(toComplete, ',')+1], toComplete[strings.LastIndexByte(toComplete, ',')+1:]
	for _, c := range columns {
		if strings.HasPrefix(c.name, strings.ToUpper(last)) {
			names = append(names, cobra.CompletionWithDesc(before+c.name, c.label))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// columns are those to show of objects of a kind, "" if they are of any.
func (c *lsConfig) columns(kind string) ([]column, error) {
	switch {
	case c.output != "":
		return chooseColumns(c.output, kind)
	case c.json:
		return chooseColumns(strings.Join(columnNames(kind), ","), kind)
	}
	return chooseColumns(defaultColumns[kind], kind)
}

// print prints the objects.
func (c *lsConfig) print(w io.Writer, objects []object, chosen []column, now time.Time) error {
	known := newNames()
	if c.json {
		return printObjects(w, objects, chosen, known)
	}
	headings := make([]heading, len(chosen))
	for i, column := range chosen {
		headings[i] = heading{column.name, column.right}
	}
	s := style{bytes: c.bytes, now: now}
	rows := make([][]string, len(objects))
	for i, o := range objects {
		rows[i] = make([]string, len(chosen))
		for j, column := range chosen {
			rows[i][j] = s.show(column.cell(o, known))
		}
	}
	return printTable(w, headings, c.noheadings, rows)
}

// printObjects prints the objects as JSON: one document, in which each object is a line.
func printObjects(w io.Writer, objects []object, chosen []column, known *names) error {
	buffered := bufio.NewWriter(w)
	_, _ = buffered.WriteString(`{"objects":[`) // Flush tells what went wrong
	for i, o := range objects {
		line, err := objectFields(o, chosen, known).MarshalJSON()
		if err != nil {
			return err
		}
		if i > 0 {
			_ = buffered.WriteByte(',')
		}
		_ = buffered.WriteByte('\n')
		_, _ = buffered.Write(line)
	}
	if len(objects) > 0 {
		_ = buffered.WriteByte('\n')
	}
	_, _ = buffered.WriteString("]}\n")
	if err := buffered.Flush(); err != nil {
		return outputError(err)
	}
	return nil
}

// objectFields is an object as JSON, with those of the columns that its kind has.
func objectFields(o object, chosen []column, known *names) fields {
	f := make(fields, 0, len(chosen))
	for _, c := range chosen {
		if c.of(o.kind) {
			f = append(f, field{strings.ToLower(c.name), c.cell(o, known)})
		}
	}
	return f
}
