package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What is no object of an ipcfs is refused with a line for each, and stays.
func TestRmRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, err := range []error{os.WriteFile("file", nil, 0o644), os.Mkdir("dir", 0o755), os.Symlink("file", "link"), os.Symlink("nowhere", "dangling")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := newRm()
	var stderr bytes.Buffer
	cmd.SetErr(&stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"file", "dir", "link", "dangling", "missing", "file/x"})
	err := cmd.Execute()
	want := lines(
		"rm: file is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"rm: dir is not in a mount of ipcfs; 'findmnt -t fuse.ipcfs' lists them",
		"rm: link is a symbolic link and no object; rm(1) removes the link",
		"rm: dangling is a symbolic link and no object; rm(1) removes the link",
		"rm: missing does not exist",
	)
	if err == nil || err.Error() != "file/x: not a directory" || stderr.String() != want {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	for _, name := range []string{"file", "dir", "link", "dangling"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestRmArguments(t *testing.T) {
	for _, args := range [][]string{{}, {""}, {"a", ""}} {
		cmd := newRm()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(args)
		if usage := (usageError{}); !errors.As(cmd.Execute(), &usage) {
			t.Errorf("%q is not a mistake", args)
		}
	}
}
