package main

import (
	"fmt"

	"github.com/IBM/sarama"
)

// saramaMessage makes a message as sarama's users do: a struct, and an encoder around the value. Two allocations.
func saramaMessage(p *payload, i int) *sarama.ProducerMessage {
	msg := &sarama.ProducerMessage{Topic: p.topic(i), Value: sarama.ByteEncoder(p.value(i))}
	if key := p.key(i); key != nil {
		msg.Key = sarama.ByteEncoder(key)
	}
	return msg
}

// keep holds what the baseline makes, so that it escapes as it does in a program.
//
//lint:ignore U1000 nobody reads it
var keep any

func ownSarama(r run, n int) {
	// The pointer alone is kept: storing it in an interface costs no allocation of its own.
	for i := range n {
		keep = saramaMessage(r.payload, i)
	}
}

// saramaConfig is what the settings mean for sarama.
//
// Flush.Frequency is linger. Flush.Bytes lets a full request go before; without it sarama waits out the linger
// however much there is. MaxMessageBytes bounds a partition's batch. ChannelBufferSize stays at 256: larger buffers
// were no faster. Version is set to the newest that sarama's Produce profits from: v10 at present.
func saramaConfig(r run) (*sarama.Config, error) {
	conf := sarama.NewConfig()
	conf.ClientID = "bench"
	conf.Version = sarama.V4_0_0_0
	conf.Net.MaxOpenRequests = inFlight
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.MaxMessageBytes = batchBytes
	conf.Producer.Flush.Frequency = r.linger()
	if r.linger() > 0 {
		conf.Producer.Flush.Bytes = batchBytes
	}
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	if r.Keys > 0 {
		conf.Producer.Partitioner = sarama.NewMurmur2Partitioner
	}
	conf.Producer.Return.Successes = true
	conf.Producer.Return.Errors = true
	if r.Idempotent || r.Transactional {
		conf.Producer.Idempotent = true
		conf.Net.MaxOpenRequests = 1 // sarama refuses more
	}
	if err := conf.Producer.Compression.UnmarshalText([]byte(r.Compression)); err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	return conf, nil
}

func openSarama(r run) (client, error) {
	conf, err := saramaConfig(r)
	if err != nil {
		return nil, err
	}
	producer, err := sarama.NewAsyncProducer(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newChannelClient(r, producer), nil
}

// saramaTxnConfig is saramaConfig with the transactional id of one of the run's clients.
func saramaTxnConfig(r run, number int) (*sarama.Config, error) {
	conf, err := saramaConfig(r)
	if err == nil {
		conf.Producer.Transaction.ID = r.txnID(number)
	}
	return conf, err
}

func newSaramaTxn(r run, number int) (txnClient, error) {
	conf, err := saramaTxnConfig(r, number)
	if err != nil {
		return nil, err
	}
	producer, err := sarama.NewAsyncProducer(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newChannelClient(r, producer), nil
}

func openSaramaTxn(r run) (client, error) {
	c, err := newSaramaTxn(r, 0)
	if err != nil {
		return nil, err
	}
	return newTransactions(r, c), nil
}

func openSaramaTxnSync(r run) (client, error) { return openTxnSenders(r, newSaramaTxn) }

// channelClient drives anything with sarama's asynchronous API: one goroutine sends, or several do, one reads
// Successes, one reads Errors.
type channelClient struct {
	run
	producer sarama.AsyncProducer
	counts   chan int      // send says how many successes to wait for
	acked    chan struct{} // and is told when they have come
	failed   chan error    // the first failure
}

func newChannelClient(r run, producer sarama.AsyncProducer) *channelClient {
	c := &channelClient{
		run: r, producer: producer,
		counts: make(chan int), acked: make(chan struct{}), failed: make(chan error, 1),
	}
	go func() {
		for n := range c.counts {
			for range n {
				if _, ok := <-producer.Successes(); !ok {
					return
				}
			}
			c.acked <- struct{}{}
		}
	}()
	go func() {
		for err := range producer.Errors() {
			select {
			case c.failed <- err:
			default:
			}
		}
	}()
	return c
}

func (c *channelClient) send(n int) error {
	acked := c.expect(n)
	if err := c.shareOut(n, 1, c.feed); err != nil {
		return err
	}
	return acked()
}

func (c *channelClient) expect(n int) (acked func() error) {
	c.counts <- n
	return func() error {
		select {
		case <-c.acked:
			return nil
		case err := <-c.failed:
			return failures(c.Client, err)
		}
	}
}

func (c *channelClient) begin() error  { return c.producer.BeginTxn() }
func (c *channelClient) put(i int)     { c.producer.Input() <- saramaMessage(c.payload, i) }
func (c *channelClient) commit() error { return c.producer.CommitTxn() }

// feed is one of the goroutines that send. Input takes messages from any number of them.
func (c *channelClient) feed(from, to int) error {
	input := c.producer.Input()
	for i := from; i < to; i++ {
		input <- saramaMessage(c.payload, i)
	}
	return nil
}

func (c *channelClient) close() error {
	close(c.counts)
	return c.producer.Close()
}

func openSaramaSync(r run) (client, error) {
	conf, err := saramaConfig(r)
	if err != nil {
		return nil, err
	}
	producer, err := sarama.NewSyncProducer(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return newSyncClient(r, producer), nil
}

// newSyncClient drives anything with sarama's synchronous API: SendMessage, or SendMessages where a call has several.
func newSyncClient(r run, producer sarama.SyncProducer) client {
	return &senders{
		number: r.Senders, size: r.Call, end: producer.Close,
		sender: callsOf(r.Call,
			func(i int) *sarama.ProducerMessage { return saramaMessage(r.payload, i) },
			func(message *sarama.ProducerMessage) error {
				_, _, err := producer.SendMessage(message)
				return err
			},
			producer.SendMessages,
		),
	}
}
