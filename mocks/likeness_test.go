package mocks_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// The mock's transactional methods do what the real producer's do, whatever is called in whatever order.
func TestProducerIsLikeTheRealOne(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("t", 1))
	for seed := range uint64(20) {
		draw := rand.New(rand.NewPCG(seed, 0))
		config := transactionalAt(cluster)
		config.Producer.MaxMessageBytes = 1000
		original, err := sluice.New(cluster.Brokers(), config)
		if err != nil {
			t.Fatal(err)
		}
		mock := mocks.New(&reports{}, config)
		var calls []string
		for range 30 {
			call := twoCalls[draw.IntN(len(twoCalls))]
			status := original.TxnStatus()
			if status&sarama.ProducerTxnFlagInError != 0 && strings.HasPrefix(call.name, "send") {
				continue // the mock goes by its expectations, so that a test need not know what came first
			}
			if status != inTxn && call.name == "send too much" {
				continue // which of the two reasons is told?
			}
			calls = append(calls, call.name)
			if call.expect != nil && mock.TxnStatus() == inTxn {
				call.expect(mock)
			}
			want, got := told(call.call(original), original.TxnStatus()), told(call.call(mock), mock.TxnStatus())
			if got != want {
				t.Fatalf("seed %d, %v: the mock %+v, the real one %+v", seed, calls, got, want)
			}
		}
		if err := errors.Join(original.Close(), mock.Close()); err != nil {
			t.Error(err)
		}
	}
}

// twoCalls are made at both producers. expect tells the mock what the real one's cluster does.
var twoCalls = []struct {
	name   string
	expect func(*mocks.Producer)
	call   func(sarama.SyncProducer) error
}{
	{"BeginTxn", nil, sarama.SyncProducer.BeginTxn},
	{"BeginTxn", nil, sarama.SyncProducer.BeginTxn},
	{"CommitTxn", nil, sarama.SyncProducer.CommitTxn},
	{"AbortTxn", nil, sarama.SyncProducer.AbortTxn},
	{"AddOffsetsToTxn", nil, func(p sarama.SyncProducer) error {
		return p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 3}}}, "g")
	}},
	{"AddMessageToTxn", nil, func(p sarama.SyncProducer) error {
		return p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: 7}, "g", nil)
	}},
	{"nil offset", nil, func(p sarama.SyncProducer) error {
		return p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {nil}}, "g")
	}},
	{"nil group", nil, func(p sarama.SyncProducer) error { return p.AddOffsetsToTxnWithGroupMetadata(nil, nil) }},
	{"nil message", nil, func(p sarama.SyncProducer) error { return p.AddMessageToTxn(nil, "g", nil) }},
	{"send", func(p *mocks.Producer) { p.ExpectAndSucceed() }, func(p sarama.SyncProducer) error {
		_, _, err := p.SendMessage(text("t", "x"))
		return err
	}},
	{"send too much", func(p *mocks.Producer) { p.ExpectAndFail(sarama.ConfigurationError("too large")) }, func(p sarama.SyncProducer) error {
		_, _, err := p.SendMessage(text("t", strings.Repeat("x", 2000)))
		return err
	}},
}

// telling is what a program learns from a call.
type telling struct {
	status                                                sarama.ProducerTxnStatusFlag
	failed, notAllowed, notReady, wrong, abortable, fatal bool
}

func told(err error, status sarama.ProducerTxnStatusFlag) telling {
	_, wrong := errors.AsType[sarama.ConfigurationError](err)
	return telling{
		status: status, failed: err != nil,
		notAllowed: errors.Is(err, sarama.ErrTransitionNotAllowed), notReady: errors.Is(err, sarama.ErrTransactionNotReady),
		wrong: wrong, abortable: sluice.IsTxnAbortable(err), fatal: sluice.IsTxnFatal(err),
	}
}
