package dispatch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

var errRefused = errors.New("refused")

// The records of a session that was refused go to the new leader first. Nothing is sent before that is known.
func TestPartitionRetriesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) {
			cfg.partitions = 1
			cfg.Producer.Retry.Backoff = 100 * time.Millisecond
		})
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		h.Input <- numbered(2, 0)
		synctest.Wait()
		h.cluster.set(true, nil, nil)
		h.brokers.refuse(errRefused, true)
		synctest.Wait()
		h.Input <- numbered(3, 0)
		time.Sleep(time.Second) // the back-off is over, the look-up is not
		if n := h.cluster.rounds(); n != 2 {
			t.Errorf("%d look-ups, want one more", n)
		}
		if got := h.brokers.numbers(0); len(got) != 2 {
			t.Errorf("sent %v while the leader is in doubt", got)
		}
		h.cluster.set(false, ledBy(2), nil)
		h.cluster.tell(ledBy(2), nil)
		synctest.Wait()
		if got := h.brokers.numbers(0); !slices.Equal(got, []int{1, 2, 1, 2, 3}) {
			t.Errorf("sent %v", got)
		}
		if at := h.brokers.sessions(); !slices.Equal(at, []int32{1, 2}) {
			t.Errorf("sessions at brokers %v", at)
		}
	})
}

func TestPartitionBacksOff(t *testing.T) {
	for name, set := range map[string]func(*sarama.Config){
		"constant": func(conf *sarama.Config) { conf.Producer.Retry.Backoff = 2 * time.Second },
		"function": func(conf *sarama.Config) {
			conf.Producer.Retry.BackoffFunc = func(retries, maxRetries int) time.Duration {
				return time.Duration(retries) * time.Duration(maxRetries) * time.Second
			}
			conf.Producer.Retry.Max = 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, func(cfg *harnessConfig) { cfg.partitions = 1; set(cfg.Config) })
				h.brokers.hold()
				h.Input <- numbered(1, 0)
				synctest.Wait()
				h.brokers.refuse(errRefused, false)
				time.Sleep(2*time.Second - 1)
				if n := len(h.brokers.sessions()); n != 1 {
					t.Errorf("%d sessions before the back-off is over", n)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if n := len(h.brokers.sessions()); n != 2 {
					t.Errorf("%d sessions after it", n)
				}
			})
		})
	}
}

func TestPartitionDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) {
			cfg.partitions = 1
			cfg.timeout = 3 * time.Second
			cfg.Producer.Retry.Backoff = time.Hour
		})
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		synctest.Wait()
		h.brokers.refuse(errRefused, false)
		start := time.Now()
		r := h.report()
		if !errors.Is(r.Err, flow.ErrDeliveryTimeout) || !errors.Is(r.Err, errRefused) || r.Partition != 0 {
			t.Errorf("partition %d: %v", r.Partition, r.Err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// While the leader is not known, look-ups are asked for.
func TestPartitionWaitsForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.Producer.Retry.Backoff = time.Second })
		h.cluster.set(false, ledBy(-1), nil)
		h.Input <- numbered(1, 0)
		time.Sleep(2500 * time.Millisecond)
		if n := h.cluster.rounds(); n != 4 {
			t.Errorf("%d look-ups in 2.5 s, want the topic's, the partition's, and one after each back-off", n)
		}
		h.cluster.set(false, ledBy(3), nil)
		if r := h.report(); r.Err != nil {
			t.Error(r.Err)
		}
		if at := h.brokers.sessions(); !slices.Equal(at, []int32{3}) {
			t.Errorf("sessions at brokers %v", at)
		}
	})
}

func TestPartitionAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		h.cluster.set(false, ledBy(-1), nil)
		h.Input <- numbered(1, 0)
		synctest.Wait()
		cause := errors.New("given up")
		h.deps.Abort(cause)
		if r := h.report(); !errors.Is(r.Err, cause) || r.Partition != 0 {
			t.Errorf("partition %d: %v", r.Partition, r.Err)
		}
	})
}

// While nothing is wrong the topic sends to the session itself. Before the session ends, direct send is turned off.
func TestPartitionSendsDirectly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.partitions = 1 })
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		synctest.Wait()
		pp := h.topics["t"].partitions[0].producer
		if pp.direct == nil || pp.direct != pp.rules.session {
			t.Fatal("direct send is off while a session is open")
		}
		h.Input <- numbered(2, 0)
		synctest.Wait()
		h.brokers.refuse(errRefused, false)
		synctest.Wait()
		if pp.direct != nil {
			t.Error("direct send is on after the session was told to end")
		}
		h.Input <- numbered(3, 0)
		time.Sleep(time.Second) // beyond the back-off
		synctest.Wait()
		if pp.direct == nil || pp.direct != pp.rules.session {
			t.Error("direct send is off at the next session")
		}
		h.Input <- numbered(4, 0)
		synctest.Wait()
		if got := h.brokers.numbers(0); !slices.Equal(got, []int{1, 2, 1, 2, 3, 4}) {
			t.Errorf("sent %v", got)
		}
	})
}

