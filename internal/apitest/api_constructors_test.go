package apitest

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// The constructors have sarama's very types: they stand in a variable or field of sarama's function type, and what they
// return can be wrapped and assigned back.
var (
	asyncConstructor           = sarama.NewAsyncProducer
	asyncFromClientConstructor = sarama.NewAsyncProducerFromClient
	syncConstructor            = sarama.NewSyncProducer
	syncFromClientConstructor  = sarama.NewSyncProducerFromClient
)

func init() {
	asyncConstructor = sluice.NewAsyncProducer
	asyncFromClientConstructor = sluice.NewAsyncProducerFromClient
	syncConstructor = sluice.NewSyncProducer
	syncFromClientConstructor = sluice.NewSyncProducerFromClient
}

var (
	_ sarama.PartitionerConstructor = sluice.NewStickyPartitioner
	_ sarama.PartitionerConstructor = sluice.NewStickyMurmur2Partitioner
)

func TestConfigIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*sarama.Config)
		word   string
	}{
		{"old version", func(c *sarama.Config) { c.Version, c.ApiVersionsRequest = sarama.V0_10_2_0, false }, "Version"},
		{"transactional, not idempotent", func(c *sarama.Config) { c.Producer.Transaction.ID = "tx" }, "Transactional"},
		{"two acks", func(c *sarama.Config) { c.Producer.RequiredAcks = 2 }, "Producer.RequiredAcks"},
		{"no registry", func(c *sarama.Config) { c.MetricRegistry = nil }, "MetricRegistry"},
		{"no partitioner", func(c *sarama.Config) { c.Producer.Partitioner = nil }, "Producer.Partitioner"},
		{"level", func(c *sarama.Config) {
			c.Producer.Compression, c.Producer.CompressionLevel = sarama.CompressionGZIP, 17
		}, "17"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conf := sarama.NewConfig()
			test.change(conf)
			async, err := sluice.New([]string{"unused:1"}, conf)
			wantConfigurationError(t, err, test.word)
			sync, err := sluice.New([]string{"unused:1"}, conf)
			wantConfigurationError(t, err, test.word)
			if async != nil || sync != nil {
				t.Error("a producer beside an error")
			}
		})
	}
}

func TestOptionIsRefused(t *testing.T) {
	tests := map[string]sluice.Option{
		"WithBufferMemory(0)":            sluice.WithBufferMemory(0),
		"WithDeliveryTimeout(-1s)":       sluice.WithDeliveryTimeout(-time.Second),
		"WithMaxInFlightPerPartition(0)": sluice.WithMaxInFlightPerPartition(0),
		"WithMaxInFlightPerPartition(6)": sluice.WithMaxInFlightPerPartition(6),
	}
	for word, opt := range tests {
		_, err := sluice.New([]string{"unused:1"}, nil, opt)
		wantConfigurationError(t, err, word)
	}
}

func wantConfigurationError(t *testing.T, err error, word string) {
	t.Helper()
	var configuration sarama.ConfigurationError
	if !errors.As(err, &configuration) {
		t.Errorf("error %v is no sarama.ConfigurationError", err)
		return
	}
	wantError(t, err, nil, word)
}

func TestNilOptionIsIgnored(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	newAsync(t, c, testConfig(), nil)
}

func TestNoBrokerReachable(t *testing.T) {
	// Ports that nobody listens on any more.
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	conf := testConfig()
	conf.Metadata.Retry.Max = 1
	_, err := sluice.New(addrs, conf)
	wantError(t, err, causes(sarama.ErrOutOfBrokers), addrs...)
	async, err := sluice.NewAsyncProducer(addrs, conf)
	wantError(t, err, causes(sarama.ErrOutOfBrokers), addrs...)
	sync, err := sluice.NewSyncProducer(addrs, conf)
	wantError(t, err, causes(sarama.ErrOutOfBrokers), addrs...)
	if async != nil || sync != nil {
		t.Errorf("beside an error: %v, %v", async, sync)
	}
}

func TestNilConfigIsSaramasDefault(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	async := newAsync(t, c, nil)
	send(async, message(0, 0))
	sync := newSync(t, c, nil)
	if _, _, err := sync.SendMessage(message(0, 1)); err != nil {
		t.Fatal(err)
	}
	// As in sarama successes are not returned: the message is counted by the log alone.
	if err := async.Flush(impatient(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(async.Successes()); n > 0 {
		t.Errorf("%d successes, though Return.Successes is off by default", n)
	}
	readTopic(t, c, "t", 2)
}

func TestNewConfigWorks(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	p := newSync(t, c, sluice.NewConfig())
	if err := p.SendMessages(messages(100, 4)); err != nil {
		t.Fatal(err)
	}
	readTopic(t, c, "t", 100)
}

func TestConfigIsCopied(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	p := newAsync(t, c, conf)
	conf.Producer.Return.Successes = false
	conf.Producer.MaxMessageBytes = 1
	conf.Producer.Partitioner = nil
	send(p, message(0, 0))
	successes(t, p, 1)
}

func TestFromClient(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	client, err := sarama.NewClient(c.ListenAddrs(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	async, err := sluice.NewFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	send(async, message(0, 0))
	successes(t, async, 1)
	if err := async.Close(); err != nil {
		t.Error(err)
	}
	sync, err := sluice.NewFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := sync.SendMessage(message(1, 1)); err != nil {
		t.Error(err)
	}
	if err := sync.Close(); err != nil {
		t.Error(err)
	}

	if client.Closed() {
		t.Fatal("the client was closed with its producers")
	}
	if err := client.RefreshMetadata("t"); err != nil {
		t.Errorf("the client after its producers: %v", err)
	}
	wantInOrder(t, c, 2)
}

func TestFromClientIsRefused(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	client, err := sarama.NewClient(c.ListenAddrs(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	_, err = sluice.NewFromClient(client)
	wantError(t, err, causes(sarama.ErrClosedClient))
	_, err = sluice.NewFromClient(client)
	wantError(t, err, causes(sarama.ErrClosedClient))
	_, err = sluice.NewFromClient(nil)
	wantConfigurationError(t, err, "client")
}

// A client that keeps no full metadata knows no broker before it has asked.
func TestFromClientWithoutFullMetadata(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	conf := testConfig()
	conf.Metadata.Full = false
	client, err := sarama.NewClient(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p, err := sluice.NewFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p)
	if err := p.SendMessages(messages(2, 2)); err != nil {
		t.Error(err)
	}
}

func TestNotTransactional(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	async := newAsync(t, c, testConfig())
	if async.IsTransactional() {
		t.Error("transactional")
	}
	for name, err := range map[string]error{
		"BeginTxn":                         async.BeginTxn(),
		"CommitTxn":                        async.CommitTxn(),
		"AbortTxn":                         async.AbortTxn(),
		"AddOffsetsToTxn":                  async.AddOffsetsToTxn(nil, "g"),
		"AddOffsetsToTxnWithGroupMetadata": async.AddOffsetsToTxnWithGroupMetadata(nil, nil),
		"AddMessageToTxn":                  async.AddMessageToTxn(nil, "g", nil),
		"AddMessageToTxnWithGroupMetadata": async.AddMessageToTxnWithGroupMetadata(nil, nil, nil),
	} {
		if !errors.Is(err, sarama.ErrNonTransactedProducer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
