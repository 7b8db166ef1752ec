package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const saslFlexible = 2 // The first version of SaslAuthenticate with compact fields and tags

// longestSASLAnswer bounds each answer of a login: sarama's Broker takes as much memory as a broker claims.
const longestSASLAnswer = 1 << 20

// saslTap lies between the connection and the sarama.Broker that authenticates. It refuses answers that claim to be too long.
// It reads the session's lifetime from the answers to SaslAuthenticate as they pass (KIP-368), since sarama does not export
// it. It keeps the connection open when the Broker is closed. The Broker's writes and reads alternate, with a channel
// operation between them, so the fields need no lock.
type saslTap struct {
	net.Conn
	released atomic.Bool // The connection no longer belongs to the Broker
	bare     bool        // Handshake v0: bare tokens follow, of which nothing is read
	framed   bool        // With bare: the next answer is not, it is the handshake's
	plain    bool        // There is no TLS below
	metrics  *connMetrics
	answered func(request string, version int16, size int64, took time.Duration) // Told of each answer; nil: nobody

	header        [4]byte // Of the answer under way, its length
	headerLen     int
	length, left  int64 // Of the answer, after its header; what is to come of it
	key, version  int16 // Of the open request
	correlationID int32
	sent          time.Time // When the open request was written
	answer        []byte    // As far as it has arrived
	accepted      bool      // The last answer to SaslAuthenticate was no refusal
	lifetime      time.Duration
	since         time.Time // When the lifetime began, or somewhat before
	code          int16     // Of the last answer
	message       string    // With it
}

// Write reads the header of the request: sarama writes each with one call.
func (t *saslTap) Write(p []byte) (int, error) {
	t.sent = time.Now()
	if !t.bare && len(p) >= 12 {
		t.key = int16(binary.BigEndian.Uint16(p[4:]))
		t.version = int16(binary.BigEndian.Uint16(p[6:]))
		t.correlationID = int32(binary.BigEndian.Uint32(p[8:]))
		t.answer = t.answer[:0]
		t.metrics.protocol(t.key)
	}
	return t.Conn.Write(p)
}

func (t *saslTap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if tooLong := t.checkLength(p[:n]); tooLong != nil {
		return 0, tooLong
	}
	if !t.bare && t.key == keySASLAuthenticate {
		t.answer = append(t.answer, p[:n]...)
		t.readAnswer()
	}
	return n, err
}

// checkLength reads the lengths that the answers, bare ones too, begin with. Of a handshake v0 shorter than its correlation id
// sarama would make one of 4 GiB.
func (t *saslTap) checkLength(p []byte) error {
	for len(p) > 0 {
		if t.left > 0 {
			n := min(t.left, int64(len(p)))
			t.left -= n
			p = p[n:]
			if t.left == 0 {
				t.logAnswered()
			}
			continue
		}
		n := copy(t.header[t.headerLen:], p)
		t.headerLen += n
		p = p[n:]
		if t.headerLen < len(t.header) {
			return nil
		}
		t.headerLen = 0
		length := binary.BigEndian.Uint32(t.header[:])
		least := uint32(4) // the correlation id
		if t.bare && !t.framed {
			least = 0
		}
		t.framed = false
		switch {
		case t.plain && isTLSRecord(t.header[:]):
			return errTLSPort
		case length < least || length > longestSASLAnswer:
			return fmt.Errorf("%w: length %d in a login, at most %d", ErrMalformedAnswer, length, longestSASLAnswer)
		}
		t.length, t.left = int64(length), int64(length)
		if length == 0 {
			t.logAnswered()
		}
	}
	return nil
}

// logAnswered logs a request whose answer is complete.
func (t *saslTap) logAnswered() {
	if t.answered == nil {
		return
	}
	request, version := "SASL token", int16(-1)
	if !t.bare {
		request, version = kmsg.NameForKey(t.key), t.version
	}
	t.answered(request, version, t.length+4, time.Since(t.sent))
}

// readAnswer takes the lifetime from a complete answer. sarama refuses answers that make no sense.
func (t *saslTap) readAnswer() {
	if len(t.answer) < 8 {
		return
	}
	size := int64(int32(binary.BigEndian.Uint32(t.answer)))
	if size < 4 || int64(len(t.answer)) < 4+size || int32(binary.BigEndian.Uint32(t.answer[4:])) != t.correlationID {
		return
	}
	d := decoder{src: t.answer[8 : 4+size], flexible: t.version >= saslFlexible}
	d.tags(nil) // of the header
	code, message := d.int16(), cutText(d.nullableString())
	d.bytes() // for the mechanism
	millis := int64(0)
	if t.version >= 1 {
		millis = d.int64()
	}
	d.tags(nil)
	if d.bad {
		return
	}
	t.code, t.message, t.accepted = code, message, code == 0
	if t.accepted {
		t.since = t.sent
		t.lifetime = time.Duration(min(max(millis, 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
}

// refusal makes errors.As find the sarama.KError of a refused login in err, which is from sarama's Broker.
func (t *saslTap) refusal(err error) error {
	code := sarama.KError(t.code)
	if t.code == 0 || !errors.Is(err, code) || t.message == "" {
		return err
	}
	return fmt.Errorf("%w: %s", code, t.message)
}

// Kafka looks at the clock when it reads a request, and reads one of a connection after the other. So what was written a
// moment before the end may be refused by closing the connection. In short sessions that moment needs more room.
const (
	loginRoom    = time.Second // for a login beside the connection in use
	pipelineRoom = time.Second // for the requests that are open at the end
)

// session is the login's end, counted from when its last request was written: the broker's clock began after that. It is
// renewed after 85 to 95 % of the lifetime, as in Kafka's own client, or sooner if that leaves less than 2 s. jitter, from
// 0 to 1, keeps all connections from being replaced at once.
func (t *saslTap) session(jitter float64) session {
	if t.lifetime <= 0 {
		return session{}
	}
	part := func(share float64) time.Duration { return time.Duration(float64(t.lifetime) * share) }
	short := t.lifetime - loginRoom - pipelineRoom
	renew := min(part(0.85+0.1*jitter), time.Duration(float64(short)*(0.9+0.1*jitter)))
	over := min(part(0.98), t.lifetime-pipelineRoom)
	return session{t.since.Add(max(renew, part(0.5))), t.since.Add(max(over, part(0.5)))}
}

func (t *saslTap) Close() error {
	if t.released.Load() {
		return nil
	}
	return t.Conn.Close()
}
