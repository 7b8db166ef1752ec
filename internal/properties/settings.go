// Package properties knows Kafka's settings for producers by name, those of the Java client and those of librdkafka, and puts
// their values into sarama.Config and the options of the root package. The table is one list (table*.go); docs/settings.md, "sluice
// help config", sluice.ConfigFromProperties and the command line are made of it.
//
// Values come in any order. What settings mean for each other (TLS, logins, idempotence) is settled by Finish.
package properties

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/suggest"
)

// Settings takes values one at a time, the last of a name wins, and then all of them are settled by Finish. It is for one
// goroutine.
type Settings struct {
	Conf    *sarama.Config
	Options Options
	// Brokers is bootstrap.servers as it was given.
	Brokers string
	// Ignored are settings, as they were spelled, that do nothing here, and why.
	Ignored [][2]string
	// Given has what was set: paths of sarama.Config, and names of Options.
	Given map[string]bool

	sticky sarama.PartitionerConstructor
	values map[string]string // by Setting.Name
	names  map[string]string // as it was spelled, by Setting.Name
}

// New makes settings on top of conf, which is theirs from here on. sticky is the root package's partitioner.
func New(conf *sarama.Config, sticky sarama.PartitionerConstructor) *Settings {
	return &Settings{Conf: conf, sticky: sticky, Given: map[string]bool{}, values: map[string]string{}, names: map[string]string{}}
}

// SetAll sets all of a map. Its error names each setting that is wrong, in order.
func (s *Settings) SetAll(values map[string]string) error {
	var errs []error
	seen := map[string]string{} // names in the map, by Setting.Name
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if row := Lookup(name); row != nil {
			before, twice := seen[row.Name]
			if twice && row.clean(values[before]) != row.clean(values[name]) {
				errs = append(errs, fmt.Errorf("%s and %s are one setting, and have different values", before, name))
				continue
			}
			seen[row.Name] = name
		}
		if err := s.Set(name, values[name]); err != nil {
			errs = append(errs, named(name, err))
		}
	}
	return errors.Join(errs...)
}

// Set gives a setting a value, by any of its names in any case. Its error does not name the setting, and never has the value of
// a secret.
func (s *Settings) Set(name, value string) error {
	row := Lookup(name)
	if row == nil {
		return s.unknown(name)
	}
	value = row.clean(value)
	if row.check != nil {
		if err := row.check(value); err != nil {
			return err
		}
	}
	if row.set != nil {
		if err := row.set(s, strings.ToLower(name), value); err != nil {
			return err
		}
	}
	s.values[row.Name], s.names[row.Name] = value, name
	return nil
}

// Secret tells whether the value of a setting must not be shown.
func Secret(name string) bool {
	row := Lookup(name)
	if row != nil {
		return row.Secret
	}
	name = strings.ToLower(name)
	return strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "jaas")
}

