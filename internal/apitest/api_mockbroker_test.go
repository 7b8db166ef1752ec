package apitest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// What users have in their unit tests: sarama.MockBroker, by a script of answers or by a map of handlers. It reads requests
// with sarama's own decoders, and fails the test when a scripted answer was not asked for.

// mockConfig is what sarama's own tests use, with a Version that has record batches.
func mockConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ApiVersionsRequest = false
	conf.Version = sarama.V0_11_0_0
	conf.Producer.Retry.Backoff = 0
	conf.Producer.Return.Successes = true
	return conf
}

// newMock makes a producer for mock brokers.
func newMock(t *testing.T, conf *sarama.Config, seeds ...*sarama.MockBroker) *sluice.Producer {
	t.Helper()
	var addrs []string
	for _, seed := range seeds {
		addrs = append(addrs, seed.Addr())
	}
	p, err := sluice.New(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p)
	return p
}

func toTopic(name string, n int) []*sarama.ProducerMessage {
	msgs := make([]*sarama.ProducerMessage, n)
	for i := range msgs {
		msgs[i] = &sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder("ABC THE MESSAGE")}
	}
	return msgs
}

func metadataOf(topic string, leaders ...*sarama.MockBroker) *sarama.MetadataResponse {
	resp := new(sarama.MetadataResponse)
	for p, leader := range leaders {
		resp.AddBroker(leader.Addr(), leader.BrokerID())
		resp.AddTopicPartition(topic, int32(p), leader.BrokerID(), nil, nil, nil, sarama.ErrNoError)
	}
	return resp
}

func producedTo(topic string, partition int32, code sarama.KError) *sarama.ProduceResponse {
	resp := new(sarama.ProduceResponse)
	resp.AddTopicPartition(topic, partition, code)
	return resp
}

// One metadata answer, and one answer for each produce request: sarama's TestAsyncProducerMultipleFlushes.
func TestMockBrokerScript(t *testing.T) {
	for _, full := range []bool{true, false} {
		for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.DefaultVersion, sarama.MaxVersion} {
			t.Run(fmt.Sprint("full ", full, " ", version), func(t *testing.T) {
				seed, leader := sarama.NewMockBroker(t, 1), sarama.NewMockBroker(t, 2)
				seed.Returns(metadataOf("my_topic", leader))
				for range 3 {
					leader.Returns(producedTo("my_topic", 0, sarama.ErrNoError))
				}
				conf := mockConfig()
				conf.Version = version
				conf.Metadata.Full = full
				conf.Producer.Flush.Messages = 5
				p := newMock(t, conf, seed)
				for range 3 {
					send(p, toTopic("my_topic", 5)...)
					successes(t, p, 5)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				leader.Close()
				seed.Close()
			})
		}
	}
}

// sarama's TestAsyncProducerMultipleBrokers.
func TestMockBrokerScriptOfTwoLeaders(t *testing.T) {
	seed, leader0, leader1 := sarama.NewMockBroker(t, 1), sarama.NewMockBroker(t, 2), sarama.NewMockBroker(t, 3)
	seed.Returns(metadataOf("my_topic", leader0, leader1))
	leader0.Returns(producedTo("my_topic", 0, sarama.ErrNoError))
	leader1.Returns(producedTo("my_topic", 1, sarama.ErrNoError))
	conf := mockConfig()
	conf.Producer.Flush.Messages = 5
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newMock(t, conf, seed)
	send(p, toTopic("my_topic", 10)...)
	successes(t, p, 10)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, b := range []*sarama.MockBroker{seed, leader0, leader1} {
		b.Close()
	}
}

// A leader that moves, while the seed is gone: sarama's TestAsyncProducerFailureRetry.
func TestMockBrokerScriptOfARetry(t *testing.T) {
	seed, leader1, leader2 := sarama.NewMockBroker(t, 1), sarama.NewMockBroker(t, 2), sarama.NewMockBroker(t, 3)
	seed.Returns(metadataOf("my_topic", leader1))
	conf := mockConfig()
	conf.Producer.Flush.Messages = 10
	p := newMock(t, conf, seed)
	seed.Close()

	leader1.Returns(producedTo("my_topic", 0, sarama.ErrNotLeaderForPartition))
	leader1.Returns(metadataOf("my_topic", leader2))
	leader2.Returns(producedTo("my_topic", 0, sarama.ErrNoError))
	send(p, toTopic("my_topic", 10)...)
	successes(t, p, 10)
	leader1.Close()

	leader2.Returns(producedTo("my_topic", 0, sarama.ErrNoError))
	send(p, toTopic("my_topic", 10)...)
	successes(t, p, 10)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	leader2.Close()
}

