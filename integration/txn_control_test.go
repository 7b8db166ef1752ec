//go:build unix

package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestTxnFaultsControl has franz-go's producer go through the same faults: what it comes through, the test does not make
// impossible.
func TestTxnFaultsControl(t *testing.T) {
	if !*long {
		t.Skip("a part of -long")
	}
	c := startTxnCluster(t, kafkatest.Feature(transactionVersion, 0))
	for _, level := range []int16{0, 2} {
		t.Run(fmt.Sprintf("%s %d", transactionVersion, level), func(t *testing.T) {
			if level > 0 {
				c.RaiseFeature(t, transactionVersion, level)
			}
			id, tap := fmt.Sprintf("control-%d", level), new(txnTap)
			txnFaultsOf(t, c, id, newKgoTxns(t, c, id, tap), tap, 60, allTxnFaults()...)
		})
	}
}

// kgoTxns is franz-go's transactional producer.
type kgoTxns struct {
	cl     *kgo.Client
	mu     sync.Mutex
	failed error // the first message of the transaction that failed
}

func newKgoTxns(t *testing.T, c *kafkatest.Cluster, id string, tap *txnTap) *kgoTxns {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID(id), kgo.Dialer(tap.DialContext),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantNoOpenTxn(t, c, id) })
	return &kgoTxns{cl: cl}
}

func (p *kgoTxns) begin() error {
	p.failed = nil
	return p.cl.BeginTransaction()
}

func (p *kgoTxns) send(topic string, partition int32, value string, told func(error)) {
	r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	p.cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
		p.mu.Lock()
		if p.failed == nil {
			p.failed = err
		}
		p.mu.Unlock()
		told(err)
	})
}

func (p *kgoTxns) commit(ctx context.Context) error {
	if err := p.cl.Flush(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	failed := p.failed
	p.mu.Unlock()
	if failed != nil {
		return failed
	}
	return p.cl.EndTransaction(ctx, kgo.TryCommit)
}

func (p *kgoTxns) abort(ctx context.Context) error {
	if err := p.cl.Flush(ctx); err != nil {
		return err
	}
	return p.cl.EndTransaction(ctx, kgo.TryAbort)
}

func (p *kgoTxns) close() error {
	p.cl.Close()
	return nil
}
