package sluice

import (
	"encoding/binary"
	"encoding/json"
	"math"
)

// Serializer turns a key or a value into the bytes that are written. topic is the message's, as schema registries want it.
//
// Nil bytes are Kafka's null: no key, or the tombstone that deletes a key from a compacted topic. Empty bytes that are not
// nil are an empty key or value. The bytes are the producer's until the message's outcome.
//
// A Typed calls it on the goroutine that sends, so it may be called concurrently. An error, or a panic, fails the message.
type Serializer[T any] func(topic string, v T) ([]byte, error)

// StringSerializer writes a string's bytes, UTF-8 as a rule: Java's StringSerializer.
func StringSerializer(_ string, s string) ([]byte, error) { return append([]byte{}, s...), nil }

// BytesSerializer writes the bytes as they are, without a copy; nil is null: Java's ByteArraySerializer.
func BytesSerializer(_ string, b []byte) ([]byte, error) { return b, nil }

// Int64Serializer writes 8 bytes, the highest first: Java's LongSerializer.
func Int64Serializer(_ string, n int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, uint64(n)), nil
}

// Int32Serializer writes 4 bytes, the highest first: Java's IntegerSerializer.
func Int32Serializer(_ string, n int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(nil, uint32(n)), nil
}

// Float64Serializer writes the 8 bytes of IEEE 754, the highest first: Java's DoubleSerializer.
func Float64Serializer(_ string, f float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)), nil
}

// JSONSerializer writes what json.Marshal makes of v. That of a nil pointer is the four bytes "null", which is a value: see
// [Nullable] for tombstones.
func JSONSerializer[T any](_ string, v T) ([]byte, error) { return json.Marshal(v) }

// NullSerializer writes null whatever it is given. As the serializer of keys it is for messages without a key.
func NullSerializer(string, any) ([]byte, error) { return nil, nil }

// Nullable makes a serializer of pointers: null for a nil pointer, else what s makes of what it points to.
func Nullable[T any](s Serializer[T]) Serializer[*T] {
	return func(topic string, v *T) ([]byte, error) {
		if v == nil {
			return nil, nil
		}
		return s(topic, *v)
	}
}
