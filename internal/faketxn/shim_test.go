package faketxn

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// harness asks a cluster as one producer after another, all with the transactional id "tx".
type harness struct {
	*testing.T
	*Shim
	client *kgo.Client
	ends   atomic.Int32
}

func newHarness(t *testing.T, versions *kversion.Versions) *harness {
	h := &harness{T: t}
	h.Shim = New(func(string) { h.ends.Add(1) })
	c, err := kfake.NewCluster(h.Opt(), kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.MaxVersions(versions))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	h.Attach(c)
	if h.client, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RequestRetries(0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.Close)
	return h
}

type identity struct {
	id    int64
	epoch int16
}

// begin is another producer's InitProducerId, or with its identity that of one that goes on.
func (h *harness) begin(as identity, want error) identity {
	h.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr("tx"), 60_000
	req.ProducerID, req.ProducerEpoch = as.id, as.epoch
	resp, err := req.RequestWith(h.Context(), h.client)
	if err != nil {
		h.Fatal(err)
	}
	if got := kerr.ErrorForCode(resp.ErrorCode); got != want {
		h.Errorf("InitProducerId: %v, want %v", got, want)
	}
	return identity{resp.ProducerID, resp.ProducerEpoch}
}

// add adds the partition to the transaction.
func (h *harness) add(as identity) {
	h.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = "tx", as.id, as.epoch
	req.Topics = append(req.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: "t", Partitions: []int32{0}})
	resp, err := req.RequestWith(h.Context(), h.client)
	if err != nil {
		h.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) addGroup(as identity) {
	h.Helper()
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = "tx", as.id, as.epoch, "g"
	resp, err := req.RequestWith(h.Context(), h.client)
	if err != nil || resp.ErrorCode != 0 {
		h.Fatal(resp, err)
	}
}

func (h *harness) end(as identity, commit bool, want error) identity {
	h.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", as.id, as.epoch, commit
	resp, err := req.RequestWith(h.Context(), h.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != want {
		h.Errorf("EndTxn: %v, want %v", err, want)
	}
	if resp == nil {
		return as
	}
	return identity{resp.ProducerID, resp.ProducerEpoch}
}

var none = identity{-1, -1}

// Version 1: after InitProducerId there is nothing to end, however the last transaction ended.
func TestStrayEndTxn(t *testing.T) {
	h := newHarness(t, kversion.V3_9_0())
	var first identity
	for _, add := range []func(identity){h.add, h.addGroup} {
		first = h.begin(none, nil)
		h.end(first, false, kerr.InvalidTxnState)
		h.end(first, true, kerr.InvalidTxnState)
		add(first)
		h.end(first, true, nil)
		h.end(first, true, nil) // a repeated one
		h.end(first, false, kerr.InvalidTxnState)
	}
	second := h.begin(none, nil)
	h.end(second, true, kerr.InvalidTxnState)
	h.end(first, true, kerr.ProducerFenced)
	if h.ends.Load() != 4 {
		t.Errorf("%d were told, want 4", h.ends.Load())
	}
}

// A producer that another one has fenced ends nothing, and does not fence that one.
func TestFencedProducer(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"version 1": kversion.V3_9_0(), "version 2": kversion.V4_1_0()} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, versions)
			first := h.begin(none, nil)
			h.add(first)
			second := h.begin(none, nil)
			h.end(first, true, kerr.ProducerFenced)
			h.end(first, false, kerr.ProducerFenced)
			h.begin(first, kerr.ProducerFenced)
			second = h.begin(second, nil) // KIP-360
			h.add(second)
			h.end(second, true, nil)
		})
	}
}

// Version 2: a repeated EndTxn gets the next epoch, as the first one did.
func TestRepeatedEndTxn(t *testing.T) {
	h := newHarness(t, kversion.V4_1_0())
	first := h.begin(none, nil)
	h.add(first)
	want := identity{first.id, first.epoch + 1}
	for range 2 {
		if got := h.end(first, true, nil); got != want {
			t.Errorf("the next identity is %v, want %v", got, want)
		}
	}
}

// The cluster has carried out what it does not answer.
func TestLostAnswers(t *testing.T) {
	h := newHarness(t, kversion.V3_9_0())
	first := h.begin(none, nil)
	h.add(first)
	h.LoseNext(kmsg.EndTxn, 1)
	h.LoseNext(kmsg.AddOffsetsToTxn, 1)
	h.LoseNoMore(kmsg.AddOffsetsToTxn)
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", first.id, first.epoch, true
	if resp, err := req.RequestWith(t.Context(), h.client); err == nil {
		t.Errorf("an answer: %v", resp)
	}
	if h.ends.Load() != 1 {
		t.Errorf("%d were told, want 1", h.ends.Load())
	}
	h.addGroup(first)
	h.end(first, true, nil)
}
