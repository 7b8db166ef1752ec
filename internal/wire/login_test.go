package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Logins that end otherwise than with an answer, and what is done about refused tokens.

// renewable is a token provider that counts, as those of package oauth are.
type renewable struct {
	calls   atomic.Int32
	refused atomic.Pointer[string]
}

func (r *renewable) Token() (*sarama.AccessToken, error) {
	return nil, errors.New("called without a context")
}

func (r *renewable) TokenContext(ctx context.Context) (*sarama.AccessToken, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("no time limit")
	}
	return &sarama.AccessToken{Token: strings.Repeat("t", int(r.calls.Add(1)))}, nil
}

func (r *renewable) Refused(token string) { r.refused.Store(&token) }

func TestRefusedTokenIsTriedOnceMore(t *testing.T) {
	for _, good := range []string{"tt", "never"} {
		cluster, addr := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
		var logins atomic.Int32
		cluster.ControlKey(17, func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			return req.ResponseKind(), nil, true
		})
		cluster.ControlKey(36, func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			logins.Add(1)
			resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			if !strings.Contains(string(kreq.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes), "Bearer "+good+"\x01") {
				resp.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
			}
			return resp, nil, true
		})
		conf := saslConfig(sarama.SASLTypeOAuth, "")
		provider := &renewable{}
		conf.Net.SASL.TokenProvider = provider
		c, err := NewDialer(conf, 5).Dial(t.Context(), 0, addr)
		if c != nil {
			c.Close()
		}
		if (err == nil) != (good == "tt") || err != nil && !flow.LoginRefused(err) || logins.Load() != 2 || provider.calls.Load() != 2 {
			t.Errorf("%d logins, %d tokens: %v", logins.Load(), provider.calls.Load(), err)
		}
		if refused := provider.refused.Load(); refused == nil || *refused != "t" {
			t.Errorf("the provider heard of %v", refused)
		}
	}
}

// TestPanicsAreNoLogin: the broker takes everything, so only the user's code can end the login.
func TestPanicsAreNoLogin(t *testing.T) {
	var panics atomic.Int32
	count := func(any) { panics.Add(1) }
	onPanic.Store(&count)
	defer onPanic.Store(nil)
	for name, set := range map[string]func(*sarama.Config){
		"token provider": func(conf *sarama.Config) {
			conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
			conf.Net.SASL.TokenProvider = tokenFunc(func() (*sarama.AccessToken, error) { panic("provider") })
		},
		"SCRAM generator": func(conf *sarama.Config) {
			conf.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
			conf.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { panic("generator") }
		},
		"SCRAM client": func(conf *sarama.Config) {
			conf.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
			conf.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return panicking{} }
		},
	} {
		for _, version := range []int16{sarama.SASLHandshakeV0, sarama.SASLHandshakeV1} {
			for _, handshake := range []bool{false, true} {
				panics.Store(0)
				ours, theirs := net.Pipe()
				broker := newFakeBroker(t, theirs)
				conf := through(saslConfig(sarama.SASLTypePlaintext, "secret"), ours)
				conf.ApiVersionsRequest = false
				conf.Net.SASL.Version, conf.Net.SASL.Handshake = version, handshake
				set(conf)
				if handshake || version == sarama.SASLHandshakeV0 && conf.Net.SASL.Mechanism != sarama.SASLTypeOAuth {
					go func() {
						got := broker.next()
						broker.reply(got.correlationID, got.body.ResponseKind())
					}()
				}
				c, err := NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
				if c != nil {
					c.Close()
				}
				if _, failed := errors.AsType[*AuthError](err); !failed || panics.Load() == 0 || flow.LoginRefused(err) {
					t.Errorf("%s, handshake v%d %t: %d panics, %v", name, version, handshake, panics.Load(), err)
				}
			}
		}
	}
}

type panicking struct{}

func (panicking) Begin(string, string, string) error { panic("begin") }
func (panicking) Step(string) (string, error)        { panic("step") }
func (panicking) Done() bool                         { panic("done") }

