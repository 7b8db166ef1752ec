package sluice

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// A batch that was begun as CommitTxn had sealed all others takes no record of the next transaction.
func TestAppenderBatchOfAnEarlierTransaction(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conf := NewConfig()
	conf.Producer.Transaction.ID = "id"
	conf.Producer.Flush.Frequency = time.Hour
	p, err := New(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	outcomes := map[string]error{}
	a, err := NewAppender(p, "t", WithAppendReport(func(r AppendReport) {
		for rec := range r.Records() {
			outcomes[string(rec.Value)] = r.Err
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	put := func(value string) {
		t.Helper()
		if err := a.Append(nil, []byte(value)); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	if err := p.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	put("late")
	a.open.wakePending.Store(true) // the goroutine that Commit wakes comes too late
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.txns.Commit(ctx); err != nil { // CommitTxn, after it has sealed what was open
		t.Fatal(err)
	}
	if err := a.Append(nil, nil); !errors.Is(err, sarama.ErrTransactionNotReady) {
		t.Errorf("between transactions: %v", err)
	}
	if err := p.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	put("next")
	if err := p.CommitTxn(); err != nil {
		t.Error(err)
	}
	if err := a.Flush(ctx); !errors.Is(err, sarama.ErrTransactionNotReady) {
		t.Errorf("Flush: %v", err)
	}
	if late, next := outcomes["late"], outcomes["next"]; !errors.Is(late, sarama.ErrTransactionNotReady) || next != nil || len(outcomes) != 2 {
		t.Errorf("outcomes: %v", outcomes)
	}
}
