package oauth_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/oidctest"
	"github.com/sluice-kafka/sluice/oauth"
)

// broker is a kfake cluster that takes OAUTHBEARER logins, which kfake itself can't. It wants nobody to log in.
type broker struct {
	addrs []string

	mu      sync.Mutex
	logins  []string // The first message of each, RFC 7628
	refused int
}

func newBroker(t *testing.T, s *oidctest.Server) *broker {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := &broker{addrs: cluster.ListenAddrs()}
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{"OAUTHBEARER"}
		return resp, nil, true
	})
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		if err := b.login(s, string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)); err != nil {
			resp.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
			resp.ErrorMessage = kmsg.StringPtr(err.Error())
		}
		return resp, nil, true
	})
	return b
}

func (b *broker) login(s *oidctest.Server, message string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fields := strings.Split(message, "\x01")
	token, ok := strings.CutPrefix(fields[1], "auth=Bearer ")
	if !ok {
		return fmt.Errorf("message %q", message)
	}
	claims, err := s.Verify(token)
	if err != nil {
		b.refused++
		return err
	}
	b.logins = append(b.logins, fmt.Sprint(claims["sub"], " ", fields[2]))
	return nil
}

func (b *broker) take() ([]string, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.logins, b.refused = nil, 0 }()
	return b.logins, b.refused
}

type constructor = func([]string, *sarama.Config) (sarama.SyncProducer, error)

var constructors = map[string]constructor{"sarama": sarama.NewSyncProducer, "sluice": sluice.NewSyncProducer}

func config(tokens sarama.AccessTokenProvider) *sarama.Config {
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.Retry.Max, conf.Metadata.Retry.Max = 0, 0
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
	conf.Net.SASL.TokenProvider = tokens
	return conf
}

// TestProduce: sluice and sarama log in with the provider's tokens, of which one serves all connections.
func TestProduce(t *testing.T) {
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			s := oidctest.New(t)
			s.AddClient("app", "secret")
			b := newBroker(t, s)
			tokens, err := oauth.ClientCredentials{Issuer: s.Issuer, ClientID: "app", ClientSecret: "secret",
				Extensions: map[string]string{"logicalCluster": "lkc-1"}}.Provider()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				producer, err := construct(b.addrs, config(tokens))
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "topic", Value: sarama.StringEncoder("x")}); err != nil {
					t.Error(err)
				}
				if err := producer.Close(); err != nil {
					t.Error(err)
				}
			}
			logins, refused := b.take()
			if refused != 0 || len(logins) < 4 || len(s.TokenRequests()) != 1 {
				t.Errorf("%d refused; logins %v; %d token requests", refused, logins, len(s.TokenRequests()))
			}
			for _, login := range logins {
				if login != "app logicalCluster=lkc-1" {
					t.Errorf("login %q", login)
				}
			}
		})
	}
}

// TestProduceWithoutToken: the constructor fails, and its error names the identity provider and its answer.
func TestProduceWithoutToken(t *testing.T) {
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			s := oidctest.New(t)
			b := newBroker(t, s)
			tokens, err := oauth.ClientCredentials{TokenURL: s.TokenURL, ClientID: "app", ClientSecret: "secret"}.Provider()
			if err != nil {
				t.Fatal(err)
			}
			producer, err := construct(b.addrs, config(tokens))
			if err == nil {
				producer.Close()
				t.Fatal("no error")
			}
			if logins, refused := b.take(); len(logins) != 0 || refused != 0 {
				t.Errorf("logins %v, %d refused", logins, refused)
			}
			refused, ok := errors.AsType[*oauth.EndpointError](err)
			if !ok || refused.Code != "invalid_client" || !strings.Contains(err.Error(), s.TokenURL) {
				t.Errorf("%v", err)
			}
		})
	}
}
