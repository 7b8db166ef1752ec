package users

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/dnwe/otelsarama"
	ddsarama "gopkg.in/DataDog/dd-trace-go.v1/contrib/IBM/sarama.v1"

	"github.com/sluice-kafka/sluice"
)

// TestTypedOverWrappedProducers: a wrapper hides that a producer is sluice's, and displaces Metadata until the outcome. A
// Typed gets each outcome all the same.
func TestTypedOverWrappedProducers(t *testing.T) {
	wrappers := map[string]func(*sarama.Config, sarama.AsyncProducer) sarama.AsyncProducer{
		"otelsarama": func(conf *sarama.Config, p sarama.AsyncProducer) sarama.AsyncProducer {
			options, _ := otel()
			return otelsarama.WrapAsyncProducer(conf, p, options...)
		},
		"datadog": func(conf *sarama.Config, p sarama.AsyncProducer) sarama.AsyncProducer {
			return ddsarama.WrapAsyncProducer(conf, p)
		},
	}
	for name, wrap := range wrappers {
		for _, construct := range []func([]string, *sarama.Config) (sarama.AsyncProducer, error){sarama.NewAsyncProducer, sluice.NewAsyncProducer} {
			t.Run(name, func(t *testing.T) {
				cluster := start(t)
				producer, err := construct(cluster.ListenAddrs(), config())
				if err != nil {
					t.Fatal(err)
				}
				events := sluice.NewTypedAsync(wrap(config(), producer), sluice.StringSerializer, sluice.StringSerializer)
				topic := event(0).Topic
				var futures []*sluice.Future
				for i := range 100 {
					futures = append(futures, events.Send(t.Context(), topic, "key", fmt.Sprint(i)))
				}
				if err := events.Flush(t.Context()); err != nil {
					t.Error(err)
				}
				last := int64(-1)
				for i, f := range futures {
					written, err := f.Get(t.Context())
					if err != nil || written.Topic != topic || written.Offset != last+1 {
						t.Errorf("message %d: %+v, %v", i, written, err)
					}
					last = written.Offset
				}
				if err := events.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
