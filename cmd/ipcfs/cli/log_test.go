package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestLogWritesAllLinesInOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for range 2 { // the second appends
		l, err := openLog(&mountConfig{dir: "/nowhere", logFile: file})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			l.Printf("line %d", i)
		}
		l.Close()
		l.Print("after the end") // lost, and not a panic
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 200 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if want := " line " + strconv.Itoa(i%100); !strings.HasSuffix(l, want) {
			t.Errorf("line %d is %q", i, l)
		}
	}
}

// A destination that takes nothing costs lines, which are counted, and never blocks who logs.
func TestLogDropsLines(t *testing.T) {
	var written bytes.Buffer
	gate := make(chan struct{})
	l := &asyncLog{lines: make(chan string, bufferedLines), end: make(chan struct{}), done: make(chan struct{})}
	go l.run(gated{&written, gate})
	const logged = 3 * bufferedLines
	for i := range logged {
		_, _ = l.Write([]byte("line " + strconv.Itoa(i) + "\n"))
	}
	close(gate)
	l.Close()
	<-l.done
	dropped, reports := 0, regexp.MustCompile(`(?m)^\((\d+) lines dropped\)$`).FindAllStringSubmatch(written.String(), -1)
	for _, m := range reports {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
	}
	// One line may be on its way while the buffer fills.
	if n := strings.Count(written.String(), "line "); n+dropped != logged || n < bufferedLines || n > bufferedLines+1 {
		t.Errorf("%d lines written, %d dropped in %d reports, %d logged", n, dropped, len(reports), logged)
	}
}

// gated is a destination that takes nothing before its gate is closed.
type gated struct {
	io.Writer
	gate chan struct{}
}

// Write waits for the gate.
func (g gated) Write(b []byte) (int, error) {
	<-g.gate
	return g.Writer.Write(b)
}

// A log that is stuck for good does not keep the daemon from ending.
func TestLogClosesThoughStuck(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	l := &asyncLog{lines: make(chan string, bufferedLines), end: make(chan struct{}), done: make(chan struct{})}
	go l.run(gated{io.Discard, gate})
	_, _ = l.Write([]byte("x\n"))
	l.Close()
}

func TestHidden(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "dir")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"in": dir, "log": "dir/sub", "dir/out": base} {
		if err := os.Symlink(to, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]bool{
		"dir/log": true, "dir/sub/log": true, "in/log": true, "log": true, "dir/sub/../log": true,
		"other": false, "directory": false, "dir2/log": false, "dir/out/log2": false, "dir": false,
	} {
		if got := hidden(base+"/"+file, dir); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
	t.Chdir(dir)
	if !hidden("log", dir) || hidden("../x", dir) {
		t.Error("relative paths")
	}
	if !hidden("/etc/x", "/") {
		t.Error("everything is below /")
	}
}
