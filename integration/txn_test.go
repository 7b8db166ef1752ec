//go:build unix

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// txnConfig is the configuration of a transactional producer.
func txnConfig(id string) *sarama.Config {
	conf := newConfig()
	conf.Producer.Transaction.ID = id
	conf.Producer.Transaction.Timeout = time.Minute
	return conf
}

// newTxn makes a transactional producer. The caller closes it; then no transaction of it may be open.
func newTxn(t *testing.T, c *kafkatest.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.Brokers(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantNoOpenTxn(t, c, conf.Producer.Transaction.ID) })
	return p
}

// wantNoOpenTxn is the admin's view after a producer has gone.
func wantNoOpenTxn(t *testing.T, c *kafkatest.Cluster, id string) {
	t.Helper()
	if state := c.TransactionState(t, id); state == kafkatest.Ongoing {
		t.Errorf("a transaction of %q is open on its coordinator", id)
		return
	}
	c.AwaitTransactionState(t, id, "", "Empty", "CompleteCommit", "CompleteAbort")
}

// txnClient is a transactional producer, as txnLoad drives it.
type txnClient interface {
	begin() error
	// send does not wait. told is called once, with the outcome of the message.
	send(topic string, partition int32, value string, told func(error))
	// commit repeats what has no definite answer.
	commit(ctx context.Context) error
	abort(ctx context.Context) error
	close() error
}

type sluiceTxns struct {
	*sluice.Producer
	t *testing.T
}

func (p sluiceTxns) begin() error { return p.BeginTxn() }

func (p sluiceTxns) send(topic string, partition int32, value string, told func(error)) {
	m := &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(value)}
	err := p.Produce(context.Background(), m, func(_ *sarama.ProducerMessage, err error) { told(err) })
	if err != nil {
		told(err)
	}
}

func (p sluiceTxns) commit(ctx context.Context) error {
	for {
		err := p.CommitTxnContext(ctx)
		if !unanswered(p.Producer, err) || ctx.Err() != nil {
			return err
		}
		p.t.Logf("commit again: %v", err)
	}
}

func (p sluiceTxns) abort(ctx context.Context) error { return p.AbortTxnContext(ctx) }
func (p sluiceTxns) close() error                    { return p.Close() }

// txnLoad is a producer's transactions, one after the other, with what it said about each.
type txnLoad struct {
	t          *testing.T
	client     txnClient
	topic      string
	partitions int
	messages   int // of a transaction
	tries      []txnTry
	done       int // transactions
	again      int // tries that failed, and were aborted
}

// run makes one transaction. Where it fails it is aborted and tried again, until it is committed, or aborted as is wanted.
// Half-way, when the first half of the messages has its outcomes, between runs, if there is one.
func (l *txnLoad) run(ctx context.Context, abort bool, between func()) {
	l.t.Helper()
	for attempt := 0; ; attempt++ {
		err := l.try(ctx, attempt, abort, between)
		if err == nil {
			break
		}
		if ctx.Err() != nil || attempt >= 10 {
			l.t.Fatalf("transaction %d, try %d: %v", l.done, attempt, err)
		}
		l.t.Logf("transaction %d, try %d: %v", l.done, attempt, err)
		l.again++
		between = nil
	}
	l.done++
}

// try returns nil if the transaction ended as is wanted, and an error if it failed and was aborted.
func (l *txnLoad) try(ctx context.Context, attempt int, abort bool, between func()) error {
	l.t.Helper()
	if err := l.client.begin(); err != nil {
		l.t.Fatalf("begin transaction %d: %v", l.done, err)
	}
	values := make(map[int32][]string)
	outcomes := make(chan error, 2*l.messages) // room for outcomes that are told twice
	told := func(n int) error {
		var first error
		for range n {
			select {
			case err := <-outcomes:
				if first == nil {
					first = err
				}
			case <-ctx.Done():
				l.t.Fatalf("transaction %d: messages have no outcome: %v", l.done, ctx.Err())
			}
		}
		return first
	}
	half := l.messages / 2
	for i := range l.messages {
		if i == half && between != nil {
			if err := told(half); err != nil {
				l.t.Logf("transaction %d, first half: %v", l.done, err)
			}
			between()
		}
		partition := int32((l.done + i) % l.partitions)
		value := fmt.Sprintf("%d.%d.%d", l.done, attempt, i)
		values[partition] = append(values[partition], value)
		l.client.send(l.topic, partition, value, func(err error) { outcomes <- err })
	}
	rest := l.messages
	if between != nil {
		rest -= half
	}
	var failed error
	end := aborted
	if !abort {
		end = committed
		failed = l.client.commit(ctx)
	}
	if abort || failed != nil {
		end = aborted
		if err := l.client.abort(ctx); err != nil {
			if !errors.Is(err, sluice.ErrOutcomeUnknown) {
				l.t.Fatalf("abort transaction %d after %v: %v", l.done, failed, err)
			}
			end = unknown
		}
	}
	if err := told(rest); err != nil && end == committed {
		l.t.Errorf("transaction %d is committed, though a message failed: %v", l.done, err)
	}
	if len(outcomes) > 0 {
		l.t.Errorf("transaction %d: %d outcomes too many", l.done, len(outcomes))
	}
	l.tries = append(l.tries, txnTry{end, values})
	return failed
}

// check ends the load, and compares what it said with what kgo and sarama read.
func (l *txnLoad) check(c *kafkatest.Cluster) {
	l.t.Helper()
	// A last one, committed, in every partition: whoever has read it has come by all others.
	l.run(testContext(l.t), false, nil)
	if err := l.client.close(); err != nil {
		l.t.Errorf("close: %v", err)
	}
	records := readCommitted(l.t, c, l.topic)
	if err := auditTxns(l.tries, valuesOf(records)); err != nil {
		l.t.Error(err)
	}
	readCommittedBySarama(l.t, c, l.topic, records)
	n := make(map[verdict]int)
	for _, try := range l.tries {
		n[try.verdict]++
	}
	l.t.Logf("%d transactions in %d tries: %d committed, %d aborted, %d unknown", l.done, len(l.tries), n[committed], n[aborted], n[unknown])
}

// readCommitted reads a topic to its end with kgo's read-committed consumer. Control records, which every transaction ends
// with, tell that the end is reached.
func readCommitted(t *testing.T, c *kafkatest.Cluster, topic string) map[int32][]*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	left := partitionEnds(t, cl, topic)
	for p, end := range left {
		if end == 0 {
			delete(left, p)
		}
	}
	ctx := testContext(t)
	records := make(map[int32][]*kgo.Record)
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: the ends of partitions are not reached, %v, with %d records read: %v", topic, left, len(records), ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				records[r.Partition] = append(records[r.Partition], r)
			}
			if end, ok := left[r.Partition]; ok && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return records
}

// readCommittedBySarama reads with sarama's read-committed consumer: it must see the same records.
func readCommittedBySarama(t *testing.T, c *kafkatest.Cluster, topic string, want map[int32][]*kgo.Record) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Consumer.IsolationLevel = sarama.ReadCommitted
	consumer, err := sarama.NewConsumer(c.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	ctx := testContext(t)
	for partition, records := range want {
		pc, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			select {
			case m := <-pc.Messages():
				if m.Offset != r.Offset || string(m.Value) != string(r.Value) {
					t.Fatalf("partition %d: sarama reads %q at %d, want %q at %d", partition, m.Value, m.Offset, r.Value, r.Offset)
				}
			case <-ctx.Done():
				t.Fatalf("partition %d: sarama does not read %q at %d: %v", partition, r.Value, r.Offset, ctx.Err())
			}
		}
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	}
}
