package simtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func (t *transaction) add(m *sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages = append(t.messages, m)
}

// body sends, from one goroutine or several, and adds offsets.
func (p *program) body(t *transaction, tx sluice.Tx, rival bool) {
	kind := p.draw.IntN(10) // 0: empty, 1: offsets alone
	var senders sync.WaitGroup
	if kind > 1 {
		for i := range p.sc.senders {
			senders.Go(func() { t.client.sendInTxn(t, tx, i) })
		}
	}
	if kind == 1 || kind > 1 && p.percent(p.sc.txn.offsets) {
		p.addOffsets(t, tx)
	}
	if rival {
		p.rival(t.client)
	}
	senders.Wait()
	if kind > 0 && p.percent(p.sc.txn.idle) {
		time.Sleep(p.sc.txn.timeout + p.sc.txn.timeout/2)
	}
}

func (c *txnClient) sendInTxn(t *transaction, tx sluice.Tx, id int) {
	draw := rand.New(rand.NewPCG(c.seed, uint64(t.number)<<8|uint64(id)|15<<60))
	ways := []string{"input", "input", "batch", "produce", "sync", "syncs", "append", "append"}
	for left := 1 + draw.IntN(c.sc.messages); left > 0; {
		ctx, cancel := context.Background(), func() {}
		if draw.Float64()*100 < c.sc.txn.impatient/5 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(draw.Int64N(int64(c.sc.readTimeout*2))))
		}
		how := pick(draw, ways...)
		left -= c.send(draw, ctx, sender{id, t, tx}, how, c.nextNumber(id, how))
		cancel()
		if c.sc.pause > 0 && draw.IntN(3) == 0 {
			time.Sleep(time.Duration(draw.Int64N(int64(c.sc.pause))))
		}
	}
}

// nextNumber leaves room for a batch.
func (r *run) nextNumber(id int, how string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.numbers == nil {
		r.numbers = map[string]int{}
	}
	if how == "syncs" {
		how = "sync"
	}
	stream := fmt.Sprint(how, id)
	r.numbers[stream] += 10
	return r.numbers[stream]
}

// addOffsets adds offsets of one group or two, in one of the three ways.
func (p *program) addOffsets(t *transaction, tx sluice.Tx) {
	for i, group := range []string{"g0", "g1"}[:1+p.draw.IntN(2)] {
		metadata := sarama.NewConsumerGroupMetadata(group)
		if p.percent(60) && p.sc.txn.release != "2.4" { // which does not take members
			member := p.coordinator.memberOf(group)
			if p.percent(p.sc.txn.stale) {
				t.staleAdd = true
				switch p.draw.IntN(3) {
				case 0:
					p.coordinator.rebalance(group)
				case 1:
					member.id = "gone"
				case 2:
					member.instance = "another"
				}
			}
			metadata.MemberID, metadata.GenerationID, metadata.GroupInstanceID = member.id, member.generation, &member.instance
		}
		added := map[partition]int64{}
		for range 1 + p.draw.IntN(3) {
			tp := partition{pick(p.draw, p.sc.topicNames()...), p.draw.Int32N(p.sc.partitions)}
			added[tp] = int64(t.number*10 + i)
		}
		err := p.add(t, tx, metadata, added)
		p.trace("%v: offsets of %s, member %q generation %d: %v", t, group, metadata.MemberID, metadata.GenerationID, err)
		if err != nil {
			t.addErr = err
			continue
		}
		if t.offsets[group] == nil {
			t.offsets[group] = map[partition]int64{}
		}
		maps.Copy(t.offsets[group], added)
	}
}

// add adds offsets in one of the ways that there are for them.
func (p *program) add(t *transaction, tx sluice.Tx, group *sarama.ConsumerGroupMetadata, added map[partition]int64) error {
	producer, member := t.client.p, group.MemberID != ""
	if len(added) == 1 && p.draw.IntN(2) == 0 {
		for tp, offset := range added {
			msg := &sarama.ConsumerMessage{Topic: tp.topic, Partition: tp.id, Offset: offset - 1}
			switch {
			case tx != nil:
				return tx.AddMessage(msg, group)
			case member:
				return producer.AddMessageToTxnWithGroupMetadata(msg, group, nil)
			}
			return producer.AddMessageToTxn(msg, group.GroupID, nil)
		}
	}
	offsets := map[string][]*sarama.PartitionOffsetMetadata{}
	for tp, offset := range added {
		offsets[tp.topic] = append(offsets[tp.topic], &sarama.PartitionOffsetMetadata{Partition: tp.id, Offset: offset})
	}
	switch {
	case tx != nil:
		return tx.AddOffsets(offsets, group)
	case member:
		return producer.AddOffsetsToTxnWithGroupMetadata(offsets, group)
	}
	return producer.AddOffsetsToTxn(offsets, group.GroupID)
}

func (c *coordinator) memberOf(group string) groupMember {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.member[group]
}

func (c *coordinator) rebalance(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.member[group]
	m.generation++
	c.member[group] = m
}
