//go:build unix

package integration

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
	"github.com/sluice-kafka/sluice/internal/oidctest"
)

// The listeners of a secured cluster.
const (
	saslTLS   = "SASL_TLS"   // every mechanism but Kerberos, over TLS
	mutualTLS = "MUTUAL_TLS" // clients show a certificate
	saslPlain = "SASL_PLAIN" // SCRAM-SHA-512 alone, without TLS
)

const (
	admin    = "admin"  // may do everything
	writer   = "writer" // may do what ACLs allow
	password = "right-password"
)

// secured is a cluster whose users log in, and what it takes to do so.
type secured struct {
	*kafkatest.Cluster
	ca     *certtest.CA
	issuer *oidctest.Server
}

// TestSecure runs what wants a secured cluster on one: it has a listener of each kind, and checks ACLs.
func TestSecure(t *testing.T) {
	c := startSecured(t)
	t.Run("Mechanisms", func(t *testing.T) { testMechanisms(t, c) })
	t.Run("Failures", func(t *testing.T) { testSecureFailures(t, c) })
	t.Run("ACLs", func(t *testing.T) { testACLs(t, c) })
	t.Run("TLSFiles", func(t *testing.T) { testTLSFiles(t, c) })
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	c := &secured{ca: certtest.NewCA(t, "test CA"), issuer: oidctest.New(t)}
	dir := t.TempDir()
	server := c.ca.Server(t, "127.0.0.1")
	certificate := certtest.Write(t, filepath.Join(dir, "server.pem"), server.CertPEM(), server.KeyPEM(t))
	c.Cluster = kafkatest.Start(t, 1,
		kafkatest.WithACLs(admin, "CN="+admin),
		kafkatest.WithSCRAMUser(admin, password),
		kafkatest.WithSCRAMUser(writer, password),
		// Kafka 4 asks no URL for keys that is not named here.
		kafkatest.WithJava("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="+c.issuer.JWKSURL),
		kafkatest.WithListener(kafkatest.Listener{
			Name: saslTLS, Certificate: certificate,
			Mechanisms: []string{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512, sarama.SASLTypeOAuth},
			Passwords:  map[string]string{admin: password, writer: password},
			Properties: map[string]string{
				// Kafka 4.1's default on brokers is that of clients, which takes any token.
				"sasl.oauthbearer.jwt.validator.class": "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator",
				"sasl.oauthbearer.jwks.endpoint.url":   c.issuer.JWKSURL,
				"sasl.oauthbearer.expected.issuer":     c.issuer.Issuer,
				"sasl.oauthbearer.expected.audience":   oidctest.DefaultAudience,
			},
		}),
		kafkatest.WithListener(kafkatest.Listener{
			Name: mutualTLS, Certificate: certificate,
			ClientCAs: certtest.Write(t, filepath.Join(dir, "clients.pem"), c.ca.PEM()),
		}),
		kafkatest.WithListener(kafkatest.Listener{
			Name: saslPlain, Mechanisms: []string{sarama.SASLTypeSCRAMSHA512},
		}))
	return c
}

// login changes a configuration.
type login func(*sarama.Config)

// changed is a configuration of a secured cluster's user.
func changed(conf *sarama.Config, logins ...login) *sarama.Config {
	conf.Version = sarama.V2_5_0_0
	conf.Producer.Return.Successes = true
	for _, l := range logins {
		l(conf)
	}
	return conf
}

// overTLS trusts the cluster's authority.
func (c *secured) overTLS(conf *sarama.Config) {
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config = &tls.Config{RootCAs: c.ca.Pool()}
}

// withCertificate shows a certificate of the cluster's authority, or of another.
func withCertificate(pair *certtest.Pair) login {
	return func(conf *sarama.Config) { conf.Net.TLS.Config.Certificates = []tls.Certificate{pair.TLS()} }
}

// withPassword logs in by PLAIN or SCRAM.
func withPassword(mechanism sarama.SASLMechanism, user, password string) login {
	return func(conf *sarama.Config) {
		conf.Net.SASL.Enable = true
		conf.Net.SASL.Mechanism = mechanism
		conf.Net.SASL.User, conf.Net.SASL.Password = user, password
		if mechanism != sarama.SASLTypePlaintext {
			conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(mechanism)
		}
	}
}

// withToken logs in by OAUTHBEARER.
func withToken(token string) login {
	return func(conf *sarama.Config) {
		conf.Net.SASL.Enable = true
		conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
		conf.Net.SASL.TokenProvider = bearer(token)
	}
}

// bearer is always the same token.
type bearer string

func (b bearer) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: string(b)}, nil
}

// testMechanisms has each mechanism deliver messages, by each constructor and sarama's own producer, which are all in the log.
func testMechanisms(t *testing.T, c *secured) {
	const messages = 20
	type sender interface {
		SendMessage(*sarama.ProducerMessage) (int32, int64, error)
		Close() error
	}
	for _, mechanism := range []struct {
		name     string
		listener string
		logins   []login
	}{
		{"PLAIN", saslTLS, []login{c.overTLS, withPassword(sarama.SASLTypePlaintext, admin, password)}},
		{"SCRAM-SHA-256", saslTLS, []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA256, admin, password)}},
		{"SCRAM-SHA-512", saslTLS, []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA512, admin, password)}},
		{"OAUTHBEARER", saslTLS, []login{c.overTLS, withToken(c.issuer.Sign(map[string]any{"sub": admin}))}},
		{"client certificate", mutualTLS, []login{c.overTLS, withCertificate(c.ca.Client(t, admin))}},
		{"SCRAM-SHA-512 without TLS", saslPlain, []login{withPassword(sarama.SASLTypeSCRAMSHA512, admin, password)}},
	} {
		for _, producer := range []struct {
			name   string
			conf   func() *sarama.Config
			create func(addrs []string, conf *sarama.Config) (sender, error)
		}{
			{"New", sluice.NewConfig, func(addrs []string, conf *sarama.Config) (sender, error) { return sluice.New(addrs, conf) }},
			{"NewSyncProducer", sarama.NewConfig, func(addrs []string, conf *sarama.Config) (sender, error) { return sluice.NewSyncProducer(addrs, conf) }},
			{"sarama", sarama.NewConfig, func(addrs []string, conf *sarama.Config) (sender, error) { return sarama.NewSyncProducer(addrs, conf) }},
		} {
			t.Run(mechanism.name+"/"+producer.name, func(t *testing.T) {
				topic := c.NewTopic(t, 1, nil)
				awaitInOffice(t, c.Cluster, topic)
				p, err := producer.create(c.Addrs(t, mechanism.listener), changed(producer.conf(), mechanism.logins...))
				if err != nil {
					t.Fatal(err)
				}
				for i := range messages {
					_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))})
					if err != nil {
						t.Fatal(err)
					}
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				for i, r := range readBack(t, c.Cluster, topic, messages)[0] {
					if string(r.Value) != fmt.Sprint(i) {
						t.Errorf("record %d is %q", i, r.Value)
					}
				}
			})
		}
	}
}
