package inspect

import (
	"testing"

	"github.com/moby/sys/mountinfo"
)

// TestFindFollowsLinksAsTheKernelDoes: dots behind a symbolic link are those of where it leads to.
func TestFindFollowsLinksAsTheKernelDoes(t *testing.T) {
	dir := realTempDir(t)
	tree(t, dir, "a/pipes/sub", "outside/dir", "link -> a/pipes/sub", "a/pipes/away -> "+dir+"/outside/dir")
	mounts := []*mountinfo.Info{mounted(40, "/", dir+"/a")}
	for path, want := range map[string]string{"/link/..": "pipes", "/link/../p": "pipes/p", "/link/../..": ".", "/a/pipes/away/../../a/pipes": "pipes"} {
		if _, inTree, err := find(dir+path, mounts); err != nil || inTree != want {
			t.Errorf("%q: %q, %v; want %q", path, inTree, err, want)
		}
	}
	for _, path := range []string{"/a/pipes/away/../file", "/a/pipes/away/..", "/a/pipes/sub/../away/../x"} {
		if _, inTree, err := find(dir+path, mounts); err == nil {
			t.Errorf("%q is found as %q", path, inTree)
		}
	}
}
