//go:build unix

package kafkatest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// featureArgs are what the storage tool wants of the features.
func (c *clusterConfig) featureArgs() (args []string) {
	for _, name := range slices.Sorted(maps.Keys(c.features)) {
		args = append(args, "--feature", fmt.Sprintf("%s=%d", name, c.features[name]))
	}
	return args
}

// RaiseFeature raises a feature while the cluster runs (UpdateFeatures), and waits until every node that is up and not
// paused says that the new level is final.
func (c *Cluster) RaiseFeature(tb testing.TB, name string, level int16) {
	tb.Helper()
	if err := c.raiseFeature(tb.Context(), name, level); err != nil {
		tb.Fatalf("kafkatest: raise %s to %d: %v", name, level, err)
	}
}

func (c *Cluster) raiseFeature(ctx context.Context, name string, level int16) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = int32(topicTimeout.Milliseconds())
	update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	update.Feature, update.MaxVersionLevel, update.UpgradeType = name, level, 1
	req.FeatureUpdates = append(req.FeatureUpdates, update)
	kresp, err := c.ask(ctx, req)
	if err != nil {
		return err
	}
	resp := kresp.(*kmsg.UpdateFeaturesResponse)
	if err := withMessage(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return err
	}
	for _, r := range resp.Results {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return pollAll(ctx, c, apiVersionsRequest(), func(versions *kmsg.ApiVersionsResponse) bool {
		return finalLevel(versions, name) == level
	})
}

// FeatureLevel asks node i for the final level of a feature. It is 0 where the feature is not known.
func (c *Cluster) FeatureLevel(tb testing.TB, i int, name string) (level int16) {
	tb.Helper()
	c.running(tb, i)
	ctx, cancel := context.WithTimeout(tb.Context(), topicTimeout)
	defer cancel()
	err := poll(ctx, c.nodes[i], apiVersionsRequest(), func(versions *kmsg.ApiVersionsResponse) bool {
		level = finalLevel(versions, name)
		return true
	})
	if err != nil {
		tb.Fatalf("kafkatest: level of %s at node %d: %v", name, i, err)
	}
	return level
}

func apiVersionsRequest() *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "kafkatest", "1" // a broker refuses empty ones
	return req
}

func finalLevel(versions *kmsg.ApiVersionsResponse, name string) int16 {
	for _, f := range versions.FinalizedFeatures {
		if f.Name == name {
			return f.MaxVersionLevel
		}
	}
	return 0
}

// withMessage is an answer's error, with what the broker says about it.
func withMessage(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err != nil && message != nil {
		return fmt.Errorf("%w: %s", err, *message)
	}
	return err
}
