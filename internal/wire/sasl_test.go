package wire

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// scramClient is a client for SCRAM (RFC 5802) as sarama wants it. It does not check the server.
type scramClient struct {
	hash           func() hash.Hash
	user, password string
	step           int
}

func (s *scramClient) Begin(user, password, _ string) error {
	s.user, s.password = user, password
	return nil
}

func (s *scramClient) Done() bool { return s.step == 3 }

func (s *scramClient) Step(challenge string) (string, error) {
	s.step++
	first := "n=" + s.user + ",r=nonce"
	switch s.step {
	case 1:
		return "n,," + first, nil
	case 2:
		fields := make(map[byte]string)
		for f := range strings.SplitSeq(challenge, ",") {
			fields[f[0]] = f[2:]
		}
		salt, err := base64.StdEncoding.DecodeString(fields['s'])
		if err != nil {
			return "", err
		}
		rounds, err := strconv.Atoi(fields['i'])
		if err != nil {
			return "", err
		}
		salted, err := pbkdf2.Key(s.hash, s.password, salt, rounds, s.hash().Size())
		if err != nil {
			return "", err
		}
		sign := func(key []byte, text string) []byte {
			m := hmac.New(s.hash, key)
			m.Write([]byte(text))
			return m.Sum(nil)
		}
		clientKey := sign(salted, "Client Key")
		stored := s.hash()
		stored.Write(clientKey)
		last := "c=biws,r=" + fields['r']
		proof := sign(stored.Sum(nil), first+","+challenge+","+last)
		for i := range proof {
			proof[i] ^= clientKey[i]
		}
		return last + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
	}
	return "", nil
}

func saslConfig(mechanism sarama.SASLMechanism, password string) *sarama.Config {
	conf := clusterConfig()
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = mechanism
	conf.Net.SASL.User, conf.Net.SASL.Password = "user", password
	h := sha256.New
	if mechanism == sarama.SASLTypeSCRAMSHA512 {
		h = sha512.New
	}
	conf.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: h} }
	return conf
}

func TestSASL(t *testing.T) {
	for _, mechanism := range []sarama.SASLMechanism{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512} {
		t.Run(string(mechanism), func(t *testing.T) {
			_, addr := newCluster(t, kfake.EnableSASL(), kfake.Superuser(string(mechanism), "user", "secret"),
				kfake.Superuser("PLAIN", "reader", "secret"),
				kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "100000"}))
			conf := saslConfig(mechanism, "secret")
			conf.Producer.Idempotent = true // sarama's checks of its own producer's settings do not apply
			before := time.Now()
			c := dialCluster(t, conf, addr)
			after := time.Now()
			if e := c.session.renew; e.Before(before.Add(85*time.Second)) || e.After(after.Add(95*time.Second)) {
				t.Errorf("expires %v after the dial", e.Sub(before))
			}
			produceTo(t, c, topicID(t, c), addr, kgo.SASL(plain.Auth{User: "reader", Pass: "secret"}.AsMechanism()))
		})
	}
}

// TestSASLVersions: SaslAuthenticate has a version that the broker supports. A session without a lifetime never expires.
func TestSASLVersions(t *testing.T) {
	for highest := range int16(3) {
		cluster, addr := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
		seen := make(chan int16, 1)
		cluster.ControlKey(18, func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
			resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{
				{ApiKey: 0, MaxVersion: 9}, {ApiKey: 17, MaxVersion: 1}, {ApiKey: 36, MaxVersion: highest},
			}
			return resp, nil, true
		})
		cluster.ControlKey(36, func(req kmsg.Request) (kmsg.Response, error, bool) {
			seen <- req.GetVersion()
			return nil, nil, false
		})
		c := dialCluster(t, saslConfig(sarama.SASLTypePlaintext, "secret"), addr)
		if got := <-seen; got != highest || !c.session.renew.IsZero() || c.produce.max != 9 {
			t.Errorf("SaslAuthenticate v%d, want v%d; expires %v", got, highest, c.session.renew)
		}
	}
}

