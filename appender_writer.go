package sluice

import (
	"bytes"
	"context"

	"github.com/sluice-kafka/sluice/dispatch"
)

// AppenderWriter writes to an Appender: see Appender.Writer. All methods may be called concurrently.
type AppenderWriter struct {
	a     *Appender
	lines bool
	delim byte
	rest  []byte // of a line that has not ended; guarded by the Appender's writers
	skip  bool   // the line that has not ended is too long
}

// Writer returns an io.Writer that makes a record of each line, without the delimiter that ends it, with no key: for io.Copy, and for
// package log, slog's handlers and zap's WriteSyncer. A line may come in several Writes. The last one may have no delimiter: Close
// appends it.
//
// Several goroutines may write, and an Appender may have several Writers, while nobody calls its Append. Write waits as Append does, and
// returns its errors; the line that fails is not written, and those before it are.
func (a *Appender) Writer(delim byte) *AppenderWriter {
	return &AppenderWriter{a: a, lines: true, delim: delim}
}

// RecordWriter returns a Writer that makes a record of each Write, as it is.
func (a *Appender) RecordWriter() *AppenderWriter { return &AppenderWriter{a: a} }

// Write implements io.Writer. n is how many bytes of p are accepted: up to the line that has failed.
func (w *AppenderWriter) Write(p []byte) (n int, err error) {
	w.a.writers.Lock()
	defer w.a.writers.Unlock()
	if !w.lines {
		if err := w.a.Append(nil, notNull(p)); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	for n < len(p) {
		i := bytes.IndexByte(p[n:], w.delim)
		if i < 0 {
			if err := w.keep(p[n:]); err != nil {
				return n, err
			}
			return len(p), nil
		}
		if err := w.line(p[n : n+i]); err != nil {
			return n, err
		}
		n += i + 1
	}
	return n, nil
}

// line appends a line, or its end if there is a rest.
func (w *AppenderWriter) line(end []byte) error {
	if w.skip {
		w.skip = false
		return nil // its error was told
	}
	if len(w.rest) == 0 {
		return w.a.Append(nil, notNull(end))
	}
	if err := w.keep(end); err != nil {
		w.skip = false
		return err
	}
	line := w.rest
	w.rest = w.rest[:0]
	return w.a.Append(nil, line)
}

// keep adds to the rest, unless no batch would take it.
func (w *AppenderWriter) keep(p []byte) error {
	if w.skip {
		return nil
	}
	if err := dispatch.CheckSize(w.a.p.deps, w.a.topic, len(w.rest)+len(p)); err != nil {
		defer func() { w.rest, w.skip = w.rest[:0], true }()
		return w.a.refused(len(w.rest)+len(p), err)
	}
	w.rest = append(w.rest, p...)
	return nil
}

// notNull is p, or an empty slice that is not nil: an empty line is an empty value.
func notNull(p []byte) []byte {
	if p == nil {
		return []byte{}
	}
	return p
}

// Sync is Flush of the Appender, without a time limit: zap calls it. What has no delimiter yet stays.
func (w *AppenderWriter) Sync() error { return w.a.Flush(context.Background()) }

// Close appends a last line that has no delimiter. It does not flush, and the Writer may be used on.
func (w *AppenderWriter) Close() error {
	w.a.writers.Lock()
	defer w.a.writers.Unlock()
	line := w.rest
	w.rest, w.skip = w.rest[:0], false
	if len(line) == 0 {
		return nil
	}
	return w.a.Append(nil, line)
}
