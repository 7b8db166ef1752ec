package main

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Streams and brokers that misbehave, on every system.

// patience bounds what must not take long. Nothing is measured with it: a test that needs it has failed.
const patience = 30 * time.Second

// endless is an input that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "line\n"[i%5]
	}
	return len(p) / 5 * 5, nil
}

// lines is a writer that tells when something was written to it.
type lines struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{}
}

func newLines() *lines { return &lines{wrote: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.wrote <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) await(t *testing.T, word string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(l.String(), word) {
		select {
		case <-l.wrote:
		case <-late:
			t.Fatalf("no %q in %q", word, l)
		}
	}
}

// silentListener accepts connections and never answers.
func silentListener(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	})
	return l.Addr().String()
}
