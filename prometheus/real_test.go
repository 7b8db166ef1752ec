package sluiceprom

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// patience bounds what must not take long. A test that needs it has failed.
const patience = 30 * time.Second

// scraper scrapes a producer over HTTP, as Prometheus does.
type scraper struct {
	url    string
	client *http.Client
}

func newScraper(t *testing.T, p *sluice.Producer) *scraper {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(p, "a", WithTopicStages()))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return &scraper{server.URL, server.Client()}
}

func (s *scraper) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	resp, err := s.client.Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return parse(t, resp.Body)
}

// await scrapes until each of these metrics has a series above 0.
func (s *scraper) await(t *testing.T, metrics []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		all := s.scrape(t)
		missing := slices.DeleteFunc(slices.Clone(metrics), func(metric string) bool { return isAbove0(all, metric) })
		if len(missing) == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("these stay 0: %v", missing)
		}
	}
}

// isAbove0 tells whether a series of a metric, such as "a_total" or `a_total{x="1"}`, is. Of a histogram the count is meant.
func isAbove0(all map[string]float64, metric string) bool {
	name, label, _ := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
	for key, v := range all {
		of, labels, _ := strings.Cut(key, "{")
		if v > 0 && (of == name || of == name+"_count") && strings.Contains(labels, label) {
			return true
		}
	}
	return false
}

// cause makes metrics rise above 0, and at the end of the test the producer ends.
type cause struct {
	name    string
	metrics []string // without their first part; of brokers, those of broker 0
	happen  func(t *testing.T, s *surroundings) *sluice.Producer
}

// surroundings are a cluster of one broker and one partition, and the configuration of a producer.
type surroundings struct {
	*kfake.Cluster
	conf    *sarama.Config
	refused atomic.Bool // dials fail
	held    chan struct{}
}

func (s *surroundings) Dial(network, addr string) (net.Conn, error) {
	if s.refused.Load() {
		return nil, errors.New("refused")
	}
	return net.Dial(network, addr)
}

func newSurroundings(t *testing.T, opts ...kfake.Opt) *surroundings {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := &surroundings{Cluster: c, conf: sarama.NewConfig(), held: make(chan struct{})}
	s.conf.Producer.Return.Successes = true
	s.conf.Producer.Retry.Backoff = time.Millisecond
	s.conf.Net.Proxy.Enable, s.conf.Net.Proxy.Dialer = true, s
	return s
}

func (s *surroundings) producer(t *testing.T, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(s.ListenAddrs(), s.conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.CloseContext(ctx)
	})
	return p
}

func (s *surroundings) fail(err *kerr.Error) {
	s.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err})
}

func message() *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("a value")}
}

