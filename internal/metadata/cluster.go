package metadata

import (
	"sync/atomic"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// clusterID is the id of the cluster that the first answer came from (KIP-78). Answers of another one are refused: its
// brokers have taken over an address, and its topics may have the same names. The client writes it, anyone may read it.
type clusterID struct {
	any bool // set before Start: nothing is learnt or refused
	id  atomic.Pointer[string]
}

// known is the id; empty if it is unknown, or if any will do.
func (c *clusterID) known() string {
	if c == nil {
		return ""
	}
	if id := c.id.Load(); id != nil {
		return *id
	}
	return ""
}

// check refuses an answer of another cluster. An answer without an id is taken.
func (c *clusterID) check(resp *wire.Metadata) error {
	return flow.SameCluster(c.known(), resp.ClusterID)
}

// learn takes the id of the first answer that has one.
func (c *clusterID) learn(resp *wire.Metadata) {
	if c != nil && !c.any && c.known() == "" && resp.ClusterID != "" {
		id := resp.ClusterID // a pointer into the answer would keep all of it
		c.id.Store(&id)
	}
}
