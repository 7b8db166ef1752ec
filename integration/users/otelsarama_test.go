package users

import (
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	"github.com/dnwe/otelsarama"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// otel returns the options that record spans, and what was recorded: a line each, sorted.
func otel() (options []otelsarama.Option, spans func() seen) {
	recorder := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
	options = []otelsarama.Option{
		otelsarama.WithTracerProvider(provider), otelsarama.WithPropagators(propagation.TraceContext{}),
	}
	return options, func() (lines seen) {
		for _, s := range recorder.Ended() {
			attributes := map[string]string{}
			for _, a := range s.Attributes() {
				attributes[string(a.Key)] = a.Value.Emit()
			}
			lines.add("span: %s, %v, %v", s.Name(), s.Status().Code, attributes) // fmt sorts a map by its keys
		}
		slices.Sort(lines)
		return lines
	}
}

func TestOtelsaramaSync(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		producer, err := construct.sync(cluster.ListenAddrs(), config())
		if err != nil {
			t.Fatal(err)
		}
		options, spans := otel()
		producer = otelsarama.WrapSyncProducer(config(), producer, options...)

		for i := range 3 {
			partition, offset, err := producer.SendMessage(event(i))
			s.add("sent to %d/%d: %s", partition, offset, kind(err))
		}
		s.add("sent 2: %s", kind(producer.SendMessages([]*sarama.ProducerMessage{event(3), event(4)})))
		partition, offset, err := producer.SendMessage(lost())
		s.add("lost: %d/%d: %s", partition, offset, kind(err))
		s.add("sent 2, one of them lost: %s", kind(producer.SendMessages([]*sarama.ProducerMessage{event(5), lost()})))
		cluster.refuse.Store(true)
		partition, offset, err = producer.SendMessage(event(6))
		s.add("refused: %d/%d: %s", partition, offset, kind(err))
		s.add("closed: %s", kind(producer.Close()))
		s.add("closed again: %s", kind(producer.Close()))
		s.log(t, cluster, 6)
		return append(s, spans()...)
	})
}

func TestOtelsaramaAsync(t *testing.T) {
	for _, successes := range []bool{true, false} {
		for name, end := range map[string]func(sarama.AsyncProducer) error{
			"Close":      sarama.AsyncProducer.Close,
			"AsyncClose": func(p sarama.AsyncProducer) error { p.AsyncClose(); return nil },
		} {
			t.Run(fmt.Sprintf("Return.Successes %v, %s", successes, name), func(t *testing.T) {
				compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
					conf := config()
					conf.Producer.Return.Successes = successes
					producer, err := construct.async(cluster.ListenAddrs(), conf)
					if err != nil {
						t.Fatal(err)
					}
					options, spans := otel()
					producer = otelsarama.WrapAsyncProducer(conf, producer, options...)

					outcomes := read(producer)
					for i := range 100 {
						producer.Input() <- event(i)
					}
					s.log(t, cluster, 100)
					producer.Input() <- lost()
					if successes {
						outcomes.wait(100)
					}
					outcomes.wait(1)
					s.add("closed: %s", kind(end(producer)))
					s = append(s, outcomes.all()...)
					s.add("closed again: %s", panicOf(func() { _ = producer.Close() }))
					s.add("sent after that: %s", panicOf(func() { producer.Input() <- event(100) }))
					return append(s, spans()...)
				})
			})
		}
	}
}

func TestOtelsaramaAsyncCloseWhileSending(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		producer, err := construct.async(cluster.ListenAddrs(), config())
		if err != nil {
			t.Fatal(err)
		}
		options, spans := otel()
		producer = otelsarama.WrapAsyncProducer(config(), producer, options...)
		outcomes := read(producer)
		for i := range 100 {
			producer.Input() <- event(i)
		}
		producer.AsyncClose()
		s.count(t, cluster, outcomes)
		s.add("%d spans", len(spans()))
		return s
	})
}
