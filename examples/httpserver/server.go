package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/IBM/sarama"
)

type server struct {
	queries   sarama.SyncProducer
	accessLog sarama.AsyncProducer
}

func (s *server) close() error { return errors.Join(s.queries.Close(), s.accessLog.Close()) }

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.keepQuery)
	return s.logAccess(mux)
}

// keepQuery answers with the place of the query in Kafka, which is an identity that no other query has.
func (s *server) keepQuery(w http.ResponseWriter, r *http.Request) {
	partition, offset, err := s.queries.SendMessage(&sarama.ProducerMessage{
		Topic: "queries",
		Value: sarama.StringEncoder(r.URL.RawQuery),
	})
	if err != nil {
		http.Error(w, "not stored: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "stored as queries/%d/%d\n", partition, offset)
}

// logAccess writes an entry for each request. The client's address is the key: what one client asked for stays in order.
func (s *server) logAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		next.ServeHTTP(w, r)
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		s.accessLog.Input() <- &sarama.ProducerMessage{
			Topic: "access-log",
			Key:   sarama.StringEncoder(client),
			Value: &accessLogEntry{Method: r.Method, URI: r.RequestURI, Client: client, Took: time.Since(start)},
		}
	})
}

// An accessLogEntry is a sarama.Encoder: it becomes JSON when the producer asks for it, not while the client waits.
type accessLogEntry struct {
	Method, URI, Client string
	Took                time.Duration

	encoded []byte
	err     error
}

// Encode and Length encode once. The producer calls them, by one goroutine at a time.
func (e *accessLogEntry) Encode() ([]byte, error) {
	if e.encoded == nil && e.err == nil {
		e.encoded, e.err = json.Marshal(e)
	}
	return e.encoded, e.err
}

func (e *accessLogEntry) Length() int {
	encoded, _ := e.Encode()
	return len(encoded)
}
