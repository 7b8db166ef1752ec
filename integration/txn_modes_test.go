//go:build unix

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// transactionVersion is the feature that says which version of transactions a cluster uses (KIP-890).
const transactionVersion = "transaction.version"

// checkTxnMode says what is wrong with the requests of whole transactions of one version.
func checkTxnMode(seen []sent, mode int) error {
	produce, end := versionsOf(seen, kmsg.Produce), versionsOf(seen, kmsg.EndTxn)
	partitions, offsets := versionsOf(seen, kmsg.AddPartitionsToTxn), versionsOf(seen, kmsg.AddOffsetsToTxn)
	commit := versionsOf(seen, kmsg.TxnOffsetCommit)
	within := func(versions []int16, least, most int16) bool {
		return len(versions) == 0 || versions[0] >= least && versions[len(versions)-1] <= most
	}
	var good bool
	switch mode {
	case 1: // AddPartitionsToTxn 4 is for brokers
		good = len(partitions) > 0 && within(produce, 3, 11) && within(end, 0, 4) && within(partitions, 0, 3) && within(commit, 0, 4) &&
			(len(commit) == 0) == (len(offsets) == 0)
	case 2:
		good = len(partitions)+len(offsets) == 0 && within(produce, 12, 99) && within(end, 5, 99) && within(commit, 5, 99)
	}
	if good && len(produce) > 0 && len(end) > 0 {
		return nil
	}
	return fmt.Errorf("a transaction of version %d has Produce %v, EndTxn %v, AddPartitionsToTxn %v, AddOffsetsToTxn %v, TxnOffsetCommit %v",
		mode, produce, end, partitions, offsets, commit)
}

// testTxnRequests looks at the requests of transactions with messages and offsets, committed and aborted, and of one with
// nothing in it.
func testTxnRequests(t *testing.T, c *kafkatest.Cluster, mode int) {
	ctx := testContext(t)
	topic := c.NewTopic(t, 2, nil)
	conf := txnConfig(topic)
	tap := tapTxn(conf)
	p := newTxn(t, c, conf)
	load := &txnLoad{t: t, client: sluiceTxns{p, t}, topic: topic, partitions: 2, messages: 10}
	load.run(ctx, false, func() {
		group := sarama.NewConsumerGroupMetadata(topic + "-group")
		offsets := map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 1, Offset: 7}}}
		if err := p.AddOffsetsToTxnWithGroupMetadata(offsets, group); err != nil {
			t.Error(err)
		}
	})
	seen := tap.take()
	if err := checkTxnMode(seen, mode); err != nil {
		t.Error(err)
	}
	if len(versionsOf(seen, kmsg.TxnOffsetCommit)) == 0 {
		t.Error("no TxnOffsetCommit")
	}
	if got := committedOffsets(ctx, t, c, topic+"-group", topic, 1); got[1] != 7 {
		t.Errorf("the group's offsets are %v, want 7 in partition 1", got)
	}
	load.run(ctx, true, nil)
	if err := checkTxnMode(tap.take(), mode); err != nil {
		t.Error(err)
	}
	for _, end := range []func() error{p.CommitTxn, p.AbortTxn} {
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if ends := versionsOf(tap.take(), kmsg.EndTxn); len(ends) > 0 {
			t.Error("an empty transaction costs an EndTxn")
		}
	}
	load.check(c)
}

