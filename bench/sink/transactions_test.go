package sink

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask sends a request in a version and returns the answer.
func ask[T kmsg.Response](w *wire, request kmsg.Request, version int16) T {
	w.t.Helper()
	request.SetVersion(version)
	w.send(request, int32(version))
	return w.receive(request, int32(version)).(T)
}

func TestApiVersionsTellTheTransactionVersion(t *testing.T) {
	for _, level := range []int16{0, 1, 2} {
		w := dial(t, listen(t, Config{Partitions: 1, TransactionVersion: level}))
		for version := int16(0); version <= 4; version++ {
			response := ask[*kmsg.ApiVersionsResponse](w, kmsg.NewPtrApiVersionsRequest(), version)
			told := int16(0)
			for _, f := range response.FinalizedFeatures {
				if f.Name == "transaction.version" && response.FinalizedFeaturesEpoch >= 0 {
					told = f.MaxVersionLevel
				}
			}
			want := level
			if version < 3 {
				want = 0 // features are tagged fields
			}
			if told != want {
				t.Errorf("level %d, v%d: told %d, want %d", level, version, told, want)
			}
		}
	}
}

func TestTransactionRequestsAtEveryVersion(t *testing.T) {
	b := listen(t, Config{Partitions: 1, TransactionVersion: 2})
	w := dial(t, b)
	for version := int16(0); version <= 6; version++ {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorKey, request.CoordinatorType, request.CoordinatorKeys = "x", 1, []string{"x", "y"}
		response := ask[*kmsg.FindCoordinatorResponse](w, request, version)
		at := []string{fmt.Sprintf("%s:%d", response.Host, response.Port)}
		if version >= 4 {
			at = nil
			for i, c := range response.Coordinators {
				if c.Key != request.CoordinatorKeys[i] || c.NodeID != nodeID || c.ErrorCode != 0 {
					t.Errorf("FindCoordinator v%d: %+v", version, c)
				}
				at = append(at, fmt.Sprintf("%s:%d", c.Host, c.Port))
			}
		}
		if want := []string{b.Addr(), b.Addr()}[:len(at)]; len(at) == 0 || strings.Join(at, " ") != strings.Join(want, " ") {
			t.Errorf("FindCoordinator v%d: at %v, want %v", version, at, want)
		}
	}
	for version := int16(0); version <= 3; version++ {
		request := kmsg.NewPtrAddPartitionsToTxnRequest()
		topic := kmsg.NewAddPartitionsToTxnRequestTopic()
		topic.Topic, topic.Partitions = "t", []int32{0, 3}
		request.Topics = append(request.Topics, topic)
		response := ask[*kmsg.AddPartitionsToTxnResponse](w, request, version)
		if len(response.Topics) != 1 || response.Topics[0].Topic != "t" || len(response.Topics[0].Partitions) != 2 ||
			response.Topics[0].Partitions[1].Partition != 3 || response.Topics[0].Partitions[1].ErrorCode != 0 {
			t.Errorf("AddPartitionsToTxn v%d: %+v", version, response)
		}
	}
	for version := int16(0); version <= 4; version++ {
		if code := ask[*kmsg.AddOffsetsToTxnResponse](w, kmsg.NewPtrAddOffsetsToTxnRequest(), version).ErrorCode; code != 0 {
			t.Errorf("AddOffsetsToTxn v%d: error %d", version, code)
		}
	}
	for version := int16(0); version <= 5; version++ {
		request := kmsg.NewPtrTxnOffsetCommitRequest()
		topic, partition := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
		topic.Topic, partition.Partition = "t", 5
		topic.Partitions = append(topic.Partitions, partition)
		request.Topics = append(request.Topics, topic)
		response := ask[*kmsg.TxnOffsetCommitResponse](w, request, version)
		if len(response.Topics) != 1 || response.Topics[0].Topic != "t" || response.Topics[0].Partitions[0].Partition != 5 {
			t.Errorf("TxnOffsetCommit v%d: %+v", version, response)
		}
	}
}

// TestEndTxnRaisesTheEpoch: and, where there is no epoch left, gives another id.
func TestEndTxnRaisesTheEpoch(t *testing.T) {
	b := listen(t, Config{Partitions: 1, TransactionVersion: 2})
	w := dial(t, b)
	for version := int16(0); version <= 5; version++ {
		for _, test := range []struct{ epoch, want int16 }{{0, 1}, {7, 8}, {32765, 32766}, {32766, 0}} {
			request := kmsg.NewPtrEndTxnRequest()
			request.ProducerID, request.ProducerEpoch = 99, test.epoch
			response := ask[*kmsg.EndTxnResponse](w, request, version)
			if response.ErrorCode != 0 {
				t.Errorf("EndTxn v%d: error %d", version, response.ErrorCode)
			}
			if other := response.ProducerID != 99; version >= 5 && (response.ProducerEpoch != test.want || other != (test.want == 0)) {
				t.Errorf("EndTxn v%d, epoch %d: id %d, epoch %d", version, test.epoch, response.ProducerID, response.ProducerEpoch)
			}
		}
	}
	if got := b.Stats().Transactions; got != 24 {
		t.Errorf("%d transactions are counted, want 24", got)
	}
}

// TestPeersCommit: the peers' own transactions, of both versions, are counted.
func TestPeersCommit(t *testing.T) {
	const transactions = 3
	for _, level := range []int16{1, 2} {
		for name, run := range map[string]func(t *testing.T, addr string, n int){"franz-go": franzTransactions, "sarama": saramaTransactions} {
			t.Run(fmt.Sprintf("%s, version %d", name, level), func(t *testing.T) {
				b := listen(t, Config{Partitions: 2, TransactionVersion: level})
				run(t, b.Addr(), transactions)
				if got := b.Stats(); got.Transactions != transactions || got.Records != 10*transactions {
					t.Errorf("the sink counts %+v", got)
				}
			})
		}
	}
}

func franzTransactions(t *testing.T, addr string, n int) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID("franz"), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range n {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.EndTransaction(context.Background(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
}

func saramaTransactions(t *testing.T, addr string, n int) {
	conf := sarama.NewConfig()
	conf.Producer.Idempotent, conf.Producer.Transaction.ID = true, "sarama"
	conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = sarama.WaitForAll, 1
	conf.Producer.Return.Successes = true
	p, err := sarama.NewSyncProducer([]string{addr}, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range n {
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.CommitTxn(); err != nil {
			t.Fatal(err)
		}
	}
}