// sarama's TestSyncProducer.
func TestMockBrokerScriptForASyncProducer(t *testing.T) {
	seed, leader := sarama.NewMockBroker(t, 1), sarama.NewMockBroker(t, 2)
	seed.Returns(metadataOf("my_topic", leader))
	const n = 10
	for range n {
		leader.Returns(producedTo("my_topic", 0, sarama.ErrNoError))
	}
	p, err := sluice.NewSyncProducer([]string{seed.Addr()}, mockConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range toTopic("my_topic", n) {
		msg.Metadata = "test"
		partition, offset, err := p.SendMessage(msg)
		if partition != 0 || offset != 0 || err != nil || msg.Metadata != "test" {
			t.Errorf("partition %d, offset %d, %v", partition, offset, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	leader.Close()
	seed.Close()
}

// newHandlers is one broker that leads the topic, with a map of handlers.
func newHandlers(t *testing.T, more map[string]sarama.MockResponse) *sarama.MockBroker {
	broker := sarama.NewMockBroker(t, 0)
	t.Cleanup(broker.Close)
	handlers := map[string]sarama.MockResponse{
		"MetadataRequest": sarama.NewMockMetadataResponse(t).
			SetBroker(broker.Addr(), broker.BrokerID()).
			SetLeader("my_topic", 0, broker.BrokerID()),
		"ProduceRequest":        sarama.NewMockProduceResponse(t),
		"InitProducerIDRequest": sarama.NewMockInitProducerIDResponse(t).SetProducerID(1000),
	}
	for name, handler := range more {
		handlers[name] = handler
	}
	broker.SetHandlerByMap(handlers)
	return broker
}

// produced are the versions of the produce requests that a broker has got.
func produced(b *sarama.MockBroker) (versions []int16) {
	for _, got := range b.History() {
		if req, ok := got.Request.(*sarama.ProduceRequest); ok {
			versions = append(versions, req.Version)
		}
	}
	return versions
}

func mockApiVersions(t *testing.T) map[string]sarama.MockResponse {
	return map[string]sarama.MockResponse{
		"ApiVersionsRequest": sarama.NewMockApiVersionsResponse(t).SetApiKeys([]sarama.ApiVersionsResponseKey{
			{ApiKey: 0, MinVersion: 0, MaxVersion: 7},
			{ApiKey: 3, MinVersion: 0, MaxVersion: 7},
			{ApiKey: 22, MinVersion: 0, MaxVersion: 1},
		}),
	}
}

func TestMockBrokerHandlers(t *testing.T) {
	tests := map[string]struct {
		handlers func(*testing.T) map[string]sarama.MockResponse
		change   func(*sarama.Config)
		want     int16 // the version of Produce
	}{
		"asked": {mockApiVersions, func(conf *sarama.Config) { conf.ApiVersionsRequest = true }, 7},
		// Silence, for Net.ReadTimeout: the broker "ignores" what it has no handler for.
		"asked in vain": {nil, func(conf *sarama.Config) {
			conf.ApiVersionsRequest = true
			conf.Net.ReadTimeout = 50 * time.Millisecond
		}, 9},
		"not asked": {nil, func(*sarama.Config) {}, 9},
		"not asked, newest version": {nil, func(conf *sarama.Config) {
			conf.Version = sarama.MaxVersion
		}, 10},
		"idempotent": {nil, func(conf *sarama.Config) {
			conf.Version = sarama.MaxVersion
			conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		}, 10},
		"idempotent, asked": {mockApiVersions, func(conf *sarama.Config) {
			conf.ApiVersionsRequest = true
			conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		}, 7},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var handlers map[string]sarama.MockResponse
			if test.handlers != nil {
				handlers = test.handlers(t)
			}
			broker := newHandlers(t, handlers)
			conf := mockConfig()
			conf.Version = sarama.DefaultVersion
			test.change(conf)
			p := newMock(t, conf, broker)
			for range 3 {
				send(p, toTopic("my_topic", 1)...)
				successes(t, p, 1)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if got := produced(broker); !slices.Equal(got, []int16{test.want, test.want, test.want}) {
				t.Errorf("produce requests v%v, want three of v%d", got, test.want)
			}
		})
	}
}

// A handler's error comes as in sarama.
func TestMockBrokerHandlerError(t *testing.T) {
	broker := newHandlers(t, map[string]sarama.MockResponse{
		"ProduceRequest": sarama.NewMockProduceResponse(t).SetError("my_topic", 0, sarama.ErrTopicAuthorizationFailed),
	})
	conf := mockConfig()
	p, err := sluice.NewSyncProducer([]string{broker.Addr()}, conf)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.SendMessage(toTopic("my_topic", 1)[0]); !errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
		t.Errorf("got %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
