package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Every command describes itself, takes no argument that it does not know, and calls that a mistake in the command line.
func TestEveryCommandChecksItsArguments(t *testing.T) {
	var all func(c *cobra.Command) []*cobra.Command
	all = func(c *cobra.Command) []*cobra.Command {
		list := []*cobra.Command{c}
		for _, sub := range c.Commands() {
			list = append(list, all(sub)...)
		}
		return list
	}
	for _, c := range all(newRoot()) {
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		for _, last := range []string{"--no-such-flag", "no-such-argument"} {
			if last == "no-such-argument" && slices.Contains([]string{"send", "who", "rm"}, c.Name()) {
				continue // it is a message, or one more path
			}
			root := newRoot()
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			args := append(strings.Fields(c.CommandPath())[1:], "no-such-argument", last)
			root.SetArgs(args)
			err := root.Execute()
			if usage := (usageError{}); !errors.As(err, &usage) || strings.Contains(err.Error(), "\n") || out.Len() > 0 {
				t.Errorf("ipcfs %q: %v, %s", args, err, out.String())
			}
		}
	}
}

func TestLookAt(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	far := filepath.Join(base, "a/b")
	for _, err := range []error{
		os.MkdirAll(far, 0o755), os.Symlink("a/b", filepath.Join(base, "link")), os.Symlink("loop", filepath.Join(base, "loop")),
		os.WriteFile(filepath.Join(base, "file"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(base)
	// link/.. is where the kernel goes, not what is left of the text.
	for dir, want := range map[string]string{".": base, "a/b/": far, "link": far, "link/": far, "link/..": base + "/a", base + "//a/./b": far, "/": "/", "/proc": "/proc"} {
		p, err := lookAt(dir)
		if err != nil || p.path != want || p.isOurs() {
			t.Errorf("%s: %+v, %v", dir, p, err)
		}
		if mounted := want == "/" || want == "/proc"; mounted != (p.mount != nil) {
			t.Errorf("%s: mounted there is %+v", dir, p.mount)
		}
	}
	for dir, want := range map[string]error{"missing": unix.ENOENT, "missing/x": unix.ENOENT, "": unix.ENOENT, "file": unix.ENOTDIR, "file/x": unix.ENOTDIR, "loop": unix.ELOOP} {
		if _, err := lookAt(dir); !errors.Is(err, want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestOwnerOfAMount(t *testing.T) {
	for options, want := range map[string]int{
		"rw,user_id=0,group_id=0,default_permissions": 0, "rw,user_id=65534,group_id=1": 65534, "user_id=12": 12, "rw": -1, "": -1, "rw,user_id=x": -1, "xuser_id=3": -1,
	} {
		uid, ok := place{mount: &mountinfo.Info{VFSOptions: options}}.owner()
		if ok != (want >= 0) || ok && uid != want {
			t.Errorf("%s: %d %v", options, uid, ok)
		}
	}
}

// What is wrong is one line that names the directory, without the words of Go's os package.
func TestDirError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.ENOENT, "/d does not exist; make the directory first: mkdir -p /d"},
		{&os.PathError{Op: "open", Path: "/d", Err: unix.ENOTDIR}, "/d is not a directory"},
		{&os.PathError{Op: "open", Path: "/d", Err: unix.EACCES}, "/d cannot be read: permission denied"},
	} {
		if got := dirError("/d", c.err).Error(); got != c.want {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

func TestPrintFindings(t *testing.T) {
	var out bytes.Buffer
	err := printFindings(&out, []finding{{"a", true, "is there", "unused"}, {"longer", false, "is missing", "get it"}})
	if want := "ok  a       is there\nno  longer  is missing; get it\n"; err != nil || out.String() != want {
		t.Errorf("%q, %v", out.String(), err)
	}
}
