package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// A trial is one client's run: the client behind its proxy, and what it said.
type trial struct {
	client   *verifyClient
	settings *settings
	addrs    []string
	proxy    *faultProxy
	ledger   *ledger
	records  int64
	duration time.Duration
	patience time.Duration // without any outcome, while messages wait for theirs

	sender sender
	took   time.Duration
	failed error // it was given up
	audit  *audit
}

func (f *verifyFlags) newTrial(c *verifyClient, addrs []string, load *loadShape) *trial {
	conf := *f.settings.Conf
	s := f.settings.with(&conf)
	t := &trial{
		client: c, settings: s, addrs: addrs,
		proxy:   newFaultProxy(f.rates, f.seed, conf.Net.DialTimeout),
		ledger:  newLedger(load, c.certain),
		records: int64(f.records), duration: f.duration,
		patience: 2*time.Minute + abandonAfter, // the library's delivery timeout
	}
	if s.Options.DeliveryTimeout > 0 {
		t.patience = s.Options.DeliveryTimeout + abandonAfter
	}
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, t.proxy
	// A message's partition follows from its number.
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	// As every client is to have the same, what is only a default counts as asked for: see openSarama.
	s.Given["Producer.Idempotent"], s.Given["Producer.Retry.Max"] = true, true
	return t
}

func (t *trial) open(ctx context.Context) (err error) {
	t.sender, err = openWith(ctx, t.client.open, t.addrs, t.settings, t.ledger.outcome)
	if err != nil {
		return fmt.Errorf("%s: %w", t.client.name, err)
	}
	return nil
}

// abandon closes the client without waiting.
func (t *trial) abandon() {
	if t.sender != nil {
		go t.sender.close()
	}
}

// run sends the load under faults, and returns when each message has its outcome, or the client was given up.
func (t *trial) run(ctx context.Context, con *console) {
	begin := time.Now()
	t.ledger.start(begin)
	t.proxy.start()
	closed := make(chan struct{})
	// A client may hang in either call: then this goroutine is left behind.
	go func() {
		defer close(closed)
		t.send(ctx)
		t.sender.close()
	}()
	interrupted := ctx.Done()
	var limit <-chan time.Time
	stalled := time.NewTicker(time.Second)
	defer stalled.Stop()
	for t.failed == nil {
		select {
		case <-closed:
			t.took = time.Since(begin)
			return
		case <-interrupted:
			interrupted = nil
			t.proxy.heal()
			limit = time.After(abandonInterrupted)
		case <-limit:
			t.failed = errAbandoned
		case <-stalled.C:
			if t.ledger.stalled() > t.patience {
				t.failed = errAbandoned
			}
		}
	}
	t.took = time.Since(begin)
	con.errorf("%s %v", t.client.name, t.failed)
}

// send hands the load over, evenly over the duration. What is late is sent at once.
func (t *trial) send(ctx context.Context) {
	rate := 0.0
	if t.duration > 0 {
		rate = float64(t.records) / t.duration.Seconds()
	}
	pace := newPacer(rate)
	for sent := int64(0); sent < t.records; {
		n := pace.wait(ctx, sent, int(min(sendAtOnce, t.records-sent)))
		if n == 0 {
			return
		}
		msgs := t.ledger.next(n)
		if msgs == nil {
			return // the client was given up
		}
		t.sender.send(msgs)
		sent += int64(n)
	}
}
