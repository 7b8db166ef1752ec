// Package telemetrytest reads what package telemetry pushes, for tests.
package telemetrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"google.golang.org/protobuf/encoding/protowire"
)

// Data is a push.
type Data struct {
	Resource       map[string]string // attributes
	Scope, Version string
	Metrics        []Metric
}

// Metric is a metric with one value.
type Metric struct {
	Name, Unit  string
	Sum         bool // else it is a gauge
	Temporality uint64
	Monotonic   bool
	Start, Time uint64 // nanoseconds since 1970
	Int         int64
	Double      float64
	Node        int64 // the attribute node_id; -1: none
}

// Value is the metric's value, of either kind.
func (m *Metric) Value() float64 { return m.Double + float64(m.Int) }

// Find returns the metrics with a name.
func (d *Data) Find(name string) (found []Metric) {
	for _, m := range d.Metrics {
		if m.Name == name {
			found = append(found, m)
		}
	}
	return found
}

// Push reads the Metrics of a PushTelemetry, compressed with one of Kafka's codecs.
func Push(codec int8, body []byte) (*Data, error) {
	plain, err := decompress(codec, body)
	if err != nil {
		return nil, err
	}
	return Decode(plain)
}

func decompress(codec int8, body []byte) ([]byte, error) {
	var r io.Reader
	switch codec {
	case 0:
		return body, nil
	case 1:
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r = z
	case 2:
		return xerial.Decode(body)
	case 3:
		r = lz4.NewReader(bytes.NewReader(body))
	case 4:
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("codec %d", codec)
	}
	return io.ReadAll(r)
}

// Decode reads OTLP's MetricsData. A field that package telemetry does not write is an error.
func Decode(b []byte) (*Data, error) {
	d := &Data{Resource: map[string]string{}}
	err := fields(b, "MetricsData", func(n protowire.Number, v value) error {
		if n != 1 {
			return errUnknown
		}
		return fields(v.bytes, "ResourceMetrics", func(n protowire.Number, v value) error {
			switch n {
			case 1:
				return fields(v.bytes, "Resource", func(n protowire.Number, v value) error {
					if n != 1 {
						return errUnknown
					}
					return attribute(v.bytes, func(key string, v value) { d.Resource[key] = string(v.bytes) })
				})
			case 2:
				return fields(v.bytes, "ScopeMetrics", d.scope)
			}
			return errUnknown
		})
	})
	return d, err
}

func (d *Data) scope(n protowire.Number, v value) error {
	switch n {
	case 1:
		return fields(v.bytes, "InstrumentationScope", func(n protowire.Number, v value) error {
			switch n {
			case 1:
				d.Scope = string(v.bytes)
			case 2:
				d.Version = string(v.bytes)
			default:
				return errUnknown
			}
			return nil
		})
	case 2:
		m := Metric{Node: -1}
		err := fields(v.bytes, "Metric", m.field)
		d.Metrics = append(d.Metrics, m)
		return err
	}
	return errUnknown
}

func (m *Metric) field(n protowire.Number, v value) error {
	switch n {
	case 1:
		m.Name = string(v.bytes)
	case 3:
		m.Unit = string(v.bytes)
	case 5, 7:
		m.Sum = n == 7
		return fields(v.bytes, "Gauge or Sum", func(n protowire.Number, v value) error {
			switch {
			case n == 1:
				return fields(v.bytes, "NumberDataPoint", m.point)
			case n == 2 && m.Sum:
				m.Temporality = v.number
			case n == 3 && m.Sum:
				m.Monotonic = v.number == 1
			default:
				return errUnknown
			}
			return nil
		})
	default:
		return errUnknown
	}
	return nil
}

func (m *Metric) point(n protowire.Number, v value) error {
	switch n {
	case 2:
		m.Start = v.number
	case 3:
		m.Time = v.number
	case 4:
		m.Double = math.Float64frombits(v.number)
	case 6:
		m.Int = int64(v.number)
	case 7:
		return attribute(v.bytes, func(key string, v value) {
			if key == "node_id" {
				m.Node = int64(v.number)
			}
		})
	default:
		return errUnknown
	}
	return nil
}

func attribute(b []byte, is func(key string, v value)) error {
	var key string
	return fields(b, "KeyValue", func(n protowire.Number, v value) error {
		switch n {
		case 1:
			key = string(v.bytes)
		case 2:
			return fields(v.bytes, "AnyValue", func(n protowire.Number, v value) error {
				if n != 1 && n != 3 {
					return errUnknown
				}
				is(key, v)
				return nil
			})
		default:
			return errUnknown
		}
		return nil
	})
}

// value is a field's value: a number, or bytes.
type value struct {
	number uint64
	bytes  []byte
}

var errUnknown = errors.New("unknown field")

// fields calls field for each field of a message.
func fields(b []byte, message string, field func(protowire.Number, value) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var v value
		switch kind {
		case protowire.VarintType:
			v.number, size = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v.number, size = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.bytes, size = protowire.ConsumeBytes(b)
		default:
			return fmt.Errorf("%s %d: wire type %d", message, n, kind)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := field(n, v); err != nil {
			return fmt.Errorf("%s %d: %w", message, n, err)
		}
	}
	return nil
}
