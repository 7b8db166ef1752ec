package main

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// settings is what -config and the flags build: sarama's configuration, and the options that sarama has no field for. An
// option that is zero was not given.
type settings struct {
	conf *sarama.Config

	bufferMemory            int64
	deliveryTimeout         time.Duration
	maxInFlightPerPartition int
	connectionsMaxIdle      time.Duration

	given map[string]bool // canonical names that were set
}

// newSettings returns the command line's defaults: what the library recommends, and a dial time-out that suits somebody
// who waits at a terminal.
func newSettings() *settings {
	conf := sluice.NewConfig()
	conf.ClientID = "sluice-cli"
	conf.Net.DialTimeout = 5 * time.Second
	conf.Net.MaxOpenRequests = sarama.NewConfig().Net.MaxOpenRequests // see config
	return &settings{conf: conf, given: map[string]bool{}}
}

// set gives one setting a value. The name is a dotted path of sarama.Config, one of the options below, or one of
// Kafka's own names; case does not matter.
func (s *settings) set(name, value string) error {
	if k, ok := kafkaNames[strings.ToLower(name)]; ok {
		return s.setKafka(k, value)
	}
	canonical, field, err := s.find(name)
	if err != nil {
		return err
	}
	if err := parseInto(field, value); err != nil {
		return err
	}
	s.given[canonical] = true
	return nil
}

// find resolves a name to its canonical spelling and the place that its value goes to.
func (s *settings) find(name string) (canonical string, field reflect.Value, err error) {
	for option, v := range s.options() {
		if strings.EqualFold(option, name) {
			return option, v, nil
		}
	}
	field = reflect.ValueOf(s.conf).Elem()
	var path []string
	for part := range strings.SplitSeq(name, ".") {
		if field.Kind() != reflect.Struct || isValue(field.Type()) {
			return "", field, s.unknown(name)
		}
		f, ok := field.Type().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, part) })
		if !ok || !f.IsExported() {
			return "", field, s.unknown(name)
		}
		path = append(path, f.Name)
		field = field.FieldByIndex(f.Index)
	}
	canonical = strings.Join(path, ".")
	if field.Kind() == reflect.Struct && !isValue(field.Type()) {
		var inner []string
		for _, n := range fieldNames(field.Type(), canonical+".") {
			inner = append(inner, strings.TrimPrefix(n, canonical+"."))
		}
		return "", field, fmt.Errorf("%s is a group of settings: %s", canonical, strings.Join(inner, ", "))
	}
	return canonical, field, nil
}

// options are the settings that are options of the library's constructors, by the options' names.
func (s *settings) options() map[string]reflect.Value {
	return map[string]reflect.Value{
		"BufferMemory":            reflect.ValueOf(&s.bufferMemory).Elem(),
		"DeliveryTimeout":         reflect.ValueOf(&s.deliveryTimeout).Elem(),
		"ConnectionsMaxIdle":      reflect.ValueOf(&s.connectionsMaxIdle).Elem(),
		"MaxInFlightPerPartition": reflect.ValueOf(&s.maxInFlightPerPartition).Elem(),
	}
}

func (s *settings) unknown(name string) error {
	if hint, ok := kafkaHints[strings.ToLower(name)]; ok {
		return errors.New(hint)
	}
	names := fieldNames(reflect.TypeFor[sarama.Config](), "")
	names = append(names, slices.Sorted(maps.Keys(s.options()))...)
	names = append(names, slices.Sorted(maps.Keys(kafkaNames))...)
	if near := nearest(name, names); len(near) > 0 {
		return fmt.Errorf("there is no setting %s; did you mean %s?", name, strings.Join(near, ", "))
	}
	return fmt.Errorf("there is no setting %s", name)
}

// check settles what settings mean for each other, and validates them. Idempotence that is only recommended gives way to
// settings that exclude it.
func (s *settings) check() error {
	p := &s.conf.Producer
	if !s.given["Producer.Idempotent"] && p.Transaction.ID == "" && (p.RequiredAcks != sarama.WaitForAll || !s.conf.Version.IsAtLeast(sarama.V0_11_0_0)) {
		p.Idempotent = false
	}
	if s.bufferMemory < 0 || s.given["BufferMemory"] && s.bufferMemory == 0 {
		return fmt.Errorf("BufferMemory (buffer.memory) %d is not above 0", s.bufferMemory)
	}
	if s.deliveryTimeout < 0 || s.given["DeliveryTimeout"] && s.deliveryTimeout == 0 {
		return fmt.Errorf("DeliveryTimeout (delivery.timeout.ms) %v is not above 0", s.deliveryTimeout)
	}
	if s.given["ConnectionsMaxIdle"] && s.connectionsMaxIdle == 0 {
		return errors.New("ConnectionsMaxIdle (connections.max.idle.ms) is 0: it must be above, or below for connections that stay open")
	}
	return s.config().Validate()
}

