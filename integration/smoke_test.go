package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestBytesGoThroughAPipe(t *testing.T) {
	m := newMount(t)
	p := filepath.Join(m.pipes, "p")
	writer := exec.Command("sh", "-c", `echo hello > "$0"`, p)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	m.waitFor(t, "p", func(s pipeStat) bool { return s.waitWrs == 1 })
	if got, err := exec.Command("cat", p).Output(); err != nil || string(got) != "hello\n" {
		t.Fatalf("cat read %q, %v", got, err)
	}
	if err := writer.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A Go client waits for the reader through epoll: the file that its open created is not writable, and not broken, until one comes.
func TestGoWriterWaitsForItsReader(t *testing.T) {
	m := newMount(t)
	p := filepath.Join(m.pipes, "p")
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(p, []byte("hello\n"), 0o644) }()
	m.waitFor(t, "p", func(s pipeStat) bool { return s.writers == 1 })
	if got, err := exec.Command("cat", p).Output(); err != nil || string(got) != "hello\n" {
		t.Fatalf("cat read %q, %v", got, err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}
