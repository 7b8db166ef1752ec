//go:build unix

package integration

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestSessions has producers write 1,000 messages/s to 50 partitions over sessions of 5 s (KIP-368): the broker closes a
// connection on what it reads after that. Every message is written once, and none fails, though without idempotence
// nothing is tried again. A producer whose sessions never end, and with -long sarama's, are for comparison only: the
// longest time between two acknowledgements is logged, and the number of connections, each of which is a login.
func TestSessions(t *testing.T) {
	seconds := 20
	if *long {
		seconds = 40
	}
	ca := certtest.NewCA(t, "test CA")
	server := ca.Server(t, "127.0.0.1")
	listener := kafkatest.Listener{
		Mechanisms:  []string{sarama.SASLTypeSCRAMSHA512},
		Certificate: certtest.Write(t, filepath.Join(t.TempDir(), "server.pem"), server.CertPEM(), server.KeyPEM(t)),
	}
	sessions, lasting := listener, listener
	sessions.Name, lasting.Name = "SESSIONS", "LASTING"
	sessions.Properties = map[string]string{"connections.max.reauth.ms": "5000"}
	c := kafkatest.Start(t, 1, kafkatest.WithListener(sessions), kafkatest.WithListener(lasting),
		kafkatest.WithSCRAMUser("writer", "secret"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	loads := []*sessionLoad{
		{name: "sluice, without idempotence, Retry.Max 0", listener: "SESSIONS"},
		{name: "sluice, idempotent", listener: "SESSIONS", idempotent: true},
		{name: "sluice, idempotent, without sessions", listener: "LASTING", idempotent: true},
	}
	if *long {
		loads = append(loads,
			&sessionLoad{name: "sarama, without idempotence, Retry.Max 0", listener: "SESSIONS", sarama: true},
			&sessionLoad{name: "sarama, idempotent", listener: "SESSIONS", idempotent: true, sarama: true})
	}
	for _, l := range loads {
		l.topic = c.NewTopic(t, 50, nil)
		awaitInOffice(t, c, l.topic)
	}
	for _, l := range loads {
		l.start(t, c, ca)
	}
	for _, l := range loads {
		l.load.awaitSettled(ctx, t, int64(seconds*trickle)*int64(time.Second/trickleEvery))
	}
	for _, l := range loads {
		r := l.load.end(ctx, t, 0)
		_, logins := l.connections.list()
		a := summary(t, c, l.load, r)
		t.Logf("%s: %d ms is the longest gap between acks after the first 3 s, in which the broker warms up; %d logins",
			l.name, r.longest(3*time.Second).length.Milliseconds(), logins)
		if l.sarama {
			continue
		}
		if a != (audit{}) {
			t.Errorf("%s: %+v", l.name, a)
		}
		for _, problem := range r.problems {
			t.Errorf("%s: %v", l.name, problem)
		}
	}
}

// sessionLoad is one of the producers, which all run side by side, so that they meet the same broker and the same machine.
type sessionLoad struct {
	name, listener     string
	sarama, idempotent bool

	topic       string
	connections *connections
	load        *load
}

func (l *sessionLoad) start(t *testing.T, c *kafkatest.Cluster, ca *certtest.CA) {
	t.Helper()
	conf := sluice.NewConfig()
	if l.sarama {
		conf = sarama.NewConfig()
		conf.Producer.RequiredAcks = sarama.WaitForAll
		conf.Producer.Flush.Frequency = 5 * time.Millisecond
	}
	conf.Version = sarama.V2_5_0_0 // sarama asks for a session's lifetime from 2.2 on
	conf.Net.MaxOpenRequests = 1
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewHashPartitioner
	conf.Producer.Idempotent = l.idempotent
	conf.Producer.Retry.Max = 0
	if l.idempotent {
		conf.Producer.Retry.Max = 5 // sarama wants some
	}
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config = &tls.Config{RootCAs: ca.Pool()}
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA512
	conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(sarama.SASLTypeSCRAMSHA512)
	conf.Net.SASL.User, conf.Net.SASL.Password = "writer", "secret"
	l.connections = through(conf)
	newProducer := func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
		return sluice.New(addrs, conf)
	}
	if l.sarama {
		newProducer = sarama.NewAsyncProducer
	}
	p, err := newProducer(c.Addrs(t, l.listener), conf)
	if err != nil {
		t.Fatal(err)
	}
	l.load = startLoad(l.name, l.topic, p)
}

// awaitInOffice waits until each partition's leader takes requests: it is named as the leader somewhat earlier.
func awaitInOffice(t *testing.T, c *kafkatest.Cluster, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	partitionEnds(t, cl, topic)
}