func TestSASLRefused(t *testing.T) {
	cluster, addr := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	cluster.ControlKey(36, func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
		resp.ErrorMessage = kmsg.StringPtr("wrong password")
		return resp, nil, true
	})
	_, err := NewDialer(saslConfig(sarama.SASLTypePlaintext, "wrong"), 5).Dial(t.Context(), 0, addr)
	var refused *AuthError
	if !errors.As(err, &refused) || refused.Addr != addr || !errors.Is(err, sarama.ErrSASLAuthenticationFailed) ||
		!strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "wrong password") {
		t.Errorf("%v", err)
	}
	// A mechanism that the broker does not have
	conf := saslConfig(sarama.SASLTypeOAuth, "")
	conf.Net.SASL.TokenProvider = tokenFunc(func() (*sarama.AccessToken, error) { return &sarama.AccessToken{Token: "t"}, nil })
	if _, err = NewDialer(conf, 5).Dial(t.Context(), 0, addr); !flow.LoginRefused(err) || !errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		!strings.Contains(err.Error(), "OAUTHBEARER") {
		t.Errorf("%v", err)
	}
	// Closing the connection is no refusal.
	cluster.ControlKey(36, func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("close"), true })
	refused = nil
	if _, err = NewDialer(saslConfig(sarama.SASLTypePlaintext, "secret"), 5).Dial(t.Context(), 0, addr); err == nil || errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
	// Settings that sarama does not accept
	conf = saslConfig(sarama.SASLTypePlaintext, "")
	var settings sarama.ConfigurationError
	if _, err = NewDialer(conf, 5).Dial(t.Context(), 0, addr); !errors.As(err, &settings) {
		t.Errorf("%v", err)
	}
}

type tokenFunc func() (*sarama.AccessToken, error)

func (f tokenFunc) Token() (*sarama.AccessToken, error) { return f() }

func TestSASLTokenFails(t *testing.T) {
	_, addr := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	conf := saslConfig(sarama.SASLTypeOAuth, "")
	conf.Net.SASL.Handshake = false
	cause := errors.New("no token today")
	conf.Net.SASL.TokenProvider = tokenFunc(func() (*sarama.AccessToken, error) { return nil, cause })
	_, err := NewDialer(conf, 5).Dial(t.Context(), 0, addr)
	var refused *AuthError
	if !errors.Is(err, cause) || !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}

// TestSASLEndsWithContext: while the broker is silent, and while a mechanism waits for something else.
func TestSASLEndsWithContext(t *testing.T) {
	cause := errors.New("enough")
	t.Run("broker", func(t *testing.T) {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		conf := through(saslConfig(sarama.SASLTypePlaintext, "secret"), ours)
		conf.ApiVersionsRequest = false
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			broker.next()
			cancel(cause)
		}()
		_, err := NewDialer(conf, 5).Dial(ctx, 0, "fake:9092")
		mustError(t, err, cause)
	})
	t.Run("mechanism", func(t *testing.T) {
		ours, theirs := net.Pipe()
		newFakeBroker(t, theirs)
		conf := through(saslConfig(sarama.SASLTypeOAuth, ""), ours)
		conf.ApiVersionsRequest = false
		conf.Net.SASL.Handshake = false
		ctx, cancel := context.WithCancelCause(t.Context())
		release := make(chan struct{})
		defer close(release)
		conf.Net.SASL.TokenProvider = tokenFunc(func() (*sarama.AccessToken, error) {
			cancel(cause)
			<-release
			return nil, errors.New("late")
		})
		_, err := NewDialer(conf, 5).Dial(ctx, 0, "fake:9092")
		mustError(t, err, cause)
	})
}

