package simtest

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What every request of a transactional producer must keep: the versions of its mode, the order of additions and writes, and
// what an unanswered EndTxn binds it to. Requests of connections that were lost meanwhile say nothing about the present.

// versionOf is the version of transactions that a request belongs to; 0: to either.
func versionOf(req kmsg.Request) int {
	v := req.GetVersion()
	second := map[kmsg.Key]int16{kmsg.Produce: 12, kmsg.EndTxn: 5, kmsg.TxnOffsetCommit: 5}
	switch key := kmsg.Key(req.Key()); key {
	case kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn:
		return 1
	case kmsg.Produce, kmsg.EndTxn, kmsg.TxnOffsetCommit:
		if v >= second[key] {
			return 2
		}
		return 1
	}
	return 0
}

// checkRequest is called before a request is answered.
func (c *coordinator) checkRequest(client int, kreq kmsg.Request, late bool) {
	if late {
		return
	}
	var id identity
	switch req := kreq.(type) {
	case *kmsg.InitProducerIDRequest:
		if req.TransactionalID == nil || *req.TransactionalID != transactionalID {
			c.fail("InitProducerId without the transactional id")
		}
		return
	case *kmsg.AddPartitionsToTxnRequest:
		id = identity{req.ProducerID, req.ProducerEpoch}
		if req.Version > 3 {
			c.fail("AddPartitionsToTxn %d is for brokers", req.Version)
		}
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				if tp := (partition{t.Topic, p}); id == c.current() && c.acked[tp] {
					c.fail("%v is added again, which was acknowledged in this transaction", tp)
				}
			}
		}
	case *kmsg.AddOffsetsToTxnRequest:
		id = identity{req.ProducerID, req.ProducerEpoch}
	case *kmsg.TxnOffsetCommitRequest:
		id = identity{req.ProducerID, req.ProducerEpoch}
		if req.Version >= 6 && !c.sc.txn.topicIDs {
			c.happens("TxnOffsetCommit with topic ids")
		}
	case *kmsg.EndTxnRequest:
		id = identity{req.ProducerID, req.ProducerEpoch}
		if before := c.ends[id]; before != nil && !c.gaveUp[id] && (before.commit != req.Commit || req.Commit && before.version != req.Version) {
			c.fail("EndTxn %d commit %t of producer %d follows EndTxn %d commit %t of epoch %d, which has no answer",
				req.Version, req.Commit, client, before.version, before.commit, id.epoch)
		} else if before != nil {
			c.happens("EndTxn is repeated")
		}
		c.again = c.ends[id] != nil
		c.ends[id] = &endOfTxn{req.Commit, req.Version}
	}
	c.attempts++
	c.checkMode(id, versionOf(kreq), kmsg.NameForKey(kreq.Key()))
}

// checkMode: version 2 is used as soon as it is known, and never before; and a transaction has one version.
func (c *coordinator) checkMode(id identity, version int, what string) {
	switch {
	case version == 2 && !c.told2:
		c.fail("%s of version 2 is sent, and no broker has told of version 2", what)
	case version == 1 && c.sc.txn.version == 2:
		c.fail("%s of version 1 is sent, and all brokers tell of version 2", what)
	}
	before, used := c.modes[id]
	if used && before != version {
		c.fail("epoch %d is used for version %d, then for %s of version %d", id.epoch, before, what, version)
	}
	if c.modes[id] = version; version == 2 && c.sc.txn.version == 1 {
		c.happens("an upgrade in the middle")
	}
}

// patienceForEpoch is how long a producer waits after a commit for the epoch of its next transaction. BeginTxn asks again then, and
// nobody hears the first answer.
const patienceForEpoch = 500 * time.Millisecond

// taken is called when the producer has an answer.
func (c *coordinator) taken(client int, kreq kmsg.Request, code *kerr.Error, came arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ends := kreq.(*kmsg.EndTxnRequest)
	_, inits := kreq.(*kmsg.InitProducerIDRequest)
	unheard := inits && time.Since(came.at) >= patienceForEpoch-10*time.Millisecond
	told := c.told
	if _, adds := kreq.(*kmsg.AddPartitionsToTxnRequest); adds {
		told = c.toldOfAdd
	}
	switch code {
	case kerr.ProducerFenced, kerr.InvalidProducerEpoch:
		if !unheard {
			c.heard[client] = kerr.ProducerFenced.Message
		}
		if ends && kreq.GetVersion() >= 5 {
			break // which may have to be asked about again
		}
		told[client] = kerr.ProducerFenced.Message
	case kerr.TransactionalIDAuthorizationFailed:
		told[client] = code.Message
	}
	switch req := kreq.(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		if code != nil || c.state != stateOngoing || c.current() != (identity{req.ProducerID, req.ProducerEpoch}) {
			return
		}
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				if tp := (partition{t.Topic, p}); c.partitions[tp] {
					c.acked[tp] = true
				}
			}
		}
	case *kmsg.EndTxnRequest:
		switch code {
		case kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress:
		default:
			delete(c.ends, identity{req.ProducerID, req.ProducerEpoch})
		}
	}
}

// arrive checks the batches of a Produce request, as it comes: before a request that the producer sent later is handled. Of
// others it notes under which identity they came.
func (c *coordinator) arrive(frame []byte) {
	if kmsg.Key(binary.BigEndian.Uint16(frame)) != kmsg.Produce {
		client := clientOf(frame)
		c.mu.Lock()
		c.arrived[&frame[0]] = arrival{time.Now(), c.current(), c.heard[client]}
		c.mu.Unlock()
		return
	}
	kreq, _ := parse(frame)
	req := kreq.(*kmsg.ProduceRequest)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	if req.TransactionID == nil || *req.TransactionID != transactionalID {
		c.fail("a Produce request has no transactional id")
	}
	for _, t := range req.Topics {
		name := t.Topic
		if req.Version >= 13 {
			name = c.topicName(t.TopicID)
		}
		for _, b := range t.Partitions {
			c.checkWrite(req, partition{name, b.Partition}, b.Records)
		}
	}
}

// arrival takes what was noted of a request that is handled now.
func (c *coordinator) arrival(frame []byte) arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	came := c.arrived[&frame[0]]
	delete(c.arrived, &frame[0])
	return came
}

const (
	atAttributes  = 21
	transactional = 1 << 4
)

func (c *coordinator) checkWrite(req *kmsg.ProduceRequest, tp partition, batch []byte) {
	n := numbersOf(tp, batch)
	if binary.BigEndian.Uint16(batch[atAttributes:])&transactional == 0 {
		c.fail("%v is not transactional", n)
	}
	id := identity{n.producer, n.epoch}
	c.checkMode(id, versionOf(req), fmt.Sprint("Produce of ", tp))
	if id == c.current() && versionOf(req) == 1 && !c.partitions[tp] {
		c.fail("%v is sent to a partition that was not added to the transaction: %v", n, c.state)
	}
}
