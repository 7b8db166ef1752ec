package sluice

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
)

// NewConfig returns sarama's default configuration with the settings that we recommend: acknowledged by all replicas
// in sync, idempotent, a linger of 5 ms, batches of up to 1 MiB (MaxMessageBytes), lz4, the sticky partitioner, and
// retries that only the delivery timeout ends. That is also so for a topic that is not known yet: through New a message
// waits for it, with look-ups Producer.Retry.Backoff apart. Both Return.Successes and Return.Errors are as sarama has
// them: errors only.
//
// The result is the caller's. A producer keeps a copy of what it is given.
func NewConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "sluice"
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Idempotent = true
	conf.Net.MaxOpenRequests = 1 // sarama's Validate insists; WithMaxInFlightPerPartition is what counts
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Partitioner = NewStickyPartitioner
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	conf.Producer.Retry.Max = math.MaxInt32
	return conf
}

// checkConfig refuses what the producer can't do. It changes conf: Validate does, as in sarama's own constructors, and a
// MaxMessageBytes that no request has room for is lowered.
func checkConfig(conf *sarama.Config, log *flow.Log) error {
	if err := conf.Validate(); err != nil {
		return err
	}
	switch {
	case !conf.ApiVersionsRequest && !conf.Version.IsAtLeast(sarama.V0_11_0_0):
		return configError("Version %v is below 0.11 and ApiVersionsRequest is off: "+
			"brokers of that age have no record batches, which is all that is written here", conf.Version)
	case conf.Producer.RequiredAcks > 1:
		return configError("Producer.RequiredAcks %d: brokers since 0.11 take -1, 0 or 1", conf.Producer.RequiredAcks)
	case conf.MetricRegistry == nil:
		return configError("MetricRegistry must not be nil")
	}
	limitMessageBytes(conf, log)
	warnOfReadTimeout(conf, log)
	return nil
}

// logIgnored logs what ConfigFromProperties has written to sarama.Logger in the producer's own log, too.
func logIgnored(settings [][2]string, log *flow.Log) {
	for _, s := range settings {
		log.Always(flow.SettingIgnored, slog.String("setting", s[0]), slog.String("cause", s[1]))
	}
}

// limitMessageBytes lowers MaxMessageBytes to what a request has room for. sarama accepts more, too, and ignores it.
func limitMessageBytes(conf *sarama.Config, log *flow.Log) {
	limit := int(sarama.MaxRequestSize) - brokerproducer.RequestSlack
	if conf.Producer.MaxMessageBytes > limit {
		log.Printf("sluice: Producer.MaxMessageBytes is lowered from %d to %d, so that a message fits into a request of sarama.MaxRequestSize\n",
			conf.Producer.MaxMessageBytes, limit)
		log.Always(flow.SettingAdjusted, slog.String("setting", "Producer.MaxMessageBytes"),
			slog.Int("from", conf.Producer.MaxMessageBytes), slog.Int("to", limit), slog.String("cause", "a request has up to sarama.MaxRequestSize"))
		conf.Producer.MaxMessageBytes = limit
	}
}

// warnOfReadTimeout logs that the producer gives up on a request while the broker may still work on it.
func warnOfReadTimeout(conf *sarama.Config, log *flow.Log) {
	read, broker := conf.Net.ReadTimeout, conf.Producer.Timeout
	if conf.Producer.RequiredAcks == sarama.WaitForAll && read > 0 && read < broker {
		log.Printf("sluice: Net.ReadTimeout (%v) is shorter than Producer.Timeout (%v), the time that "+
			"a broker waits for its replicas: batches may be sent again, or fail, that are being written\n", read, broker)
		log.Always(flow.SettingDoubtful, slog.String("setting", "Net.ReadTimeout"), slog.Duration("value", read),
			slog.String("cause", fmt.Sprintf("it is shorter than Producer.Timeout (%v), the time that a broker waits for its replicas", broker)))
	}
}
