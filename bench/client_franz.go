package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzWindow is how many records franz-go may hold: its default. A larger window was no faster and took more memory.
const franzWindow = 50_000

func franzRecord(p *payload, i int) *kgo.Record {
	return &kgo.Record{Topic: p.topic(i), Value: p.value(i)}
}

func ownFranz(r run, n int) {
	for i := range n {
		keep = franzRecord(r.payload, i)
	}
}

// openFranzClient connects franz-go. Its client metrics (KIP-714) are off: no other client sends any.
func openFranzClient(r run) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
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
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
	}
	if !r.Idempotent {
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
	client *kgo.Client
}

func openFranz(r run) (client, error) {
	c, err := openFranzClient(r)
	if err != nil {
		return nil, err
	}
	return &franz{run: r, client: c}, nil
}

func (f *franz) send(n int) error {
	var (
		ctx     = context.Background()
		left    atomic.Int64
		done    = make(chan struct{})
		failure atomic.Pointer[error]
	)
	left.Store(int64(n))
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failure.CompareAndSwap(nil, &err)
		}
		if left.Add(-1) == 0 {
			close(done)
		}
	}
	err := f.shareOut(n, 1, func(from, to int) error {
		for i := from; i < to; i++ {
			f.client.Produce(ctx, franzRecord(f.payload, i), promise)
		}
		return nil
	})
	<-done
	if err != nil {
		return err
	}
	if err := failure.Load(); err != nil {
		return failures(f.Client, *err)
	}
	return nil
}

func (f *franz) close() error {
	f.client.Close()
	return nil
}

func openFranzSync(r run) (client, error) {
	c, err := openFranzClient(r)
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
