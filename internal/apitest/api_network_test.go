package apitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// From brokers of 0.11 to those of today, each version of the protocol that they speak.
func TestBrokerVersions(t *testing.T) {
	for _, test := range []struct {
		name     string
		versions *kversion.Versions
		conf     sarama.KafkaVersion
	}{
		{"0.11", kversion.V0_11_0(), sarama.V0_11_0_0},
		{"1.0", kversion.V1_0_0(), sarama.V1_0_0_0},
		{"2.1", kversion.V2_1_0(), sarama.V2_1_0_0},
		{"2.4", kversion.V2_4_0(), sarama.V2_4_0_0},
		{"2.8", kversion.V2_8_0(), sarama.V2_8_0_0},
		{"3.6", kversion.V3_6_0(), sarama.V3_6_0_0},
		{"4.0", kversion.V4_0_0(), sarama.V4_0_0_0},
	} {
		for _, ask := range []bool{true, false} {
			name := test.name
			if !ask {
				name += " without ApiVersions"
			}
			t.Run(name, func(t *testing.T) {
				c := newTopicCluster(t, 2, 4, kfake.MaxVersions(test.versions))
				conf := testConfig()
				conf.Version = test.conf
				conf.ApiVersionsRequest = ask
				p := newAsync(t, c, conf)
				msgs := messages(100, 4)
				for _, msg := range msgs {
					msg.Headers = []sarama.RecordHeader{{Key: []byte("k"), Value: []byte("v")}}
				}
				send(p, msgs...)
				successes(t, p, 100)
				// The reader does not speak to brokers that old: their own count is enough.
				if n := logged(c, "t"); n != 100 {
					t.Errorf("%d of 100 messages are written", n)
				}
			})
		}
	}
}

// selfSigned is a server's and its client's configuration.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{RootCAs: pool}
}

func TestTLS(t *testing.T) {
	server, client := selfSigned(t)
	c := newTopicCluster(t, 2, 4, kfake.TLS(server))
	conf := testConfig()
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config = client
	p := newAsync(t, c, conf)
	const n = 5000
	go send(p, messages(n, 4)...)
	successes(t, p, n)
	if got := logged(c, "t"); got != n {
		t.Errorf("%d of %d messages are written", got, n)
	}

	conf.Net.TLS.Config = nil // knows nothing of the certificate
	conf.Metadata.Retry.Max = 0
	_, err := sluice.New(c.ListenAddrs(), conf)
	wantError(t, err, causes(sarama.ErrOutOfBrokers), "certificate")
}

func TestSASL(t *testing.T) {
	c := newTopicCluster(t, 2, 2, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	conf := testConfig()
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypePlaintext
	conf.Net.SASL.User, conf.Net.SASL.Password = "user", "secret"
	p := newSync(t, c, conf)
	if err := p.SendMessages(messages(100, 2)); err != nil {
		t.Fatal(err)
	}
	if got := logged(c, "t"); got != 100 {
		t.Errorf("%d of 100 messages are written", got)
	}

	conf.Net.SASL.Password = "wrong"
	_, err := sluice.New(c.ListenAddrs(), conf)
	wantError(t, err, causes(sarama.ErrOutOfBrokers), "login at broker", "PLAIN")
}

// One request at a time a connection, and many.
func TestMaxOpenRequests(t *testing.T) {
	for _, window := range []int{1, 100} {
		c := newTopicCluster(t, 1, 8)
		conf := testConfig()
		conf.Net.MaxOpenRequests = window
		conf.Producer.Flush.MaxMessages = 10
		p := newAsync(t, c, conf)
		const n = 3000
		go send(p, messages(n, 8)...)
		successes(t, p, n)
		wantInOrder(t, c, n)
	}
}

// A topic that is deleted and created anew has another id; what is sent goes to the new one.
func TestTopicIsCreatedAnew(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	conf := testConfig()
	conf.Producer.Retry.Max = 100
	p := newAsync(t, c, conf)
	send(p, messages(100, 2)...)
	successes(t, p, 100)
	for range 3 {
		if err := c.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		if err := c.CreateTopic("t", 2, nil); err != nil {
			t.Fatal(err)
		}
		send(p, messages(100, 2)...)
		successes(t, p, 100)
		wantInOrder(t, c, 100)
	}
}

// A topic that is deleted for good fails its messages, by name, and no others.
func TestTopicIsDeleted(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	if err := c.CreateTopic("other", 1, nil); err != nil {
		t.Fatal(err)
	}
	conf := testConfig()
	conf.Metadata.Retry.Max = 1
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)
	if err := c.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	send(p, message(0, 1), &sarama.ProducerMessage{Topic: "other"})
	failed := receive(t, p.Errors())
	wantError(t, failed.Err, nil, `"t"`, "partition 0")
	successes(t, p, 1)
}
