package main

import (
	"context"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// sluiceConfig is sarama's, linger and batches included: a user changes the constructor, and nothing else.
//
// MaxOpenRequests 5 holds for a connection. Without idempotence one batch of a partition is in flight, so that the
// order stands under retries; with it up to five.
func sluiceConfig(r run) (*sarama.Config, error) { return saramaConfig(r) }

func openSluice(r run) (client, error) {
	conf, err := sluiceConfig(r)
	if err != nil {
		return nil, err
	}
	producer, err := sluice.New(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newChannelClient(r, producer), nil
}

func openSluiceSync(r run) (client, error) {
	conf, err := sluiceConfig(r)
	if err != nil {
		return nil, err
	}
	producer, err := sluice.New(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newSyncClient(r, producer), nil
}

func openSluiceTxn(r run) (client, error) {
	conf, err := saramaTxnConfig(r, 0)
	if err != nil {
		return nil, err
	}
	producer, err := sluice.New(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newTransactions(r, newChannelClient(r, producer)), nil
}

// sluiceTxn sends the messages of a transaction with Produce.
type sluiceTxn struct {
	run
	producer *sluice.Producer
	done     func(*sarama.ProducerMessage, error)
	tally
}

func newSluiceTxn(r run, number int) (txnClient, error) {
	conf, err := saramaTxnConfig(r, number)
	if err != nil {
		return nil, err
	}
	producer, err := sluice.New(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	s := &sluiceTxn{run: r, producer: producer}
	s.done = func(_ *sarama.ProducerMessage, err error) { s.outcome(err) }
	return s, nil
}

func openSluiceTxnSync(r run) (client, error) { return openTxnSenders(r, newSluiceTxn) }

func (s *sluiceTxn) expect(n int) (acked func() error) { return s.tally.expect(s.Client, n) }
func (s *sluiceTxn) begin() error                      { return s.producer.BeginTxn() }
func (s *sluiceTxn) commit() error                     { return s.producer.CommitTxn() }
func (s *sluiceTxn) close() error                      { return s.producer.Close() }

// put hands a message over. What Produce refuses has no callback.
func (s *sluiceTxn) put(i int) {
	if err := s.producer.Produce(context.Background(), saramaMessage(s.payload, i), s.done); err != nil {
		s.outcome(err)
	}
}

const (
	// sluiceCall is how many messages one slice has, as many as kafka-go gets in a call.
	sluiceCall = kafkaGoCall
	// sluiceFree is how many slices wait to be used again; more go to the garbage collector.
	sluiceFree = 256
)

// sluiceBatch sends slices through InputBatch and gets them back in delivery reports; Successes and Errors are off.
// A slice that a report brings is used again. Messages are made anew, as for every other client.
type sluiceBatch struct {
	run
	producer *sluice.Producer
	free     chan []*sarama.ProducerMessage
	acked    chan struct{} // told when a send's records have their outcomes
	failed   chan error    // the first failure

	// wanted and done belong to the report's goroutine; send hands over a number before it sends anything.
	numbers      chan int
	wanted, done int
}

func openSluiceBatch(r run) (client, error) {
	conf, err := sluiceConfig(r)
	if err != nil {
		return nil, err
	}
	conf.Producer.Return.Successes, conf.Producer.Return.Errors = false, false
	// The buffer counts slices here: 256 of them would be 128,000 messages before the producer's memory is asked.
	conf.ChannelBufferSize = 16
	b := &sluiceBatch{
		run: r, free: make(chan []*sarama.ProducerMessage, sluiceFree),
		acked: make(chan struct{}, 1), failed: make(chan error, 1), numbers: make(chan int, 1),
	}
	b.producer, err = sluice.New(r.Addrs, conf, sluice.WithDeliveryReport(b.report))
	if err != nil {
		return nil, err
	}
	return b, nil
}

// report counts, and keeps the slice for the sender.
func (b *sluiceBatch) report(report sluice.DeliveryReport) {
	if report.Err != nil {
		select {
		case b.failed <- report.Err:
		default:
		}
	}
	b.recycle(report.Messages) // before send returns, so that nothing comes back behind letGo
	if b.done == b.wanted {
		b.wanted, b.done = <-b.numbers, 0
	}
	if b.done += len(report.Messages); b.done == b.wanted {
		b.acked <- struct{}{}
	}
}

// recycle cuts a report's slice, which has a whole batch, into those of a call. They are cleared: what is beyond the
// length of a slice would keep messages alive that have their outcome.
func (b *sluiceBatch) recycle(messages []*sarama.ProducerMessage) {
	clear(messages)
	for ; len(messages) >= sluiceCall; messages = messages[sluiceCall:] {
		select {
		case b.free <- messages[:0:sluiceCall]:
		default:
			return
		}
	}
}

// letGo drops the free slices: they are the user's, not the producer's.
func (b *sluiceBatch) letGo() {
	for len(b.free) > 0 {
		<-b.free
	}
}

// slice returns an empty one with room for a call.
func (b *sluiceBatch) slice() []*sarama.ProducerMessage {
	select {
	case messages := <-b.free:
		return messages
	default:
		return make([]*sarama.ProducerMessage, 0, sluiceCall)
	}
}

func (b *sluiceBatch) send(n int) error {
	b.numbers <- n
	if err := b.shareOut(n, sluiceCall, b.feed); err != nil {
		return err
	}
	select {
	case <-b.acked:
		return nil
	case err := <-b.failed:
		return failures(b.Client, err)
	}
}

// feed is one of the goroutines that send. They share the free slices.
func (b *sluiceBatch) feed(from, to int) error {
	input := b.producer.InputBatch()
	for i := from; i < to; {
		messages := b.slice()
		for range min(sluiceCall, to-i) {
			messages = append(messages, saramaMessage(b.payload, i))
			i++
		}
		input <- messages
	}
	return nil
}

func (b *sluiceBatch) close() error { return b.producer.Close() }
