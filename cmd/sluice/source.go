package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/IBM/sarama"
)

// An origin says where a message came from. It travels as the message's Metadata.
type origin struct {
	source string
	line   int64 // 0 for a whole file
	seq    int64 // number of the message in the whole input, from 1
	chosen bool  // the input names the message's partition
}

func (o *origin) String() string {
	if o.line == 0 {
		return o.source
	}
	return fmt.Sprintf("%s:%d", o.source, o.line)
}

// A load is what one read of the input gave.
type load struct {
	msgs []*sarama.ProducerMessage
	bad  []badLine
	raw  [][]byte // the lines themselves, for -tee
	err  error    // why an input ended early; nothing comes after it
}

// A badLine is a message that the command itself refuses.
type badLine struct {
	origin origin
	line   []byte // nil if it was too long to keep
	err    error
}

// A source turns files into messages. Its goroutine runs read; the fields are that goroutine's, but for what is said.
type source struct {
	files  []string // "-" is stdin
	stdin  io.Reader
	format *format
	limit  int   // the longest message, in bytes
	keep   int   // the longest line that is kept for -dead-letter; 0 is none
	count  int64 // how many messages to read; 0 is all
	tee    bool

	bytes atomic.Int64 // that were read; anyone may look
	lines atomic.Int64 // the same

	seq int64
}

// checkFiles finds the files that cannot be read before anything is written. Only regular files are opened: opening a
// named pipe would wait for its writer.
func checkFiles(files []string) error {
	for _, name := range files {
		if name == "-" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a directory", name)
		}
		if info.Mode().IsRegular() {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			f.Close()
		}
	}
	return nil
}

// size is how many bytes there are to read, or -1 if that is not known, as with a pipe.
func (s *source) size() (total int64) {
	for _, name := range s.files {
		var info os.FileInfo
		var err error
		if f, ok := s.stdin.(*os.File); name == "-" && ok {
			info, err = f.Stat()
		} else if name != "-" {
			info, err = os.Stat(name)
		}
		if err != nil || info == nil || !info.Mode().IsRegular() {
			return -1
		}
		total += info.Size()
	}
	return total
}

// read sends what the inputs hold to out, and closes it when all of them were read to their end. It ends without that
// when ctx does; but a Read of the input cannot be interrupted: whoever started read must not wait for it once ctx has
// ended.
func (s *source) read(ctx context.Context, out chan<- load) {
	for _, name := range s.files {
		err := s.readFile(ctx, name, out)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			select {
			case out <- load{err: err}:
			case <-ctx.Done():
			}
			return
		}
		if s.full() {
			break
		}
	}
	close(out)
}

// full tells whether -count messages were read.
func (s *source) full() bool { return s.count > 0 && s.seq >= s.count }

// counted counts the bytes that are read of a stream.
type counted struct {
	io.Reader
	bytes *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (s *source) readFile(ctx context.Context, name string, out chan<- load) error {
	in := s.stdin
	if name == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	reader := newDelimitedReader(counted{in, &s.bytes}, s.longest(), s.format.delimiter)
	var lines [][]byte
	number := int64(0)
	for !s.full() {
		lines = lines[:0]
		first := number + 1
		lengths := map[int]int{} // of those that are too long
		err := reader.step(func(line []byte, length int) {
			number++
			if line == nil {
				lengths[len(lines)] = length
			}
			lines = append(lines, line)
		})
		if err == io.EOF && s.format.whole && number == 0 {
			lines = append(lines, []byte{}) // an empty file is a message too
		}
		if len(lines) > 0 {
			select {
			case out <- s.load(name, first, lines, lengths):
			case <-ctx.Done():
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// longest is how long a line may be to be read at all. JSON has more bytes than its message: six for a control character, and
// the headers.
func (s *source) longest() int {
	if s.format.json {
		return max(s.keep, 6*s.limit+1<<20)
	}
	return max(s.keep, s.limit)
}

// load makes the messages of consecutive lines, the first of which has number first. What all of them need is allocated at
// once.
func (s *source) load(name string, first int64, lines [][]byte, lengths map[int]int) load {
	if left := s.count - s.seq; s.count > 0 && int64(len(lines)) > left {
		lines = lines[:left]
	}
	var (
		msgs    = make([]sarama.ProducerMessage, len(lines))
		origins = make([]origin, len(lines))
		out     = load{msgs: make([]*sarama.ProducerMessage, 0, len(lines))}
	)
	for i, line := range lines {
		s.seq++
		o := &origins[i]
		*o = origin{source: name, line: first + int64(i), seq: s.seq}
		if s.format.whole {
			o.line = 0
		}
		if line == nil || len(line) > s.limit && !s.format.json { // the producer measures what JSON holds
			length := max(lengths[i], len(line))
			err := fmt.Errorf("%w: %d bytes, at most %d fit in a message", sarama.ErrMessageSizeTooLarge, length, s.limit)
			if line == nil && s.keep > 0 {
				err = fmt.Errorf("%w, and %d in -dead-letter: it is not kept", err, s.longest())
			}
			out.bad = append(out.bad, badLine{origin: *o, line: line, err: err})
			continue
		}
		if s.tee {
			out.raw = append(out.raw, line)
		}
		m := &msgs[i]
		m.Metadata = o
		if err := s.format.fill(m, o, line); err != nil {
			out.bad = append(out.bad, badLine{origin: *o, line: line, err: err})
			continue
		}
		out.msgs = append(out.msgs, m)
	}
	s.lines.Add(int64(len(lines)))
	return out
}
