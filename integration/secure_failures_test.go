//go:build unix

package integration

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

const wrongPassword = "wrong-password"

// secureFailure is something that is set up wrongly, and what a user must be told about it beside the broker's address.
type secureFailure struct {
	name     string
	listener string
	logins   []login
	topic    string // "": one that only the administrator may use
	wraps    error  // nil: no certain one
	words    []string
	lookUp   bool // the answer to a look-up, which any broker gives: none need be named
}

// testSecureFailures compares what a user reads when something is set up wrongly: it names the broker, the mechanism and the
// cause. It comes from the constructor or with the message, and holds no secret.
func testSecureFailures(t *testing.T, c *secured) {
	topic, seen := c.NewTopic(t, 1, nil), c.NewTopic(t, 1, nil)
	c.Allow(t, kafkatest.ACL{User: writer, Topic: seen, Operation: kmsg.ACLOperationDescribe})
	for _, test := range slices.Concat(c.loginFailures(), c.tokenFailures(), c.tlsFailures(t), c.rightFailures(t, seen)) {
		t.Run(test.name, func(t *testing.T) {
			conf := changed(sluice.NewConfig(), append([]login{idempotent(false)}, test.logins...)...)
			addrs := c.Addrs(t, test.listener)
			if test.topic == "" {
				test.topic = topic
			}
			err := produceOne(t, addrs, conf, test.topic)
			if err == nil {
				t.Fatal("no error")
			}
			if test.wraps != nil && !errors.Is(err, test.wraps) {
				t.Errorf("it does not wrap %q", test.wraps)
			}
			text := err.Error()
			words := test.words
			if !test.lookUp {
				words = append(words, addrs[0])
			}
			for _, word := range words {
				if !strings.Contains(text, word) {
					t.Errorf("it does not say %q", word)
				}
			}
			for _, secret := range []string{password, wrongPassword, "eyJ"} { // a token begins so
				if strings.Contains(text, secret) {
					t.Errorf("it tells the secret %q", secret)
				}
			}
			t.Log(text)
		})
	}
}

func (c *secured) loginFailures() []secureFailure {
	const credentials = "invalid credentials with SASL mechanism "
	return []secureFailure{
		{name: "wrong password, PLAIN", listener: saslTLS,
			logins: []login{c.overTLS, withPassword(sarama.SASLTypePlaintext, admin, wrongPassword)},
			wraps:  sarama.ErrSASLAuthenticationFailed, words: []string{"Invalid username or password", "with PLAIN"}},
		{name: "wrong password, SCRAM-SHA-256", listener: saslTLS,
			logins: []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA256, admin, wrongPassword)},
			wraps:  sarama.ErrSASLAuthenticationFailed, words: []string{credentials + "SCRAM-SHA-256"}},
		{name: "wrong password, SCRAM-SHA-512", listener: saslTLS,
			logins: []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA512, admin, wrongPassword)},
			wraps:  sarama.ErrSASLAuthenticationFailed, words: []string{credentials + "SCRAM-SHA-512"}},
		{name: "unknown user", listener: saslTLS,
			logins: []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA512, "nobody", password)},
			wraps:  sarama.ErrSASLAuthenticationFailed, words: []string{credentials + "SCRAM-SHA-512"}},
		{name: "a mechanism that the listener does not have", listener: saslPlain,
			logins: []login{withPassword(sarama.SASLTypePlaintext, admin, password)},
			wraps:  sarama.ErrUnsupportedSASLMechanism, words: []string{"mechanism", "with PLAIN"}},
		{name: "no login where one is wanted", listener: saslPlain,
			words: []string{"closed the connection", "maybe this port wants a login", "Net.SASL.Enable is off"}},
	}
}

func (c *secured) tokenFailures() []secureFailure {
	failure := func(name string, claims map[string]any) secureFailure {
		claims["sub"] = admin
		return secureFailure{name: name, listener: saslTLS,
			logins: []login{c.overTLS, withToken(c.issuer.Sign(claims))},
			wraps:  sarama.ErrSASLAuthenticationFailed, words: []string{"invalid credentials with SASL mechanism OAUTHBEARER"}}
	}
	return []secureFailure{
		failure("expired token", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		failure("token for another audience", map[string]any{"aud": "others"}),
		failure("token of another issuer", map[string]any{"iss": "https://issuer.example"}),
		{name: "no token", listener: saslTLS, logins: []login{c.overTLS, withToken("none")},
			wraps: sarama.ErrSASLAuthenticationFailed, words: []string{"OAUTHBEARER"}},
	}
}

func (c *secured) tlsFailures(t *testing.T) []secureFailure {
	other := certtest.NewCA(t, "other CA")
	trustsOther := func(conf *sarama.Config) {
		conf.Net.TLS.Enable, conf.Net.TLS.Config = true, &tls.Config{RootCAs: other.Pool()}
	}
	otherHost := func(conf *sarama.Config) { conf.Net.TLS.Config.ServerName = "kafka.example" }
	loggedIn := withPassword(sarama.SASLTypeSCRAMSHA512, admin, password)
	return []secureFailure{
		{name: "no client certificate", listener: mutualTLS, logins: []login{c.overTLS},
			words: []string{"tls: bad certificate"}},
		{name: "client certificate of another authority", listener: mutualTLS,
			logins: []login{c.overTLS, withCertificate(other.Client(t, admin))},
			words:  []string{"tls: bad certificate"}},
		{name: "server certificate of another authority", listener: saslTLS, logins: []login{trustsOther, loggedIn},
			words: []string{"TLS handshake", "certificate signed by unknown authority"}},
		{name: "wrong host name", listener: saslTLS, logins: []login{c.overTLS, otherHost, loggedIn},
			words: []string{"TLS handshake", "kafka.example"}},
		{name: "without TLS to a port with TLS", listener: mutualTLS,
			words: []string{"EOF", "the broker speaks TLS at this port"}},
		{name: "login without TLS to a port with TLS", listener: saslTLS, logins: []login{loggedIn},
			words: []string{"EOF", "the broker speaks TLS at this port"}},
		{name: "TLS to a port without", listener: saslPlain, logins: []login{c.overTLS, loggedIn},
			words: []string{"TLS handshake", "maybe this port has no TLS"}},
	}
}

// rightFailures are of a user who may only see one topic.
func (c *secured) rightFailures(t *testing.T, seen string) []secureFailure {
	logins := []login{c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA512, writer, password)}
	hidden := c.NewTopic(t, 1, nil)
	return []secureFailure{
		{name: "no right to see the topic", listener: saslTLS, logins: logins, topic: hidden, lookUp: true,
			wraps: sarama.ErrTopicAuthorizationFailed, words: []string{hidden, "not authorized to access this topic"}},
		{name: "no right to write to the topic", listener: saslTLS, logins: logins, topic: seen,
			wraps: sarama.ErrTopicAuthorizationFailed, words: []string{seen, "not authorized to access this topic"}},
		{name: "no right to write idempotently", listener: saslTLS, logins: append(logins, idempotent(true)), topic: seen,
			wraps: sarama.ErrClusterAuthorizationFailed, words: []string{"producer id", "not authorized"}},
	}
}

func idempotent(on bool) login { return func(conf *sarama.Config) { conf.Producer.Idempotent = on } }

// produceOne returns why a message can't be produced: the constructor's error, or that of the message.
func produceOne(t *testing.T, addrs []string, conf *sarama.Config, topic string) error {
	t.Helper()
	p, err := sluice.New(addrs, conf)
	if err != nil {
		return err
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, _, err = p.SendMessageContext(testContext(t), &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("x")})
	return err
}
