package cli

import (
	"fmt"
	"io"
	"log"
	"log/syslog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/journal"
)

// bufferedLines is how many lines may wait for a slow destination before lines are dropped.
const bufferedLines = 4096

// asyncLog is a log that never blocks who writes to it: its destination may be a file or a pipe of the very mount that is served.
type asyncLog struct {
	*log.Logger
	lines   chan string
	dropped atomic.Int64
	done    chan struct{}
}

// openLog opens the log that c asks for: standard error in the foreground, else --log, the journal, or syslog.
func openLog(c *mountConfig) (*asyncLog, error) {
	flags := log.LstdFlags | log.Lmicroseconds
	var w io.Writer
	switch {
	case c.logFile != "":
		f, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
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
	l := &asyncLog{lines: make(chan string, bufferedLines), done: make(chan struct{})}
	l.Logger = log.New(l, "", flags)
	go l.run(w)
	return l, nil
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
	for line := range l.lines {
		if n := l.dropped.Swap(0); n > 0 {
			line = fmt.Sprintf("(%d lines dropped)\n%s", n, line)
		}
		_, _ = io.WriteString(w, line) // there is nowhere to report it
	}
}

// Close writes what is left. Nothing may be logged after it.
func (l *asyncLog) Close() {
	close(l.lines)
	<-l.done
}

// journalWriter sends each line to the journal.
type journalWriter struct{}

// Write sends b.
func (journalWriter) Write(b []byte) (int, error) {
	return len(b), journal.Send(strings.TrimRight(string(b), "\n"), journal.PriInfo, map[string]string{"SYSLOG_IDENTIFIER": "ipcfs"})
}
