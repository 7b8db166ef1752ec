package properties

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What is written, and when it is given up.
var producing = []Setting{
	{
		Name: "acks", Also: []string{"request.required.acks"}, Of: Both, Default: "all", Fate: Sets,
		To: []string{"Producer.RequiredAcks"}, set: into(acks, "Producer.RequiredAcks"),
		Note: "0, 1 or all (-1). Below all, idempotence is off unless enable.idempotence asks for it, which is an error then.",
	},
	{
		Name: "enable.idempotence", Of: Both, Default: "true", Fate: Sets,
		To: []string{"Producer.Idempotent"}, set: into(boolean, "Producer.Idempotent"),
		Note: "librdkafka's default is false.",
	},
	{
		Name: "transactional.id", Of: Both, Fate: Sets,
		To: []string{"Producer.Transaction.ID"}, set: into(anyText, "Producer.Transaction.ID"),
	},
	{
		Name: "transaction.timeout.ms", Of: Both, Default: "60000", Fate: Sets,
		To: []string{"Producer.Transaction.Timeout"}, set: into(from(1, millis), "Producer.Transaction.Timeout"),
	},
	{
		Name: "retries", Also: []string{"message.send.max.retries"}, Of: Both, Default: "2147483647", Fate: Sets,
		To: []string{"Producer.Retry.Max"}, set: into(between(0, math.MaxInt32), "Producer.Retry.Max"),
		Note: "Counts tries that were sent and failed; failed dials and look-ups cost time only. Java and librdkafka count those of " +
			"a batch or message, too. With 0 idempotence is off, as in Java.",
	},
	{
		Name: "retry.backoff.ms", Of: Both, Default: "100", Fate: Sets,
		To: []string{"Producer.Retry.Backoff"}, set: into(from(0, millis), "Producer.Retry.Backoff"),
		Note: "The pause stays the same unless retry.backoff.max.ms is given.",
	},
	{
		Name: "retry.backoff.max.ms", Of: Both, Fate: Sets, To: []string{"Producer.Retry.BackoffFunc"}, check: parsed(from(0, millis)),
		Note: "The pause doubles from retry.backoff.ms up to it. In Java and librdkafka the default is 1000.",
	},
	{
		Name: "delivery.timeout.ms", Also: []string{"message.timeout.ms"}, Of: Both, Default: "120000", Fate: Sets,
		To: []string{"WithDeliveryTimeout"}, set: setDeliveryTimeout,
		Note: "librdkafka's default is 300000. As message.timeout.ms, 0 is for ever.",
	},
	{
		Name: "request.timeout.ms", Of: Both, Default: "10000", Fate: Sets,
		To: []string{"Producer.Timeout", "Net.ReadTimeout"}, set: setRequestTimeout,
		Note: "How long the broker waits for its replicas, and how long its answer is waited for, as in Java; in librdkafka the first " +
			"only. socket.timeout.ms, if given, has the second. Not given, the second is 30000.",
	},
	{
		Name: "max.in.flight.requests.per.connection", Also: []string{"max.in.flight"}, Of: Both, Default: "5", Fate: Sets,
		To:  []string{"WithMaxInFlightPerPartition", "Net.MaxOpenRequests"},
		set: into(between(1, math.MaxInt32), "MaxInFlightPerPartition", "Net.MaxOpenRequests"),
		Note: "With idempotence batches of a partition, 5 at most: more is lowered, or an error beside enable.idempotence=true. Without it, " +
			"requests of a connection, one batch a partition.",
	},
	{
		Name: "partitioner", Of: Librdkafka, Fate: Sets,
		To: []string{"Producer.Partitioner"}, set: setPartitioner,
		Note: "consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random or random; also sticky, round-robin. Not given, " +
			"keys go where Java sends them (murmur2_random). librdkafka's default is consistent_random, sarama's partitions are those of sticky.",
	},
	{
		Name: "partitioner.class", Of: Java, Fate: Sets,
		To: []string{"Producer.Partitioner"}, set: setPartitionerClass,
		Note: "Classes of Kafka itself: RoundRobinPartitioner, UniformStickyPartitioner, internals.DefaultPartitioner (murmur2). " +
			"Others are programs: set Producer.Partitioner.",
	},
	{
		Name: "partitioner.ignore.keys", Of: Java, Default: "false", Fate: Sets, To: []string{"Producer.Partitioner"},
		check: parsed(boolean), set: setIgnoreKeys,
		Note: "Not beside another partitioner.",
	},
}

