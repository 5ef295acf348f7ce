package pipe

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestModel runs random histories on a pipe and on the model, and compares them after each step. (A failure prints how to run it again.)
func TestModel(t *testing.T) {
	for i := range 8 { // of a hundred histories each
		t.Run(fmt.Sprint(i), rapid.MakeCheck(func(t *rapid.T) {
			m := newMachine(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") })
			do := map[string]func(*rapid.T){}
			for name, f := range m.actions() {
				do[name] = func(t *rapid.T) {
					f()
					t.Logf("%s", m.history[len(m.history)-1])
				}
			}
			do[""] = func(*rapid.T) { m.compare() }
			t.Repeat(do)
		}))
	}
}
