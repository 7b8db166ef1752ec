package dispatch

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// How a topic chooses partitions, on its goroutine.

// partition chooses the partitions of records. If it fails, n records have theirs, and err is about the next one. The
// partitioner is the user's code, and may panic.
func (t *topic) partition(recs []flow.Record) (n int, err error) {
	defer recoverAs(&err, "the partitioner of", t.name)
	if t.partitioner == nil {
		if err := t.makePartitioner(); err != nil {
			return 0, err
		}
	}
	all, writable := t.md.All, t.md.Writable
	if len(writable) == 0 {
		writable = all // no leader at all: the partition producers wait for one
	}
	if len(all) == 0 {
		return 0, flow.Errorf("topic %q has no partitions: %w", t.name, flow.External(sarama.ErrLeaderNotAvailable))
	}
	for n = range recs {
		rec := &recs[n]
		if rec.Completion != nil && rec.IsProbe() {
			t.deps.Outcomes.Decide(flow.Failure(t.stats, t.name, -1, []flow.Record{*rec}, nil)) // it has waited for the topic to be known
			rec.Partition = withdrawn
			continue
		}
		if rec.Withdrawable() {
			if err := t.partitionWithdrawable(rec, all, writable); err != nil {
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

func (t *topic) makePartitioner() error {
	p := t.deps.Conf.Producer.Partitioner(t.name)
	if p == nil {
		return flow.Invalid(flow.Errorf("Producer.Partitioner returned no partitioner for topic %q", t.name))
	}
	if dynamic, ok := p.(sarama.DynamicConsistencyPartitioner); ok {
		t.dynamic = dynamic
	} else {
		t.consistent = p.RequiresConsistency()
	}
	t.partitioner = p
	return nil
}

// withdrawn is the partition of a record that its sender withdrew. It goes to no partition producer.
const withdrawn = -2

// partitionWithdrawable chooses the partition of a record that its sender may withdraw at any moment.
func (t *topic) partitionWithdrawable(rec *flow.Record, all, writable []int32) (err error) {
	if !rec.BeginRead() {
		t.fail([]flow.Record{*rec}, flow.ErrWithdrawn)
		rec.Partition = withdrawn
		return nil
	}
	defer rec.EndRead(false) // also if the partitioner panics
	rec.Partition, err = t.choose(rec.Msg, all, writable)
	return err
}

// choose asks the partitioner for a partition's id. It returns -1 with an error, which is an errNotKnown if there may be
// such a partition by now.
func (t *topic) choose(msg *sarama.ProducerMessage, all, writable []int32) (int32, error) {
	if chosen, ok := msg.Metadata.(flow.ChosenPartition); ok {
		return t.partitionOf(int32(chosen), all)
	}
	choices := writable
	if t.consistent || t.dynamic != nil && t.dynamic.MessageRequiresConsistency(msg) {
		choices = all
	}
	choice, err := t.partitioner.Partition(msg, int32(len(choices)))
	if err != nil {
		return -1, flow.Invalid(flow.Errorf("partitioning a message to topic %q: %w", t.name, flow.External(err)))
	}
	return t.partitionOf(choice, choices)
}

// partitionOf is the partition that was chosen.
func (t *topic) partitionOf(choice int32, choices []int32) (int32, error) {
	if choice < 0 || int(choice) >= len(choices) {
		err := flow.Errorf("topic %q: partition %d of %d: %w",
			t.name, choice, len(choices), flow.External(sarama.ErrInvalidPartition))
		if choice >= 0 {
			err = errNotKnown{err}
		}
		return -1, err
	}
	return choices[choice], nil
}
