package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// A format says what a line of the input means. It is read only.
type format struct {
	delimiter []byte
	whole     bool // each file is one message
	json      bool // each line is a JSON object

	parseHeaders     bool   // a line begins with headers
	separator        []byte // what a line's key ends with; none if empty
	ignoreMissingKey bool
	key              []byte // of messages that have none otherwise; nil: none
	nullEmpty        bool   // empty keys and values are null
	headers          []sarama.RecordHeader
}

// Of lines with headers, as kafka-console-producer's parse.headers has them: "name:value,name:value", a tab, and the rest.
const (
	headersEnd      = "\t"
	headerSeparator = ","
	headerValue     = ":"
)

// anyPartition is the partition of a message whose line names none.
const anyPartition = -1

// A message is what a line of the input stands for. Its bytes are parts of the line, or of the format.
type message struct {
	key, value []byte // nil is null
	headers    []sarama.RecordHeader
	partition  int32     // or anyPartition
	at         time.Time // zero: the time of sending
	seq        int64     // number in the whole input, from 1
}

// size is how many bytes of key and value there are.
func (m *message) size() int64 { return int64(len(m.key) + len(m.value)) }

func sizeOf(msgs []message) (sum int64) {
	for i := range msgs {
		sum += msgs[i].size()
	}
	return sum
}

// A tag is what an Appender keeps of a message besides its bytes: its number, and what its line has named.
type tag int64

const (
	namesPartition tag = 1 << iota
	namesTime
	tagFlags = iota
)

func (m *message) tag() tag {
	t := tag(m.seq) << tagFlags
	if m.partition != anyPartition {
		t |= namesPartition
	}
	if !m.at.IsZero() {
		t |= namesTime
	}
	return t
}

func (t tag) seq() int64 { return int64(t >> tagFlags) }

// messageOf is the message that a record was made of. It keeps the record's bytes.
func messageOf(r sluice.Record, partition int32) message {
	m := message{key: r.Key, value: r.Value, headers: r.Headers, partition: anyPartition, seq: tag(r.Tag).seq()}
	if tag(r.Tag)&namesPartition != 0 {
		m.partition = partition
	}
	if tag(r.Tag)&namesTime != 0 {
		m.at = r.Timestamp
	}
	return m
}

// fill makes the message of a line, but for its number.
func (f *format) fill(m *message, line []byte) error {
	*m = message{headers: f.headers, partition: anyPartition}
	if f.json {
		return f.fillJSON(m, line)
	}
	if f.parseHeaders {
		head, rest, ok := bytes.Cut(line, []byte(headersEnd))
		if !ok {
			return fmt.Errorf("no headers: the line has no tab after them (-parse-headers)")
		}
		var err error
		if m.headers, err = parseHeaders(head, f.headers); err != nil {
			return err
		}
		line = rest
	}
	key := f.key
	if len(f.separator) > 0 {
		k, value, ok := bytes.Cut(line, f.separator)
		switch {
		case ok:
			key, line = k[:len(k):len(k)], value
		case !f.ignoreMissingKey:
			return fmt.Errorf("no key: there is no %q in it (-ignore-missing-key sends it without one)", f.separator)
		}
	}
	f.set(m, key, line)
	return nil
}

// set gives a message its key and value; nil is null.
func (f *format) set(m *message, key, value []byte) {
	if key != nil && (len(key) > 0 || !f.nullEmpty) {
		m.key = key
	}
	if value != nil && (len(value) > 0 || !f.nullEmpty) {
		m.value = value
	}
}

// parseHeaders parses a line's headers. They follow those that every message has.
func parseHeaders(text []byte, all []sarama.RecordHeader) ([]sarama.RecordHeader, error) {
	headers := all[:len(all):len(all)]
	if len(text) == 0 {
		return headers, nil
	}
	for part := range bytes.SplitSeq(text, []byte(headerSeparator)) {
		name, value, ok := bytes.Cut(part, []byte(headerValue))
		if !ok || len(name) == 0 {
			return nil, fmt.Errorf("header %q is not of the form name%svalue", part, headerValue)
		}
		headers = append(headers, sarama.RecordHeader{Key: name, Value: value})
	}
	return headers, nil
}
