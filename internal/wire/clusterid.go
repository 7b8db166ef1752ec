package wire

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// metadataClusterID is the first version of Metadata whose answer has the cluster's id (KIP-78).
const metadataClusterID = 2

// CheckCluster asks the broker for its cluster's id, and returns flow.ErrOtherCluster if that is not want. It is for a
// new connection, before anything is asked that changes the cluster.
//
// An unknown id is not checked: want is empty, the answer has none, or the broker is too old to tell. A broker that did not
// answer ApiVersions is not asked. ApiVersions v5 (KIP-1242) compares ids too, but its refusal does not name the other
// cluster, and it would cost the same: v3 has to be asked first, since older brokers do not know v5.
func (c *Conn) CheckCluster(ctx context.Context, want string) error {
	version, ok := c.versions.highest(keyMetadata, kmsg.NewPtrMetadataRequest().MaxVersion())
	if want == "" || !c.fromBroker || !ok || version < metadataClusterID {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // brokers alone; nil would ask for all topics
	answer, err := c.Metadata(ctx, req)
	if err != nil {
		return fmt.Errorf("asking broker %s for its cluster: %w", c.addr, err)
	}
	if err := flow.SameCluster(want, answer.ClusterID); err != nil {
		return fmt.Errorf("broker %s: %w", c.addr, err)
	}
	return nil
}