// How messages get together.
var batching = []Setting{
	{
		Name: "linger.ms", Also: []string{"queue.buffering.max.ms"}, Of: Both, Default: "5", Fate: Sets,
		To: []string{"Producer.Flush.Frequency"}, set: into(from(0, fraction), "Producer.Flush.Frequency"),
		Note: "Decimals such as 0.5 are librdkafka's.",
	},
	{
		Name: "batch.size", Of: Both, Fate: Sets, To: []string{"Producer.Flush.Bytes"}, set: setBatchSize,
		Note: "So many bytes are sent without waiting for linger.ms: those for one broker, in Java and librdkafka those of one partition. " +
			"What bounds a batch is max.request.size. Not given, only linger.ms counts.",
	},
	{
		Name: "batch.num.messages", Of: Librdkafka, Fate: Sets, To: []string{"Producer.Flush.MaxMessages"},
		set:  into(between(1, math.MaxInt32), "Producer.Flush.MaxMessages"),
		Note: "Bounds the messages of a request, in librdkafka those of a batch. Not given, there is no bound.",
	},
	{
		Name: "max.request.size", Also: []string{"message.max.bytes"}, Of: Both, Default: "1048576", Fate: Sets,
		To: []string{"Producer.MaxMessageBytes", "WithMaxRequestBytes"}, set: setMaxRequestSize,
		Note: "Bounds a message and a batch, and, if it is given, a request.",
	},
	{
		Name: "buffer.memory", Of: Java, Default: "33554432", Fate: Sets,
		To: []string{"WithBufferMemory"}, set: into(number, "BufferMemory"),
		Note: "With what a message costs besides its bytes. At least 1024.",
	},
	{
		Name: "queue.buffering.max.kbytes", Of: Librdkafka, Fate: Sets,
		To: []string{"WithBufferMemory"}, set: into(kbytes, "BufferMemory"),
		Note: "As buffer.memory, in units of 1,024 bytes.",
	},
	{
		Name: "compression.type", Also: []string{"compression.codec"}, Of: Both, Default: "lz4", Fate: Sets,
		To: []string{"Producer.Compression"}, set: setCompression,
		Note: "none, gzip, snappy, lz4 or zstd. Java's and librdkafka's default is none.",
	},
	{
		Name: "compression.level", Of: Librdkafka, Default: "-1", Fate: Sets,
		To: []string{"Producer.CompressionLevel"}, set: setLevel(-1, 12),
		Note: "Of gzip and zstd; lz4 has one level here.",
	},
	level("gzip", 1, 9), level("lz4", 1, 17), level("zstd", -131072, 22),
}

func level(codec string, least, most int64) Setting {
	row := Setting{
		Name: "compression." + codec + ".level", Of: Java, Fate: Sets,
		To: []string{"Producer.CompressionLevel"}, set: setLevel(least, most),
		Note: "Where compression.type is " + codec + ".",
	}
	if codec == "lz4" {
		row.Note += " lz4 has one level here."
	}
	return row
}

func setLevel(least, most int64) func(*Settings, string, string) error {
	return func(s *Settings, name, value string) error {
		if value == "-1" && !strings.Contains(name, "zstd") {
			value = fmt.Sprint(defaultLevel)
			return into(number, "Producer.CompressionLevel")(s, name, value)
		}
		return into(between(least, most), "Producer.CompressionLevel")(s, name, value)
	}
}

// inherit is librdkafka's word for a topic that has what its producer has.
func setCompression(s *Settings, name, value string) error {
	if value == "inherit" && name == "compression.codec" {
		return nil
	}
	return into(codec, "Producer.Compression")(s, name, value)
}

func setDeliveryTimeout(s *Settings, name, value string) error {
	if value == "0" && name == "message.timeout.ms" {
		return s.assign("DeliveryTimeout", time.Duration(math.MaxInt64))
	}
	return into(from(0, millis), "DeliveryTimeout")(s, name, value)
}

func setRequestTimeout(s *Settings, name, value string) error {
	paths := []string{"Producer.Timeout"}
	if !s.has("socket.timeout.ms") {
		paths = append(paths, "Net.ReadTimeout")
	}
	return into(from(1, millis), paths...)(s, name, value)
}

// setBatchSize: 0 is for no batches in Java, so nothing waits.
func setBatchSize(s *Settings, name, value string) error {
	if value == "0" {
		value = "1"
	}
	return into(from(0, number), "Producer.Flush.Bytes")(s, name, value)
}

// leastRequest is what WithMaxRequestBytes takes at least.
const leastRequest = 4096

func setMaxRequestSize(s *Settings, name, value string) error {
	if err := into(between(1, math.MaxInt32), "Producer.MaxMessageBytes")(s, name, value); err != nil {
		return err
	}
	return s.assign("MaxRequestBytes", int64(max(s.Conf.Producer.MaxMessageBytes, leastRequest)))
}

func setPartitioner(s *Settings, _, value string) error {
	all := partitionersOfLibrdkafka(s.sticky)
	all["sticky"], all["round-robin"] = s.sticky, partitionersOfSarama(s.sticky)["round-robin"]
	p, err := oneOf(all, value)
	if err != nil {
		return err
	}
	return s.choosePartitioner("partitioner", p)
}

func setPartitionerClass(s *Settings, _, value string) error {
	if value == "" {
		return nil
	}
	p, err := oneOf(partitionersOfJava(s.sticky), value)
	if err != nil {
		return fmt.Errorf("%q is a program, or none that is known here; set Producer.Partitioner of sarama.Config, "+
			"or the setting partitioner to murmur2_random, sticky or round-robin", value)
	}
	return s.choosePartitioner("partitioner.class", p)
}

func setIgnoreKeys(s *Settings, _, value string) error {
	if v, err := boolean(value); err != nil || v == false {
		return err
	}
	return s.choosePartitioner("partitioner.ignore.keys", ignoringKeys(s.sticky))
}
