package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
)

// A jsonMessage is a message as a line of JSON, which -json reads and -dead-letter writes. Each text has a variant in base64
// for bytes that are no UTF-8. What kcat -J prints is read too: its names for value and timestamp, and its flat headers.
type jsonMessage struct {
	Key           json.RawMessage `json:"key,omitempty"`
	KeyBase64     *string         `json:"key_base64,omitempty"`
	Value         json.RawMessage `json:"value,omitempty"`
	ValueBase64   *string         `json:"value_base64,omitempty"`
	Payload       json.RawMessage `json:"payload,omitempty"`
	Headers       json.RawMessage `json:"headers,omitempty"`
	Partition     *int32          `json:"partition,omitempty"`
	Timestamp     json.RawMessage `json:"timestamp,omitempty"`
	TimestampKcat json.RawMessage `json:"ts,omitempty"`

	// Not read: where a message was, and why it failed.
	Topic  json.RawMessage `json:"topic,omitempty"`
	Offset json.RawMessage `json:"offset,omitempty"`
	TSType json.RawMessage `json:"tstype,omitempty"`
	Broker json.RawMessage `json:"broker,omitempty"`
	Source json.RawMessage `json:"source,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

// A jsonHeader is one element of headers. They are an array, as a name may come twice.
type jsonHeader struct {
	Key         string          `json:"key"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *string         `json:"value_base64,omitempty"`
}

// fillJSON makes the message of a line of JSON. A misspelt name is an error, as it would drop what it stands for.
func (f *format) fillJSON(m *message, line []byte) error {
	if !utf8.Valid(line) {
		return errors.New("not a message in JSON: the line is not UTF-8; value_base64 takes bytes")
	}
	var in jsonMessage
	if err := decodeStrictly(line, &in); err != nil {
		return fmt.Errorf("not a message in JSON: %w", err)
	}
	if in.Payload != nil && (in.Value != nil || in.ValueBase64 != nil) {
		return errors.New(`both "value" and "payload" are there`)
	} else if in.Payload != nil {
		in.Value = in.Payload
	}
	if in.Value == nil && in.ValueBase64 == nil {
		return errors.New(`there is no "value"; null is a tombstone`)
	}
	key, err := jsonBytes("key", in.Key, in.KeyBase64)
	if err != nil {
		return err
	}
	if in.Key == nil && in.KeyBase64 == nil {
		key = f.key
	}
	value, err := jsonBytes("value", in.Value, in.ValueBase64)
	if err != nil {
		return err
	}
	if m.headers, err = jsonHeaders(in.Headers, f.headers); err != nil {
		return err
	}
	if in.Partition != nil && *in.Partition >= 0 {
		m.partition = *in.Partition
	}
	if in.Timestamp == nil {
		in.Timestamp = in.TimestampKcat
	}
	if m.at, err = jsonTime(in.Timestamp); err != nil {
		return err
	}
	f.set(m, key, value)
	return nil
}

// decodeStrictly decodes one object that has nothing but known fields.
func decodeStrictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the line is empty")
	case ok && wrong.Field == "":
		return fmt.Errorf("it is a value of type %s, not an object", wrong.Value)
	case ok:
		return fmt.Errorf("%q can't be a value of type %s", wrong.Field, wrong.Value)
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	case string(bytes.TrimSpace(text)) == "null": // which Decode takes for any object
		return errors.New("it is null, not an object")
	}
	// Not d.More, which takes a bracket for the end of a list.
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind it")
	}
	return nil
}

// jsonBytes are the bytes that a field stands for: a text's own; nil for null; for all else its JSON.
func jsonBytes(name string, text json.RawMessage, inBase64 *string) ([]byte, error) {
	switch {
	case text != nil && inBase64 != nil:
		return nil, fmt.Errorf("both %q and %q are there", name, name+"_base64")
	case inBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*inBase64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name+"_base64", err)
		}
		return append([]byte{}, b...), nil
	case text == nil, string(text) == "null":
		return nil, nil
	case text[0] != '"':
		return text, nil
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	return []byte(s), nil
}

