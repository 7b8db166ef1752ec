package wire

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// features are the cluster's finalized features, as the brokers tell them in ApiVersions (KIP-584).
type features struct {
	mu                 sync.Mutex
	epoch              int64 // of what is known; brokers that lag behind tell a lower one
	transactionVersion int16
}

// learn takes in an answer to ApiVersions. The highest epoch wins.
func (f *features) learn(resp *kmsg.ApiVersionsResponse) {
	if resp.Version < 3 || resp.FinalizedFeaturesEpoch < 0 {
		return
	}
	var version int16
	for _, feature := range resp.FinalizedFeatures {
		if feature.Name == "transaction.version" {
			version = feature.MaxVersionLevel
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if resp.FinalizedFeaturesEpoch >= f.epoch {
		f.epoch, f.transactionVersion = resp.FinalizedFeaturesEpoch, version
	}
}

// TransactionVersion is the cluster's finalized transaction.version (KIP-890), as far as a broker has told it, else 0.
// That brokers support requests of version 2 says nothing: they do so before it is finalized.
func (d *Dialer) TransactionVersion() int16 {
	d.features.mu.Lock()
	defer d.features.mu.Unlock()
	return d.features.transactionVersion
}

// RefreshFeatures asks the broker of an open connection for the cluster's features.
func (d *Dialer) RefreshFeatures(ctx context.Context, c *Conn) error {
	if !c.fromBroker {
		return nil // it does not answer ApiVersions, or must not be asked
	}
	kresp, err := c.RequestUpTo(ctx, apiVersionsRequest(), 3)
	if err != nil {
		return err
	}
	resp, ok := kresp.(*kmsg.ApiVersionsResponse)
	if !ok {
		return fmt.Errorf("ApiVersions answered with %T", kresp)
	}
	d.features.learn(resp)
	return nil
}