// testTxnUpgrade raises transaction.version to 2 while a producer runs. Each transaction is of one version, the producer
// comes to version 2 by an InitProducerId, and nothing is lost or doubled.
func testTxnUpgrade(t *testing.T, c *kafkatest.Cluster) {
	ctx := testContext(t)
	topic := c.NewTopic(t, 6, nil)
	conf := txnConfig(topic)
	tap := tapTxn(conf)
	p := newTxn(t, c, conf)
	load := &txnLoad{t: t, client: sluiceTxns{p, t}, topic: topic, partitions: 6, messages: 20}
	for range 10 {
		load.run(ctx, load.done%5 == 4, nil)
	}
	if err := checkTxnMode(tap.take(), 1); err != nil {
		t.Error(err)
	}
	raised := make(chan struct{})
	go func() {
		defer close(raised)
		c.RaiseFeature(t, transactionVersion, 2)
	}()
	modes := map[int]int{}
	initialised := false
	for modes[2] < 20 {
		again := load.again
		load.run(ctx, load.done%5 == 4, nil)
		seen := tap.take()
		if load.again > again {
			continue // the requests of two tries, perhaps of two versions
		}
		mode := 1
		if versions := versionsOf(seen, kmsg.EndTxn); len(versions) > 0 && versions[0] >= 5 {
			mode = 2
		}
		initialised = initialised || len(versionsOf(seen, kmsg.InitProducerID)) > 0
		if err := checkTxnMode(seen, mode); err != nil {
			t.Fatalf("transaction %d: %v", load.done-1, err)
		}
		if mode == 1 && modes[2] > 0 {
			t.Fatalf("transaction %d is of version 1 again", load.done-1)
		}
		if modes[mode]++; mode == 2 && modes[2] == 1 && !initialised {
			t.Error("version 2 began without InitProducerId")
		}
	}
	<-raised
	t.Logf("from the upgrade on, %d transactions of version 1, then %d of version 2", modes[1], modes[2])
	load.check(c)
}

// testTxnFencing: of two producers with one id the older is fenced, whatever it was about, and the newer goes on.
func testTxnFencing(t *testing.T, c *kafkatest.Cluster) {
	for _, test := range []struct {
		name   string
		before func(*txnScript) // the newer one comes
		after  func(*txnScript) error
	}{
		{"about to commit",
			func(s *txnScript) { s.begin(); s.send("older"); s.flush() },
			func(s *txnScript) error { return s.p.CommitTxn() }},
		{"about to abort",
			func(s *txnScript) { s.begin(); s.send("older"); s.flush() },
			func(s *txnScript) error { return s.p.AbortTxn() }},
		{"about to send more",
			func(s *txnScript) { s.begin(); s.send("older"); s.flush() },
			func(s *txnScript) error { s.send("older too"); return s.p.CommitTxn() }},
		{"between transactions",
			func(s *txnScript) {
				s.begin()
				s.send("older, before")
				if err := s.p.CommitTxn(); err != nil {
					t.Error(err)
				}
			},
			func(s *txnScript) error {
				if err := s.p.BeginTxn(); err != nil {
					return err
				}
				s.send("older")
				return s.p.CommitTxn()
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			older := &txnScript{t, c, topic, newTxn(t, c, txnConfig(topic))}
			test.before(older)
			newer := &txnScript{t, c, topic, newTxn(t, c, txnConfig(topic))}
			err := test.after(older)
			t.Logf("the older one says: %v", err)
			if sluice.IsTxnAbortable(err) { // a partition's leader knows the epoch alone; the coordinator knows why
				err = older.p.AbortTxn()
				t.Logf("the older one says: %v", err)
			}
			if !sluice.IsTxnFatal(err) || !errors.Is(err, sarama.ErrProducerFenced) {
				t.Errorf("the older one's error is %v, want a fatal one that wraps sarama.ErrProducerFenced", err)
			}
			if want := sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError; older.p.TxnStatus()&want != want {
				t.Errorf("the older one's status is %v, want %v", older.p.TxnStatus(), want)
			}
			if err := older.p.BeginTxn(); err == nil {
				t.Error("the older one begins another transaction")
			}
			newer.begin()
			newer.send("newer")
			if err := newer.p.CommitTxn(); err != nil {
				t.Error(err)
			}
			older.close()
			newer.close()
			want := []string{"newer"}
			if test.name == "between transactions" {
				want = []string{"older, before", "newer"}
			}
			wantCommitted(t, c, topic, want...)
		})
	}
}

