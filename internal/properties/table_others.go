package properties

import "slices"

// Settings that are known and do nothing here, without harm.
var withoutMeaning = slices.Concat(
	[]Setting{
		{Name: "key.serializer", Of: Java, Fate: Refused, check: only("keys are bytes here, only the "+javaSerializers+" that leave them so do: encode them in the program", bytesSerializers...),
			Note: "Messages are bytes here: ByteArray, ByteBuffer, Bytes and StringSerializer are taken and do nothing, others are refused."},
		{Name: "value.serializer", Of: Java, Fate: Refused, check: only("values are bytes here, only the "+javaSerializers+" that leave them so do: encode them in the program", bytesSerializers...),
			Note: "As key.serializer."},
	},
	ignored(Java, "Metrics are in Config.MetricRegistry, under sarama's names.",
		"metric.reporters", "metrics.num.samples", "metrics.recording.level", "metrics.sample.window.ms", "auto.include.jmx.reporter"),
	ignored(Java, "Input waits for memory without a bound, Produce and SendMessageContext until their context ends.", "max.block.ms"),
	ignored(Both, "Dials to one broker are paced: 50 ms after a failed one, doubling to a second.",
		"reconnect.backoff.ms", "reconnect.backoff.max.ms"),
	ignored(Librdkafka, "Dials to one broker are paced: 50 ms after a failed one, doubling to a second.", "reconnect.backoff.jitter.ms"),
	ignored(Java, "Each dial has socket.connection.setup.timeout.ms.", "socket.connection.setup.timeout.max.ms"),
	ignored(Java, "The system chooses the size.", "send.buffer.bytes", "receive.buffer.bytes"),
	ignored(Librdkafka, "The system chooses the size.", "socket.send.buffer.bytes", "socket.receive.buffer.bytes"),
	ignored(Java, "The sticky partitioner counts bytes (KIP-794), and does not look at brokers' queues.",
		"partitioner.adaptive.partitioning.enable", "partitioner.availability.timeout.ms", "partitioner.rack.aware"),
	ignored(Librdkafka, "The sticky partitioner moves on after 16 KiB (KIP-794).", "sticky.partitioning.linger.ms"),
	ignored(Both, "The addresses given to the constructor are always tried again.",
		"metadata.recovery.strategy", "metadata.recovery.rebootstrap.trigger.ms"),
	ignored(Java, "Topics that nothing is written to are not looked up again.", "metadata.max.idle.ms"),
	ignored(Librdkafka, "A topic without a leader is looked up beside each pause of retry.backoff.ms.",
		"topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.fast.cnt", "topic.metadata.propagation.max.ms"),
	ignored(Librdkafka, "A program writes to the topics that it names.", "topic.blacklist"),
	ignored(Librdkafka, "buffer.memory bounds what waits.", "queue.buffering.max.messages", "queue.buffering.backpressure.threshold"),
	ignored(Librdkafka, "Values beyond 8 KiB that are not compressed are written without a copy.", "message.copy.max.bytes"),
	ignored(Librdkafka, "Answers of brokers are bounded by sarama.MaxResponseSize.", "receive.message.max.bytes"),
	ignored(Librdkafka, "Names are looked up for each dial.", "broker.address.ttl"),
	ignored(Librdkafka, "TCP_NODELAY is always on.", "socket.nagle.disable"),
	ignored(Librdkafka, "A request without an answer ends its connection.", "socket.max.fails"),
	ignored(Librdkafka, "Net.ReadTimeout bounds it.", "api.version.request.timeout.ms"),
	ignored(Librdkafka, "Each connection asks anew.", "api.version.fallback.ms"),
	ignored(Librdkafka, "Producer.Return and WithDeliveryReport say what is reported.", "delivery.report.only.error", "produce.offset.report"),
	ignored(Librdkafka, "sarama.Logger is told, if the program sets it.",
		"debug", "log_level", "log.queue", "log.thread.name", "log.connection.close", "statistics.interval.ms", "enabled_events"),
	ignored(Librdkafka, "It is about librdkafka itself.",
		"builtin.features", "enable.random.seed", "internal.termination.signal", "socket.blocking.max.ms"),
)

