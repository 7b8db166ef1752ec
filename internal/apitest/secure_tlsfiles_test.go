package apitest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
)

// certified is a virtual cluster whose brokers want certificates, and a client's files, in folder dir.
type certified struct {
	*virtual
	t      *testing.T
	dir    string
	server atomic.Pointer[tls.Config]

	slow atomic.Int64 // how long each dial takes, in ns
	lag  atomic.Int64 // how long what a broker sends takes

	mu        sync.Mutex
	rotations int       // so many
	rotated   time.Time // the last of them
	shown     []string  // The clients' certificates, one a connection
	late      int       // writes to connections that were to be replaced by then
}

// bound is how long a connection may be used after a rotation: the files are looked at, and another one is dialled.
func (c *certified) bound() time.Duration {
	return 10*time.Second + time.Duration(c.slow.Load()) + time.Second
}

// withCertificates runs a test in a bubble. The brokers' certificates are for these hosts.
func withCertificates(t *testing.T, hosts []string, test func(*testing.T, *certified), opts ...kfake.Opt) {
	c := &certified{dir: t.TempDir()}
	server := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.server.Load(), nil }}
	inBubble(t, func(t *testing.T, v *virtual) {
		c.virtual, c.t = v, t
		c.rotate(hosts...)
		test(t, c)
	}, append(opts, kfake.TLS(server), kfake.SeedTopics(3, "t"))...)
}

// rotate gives brokers and client new certificates of a new authority, and nobody trusts the old ones any more.
func (c *certified) rotate(hosts ...string) {
	ca := certtest.NewCA(c.t, "test CA")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rotations++
	c.rotated = time.Now()
	client := ca.Client(c.t, fmt.Sprint("client ", c.rotations))
	certtest.Write(c.t, filepath.Join(c.dir, "ca.pem"), ca.PEM())
	certtest.Write(c.t, filepath.Join(c.dir, "client.pem"), client.CertPEM())
	certtest.Write(c.t, filepath.Join(c.dir, "client.key"), client.KeyPEM(c.t))
	c.server.Store(&tls.Config{
		Certificates: []tls.Certificate{ca.Server(c.t, hosts...).TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		SessionTicketsDisabled: true, // over a net.Pipe they wait for a client that writes
		VerifyConnection: func(state tls.ConnectionState) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.shown = append(c.shown, state.PeerCertificates[0].Subject.CommonName)
			return nil
		},
	})
}

// config is that of a client of the files.
func (c *certified) config() *sarama.Config {
	return c.configOf(sluice.TLSFiles{})
}

func (c *certified) configOf(files sluice.TLSFiles) *sarama.Config {
	files.CAFile, files.CertFile, files.KeyFile = filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "client.pem"), filepath.Join(c.dir, "client.key")
	conf := c.virtual.config()
	conf.ApiVersionsRequest = false // a sarama.Broker holds a mutex while it asks
	conf.Version = sarama.V3_6_0_0
	conf.Net.Proxy.Dialer = c
	conf.Net.TLS.Enable = true
	var err error
	if conf.Net.TLS.Config, err = files.Config(); err != nil {
		c.t.Fatal(err)
	}
	return conf
}

// wantShown checks which certificate the newest connection was made with.
func (c *certified) wantShown(want string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.shown[len(c.shown)-1]; last != want {
		c.t.Errorf("connected with %q", last)
	}
}

// Dial implements proxy.Dialer.
func (c *certified) Dial(network, addr string) (net.Conn, error) {
	return c.DialContext(context.Background(), network, addr)
}

// DialContext implements proxy.ContextDialer. All names lead to the same host.
func (c *certified) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case <-time.After(time.Duration(c.slow.Load())):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := c.virtual.DialContext(ctx, network, "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &certifiedConn{Conn: conn, reader: bufio.NewReaderSize(conn, 1<<16), all: c, rotations: c.rotations}, nil
}

type certifiedConn struct {
	net.Conn
	reader    *bufio.Reader // takes a flight whole: over a net.Pipe an alert would wait for a server that still writes
	all       *certified
	rotations int // when it was dialled
}

func (c *certifiedConn) Read(p []byte) (int, error) {
	fresh := c.reader.Buffered() == 0
	n, err := c.reader.Read(p)
	if fresh {
		time.Sleep(time.Duration(c.all.lag.Load()))
	}
	return n, err
}

