package apitest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Logins that brokers refuse: for a moment, or for good.

// logins counts the logins of a cluster, and refuses them while it has a reason.
type logins struct {
	mu      sync.Mutex
	text    string
	code    sarama.KError // 0: they are taken
	allowed int           // so many are taken all the same
	count   int
	refused int
}

func countLogins(c *kfake.Cluster) *logins {
	l := &logins{}
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.count++
		if l.allowed--; l.code == 0 || l.allowed >= 0 {
			return nil, nil, false
		}
		l.refused++
		resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		if resp.ErrorCode = int16(l.code); l.text != "" {
			resp.ErrorMessage = kmsg.StringPtr(l.text)
		}
		return resp, nil, true
	})
	return l
}

// refuse refuses logins from now on, but for the first so many.
func (l *logins) refuse(code sarama.KError, text string, allowed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.code, l.text, l.allowed = code, text, allowed
}

func (l *logins) take() { l.refuse(0, "", 0) }

// counts returns the logins since the last call, and how many of them were refused.
func (l *logins) counts() (count, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count, refused = l.count, l.refused
	l.count, l.refused = 0, 0
	return count, refused
}

// saslConfig is config with a login.
func (v *virtual) saslConfig() *sarama.Config {
	conf := v.config()
	conf.ApiVersionsRequest = false // a sarama.Broker holds a mutex while it asks
	conf.Version = sarama.V3_6_0_0
	conf.Net.SASL.Enable = true
	conf.Net.SASL.User, conf.Net.SASL.Password = "user", "secret"
	return conf
}

func withLogin(opts ...kfake.Opt) []kfake.Opt {
	return append(opts, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
}

const (
	tooManyConnects = "[c4c1210b-9221-40ac-9fde-03daf7b747dc]: Too many connects" // Amazon MSK's words
	accessDenied    = "[c4c1210b-9221-40ac-9fde-03daf7b747dc]: Access denied"
)

// Logins that are refused for their rate are tried again, less and less often, and all is delivered: at the start, at the
// first look-up (sarama's constructor without Metadata.Full), for a producer id, and to the leader.
func TestLoginsRefusedForTheirRate(t *testing.T) {
	refusals := map[string]struct {
		code sarama.KError
		text string
	}{
		"MSK":   {sarama.ErrSASLAuthenticationFailed, tooManyConnects},
		"quota": {sarama.ErrThrottlingQuotaExceeded, "slow down"},
	}
	for name, refusal := range refusals {
		for _, numbered := range []bool{false, true} {
			for allowed, where := range []string{"at the start", "later"} {
				t.Run(fmt.Sprintf("%s %s idempotent %t", name, where, numbered), func(t *testing.T) {
					inBubble(t, func(t *testing.T, v *virtual) {
						l := countLogins(v.Cluster)
						l.refuse(refusal.code, refusal.text, allowed)
						conf := v.saslConfig()
						conf.Metadata.Retry.Max = 20
						if numbered {
							idempotent(conf)
						}
						defer time.AfterFunc(5*time.Second, l.take).Stop()
						p := newAsync(t, v.Cluster, conf)
						send(p, messages(20, 2)...)
						successes(t, p, 20)
						if count, refused := l.counts(); refused == 0 || count > 30 {
							t.Errorf("%d logins, %d refused", count, refused)
						}
						v.wantDelivered(t, 20)
						wantQuickClose(t, p)
					}, withLogin(virtualBrokers(1), kfake.SeedTopics(2, "t"))...)
				})
			}
		}
	}
}

// wantDelivered checks how many records the log of "t" holds.
func (v *virtual) wantDelivered(t *testing.T, n int64) {
	t.Helper()
	synctest.Wait() // with acks 0 the broker may have them yet to read
	if got := logged(v.Cluster, "t"); got != n {
		t.Errorf("the log holds %d records, want %d", got, n)
	}
}

func TestLoginsRefusedForTheirRateAtSaramasConstructor(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		l := countLogins(v.Cluster)
		l.refuse(sarama.ErrSASLAuthenticationFailed, tooManyConnects, 0)
		conf := v.saslConfig()
		conf.Metadata.Full = false // no broker is asked before the first message
		conf.Metadata.Retry.Max = 20
		p, err := sluice.NewSyncProducer(v.ListenAddrs(), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		defer time.AfterFunc(5*time.Second, l.take).Stop()
		if _, _, err := p.SendMessage(message(0, 0)); err != nil {
			t.Error(err)
		}
	}, withLogin(virtualBrokers(1), kfake.SeedTopics(1, "t"))...)
}

