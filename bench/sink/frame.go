package sink

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// frame reads the fields of one request from a connection, without ever holding the request: what nobody wants is
// skipped. The first failure sticks, and every later read returns zero; err tells.
type frame struct {
	r    *bufio.Reader
	left int // bytes of the request that are not read yet
	err  error
}

// take returns the next n bytes, valid until the next read; n is at most the reader's buffer.
func (f *frame) take(n int) []byte {
	if f.err != nil {
		return nil
	}
	if n < 0 || n > f.left {
		f.err = fmt.Errorf("a field of %d bytes in the last %d bytes of a request", n, f.left)
		return nil
	}
	b, err := f.r.Peek(n)
	if err != nil {
		f.err = err
		return nil
	}
	// Peek has the bytes in the buffer already, so that Discard only moves past them.
	f.r.Discard(n)
	f.left -= n
	return b
}

// skip passes over n bytes, however many.
func (f *frame) skip(n int) {
	if f.err != nil {
		return
	}
	if n < 0 || n > f.left {
		f.err = fmt.Errorf("a field of %d bytes in the last %d bytes of a request", n, f.left)
		return
	}
	if _, err := f.r.Discard(n); err != nil {
		f.err = err
		return
	}
	f.left -= n
}

// rest reads all that is left into a slice of its own.
func (f *frame) rest() []byte {
	if f.err != nil {
		return nil
	}
	b := make([]byte, f.left)
	if _, err := io.ReadFull(f.r, b); err != nil {
		f.err = err
		return nil
	}
	f.left = 0
	return b
}

func (f *frame) int16() int16 {
	if b := f.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (f *frame) int32() int32 {
	if b := f.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (f *frame) uvarint() int {
	var x uint64
	for shift := 0; shift < 35; shift += 7 {
		b := f.take(1)
		if b == nil {
			return 0
		}
		x |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return int(x)
		}
	}
	f.err = fmt.Errorf("a varint of more than 5 bytes")
	return 0
}

// length reads the length of a string, or, when big, of bytes or an array: -1 for null.
func (f *frame) length(flexible, big bool) int {
	switch {
	case flexible:
		return f.uvarint() - 1
	case big:
		return int(f.int32())
	default:
		return int(f.int16())
	}
}

// tags passes over the tagged fields that end every structure of a flexible version (KIP-482).
func (f *frame) tags(flexible bool) {
	if !flexible {
		return
	}
	for n := f.uvarint(); n > 0 && f.err == nil; n-- {
		f.uvarint()
		f.skip(f.uvarint())
	}
}
