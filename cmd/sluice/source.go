package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
)

// A load is what one read of the input gave. Its slices are the receiver's until it receives the next load.
type load struct {
	msgs []message
	bad  []badLine
	raw  [][]byte // the lines themselves, for -tee
	err  error    // why an input ended early; nothing comes after it
}

// A badLine is a message that the command itself refuses.
type badLine struct {
	seq  int64  // as in message
	line []byte // nil if it was too long to keep
	err  error
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

	seq   int64   // of the last line
	loads [2]load // used in turn, so that no line needs an allocation

	mu      sync.Mutex
	begun   []begunFile   // the files that were opened
	blocked bool          // in a call of the system's, which may last for ever
	over    bool          // what the call brings is too late
	ended   chan struct{} // closed when read has returned
}

// A begunFile is where the messages of a file begin.
type begunFile struct {
	name  string
	first int64 // seq of its first message
}

// origin says where a message came from, as name:line. Anyone may call it.
func (s *source) origin(seq int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.begun), func(i int) bool { return s.begun[i].first > seq }) - 1
	if s.format.whole {
		return s.begun[i].name
	}
	return fmt.Sprintf("%s:%d", s.begun[i].name, seq-s.begun[i].first+1)
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
// when ctx does, with what it has read by then: see rest. It drops all if gone is closed. A Read of the input cannot be
// interrupted: whoever started read must not wait for it once ctx has ended.
func (s *source) read(ctx context.Context, out chan<- load, gone <-chan struct{}) {
	defer close(s.ended)
	for _, name := range s.files {
		err := s.readFile(ctx, name, out, gone)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.handOver(load{err: err}, out, gone)
			return
		}
		if s.full() {
			break
		}
	}
	close(out)
}

// handOver returns false if nobody takes it.
func (s *source) handOver(l load, out chan<- load, gone <-chan struct{}) bool {
	select {
	case out <- l:
		return true
	case <-gone:
		return false
	}
}

// rest is what read had read, and not handed over, when its ctx ended. It must be asked for once, after that. It does not wait
// for the input: what a Read that is under way still brings is dropped, and counts as not read.
func (s *source) rest(out <-chan load) (rest []load) {
	s.mu.Lock()
	s.over = true
	blocked := s.blocked
	s.mu.Unlock()
	if blocked {
		return nil
	}
	for {
		select {
		case l, ok := <-out:
			if !ok {
				return rest
			}
			rest = append(rest, l)
		case <-s.ended:
			return rest
		}
	}
}

// errOver ends the reader after rest.
var errOver = errors.New("nobody reads any more")

// enter comes before a call that may last for ever, and leave after it. Each returns errOver if it is too late for the call,
// or for what it brought.
func (s *source) enter() error { return s.mark(true) }
func (s *source) leave() error { return s.mark(false) }

func (s *source) mark(blocked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errOver
	}
	s.blocked = blocked
	return nil
}

// open opens a file; a named pipe waits for its writer.
func (s *source) open(name string) (*os.File, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if over := s.leave(); over != nil {
		f.Close() // nil is fine
		return nil, over
	}
	return f, err
}

// full tells whether -count messages were read.
func (s *source) full() bool { return s.count > 0 && s.seq >= s.count }

// An input is a stream that a source reads: its bytes are counted, and rest knows whether a Read is under way.
type input struct {
	of *source
	r  io.Reader
}

func (i input) Read(p []byte) (int, error) {
	if err := i.of.enter(); err != nil {
		return 0, err
	}
	n, err := i.r.Read(p)
	if over := i.of.leave(); over != nil {
		return 0, over
	}
	i.of.bytes.Add(int64(n))
	return n, err
}

func (s *source) readFile(ctx context.Context, name string, out chan<- load, gone <-chan struct{}) error {
	in := s.stdin
	if name == "-" {
		name = "stdin"
	} else {
		f, err := s.open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	s.mu.Lock()
	s.begun = append(s.begun, begunFile{name, s.seq + 1})
	s.mu.Unlock()
	first := s.seq
	reader := newDelimitedReader(input{s, in}, s.longest(), s.format.delimiter)
	for !s.full() {
		l := &s.loads[0]
		l.msgs, l.bad, l.raw = l.msgs[:0], l.bad[:0], l.raw[:0]
		before := s.seq
		err := reader.step(func(line []byte, length int) { s.take(l, line, length) })
		if err == io.EOF && s.format.whole && s.seq == first {
			s.take(l, []byte{}, 0) // an empty file is a message too
		}
		s.lines.Add(s.seq - before)
		if s.seq > before {
			if !s.handOver(*l, out, gone) {
				return nil
			}
			s.loads[0], s.loads[1] = s.loads[1], s.loads[0] // the other one's receiver has received this one since
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

// take adds the message of a line to a load. line is nil if it was too long to keep.
func (s *source) take(l *load, line []byte, length int) {
	if s.full() {
		return
	}
	s.seq++
	if line == nil || len(line) > s.limit && !s.format.json { // the producer measures what JSON holds
		err := fmt.Errorf("%w: %d bytes, at most %d fit in a message", sarama.ErrMessageSizeTooLarge, length, s.limit)
		if line == nil && s.keep > 0 {
			err = fmt.Errorf("%w, and %d in -dead-letter: it is not kept", err, s.longest())
		}
		l.bad = append(l.bad, badLine{s.seq, line, err})
		return
	}
	if s.tee {
		l.raw = append(l.raw, line)
	}
	l.msgs = append(l.msgs, message{})
	m := &l.msgs[len(l.msgs)-1]
	if err := s.format.fill(m, line); err != nil {
		l.msgs = l.msgs[:len(l.msgs)-1]
		l.bad = append(l.bad, badLine{s.seq, line, err})
		return
	}
	m.seq = s.seq
}
