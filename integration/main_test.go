// Package integration tests ipcfs from outside, on real mounts, beside the kernel's own objects. The test binary is also the command: a daemon
// of these tests is this binary, so the race detector watches it too.
package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ipcfs/cmd/ipcfs/cli"
)

// asCommand makes the test binary be ipcfs when it is set.
const asCommand = "IPCFS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(cli.Main())
	}
	if dir := os.Getenv(asNull); dir != "" {
		if err := serveNull(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := os.Setenv("IPCFS_VERIFY", "1"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){
		"ipcfs": func() { os.Exit(cli.Main()) },
	})
}
