package apitest

import (
	"fmt"
	"maps"
	"testing"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// registered are the metrics of a registry: their names, and their Go types.
func registered(r metrics.Registry) map[string]string {
	types := map[string]string{}
	r.Each(func(name string, metric any) { types[name] = fmt.Sprintf("%T", metric) })
	return types
}

// What sarama's producer registers is registered here, too, under the same name and with the same type, and besides that nothing but
// gauges.
func TestMetricsAreSaramas(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   []kfake.Opt
		change func(*sarama.Config)
	}{
		{"default", nil, func(*sarama.Config) {}},
		{"idempotent", nil, func(conf *sarama.Config) {
			conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		}},
		{"acks none", nil, func(conf *sarama.Config) { conf.Producer.RequiredAcks = sarama.NoResponse }},
		{"SASL", []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret")}, func(conf *sarama.Config) {
			conf.Net.SASL.Enable, conf.Net.SASL.User, conf.Net.SASL.Password = true, "user", "secret"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2, test.opts...)
			config := func() *sarama.Config {
				conf := testConfig()
				test.change(conf)
				return conf
			}
			ours, theirs := config(), config()
			p := newAsync(t, c, ours)
			send(p, messages(10, 2)...)
			successes(t, p, 10)

			s, err := sarama.NewAsyncProducer(c.ListenAddrs(), theirs)
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range messages(10, 2) {
				s.Input() <- msg
			}
			for range 10 {
				receive(t, s.Successes())
			}
			got, want := registered(ours.MetricRegistry), registered(theirs.MetricRegistry)
			if err := s.Close(); err != nil {
				t.Error(err)
			}

			for _, name := range gauges {
				if _, ok := got[name]; !ok || want[name] != "" {
					t.Errorf("%s is %q, and sarama's %q", name, got[name], want[name])
				}
				delete(got, name)
			}
			// The producer id is asked for over a connection that is not known by a broker id.
			delete(want, "protocol-requests-rate-22-for-broker-0")
			// Whether a look-up follows the first one, which goes to a seed, is chance in both.
			for _, m := range []map[string]string{got, want} {
				delete(m, "protocol-requests-rate-3-for-broker-0")
			}
			if !maps.Equal(got, want) {
				for name, is := range want {
					if got[name] != is {
						t.Errorf("%s is %q, want %s", name, got[name], is)
					}
				}
				for name := range got {
					if _, ok := want[name]; !ok {
						t.Errorf("%s is not sarama's", name)
					}
				}
			}
		})
	}
}

// A client that shares its registry with a producer takes metrics out when a broker of it is closed, the producer's among
// them. They are there again with the next requests.
func TestMetricsOutliveAClient(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	client, err := sarama.NewClient(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sluice.NewFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p)
	send(p, message(0, 0))
	successes(t, p, 1)
	before := registered(conf.MetricRegistry)
	if _, _, err := s.SendMessage(message(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, b := range client.Brokers() { // client.Close does not wait for it
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if conf.MetricRegistry.Get("request-rate") != nil || conf.MetricRegistry.Get("batch-size") != nil {
		t.Fatal("the client took nothing out: this test shows nothing")
	}
	const n = 5
	for i := range n {
		send(p, message(0, 2+i))
		successes(t, p, 1)
	}
	after := registered(conf.MetricRegistry)
	for name, was := range before {
		// One that belongs to requests of another kind comes back with the next of these.
		if after[name] != was && name != "protocol-requests-rate-3" {
			t.Errorf("%s did not come back", name)
		}
	}
	for _, name := range []string{"request-rate", "record-send-rate", "record-send-rate-for-topic-t", "protocol-requests-rate-0"} {
		if got := conf.MetricRegistry.Get(name).(metrics.Meter).Count(); got != n {
			t.Errorf("%s counts %d of %d", name, got, n)
		}
	}
	if got := conf.MetricRegistry.Get("requests-in-flight").(metrics.Counter).Count(); got != 0 {
		t.Errorf("%d requests in flight", got)
	}
}

// A registry that can't be a map's key is a registry like any other.
func TestUnhashableMetricRegistry(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	parent := metrics.NewRegistry()
	conf.MetricRegistry = struct {
		metrics.Registry
		tags []string
	}{Registry: parent}
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)
	if got := parent.Get("record-send-rate").(metrics.Meter).Count(); got != 1 {
		t.Errorf("record-send-rate counts %d", got)
	}
}