// Direct send stays off while the mailbox holds a run: that must be sent first.
func TestPartitionDoesNotSendDirectlyBeforeItsMailboxIsEmpty(t *testing.T) {
	pp, _ := partitionAlone(t)
	pp.rules.state, pp.rules.session = stateOpen, &fakeSession{}
	pp.send([]flow.Record{{Msg: numbered(1, 3)}})
	if pp.allowDirect(); pp.direct != nil {
		t.Error("on, with a run in the mailbox")
	}
	pp.runs.Take(nil)
	if pp.allowDirect(); pp.direct == nil {
		t.Error("off, with an empty mailbox")
	}
	if pp.stopDirect(); pp.direct != nil {
		t.Error("on after stopDirect")
	}
	pp.rules.state = stateEnding
	if pp.allowDirect(); pp.direct != nil {
		t.Error("on while the session ends")
	}
}

// A thousand partitions, and the order of each is kept.
func TestThousandPartitions(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) {
		cfg.partitions = 1000
		cfg.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	})
	const rounds = 20
	for n := range rounds {
		run := make([]*sarama.ProducerMessage, 1000)
		for i := range run {
			run[i] = numbered(n, 0)
		}
		h.InputBatch <- run
	}
	<-h.Barrier(context.Background())
	for p := range int32(1000) {
		got := h.brokers.numbers(p)
		if len(got) != rounds || !slices.IsSorted(got) {
			t.Fatalf("partition %d got %v", p, got)
		}
	}
}

// identities is an Identities without a broker.
type identities struct{ current txn.Identity }

func (i *identities) Current() txn.Identity { return i.current }
func (i *identities) Start()                {}
func (i *identities) Bump(txn.Identity) bool {
	i.current.Epoch++
	return true
}

func (i *identities) Renew(txn.Identity) bool {
	i.current.ID++
	return true
}

func (i *identities) Refusal() *txn.Refusal { return nil }
func (i *identities) Doing() error          { return errAsking }

// partitionAlone is a partition producer whose goroutine does not run, to test its effects.
func partitionAlone(t *testing.T) (*partitionProducer, *harness) {
	t.Helper()
	h := newHarness(t, nil)
	h.deps.Identities = &identities{txn.Identity{ID: 7}}
	return newPartitionProducer(h.deps, "t", nil, 3, leader{}), h
}

func TestPartitionEffects(t *testing.T) {
	pp, h := partitionAlone(t)
	rec := flow.Record{Msg: numbered(1, 3), Barrier: h.deps.Barriers.Accept(1)}
	h.deps.Outcomes.Accepted(1)
	h.deps.Budget.Force(flow.RecordOverhead)
	b := scriptBatch(time.Minute, rec)
	b.Unsure = true
	pp.failBatch(b, errRefused)
	if r := h.report(); !errors.Is(r.Err, flow.ErrOutcomeUnknown) || !errors.Is(r.Err, errRefused) || r.Partition != 3 {
		t.Errorf("report %+v", r)
	}
	if id := pp.identity(); id.ID != 7 || !pp.rules.idempotent {
		t.Errorf("identity %v", id)
	}
	pp.bump(pp.identity())
	if id := pp.identity(); id.Epoch != 1 {
		t.Errorf("identity %v after a bump", id)
	}
	pp.renew(pp.identity())
	if id := pp.identity(); id.ID != 8 {
		t.Errorf("identity %v after a renewal", id)
	}
	pp.Closed(nil)
	pp.Ended(nil, brokerproducer.SessionResult{Cause: errRefused})
	events := pp.events.Take(nil)
	if len(events) != 2 || events[0].kind != sessionClosed || events[1].result.Cause != errRefused {
		t.Errorf("events %v", events)
	}
}

func TestLeaderOf(t *testing.T) {
	deps := &Deps{Metadata: newFakeCluster(1)}
	md := &metadata.Topic{ID: [16]byte{9}, Partitions: []metadata.Partition{{ID: 0, Leader: 2, Epoch: 5}, {ID: 1, Leader: -1}}}
	if l := leaderOf(deps, md, 0); !l.known || l.broker.ID != 2 || l.topicID != md.ID {
		t.Errorf("%+v", l)
	}
	for p := int32(1); p < 3; p++ {
		if l := leaderOf(deps, md, p); l.known || l.topicID != md.ID {
			t.Errorf("partition %d: %+v", p, l)
		}
	}
	if stateLookup.String() != "look-up" || stateIdentity.String() != "identity" {
		t.Error("a state has the wrong name")
	}
}