// jsonHeaders parses headers in any of three forms: [{"key":"a","value":"b"}], {"a":"b"}, and kcat's ["a","b"]. Those that
// every message has come first.
func jsonHeaders(text json.RawMessage, all []sarama.RecordHeader) ([]sarama.RecordHeader, error) {
	if text == nil || string(text) == "null" {
		return all, nil
	}
	headers := all[:len(all):len(all)]
	var list []json.RawMessage
	if text[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(text))
		d.Token() // the brace; names keep their order
		for d.More() {
			name, err := d.Token()
			var value json.RawMessage
			if err == nil {
				err = d.Decode(&value)
			}
			if err != nil {
				return nil, fmt.Errorf(`"headers": %w`, err)
			}
			b, err := jsonBytes("headers", value, nil)
			if err != nil {
				return nil, err
			}
			headers = append(headers, sarama.RecordHeader{Key: []byte(name.(string)), Value: b})
		}
		return headers, nil
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, errors.New(`"headers" is neither an object nor an array`)
	}
	for i := 0; i < len(list); i++ {
		if list[i][0] == '"' { // kcat's: names and values in turn
			var name string
			if json.Unmarshal(list[i], &name) != nil || i+1 == len(list) {
				return nil, fmt.Errorf(`"headers": %s has no value`, list[i])
			}
			i++
			value, err := jsonBytes("headers", list[i], nil)
			if err != nil {
				return nil, err
			}
			headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: value})
			continue
		}
		var h jsonHeader
		if err := decodeStrictly(list[i], &h); err != nil {
			return nil, fmt.Errorf(`"headers": %w`, err)
		}
		value, err := jsonBytes("value", h.Value, h.ValueBase64)
		if err != nil {
			return nil, fmt.Errorf(`"headers": %w`, err)
		}
		headers = append(headers, sarama.RecordHeader{Key: []byte(h.Key), Value: value})
	}
	return headers, nil
}

// jsonTime parses milliseconds since 1970, or a text as RFC 3339 has it. Without one the time is that of sending.
func jsonTime(text json.RawMessage) (t time.Time, err error) {
	if text == nil || string(text) == "null" {
		return t, nil
	}
	if millis, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return time.UnixMilli(millis), nil
	}
	if json.Unmarshal(text, &t) != nil {
		return t, fmt.Errorf(`"timestamp" %s is neither milliseconds since 1970 nor a time such as "2026-01-31T10:20:30Z"`, text)
	}
	return t, nil
}

// A letter is a message that was not delivered, and why.
type letter struct {
	message
	topic, source, cause string
}

// line is the line of JSON that the message is read from again.
func (l *letter) line() jsonMessage {
	out := jsonMessage{
		Topic: jsonString(l.topic), Source: jsonString(l.source), Error: jsonString(l.cause),
		Value: json.RawMessage("null"),
	}
	if l.key != nil {
		out.Key, out.KeyBase64 = jsonText(l.key)
	}
	if l.value != nil {
		out.Value, out.ValueBase64 = jsonText(l.value)
	}
	if len(l.headers) > 0 {
		headers := make([]jsonHeader, len(l.headers))
		for i, h := range l.headers {
			headers[i].Key = string(h.Key)
			headers[i].Value = json.RawMessage("null")
			if h.Value != nil {
				headers[i].Value, headers[i].ValueBase64 = jsonText(h.Value)
			}
		}
		out.Headers, _ = json.Marshal(headers)
	}
	if l.partition != anyPartition {
		out.Partition = &l.partition
	}
	if !l.at.IsZero() {
		out.Timestamp = json.RawMessage(strconv.FormatInt(l.at.UnixMilli(), 10))
	}
	return out
}

// jsonText is bytes as a text, or in base64 if they are none.
func jsonText(b []byte) (json.RawMessage, *string) {
	if utf8.Valid(b) {
		return jsonString(string(b)), nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

func jsonString(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string can't fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