// TestSASLHandshakeV0: tokens are bare. There is no lifetime, and a broker refuses by closing the connection.
func TestSASLHandshakeV0(t *testing.T) {
	dial := func(t *testing.T, accept bool) (*Conn, error) {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		conf := through(saslConfig(sarama.SASLTypePlaintext, "secret"), ours)
		conf.ApiVersionsRequest = false
		conf.Net.SASL.Version = sarama.SASLHandshakeV0
		go func() {
			got := broker.next()
			resp := got.body.ResponseKind().(*kmsg.SASLHandshakeResponse)
			broker.reply(got.correlationID, resp)
			var size [4]byte
			if _, err := io.ReadFull(broker.r, size[:]); err != nil {
				t.Error(err)
			}
			token := make([]byte, binary.BigEndian.Uint32(size[:]))
			if _, err := io.ReadFull(broker.r, token); err != nil || string(token) != "\x00user\x00secret" {
				t.Errorf("token %q, %v", token, err)
			}
			if !accept {
				broker.nc.Close()
				return
			}
			broker.write(make([]byte, 4))
			got = broker.next()
			broker.reply(got.correlationID, accepted(got.body))
		}()
		return NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
	}
	c, err := dial(t, true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	outcomes := make(chan outcome, 1)
	mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
	if o := <-outcomes; o.err != nil || !c.session.renew.IsZero() {
		t.Errorf("%v, expires %v", o.err, c.session.renew)
	}
	if _, err = dial(t, false); !flow.LoginRefused(err) {
		t.Errorf("%v", err)
	}
}

// TestTapReadsInPieces: the lifetime is found however the answer is cut into pieces, and in no other answer.
func TestTapReadsInPieces(t *testing.T) {
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.Version, resp.SessionLifetimeMillis = 2, 60_000
	answer := appendAnswer(nil, 5, resp)
	resp.ErrorCode = 58
	failed := appendAnswer(nil, 5, resp)
	for _, test := range []struct {
		name        string
		key, corrID int
		answer      []byte
		want        time.Duration
	}{
		{"lifetime", 36, 5, answer, time.Minute},
		{"another request", 17, 5, answer, 0},
		{"another correlation id", 36, 6, answer, 0},
		{"refused", 36, 5, failed, 0},
		{"cut", 36, 5, answer[:len(answer)-1], 0},
		{"length", 36, 5, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5, 0}, 0},
		{"tags", 36, 5, []byte{0, 0, 0, 6, 0, 0, 0, 5, 9, 9}, 0},
	} {
		t.Run(fmt.Sprint(test.name), func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			tap := &saslTap{Conn: ours, metrics: newConnMetrics(nil, -1)}
			go io.Copy(io.Discard, theirs)
			request := []byte{0, 0, 0, 9, 0, byte(test.key), 0, 2, 0, 0, 0, byte(test.corrID), 0}
			if _, err := tap.Write(request); err != nil {
				t.Fatal(err)
			}
			go func() {
				for _, b := range test.answer {
					theirs.Write([]byte{b})
				}
				theirs.Close()
			}()
			if _, err := io.Copy(io.Discard, readerOf(tap)); (err != nil) != (test.name == "length") {
				t.Fatal(err)
			}
			if tap.lifetime != test.want {
				t.Errorf("lifetime %v, want %v", tap.lifetime, test.want)
			}
			tap.Close()
		})
	}
}

func readerOf(r io.Reader) io.Reader { return struct{ io.Reader }{r} }

// TestTokenProviderNeverReturns: the dial that waits for it fails after a while, so that the next one may ask for another
// token. The provider is left behind; when it returns, its goroutine ends.
func TestTokenProviderNeverReturns(t *testing.T) {
	ours, theirs := net.Pipe()
	newFakeBroker(t, theirs)
	conf := through(saslConfig(sarama.SASLTypeOAuth, ""), ours)
	conf.ApiVersionsRequest = false
	conf.Net.SASL.Handshake = false
	conf.Net.DialTimeout, conf.Net.ReadTimeout = 10*time.Millisecond, 10*time.Millisecond
	release := make(chan struct{})
	defer close(release)
	conf.Net.SASL.TokenProvider = tokenFunc(func() (*sarama.AccessToken, error) {
		<-release
		return &sarama.AccessToken{Token: "late"}, nil
	})
	_, err := NewDialer(conf, 5).Dial(t.Context(), 0, "fake:9092")
	mustError(t, err, os.ErrDeadlineExceeded)
	if !strings.Contains(err.Error(), "login at broker fake:9092 with OAUTHBEARER: Net.SASL.TokenProvider has not returned for 10ms") {
		t.Error(err)
	}
	var refused *AuthError
	if errors.As(err, &refused) {
		t.Errorf("told as refused credentials, which nothing retries: %v", err)
	}
}

// A login that is refused for its rate is no refusal of the credentials: KError 58 would have everything given up.
func TestRefusedForRate(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("[7a5ee7f1-27e1]: Too many connects")), true},
		{sarama.ErrThrottlingQuotaExceeded, true},
		{sarama.ErrSASLAuthenticationFailed, false},
		{sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("[7a5ee7f1-27e1]: Access denied")), false},
		{errors.New("too many connects"), false},
	} {
		err := authFailure("a:1", "PLAIN", test.err, false)
		_, refused := errors.AsType[*AuthError](err)
		if refused == test.want || errors.Is(err, sarama.ErrThrottlingQuotaExceeded) != test.want ||
			test.want && errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
			t.Errorf("%v: %v", test.err, err)
		}
	}
}