// TestLoginAnswersThatClaimTooMuch: nothing is allocated for them.
func TestLoginAnswersThatClaimTooMuch(t *testing.T) {
	for _, version := range []int16{sarama.SASLHandshakeV0, sarama.SASLHandshakeV1} {
		for _, length := range []uint32{0, 3, longestSASLAnswer + 1, 100 << 20, 0xffffffff, 0x15030300} {
			ours, theirs := net.Pipe()
			broker := newFakeBroker(t, theirs)
			conf := through(saslConfig(sarama.SASLTypePlaintext, "secret"), ours)
			conf.ApiVersionsRequest = false
			conf.Net.SASL.Version = version
			go func() {
				if version == sarama.SASLHandshakeV0 {
					got := broker.next()
					broker.reply(got.correlationID, got.body.ResponseKind())
					var size [4]byte
					_, _ = io.ReadFull(broker.r, size[:])
					_, _ = io.CopyN(io.Discard, broker.r, int64(binary.BigEndian.Uint32(size[:])))
				} else {
					broker.next()
				}
				_, _ = theirs.Write(binary.BigEndian.AppendUint32(nil, length))
			}()
			c, err := NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
			if version == sarama.SASLHandshakeV0 && length <= 3 { // a token of that length; PLAIN ignores it
				if c != nil {
					c.Close()
				}
				continue
			}
			if !errors.Is(err, ErrMalformedAnswer) || !strings.Contains(err.Error(), "fake:9092 with PLAIN") {
				t.Errorf("v%d, length %d: %v", version, length, err)
			}
			if length == 0x15030300 && !strings.Contains(err.Error(), "Net.TLS.Enable is off") {
				t.Error(err)
			}
		}
	}
}

// TestHandshakeV0ThatClaimsTooMuch, or less than its own header, of which sarama's Broker makes a length of 4 GiB.
func TestHandshakeV0ThatClaimsTooMuch(t *testing.T) {
	for _, mechanism := range []sarama.SASLMechanism{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256} {
		for _, length := range []uint32{0, 3, longestSASLAnswer + 1, 0xffffffff} {
			ours, theirs := net.Pipe()
			broker := newFakeBroker(t, theirs)
			conf := through(saslConfig(mechanism, "secret"), ours)
			conf.ApiVersionsRequest = false
			conf.Net.SASL.Version = sarama.SASLHandshakeV0
			go func() {
				broker.next()
				_, _ = theirs.Write(binary.BigEndian.AppendUint32(nil, length))
				theirs.Close()
			}()
			_, err := NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
			if !errors.Is(err, ErrMalformedAnswer) || !strings.Contains(err.Error(), "fake:9092 with "+string(mechanism)) {
				t.Errorf("%s, length %d: %v", mechanism, length, err)
			}
		}
	}
}

func TestSession(t *testing.T) {
	since := time.Unix(1000, 0)
	for _, test := range []struct {
		lifetime               time.Duration
		first, latest, noLater time.Duration
	}{
		{time.Second, 500 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond},
		{5 * time.Second, 2700 * time.Millisecond, 3 * time.Second, 4 * time.Second},
		{100 * time.Second, 85 * time.Second, 95 * time.Second, 98 * time.Second},
		{time.Hour, 51 * time.Minute, 57 * time.Minute, 3528 * time.Second},
	} {
		tap := &saslTap{lifetime: test.lifetime, since: since}
		first, latest := tap.session(0), tap.session(1)
		if got := first.renew.Sub(since); got.Round(time.Millisecond) != test.first {
			t.Errorf("%v: renewed after %v at the earliest", test.lifetime, got)
		}
		if got := latest.renew.Sub(since); got.Round(time.Millisecond) != test.latest {
			t.Errorf("%v: renewed after %v at the latest", test.lifetime, got)
		}
		if got := latest.over.Sub(since); got.Round(time.Millisecond) != test.noLater || latest.over.Before(latest.renew) {
			t.Errorf("%v: over after %v", test.lifetime, got)
		}
	}
	for _, none := range []time.Duration{0, -1} {
		if got := (&saslTap{lifetime: none, since: since}).session(0); got != (session{}) {
			t.Errorf("%v: %v", none, got)
		}
	}
}

// TestLifetimeOverflows: a session for ever is none that ends at once.
func TestLifetimeOverflows(t *testing.T) {
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.Version = 2
	for _, millis := range []int64{1<<63 - 1, 9_223_372_036_855, 1 << 54, -1 << 63} {
		resp.SessionLifetimeMillis = millis
		tap := &saslTap{key: keySASLAuthenticate, version: 2, correlationID: 7, sent: time.Now(), answer: appendAnswer(nil, 7, resp)}
		tap.readAnswer()
		s := tap.session(0)
		if !tap.accepted || !s.renew.IsZero() && s.renew.Before(time.Now().AddDate(1, 0, 0)) {
			t.Errorf("%d ms: renewed at %v", millis, s.renew)
		}
	}
}

// TestTLSPort: without TLS at a port that has it. Brokers send an alert, which is shorter than the header of an answer, and
// close the connection.
func TestTLSPort(t *testing.T) {
	for name, ask := range map[string]bool{"asked for its versions": true, "not asked": false} {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		conf := through(testConfig(), ours)
		conf.ApiVersionsRequest = ask
		go func() {
			broker.next()
			_, _ = theirs.Write([]byte{0x15, 3, 3, 0, 2, 2, 80})
			theirs.Close()
		}()
		c, err := NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
		if err == nil {
			_, err = c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
			c.Close()
		}
		if !errors.Is(err, errTLSPort) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "fake:9092") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
