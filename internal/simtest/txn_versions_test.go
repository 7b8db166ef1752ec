package simtest

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// apiVersions tells what brokers of the scenario's release tell, and the version of transactions.
func (p *proxy) apiVersions(frame []byte) bool {
	req, _ := parse(frame)
	return p.passOn(frame, func(raw []byte) []byte {
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		if err := decodeAnswer(raw, resp); err != nil {
			p.network.fail("kfake's versions: %v", err)
			return raw
		}
		p.network.coordinator.tellVersions(p.addr, resp)
		return encodeAnswer(frame, resp)
	})
}

var releases = map[string]*kversion.Versions{"3.9": kversion.V3_9_0(), "2.8": kversion.V2_8_0(), "2.4": kversion.V2_4_0()}

func (c *coordinator) tellVersions(addr string, resp *kmsg.ApiVersionsResponse) {
	kept := resp.ApiKeys[:0]
	for _, key := range resp.ApiKeys {
		if release := releases[c.sc.txn.release]; release != nil {
			highest, known := release.LookupMaxKeyVersion(key.ApiKey)
			if !known {
				continue
			}
			key.MaxVersion = min(key.MaxVersion, highest)
		}
		if key.ApiKey == int16(kmsg.Produce) && !c.sc.txn.topicIDs {
			key.MaxVersion = min(key.MaxVersion, 12)
		}
		kept = append(kept, key)
	}
	resp.ApiKeys = kept
	// A feature at level 0 is not listed.
	resp.FinalizedFeatures = slices.DeleteFunc(resp.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == "transaction.version"
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	level, epoch := c.levelAt(addr)
	resp.FinalizedFeaturesEpoch = epoch
	if c.told2 = c.told2 || level == 2; level > 0 {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: "transaction.version", MinVersionLevel: level, MaxVersionLevel: level,
		})
	}
}

// levelAt is what a broker knows of transaction.version. Brokers hear of an upgrade one after the other.
func (c *coordinator) levelAt(addr string) (level int16, epoch int64) {
	t := c.sc.txn
	if t.version == 2 {
		return 2, 7
	}
	if t.upgrade > 0 {
		if _, drawn := c.learned[addr]; !drawn {
			c.learned[addr] = c.begin.Add(t.upgrade + time.Duration(c.draw.Int64N(int64(time.Second))))
		}
		if !time.Now().Before(c.learned[addr]) {
			return 2, 8
		}
	}
	return int16(c.seed % 2), 7
}

// findCoordinator may be lost, refused, or answered with the broker that was the coordinator before.
func (p *proxy) findCoordinator(frame []byte) bool {
	req, _ := parse(frame)
	p.pause(latency)
	fault := !p.network.healed() && p.chance(p.network.sc.txn.faults.find)
	kind := p.faults.IntN(4)
	if fault && kind == 0 {
		return false
	}
	return p.passOn(frame, func(raw []byte) []byte {
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		if err := decodeAnswer(raw, resp); err != nil || !fault {
			return raw
		}
		if len(resp.Coordinators) == 0 { // below version 4
			resp.Coordinators = []kmsg.FindCoordinatorResponseCoordinator{{}}
		}
		for i := range resp.Coordinators {
			co := &resp.Coordinators[i]
			co.NodeID, co.Host, co.Port, co.ErrorCode = -1, "", -1, pick(p.faults, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress).Code
			if node := p.faults.Int32N(int32(p.network.sc.brokers)); kind == 1 {
				co.NodeID, co.Host, co.Port, co.ErrorCode = node, "localhost", 9000+node, 0
			}
			resp.NodeID, resp.Host, resp.Port, resp.ErrorCode = co.NodeID, co.Host, co.Port, co.ErrorCode
		}
		return encodeAnswer(frame, resp)
	})
}
