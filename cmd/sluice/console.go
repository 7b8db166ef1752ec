package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// A console owns a command's stderr: errors, notes, log lines and the progress line come from several goroutines, and on a
// terminal the progress line must make room for the others. All methods may be called concurrently.
type console struct {
	command  string // what its lines begin with
	terminal bool
	colours  bool // errors are red

	mu      sync.Mutex
	w       io.Writer
	width   func() int
	shared  bool // others write to the same terminal: there is no progress line
	showing bool // a progress line stands at the cursor
}

func newConsole(w io.Writer, command string) *console {
	c := &console{command: command, w: w}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		c.terminal = true
		c.colours = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		c.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return c
}

// room is how many characters the progress line may have. It never fills the last column, where terminals wrap.
func (c *console) room() int { return c.width() - 1 }

// isTerminal tells whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// share says that others write to the terminal: people who type the input, or what goes to stdout. A progress line would stand
// in the middle of that.
func (c *console) share() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shared = true
}

// live tells whether there is a progress line.
func (c *console) live() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.terminal && !c.shared
}

// errorf writes one line that begins with the command's name, as notef does. It is red.
func (c *console) errorf(format string, args ...any) {
	text := c.line(format, args...)
	if c.colours {
		text = "\x1b[31m" + text + "\x1b[0m"
	}
	io.WriteString(c, text+"\n")
}

// notef writes one line that is no error.
func (c *console) notef(format string, args ...any) {
	io.WriteString(c, c.line(format, args...)+"\n")
}

func (c *console) line(format string, args ...any) string {
	return c.command + ": " + oneLine(fmt.Sprintf(format, args...))
}

// Write makes the console a destination for log lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	return c.w.Write(p)
}

// progress replaces the progress line by as many of the fields as there is room for; without fields it takes it away.
func (c *console) progress(fields ...string) {
	if !c.live() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	if text := fit(fields, c.room()); text != "" {
		io.WriteString(c.w, text)
		c.showing = true
	}
}

// fit joins the fields that there is room for. The first is cut if there is none for it.
func fit(fields []string, width int) string {
	text := ""
	for i, field := range fields {
		next := field
		if i > 0 {
			next = text + ", " + field
		}
		switch {
		case utf8.RuneCountInString(next) <= width:
			text = next
		case i == 0:
			return string([]rune(next)[:max(width-1, 0)]) + "…"
		}
	}
	return text
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
