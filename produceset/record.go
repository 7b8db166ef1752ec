package produceset

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// maxRecordOverhead bounds what a record takes beyond key, value and headers: attributes, the timestamp delta, and five
// 32-bit varints (the length, the offset delta, the lengths of key and value, the number of headers). A header takes two
// more such varints.
const (
	maxVarint32       = 5
	maxVarint64       = 10
	maxRecordOverhead = 5*maxVarint32 + maxVarint64 + 1
	maxHeaderOverhead = 2 * maxVarint32
)

// RecordBound is the upper bound of a record's encoded bytes, counted like sarama's ProducerMessage.ByteSize(2). Admission
// reserves memory by it and compares it with Producer.MaxMessageBytes. It calls Length of the user's own encoders. If that
// panics, the caller must recover.
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
	// It may be wrong. If it says too little, that is found out when the record is encoded.
	return min(max(enc.Length(), 0), math.MaxInt32)
}

// payload is a key or a value as it will be written. view is what the encoder holds, bytes or string, without a conversion;
// it is valid while the record is being appended. length is what is written as its length: -1 is null. Three words stay in
// registers.
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

// payloadOf is the payload of sarama's own encoders, which need no call and can't fail. For the user's own ones, own is true
// and they have to be called.
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

// fields are what is encoded of a message.
type fields struct {
	key, value payload
	headers    []sarama.RecordHeader
	timestamp  int64 // milliseconds
}

// lookUp fills in the fields from a message. If own is true, key and value are not complete: see encodeOwn.
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

// encodeOwn returns key and value of a message with an encoder of the user's own. A panic becomes an error. Errors name the
// topic and whether it was key or value.
//
// If the Lengths of the encoders are beyond room, it returns ErrFull before anything is encoded. So a message whose batch
// has to be closed first is still encoded once. A negative room means that the batch takes the record in any case.
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
	return flow.Invalid(flow.Errorf("encoding the %s of a message to topic %q: %w", part, msg.Topic, flow.External(cause)))
}