// produce sends messages with callbacks, and waits for all of them.
func produce(t *testing.T, p *sluice.Producer, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range n {
		if err := p.Produce(ctx, message(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// everywhere are metrics of the producer, of its broker and of its topic.
func everywhere(names ...string) (all []string) {
	return slices.Concat(prefixed("", names), prefixed("broker_", names), prefixed("topic_", names))
}

func prefixed(prefix string, names []string) (all []string) {
	for _, name := range names {
		all = append(all, prefix+name)
	}
	return all
}

var realCauses = []cause{
	{"delivered", slices.Concat(
		everywhere("sent_records_total", "sent_bytes_total", "acknowledged_records_total", "acknowledged_bytes_total",
			`stage_duration_seconds{stage="window"}`, `stage_duration_seconds{stage="broker"}`),
		prefixed("", inRequests), prefixed("broker_", inRequests),
		[]string{
			"memory_limit_bytes", `stage_duration_seconds{stage="queue"}`, `stage_duration_seconds{stage="hand_over"}`,
			`topic_stage_duration_seconds{stage="queue"}`, `topic_stage_duration_seconds{stage="hand_over"}`,
		}),
		func(t *testing.T, s *surroundings) *sluice.Producer {
			p := s.producer(t)
			produce(t, p, 10)
			return p
		}},
	{"a broker that does not answer", slices.Concat(
		everywhere("in_flight_records", "in_flight_bytes"),
		[]string{
			"requests_in_flight", "broker_requests_in_flight", "buffered_records", "buffered_bytes", "topic_buffered_records", "topic_buffered_bytes",
			"memory_used_bytes", "memory_waiting_senders", "memory_waits_total",
		}),
		func(t *testing.T, s *surroundings) *sluice.Producer {
			p, _ := full(t, s)
			return p
		}},
	{"a broker that answers late", []string{`stage_duration_seconds{stage="memory_wait"}`},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			p, sent := full(t, s)
			waiting := newScraper(t, p)
			waiting.await(t, []string{"sluice_producer_memory_waiting_senders"})
			close(s.held)
			<-sent
			return p
		}},
	{"a broker that refuses once", everywhere("retried_records_total", "retried_bytes_total"),
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.fail(kerr.NotEnoughReplicas)
			p := s.producer(t)
			produce(t, p, 1)
			return p
		}},
	{"a batch that is too large", everywhere("split_batches_total"),
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.fail(kerr.MessageTooLarge)
			s.conf.Producer.Flush.Messages = 2
			p := s.producer(t)
			produce(t, p, 2)
			return p
		}},
	{"an error that nobody reads", []string{
		`failed_records_total{cause="refused"}`, "failed_bytes_total", "topic_failed_records_total", "topic_failed_bytes_total", "unread_outcomes",
		"unread_errors",
	},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.fail(kerr.InvalidRecord)
			p := s.producer(t)
			p.Input() <- message()
			return p
		}},
	{"a write that may have been", []string{"outcome_unknown_records_total", "topic_outcome_unknown_records_total"},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.fail(kerr.RequestTimedOut)
			s.conf.Producer.Retry.Max = 0
			p := s.producer(t)
			produce(t, p, 1)
			return p
		}},
	{"a connection that is lost", []string{
		"connections_lost_total", "broker_connections_lost_total", "requests_lost_total", "broker_requests_lost_total",
	},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("lost"), true
			})
			p := s.producer(t)
			produce(t, p, 1)
			return p
		}},
	{"a broker that can't be reached", []string{"connections_failed_total", "broker_connections_failed_total"},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			p := s.producer(t)
			s.refused.Store(true)
			p.Input() <- message()
			return p
		}},
	{"a login that is refused", []string{
		`failed_records_total{cause="not_authorized"}`, "connections_failed_total", "broker_connections_failed_total",
	},
		func(t *testing.T, _ *surroundings) *sluice.Producer {
			s := newSurroundings(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "shop", "secret"))
			s.conf.Net.SASL.Enable = true
			s.conf.Net.SASL.User, s.conf.Net.SASL.Password = "shop", "secret"
			p := s.producer(t)
			s.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				s.KeepControl()
				resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
				resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
				return resp, nil, true
			})
			produce(t, p, 1)
			return p
		}},
	{"a right that is missing", []string{`failed_records_total{cause="not_authorized"}`},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.fail(kerr.TopicAuthorizationFailed)
			p := s.producer(t)
			produce(t, p, 1)
			return p
		}},
	{"a quota", []string{"throttled_seconds_total", "broker_throttled_seconds_total"},
		func(t *testing.T, s *surroundings) *sluice.Producer {
			s.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				resp := kreq.ResponseKind().(*kmsg.ProduceResponse)
				resp.ThrottleMillis = 1000
				for _, asked := range kreq.(*kmsg.ProduceRequest).Topics {
					topic := kmsg.NewProduceResponseTopic()
					topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
					for _, part := range asked.Partitions {
						answer := kmsg.NewProduceResponseTopicPartition()
						answer.Partition = part.Partition
						topic.Partitions = append(topic.Partitions, answer)
					}
					resp.Topics = append(resp.Topics, topic)
				}
				return resp, nil, true
			})
			p := s.producer(t)
			produce(t, p, 1)
			return p
		}},
}

