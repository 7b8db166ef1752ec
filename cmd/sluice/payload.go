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
//
// The same seed gives the same values.
func randomPayloads(size int, seed uint64) []sarama.Encoder {
	n := distinctPayloads
	if size > 0 {
		n = max(1, min(n, payloadMemory/size))
	}
	random := rand.New(rand.NewPCG(seed, 2))
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

// A keyring draws one of some keys for each record. A nil one has none. One goroutine uses it.
type keyring struct {
	keys   []sarama.Encoder
	random *rand.Rand
}

func newKeyring(n int, seed uint64) *keyring {
	if n == 0 {
		return nil
	}
	k := &keyring{keys: make([]sarama.Encoder, n), random: rand.New(rand.NewPCG(seed, 3))}
	for i := range k.keys {
		k.keys[i] = sarama.ByteEncoder(fmt.Appendf(nil, "key-%d", i))
	}
	return k
}

func (k *keyring) next() sarama.Encoder {
	if k == nil {
		return nil
	}
	return k.keys[k.random.IntN(len(k.keys))]
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
