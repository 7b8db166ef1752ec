package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readLines reads r to its end, and writes a line over the limit as its length.
func readLines(r io.Reader, limit int) ([]string, error) { return readDelimited(r, limit, "\n") }

func readDelimited(r io.Reader, limit int, delimiter string) ([]string, error) {
	var kept [][]byte
	l := newDelimitedReader(r, limit, []byte(delimiter))
	for {
		err := l.step(func(line []byte, length int) {
			if line == nil {
				line = fmt.Appendf(nil, "<%d>", length)
			} else if len(line) != length {
				line = fmt.Appendf(nil, "%d bytes said to be %d", len(line), length)
			}
			kept = append(kept, line)
		})
		if err != nil {
			// Turned to strings only now, so that a line that was written over shows.
			var out []string
			for _, line := range kept {
				out = append(out, string(line))
			}
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	tests := []struct {
		name  string
		input string
		limit int
		want  []string
	}{
		{"nothing", "", 10, nil},
		{"one", "a\n", 10, []string{"a"}},
		{"no line feed at the end", "a\nb", 10, []string{"a", "b"}},
		{"empty lines", "\n\na\n\n", 10, []string{"", "", "a", ""}},
		{"carriage returns stay", "a\r\nb\r", 10, []string{"a\r", "b\r"}},
		{"zero bytes", "a\x00b\n", 10, []string{"a\x00b"}},
		{"longer than a chunk", long + "\n" + long, 1 << 20, []string{long, long}},
		{"at the limit", "12345\n12345", 5, []string{"12345", "12345"}},
		{"over the limit", "123456\nok\n1234567", 5, []string{"<6>", "ok", "<7>"}},
		{"far over the limit", long + "\nok", 5, []string{"<200000>", "ok"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{
				strings.NewReader(tt.input),
				iotest.OneByteReader(strings.NewReader(tt.input)),
				iotest.DataErrReader(strings.NewReader(tt.input)),
			} {
				if got, err := readLines(r, tt.limit); err != nil || !slices.Equal(got, tt.want) {
					t.Errorf("%T: %d lines %.60q, %v; want %d", r, len(got), got, err, len(tt.want))
				}
			}
		})
	}
}

func TestLineReaderKeepsAReadError(t *testing.T) {
	broken := errors.New("broken")
	got, err := readLines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), 10)
	if !errors.Is(err, broken) || !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzLineReader compares with a split of the whole input, for reads of any size.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc"), "\n", uint8(3), uint8(2))
	f.Add([]byte("\r\n\n"), "\n", uint8(1), uint8(0))
	f.Add([]byte("a\r\n\r\r\nbbbb\r\n"), "\r\n", uint8(3), uint8(0))
	f.Add([]byte("aabaabaab"), "aab", uint8(0), uint8(1))
	f.Add([]byte("one line"), "", uint8(9), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, delimiter string, limit, piece uint8) {
		var want []string
		rest := input
		for len(rest) > 0 {
			line, after := rest, []byte(nil)
			if delimiter != "" {
				line, after, _ = bytes.Cut(rest, []byte(delimiter))
			}
			text := string(line)
			if len(line) > int(limit) {
				text = fmt.Sprintf("<%d>", len(line))
			}
			want, rest = append(want, text), after
		}
		got, err := readDelimited(&pieces{input, int(piece)%7 + 1}, int(limit), delimiter)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	})
}

// pieces gives at most n bytes a read.
type pieces struct {
	rest []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
