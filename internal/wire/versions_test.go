package wire

import (
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestVersionsFor: the versions are those of the release, and none is above sarama's.
func TestVersionsFor(t *testing.T) {
	for _, test := range []struct {
		release                         sarama.KafkaVersion
		produce, metadata, initProducer int16
	}{
		{sarama.V0_11_0_0, 3, 4, 0},
		{sarama.V1_0_0_0, 5, 5, 0},
		{sarama.V1_1_1_0, 5, 5, 0},
		{sarama.V2_0_0_0, 6, 6, 1},
		{sarama.V2_1_0_0, 7, 7, 1},
		{sarama.V2_3_1_0, 7, 8, 1},
		{sarama.V2_4_0_0, 8, 9, 2},
		{sarama.V2_7_0_0, 8, 9, 4},
		{sarama.V2_8_1_0, 9, 11, 4},
		{sarama.V3_6_0_0, 9, 11, 4},
		{sarama.V3_7_0_0, 10, 11, 4},
		{sarama.V3_8_0_0, 10, 11, 4},
		{sarama.V4_0_0_0, 10, 11, 4},
		{sarama.MaxVersion, 10, 11, 4},
	} {
		v := versionsFor(test.release)
		for key, want := range map[int16]int16{0: test.produce, 3: test.metadata, 22: test.initProducer} {
			if got, ok := v.highest(key, 99); !ok || got != want {
				t.Errorf("%v: %s v%d, want v%d", test.release, kmsg.NameForKey(key), got, want)
			}
		}
	}
	if v := versionsFor(sarama.KafkaVersion{}); len(v) != 0 {
		t.Errorf("a release before all has %v", v)
	}
	newest := sarama.SupportedVersions[len(sarama.SupportedVersions)-1]
	if !newest.IsAtLeast(releases[0].since) {
		t.Errorf("sarama's newest version %v is older than %v", newest, releases[0].since)
	}
}

func TestHighest(t *testing.T) {
	v := versions{1: {3, 8}, 2: {-1, -1}}
	for _, test := range []struct {
		key, ours, want int16
		ok              bool
	}{
		{1, 5, 5, true}, {1, 9, 8, true}, {1, 3, 3, true}, {1, 2, 0, false}, {1, -1, 0, false}, {2, 5, 0, false}, {3, 5, 0, false},
	} {
		if got, ok := v.highest(test.key, test.ours); ok != test.ok || ok && got != test.want {
			t.Errorf("key %d, ours %d: %d, %v", test.key, test.ours, got, ok)
		}
	}
	for key, want := range map[int16]string{1: "supports Fetch v3 to v8, v10 to v12 is needed", 3: "does not support Metadata"} {
		if err := v.mismatch("addr:1", key, 10, 12); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "addr:1") {
			t.Error(err)
		}
	}
}

// TestTransactionVersion2IsNotUsed: KIP-890's second part is another protocol. Versions of it must not be chosen.
func TestTransactionVersion2IsNotUsed(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 1)
	c.versions = versions{24: {0, 5}, 26: {0, 5}, 28: {0, 5}} // as if the broker had said so
	go func() {
		for range 3 {
			got := broker.next()
			broker.reply(got.correlationID, got.body.ResponseKind())
		}
	}()
	for _, test := range []struct {
		req  kmsg.Request
		want int16
	}{
		{kmsg.NewPtrEndTxnRequest(), 4},
		{kmsg.NewPtrTxnOffsetCommitRequest(), 4},
		{kmsg.NewPtrAddPartitionsToTxnRequest(), 3},
	} {
		resp, err := c.Request(t.Context(), test.req)
		if err != nil || resp.GetVersion() != test.want {
			t.Errorf("%s: %+v, %v", kmsg.NameForKey(test.req.Key()), resp, err)
		}
	}
}

func TestOpenQueue(t *testing.T) {
	var q openQueue
	in, out := int32(0), int32(0)
	for range 50 {
		for range 7 {
			q.push(openRequest{correlationID: in})
			in++
		}
		for range 5 {
			if q.first().correlationID != out || q.pop().correlationID != out {
				t.Fatalf("out of order at %d", out)
			}
			out++
		}
	}
	if q.len() != int(in-out) {
		t.Errorf("length %d, want %d", q.len(), in-out)
	}
}
