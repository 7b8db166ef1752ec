package apitest

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// leaderVersions are a Produce that names the new leader (v10, KIP-951) and one that does not.
var leaderVersions = []struct {
	name   string
	adjust func(*sarama.Config)
}{
	{"with hints", func(*sarama.Config) {}},
	{"without hints", func(conf *sarama.Config) { conf.ApiVersionsRequest, conf.Version = false, sarama.V2_8_0_0 }},
}

// The leader that an answer names is followed without a look-up.
func TestNamedLeaderIsFollowedWithoutLookUp(t *testing.T) {
	for _, idempotent := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %v", idempotent), func(t *testing.T) {
			c := newTopicCluster(t, 2, 1)
			asked := metadataRequests(c, "t")
			conf := testConfig()
			if idempotent {
				conf.Producer.Idempotent, conf.Net.MaxOpenRequests, conf.Producer.RequiredAcks = true, 1, sarama.WaitForAll
			}
			p := newAsync(t, c, conf)
			send(p, message(0, 0))
			successes(t, p, 1)
			before := asked.Load()
			const moves = 5
			for n := 1; n <= moves; n++ {
				move(t, c, 0, int32(n%2))
				send(p, message(0, n))
				successes(t, p, 1)
			}
			if n := asked.Load() - before; n > 0 {
				t.Errorf("%d look-ups for %d moves", n, moves)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if got := logged(c, "t"); got != moves+1 {
				t.Errorf("%d of %d messages in the log", got, moves+1)
			}
		})
	}
}

// When the leaders of a thousand partitions move at once, their look-ups are shared.
func TestThousandLeadersMoveAtOnce(t *testing.T) {
	const partitions = 1000
	for _, v := range leaderVersions {
		t.Run(v.name, func(t *testing.T) {
			c := newCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(partitions, "t"))
			asked := metadataRequests(c, "t")
			conf := testConfig()
			conf.Metadata.Retry.Backoff = 50 * time.Millisecond
			v.adjust(conf)
			for p := range int32(partitions) {
				move(t, c, p, 0)
			}
			p := newAsync(t, c, conf)
			go send(p, messages(partitions, partitions)...)
			successes(t, p, partitions)
			before := asked.Load()
			for p := range int32(partitions) {
				move(t, c, p, 1)
			}
			go send(p, messages(partitions, partitions)...)
			successes(t, p, partitions)
			if n := asked.Load() - before; n > 20 {
				t.Errorf("%d look-ups", n)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if got := logged(c, "t"); got != 2*partitions {
				t.Errorf("%d of %d messages in the log", got, 2*partitions)
			}
		})
	}
}
