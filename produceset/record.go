package produceset

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// maxRecordOverhead bounds what a record takes beyond key, value and headers: attributes, the timestamp's delta, and five
// 32-bit varints (the record's length, the offset's delta, the lengths of key and value, the number of headers). A header
// takes two more such varints.
const (
	maxVarint32       = 5
	maxVarint64       = 10
	maxRecordOverhead = 5*maxVarint32 + maxVarint64 + 1
	maxHeaderOverhead = 2 * maxVarint32
)

// RecordBound is the upper bound of a record's encoded bytes, counted as sarama's ProducerMessage.ByteSize(2) counts: what
// admission reserves and what Producer.MaxMessageBytes is compared with. It calls Length of key and value where they are
// encoders of the user's own; those may panic, which is the caller's to recover.
func RecordBound(msg *sarama.ProducerMessage) int {
	size := maxRecordOverhead
	for i := range msg.Headers {
		size += len(msg.Headers[i].Key) + len(msg.Headers[i].Value) + maxHeaderOverhead
	}
	return size + encoderLength(msg.Key) + encoderLength(msg.Value)
}

func encoderLength(enc sarama.Encoder) int {
	switch e := enc.(type) {
	case nil:
		return 0
	case sarama.ByteEncoder:
		return len(e)
	case sarama.StringEncoder:
		return len(e)
	}
	// It is the user's word: what it says too little is found out when the record is encoded.
	return min(max(enc.Length(), 0), math.MaxInt32)
}

// payload is a key or a value as it will be written. It is a view of what the encoder holds, bytes or string, valid while
// the record is being appended: neither is converted, and three words stay in registers. length is what the record's
// varint says: -1 is null.
type payload struct {
	view   string
	length int
}

// bytesPayload is null for a nil slice and empty for an empty one, as in sarama.
func bytesPayload(b []byte) payload {
	if b == nil {
		return payload{length: -1}
	}
	return payload{view: unsafe.String(unsafe.SliceData(b), len(b)), length: len(b)}
}

// payloadOf looks through the encoders of sarama itself, which neither fail nor need a call. For any other, own is true
// and the payload is the user's to encode.
func payloadOf(enc sarama.Encoder) (f payload, own bool) {
	switch e := enc.(type) {
	case sarama.ByteEncoder:
		return bytesPayload(e), false
	case sarama.StringEncoder:
		return payload{view: string(e), length: len(e)}, false
	case nil:
		return payload{length: -1}, false
	}
	return payload{}, true
}

// fields is what a message has to be encoded, looked up.
type fields struct {
	key, value payload
	headers    []sarama.RecordHeader
	timestamp  int64 // milliseconds
}

// lookUp fills the fields in from a message. Where own is true, key and value are not complete: encoders of the user's own
// have to be asked.
func (f *fields) lookUp(msg *sarama.ProducerMessage, nowMillis int64) (own bool) {
	f.headers, f.timestamp = msg.Headers, nowMillis
	if !msg.Timestamp.IsZero() {
		f.timestamp = msg.Timestamp.UnixMilli()
	}
	var ownKey, ownValue bool
	f.key, ownKey = payloadOf(msg.Key)
	f.value, ownValue = payloadOf(msg.Value)
	return ownKey || ownValue
}

// bodySize is the encoded size of a record behind its length; the arguments are what its varints say. Batch.encode has it
// once more, as a call for each record would cost too much.
func (f *fields) bodySize(timestampDelta, offsetDelta, keyLength, valueLength uint64) int {
	size := 1 + varintSize(timestampDelta) + varintSize(offsetDelta) +
		varintSize(keyLength) + len(f.key.view) + varintSize(valueLength) + len(f.value.view) + 1
	if len(f.headers) > 0 {
		size += headersSize(f.headers) - 1
	}
	return size
}

// encodeOwn returns key and value of a message where either's encoder is the user's own. Where the lengths that the
// encoders tell are beyond room the answer is ErrFull before anything is encoded, so that honest encoders encode once a
// message even if a batch has to be closed first; room is negative where the batch must take the record in any case. A
// panic becomes an error. Errors name the topic and the part.
func encodeOwn(msg *sarama.ProducerMessage, room int) (key, value payload, err error) {
	part := "key"
	defer func() {
		if v := recover(); v != nil {
			cause, ok := v.(error)
			if !ok {
				cause = fmt.Errorf("%v", v)
			}
			err = encodeError(part, msg, fmt.Errorf("the encoder panicked: %w", cause))
		}
	}()
	if room >= 0 {
		length := encoderLength(msg.Key)
		part = "value"
		if length+encoderLength(msg.Value) > room {
			return key, value, ErrFull
		}
	}
	part = "key"
	if key, err = encode(msg.Key); err != nil {
		return key, value, encodeError(part, msg, err)
	}
	part = "value"
	if value, err = encode(msg.Value); err != nil {
		return key, value, encodeError(part, msg, err)
	}
	return key, value, nil
}

func encode(enc sarama.Encoder) (payload, error) {
	f, own := payloadOf(enc)
	if !own {
		return f, nil
	}
	b, err := enc.Encode()
	return bytesPayload(b), err
}

func encodeError(part string, msg *sarama.ProducerMessage, cause error) error {
	return flow.Errorf("encoding the %s of a message to topic %q: %w", part, msg.Topic, flow.External(cause))
}

// zigzag maps signed to unsigned so that small negative numbers stay short; all varints of a record are signed.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// varintSize is the number of bytes that u takes, seven bits a byte: (9*bits+64)/64 is the rounded up seventh for all of
// 0 to 64 bits, without a branch.
func varintSize(u uint64) int { return (9*bits.Len64(u) + 64) / 64 }

// putVarint writes u at p[i:] and returns the index behind it. Short enough to be inlined for the one byte that most
// take.
func putVarint(p []byte, i int, u uint64) int {
	if u < 0x80 {
		p[i] = byte(u)
		return i + 1
	}
	return putLongVarint(p, i, u)
}

func putLongVarint(p []byte, i int, u uint64) int {
	for u >= 0x80 {
		p[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	p[i] = byte(u)
	return i + 1
}

// headersSize is the encoded size of a record's headers, their number included.
func headersSize(headers []sarama.RecordHeader) int {
	size := varintSize(zigzag(int64(len(headers))))
	for i := range headers {
		h := &headers[i]
		size += varintSize(zigzag(int64(len(h.Key)))) + len(h.Key)
		size += varintSize(zigzag(int64(headerValueLength(h)))) + len(h.Value)
	}
	return size
}

// putHeaders writes a record's headers, their number first, at p[i:], and returns the index behind them. A nil value is
// null. A header's key can't be null (a broker refuses the whole batch), so a nil key is written as an empty one.
func putHeaders(p []byte, i int, headers []sarama.RecordHeader) int {
	i = putVarint(p, i, zigzag(int64(len(headers))))
	for j := range headers {
		h := &headers[j]
		i = putVarint(p, i, zigzag(int64(len(h.Key))))
		i += copy(p[i:], h.Key)
		i = putVarint(p, i, zigzag(int64(headerValueLength(h))))
		i += copy(p[i:], h.Value)
	}
	return i
}

func headerValueLength(h *sarama.RecordHeader) int {
	if h.Value == nil {
		return -1
	}
	return len(h.Value)
}