// unknown is the error for a name that is no setting and no path.
func (s *Settings) unknown(name string) error {
	names := fieldNames(reflect.TypeFor[sarama.Config](), "")
	names = append(names, fieldNames(reflect.TypeFor[Options](), "")...)
	for name := range byName() {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := suggest.Nearest(name, names); len(near) > 0 {
		return fmt.Errorf("there is no setting %s; did you mean %s?", name, strings.Join(near, ", "))
	}
	return fmt.Errorf("there is no setting %s", name)
}

// Finish settles what settings mean for each other, reads the files that they name, and validates the whole.
func (s *Settings) Finish() error {
	if err := s.checkOptions(); err != nil {
		return err
	}
	s.settleIdempotence()
	s.settleBatches()
	s.settleRetries()
	s.settleLevel()
	if err := errors.Join(s.settleSockets(), s.settleTLS(), s.settleSASL()); err != nil {
		return err
	}
	s.logIgnored()
	return s.Config().Validate()
}

// Config is a copy for one producer. That an idempotent one must have a single open request is sarama's rule, not
// Kafka's: it is filled in, as the producer opens the window again where it is safe.
func (s *Settings) Config() *sarama.Config {
	conf := *s.Conf
	if conf.Producer.Idempotent {
		conf.Net.MaxOpenRequests = 1
	}
	return &conf
}

func (s *Settings) checkOptions() error {
	o := &s.Options
	switch {
	case o.BufferMemory < 0 || s.Given["BufferMemory"] && o.BufferMemory == 0:
		return fmt.Errorf("BufferMemory (buffer.memory) %d is not above 0", o.BufferMemory)
	case o.DeliveryTimeout < 0 || s.Given["DeliveryTimeout"] && o.DeliveryTimeout == 0:
		return fmt.Errorf("DeliveryTimeout (delivery.timeout.ms) %v is not above 0", o.DeliveryTimeout)
	case s.Given["ConnectionsMaxIdle"] && o.ConnectionsMaxIdle == 0:
		return errors.New("ConnectionsMaxIdle (connections.max.idle.ms) is 0: it must be above, or below for connections that stay open")
	case s.Given["MaxInFlightPerPartition"] && o.MaxInFlightPerPartition < 1:
		return fmt.Errorf("MaxInFlightPerPartition (max.in.flight.requests.per.connection) %d is not above 0", o.MaxInFlightPerPartition)
	case o.MaxInFlightPerPartition > maxInFlight && s.Given["Producer.Idempotent"] && s.Conf.Producer.Idempotent:
		return fmt.Errorf("max.in.flight.requests.per.connection %d excludes enable.idempotence: brokers remember %d batches",
			o.MaxInFlightPerPartition, maxInFlight)
	}
	o.MaxInFlightPerPartition = min(o.MaxInFlightPerPartition, maxInFlight)
	return nil
}

// maxInFlight is how many batches of a partition brokers tell duplicates of.
const maxInFlight = 5

// settleIdempotence: idempotence that is only recommended gives way to settings that exclude it, as in Java. Who asks for it
// gets sarama's error for them.
func (s *Settings) settleIdempotence() {
	p := &s.Conf.Producer
	if s.Given["Producer.Idempotent"] || p.Transaction.ID != "" {
		return
	}
	if p.RequiredAcks != sarama.WaitForAll || p.Retry.Max == 0 || !s.Conf.Version.IsAtLeast(sarama.V0_11_0_0) {
		p.Idempotent = false
	}
}

// settleBatches: without linger nothing waits until a batch has batch.size bytes.
func (s *Settings) settleBatches() {
	p := &s.Conf.Producer
	if p.Flush.Frequency == 0 && s.has("batch.size") {
		p.Flush.Bytes = 0
	}
}

// settleRetries: with retry.backoff.max.ms the pause doubles up to it.
func (s *Settings) settleRetries() {
	if !s.has("retry.backoff.max.ms") {
		return
	}
	v, _ := millis(s.values["retry.backoff.max.ms"])
	first, most := s.Conf.Producer.Retry.Backoff, min(v.(time.Duration), 24*time.Hour) // so that doubling cannot overflow
	s.Conf.Producer.Retry.BackoffFunc = func(retries, _ int) time.Duration {
		pause := first
		for ; retries > 1 && pause < most; retries-- {
			pause *= 2
		}
		return min(pause, most)
	}
}

// settleLevel: of the levels of the codecs, that of the codec in use counts.
func (s *Settings) settleLevel() {
	if s.has("compression.level") {
		return
	}
	p := &s.Conf.Producer
	given := false
	for _, c := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		row := Lookup("compression." + c.String() + ".level")
		if !s.has(row.Name) {
			continue
		}
		given = true
		if c == p.Compression {
			_ = row.set(s, row.Name, s.values[row.Name]) // was checked
			return
		}
	}
	if given {
		p.CompressionLevel = sarama.CompressionLevelDefault
	}
}

// logIgnored logs and notes what was set and does nothing here, but for what is so by nature.
func (s *Settings) logIgnored() {
	for _, row := range Table {
		if value := s.values[row.Name]; row.Fate == Ignored && value != "" && !row.quiet && !strings.EqualFold(value, row.Default) {
			sarama.Logger.Printf("sluice: the setting %s does nothing here: %s\n", s.names[row.Name], row.Note)
			s.Ignored = append(s.Ignored, [2]string{s.names[row.Name], row.Note})
		}
	}
}

// has tells whether a setting was given, and not as an empty text, which is Kafka's null.
func (s *Settings) has(name string) bool { return s.values[name] != "" }

// name is a setting as it was spelled.
func (s *Settings) name(name string) string {
	if spelled, ok := s.names[name]; ok {
		return spelled
	}
	return name
}

// shown is a setting with its value, for errors.
func (s *Settings) shown(name string) string {
	if row := Lookup(name); row != nil && row.Secret {
		return s.name(name)
	}
	return fmt.Sprintf("%s=%s", s.name(name), s.values[name])
}

// named puts the setting's name before an error.
func named(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }
