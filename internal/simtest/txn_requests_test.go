package simtest

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactional returns what handles a request of a run with transactions; nil: what handles it in any run.
func (p *proxy) transactional(frame []byte) func([]byte) bool {
	switch kmsg.Key(binary.BigEndian.Uint16(frame)) {
	case kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
		return p.txnRequest
	case kmsg.FindCoordinator:
		return p.findCoordinator
	case kmsg.ApiVersions:
		return p.apiVersions
	}
	return nil
}

// clientOf is the number of the producer that a request comes from.
func clientOf(frame []byte) (number int) {
	size := int(int16(binary.BigEndian.Uint16(frame[8:])))
	if size <= 0 {
		return -1
	}
	_, digits, _ := strings.Cut(string(frame[10:10+size]), "-")
	for _, d := range digits {
		number = number*10 + int(d-'0')
	}
	return number
}

// txnRequest handles a request to a coordinator: what happens on its way, what the coordinator makes of it, and what happens
// to the answer.
func (p *proxy) txnRequest(frame []byte) bool {
	req, _ := parse(frame)
	c, f, healed := p.network.coordinator, &p.network.sc.txn.faults, p.network.healed()
	name := kmsg.NameForKey(req.Key())
	// A request that was sent at the same instant to another broker has arrived there before this one is handled.
	p.pause(latency)
	var hang bool
	switch {
	case healed:
	case p.chance(f.lostRequest):
		p.network.trace("broker %s #%d: %s lost", p.addr, p.number, describe(req))
		if p.chance(p.network.sc.lateWrites / 2) {
			p.stray(frame, req)
		}
		return false
	case p.chance(f.slow):
		p.pause(p.delay())
	case p.chance(f.hang):
		hang = true
		if p.faults.IntN(2) == 0 {
			<-p.gone
			if !p.chance(p.network.sc.lateWrites) {
				return false
			}
		}
	}
	client, came := clientOf(frame), c.arrival(frame)
	resp, code := p.coordinate(client, req, came)
	p.network.trace("broker %s #%d: %s v%d of producer %d: %s", p.addr, p.number, describe(req), req.GetVersion(), client, nameOf(code))
	a := answer{}
	a.taken = func() { c.taken(client, req, code, came) }
	if code == nil && !healed && p.chance(f.doneAndRefused) {
		switch req.(type) {
		case *kmsg.TxnOffsetCommitRequest: // repeated, it does no harm at all
		default:
			code = pick(p.faults, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)
			p.network.happens(name + " is done and refused")
			p.network.trace("broker %s #%d: answers that with %s", p.addr, p.number, code.Message)
			resp, a.taken = refusal(req, code), nil
		}
	}
	if !healed {
		switch {
		case hang:
			<-p.gone
			return false
		case p.chance(f.lostAnswer):
			p.network.happens("the answer to " + name + " is lost")
			p.network.trace("broker %s #%d: answer to %s lost", p.addr, p.number, name)
			return false
		case p.chance(f.cutAnswer):
			a.cut = true
		case p.chance(f.slow):
			a.at = time.Now().Add(p.delay())
		}
	}
	a.frame = encodeAnswer(frame, resp)
	p.answers <- a
	return true
}

// stray has a request handled after a while, when its producer has not only lost the connection, but may have done the same
// over another one: the broker had read it before.
func (p *proxy) stray(frame []byte, req kmsg.Request) {
	if _, ok := req.(*kmsg.InitProducerIDRequest); ok {
		return // it would fence its own producer, and no producer could help that
	}
	if p.network.sc.txn.release == "2.4" {
		return // a producer has no other epoch there, so a stray may reach its next transaction (docs/guarantees.md)
	}
	client, delay := clientOf(frame), p.delay()
	p.network.running.Go(func() {
		select {
		case <-time.After(delay):
		case <-p.network.closed:
			return
		}
		c := p.network.coordinator
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle()
		before := c.state
		_, code := c.answer(client, req, "", true)
		if c.state != before {
			c.expired = true // before the producer could have another epoch: it may be fenced for that, but nothing worse
			c.happens("a stray " + kmsg.NameForKey(req.Key()))
		}
		p.network.trace("broker %s: a stray %s v%d of producer %d: %s", p.addr, describe(req), req.GetVersion(), client, nameOf(code))
	})
}

// coordinate is what the coordinator answers: a fault's refusal, or its own answer.
func (p *proxy) coordinate(client int, req kmsg.Request, came arrival) (kmsg.Response, *kerr.Error) {
	c, f, healed := p.network.coordinator, &p.network.sc.txn.faults, p.network.healed()
	c.mu.Lock()
	defer c.mu.Unlock()
	// The producer does not wait for it any more, as its call or the connection has ended.
	late := p.lost.Load() || c.current() != came.current
	c.settle()
	key := transactionalID
	if r, ok := req.(*kmsg.TxnOffsetCommitRequest); ok {
		key = r.Group
	}
	c.checkRequest(client, req, late)
	var code *kerr.Error
	switch {
	case addr(c.cluster.CoordinatorFor(key)) != p.addr:
		code = kerr.NotCoordinator
		c.happens("NOT_COORDINATOR")
	case time.Now().Before(c.loading) && !healed:
		code = kerr.CoordinatorLoadInProgress
	case !healed && p.chance(f.refused):
		code = pick(p.faults, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress)
	case !healed && p.chance(f.fatal):
		code = kerr.TransactionalIDAuthorizationFailed
		c.happens("a transactional id is refused")
		c.blame(client)
	case !healed && c.state == stateOngoing && c.abortable(req) && p.chance(f.abortable):
		code = kerr.TransactionAbortable
		c.happens("TRANSACTION_ABORTABLE for " + kmsg.NameForKey(req.Key()))
	case !healed && p.chance(f.notAllowed) && notAllowed(req) != nil:
		code = notAllowed(req)
	}
	if code != nil {
		return refusal(req, code), code
	}
	return c.answer(client, req, came.heard, late)
}

