package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// A console owns a command's stderr: errors, log lines and the progress line come from several goroutines, and on a
// terminal the progress line must make room for the others. All methods may be called concurrently.
type console struct {
	command  string // what error lines begin with
	terminal bool

	mu      sync.Mutex
	w       io.Writer
	showing bool // a progress line stands at the cursor
}

func newConsole(w io.Writer, command string) *console {
	f, ok := w.(*os.File)
	return &console{command: command, w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// errorf writes one line that begins with the command's name.
func (c *console) errorf(format string, args ...any) {
	fmt.Fprintf(c, "%s: %s\n", c.command, oneLine(fmt.Sprintf(format, args...)))
}

// Write makes the console a destination for log lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	return c.w.Write(p)
}

// progress replaces the progress line; an empty text takes it away. Only a terminal shows it.
func (c *console) progress(text string) {
	if !c.terminal {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	if text != "" {
		io.WriteString(c.w, text)
		c.showing = true
	}
}

func (c *console) wipe() {
	if c.showing {
		io.WriteString(c.w, "\r\x1b[K")
		c.showing = false
	}
}

// oneLine keeps an error that spans several lines, as joined errors do, on one.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
