package mocks_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice/mocks"
)

// What is tested here is the cluster, so the producers are sarama's (version 1) and franz-go's (version 2).

func transactionalAt(c *mocks.Cluster) *sarama.Config {
	config := c.Config()
	config.Producer.Transaction.ID = "tx"
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	return config
}

// transactionalProducer is a transactional producer. sarama's constructor leaves its client open if it fails: here the
// test closes it.
func transactionalProducer(t *testing.T, c *mocks.Cluster, config *sarama.Config) (sarama.SyncProducer, error) {
	t.Helper()
	client, err := sarama.NewClient(c.Brokers(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return sarama.NewSyncProducerFromClient(client)
}

// transact sends a message and offset in a transaction, and returns its first error.
func transact(p sarama.SyncProducer, value string, offset int64) error {
	if err := p.BeginTxn(); err != nil {
		return err
	}
	if _, _, err := p.SendMessage(text("t", value)); err != nil {
		return err
	}
	add := map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 0, Offset: offset}}}
	if err := p.AddOffsetsToTxn(add, "g"); err != nil {
		return err
	}
	return p.CommitTxn()
}

func TestClusterTxnFaults(t *testing.T) {
	for _, request := range []mocks.TxnRequest{
		mocks.FindCoordinator, mocks.InitProducerID, mocks.AddPartitionsToTxn,
		mocks.AddOffsetsToTxn, mocks.TxnOffsetCommit, mocks.EndTxn,
	} {
		t.Run(request.String(), func(t *testing.T) {
			cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
			cluster.FailNextTxn(request, sarama.ErrClusterAuthorizationFailed, 1)
			config := transactionalAt(cluster)
			config.Producer.Transaction.Retry.Max = 0
			for _, want := range []error{sarama.ErrClusterAuthorizationFailed, nil} {
				p, err := transactionalProducer(t, cluster, config)
				if err == nil {
					err = transact(p, "message", 3)
					p.Close()
				}
				if !errors.Is(err, want) {
					t.Fatalf("got %v, want %v", err, want)
				}
			}
			if got := values(cluster, "t"); !slices.Equal(got, []string{"0:message"}) {
				t.Errorf("the topic has %v", got)
			}
			if got := cluster.CommittedOffset("g", "t", 0); got != 3 {
				t.Errorf("offset %d", got)
			}
		})
	}
}

func TestClusterTellsWhatIsOpen(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
	p := producer(t, cluster, transactionalAt(cluster))
	if got := cluster.CommittedOffset("g", "t", 0); got != -1 || len(cluster.OpenTransactions()) > 0 {
		t.Errorf("at first offset %d is committed, and %v are open", got, cluster.OpenTransactions())
	}
	if err := p.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	send(t, p, text("t", "1"))
	if got := cluster.OpenTransactions(); !slices.Equal(got, []string{"tx"}) {
		t.Errorf("%v are open", got)
	}
	if got := cluster.Messages("t"); len(got) > 0 {
		t.Errorf("of an open transaction %v is read", got)
	}
	if err := p.CommitTxn(); err != nil {
		t.Fatal(err)
	}
	if got := cluster.OpenTransactions(); len(got) > 0 {
		t.Errorf("%v are open", got)
	}
}

// The cluster has carried out what it does not answer.
func TestClusterLosesAnswers(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
	config := transactionalAt(cluster)
	config.Producer.Transaction.Retry.Max = 1
	p := producer(t, cluster, config)
	cluster.LoseNextTxn(mocks.EndTxn, 2)
	if err := transact(p, "1", 3); err == nil {
		t.Error("a commit without an answer succeeded")
	}
	if got := values(cluster, "t"); !slices.Equal(got, []string{"0:1"}) || len(cluster.OpenTransactions()) > 0 {
		t.Errorf("the topic has %v, open %v", got, cluster.OpenTransactions())
	}
	if err := errors.Join(p.CommitTxn(), transact(p, "2", 4)); err != nil {
		t.Error(err)
	}
}

// Kafka knows of an EndTxn whether there is something to end: after InitProducerId there is not, whatever was before.
func TestClusterStrayEndTxn(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("t", 1), mocks.WithTransactionVersion(1))
	client, err := sarama.NewClient(cluster.Brokers(), cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	broker, err := client.TransactionCoordinator("tx")
	if err != nil {
		t.Fatal(err)
	}
	var id *sarama.InitProducerIDResponse
	begin := func() {
		t.Helper()
		txnID := "tx"
		resp, err := broker.InitProducerID(&sarama.InitProducerIDRequest{
			Version: 4, TransactionalID: &txnID, TransactionTimeout: 60_000_000_000, ProducerID: -1, ProducerEpoch: -1,
		})
		if err != nil || resp.Err != sarama.ErrNoError {
			t.Fatal(resp, err)
		}
		id = resp
	}
	end := func(commit bool, want sarama.KError) {
		t.Helper()
		resp, err := broker.EndTxn(&sarama.EndTxnRequest{
			Version: 3, TransactionalID: "tx", ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, TransactionResult: commit,
		})
		if err != nil || resp.Err != want {
			t.Errorf("EndTxn: %v, %v, want %v", resp, err, want)
		}
	}
	begin()
	end(false, sarama.ErrInvalidTxnState)
	end(true, sarama.ErrInvalidTxnState)
	resp, err := broker.AddPartitionsToTxn(&sarama.AddPartitionsToTxnRequest{
		Version: 3, TransactionalID: "tx", ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch,
		TopicPartitions: map[string][]int32{"t": {0}},
	})
	if err != nil || resp.Errors["t"][0].Err != sarama.ErrNoError {
		t.Fatal(resp, err)
	}
	end(true, sarama.ErrNoError)
	end(true, sarama.ErrNoError) // a repeated one
	end(false, sarama.ErrInvalidTxnState)
	before := *id
	begin()
	end(true, sarama.ErrInvalidTxnState)
	*id = before
	end(true, sarama.ErrProducerFenced)
}

