package simtest

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// verify leaves of a request what the coordinator allows (KIP-890), and answers the rest. The lock is held from then until
// kfake has appended it.
func (p *proxy) verify(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) {
	kept := req.Topics[:0]
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		t.Partitions = slices.DeleteFunc(t.Partitions, func(b kmsg.ProduceRequestTopicPartition) bool {
			n := numbersOf(partition{p.network.topicOf(req.Version, t.Topic, t.TopicID), b.Partition}, b.Records)
			code := p.network.coordinator.allow(n, req.Version)
			if code != nil {
				p.network.trace("broker %s #%d: %v is not allowed: %s", p.addr, p.number, n, code.Message)
				rt.Partitions = append(rt.Partitions, refusedBatch(b.Partition, verdict{code: code}))
			}
			return code != nil
		})
		if len(t.Partitions) > 0 {
			kept = append(kept, t)
		}
		if len(rt.Partitions) > 0 {
			addTopic(resp, rt)
		}
	}
	req.Topics = kept
}

// refuses tells whether the coordinator would not allow a batch now.
func (c *coordinator) refuses(n numbers, version int16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allow(n, version) != nil
}

// allow is the coordinator's answer to a broker that asks for a batch.
func (c *coordinator) allow(n numbers, version int16) *kerr.Error {
	c.settle()
	switch id := (identity{n.producer, n.epoch}); {
	case id.id != c.id:
		return kerr.InvalidProducerIDMapping
	case id.epoch != c.epoch:
		if id.epoch > c.epoch {
			c.fail("%v has an epoch that the coordinator has not given: it is at %d", n, c.epoch)
		}
		return kerr.InvalidProducerEpoch
	case version < 12 && (c.state != stateOngoing || !c.partitions[n.partition]):
		return kerr.InvalidTxnState
	case version >= 12 && c.state == statePrepare:
		c.happens("CONCURRENT_TRANSACTIONS for Produce")
		return kerr.ConcurrentTransactions
	}
	return nil
}

// appended notes what an append has done: with version 12 it adds the partition, even if then nothing is written.
func (c *coordinator) appended(tp partition, version, code int16) {
	switch code {
	case 0, kerr.OutOfOrderSequenceNumber.Code, kerr.UnknownProducerID.Code:
		if version >= 12 {
			c.open(2)
			c.partitions[tp] = true
		}
	}
}

// addWithoutWrite is what may remain of a Produce request that is refused: the coordinator has added the partition.
func (c *coordinator) addWithoutWrite(n numbers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allow(n, 12) != nil {
		return
	}
	c.happens("a partition is added, and nothing is written")
	c.open(2)
	c.addAtKfake(n.partition)
	c.partitions[n.partition] = true
}
