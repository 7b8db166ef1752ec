package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzWindow is how many records franz-go may hold: its default. A larger window was no faster and took more memory.
const franzWindow = 50_000

func franzRecord(p *payload, i int) *kgo.Record {
	return &kgo.Record{Topic: p.topic(i), Key: p.key(i), Value: p.value(i)}
}

func ownFranz(r run, n int) {
	for i := range n {
		keep = franzRecord(r.payload, i)
	}
}

// openFranzClient connects franz-go; the number tells the clients of one run apart. Its client metrics (KIP-714) are off:
// no other client sends any.
func openFranzClient(r run, number int) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	partitioner := kgo.RoundRobinPartitioner()
	if r.Keys > 0 {
		partitioner = kgo.StickyKeyPartitioner(nil) // murmur2
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(r.Addrs...),
		kgo.ClientID("bench"),
		kgo.DisableClientMetrics(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(r.linger()),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.ProducerBatchCompression(codecs[r.Compression]),
		kgo.MaxBufferedRecords(franzWindow),
		kgo.RecordPartitioner(partitioner),
	}
	if r.Transactional {
		opts = append(opts, kgo.TransactionalID(r.txnID(number)))
	} else if !r.Idempotent {
		// Idempotent franz-go has 5 requests in flight of itself; without, it would fall back to 1.
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(inFlight))
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("franz-go: %w", err)
	}
	return c, nil
}

// franz uses Produce with one promise for all records; it waits for room by itself.
type franz struct {
	run
	client  *kgo.Client
	promise func(*kgo.Record, error)
	tally
}

func newFranz(r run, number int) (*franz, error) {
	c, err := openFranzClient(r, number)
	if err != nil {
		return nil, err
	}
	f := &franz{run: r, client: c}
	f.promise = func(_ *kgo.Record, err error) { f.outcome(err) }
	return f, nil
}

func openFranz(r run) (client, error) {
	f, err := newFranz(r, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *franz) send(n int) error {
	acked := f.expect(n)
	err := f.shareOut(n, 1, func(from, to int) error {
		for i := from; i < to; i++ {
			f.put(i)
		}
		return nil
	})
	return cmp.Or(err, acked())
}

func (f *franz) expect(n int) (acked func() error) { return f.tally.expect(f.Client, n) }

func (f *franz) put(i int) {
	f.client.Produce(context.Background(), franzRecord(f.payload, i), f.promise)
}

func (f *franz) begin() error { return f.client.BeginTransaction() }

// commit flushes before, as EndTransaction demands.
func (f *franz) commit() error {
	if err := f.client.Flush(context.Background()); err != nil {
		return err
	}
	return f.client.EndTransaction(context.Background(), kgo.TryCommit)
}

func openFranzTxn(r run) (client, error) {
	f, err := newFranz(r, 0)
	if err != nil {
		return nil, err
	}
	return newTransactions(r, f), nil
}

func openFranzTxnSync(r run) (client, error) {
	return openTxnSenders(r, func(r run, number int) (txnClient, error) { return newFranz(r, number) })
}

func (f *franz) close() error {
	f.client.Close()
	return nil
}

func openFranzSync(r run) (client, error) {
	c, err := openFranzClient(r, 0)
	if err != nil {
		return nil, err
	}
	return &senders{
		number: r.Senders, size: r.Call,
		sender: callsOf(r.Call,
			func(i int) *kgo.Record { return franzRecord(r.payload, i) },
			func(record *kgo.Record) error { return c.ProduceSync(context.Background(), record).FirstErr() },
			func(records []*kgo.Record) error { return c.ProduceSync(context.Background(), records...).FirstErr() },
		),
		end: func() error {
			c.Close()
			return nil
		},
	}, nil
}
