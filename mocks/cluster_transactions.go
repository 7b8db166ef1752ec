package mocks

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/faketxn"
)

// TxnRequest is a kind of request that producers make transactions with. Besides them there is Produce: see
// [Cluster.FailNext].
type TxnRequest int

// The kinds of requests. AddPartitionsToTxn and AddOffsetsToTxn are of version 1 alone, see [WithTransactionVersion].
const (
	FindCoordinator TxnRequest = iota // of a transactional id
	InitProducerID
	AddPartitionsToTxn
	AddOffsetsToTxn
	TxnOffsetCommit
	EndTxn
)

var txnRequestKeys = map[TxnRequest]kmsg.Key{
	FindCoordinator:    kmsg.FindCoordinator,
	InitProducerID:     kmsg.InitProducerID,
	AddPartitionsToTxn: kmsg.AddPartitionsToTxn,
	AddOffsetsToTxn:    kmsg.AddOffsetsToTxn,
	TxnOffsetCommit:    kmsg.TxnOffsetCommit,
	EndTxn:             kmsg.EndTxn,
}

// String is the request's name in Kafka's protocol.
func (r TxnRequest) String() string {
	if key, ok := txnRequestKeys[r]; ok {
		return key.Name()
	}
	return fmt.Sprintf("TxnRequest(%d)", int(r))
}

// WithTransactionVersion sets the version of transactions: 1, or 2 (KIP-890), the default.
func WithTransactionVersion(version int) ClusterOption {
	if version != 1 && version != 2 {
		return ClusterOption{err: fmt.Errorf("mocks: transactions of version %d", version)}
	}
	return ClusterOption{txnVersion: int16(version)}
}

// setTransactionVersion finalizes the feature transaction.version, which producers read.
func (c *Cluster) setTransactionVersion(version int16) {
	c.t.Helper()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	update.Feature, update.MaxVersionLevel, update.UpgradeType = "transaction.version", version, safeDowngrade
	req.FeatureUpdates = append(req.FeatureUpdates, update)
	c.ask(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}, "setting the version of transactions")
}

const safeDowngrade = 2 // an UpgradeType

// FailNextTxn lets the next n requests of a kind fail with err, a sarama.KError or a *kerr.Error. They change nothing,
// but a TxnOffsetCommit with REQUEST_TIMED_OUT. Several calls add up, in order.
func (c *Cluster) FailNextTxn(request TxnRequest, err error, n int) {
	c.t.Helper()
	key, answer := c.txnRequest(request, n), kerrOf(err)
	if answer == nil {
		c.t.Fatalf("failing %v: %v (%T) must be an error of Kafka's protocol", request, err, err)
	}
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: answer, Count: n, When: func(kreq kmsg.Request) bool {
		find, ok := kreq.(*kmsg.FindCoordinatorRequest)
		return !ok || find.CoordinatorType == txnCoordinator
	}})
}

const txnCoordinator = 1 // a CoordinatorType

// LoseNextTxn carries the next n requests of a kind out and closes their connections without an answer: the producer can't
// tell whether an EndTxn has committed.
func (c *Cluster) LoseNextTxn(request TxnRequest, n int) {
	c.t.Helper()
	c.shim.LoseNext(c.txnRequest(request, n), n)
}

func (c *Cluster) txnRequest(request TxnRequest, n int) kmsg.Key {
	c.t.Helper()
	key, ok := txnRequestKeys[request]
	if !ok || n < 1 {
		c.t.Fatalf("a fault of %d requests %v", n, request)
	}
	return key
}

// DelayTxnMarkers lets the next n requests for a transactional id fail with CONCURRENT_TRANSACTIONS after each EndTxn, as
// by a coordinator that is still writing the transaction's markers. 0 ends that.
func (c *Cluster) DelayTxnMarkers(n int) {
	c.t.Helper()
	if n < 0 {
		c.t.Fatalf("delaying markers for %d requests", n)
	}
	c.markers.Store(int32(n))
}

// txnEnded is called after an EndTxn.
func (c *Cluster) txnEnded(txnID string) {
	n := int(c.markers.Load())
	if n == 0 {
		return
	}
	c.fake.Fault(kfake.Fault{
		Keys: []kmsg.Key{
			kmsg.Produce, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn,
		},
		Err:   kerr.ConcurrentTransactions,
		Count: n,
		When: func(kreq kmsg.Request) bool {
			switch version := kreq.GetVersion(); kmsg.Key(kreq.Key()) {
			case kmsg.Produce:
				return version >= 12 && faketxn.TxnID(kreq) == txnID // below, it asks no coordinator
			case kmsg.TxnOffsetCommit:
				return version >= 5 && faketxn.TxnID(kreq) == txnID
			default:
				return faketxn.TxnID(kreq) == txnID
			}
		},
	})
}

// MoveCoordinator lets another broker coordinate a transactional id or consumer group. Others may move with it. Producers
// hear of it by NOT_COORDINATOR.
func (c *Cluster) MoveCoordinator(id string) {
	c.t.Helper()
	if len(c.Brokers()) < 2 {
		c.t.Fatalf("moving the coordinator of %q: there is one broker", id)
	}
	for was := c.fake.CoordinatorFor(id); c.fake.CoordinatorFor(id) == was; {
		c.fake.RehashCoordinators()
	}
}

// OpenTransactions returns the transactional ids that have a transaction open, sorted.
func (c *Cluster) OpenTransactions() (ids []string) {
	c.t.Helper()
	req := kmsg.NewPtrListTransactionsRequest()
	req.StateFilters = []string{"Ongoing"}
	c.ask(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		for _, txn := range resp.TransactionStates {
			ids = append(ids, txn.TransactionalID)
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}, "listing transactions")
	slices.Sort(ids)
	return slices.Compact(ids)
}

// CommittedOffset returns the offset that a consumer group has committed for a partition, or -1. Offsets of an open
// transaction are not committed yet.
func (c *Cluster) CommittedOffset(group, topic string, partition int32) int64 {
	c.t.Helper()
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	asked.Topics = append(asked.Topics, kmsg.NewOffsetFetchRequestGroupTopic())
	asked.Topics[0].Topic, asked.Topics[0].Partitions = topic, []int32{partition}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = append(req.Groups, asked)
	var answered []kmsg.OffsetFetchResponseGroupTopic
	c.ask(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		answered = resp.Groups[0].Topics
		if err := kerr.ErrorForCode(resp.Groups[0].ErrorCode); err != kerr.GroupIDNotFound {
			return err
		}
		return nil
	}, "fetching offsets")
	if len(answered) == 0 {
		return -1
	}
	if err := kerr.ErrorForCode(answered[0].Partitions[0].ErrorCode); err != nil {
		c.t.Fatalf("fetching the offset of partition %d of topic %q: %v", partition, topic, err)
	}
	return answered[0].Partitions[0].Offset
}

// ask makes a request with a client that shares no code with the producer.
func (c *Cluster) ask(request func(context.Context, *kgo.Client) error, what string) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	if err := request(ctx, client); err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}
