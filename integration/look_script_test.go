package integration

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLookScripts runs each script of somebody at a shell who looks into a mount: at the files of proc, at extended attributes, and with ipcfs ls and its like.
func TestLookScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/look/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			runScript(t, file, &script{t: t, pipes: m.pipes, mount: m})
		})
	}
}
