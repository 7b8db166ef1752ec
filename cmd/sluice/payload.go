package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/IBM/sarama"
)

const (
	// distinctPayloads and payloadMemory bound the random values that are made ahead and sent in turn.
	distinctPayloads = 1024
	payloadMemory    = 16 << 20
)

// randomPayloads makes values of size random upper-case letters, as kafka-producer-perf-test does: they compress a
// little, as text would not compress were it one value repeated.
func randomPayloads(size int) []sarama.Encoder {
	n := distinctPayloads
	if size > 0 {
		n = max(1, min(n, payloadMemory/size))
	}
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]sarama.Encoder, n)
	for i := range out {
		value := make([]byte, size)
		for j := range value {
			value[j] = 'A' + byte(random.Uint32N(26))
		}
		out[i] = sarama.ByteEncoder(value)
	}
	return out
}

// filePayloads takes the lines of a file as values; empty lines are left out.
func filePayloads(name string, limit int) ([]sarama.Encoder, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []sarama.Encoder
	number := 0
	var tooLong error
	lines := newLineReader(f, limit)
	for err == nil {
		err = lines.step(func(line []byte, length int) {
			number++
			switch {
			case line == nil && tooLong == nil:
				tooLong = fmt.Errorf("%s:%d: %w: %d bytes, at most %d fit in a message", name, number, sarama.ErrMessageSizeTooLarge, length, limit)
			case len(bytes.TrimSpace(line)) > 0:
				out = append(out, sarama.ByteEncoder(line))
			}
		})
	}
	switch {
	case err != io.EOF:
		return nil, fmt.Errorf("%s: %w", name, err)
	case tooLong != nil:
		return nil, tooLong
	case len(out) == 0:
		return nil, fmt.Errorf("%s holds no line to send", name)
	}
	return out, nil
}
