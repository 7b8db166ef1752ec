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
	"github.com/sluice-kafka/sluice/internal/txn"
)

// standing is a dispatcher whose goroutine does not run, with one topic whose goroutine does not either.
func standing(t *testing.T) (*Dispatcher, *topicSlot, *identities) {
	t.Helper()
	h := newHarness(t, nil)
	ids := &identities{txn.Identity{ID: 7, Epoch: 1}}
	deps := *h.deps
	deps.Identities = ids
	d := NewDispatcher(&deps)
	slot := &topicSlot{topic: newTopic(&deps, "t", &d.stages)}
	slot.idle = d.idle.requests
	d.topics["t"], d.last = slot, slot
	return d, slot, ids
}

// A topic is forgotten only if it has taken every run that it was given. Else these would be lost.
func TestTopicWithRunsOnTheirWayIsKept(t *testing.T) {
	d, slot, _ := standing(t)
	slot.put([]flow.Record{{Msg: numbered(1, 0)}})
	d.idle.requests.Put(idleRequest{topic: slot.topic, taken: 0})
	d.handleIdle()
	if d.topics["t"] != slot || d.idle.leaving["t"] || len(slot.events.Take(nil)) > 0 {
		t.Error("forgotten with a run in its mailbox")
	}
	d.idle.requests.Put(idleRequest{topic: slot.topic, taken: 1})
	d.handleIdle()
	if d.topics["t"] != nil || d.last != nil || !d.idle.leaving["t"] {
		t.Error("not forgotten though it has taken all")
	}
	if events := slot.events.Take(nil); len(events) != 1 || events[0].kind != forgetTopic {
		t.Errorf("the topic was told %v", events)
	}
}

// A forgotten partition goes on with its next number under the same id and epoch, also where its sequence is broken. Under
// others it begins at 0.
func TestSequencesThatAreKept(t *testing.T) {
	seven := txn.Identity{ID: 7, Epoch: 1}
	all := []keptSequence{
		{partition: 0, sequence: txn.Sequence{Identity: seven, Next: 5}},
		{partition: 3, sequence: txn.Sequence{Identity: seven, Next: 9}, state: brokerproducer.SequenceBroken},
		{partition: 4, sequence: txn.Sequence{Identity: txn.Identity{ID: 7}, Next: 2}}, // it never took the bump
	}
	for name, test := range map[string]struct {
		then txn.Identity
		want []keptSequence
	}{
		"same":     {seven, all[:2]},
		"epoch":    {txn.Identity{ID: 7, Epoch: 2}, nil},
		"id":       {txn.Identity{ID: 8, Epoch: 1}, nil},
		"no id":    {txn.None, nil},
		"old kept": {txn.Identity{ID: 7}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, slot, ids := standing(t)
			delete(d.topics, "t")
			d.idle.leaving["t"] = true
			slot.kept = slices.Clone(all)
			d.idle.requests.Put(idleRequest{topic: slot.topic, ended: true})
			d.handleIdle()
			ids.current = test.then
			d.dropOldSequences()
			got := d.idle.kept["t"]
			if !slices.Equal(got, test.want) {
				t.Errorf("kept %v, want %v", got, test.want)
			}
			if len(got) == 0 {
				return
			}
			slot.kept = got
			pp := newPartitionProducer(d.deps, "t", nil, 3, leader{})
			slot.restore(pp)
			if pp.rules.sequence != all[1].sequence || pp.rules.sequenceState != brokerproducer.SequenceBroken || len(slot.kept) != 1 {
				t.Errorf("partition 3 goes on at %v, state %d", pp.rules.sequence, pp.rules.sequenceState)
			}
			slot.restore(newPartitionProducer(d.deps, "t", nil, 3, leader{}))
			if len(slot.kept) != 1 {
				t.Error("restored twice")
			}
		})
	}
}

// A topic that is used again before it has ended waits for that, also while the dispatcher waits for memory that the
// topic's own records hold.
func TestTopicIsStartedAnewWhileMemoryIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.memory = 1500 })
		old := newTopic(h.deps, "t", nil)
		synctest.Wait()
		h.idle.leaving["t"] = true // the dispatcher sleeps
		for n := range 10 {
			go func() { h.Input <- numbered(n, 0) }()
		}
		synctest.Wait()
		if got := h.brokers.numbers(0); len(got) > 0 || !h.deps.Budget.Waiting() {
			t.Errorf("sent %v before the topic has ended; the dispatcher waits for memory: %t", got, h.deps.Budget.Waiting())
		}
		h.idle.requests.Put(idleRequest{topic: old, ended: true})
		for n := 0; n < 10; {
			r := h.report()
			if r.Err != nil {
				t.Error(r.Err)
			}
			n += len(r.Messages)
		}
	})
}

// A partition that was forgotten too early, since the process stood still, first delivers what it holds.
func TestForgottenPartitionFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		synctest.Wait()
		told := flow.NewMailbox[topicEvent]()
		h.brokers.all[0].producer.events.Put(partitionEvent{kind: forgetPartition, topic: told})
		h.brokers.refuse(errors.New("down"), false)
		synctest.Wait()
		if !told.Empty() {
			t.Fatal("it has ended with a record that has no outcome")
		}
		h.brokers.resume()
		if r := h.report(); r.Err != nil {
			t.Error(r.Err)
		}
		synctest.Wait()
		if events := told.Take(nil); len(events) != 1 || events[0].kind != producerEnded {
			t.Errorf("told %v", events)
		}
	})
}

// A topic that could not be looked up is forgotten like any other, with the look-ups that would go on for ever.
func TestUnknownTopicIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		h.cluster.set(false, nil, sarama.ErrTopicAuthorizationFailed)
		h.Input <- numbered(1, 0)
		if err := h.failure(); !errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
			t.Error(err)
		}
		watched := func() bool {
			h.cluster.mu.Lock()
			defer h.cluster.mu.Unlock()
			return h.cluster.listeners["t"] != nil
		}
		time.Sleep(forgetAfter - time.Second)
		if !watched() {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Second)
		if watched() {
			t.Error("it is still looked up")
		}
		h.cluster.set(false, topicOf(4), nil)
		h.Input <- numbered(2, 0)
		<-h.Barrier(context.Background())
		if got := h.brokers.numbers(0); len(got) != 1 {
			t.Errorf("sent %v", got)
		}
	})
}
