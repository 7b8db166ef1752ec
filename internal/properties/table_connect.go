package properties

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Brokers, sockets and metadata.
var connecting = []Setting{
	{
		Name: "bootstrap.servers", Also: []string{"metadata.broker.list"}, Of: Both, Fate: Sets, To: []string{"addrs of the constructor"},
		set: func(s *Settings, _, value string) error {
			s.Brokers = value
			return nil
		},
		Note: "Accepted; a program splits it at commas and gives it to the constructor. The command line takes it where -brokers is not given.",
	},
	{
		Name: "client.id", Of: Both, Default: "sluice", Fate: Sets, To: []string{"ClientID"}, set: into(anyText, "ClientID"),
	},
	{
		Name: "client.rack", Of: Both, Fate: Sets, To: []string{"RackID"}, set: into(anyText, "RackID"),
		Note: "For consumers of the same configuration. A producer only names it in pushed metrics (docs/telemetry.md).",
	},
	{
		Name: "socket.connection.setup.timeout.ms", Of: Both, Default: "30000", Fate: Sets,
		To: []string{"Net.DialTimeout"}, set: into(from(1, millis), "Net.DialTimeout"),
		Note: "The dial, TLS and the login have so long each. Java's default is 10000.",
	},
	{
		Name: "socket.timeout.ms", Of: Librdkafka, Default: "30000", Fate: Sets,
		To: []string{"Net.ReadTimeout", "Net.WriteTimeout"}, set: into(from(1, millis), "Net.ReadTimeout", "Net.WriteTimeout"),
		Note: "Java has request.timeout.ms for it.",
	},
	{
		Name: "connections.max.idle.ms", Of: Both, Default: "540000", Fate: Sets,
		To: []string{"WithConnectionsMaxIdle"}, set: into(millis, "ConnectionsMaxIdle"),
		Note: "-1 is for ever, as in Java. 0, which is for ever in librdkafka and at once in Java, is refused.",
	},
	{
		Name: "enable.metrics.push", Of: Both, Default: "true", Fate: Sets,
		To: []string{"WithMetricsPush"}, set: into(boolean, "MetricsPush"),
		Note: "KIP-714: docs/telemetry.md. Sarama's constructors never push.",
	},
	{
		Name: "socket.keepalive.enable", Of: Librdkafka, Default: "true", Fate: Sets, To: []string{"Net.KeepAlive"},
		set: func(s *Settings, name, value string) error {
			on, err := boolean(value)
			if err != nil {
				return err
			}
			period := time.Duration(0) // Go's default period
			if on == false {
				period = -1
			}
			return s.assign("Net.KeepAlive", period)
		},
		Note: "Java has no such setting, librdkafka's default is false.",
	},
	{
		Name: "broker.address.family", Of: Librdkafka, Default: "any", Fate: Sets, To: []string{"Net.Proxy.Dialer"},
		check: words("any", "v4", "v6"),
		Note:  "v4 and v6 set a dialer that dials nothing else.",
	},
	{
		Name: "metadata.max.age.ms", Of: Both, Default: "600000", Fate: Sets, To: []string{"Metadata.RefreshFrequency"},
		set: func(s *Settings, name, value string) error {
			if s.has("topic.metadata.refresh.interval.ms") {
				return parsed(from(0, millis))(value)
			}
			return into(from(1, millis), "Metadata.RefreshFrequency")(s, name, value)
		},
		Note: "When metadata is asked for again, as in Java. In librdkafka it says how long metadata is kept, and " +
			"topic.metadata.refresh.interval.ms, which counts if both are given, when it is asked for again.",
	},
	{
		Name: "topic.metadata.refresh.interval.ms", Of: Librdkafka, Default: "600000", Fate: Sets, To: []string{"Metadata.RefreshFrequency"},
		set: func(s *Settings, name, value string) error {
			if value == "-1" {
				value = "0"
			}
			return into(from(0, millis), "Metadata.RefreshFrequency")(s, name, value)
		},
		Note: "-1 is never.",
	},
	{
		Name: "topic.metadata.refresh.sparse", Of: Librdkafka, Default: "false", Fate: Sets,
		To: []string{"Metadata.Full"}, set: into(not(boolean), "Metadata.Full"),
		Note: "Whether the constructor asks for all topics, or for none. Later look-ups ask for topics that are written to.",
	},
	{
		Name: "allow.auto.create.topics", Of: Both, Default: "true", Fate: Sets,
		To: []string{"Metadata.AllowAutoTopicCreation"}, set: into(boolean, "Metadata.AllowAutoTopicCreation"),
		Note: "A consumer's setting in Java and librdkafka, whose producers always have it on.",
	},
	{
		Name: "api.version.request", Of: Librdkafka, Default: "true", Fate: Sets,
		To: []string{"ApiVersionsRequest"}, set: into(boolean, "ApiVersionsRequest"),
	},
	{
		Name: "broker.version.fallback", Of: Librdkafka, Default: "2.8.0", Fate: Sets, To: []string{"Version"}, set: into(oldVersion, "Version"),
		Note: "What counts where ApiVersions is off or not answered. 0.11.0 at least where it is off.",
	},
}

// settleSockets puts in the dialer of broker.address.family.
func (s *Settings) settleSockets() error {
	network := map[string]string{"v4": "tcp4", "v6": "tcp6"}[s.values["broker.address.family"]]
	n := &s.Conf.Net
	switch {
	case network == "":
		return nil
	case n.Proxy.Enable:
		return fmt.Errorf("%s: Net.Proxy.Enable is on, and a proxy does the dialling", s.shown("broker.address.family"))
	}
	n.Proxy.Enable = true
	n.Proxy.Dialer = familyDialer{network, net.Dialer{KeepAlive: n.KeepAlive, LocalAddr: n.LocalAddr, Timeout: n.DialTimeout}}
	return nil
}

// familyDialer dials over IPv4 or IPv6 alone. It is a proxy.ContextDialer.
type familyDialer struct {
	network string
	dialer  net.Dialer
}

func (d familyDialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

func (d familyDialer) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.dialer.DialContext(ctx, d.network, addr)
}
