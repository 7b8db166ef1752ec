package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newCluster(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, "topic")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, cluster.ListenAddrs()[0]
}

func clusterConfig() *sarama.Config {
	conf := testConfig()
	conf.ApiVersionsRequest = true
	return conf
}

func dialCluster(t *testing.T, conf *sarama.Config, addr string) *Conn {
	t.Helper()
	c, err := NewDialer(conf, 5).Dial(t.Context(), 0, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func topicID(t *testing.T, c *Conn) [16]byte {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("topic")
	req.Topics = append(req.Topics, topic)
	resp, err := c.Metadata(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].ID
}

// readBack consumes n values of the topic.
func readBack(t *testing.T, addr string, n int, opts ...kgo.Opt) map[string]int {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.ConsumeTopics("topic"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	values := make(map[string]int)
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			values[string(r.Value)]++
			got++
		})
	}
	return values
}

// produceTo sends batches to four partitions, and reads all of them back.
func produceTo(t *testing.T, c *Conn, id [16]byte, addr string, opts ...kgo.Opt) {
	t.Helper()
	const rounds = 20
	outcomes := make(chan outcome, rounds)
	for round := range rounds {
		var parts []ProducePartition
		for p := range int32(4) {
			part := partition("topic", p, makeBatch(fmt.Sprintf("%d-%d", round, p), string(make([]byte, 1<<(round%16)))))
			part.TopicID = id
			parts = append(parts, part)
		}
		mustProduce(t, c, newRequest(outcomes, parts...))
	}
	for round := range rounds {
		o := <-outcomes
		if o.err != nil {
			t.Fatal(o.err)
		}
		for p, a := range o.r.Answers {
			if a.Code != 0 || a.BaseOffset != int64(2*round) || a.Missing {
				t.Fatalf("round %d partition %d: %+v", round, p, a)
			}
		}
	}
	values := readBack(t, addr, rounds*4*2, opts...)
	for round := range rounds {
		for p := range 4 {
			if n := values[fmt.Sprintf("%d-%d", round, p)]; n != 1 {
				t.Errorf("%d-%d was read %d times", round, p, n)
			}
		}
	}
}

func TestClusterReadsWhatWasProduced(t *testing.T) {
	_, addr := newCluster(t)
	c := dialCluster(t, clusterConfig(), addr)
	if c.produce.max < 12 {
		t.Errorf("produce v%d", c.produce.max)
	}
	produceTo(t, c, topicID(t, c), addr)
}

func TestClusterOfOldReleases(t *testing.T) {
	for _, release := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V2_1_0_0, sarama.V2_4_0_0, sarama.V2_8_0_0, sarama.V3_7_0_0} {
		t.Run(release.String(), func(t *testing.T) {
			_, addr := newCluster(t)
			conf := testConfig() // ApiVersions is off
			conf.Version = release
			c := dialCluster(t, conf, addr)
			produceTo(t, c, [16]byte{}, addr)
		})
	}
}

func TestClusterConnectionsConcurrentSafe(t *testing.T) {
	_, addr := newCluster(t)
	d := NewDialer(clusterConfig(), 5)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, err := d.Dial(t.Context(), 0, addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			const n = 50
			outcomes := make(chan outcome, n)
			wg.Go(func() {
				if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
					t.Error(err)
				}
			})
			for range n {
				mustProduce(t, c, newRequest(outcomes, partition("topic", int32(i%4), makeBatch("v"))))
			}
			for range n {
				if o := <-outcomes; o.err != nil || o.r.Answers[0].Code != 0 {
					t.Errorf("%v, %+v", o.err, o.r.Answers)
				}
			}
			wg.Go(func() { _ = c.Err() })
			if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := readBack(t, addr, 8*50)["v"]; n != 8*50 {
		t.Errorf("%d records", n)
	}
}

func TestClusterErrorsArePerPartition(t *testing.T) {
	_, addr := newCluster(t)
	c := dialCluster(t, clusterConfig(), addr)
	outcomes := make(chan outcome, 1)
	mustProduce(t, c, newRequest(outcomes, partition("topic", 0, makeBatch("v")), partition("unknown", 0, makeBatch("v"))))
	o := <-outcomes
	if o.err != nil || o.r.Answers[0].Code != 0 || sarama.KError(o.r.Answers[1].Code) != sarama.ErrUnknownTopicOrPartition {
		t.Errorf("%v, %+v", o.err, o.r.Answers)
	}
}

// selfSigned is a certificate for 127.0.0.1 and the pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "broker"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestClusterWithTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	_, addr := newCluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	conf := clusterConfig()
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config = &tls.Config{RootCAs: pool}
	c := dialCluster(t, conf, addr)
	produceTo(t, c, [16]byte{}, addr, kgo.DialTLSConfig(&tls.Config{RootCAs: pool}))
	if conf.Net.TLS.Config.ServerName != "" {
		t.Error("the configuration was changed")
	}
	c.Close()
	r := newRequest(nil, partition("topic", 0, nil))
	mustError(t, c.Produce(t.Context(), r), ErrConnClosed)

	conf.Net.TLS.Config = nil // Does not trust the certificate
	if _, err := NewDialer(conf, 5).Dial(t.Context(), 0, addr); err == nil {
		t.Error("an unknown certificate is trusted")
	}
	if _, _, err := NewDialer(conf, 5).handshake(t.Context(), nil, "no-port"); err == nil {
		t.Error("an address without a port")
	}
}
