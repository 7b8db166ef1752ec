package brokerproducer

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// fakeTxn is a transactional producer with one transaction, of version 2.
type fakeTxn struct{ writing func() }

func (f *fakeTxn) ID() *string                    { id := "tx"; return &id }
func (f *fakeTxn) Open() (uint64, int16)          { return 1, 2 }
func (f *fakeTxn) Add(string, int32, func()) bool { return true }
func (f *fakeTxn) Writing()                       { f.writing() }
func (f *fakeTxn) LastStillEnds()                 {}
func (f *fakeTxn) Adding() error                  { return errors.New("asking") }

// Version 2: the transaction hears that a batch is about to be written before the batch can end as one that may have been written.
// Else AbortTxn could find that nothing was, and the batch would go into the next transaction.
func TestWritingIsToldBeforeTheOutcome(t *testing.T) {
	c := newCluster(t)
	cfg := newConfig(t, func(conf *sarama.Config) { conf.Producer.Idempotent = true })
	cfg.Shared.DeliveryTimeout = 50 * time.Millisecond
	cfg.Identity = func() txn.Identity { return txn.Identity{ID: 7} }
	got, told := make(outcomes, 1), make(chan struct{})
	cfg.Txn = &fakeTxn{writing: func() {
		defer close(told)
		select {
		case err := <-got:
			t.Errorf("the outcome came first: %v", err)
			got <- err
		case <-time.After(4 * cfg.Shared.DeliveryTimeout):
		}
	}}
	pool := NewPool(cfg)
	owner := newAutoOwner()
	s := pool.Open(0, c.ListenAddrs()[0], owner, unnumbered(0))
	s.Send(got.record(cfg, 1))
	<-told
	<-got
	s.End()
	<-owner.ended
	pool.Wait()
}

// A request whose batches have all ended is not written, and tells the transaction nothing: it may be the next one, and empty.
func TestEndedRequestIsNotWriting(t *testing.T) {
	c := newCluster(t)
	cfg := newConfig(t, func(conf *sarama.Config) {
		conf.Producer.Idempotent = true
		conf.Net.Proxy.Enable = true
		conf.Net.Proxy.Dialer = slowDialer(200 * time.Millisecond)
	})
	cfg.Shared.DeliveryTimeout = 20 * time.Millisecond
	cfg.Identity = func() txn.Identity { return txn.Identity{ID: 7} }
	got := make(outcomes, 1)
	cfg.Txn = &fakeTxn{writing: func() { t.Error("told that a batch is about to be written") }}
	pool := NewPool(cfg)
	owner := newAutoOwner()
	s := pool.Open(0, c.ListenAddrs()[0], owner, unnumbered(0))
	s.Send(got.record(cfg, 1))
	if err := <-got; err == nil || errors.Is(err, flow.ErrOutcomeUnknown) {
		t.Error(err)
	}
	time.Sleep(300 * time.Millisecond) // until the dial is over
	s.End()
	<-owner.ended
	pool.Wait()
}

// slowDialer dials after a pause.
type slowDialer time.Duration

func (d slowDialer) Dial(network, addr string) (net.Conn, error) {
	time.Sleep(time.Duration(d))
	return net.Dial(network, addr)
}
