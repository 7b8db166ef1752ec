package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// deadLetterLine is the longest line that is kept though it is too long to be sent.
const deadLetterLine = 64 << 20

// deadLetters is the file of -dead-letter: what was not delivered, a line of JSON each, which -json reads. A nil one keeps
// nothing. All methods may be called concurrently.
type deadLetters struct {
	name string

	mu   sync.Mutex
	file *os.File
	out  *json.Encoder
	err  error // the first one
}

// openDeadLetters appends to a file that is there: letters are lost by no second try.
func openDeadLetters(name string) (*deadLetters, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	d := &deadLetters{name: name, file: file, out: json.NewEncoder(file)}
	d.out.SetEscapeHTML(false)
	return d, nil
}

// add writes a message that failed, maybe one that may have been written (ErrOutcomeUnknown): its reason says so.
func (d *deadLetters) add(l letter) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Encode(l.line()); err != nil && d.err == nil {
		d.err = err
	}
}

// close returns what went wrong with the file.
func (d *deadLetters) close() error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Close(); d.err == nil {
		d.err = err
	}
	if d.err != nil {
		return fmt.Errorf("-dead-letter %s: %w", d.name, d.err)
	}
	return nil
}