// abortable tells whether a request may be answered with TRANSACTION_ABORTABLE (KIP-890): not a commit that may be done.
func (c *coordinator) abortable(req kmsg.Request) bool {
	switch r := req.(type) {
	case *kmsg.EndTxnRequest:
		return r.Version >= 4 && r.Commit && !c.again
	case *kmsg.AddOffsetsToTxnRequest, *kmsg.TxnOffsetCommitRequest:
		return req.GetVersion() >= 4
	}
	return false
}

func notAllowed(req kmsg.Request) *kerr.Error {
	switch req.(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		return kerr.TopicAuthorizationFailed
	case *kmsg.AddOffsetsToTxnRequest, *kmsg.TxnOffsetCommitRequest:
		return kerr.GroupAuthorizationFailed
	}
	return nil
}

// answer is what the coordinator itself makes of a request.
func (c *coordinator) answer(client int, kreq kmsg.Request, heard string, late bool) (kmsg.Response, *kerr.Error) {
	switch req := kreq.(type) {
	case *kmsg.InitProducerIDRequest:
		id, code := c.init(client, req, heard, late)
		if code == kerr.ProducerFenced && req.Version < 4 {
			code = kerr.InvalidProducerEpoch
		}
		if code != nil {
			return refusal(req, code), code
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = id.id, id.epoch
		return resp, nil
	case *kmsg.EndTxnRequest:
		id, code := c.end(client, req, late)
		if code != nil {
			return refusal(req, code), code
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ProducerID, resp.ProducerEpoch = id.id, id.epoch
		return resp, nil
	case *kmsg.AddPartitionsToTxnRequest:
		return c.addPartitions(client, req, late)
	case *kmsg.AddOffsetsToTxnRequest:
		return c.addOffsets(client, req, late)
	case *kmsg.TxnOffsetCommitRequest:
		return c.commitOffsets(client, req, late)
	}
	panic("unreachable")
}

func (c *coordinator) addPartitions(client int, req *kmsg.AddPartitionsToTxnRequest, late bool) (kmsg.Response, *kerr.Error) {
	if code := c.check(client, late, identity{req.ProducerID, req.ProducerEpoch}, "AddPartitionsToTxn"); code != nil {
		return refusal(req, code), code
	}
	c.open(1)
	for _, t := range req.Topics {
		for _, id := range t.Partitions {
			tp := partition{t.Topic, id}
			c.addAtKfake(tp)
			c.partitions[tp] = true
		}
	}
	return refusal(req, &kerr.Error{}), nil
}

func (c *coordinator) addOffsets(client int, req *kmsg.AddOffsetsToTxnRequest, late bool) (kmsg.Response, *kerr.Error) {
	if code := c.check(client, late, identity{req.ProducerID, req.ProducerEpoch}, "AddOffsetsToTxn"); code != nil {
		return refusal(req, code), code
	}
	c.open(1)
	again := *req
	again.Version = 3
	resp := again.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	if err := c.askCoordinator(transactionalID, &again, resp, func() int16 { return resp.ErrorCode }); err == nil && resp.ErrorCode != 0 {
		c.fail("kfake does not add group %s: %v", req.Group, kerr.ErrorForCode(resp.ErrorCode))
	}
	c.groups[req.Group] = true
	return refusal(req, &kerr.Error{}), nil
}

// commitOffsets is the group coordinator's. It knows the group's only member: kfake has none.
func (c *coordinator) commitOffsets(client int, req *kmsg.TxnOffsetCommitRequest, late bool) (kmsg.Response, *kerr.Error) {
	code := c.check(client, late, identity{req.ProducerID, req.ProducerEpoch}, "TxnOffsetCommit")
	if code == kerr.ProducerFenced {
		code = kerr.InvalidProducerEpoch
	}
	if code == nil && req.Version < 5 && !c.groups[req.Group] {
		if !late {
			c.fail("offsets of group %s are sent before the group is added", req.Group)
		}
		code = kerr.InvalidTxnState
	}
	if code != nil {
		return refusal(req, code), code
	}
	if req.Version >= 5 {
		c.open(2)
	}
	// What follows is after the group was added, as in Kafka.
	again := *req
	if again.Version >= 3 {
		again.MemberID, again.Generation, again.InstanceID = "", -1, nil
	}
	resp := again.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	first := func() int16 { return resp.Topics[0].Partitions[0].ErrorCode }
	member := c.member[req.Group]
	switch {
	case req.Version >= 3 && req.MemberID != "" && req.MemberID != member.id:
		code = kerr.UnknownMemberID
	case req.Version >= 3 && req.MemberID != "" && (req.InstanceID == nil || *req.InstanceID != member.instance):
		code = kerr.FencedInstanceID
	case req.Version >= 3 && req.Generation != -1 && req.Generation != member.generation:
		code = kerr.IllegalGeneration
	}
	if code != nil {
		c.happens("a stale member is fenced")
		again.Topics = nil // the group is added, without offsets
		_ = c.askCoordinator(req.Group, &again, resp, func() int16 { return 0 })
		c.groups[req.Group] = true
		return refusal(req, code), code
	}
	if err := c.askCoordinator(req.Group, &again, resp, first); err == nil && first() != 0 {
		c.fail("kfake does not take offsets of group %s: %v", req.Group, kerr.ErrorForCode(first()))
	}
	c.groups[req.Group] = true
	return resp, nil
}
