// Command ipcfs mounts a directory in which every file is an IPC object. See `ipcfs help`.
package main

import (
	"os"

	"ipcfs/cmd/ipcfs/cli"
)

func main() { os.Exit(cli.Main()) }