func (c *certifiedConn) Write(p []byte) (int, error) {
	c.all.mu.Lock()
	if c.rotations < c.all.rotations && time.Since(c.all.rotated) > c.all.bound() {
		c.all.late++
	}
	c.all.mu.Unlock()
	return c.Conn.Write(p)
}

// Files rotate under load, three times, while dials take 2 s. No message fails, though without idempotence nothing is tried
// again, none is written twice, and none waits. All connections go over to the new files within the bound: those of look-ups
// and of coordinators, too.
func TestTLSFilesRotateUnderLoad(t *testing.T) {
	const rotations, ticks, between, perTick = 3, 500, 50 * time.Millisecond, 3
	for _, kind := range []string{"plain", "idempotent", "transactional"} {
		t.Run(kind, func(t *testing.T) {
			withCertificates(t, []string{"localhost"}, func(t *testing.T, c *certified) {
				for p := range int32(3) {
					move(t, c.Cluster, p, p)
				}
				conf := c.config()
				conf.Producer.Retry.Max = 0
				conf.Metadata.RefreshFrequency = 3 * time.Second
				if kind != "plain" {
					idempotent(conf)
					conf.Producer.Retry.Max = 1
				}
				if kind == "transactional" {
					conf.Producer.Transaction.ID = "tx"
				}
				p := newAsync(t, c.Cluster, conf)
				c.lag.Store(int64(between + between/5)) // so a request is always open
				c.slow.Store(int64(2 * time.Second))
				var settled sync.WaitGroup
				var failed, slow atomic.Int32
				markers := int64(0)
				tick := func(n int) {
					began := time.Now()
					settled.Add(perTick)
					for i := range perTick {
						if err := p.Produce(t.Context(), message(int32(i), n*perTick+i), func(_ *sarama.ProducerMessage, err error) {
							if err != nil {
								t.Error(err)
								failed.Add(1)
							}
							if n >= ticks/4 && time.Since(began) > 10*between { // the first dials take their time
								slow.Add(1)
							}
							settled.Done()
						}); err != nil {
							t.Fatal(err)
						}
					}
				}
				for n := range rotations * ticks {
					if n%ticks == ticks/2 {
						c.rotate("localhost")
					}
					if kind != "transactional" {
						tick(n)
					} else {
						if err := p.BeginTxn(); err != nil {
							t.Fatal(err)
						}
						tick(n)
						if err := p.CommitTxn(); err != nil {
							t.Fatal(err)
						}
						markers += perTick
					}
					time.Sleep(between)
				}
				settled.Wait()
				c.wantDelivered(t, rotations*ticks*perTick+markers)
				if failed.Load() > 0 || slow.Load() > 0 {
					t.Errorf("%d messages failed, %d took more than %v", failed.Load(), slow.Load(), 10*between)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.late > 0 {
					t.Errorf("%d writes to connections that were to be replaced", c.late)
				}
				count := map[string]int{}
				for _, name := range c.shown {
					count[name]++
				}
				t.Logf("connections: %v", count)
				for i := range rotations + 1 {
					// Three for producing, one for look-ups, one for a coordinator or for a producer id.
					if n := count[fmt.Sprint("client ", i+1)]; n < 4 || n > 6 {
						t.Errorf("%d connections with certificate %d", n, i+1)
					}
				}
			})
		})
	}
}

// A new certificate that the brokers refuse: the old connections go on, dials are spaced, and a good one ends that.
func TestTLSFilesThatBrokersRefuse(t *testing.T) {
	withCertificates(t, []string{"localhost"}, func(t *testing.T, c *certified) {
		lines := captureLog(t)
		p := newAsync(t, c.Cluster, c.config())
		all := 0
		sendFor := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				send(p, message(0, all))
				successes(t, p, 1)
				all++
			}
		}
		sendFor(time.Minute)
		good := c.server.Load()
		c.rotate("localhost")
		next := c.server.Swap(good) // the brokers are late
		sendFor(10 * time.Minute)
		if n := lines.count("dialling in place of an open connection, which goes on: "); n < 15 || n > 35 {
			t.Errorf("%d failed dials are logged in 10 minutes", n)
		}
		c.server.Store(next)
		sendFor(time.Minute)
		c.wantDelivered(t, int64(all))
		c.wantShown("client 2")
	}, virtualBrokers(1))
}

