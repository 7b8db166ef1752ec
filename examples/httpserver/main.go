// Command httpserver is a web server that keeps what it is sent in Kafka, as sarama's example of that kind does. Each
// request's query is written by a SyncProducer before it is answered; the access log goes through an AsyncProducer, which
// the requests don't wait for. It is written against sarama's types; the lines that make it use sluice are the two with
// the constructors. Without flags it uses a Kafka within the process, asks itself for three pages, and ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/examples/internal/embedded"
)

var (
	newSyncProducer  = sluice.NewSyncProducer  // was: sarama.NewSyncProducer
	newAsyncProducer = sluice.NewAsyncProducer // was: sarama.NewAsyncProducer
)

func main() {
	listen := flag.String("listen", ":8080", "the address to listen at")
	brokers := flag.String("brokers", "", "the cluster's brokers, comma-separated; without it: a Kafka in this process")
	flag.Parse()

	addrs, stop := embedded.Start(*brokers, "queries", "access-log")
	defer stop()
	server, err := newServer(addrs)
	if err != nil {
		log.Fatalln(err)
	}
	if flag.NFlag() == 0 {
		demonstrate(server, os.Stdout)
		return
	}
	site := &http.Server{Addr: *listen, Handler: server.handler(), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt)
		<-signals
		if err := site.Shutdown(context.Background()); err != nil {
			log.Println(err)
		}
	}()
	if err := site.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalln(err)
	}
	<-stopped // the last request has its answer; a send to Input after Close would panic
	if err := server.close(); err != nil {
		log.Fatalln(err)
	}
}

// demonstrate asks the server, which is closed then, some things.
func demonstrate(s *server, out io.Writer) {
	site := httptest.NewServer(s.handler())
	for _, path := range []string{"/?a=1", "/elsewhere", "/?b=2"} {
		answer, err := http.Get(site.URL + path)
		if err != nil {
			log.Fatalln(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			log.Fatalln(err)
		}
		answer.Body.Close()
		fmt.Fprintf(out, "GET %s: %d, %s", path, answer.StatusCode, text)
	}
	site.Close() // the last entry is in Input
	if err := s.close(); err != nil {
		log.Fatalln(err)
	}
}

func newServer(brokers []string) (*server, error) {
	config := sarama.NewConfig()
	config.ClientID = "httpserver"
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Retry.Max = 10
	config.Producer.Return.Successes = true // a SyncProducer needs them
	queries, err := newSyncProducer(brokers, config)
	if err != nil {
		return nil, err
	}

	// The access log may lose an entry rather than cost much: the leader alone acknowledges, in large batches.
	often := *config
	often.Producer.RequiredAcks = sarama.WaitForLocal
	often.Producer.Compression = sarama.CompressionSnappy
	often.Producer.Flush.Frequency = 500 * time.Millisecond
	often.Producer.Return.Successes = false
	accessLog, err := newAsyncProducer(brokers, &often)
	if err != nil {
		return nil, errors.Join(err, queries.Close())
	}
	go func() {
		for failure := range accessLog.Errors() {
			log.Println("access log:", failure)
		}
	}()
	return &server{queries, accessLog}, nil
}