// A password that is changed while a producer runs is told at once, by name: all that waits fails with the first login that
// is refused, and later messages try again, but not without pauses. When the password is right again, they are delivered.
func TestWrongPasswordIsToldAtOnce(t *testing.T) {
	for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		t.Run(fmt.Sprintf("acks %d", acks), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				l := countLogins(v.Cluster)
				conf := v.saslConfig()
				conf.Producer.RequiredAcks = acks
				conf.Producer.Retry.Max = 1_000_000
				conf.Producer.Flush.MaxMessages = 1 // each message is a request
				p := newAsync(t, v.Cluster, conf)
				l.counts()
				l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
				begin := time.Now()
				p.InputBatch() <- messages(40, 4)
				called := make(chan error, 1)
				done := func(_ *sarama.ProducerMessage, err error) { called <- err }
				if err := p.Produce(t.Context(), message(0, 40), done); err != nil {
					t.Fatal(err)
				}
				want := func(err error) {
					t.Helper()
					wantError(t, err, causes(sarama.ErrSASLAuthenticationFailed), accessDenied, "localhost:1", `"t"`)
					if errors.Is(err, sluice.ErrDeliveryTimeout) || sluice.IsRetriable(err) {
						t.Error(err)
					}
				}
				want(receive(t, called))
				for range 40 {
					want(receive(t, p.Errors()).Err)
				}
				if count, _ := l.counts(); time.Since(begin) > time.Second || count > 3 {
					t.Errorf("told after %v and %d logins", time.Since(begin), count)
				}
				for i := range 20 {
					_, _, err := p.SendMessageContext(t.Context(), message(int32(i)%4, i))
					want(err)
				}
				if count, _ := l.counts(); time.Since(begin) < 10*time.Second || count > 21 {
					t.Errorf("%d logins in %v: no pauses", count, time.Since(begin))
				}
				l.take()
				send(p, messages(8, 4)...)
				successes(t, p, 8)
				v.wantDelivered(t, 8)
				wantQuickClose(t, p)
			}, withLogin(virtualBrokers(1), kfake.SeedTopics(4, "t"))...)
		})
	}
}

// The same for a producer id, which the constructor asks for and, where it was lost, messages.
func TestWrongPasswordForAProducerID(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		l := countLogins(v.Cluster)
		l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 1) // that of the first look-up
		conf := v.saslConfig()
		idempotent(conf)
		_, err := sluice.New(v.ListenAddrs(), conf)
		wantError(t, err, causes(sarama.ErrSASLAuthenticationFailed), accessDenied, "no producer id")
		l.take()
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		forgetFirstID(v.Cluster)
		l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
		begin := time.Now()
		for i := range 3 {
			_, _, err := p.SendMessageContext(t.Context(), message(0, i))
			wantError(t, err, causes(sarama.ErrSASLAuthenticationFailed), accessDenied)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("told after %v", took)
		}
		l.take()
		if _, _, err := p.SendMessageContext(t.Context(), message(0, 0)); err != nil {
			t.Error(err)
		}
		wantQuickClose(t, p)
	}, withLogin(virtualBrokers(1), kfake.SeedTopics(1, "t"))...)
}

// What may have been written before the password was changed ends with ErrOutcomeUnknown, and the numbers go on without it.
func TestWrongPasswordWithUnsureMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		l := countLogins(v.Cluster)
		conf := v.saslConfig()
		idempotent(conf)
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
		loseConnections(v.Cluster, 1)
		send(p, message(0, 1))
		wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown, sarama.ErrSASLAuthenticationFailed))
		send(p, message(0, 2))
		if err := receive(t, p.Errors()).Err; errors.Is(err, sluice.ErrOutcomeUnknown) {
			t.Error(err)
		}
		l.take()
		send(p, message(0, 3))
		successes(t, p, 1)
		v.wantDelivered(t, 2)
		wantQuickClose(t, p)
	}, withLogin(virtualBrokers(1), kfake.SeedTopics(1, "t"))...)
}

// At the start a wrong password is told with the first login, at each constructor. (sarama itself does so only if the broker
// sends no text: with one it takes the answer for another broker's trouble, and makes all its tries.)
func TestWrongPasswordAtTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		l := countLogins(v.Cluster)
		for name, start := range map[string]func() error{
			"New":              func() error { _, err := sluice.New(v.ListenAddrs(), v.saslConfig()); return err },
			"NewAsyncProducer": func() error { _, err := sluice.NewAsyncProducer(v.ListenAddrs(), v.saslConfig()); return err },
			"sarama":           func() error { _, err := sarama.NewAsyncProducer(v.ListenAddrs(), v.saslConfig()); return err },
		} {
			for _, text := range []string{"", accessDenied} {
				if name == "sarama" && text != "" {
					continue
				}
				l.refuse(sarama.ErrSASLAuthenticationFailed, text, 0)
				begin := time.Now()
				err := start()
				wantError(t, err, causes(sarama.ErrSASLAuthenticationFailed), text)
				if count, _ := l.counts(); count != 1 || time.Since(begin) > time.Second {
					t.Errorf("%s: %d logins, %v", name, count, time.Since(begin))
				}
			}
		}
	}, withLogin(kfake.SeedTopics(1, "t"))...)
}

// Sarama's constructors keep sarama's rounds: Retry.Max + 1 logins at the leader, then the error.
func TestWrongPasswordAtSaramasConstructor(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		l := countLogins(v.Cluster)
		conf := v.saslConfig()
		conf.Producer.Retry.Max = 2
		p, err := sluice.NewSyncProducer(v.ListenAddrs(), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		l.counts()
		l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
		_, _, err = p.SendMessage(message(0, 0))
		wantError(t, err, causes(sarama.ErrSASLAuthenticationFailed), accessDenied)
		if count, _ := l.counts(); count < 3 || count > 4 { // a look-up may ask over a new connection, too
			t.Errorf("%d logins, want 3", count)
		}
	}, withLogin(virtualBrokers(1), kfake.SeedTopics(1, "t"))...)
}