func TestClusterDelaysMarkers(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
	cluster.DelayTxnMarkers(2)
	config := transactionalAt(cluster)
	p := producer(t, cluster, config)
	for _, value := range []string{"1", "2"} {
		if err := transact(p, value, 3); err != nil {
			t.Fatal(err)
		}
	}
	config.Producer.Transaction.Retry.Max = 1
	if _, err := transactionalProducer(t, cluster, config); err != sarama.ErrConcurrentTransactions {
		t.Errorf("another producer, while markers are written: %v", err)
	}
	cluster.DelayTxnMarkers(0)
	p = producer(t, cluster, config)
	for _, value := range []string{"3", "4"} {
		if err := transact(p, value, 3); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := values(cluster, "t"), []string{"0:1", "0:2", "0:3", "0:4"}; !slices.Equal(got, want) {
		t.Errorf("the topic has %v", got)
	}
}

// The coordinator moves while a transaction is open.
func TestClusterMovesCoordinators(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(2), mocks.WithTopic("t", 1))
	config := transactionalAt(cluster)
	config.Producer.Transaction.Retry.Max = 0
	p := producer(t, cluster, config)
	if err := p.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	send(t, p, text("t", "1"))
	cluster.MoveCoordinator("tx")
	for _, want := range []error{sarama.ErrNotCoordinatorForConsumer, nil} {
		if err := p.CommitTxn(); err != want {
			t.Errorf("CommitTxn: %v, want %v", err, want)
		}
	}
	if got := values(cluster, "t"); !slices.Equal(got, []string{"0:1"}) {
		t.Errorf("the topic has %v", got)
	}
}

// Producers see which version a cluster has, and franz-go's speaks it.
func TestClusterTransactionVersions(t *testing.T) {
	for version, opts := range map[int16][]mocks.ClusterOption{
		1: {mocks.WithTransactionVersion(2), mocks.WithTransactionVersion(1)},
		2: nil,
	} {
		cluster := mocks.NewCluster(t, append(opts, mocks.WithTopic("t", 1))...)
		client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("t"),
			kgo.MetadataMinAge(10*time.Millisecond)) // it looks topics up between its tries
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.IndexFunc(resp.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
			return f.Name == "transaction.version" && f.MaxVersionLevel == version
		})
		if got < 0 {
			t.Errorf("version %d: features %v", version, resp.FinalizedFeatures)
		}
		cluster.DelayTxnMarkers(2)
		for i := range 2 {
			produce(t, client, i)
		}
		// With version 2 nothing is added to a transaction by a request of its own.
		cluster.FailNextTxn(mocks.AddPartitionsToTxn, kerr.TransactionalIDAuthorizationFailed, 1)
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("3")).FirstErr(); (err == nil) != (version == 2) {
			t.Errorf("version %d: %v", version, err)
		}
		if got := values(cluster, "t"); len(got) != 2 {
			t.Errorf("version %d: the topic has %v", version, got)
		}
	}
}

// A broker that speaks version 2 of transactions answers Produce with CONCURRENT_TRANSACTIONS.
func TestClusterDelaysMarkersOfVersion2(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("t", 1))
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("t"),
		kgo.MaxVersions(kversion.V4_0_0())) // whose Produce has no topic ids
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cluster.DelayTxnMarkers(1)
	produce(t, client, 0)
	for _, line := range []struct {
		txnID string
		want  *kerr.Error
	}{
		{"another", kerr.CorruptMessage}, // it was let through
		{"tx", kerr.ConcurrentTransactions},
		{"tx", kerr.CorruptMessage},
	} {
		req := kmsg.NewPtrProduceRequest()
		req.TransactionID, req.Acks = &line.txnID, -1
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = "t"
		topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		if got := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); got != line.want {
			t.Errorf("Produce v%d for %q: %v, want %v", req.Version, line.txnID, got, line.want)
		}
	}
}

// FindCoordinator of a group is no request of transactions.
func TestClusterTxnFaultsSpareGroups(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
	cluster.FailNextTxn(mocks.FindCoordinator, sarama.ErrConsumerCoordinatorNotAvailable, 1)
	client, err := sarama.NewClient(cluster.Brokers(), cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	broker, err := client.Controller()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []struct {
		of   sarama.CoordinatorType
		want sarama.KError
	}{
		{sarama.CoordinatorGroup, sarama.ErrNoError},
		{sarama.CoordinatorTransaction, sarama.ErrConsumerCoordinatorNotAvailable},
		{sarama.CoordinatorTransaction, sarama.ErrNoError},
	} {
		resp, err := broker.FindCoordinator(&sarama.FindCoordinatorRequest{Version: 2, CoordinatorKey: "x", CoordinatorType: line.of})
		if err != nil || resp.Err != line.want {
			t.Errorf("coordinator type %d: %v, %v, want %v", line.of, resp, err, line.want)
		}
	}
}

// produce commits a transaction of one message.
func produce(t *testing.T, client *kgo.Client, i int) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(i, err)
	}
	if err := client.EndTransaction(context.Background(), kgo.TryCommit); err != nil {
		t.Fatal(i, err)
	}
}