// Brokers are verified by the name that they are dialled by: as the seeds give it, and then as Metadata advertises it.
func TestTLSFilesVerifyAdvertisedHosts(t *testing.T) {
	for _, test := range []struct {
		hosts  []string
		server string // ServerName
		start  bool   // the constructor works
		send   bool
	}{
		{hosts: []string{"seed.test", "localhost"}, start: true, send: true},
		{hosts: []string{"seed.test"}, start: true},
		{hosts: []string{"localhost"}},
		{hosts: []string{"other.test", "127.0.0.2"}},
		{hosts: []string{"any.test"}, server: "any.test", start: true, send: true},
	} {
		t.Run(strings.Join(test.hosts, " "), func(t *testing.T) {
			withCertificates(t, test.hosts, func(t *testing.T, c *certified) {
				conf := c.configOf(sluice.TLSFiles{ServerName: test.server})
				conf.Metadata.Retry.Max = 0
				wrongName := func(err error) {
					t.Helper()
					if _, ok := errors.AsType[x509.HostnameError](err); !ok {
						t.Errorf("%T %v", err, err)
					}
				}
				p, err := sluice.New([]string{"seed.test:1"}, conf, sluice.WithDeliveryTimeout(5*time.Second))
				if !test.start {
					wrongName(err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				closeAfter(t, p)
				_, _, err = p.SendMessage(message(0, 0))
				if test.send && err != nil {
					t.Error(err)
				} else if !test.send {
					wrongName(err)
				}
			}, virtualBrokers(1))
		})
	}
}

// Sarama's own clients and producers take the configuration, refuse wrong hosts, and use new files for new connections. Where
// they dial an IP address they need ServerName, and refuse all brokers without it.
func TestTLSFilesInSarama(t *testing.T) {
	withCertificates(t, []string{"broker.test"}, func(t *testing.T, c *certified) {
		// By name.
		ask := func(conf *sarama.Config, addr string) error {
			b := sarama.NewBroker(addr)
			if err := b.Open(conf); err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			_, err := b.GetMetadata(&sarama.MetadataRequest{Version: 1})
			return err
		}
		conf := c.config()
		if err := ask(conf, "broker.test:1"); err != nil {
			t.Error(err)
		}
		err := ask(conf, "other.test:1")
		if _, ok := errors.AsType[x509.HostnameError](err); !ok {
			t.Errorf("wrong host: %v", err)
		}
		for _, addr := range []string{"127.0.0.1:1", "[::1]:1"} {
			if err := ask(conf, addr); err == nil || !strings.Contains(err.Error(), "set TLSFiles.ServerName") {
				t.Errorf("%s: %v", addr, err)
			}
		}

		// A producer of sarama's. Metadata advertises localhost.
		send := func(conf *sarama.Config) error {
			p, err := sarama.NewSyncProducer([]string{"broker.test:1"}, conf)
			if err != nil {
				return err
			}
			defer p.Close()
			_, _, err = p.SendMessage(message(0, 0))
			return err
		}
		named := c.configOf(sluice.TLSFiles{ServerName: "broker.test"})
		misnamed := c.configOf(sluice.TLSFiles{ServerName: "other.test"})
		for _, conf := range []*sarama.Config{named, misnamed} {
			conf.Metadata.Retry.Max, conf.Producer.Retry.Max = 0, 0
		}
		if err := send(named); err != nil {
			t.Error(err)
		}
		if err := send(misnamed); err == nil {
			t.Error("a wrong host is taken")
		}

		c.rotate("broker.test")
		if err := send(named); err == nil {
			t.Error("old files are taken")
		}
		time.Sleep(10 * time.Second)
		if err := send(named); err != nil {
			t.Error(err)
		}
		if err := ask(conf, "broker.test:1"); err != nil {
			t.Error(err)
		}
		if err := ask(conf, "other.test:1"); err == nil {
			t.Error("a wrong host is taken")
		}
		c.wantShown("client 2")
		if got := logged(c.Cluster, "t"); got != 2 {
			t.Errorf("%d messages are written", got)
		}
	}, virtualBrokers(1))
}
