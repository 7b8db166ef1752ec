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
// line back while it waits for more input. Lines end with the delimiter, "\n" unless another one is set. Only that is taken
// off; a "\r" before it belongs to the line. What stands after the last delimiter is a line if it is not empty. Without a
// delimiter the whole stream is one line.
//
// Lines are slices of the chunks that were read into. A chunk is never written again where a line stands, so lines stay
// valid for as long as they are kept.
type lineReader struct {
	r         io.Reader
	limit     int // the longest line that is kept, in bytes
	delimiter []byte

	chunk []byte // len is what has been read
	begin int    // where the unfinished line begins in chunk
	long  int    // bytes dropped of an unfinished line that is over the limit
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return newDelimitedReader(r, limit, []byte{'\n'})
}

func newDelimitedReader(r io.Reader, limit int, delimiter []byte) *lineReader {
	return &lineReader{r: r, limit: limit, delimiter: delimiter}
}

// step reads once and calls emit for every line that this completes. A line over the limit is emitted as nil with its
// length. At the end of the stream step emits the last line and returns io.EOF.
func (l *lineReader) step(emit func(line []byte, length int)) error {
	l.makeRoom()
	n, err := l.r.Read(l.chunk[len(l.chunk):cap(l.chunk)])
	overlap := max(len(l.delimiter)-1, 0) // of a delimiter that has come in part
	scanned := max(len(l.chunk)-overlap, l.begin)
	l.chunk = l.chunk[:len(l.chunk)+n]
	for len(l.delimiter) > 0 {
		i := bytes.Index(l.chunk[scanned:], l.delimiter)
		if i < 0 {
			break
		}
		l.finish(scanned+i, emit)
		l.begin = scanned + i + len(l.delimiter)
		scanned = l.begin
	}
	if keep := min(overlap, len(l.chunk)-l.begin); len(l.chunk)-l.begin > l.limit+overlap || l.long > 0 {
		l.long += len(l.chunk) - l.begin - keep
		l.begin = len(l.chunk) - keep
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
