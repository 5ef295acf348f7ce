package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// queueClient is a run of a program that is given the path of an empty queue as its last argument, and says on stdout what it saw. It leaves the queue empty, with
// nobody waiting, or removed.
type queueClient struct {
	run  []string
	want string
}

// runQueueClients runs each client on a queue of its own.
func runQueueClients(t *testing.T, clients []queueClient) {
	m := newMount(t)
	for i, c := range clients {
		var name []string
		for _, arg := range c.run {
			name = append(name, filepath.Base(arg))
		}
		t.Run(strings.Join(name, " "), func(t *testing.T) {
			q := makePipe(t, filepath.Join(m.msgq, fmt.Sprintf("q%d", i)))
			client{run: c.run, want: c.want}.check(t, []string{q})
			if _, err := os.Stat(q); errors.Is(err, os.ErrNotExist) {
				return
			}
			eventually(t, func() error { // what a process had open is closed a moment after its end
				for _, field := range []string{"q_receivers", "q_senders", "q_qnum", "q_cbytes"} {
					n, err := queueField(q, field)
					if err == nil && n != "0" {
						err = fmt.Errorf("%s is %s", field, n)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err := os.Remove(q); err != nil {
				t.Error(err)
			}
		})
	}
	if names, err := os.ReadDir(m.msgq); err != nil || len(names) > 0 {
		t.Errorf("the clients left %v, %v", names, err)
	}
}