// config is a copy for one producer. That an idempotent one must have a single open request is sarama's rule, not
// Kafka's: it is filled in, as our producer opens the window again where it is safe.
func (s *settings) config() *sarama.Config {
	conf := *s.conf
	if conf.Producer.Idempotent {
		conf.Net.MaxOpenRequests = 1
	}
	return &conf
}

// producerOptions are the options that were given. The window of a partition counts for an idempotent producer only.
func (s *settings) producerOptions() (opts []sluice.Option) {
	if s.bufferMemory > 0 {
		opts = append(opts, sluice.WithBufferMemory(s.bufferMemory))
	}
	if s.deliveryTimeout > 0 {
		opts = append(opts, sluice.WithDeliveryTimeout(s.deliveryTimeout))
	}
	if s.connectionsMaxIdle != 0 {
		opts = append(opts, sluice.WithConnectionsMaxIdle(s.connectionsMaxIdle))
	}
	if s.maxInFlightPerPartition > 0 && s.conf.Producer.Idempotent {
		opts = append(opts, sluice.WithMaxInFlightPerPartition(s.maxInFlightPerPartition))
	}
	return opts
}

// isValue tells a struct that one value stands for from one that groups settings.
func isValue(t reflect.Type) bool { return t == reflect.TypeFor[sarama.KafkaVersion]() }

// fieldNames lists the dotted names below a struct that parseInto can set.
func fieldNames(t reflect.Type, prefix string) []string {
	var out []string
	for f := range t.Fields() {
		switch {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct && !isValue(f.Type):
			out = append(out, fieldNames(f.Type, prefix+f.Name+".")...)
		case settable(f.Type):
			out = append(out, prefix+f.Name)
		}
	}
	return out
}

func settable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return true
	}
	return isValue(t) || t == reflect.TypeFor[sarama.PartitionerConstructor]()
}

// parseInto parses text by the type of the field that it goes to.
func parseInto(field reflect.Value, text string) error {
	switch p := field.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 5ms, 1.5s or 2m", text)
		}
		*p = d
		return nil
	case *sarama.RequiredAcks:
		return parseAcks(p, text)
	case *sarama.CompressionCodec:
		if p.UnmarshalText([]byte(strings.ToLower(text))) != nil || text == "" {
			return fmt.Errorf("%q is not one of none, gzip, snappy, lz4, zstd", text)
		}
		return nil
	case *sarama.KafkaVersion:
		v, err := sarama.ParseKafkaVersion(text)
		if err != nil {
			return fmt.Errorf("%q is not a Kafka version such as 3.6.0", text)
		}
		*p = v
		return nil
	case *sarama.PartitionerConstructor:
		return parsePartitioner(p, text)
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		field.SetBool(b)
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number that fits", text)
		}
		field.SetInt(n)
		return nil
	}
	return fmt.Errorf("its type, %v, has no values on a command line", field.Type())
}

func parseAcks(p *sarama.RequiredAcks, text string) error {
	switch strings.ToLower(text) {
	case "none", "0", "noresponse":
		*p = sarama.NoResponse
	case "leader", "1", "waitforlocal":
		*p = sarama.WaitForLocal
	case "all", "-1", "waitforall":
		*p = sarama.WaitForAll
	default:
		return fmt.Errorf("%q is not one of none, leader, all", text)
	}
	return nil
}

var partitioners = map[string]sarama.PartitionerConstructor{
	"hash":           sarama.NewHashPartitioner,
	"reference-hash": sarama.NewReferenceHashPartitioner,
	"crc":            sarama.NewConsistentCRCHashPartitioner,
	"murmur2":        sarama.NewMurmur2Partitioner,
	"random":         sarama.NewRandomPartitioner,
	"round-robin":    sarama.NewRoundRobinPartitioner,
	"sticky":         sluice.NewStickyPartitioner,
}

func parsePartitioner(p *sarama.PartitionerConstructor, text string) error {
	c, ok := partitioners[strings.ToLower(text)]
	if !ok {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(slices.Sorted(maps.Keys(partitioners)), ", "))
	}
	*p = c
	return nil
}