var inRequests = []string{
	"requests_sent_total", "requests_answered_total", "request_bytes_total", "response_bytes_total", "request_duration_seconds",
	"connections", "connections_opened_total",
}

// full has a broker hold what it gets until s.held is closed, while messages are sent until the memory is full, and then one more.
// sent is closed when all are.
func full(t *testing.T, s *surroundings) (p *sluice.Producer, sent <-chan struct{}) {
	t.Helper()
	s.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		s.KeepControl()
		select {
		case <-s.held:
		default:
			s.SleepControl(func() { <-s.held })
		}
		return nil, nil, false
	})
	s.conf.Producer.Flush.MaxMessages = 1
	s.conf.Producer.Return.Successes = false
	p = s.producer(t, sluice.WithBufferMemory(3000))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			_ = p.Produce(t.Context(), message(), nil)
		}
	}()
	t.Cleanup(func() {
		select {
		case <-s.held:
		default:
			close(s.held)
		}
		<-done
	})
	return p, done
}

// TestEachMetricIsCaused scrapes a real producer over HTTP, against a cluster in this process.
func TestEachMetricIsCaused(t *testing.T) {
	for _, cause := range realCauses {
		t.Run(strings.ReplaceAll(cause.name, " ", "_"), func(t *testing.T) {
			s := newSurroundings(t)
			p := cause.happen(t, s)
			metrics := prefixed("sluice_producer_", cause.metrics)
			for i, metric := range metrics {
				if strings.HasPrefix(metric, "sluice_producer_broker_") && !strings.Contains(metric, "{") {
					metrics[i] = metric + `{broker="0"}`
				}
			}
			newScraper(t, p).await(t, metrics)
		})
	}
}

// TestNoMetricIsWithoutCause: there is a line in realCauses for each.
func TestNoMetricIsWithoutCause(t *testing.T) {
	var caused []string
	for _, c := range realCauses {
		for _, metric := range c.metrics {
			name, _, _ := strings.Cut(metric, "{")
			caused = append(caused, "sluice_producer_"+metric, "sluice_producer_"+name)
		}
	}
	for _, name := range slices.Concat(names("sluice_producer_", ofProducer), names("sluice_producer_broker_", ofBroker),
		names("sluice_producer_topic_", slices.Concat(ofTopic, stagesOfTopic))) {
		if !slices.Contains(caused, name) {
			t.Errorf("nothing causes %s", name)
		}
	}
}

// names are those of metrics, stages with their label.
func names[S any](prefix string, metrics []metric[S]) (all []string) {
	for _, m := range metrics {
		name := prefix + m.name
		if m.label == "stage" {
			name += `{stage="` + m.labelValue + `"}`
		}
		all = append(all, name)
	}
	return all
}

// TestClosedProducer: a closed producer is scraped as any other, and holds nothing.
func TestClosedProducer(t *testing.T) {
	s := newSurroundings(t)
	p := s.producer(t)
	produce(t, p, 10)
	scraper := newScraper(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	all := scraper.scrape(t)
	for key, want := range map[string]float64{
		`sluice_producer_acknowledged_records_total{client_id="a"}`: 10,
		`sluice_producer_buffered_records{client_id="a"}`:           0,
		`sluice_producer_in_flight_records{client_id="a"}`:          0,
		`sluice_producer_memory_used_bytes{client_id="a"}`:          0,
		`sluice_producer_connections{client_id="a"}`:                0,
		`sluice_producer_unread_outcomes{client_id="a"}`:            0,
		`sluice_producer_unread_errors{client_id="a"}`:              0,
	} {
		if got, ok := all[key]; !ok || got != want {
			t.Errorf("%s is %v (%t), want %v", key, got, ok, want)
		}
	}
}
