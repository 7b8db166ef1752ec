package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/IBM/sarama"
	"github.com/IBM/sarama/mocks"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

type (
	syncConstructor  = func([]string, *sarama.Config) (sarama.SyncProducer, error)
	asyncConstructor = func([]string, *sarama.Config) (sarama.AsyncProducer, error)
)

// TestSameAnswers runs the server with sarama's producers and with ours: it answers the same and writes the same.
func TestSameAnswers(t *testing.T) {
	defer func(s syncConstructor, a asyncConstructor) { newSyncProducer, newAsyncProducer = s, a }(newSyncProducer, newAsyncProducer)
	for name, construct := range map[string]struct {
		sync  syncConstructor
		async asyncConstructor
	}{
		"sarama": {sarama.NewSyncProducer, sarama.NewAsyncProducer},
		"sluice": {sluice.NewSyncProducer, sluice.NewAsyncProducer},
	} {
		t.Run(name, func(t *testing.T) {
			newSyncProducer, newAsyncProducer = construct.sync, construct.async
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "queries", "access-log"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			server, err := newServer(cluster.ListenAddrs())
			if err != nil {
				t.Fatal(err)
			}
			site := httptest.NewServer(server.handler())
			defer site.Close()
			for i, request := range []struct {
				path   string
				status int
				answer string
			}{
				{"/?a=1", http.StatusOK, "stored as queries/0/0\n"},
				{"/elsewhere", http.StatusNotFound, "404 page not found\n"},
				{"/?b=2", http.StatusOK, "stored as queries/0/1\n"},
			} {
				status, answer := get(t, site, request.path)
				if status != request.status || answer != request.answer {
					t.Errorf("request %d was answered %d, %q", i, status, answer)
				}
			}
			site.Close() // the last entry is in Input
			if err := server.close(); err != nil {
				t.Error(err)
			}

			queries := readLog(t, cluster, "queries", 2)
			if string(queries[0].Value) != "a=1" || string(queries[1].Value) != "b=2" {
				t.Errorf("queries: %q, %q", queries[0].Value, queries[1].Value)
			}
			for i, r := range readLog(t, cluster, "access-log", 3) {
				var entry accessLogEntry
				if err := json.Unmarshal(r.Value, &entry); err != nil {
					t.Fatal(err)
				}
				want := accessLogEntry{Method: "GET", URI: []string{"/?a=1", "/elsewhere", "/?b=2"}[i], Client: "127.0.0.1"}
				if string(r.Key) != want.Client || entry.Took <= 0 {
					t.Errorf("entry %d has the key %q and took %v", i, r.Key, entry.Took)
				}
				if entry.Took = 0; entry.Method != want.Method || entry.URI != want.URI || entry.Client != want.Client {
					t.Errorf("entry %d is %v, want %v", i, entry, want)
				}
			}
		})
	}
}

func get(t *testing.T, site *httptest.Server, path string) (status int, answer string) {
	t.Helper()
	response, err := site.Client().Get(site.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// readLog reads n records of a topic's one partition.
func readLog(t *testing.T, cluster *kfake.Cluster, topic string, n int) (records []*kgo.Record) {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(records) < n {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// TestWithMocks sends no message anywhere: sarama's mocks say what becomes of each. A test that has them stays as it is.
func TestWithMocks(t *testing.T) {
	for _, test := range []struct {
		path    string
		query   bool // one is sent
		outcome error
		status  int
	}{
		{"/?a=1", true, nil, http.StatusOK},
		{"/?a=1", true, sarama.ErrRequestTimedOut, http.StatusInternalServerError},
		{"/elsewhere", false, nil, http.StatusNotFound},
	} {
		queries, accessLog := mocks.NewSyncProducer(t, nil), mocks.NewAsyncProducer(t, nil)
		if test.query && test.outcome == nil {
			queries.ExpectSendMessageAndSucceed()
		} else if test.query {
			queries.ExpectSendMessageAndFail(test.outcome)
		}
		accessLog.ExpectInputAndSucceed()
		server := &server{queries, accessLog}
		answer := httptest.NewRecorder()
		server.handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, test.path, nil))
		if answer.Code != test.status {
			t.Errorf("%s was answered %d, want %d", test.path, answer.Code, test.status)
		}
		if err := server.close(); err != nil { // tells t what was expected and did not come
			t.Error(err)
		}
	}
}
