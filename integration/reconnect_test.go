//go:build unix

package integration

import (
	"runtime"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

// TestGoroutinesAfterReconnects cuts all connections a hundred times, half of them with messages under way. Every message
// is delivered, the goroutines don't grow in number, and after Close they are those from before.
func TestGoroutinesAfterReconnects(t *testing.T) {
	const reconnects = 100
	for _, test := range []struct {
		name       string
		idempotent bool
	}{{"idempotent", true}, {"without idempotence", false}} {
		t.Run(test.name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(6, "t"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			before := goleak.IgnoreCurrent()
			conf := newConfig()
			conf.Producer.Idempotent = test.idempotent
			conf.Producer.Retry.Backoff = time.Millisecond
			conf.Metadata.Retry.Backoff = time.Millisecond
			conns := through(conf)
			p, err := sluice.New(cluster.ListenAddrs(), conf)
			if err != nil {
				t.Fatal(err)
			}
			send := func() {
				for partition := range int32(6) {
					p.Input() <- &sarama.ProducerMessage{Topic: "t", Partition: partition, Value: sarama.StringEncoder("x")}
				}
			}
			deliver := func() {
				for range 6 {
					select {
					case <-p.Successes():
					case err := <-p.Errors():
						t.Fatal(err)
					}
				}
			}
			send()
			deliver()
			warm := runtime.NumGoroutine()
			for i := range reconnects {
				if i%2 == 0 {
					conns.cut()
					send()
				} else {
					send()
					conns.cut()
				}
				deliver()
			}
			if _, made := conns.list(); made < reconnects {
				t.Errorf("%d connections were made, want more than %d", made, reconnects)
			}
			// Some more connections may be open for look-ups, and some goroutines just end; not one a reconnect.
			if now := runtime.NumGoroutine(); now > warm+reconnects/2 {
				t.Errorf("%d goroutines after %d reconnects, %d before", now, reconnects, warm)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if open, _ := conns.list(); len(open) > 0 {
				t.Errorf("%d connections are open after Close", len(open))
			}
			cluster.Close()
			if err := goleak.Find(before, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")); err != nil {
				t.Error(err)
			}
		})
	}
}
