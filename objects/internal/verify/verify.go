// Package verify holds the assertions of the objects. They cost nothing where they are off and panic with the numbers where
// they are on: in every test binary, and in a daemon started with IPCFS_VERIFY=1 (as the tests of the mount do).
package verify

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// On says whether assertions are checked. It is set once, when the program starts.
var On = os.Getenv("IPCFS_VERIFY") == "1" || strings.HasSuffix(os.Args[0], ".test")

// Held panics unless mu is locked. It cannot tell by whom, so it finds a forgotten lock only where nobody else holds it.
func Held(mu *sync.Mutex) {
	if On && mu.TryLock() {
		panic("verify: lock is not held")
	}
}

// That panics with the formatted message unless cond holds. Callers whose arguments are costly to make ask On first.
func That(cond bool, format string, args ...any) {
	if On && !cond {
		panic("verify: " + fmt.Sprintf(format, args...))
	}
}