// testTxnTimeout: a transaction that its coordinator has ended by its time-out is not committed, and the producer says so.
func testTxnTimeout(t *testing.T, c *kafkatest.Cluster) {
	for _, more := range []bool{false, true} {
		t.Run(fmt.Sprintf("more is sent=%t", more), func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			conf := txnConfig(topic)
			conf.Producer.Transaction.Timeout = 2 * time.Second
			c.TransactionState(t, topic) // the constructor has no more time than that for a coordinator that still loads
			s := &txnScript{t, c, topic, newTxn(t, c, conf)}
			s.begin()
			s.send("too late")
			s.flush()
			c.AwaitTransactionState(t, topic, "CompleteAbort")
			if more {
				s.send("later still")
			}
			err := s.p.CommitTxn()
			t.Logf("commit says: %v", err)
			if err == nil {
				t.Error("a transaction that has timed out is committed")
			}
			// Whatever it says of itself, it goes on, or it can be replaced. On a busy machine it may be too late again.
			for tries := 0; err != nil; tries++ {
				if tries == 10 {
					t.Fatal(err)
				}
				s.settle(err)
				s.begin()
				s.send("in time")
				err = s.p.CommitTxn()
			}
			s.close()
			wantCommitted(t, c, topic, "in time")
		})
	}
}

// testTxnClose: Close aborts what is open, sent or not, so that nobody waits for its time-out.
func testTxnClose(t *testing.T, c *kafkatest.Cluster) {
	for _, test := range []struct {
		name string
		open func(*txnScript)
	}{
		{"nothing sent", func(*txnScript) {}},
		{"delivered", func(s *txnScript) { s.send("x"); s.flush() }},
		{"under way", func(s *txnScript) { s.send("x") }},
		{"delivered, and under way", func(s *txnScript) { s.send("x"); s.flush(); s.send("y") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			s := &txnScript{t, c, topic, newTxn(t, c, txnConfig(topic))}
			s.begin()
			test.open(s)
			s.close()
			if open := c.OpenTransactions(t); slices.Contains(open, topic) {
				t.Error("a transaction is open after Close")
			}
			wantNoOpenTxn(t, c, topic)
			wantCommitted(t, c, topic)
		})
	}
}

// txnScript is a producer whose calls must not fail, and its one topic of one partition.
type txnScript struct {
	t     *testing.T
	c     *kafkatest.Cluster
	topic string
	p     *sluice.Producer
}

func (s *txnScript) begin() {
	s.t.Helper()
	if err := s.p.BeginTxn(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *txnScript) send(value string) {
	s.t.Helper()
	m := &sarama.ProducerMessage{Topic: s.topic, Value: sarama.StringEncoder(value)}
	done := func(_ *sarama.ProducerMessage, err error) {
		if err != nil {
			s.t.Logf("%s: %v", value, err)
		}
	}
	if err := s.p.Produce(context.Background(), m, done); err != nil {
		s.t.Logf("%s: %v", value, err)
	}
}

// flush waits for the outcomes, not for success.
func (s *txnScript) flush() {
	s.t.Helper()
	if err := s.p.Flush(testContext(s.t)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *txnScript) close() {
	s.t.Helper()
	if err := s.p.Close(); err != nil {
		s.t.Logf("close: %v", err)
	}
}

// settle aborts a transaction that failed with err. A producer that can't go on is replaced, by one with more patience.
func (s *txnScript) settle(err error) {
	s.t.Helper()
	if sluice.IsTxnAbortable(err) {
		err = s.p.AbortTxn()
		s.t.Logf("abort says: %v", err)
	}
	if err == nil {
		return
	}
	if !sluice.IsTxnFatal(err) {
		s.t.Fatalf("%v is neither abortable nor fatal", err)
	}
	s.close()
	s.p = newTxn(s.t, s.c, txnConfig(s.topic))
}

func wantCommitted(t *testing.T, c *kafkatest.Cluster, topic string, want ...string) {
	t.Helper()
	if got := valuesOf(readCommitted(t, c, topic))[0]; !slices.Equal(got, want) {
		t.Errorf("committed: %q, want %q", got, want)
	}
}
