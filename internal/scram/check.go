// Package scram has the client's side of SASL SCRAM (RFC 5802, RFC 7677, KIP-84) in the form that sarama wants, and a check of
// what a broker asks for in it.
package scram

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// MaxIterations is the highest iteration count that is accepted. A broker names the count, and the client has to repeat a hash that
// many times: 2^31-1 of them take the better part of a minute. Kafka's own tools store 4,096 to 16,384, and 100,000 take
// less than 0.1 s.
const MaxIterations = 100_000

// maxMessage bounds a broker's message, in bytes. A real one has some hundred. Clients split it, so that a long one of commas
// alone would take many times its length.
const maxMessage = 16 << 10

// CheckIterations refuses the first message of a broker (server-first-message, RFC 5802) if it asks for more than MaxIterations, or
// for no number that makes sense. Call it before a SCRAM client sees the message. The rest of the message is the client's to check,
// except that an "e=…" in its place is reported as the broker's refusal.
func CheckIterations(serverFirst []byte) error {
	if len(serverFirst) > maxMessage {
		return fmt.Errorf("the broker's first SCRAM message has %d bytes, more than %d", len(serverFirst), maxMessage)
	}
	if text, refused := bytes.CutPrefix(serverFirst, []byte("e=")); refused {
		return fmt.Errorf("the broker refused the SCRAM login: %s", printable(string(text)))
	}
	if bytes.HasPrefix(serverFirst, []byte("m=")) {
		return errors.New("the broker's first SCRAM message wants an extension (m=), and none is supported")
	}
	// The nonce, the salt, the count, in this order. With another "i=" a client might take that one.
	var counts [][]byte
	fields := bytes.Split(serverFirst, []byte(","))
	for _, field := range fields {
		if count, ok := bytes.CutPrefix(field, []byte("i=")); ok {
			counts = append(counts, count)
		}
	}
	if len(counts) == 0 || len(fields) < 3 || !bytes.HasPrefix(fields[2], []byte("i=")) {
		return errors.New("the broker's first SCRAM message has no iteration count (i=) in third place")
	}
	if len(counts) > 1 {
		return errors.New("the broker's first SCRAM message has more than one iteration count (i=)")
	}
	return checkCount(string(counts[0]))
}

func checkCount(count string) error {
	n, err := strconv.ParseUint(count, 10, 64) // No sign, no space, no underscore
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > MaxIterations:
		return fmt.Errorf("the broker asks for %s SCRAM iterations, more than %d", printable(count), MaxIterations)
	case err != nil, n < 1:
		return fmt.Errorf("the broker's SCRAM iteration count \"%s\" is not a positive number", printable(count))
	}
	return nil
}

// printable makes a broker's text fit for errors and logs: 200 bytes of it at most.
func printable(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most] + "…"
	}
	return flow.BrokerText(text)
}