const javaSerializers = "serializers of Kafka"

var bytesSerializers = func() (all []string) {
	for _, class := range []string{"ByteArraySerializer", "ByteBufferSerializer", "BytesSerializer", "StringSerializer"} {
		all = append(all, "org.apache.kafka.common.serialization."+class)
	}
	return all
}()

// Settings that would break a promise if they were ignored.
var refusedSettings = slices.Concat(
	refused(Java, "interceptors are programs: set Producer.Interceptors of sarama.Config", nil, "interceptor.classes"),
	refused(Java, "values are taken as they are: resolve them before", nil, "config.providers"),
	refused(Java, "transactions with a second phase (KIP-939) are not supported", []string{"false"}, "transaction.two.phase.commit.enable"),
	refused(Both, "addresses are dialled as they are given: give the canonical names", []string{"use_all_dns_ips", "default"}, "client.dns.lookup"),
	refused(Librdkafka, "a message that fails does not end the producer: see WithDeliveryReport", []string{"false"}, "enable.gapless.guarantee"),
	refused(Librdkafka, "the order of a partition is that of Input", []string{"fifo"}, "queuing.strategy"),
	refused(Librdkafka, "plugins are programs of librdkafka's", nil, "plugin.library.paths"),
	refused(Librdkafka, "it is a function, which a text can't be", nil,
		"background_event_cb", "closesocket_cb", "connect_cb", "default_topic_conf", "dr_cb", "dr_msg_cb", "error_cb", "interceptors", "log_cb",
		"msg_order_cmp", "oauthbearer_token_refresh_cb", "opaque", "open_cb", "partitioner_cb", "resolve_cb", "socket_cb",
		"ssl.certificate.verify_cb", "ssl_ca", "ssl_certificate", "ssl_engine_callback_data", "ssl_key", "stats_cb", "throttle_cb"),
)

// consumers are settings of consumers, which share files with producers.
func consumers() []Setting {
	all := ignored(Both, "It is about consumers.",
		"auto.commit.enable", "auto.commit.interval.ms", "auto.offset.reset", "check.crcs", "consume.callback.max.messages",
		"coordinator.query.interval.ms", "default.api.timeout.ms", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof",
		"exclude.internal.topics", "fetch.error.backoff.ms", "fetch.max.bytes", "fetch.max.wait.ms", "fetch.message.max.bytes",
		"fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.id", "group.instance.id", "group.protocol",
		"group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms", "isolation.level", "key.deserializer",
		"max.partition.fetch.bytes", "max.poll.interval.ms", "max.poll.records", "offset.store.method", "offset.store.path",
		"offset.store.sync.interval.ms", "partition.assignment.strategy", "queued.max.messages.kbytes", "queued.min.messages",
		"session.timeout.ms", "share.acknowledgement.mode", "value.deserializer")
	all = append(all, ignored(Both, "It is about a schema registry, which a program's encoders ask.",
		"schema.registry.url", "basic.auth.credentials.source", "basic.auth.user.info", "schema.registry.basic.auth.user.info")...)
	for i := range all {
		all[i].quiet = true
		all[i].Secret = all[i].Name == "basic.auth.user.info" || all[i].Name == "schema.registry.basic.auth.user.info"
	}
	return all
}

func ignored(of Client, note string, names ...string) (rows []Setting) {
	for _, name := range names {
		rows = append(rows, Setting{Name: name, Of: of, Fate: Ignored, Note: note})
	}
	return rows
}

func refused(of Client, why string, harmless []string, names ...string) (rows []Setting) {
	for _, name := range names {
		row := Setting{Name: name, Of: of, Fate: Refused, Note: sentence(why), check: only(why, harmless...)}
		if len(harmless) > 0 {
			row.Default = harmless[0]
		}
		rows = append(rows, row)
	}
	return rows
}

// sentence makes a sentence of an error's text.
func sentence(text string) string { return string(text[0]-'a'+'A') + text[1:] + "." }
