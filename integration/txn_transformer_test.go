//go:build unix

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// transformEnv, when it is set, turns the test binary into the process that testTransform kills.
const transformEnv = "SLUICE_TEST_TRANSFORM"

// transformConfig says what the process is to do, as JSON in transformEnv.
type transformConfig struct {
	Brokers    []string
	ID, Group  string
	In, Out    string
	Batch      int    // messages of a transaction, at most
	Hold       string // where in a transaction it says "holds" and stands still, one of transformHolds; "" for nowhere
	HoldAfter  int    // transactions before that
	ByTransact bool   // by Transact, else by its own calls to BeginTxn and CommitTxn
}

// transformHolds are the places.
var transformHolds = []string{"begun", "sent", "offsets added", "EndTxn answered", "committed"}

// transformMain is the process. It says "committed" after each transaction, and ends with its standard input.
func transformMain(text string) int {
	var conf transformConfig
	err := json.Unmarshal([]byte(text), &conf)
	if err == nil {
		err = transform(conf)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func transform(conf transformConfig) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(nil)
	}()
	tr := &transformer{conf: conf, stop: cancel}
	producerConf := txnConfig(conf.ID)
	tap := tapTxn(producerConf)
	tap.act(nil, func(s sent) bool {
		if s.key == kmsg.EndTxn {
			tr.hold("EndTxn answered")
		}
		return false
	})
	// First the producer: with it an older process is fenced, and its transaction ended, so that the offsets are those of
	// what was committed.
	p, err := sluice.New(conf.Brokers, producerConf)
	if err != nil {
		return err
	}
	tr.producer = p
	groupConf := sarama.NewConfig()
	groupConf.Consumer.IsolationLevel = sarama.ReadCommitted // without it sarama does not ask for stable offsets
	groupConf.Consumer.Offsets.Initial = sarama.OffsetOldest
	groupConf.Consumer.Offsets.AutoCommit.Enable = false
	groupConf.Consumer.Group.Session.Timeout = 2 * time.Second // a process that is killed is a member for that long
	groupConf.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	groupConf.Consumer.Group.Rebalance.Timeout = 5 * time.Second
	group, err := sarama.NewConsumerGroup(conf.Brokers, conf.Group, groupConf)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{conf.In}, tr); err != nil {
			fmt.Println("consume:", err)
		}
	}
	err = context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, group.Close(), p.Close())
}

// transformer is the group's handler. Its partitions share the producer, so one transaction is open at a time.
type transformer struct {
	conf     transformConfig
	producer *sluice.Producer
	stop     context.CancelCauseFunc

	mu   sync.Mutex // held through a transaction
	done atomic.Int64
}

func (tr *transformer) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (tr *transformer) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim ends at a transaction that failed. With it ends the session, and the next one begins with the offsets that
// are committed.
func (tr *transformer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		batch := tr.batch(session.Context(), claim)
		if len(batch) == 0 {
			return nil
		}
		if err := tr.transaction(session, batch); err != nil {
			fmt.Println("transaction:", err)
			return err
		}
		fmt.Println("committed")
	}
}

// batch waits for a message, and takes what else is there.
func (tr *transformer) batch(ctx context.Context, claim sarama.ConsumerGroupClaim) (batch []*sarama.ConsumerMessage) {
	select {
	case m, ok := <-claim.Messages():
		if !ok {
			return nil
		}
		batch = append(batch, m)
	case <-ctx.Done():
		return nil
	}
	for len(batch) < tr.conf.Batch {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return batch
			}
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// hold stands still at the place that the configuration names, until the process is killed.
func (tr *transformer) hold(place string) {
	if place == tr.conf.Hold && int(tr.done.Load()) >= tr.conf.HoldAfter {
		fmt.Println("holds")
		select {}
	}
}

func (tr *transformer) transaction(session sarama.ConsumerGroupSession, batch []*sarama.ConsumerMessage) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	group := sarama.NewConsumerGroupMetadataFromSession(session, tr.conf.Group, nil)
	last := batch[len(batch)-1]
	var err error
	if tr.conf.ByTransact {
		err = tr.producer.Transact(context.Background(), func(tx sluice.Tx) error {
			return tr.fill(batch, tx.Produce, func() error { return tx.AddMessage(last, group) })
		})
	} else if err = tr.producer.BeginTxn(); err == nil {
		err = tr.fill(batch, tr.producer.Produce, func() error {
			return tr.producer.AddMessageToTxnWithGroupMetadata(last, group, nil)
		})
		if err == nil {
			err = tr.producer.CommitTxn()
		}
		if err != nil && sluice.IsTxnAbortable(err) {
			err = errors.Join(err, tr.producer.AbortTxn())
		}
	}
	for unanswered(tr.producer, err) {
		fmt.Println("commit again:", err)
		err = tr.producer.CommitTxn()
	}
	if err == nil {
		tr.done.Add(1)
		tr.hold("committed")
	}
	if sluice.IsTxnFatal(err) {
		tr.stop(err)
	}
	return err
}

// unanswered tells that a commit has no definite answer yet.
func unanswered(p *sluice.Producer, err error) bool {
	const inError = sarama.ProducerTxnFlagInError
	return err != nil && p.TxnStatus()&(sarama.ProducerTxnFlagCommittingTransaction|inError) == sarama.ProducerTxnFlagCommittingTransaction
}

type produceFunc func(context.Context, *sarama.ProducerMessage, func(*sarama.ProducerMessage, error)) error

// fill puts the messages and their offsets into the open transaction.
func (tr *transformer) fill(batch []*sarama.ConsumerMessage, produce produceFunc, addOffsets func() error) error {
	tr.hold("begun")
	for _, m := range batch {
		// A message that fails fails the transaction: Commit says so.
		err := produce(context.Background(), &sarama.ProducerMessage{
			Topic: tr.conf.Out, Partition: m.Partition, Value: sarama.StringEncoder(transformed(m.Value)),
		}, func(*sarama.ProducerMessage, error) {})
		if err != nil {
			return err
		}
	}
	if tr.conf.Hold == "sent" && int(tr.done.Load()) >= tr.conf.HoldAfter {
		if err := tr.producer.Flush(context.Background()); err != nil {
			return err
		}
		tr.hold("sent")
	}
	if err := addOffsets(); err != nil {
		return err
	}
	tr.hold("offsets added")
	return nil
}
