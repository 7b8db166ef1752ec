package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/IBM/sarama"
)

// An origin says where a message came from. It travels as the message's Metadata.
type origin struct {
	source string
	line   int64
	seq    int64 // number of the message in the whole input, from 1
}

func (o *origin) String() string { return fmt.Sprintf("%s:%d", o.source, o.line) }

// A load is what one read of the input gave.
type load struct {
	msgs []*sarama.ProducerMessage
	bad  []badLine
	err  error // why an input ended early; nothing comes after it
}

// A badLine is a message that the command itself refuses.
type badLine struct {
	origin origin
	err    error
}

// A source turns files into messages, one line each. Its goroutine runs read; the fields are that goroutine's.
type source struct {
	files     []string // "-" is stdin
	stdin     io.Reader
	topic     string
	partition int32  // the manual partitioner's; otherwise ignored
	separator []byte // none if empty
	headers   []sarama.RecordHeader
	limit     int // the longest line, in bytes

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
	}
	close(out)
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
	reader := newLineReader(in, s.limit)
	var lines [][]byte
	number := int64(0)
	for {
		lines = lines[:0]
		first := number + 1
		var bad []badLine
		err := reader.step(func(line []byte, length int) {
			number++
			lines = append(lines, line)
			if line == nil {
				bad = append(bad, badLine{
					origin{source: name, line: number},
					fmt.Errorf("%w: %d bytes in a line, at most %d fit in a message", sarama.ErrMessageSizeTooLarge, length, s.limit),
				})
			}
		})
		if len(lines) > 0 {
			select {
			case out <- load{msgs: s.messages(name, first, lines), bad: bad}:
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
}

// messages makes the messages of consecutive lines, the first of which has number first. What all of them need is
// allocated at once.
func (s *source) messages(name string, first int64, lines [][]byte) []*sarama.ProducerMessage {
	var (
		msgs    = make([]sarama.ProducerMessage, len(lines))
		origins = make([]origin, len(lines))
		out     = make([]*sarama.ProducerMessage, 0, len(lines))
	)
	for i, line := range lines {
		s.seq++
		if line == nil {
			continue
		}
		origins[i] = origin{source: name, line: first + int64(i), seq: s.seq}
		m := &msgs[i]
		m.Topic, m.Partition, m.Headers, m.Metadata = s.topic, s.partition, s.headers, &origins[i]
		if len(s.separator) > 0 {
			if key, value, ok := bytes.Cut(line, s.separator); ok {
				m.Key, line = sarama.ByteEncoder(key), value
			}
		}
		m.Value = sarama.ByteEncoder(line)
		out = append(out, m)
	}
	return out
}
