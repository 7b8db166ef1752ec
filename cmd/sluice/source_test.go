package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// gated is an input that waits for a text before each Read returns.
type gated chan string

func (g gated) Read(p []byte) (int, error) {
	text, ok := <-g
	if !ok {
		return 0, io.EOF
	}
	return copy(p, text), nil
}

// TestRestIsWhatWasRead ends a source at each place where its goroutine may stand.
func TestRestIsWhatWasRead(t *testing.T) {
	for name, tt := range map[string]struct {
		reads int // what the input brings before the end
		taken int // loads that are taken before the end
		want  int // lines of the rest
	}{
		"in the first Read":         {0, 0, 0},
		"with a load in hand":       {1, 0, 2},
		"in a Read after that":      {1, 1, 0},
		"with the second in hand":   {2, 1, 2},
		"in a Read after the other": {2, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := make(gated, 5)
				for range tt.reads {
					in <- "a line\nanother\n"
				}
				s := &source{files: []string{"-"}, stdin: in, format: &format{delimiter: []byte("\n")}, limit: 100, ended: make(chan struct{})}
				loads, gone := make(chan load), make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				go s.read(ctx, loads, gone)
				for range tt.taken {
					<-loads
				}
				synctest.Wait()
				cancel()
				lines := 0
				for _, l := range s.rest(loads) {
					lines += len(l.msgs)
				}
				if lines != tt.want {
					t.Errorf("%d lines, want %d", lines, tt.want)
				}
				in <- "too late\n"
				close(gone)
				<-s.ended
				if n := s.lines.Load(); n != int64(2*tt.reads) {
					t.Errorf("%d lines count as read, want %d", n, 2*tt.reads)
				}
			})
		})
	}
}

// TestInterruptWithARateCountsWhatWasRead shows that what was read and is not due becomes dead letters, and no loss that
// nobody hears of.
func TestInterruptWithARateCountsWhatWasRead(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancel(t.Context())
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt()
		return nil, nil, false
	})
	letters := writeFile(t, "")
	in := strings.NewReader(strings.Repeat("line\n", 1000))
	r := execute(ctx, in, "produce", "-brokers", addrs, "-topic", "t", "-rate", "0.001", "-dead-letter", letters)
	wantReport(t, r, "delivered 1 of 1000 messages to t (1 partition), 4 B, SECONDS s, RATE messages/s")
	if r.status != statusFailed || !strings.Contains(r.stderr, "not sent: ") {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
	text, err := os.ReadFile(letters)
	if n := strings.Count(string(text), `"value":"line"`); err != nil || n != 999 {
		t.Errorf("%d letters, %v", n, err)
	}
}

// A line costs no allocation: it is a part of the chunk that was read, and its message of a load that is used again.
func TestReadingAllocatesNothingALine(t *testing.T) {
	const lines = 200_000
	input := strings.Repeat("a key\ta line\n", lines)
	allocations := testing.AllocsPerRun(1, func() {
		s := &source{files: []string{"-"}, stdin: strings.NewReader(input), format: &format{delimiter: []byte("\n"), separator: []byte("\t")}, limit: 100, ended: make(chan struct{})}
		loads, gone := make(chan load), make(chan struct{})
		go s.read(t.Context(), loads, gone)
		n := 0
		for l := range loads {
			n += len(l.msgs)
		}
		if n != lines {
			t.Errorf("%d messages", n)
		}
	})
	if allocations > lines/100 {
		t.Errorf("%.0f allocations for %d lines", allocations, lines)
	}
}
