package apitest

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// A broker's limit for requests falls below what it took before, as a broker or proxy with another configuration takes its
// place. What is certainly not written is delivered with sarama's three retries. Else it is told with its size, and what
// comes after it is delivered.
func TestBrokersLimitFalls(t *testing.T) {
	for _, swallows := range []bool{false, true} {
		for _, isIdempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("swallows %t idempotent %t", swallows, isIdempotent), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					conf := v.config()
					conf.Producer.Flush.Frequency = 10 * time.Millisecond
					if isIdempotent {
						idempotent(conf)
					}
					broker := &closing{limit: 10_000_000, swallows: swallows}
					v.over(conf, broker.write)
					p := newAsync(t, v.Cluster, conf)
					sendSized(p, 900, 1, 1000)
					successes(t, p, 900)

					broker.mu.Lock()
					broker.limit = 300_000
					broker.mu.Unlock()
					delivered := int64(900)
					sendSized(p, 900, 1, 1000)
					if swallows {
						for range 900 {
							wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown), "request of", "up to")
						}
					} else {
						successes(t, p, 900)
						delivered += 900
					}
					sendSized(p, 2000, 1, 1000)
					successes(t, p, 2000)
					v.wantDelivered(t, delivered+2000)
					if broker.closes > 5 {
						t.Errorf("%d closes: %v", broker.closes, broker.sizes)
					}
					wantQuickClose(t, p)
				}, virtualBrokers(1), kfake.SeedTopics(1, "t"))
			})
		}
	}
}
