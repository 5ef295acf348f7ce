package cli

import (
	"fmt"
	"io"
	"log"
	"log/syslog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// bufferedLines is how many lines may wait for a slow destination before lines are dropped.
const bufferedLines = 4096

// asyncLog is a log that never blocks who writes to it: its destination may be a file or a pipe of the very mount that is served.
type asyncLog struct {
	*log.Logger
	lines   chan string
	dropped atomic.Int64
	end     chan struct{} // closed by Close
	done    chan struct{} // closed when everything is written
}

// closePatience is how long Close waits for a destination that takes nothing.
const closePatience = time.Second

// openLog opens the log that c asks for: standard error in the foreground, else --log, the journal, or syslog.
func openLog(c *mountConfig) (*asyncLog, error) {
	flags := log.LstdFlags | log.Lmicroseconds
	var w io.Writer
	switch {
	case c.logFile != "":
		if hidden(c.logFile, c.dir) {
			return nil, fmt.Errorf("--log: %s is below %s, where the mount would hide it; choose another file", c.logFile, c.dir)
		}
		f, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		// A daemon has no standard error on which a crash could be seen.
		if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		w = f
	case c.foreground:
		w = os.Stderr
	case journal.Enabled():
		w, flags = journalWriter{}, 0
	default:
		s, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "ipcfs")
		if err != nil {
			w = io.Discard // neither journal nor syslog runs here; --log is the way to a log then
			break
		}
		w, flags = s, 0
	}
	l := &asyncLog{lines: make(chan string, bufferedLines), end: make(chan struct{}), done: make(chan struct{})}
	l.Logger = log.New(l, "", flags)
	go l.run(w)
	return l, nil
}

// hidden says whether a file is below the directory dir, an absolute path without symbolic links.
func hidden(file, dir string) bool {
	path, err := filepath.EvalSymlinks(file)
	if err != nil { // it does not exist yet
		if path, err = filepath.EvalSymlinks(filepath.Dir(file)); err != nil {
			return false // opening it will say what is wrong
		}
		path = filepath.Join(path, filepath.Base(file))
	}
	path, err = filepath.Abs(path)
	return err == nil && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Write takes a line, or drops and counts it.
func (l *asyncLog) Write(b []byte) (int, error) {
	select {
	case l.lines <- string(b):
	default:
		l.dropped.Add(1)
	}
	return len(b), nil
}

func (l *asyncLog) run(w io.Writer) {
	defer close(l.done)
	for {
		select {
		case line := <-l.lines:
			l.put(w, line)
		case <-l.end:
			for len(l.lines) > 0 {
				l.put(w, <-l.lines)
			}
			l.put(w, "")
			return
		}
	}
}

// put writes a line, if it is one, after the number of those that were dropped.
func (l *asyncLog) put(w io.Writer, line string) {
	if n := l.dropped.Swap(0); n > 0 {
		line = fmt.Sprintf("(%d lines dropped)\n%s", n, line)
	}
	if line != "" {
		_, _ = io.WriteString(w, line) // there is nowhere to report it
	}
}

// Close writes what is left, as far as the destination takes it. What is logged after it is lost.
func (l *asyncLog) Close() {
	close(l.end)
	select {
	case <-l.done:
	case <-time.After(closePatience): // a pipe that nobody reads must not keep the daemon
	}
}

// journalWriter sends each line to the journal.
type journalWriter struct{}

// Write sends b.
func (journalWriter) Write(b []byte) (int, error) {
	return len(b), journal.Send(strings.TrimRight(string(b), "\n"), journal.PriInfo, map[string]string{"SYSLOG_IDENTIFIER": "ipcfs"})
}
