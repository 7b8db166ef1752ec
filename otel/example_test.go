package sluiceotel_test

import (
	"context"
	"fmt"
	"log"

	"github.com/IBM/sarama"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
	sluiceotel "github.com/sluice-kafka/sluice/otel"
)

func Example() {
	kafka, err := mocks.StartCluster(mocks.WithBrokers(1), mocks.WithTopic("orders", 1)) // yours has its own addresses
	if err != nil {
		log.Fatal(err)
	}
	defer kafka.Close()
	spans := tracetest.NewSpanRecorder()
	tracers := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))

	tracer := sluiceotel.NewTracer( // without options it takes what otel.SetTracerProvider and the like have set
		sluiceotel.WithTracerProvider(tracers), sluiceotel.WithPropagator(propagation.TraceContext{}))
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithTracer(tracer))
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	stop, err := sluiceotel.Observe(producer)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	ctx, request := tracers.Tracer("shop").Start(context.Background(), "POST /orders")
	_, _, err = producer.SendMessageContext(ctx, &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("tea")})
	request.End()
	for _, span := range spans.Ended() {
		fmt.Println(span.Name(), span.SpanKind(), span.Parent().IsValid())
	}
	fmt.Println(err)
	// Output:
	// send orders producer true
	// POST /orders internal false
	// <nil>
}
