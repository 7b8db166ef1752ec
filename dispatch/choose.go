package dispatch

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// How a topic chooses partitions, on its goroutine.

// partition chooses partitions. On failure it returns for how many, and why it has none for the next: the partitioner is
// the user's code, and may panic.
func (t *topic) partition(recs []flow.Record) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = flow.Errorf("the partitioner of topic %q panicked: %v", t.name, p)
		}
	}()
	if t.partitioner == nil {
		p := t.deps.Conf.Producer.Partitioner(t.name)
		if p == nil {
			return 0, flow.Errorf("Producer.Partitioner returned no partitioner for topic %q", t.name)
		}
		if dynamic, ok := p.(sarama.DynamicConsistencyPartitioner); ok {
			t.dynamic = dynamic
		} else {
			t.consistent = p.RequiresConsistency()
		}
		t.partitioner = p
	}
	all, writable := t.md.All, t.md.Writable
	if len(writable) == 0 {
		writable = all // a moment without any leader is waited out by the partition producers
	}
	if len(all) == 0 {
		return 0, flow.Errorf("topic %q has no partitions: %w", t.name, flow.External(sarama.ErrLeaderNotAvailable))
	}
	for n = range recs {
		rec := &recs[n]
		if rec.Withdrawable() {
			if err := t.partitionBorrowed(rec, all, writable); err != nil {
				return n, err
			}
			continue
		}
		if rec.Partition, err = t.choose(rec.Msg, all, writable); err != nil {
			return n, err
		}
	}
	return len(recs), nil
}

// gone is the partition of a record that its sender withdrew.
const gone = -2

// partitionBorrowed is for a record whose sender may withdraw it while the partitioner reads it. One that is withdrawn
// goes to no partition producer.
func (t *topic) partitionBorrowed(rec *flow.Record, all, writable []int32) (err error) {
	if !rec.Borrow() {
		t.fail([]flow.Record{*rec}, sarama.ErrShuttingDown) // only the accounts: it gets no outcome
		rec.Partition = gone
		return nil
	}
	defer rec.Return(false) // also if the partitioner panics
	rec.Partition, err = t.choose(rec.Msg, all, writable)
	return err
}

// choose asks the partitioner for a partition's id: -1 with an error, as partition stores it in the record.
func (t *topic) choose(msg *sarama.ProducerMessage, all, writable []int32) (int32, error) {
	choices := writable
	if t.consistent || t.dynamic != nil && t.dynamic.MessageRequiresConsistency(msg) {
		choices = all
	}
	choice, err := t.partitioner.Partition(msg, int32(len(choices)))
	if err != nil {
		return -1, flow.Errorf("partitioning a message to topic %q: %w", t.name, flow.External(err))
	}
	if choice < 0 || int(choice) >= len(choices) {
		return -1, flow.Errorf("topic %q: partition %d of %d: %w", t.name, choice, len(choices), flow.External(sarama.ErrInvalidPartition))
	}
	return choices[choice], nil
}
