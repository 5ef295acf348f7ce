package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// `make install` puts a command that works, manual pages that groff does not complain about, and completions in their places.
func TestInstall(t *testing.T) {
	need(t, "make", "groff", "bash")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "make", "-C", "..", "--no-print-directory", "install", "DESTDIR="+dir, "PREFIX=/usr")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{
		"man/man1/ipcfs.1": "ipcfs-top(1)", "man/man1/ipcfs-ls.1": "List the objects below PATH", "man/man5/ipcfs.5": "q_cbytes, q_qnum",
	} {
		page := exec.Command("groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-P-cbou", filepath.Join(dir, "usr/share", name))
		out, err := page.CombinedOutput()
		if text := strings.Join(strings.Fields(string(out)), " "); err != nil || !strings.Contains(text, want) || strings.Contains(text, "warning:") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	bin := filepath.Join(dir, "usr/bin/ipcfs")
	if out, err := exec.Command(bin, "version").Output(); err != nil || !strings.HasPrefix(string(out), "ipcfs ") {
		t.Errorf("version: %v, %q", err, out)
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(dir, "usr/share/bash-completion/completions/ipcfs")).CombinedOutput(); err != nil {
		t.Errorf("completion for bash: %v: %s", err, out)
	}
	for _, name := range []string{"zsh/site-functions/_ipcfs", "fish/vendor_completions.d/ipcfs.fish"} {
		if text, err := os.ReadFile(filepath.Join(dir, "usr/share", name)); err != nil || !strings.Contains(string(text), "__complete") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the completions ask the command.
	if out, err := exec.Command(bin, "__complete", "ls", "--output", "NAME,K").Output(); err != nil || !strings.HasPrefix(string(out), "NAME,KIND") {
		t.Errorf("completion of a column: %v, %q", err, out)
	}
}
