package wire

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestMockBrokerReadsEachVersion: sarama.MockBroker reads requests with sarama's decoders, and fails the test if it can't.
// Without ApiVersions it gets no version that is too new for them, whatever Config.Version is.
func TestMockBrokerReadsEachVersion(t *testing.T) {
	broker := sarama.NewMockBroker(t, 1)
	defer broker.Close()
	broker.SetHandlerByMap(map[string]sarama.MockResponse{
		"MetadataRequest": sarama.NewMockMetadataResponse(t).
			SetBroker(broker.Addr(), broker.BrokerID()).SetLeader("topic", 0, broker.BrokerID()),
		"ProduceRequest":         sarama.NewMockProduceResponse(t),
		"InitProducerIDRequest":  sarama.NewMockInitProducerIDResponse(t).SetProducerID(7),
		"FindCoordinatorRequest": sarama.NewMockFindCoordinatorResponse(t).SetCoordinator(sarama.CoordinatorGroup, "g", broker),
	})
	for _, release := range sarama.SupportedVersions {
		if !release.IsAtLeast(oldestRelease) {
			continue
		}
		conf := testConfig()
		conf.Version = release
		c, err := NewDialer(conf, 1).Dial(t.Context(), 1, broker.Addr())
		if err != nil {
			t.Fatal(err)
		}
		outcomes := make(chan outcome, 1)
		mustProduce(t, c, newRequest(outcomes, partition("topic", 0, makeBatch("v"))))
		if o := <-outcomes; o.err != nil || o.r.Answers[0].Code != 0 || o.r.Answers[0].Missing {
			t.Errorf("%v: %v, %+v", release, o.err, o.r.Answers)
		}
		all := kmsg.NewPtrMetadataRequest()
		if resp, err := c.Metadata(t.Context(), all); err != nil || len(resp.Topics) != 1 {
			t.Errorf("%v: %+v, %v", release, resp, err)
		}
		if resp, err := c.Request(t.Context(), kmsg.NewPtrInitProducerIDRequest()); err != nil || resp.(*kmsg.InitProducerIDResponse).ProducerID != 7 {
			t.Errorf("%v: %+v, %v", release, resp, err)
		}
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKey = "g"
		if resp, err := c.Request(t.Context(), find); err != nil || resp.(*kmsg.FindCoordinatorResponse).NodeID != broker.BrokerID() {
			t.Errorf("%v: %+v, %v", release, resp, err)
		}
		c.Close()
	}
}
