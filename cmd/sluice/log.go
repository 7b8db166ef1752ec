package main

import (
	"log"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A verboseLog shows the client's log. A line that comes again and again, as of a dial that fails five times a second, is
// shown once; its count follows in the end. All methods may be called concurrently.
type verboseLog struct {
	con *console

	mu     sync.Mutex
	counts map[string]int
}

// maxLogLines bounds the lines that are told apart.
const maxLogLines = 1000

func (l *verboseLog) Write(p []byte) (int, error) {
	text := readableText(strings.TrimSpace(string(p)))
	if text == "using proxy" {
		return len(p), nil // sarama's word for our own way to dial
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		return len(p), nil // after the end
	}
	if l.counts[text]++; l.counts[text] > 1 {
		return len(p), nil
	}
	if len(l.counts) > maxLogLines {
		delete(l.counts, text) // it is shown each time
	}
	l.con.Write([]byte(time.Now().Format("15:04:05.000 ") + text + "\n"))
	return len(p), nil
}

// end tells the counts. What is logged later is dropped: a client that was given up while it connected may still do it.
func (l *verboseLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(l.counts)) {
		if n := l.counts[text]; n > 1 {
			l.con.notef("%s (%d times)", text, n)
		}
	}
	l.counts = nil
}

// logTo shows the client's log on the console if -v asks for it, until the returned function is called. Our own producer's is what
// docs/logs.md lists; sarama.Logger has the rest.
func (c *connection) logTo(con *console, s *settings) (end func()) {
	if !c.verbose {
		return func() {}
	}
	l := &verboseLog{con: con, counts: map[string]int{}}
	sarama.Logger = log.New(l, "", 0)
	s.log = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{} // verboseLog tells it
		}
		return a
	}}))
	return l.end
}
