package sluice_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// startProducer starts a producer, and a Kafka within this process. stop ends both.
func startProducer(topics ...string) (p *sluice.Producer, kafka *mocks.Cluster, stop func()) {
	kafka = startKafka(topics...)
	p, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	return p, kafka, func() {
		p.Close()
		kafka.Close()
	}
}

// printTopic prints the values of a topic, as a consumer reads them.
func printTopic(kafka *mocks.Cluster, topic string) {
	for _, msg := range kafka.Messages(topic) {
		fmt.Println(string(msg.Value))
	}
}

// Send what is bytes already, such as lines or encoded events.
func ExampleNewAppender() {
	producer, kafka, stop := startProducer("events")
	defer stop()

	events, err := sluice.NewAppender(producer, "events")
	if err != nil {
		log.Fatal(err)
	}
	var line []byte // the Appender copies it: use it again
	for i := range 3 {
		line = fmt.Appendf(line[:0], "event %d", i)
		if err := events.Append(nil, line); err != nil {
			log.Fatal(err)
		}
	}
	if err := events.Close(context.Background()); err != nil { // all are written
		log.Fatal(err)
	}
	printTopic(kafka, "events")
	// Output:
	// event 0
	// event 1
	// event 2
}

// An Appender and all else of a producer go side by side.
func ExampleAppender() {
	producer, kafka, stop := startProducer("events")
	defer stop()

	var events *sluice.Appender // for one goroutine
	events, err := sluice.NewAppender(producer, "events")
	if err != nil {
		log.Fatal(err)
	}
	header := sarama.RecordHeader{Key: []byte("origin"), Value: []byte("example")}
	err = events.AppendAt(0, time.UnixMilli(1_700_000_000_000), []byte("user-7"), []byte("tea"), header)
	fmt.Println(err, producer.Flush(context.Background())) // of the producer: messages and records
	printTopic(kafka, "events")
	// Output:
	// <nil> <nil>
	// tea
}

// Keep what could not be delivered.
func ExampleWithAppendReport() {
	producer, _, stop := startProducer("events")
	defer stop()

	report := func(r sluice.AppendReport) {
		if r.Err == nil {
			fmt.Printf("%d records of %s/%d from offset %d\n", r.Count, r.Topic, r.Partition, r.BaseOffset)
			return
		}
		for record := range r.Records() {
			fmt.Printf("not delivered: %s\n", record.Value)
		}
	}
	events, err := sluice.NewAppender(producer, "events", sluice.WithAppendReport(report))
	if err != nil {
		log.Fatal(err)
	}
	events.Append(nil, []byte("tea"))
	events.Append(nil, []byte("coffee"))
	events.Close(context.Background())
	// Output: 2 records of events/0 from offset 0
}

func ExampleAppendReport() {
	r := sluice.AppendReport{Topic: "events", Partition: 3, BaseOffset: 40, Count: 2}
	fmt.Println("the last record is at", r.BaseOffset+int64(r.Count)-1)
	// Output: the last record is at 41
}

func ExampleRecord() {
	r := sluice.Record{Key: nil, Value: []byte{}}
	fmt.Println("null:", r.Key == nil, r.Value == nil)
	// Output: null: true false
}

// Wait for memory, and for the topic, no longer than a context.
func ExampleWithAppendContext() {
	producer, _, stop := startProducer("events")
	defer stop()

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	events, err := sluice.NewAppender(producer, "events", sluice.WithAppendContext(ctx))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(events.Append(nil, []byte("tea"))) // there was nothing to wait for
	// Output: <nil>
}

func ExampleAppenderOption() {
	producer, _, stop := startProducer("events")
	defer stop()

	var none context.Context
	_, err := sluice.NewAppender(producer, "events", sluice.WithAppendContext(none))
	fmt.Println(err)
	// Output: kafka: invalid configuration (WithAppendContext(nil): must not be nil)
}

// Copy a file, a record a line.
func ExampleAppender_Writer() {
	producer, kafka, stop := startProducer("lines")
	defer stop()

	lines, err := sluice.NewAppender(producer, "lines")
	if err != nil {
		log.Fatal(err)
	}
	w := lines.Writer('\n')
	if _, err := io.Copy(w, strings.NewReader("one\ntwo\nthree, without an end of line")); err != nil {
		log.Fatal(err)
	}
	w.Close() // the last line
	lines.Close(context.Background())
	printTopic(kafka, "lines")
	// Output:
	// one
	// two
	// three, without an end of line
}

// Log to Kafka. Handlers of slog, package log and zap (as a WriteSyncer) write a line at a time.
func ExampleAppenderWriter() {
	producer, kafka, stop := startProducer("logs")
	defer stop()

	logs, err := sluice.NewAppender(producer, "logs")
	if err != nil {
		log.Fatal(err)
	}
	w := logs.Writer('\n') // for any number of goroutines
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: noTime}))
	logger.Info("order placed", "customer", "user-7", "items", 2)
	log.New(w, "", 0).Print("a line of package log")

	w.Sync() // before the program ends
	printTopic(kafka, "logs")
	// Output:
	// {"level":"INFO","msg":"order placed","customer":"user-7","items":2}
	// a line of package log
}

// Each Write is a record, whatever is in it.
func ExampleAppender_RecordWriter() {
	producer, kafka, stop := startProducer("reports")
	defer stop()

	reports, err := sluice.NewAppender(producer, "reports")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := reports.RecordWriter().Write([]byte("two\nlines")); err != nil {
		log.Fatal(err)
	}
	reports.Close(context.Background())
	printTopic(kafka, "reports")
	// Output:
	// two
	// lines
}
