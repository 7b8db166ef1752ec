//go:build unix

package integration

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestIdleConnectionsAreReplaced: the broker closes connections that were idle, and the next messages need new ones.
// Where nothing may be retried nothing fails.
func TestIdleConnectionsAreReplaced(t *testing.T) {
	// Not less: the nodes' own connections, idle between heartbeats, end too.
	c := kafkatest.Start(t, 1, kafkatest.WithConfig("connections.max.idle.ms", "2000"))
	for _, test := range []struct {
		name       string
		idempotent bool
		retries    int
	}{
		{"without retries", false, 0},
		{"idempotent", true, 1}, // sarama insists on one
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			topic := c.NewTopic(t, 1, nil)
			conf := newConfig()
			conf.Producer.Idempotent = test.idempotent
			conf.Producer.Retry.Max = test.retries
			var backoffs atomic.Int64
			conf.Producer.Retry.BackoffFunc = func(int, int) time.Duration {
				backoffs.Add(1)
				return 100 * time.Millisecond
			}
			conns := through(conf)
			p := newSync(t, c, conf)
			ctx := testContext(t)
			const rounds = 3
			for round := range int64(rounds) {
				_, offset, err := p.SendMessageContext(ctx, &sarama.ProducerMessage{Topic: topic})
				if err != nil || offset != round {
					t.Fatalf("message %d: offset %d, error %v", round, offset, err)
				}
				if round == 0 {
					backoffs.Store(0) // a broker that has just started may keep producers waiting for their id
				}
				conns.awaitIdle(ctx, t)
			}
			if n := backoffs.Load(); n > 0 {
				t.Errorf("%d retries", n)
			}
			if _, made := conns.list(); made < rounds {
				t.Errorf("%d connections for %d messages", made, rounds)
			}
		})
	}
}
