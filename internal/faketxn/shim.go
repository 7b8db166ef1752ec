// Package faketxn makes kfake's transactions answer as Kafka's do, and loses answers. It is for tests, and promises no
// compatibility.
//
// What kfake has otherwise:
//   - An EndTxn of version 1 right after InitProducerId is granted, if it wants what the last transaction ended with. Kafka's
//     coordinator is in state Empty: INVALID_TXN_STATE.
//   - An EndTxn of version 2 by a producer that another one has fenced meanwhile is taken for a repeated one, or gets
//     INVALID_TXN_STATE. Kafka: PRODUCER_FENCED.
//   - InitProducerId under a fenced producer's id and epoch fences who has fenced it. Kafka: PRODUCER_FENCED (KIP-360).
package faketxn

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Shim stands between a cluster and its connections.
type Shim struct {
	ended func(txnID string)

	mu   sync.Mutex
	lose map[kmsg.Key]int // answers that are to be lost yet
	// empty has the transactional ids that nothing was added to or ended for since their InitProducerId, with its epoch.
	empty map[string]int16
	// newest is the epoch of the last producer that began with a transactional id: those below are fenced.
	newest map[string]int16
}

// New makes a shim for one cluster. ended is called after each EndTxn that was carried out; it may be nil, and must not call
// the shim.
func New(ended func(txnID string)) *Shim {
	if ended == nil {
		ended = func(string) {}
	}
	return &Shim{ended: ended, lose: make(map[kmsg.Key]int), empty: make(map[string]int16), newest: make(map[string]int16)}
}

// Opt is for kfake.NewCluster. Attach must be called when that has returned.
func (s *Shim) Opt() kfake.Opt { return kfake.ListenFn(s.listen) }

// Attach is for the cluster that was made with Opt.
func (s *Shim) Attach(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.InitProducerIDRequest)
		if !s.fenced(req) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = kerr.ProducerFenced.Code, -1, -1
		return resp, nil, true
	})
}

// LoseNext carries the next n requests out, and closes their connections in place of an answer. Of the keys there are
// FindCoordinator, InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit and EndTxn.
func (s *Shim) LoseNext(key kmsg.Key, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose[key] += n
}

// LoseNoMore undoes LoseNext.
func (s *Shim) LoseNoMore(key kmsg.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lose, key)
}

// fenced tells whether a producer that asks for another epoch has lost its transactional id meanwhile.
func (s *Shim) fenced(req *kmsg.InitProducerIDRequest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return req.ProducerID >= 0 && req.ProducerEpoch >= 0 && req.ProducerEpoch < s.newest[TxnID(req)]
}

// judge corrects an answer before it is sent. It returns false if it is to be lost.
func (s *Shim) judge(kreq kmsg.Request, kresp kmsg.Response) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	txnID := TxnID(kreq)
	switch resp := kresp.(type) {
	case *kmsg.InitProducerIDResponse:
		if resp.ErrorCode == 0 && txnID != "" {
			s.empty[txnID] = resp.ProducerEpoch
			if kreq.(*kmsg.InitProducerIDRequest).ProducerID < 0 {
				s.newest[txnID] = resp.ProducerEpoch
			}
		}
	case *kmsg.AddPartitionsToTxnResponse:
		if added(resp) {
			delete(s.empty, txnID)
		}
	case *kmsg.AddOffsetsToTxnResponse:
		if resp.ErrorCode == 0 {
			delete(s.empty, txnID)
		}
	case *kmsg.EndTxnResponse:
		s.endTxn(kreq.(*kmsg.EndTxnRequest), resp)
		if resp.ErrorCode == 0 {
			delete(s.empty, txnID)
			s.ended(txnID)
		}
	}
	key := kmsg.Key(kreq.Key())
	if s.lose[key] == 0 {
		return true
	}
	s.lose[key]--
	return false
}

func (s *Shim) endTxn(req *kmsg.EndTxnRequest, resp *kmsg.EndTxnResponse) {
	epoch, empty := s.empty[req.TransactionalID]
	if !empty || resp.ErrorCode != 0 && resp.ErrorCode != kerr.InvalidTxnState.Code {
		return
	}
	switch {
	case req.ProducerEpoch != epoch:
		resp.ErrorCode = kerr.ProducerFenced.Code
	case req.Version < 5:
		resp.ErrorCode = kerr.InvalidTxnState.Code
	}
}

// added tells whether a partition was added.
func added(resp *kmsg.AddPartitionsToTxnResponse) bool {
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode == 0 {
				return true
			}
		}
	}
	return false
}

// TxnID is the transactional id of a request, if it has one.
func TxnID(kreq kmsg.Request) string {
	var nullable *string
	switch req := kreq.(type) {
	case *kmsg.ProduceRequest:
		nullable = req.TransactionID
	case *kmsg.InitProducerIDRequest:
		nullable = req.TransactionalID
	case *kmsg.AddPartitionsToTxnRequest:
		return req.TransactionalID
	case *kmsg.AddOffsetsToTxnRequest:
		return req.TransactionalID
	case *kmsg.TxnOffsetCommitRequest:
		return req.TransactionalID
	case *kmsg.EndTxnRequest:
		return req.TransactionalID
	}
	if nullable == nil {
		return ""
	}
	return *nullable
}
