package main

import (
	"bytes"
	"io"
)

const (
	chunkSize = 64 << 10
	// minRead is the room below which a chunk is left to its lines and a new one is begun.
	minRead = 4 << 10
)

// A lineReader cuts a stream into lines, with at most one Read of the stream a step: whoever steps it never holds a whole
// line back while it waits for more input. Only the "\n" is taken off; a "\r" before it belongs to the line. What stands
// after the last "\n" is a line if it is not empty.
//
// Lines are slices of the chunks that were read into. A chunk is never written again where a line stands, so lines stay
// valid for as long as they are kept.
type lineReader struct {
	r     io.Reader
	limit int // the longest line that is kept, in bytes

	chunk []byte // len is what has been read
	begin int    // where the unfinished line begins in chunk
	long  int    // bytes dropped of an unfinished line that is over the limit
}

func newLineReader(r io.Reader, limit int) *lineReader { return &lineReader{r: r, limit: limit} }

// step reads once and calls emit for every line that this completes. A line over the limit is emitted as nil with its
// length. At the end of the stream step emits the last line and returns io.EOF.
func (l *lineReader) step(emit func(line []byte, length int)) error {
	l.makeRoom()
	n, err := l.r.Read(l.chunk[len(l.chunk):cap(l.chunk)])
	scanned := len(l.chunk)
	l.chunk = l.chunk[:scanned+n]
	for {
		i := bytes.IndexByte(l.chunk[scanned:], '\n')
		if i < 0 {
			break
		}
		l.finish(scanned+i, emit)
		l.begin = scanned + i + 1
		scanned = l.begin
	}
	if len(l.chunk)-l.begin > l.limit || l.long > 0 {
		l.long += len(l.chunk) - l.begin
		l.begin = len(l.chunk)
	}
	if err == io.EOF && (l.begin < len(l.chunk) || l.long > 0) {
		l.finish(len(l.chunk), emit)
		l.begin = len(l.chunk)
	}
	return err
}

// finish emits the line that ends before end.
func (l *lineReader) finish(end int, emit func([]byte, int)) {
	length := l.long + end - l.begin
	l.long = 0
	if length > l.limit {
		emit(nil, length)
		return
	}
	emit(l.chunk[l.begin:end:end], length)
}

// makeRoom begins a new chunk when the old one is nearly full, and takes the unfinished line along.
func (l *lineReader) makeRoom() {
	if cap(l.chunk)-len(l.chunk) >= minRead {
		return
	}
	rest := l.chunk[l.begin:]
	fresh := make([]byte, len(rest), max(chunkSize, 2*len(rest)))
	copy(fresh, rest)
	l.chunk, l.begin = fresh, 0
}
