package users

import (
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	ddsarama "gopkg.in/DataDog/dd-trace-go.v1/contrib/IBM/sarama.v1"
	"gopkg.in/DataDog/dd-trace-go.v1/ddtrace/mocktracer"
)

// datadog adds the finished spans, sorted.
func (s *seen) datadog(tracer mocktracer.Tracer) {
	var lines seen
	for _, span := range tracer.FinishedSpans() {
		err, _ := span.Tag("error").(error)
		lines.add("span: %v, %v at %v/%v, failed %v",
			span.OperationName(), span.Tag("resource.name"), span.Tag("messaging.kafka.partition"), span.Tag("offset"), err != nil)
	}
	slices.Sort(lines)
	*s = append(*s, lines...)
}

func TestDatadogSync(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		tracer := mocktracer.Start()
		defer tracer.Stop()
		producer, err := construct.sync(cluster.ListenAddrs(), config())
		if err != nil {
			t.Fatal(err)
		}
		producer = ddsarama.WrapSyncProducer(config(), producer)

		for i := range 3 {
			partition, offset, err := producer.SendMessage(event(i))
			s.add("sent to %d/%d: %s", partition, offset, kind(err))
		}
		s.add("sent 2: %s", kind(producer.SendMessages([]*sarama.ProducerMessage{event(3), event(4)})))
		s.add("sent 2, one of them lost: %s", kind(producer.SendMessages([]*sarama.ProducerMessage{event(5), lost()})))
		cluster.refuse.Store(true)
		partition, offset, err := producer.SendMessage(event(6))
		s.add("refused: %d/%d: %s", partition, offset, kind(err))
		s.add("closed: %s", kind(producer.Close()))
		s.add("closed again: %s", kind(producer.Close()))
		s.log(t, cluster, 6)
		s.datadog(tracer)
		return s
	})
}

func TestDatadogAsync(t *testing.T) {
	for _, successes := range []bool{true, false} {
		t.Run(fmt.Sprintf("Return.Successes %v", successes), func(t *testing.T) {
			compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
				tracer := mocktracer.Start()
				defer tracer.Stop()
				conf := config()
				conf.Producer.Return.Successes = successes
				producer, err := construct.async(cluster.ListenAddrs(), conf)
				if err != nil {
					t.Fatal(err)
				}
				producer = ddsarama.WrapAsyncProducer(conf, producer)

				outcomes := read(producer)
				for i := range 100 {
					producer.Input() <- event(i)
				}
				s.log(t, cluster, 100)
				if successes {
					outcomes.wait(100)
				}
				cluster.refuse.Store(true)
				producer.Input() <- event(100)
				outcomes.wait(1)
				producer.AsyncClose()
				s = append(s, outcomes.all()...)
				s.add("closed: %s", kind(producer.Close()))
				s.datadog(tracer)
				return s
			})
		})
	}
}

// The library ends with the first of the two channels that is closed: what were still in the other one would be lost.
func TestDatadogAsyncCloseWhileSending(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		tracer := mocktracer.Start()
		defer tracer.Stop()
		conf := config()
		taken := make(chan struct{})
		conf.Producer.Interceptors = []sarama.ProducerInterceptor{onSend(func(msg *sarama.ProducerMessage) {
			if msg.Metadata == 99 {
				close(taken)
			}
		})}
		producer, err := construct.async(cluster.ListenAddrs(), conf)
		if err != nil {
			t.Fatal(err)
		}
		producer = ddsarama.WrapAsyncProducer(conf, producer)
		outcomes := read(producer)
		for i := range 100 {
			msg := event(i)
			if i%2 == 1 {
				msg.Key = broken{}
			}
			producer.Input() <- msg
		}
		<-taken // its AsyncClose is the producer's, and overtakes what the library holds
		producer.AsyncClose()
		s.count(t, cluster, outcomes)
		return s
	})
}

type onSend func(*sarama.ProducerMessage)

func (f onSend) OnSend(msg *sarama.ProducerMessage) { f(msg) }

// broken is a key that can't be encoded: its message fails without a broker.
type broken struct{}

func (broken) Encode() ([]byte, error) { return nil, fmt.Errorf("broken") }
func (broken) Length() int             { return 1 }
