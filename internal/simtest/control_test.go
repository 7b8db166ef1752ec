package simtest

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadata handles a Metadata request: faults of topics, of partitions, and of the whole.
func (p *proxy) metadata(frame []byte) bool {
	f := &p.network.sc.faults
	healed := p.network.healed()
	switch {
	case healed:
	case p.chance(f.metadata):
		p.network.trace("broker %s #%d: metadata request lost", p.addr, p.number)
		return false
	case p.chance(f.metadata):
		p.pause(p.delay())
	}
	req, _ := parse(frame)
	return p.passOn(frame, func(raw []byte) []byte {
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		if err := decodeAnswer(raw, resp); err != nil {
			p.network.fail("kfake's metadata: %v", err)
			return raw
		}
		p.network.leaders.tell(p.addr, resp)
		if healed {
			return encodeAnswer(frame, resp)
		}
		for i := range resp.Topics {
			t := &resp.Topics[i]
			if p.chance(f.metadata) {
				t.ErrorCode = kerr.LeaderNotAvailable.Code
				if p.chance(30) {
					t.ErrorCode, t.Partitions = kerr.UnknownTopicOrPartition.Code, nil
				}
				continue
			}
			for j := range t.Partitions {
				if p.chance(f.noLeader) || p.network.leaderless(*t.Topic, t.Partitions[j].Partition) {
					t.Partitions[j].ErrorCode, t.Partitions[j].Leader = kerr.LeaderNotAvailable.Code, -1
				}
			}
		}
		return encodeAnswer(frame, resp)
	})
}

// initProducerID is refused sometimes; brokers that load their state say so.
func (p *proxy) initProducerID(frame []byte) bool {
	f := &p.network.sc.faults
	if p.network.healed() || !p.chance(min(50, 10*f.retriable)) {
		return p.passOn(frame, nil)
	}
	if p.chance(30) {
		return false
	}
	req, _ := parse(frame)
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	p.network.trace("broker %s #%d: no producer id yet", p.addr, p.number)
	p.answers <- answer{frame: encodeAnswer(frame, resp)}
	return true
}
