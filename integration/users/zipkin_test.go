package users

import (
	"log"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/reporter/kafka"
)

// lines is an io.Writer that passes on what a log.Logger writes.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestZipkinReporter(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		producer, err := construct.async(cluster.ListenAddrs(), nil)
		if err != nil {
			t.Fatal(err)
		}
		logged := make(lines, 10)
		reporter, err := kafka.NewReporter(nil,
			kafka.Producer(producer), kafka.Topic("events"), kafka.Logger(log.New(logged, "", 0)))
		if err != nil {
			t.Fatal(err)
		}
		span := func(i int) model.SpanModel {
			return model.SpanModel{
				SpanContext: model.SpanContext{TraceID: model.TraceID{Low: 7}, ID: model.ID(i + 1)},
				Name:        "span", Timestamp: time.Unix(1_700_000_000, 0),
			}
		}
		for i := range 50 {
			reporter.Send(span(i))
		}
		s.log(t, cluster, 50)
		cluster.refuse.Store(true)
		reporter.Send(span(50))
		line := <-logged
		s.add("logged: %v, %v", strings.Contains(line, sarama.ErrTopicAuthorizationFailed.Error()),
			strings.HasSuffix(line, "failed to produce msg\n"))
		s.add("closed: %s", kind(reporter.Close()))
		s.add("closed again: %s", kind(reporter.Close()))
		s.add("sent after that: %s", panicOf(func() { reporter.Send(span(51)) }))
		return s
	})
}
