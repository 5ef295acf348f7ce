package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each command has a page, with its help in it, and the files of a mount have theirs.
func TestManuals(t *testing.T) {
	dir := t.TempDir()
	if err := writeManuals(dir); err != nil {
		t.Fatal(err)
	}
	page := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	for _, c := range newRoot().Commands() {
		if c.IsAvailableCommand() && c.Name() != "files" && c.Name() != "help" {
			if text := page("man1/ipcfs-" + c.Name() + ".1"); !strings.Contains(text, c.Short) || !strings.Contains(text, ".SH DESCRIPTION") {
				t.Errorf("ipcfs-%s(1) is\n%s", c.Name(), text)
			}
		}
	}
	if text := page("man1/ipcfs.1"); !strings.Contains(text, "ipcfs mount ~/ipc") || !strings.Contains(text, "ipcfs-ls(1)") {
		t.Errorf("ipcfs(1) is\n%s", text)
	}
	if text := page("man5/ipcfs.5"); !strings.Contains(text, ".SH MESSAGE QUEUES") || !strings.Contains(text, "  q_cbytes, q_qnum       bytes and messages in it\n") {
		t.Errorf("ipcfs(5) is\n%s", text)
	}
}

func TestMarkdown(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ntext":                    "plain\ntext\n",
		"a *b* _c_ <d> \\ `e` #f [g]":    "a \\*b\\* \\_c\\_ \\<d\\> \\\\ \\`e\\` \\#f \\[g\\]\n",
		"before:\n  a *b*\n\n  c\nafter": "before:\n\n      a *b*\n    \n      c\n\nafter\n",
		"HEADING, TOO\n\ntext":           "# HEADING, TOO\n\ntext\n",
		"7\n":                            "7\n",
	} {
		if got := markdown(text); got != want {
			t.Errorf("%q\nis   %q\nwant %q", text, got, want)
		}
	}
}
