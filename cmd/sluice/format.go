package main

import (
	"bytes"
	"fmt"

	"github.com/IBM/sarama"
)

// A format says what a line of the input means. It is read only.
type format struct {
	topic     string
	partition int32 // the manual partitioner's; otherwise ignored
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

// fill makes the message of a line. The message keeps parts of the line.
func (f *format) fill(m *sarama.ProducerMessage, o *origin, line []byte) error {
	m.Topic, m.Partition, m.Headers = f.topic, f.partition, f.headers
	if f.json {
		return f.fillJSON(m, o, line)
	}
	if f.parseHeaders {
		head, rest, ok := bytes.Cut(line, []byte(headersEnd))
		if !ok {
			return fmt.Errorf("no headers: the line has no tab after them (-parse-headers)")
		}
		var err error
		if m.Headers, err = parseHeaders(head, f.headers); err != nil {
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
func (f *format) set(m *sarama.ProducerMessage, key, value []byte) {
	if key != nil && (len(key) > 0 || !f.nullEmpty) {
		m.Key = sarama.ByteEncoder(key)
	}
	if value != nil && (len(value) > 0 || !f.nullEmpty) {
		m.Value = sarama.ByteEncoder(value)
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
