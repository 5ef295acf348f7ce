package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan is a command for `make install`: it writes the manual pages, which are the help texts.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into DIR/man1 and DIR/man5",
		Hidden: true,
		Args:   oneDir,
		RunE:   func(_ *cobra.Command, args []string) error { return writeManuals(args[0]) },
	}
}

// writeManuals writes ipcfs(1), a page for each command, and ipcfs(5).
func writeManuals(dir string) error {
	root := newRoot()
	root.DisableAutoGenTag = true
	files, _, err := root.Find([]string{"files"})
	if err != nil {
		return err
	}
	format := &cobra.Command{Use: "ipcfs mount DIR", Short: "The files of a mount", Long: files.Long, DisableAutoGenTag: true, DisableFlagsInUseLine: true}
	root.RemoveCommand(files) // it is ipcfs(5)
	mark(root)
	mark(format)
	for section, write := range map[string]func(*doc.GenManHeader, string) error{
		"1": func(h *doc.GenManHeader, dir string) error { return doc.GenManTree(root, h, dir) },
		"5": func(h *doc.GenManHeader, dir string) error {
			f, err := os.Create(filepath.Join(dir, "ipcfs.5"))
			if err != nil {
				return err
			}
			return errors.Join(doc.GenMan(format, h, f), f.Close())
		},
	} {
		in := filepath.Join(dir, "man"+section)
		if err := os.MkdirAll(in, 0o755); err != nil {
			return err
		}
		date := sourceDate()
		if err := write(&doc.GenManHeader{Section: section, Source: "ipcfs " + Version, Manual: "ipcfs", Date: &date}, in); err != nil {
			return err
		}
	}
	return nil
}

// sourceDate is when the source was committed that this program was built from, so that two builds of one source do not differ; now if that is not known.
func sourceDate() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Now()
}

// mark makes Markdown, which is what cobra makes manual pages of, of the help texts of a command and of those below it.
func mark(c *cobra.Command) {
	c.Long = markdown(c.Long)
	for _, sub := range c.Commands() {
		mark(sub)
	}
}

// markdown makes Markdown of a help text: what is indented is shown as it is, a line of capitals is a heading, and no character means anything.
func markdown(text string) string {
	var b strings.Builder
	indented := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		was := indented
		indented = strings.HasPrefix(line, "  ") || indented && line == ""
		switch {
		case indented && !was:
			fmt.Fprintf(&b, "\n    %s\n", line)
		case indented:
			fmt.Fprintf(&b, "    %s\n", line)
		case line != "" && strings.ToUpper(line) == line && strings.ToLower(line) != line:
			fmt.Fprintf(&b, "# %s\n", line)
		case was:
			fmt.Fprintf(&b, "\n%s\n", plainText.Replace(line))
		default:
			b.WriteString(plainText.Replace(line) + "\n")
		}
	}
	return b.String()
}

// plainText takes the meaning from what has one in Markdown.
var plainText = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "<", `\<`, ">", `\>`, "#", `\#`, "[", `\[`, "]", `\]`)
