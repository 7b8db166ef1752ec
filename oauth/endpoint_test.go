package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-kafka/sluice/internal/oidctest"
)

// An id and a secret that must be form-encoded to survive.
const (
	id     = "app:1 +é"
	secret = "s3cret:&=%+ ü"
)

func newServer(t *testing.T) (*oidctest.Server, ClientCredentials) {
	s := oidctest.New(t)
	s.AddClient(id, secret)
	return s, ClientCredentials{TokenURL: s.TokenURL, ClientID: id, ClientSecret: secret}
}

func mustVerify(t *testing.T, s *oidctest.Server, token string) map[string]any {
	t.Helper()
	claims, err := s.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestClientCredentials(t *testing.T) {
	s, conf := newServer(t)
	conf.Scopes = []string{"produce", "consume"}
	conf.Params = url.Values{"audience": {"cluster-1"}}
	for name, change := range map[string]func(*ClientCredentials){
		"header": func(*ClientCredentials) {},
		"body":   func(c *ClientCredentials) { c.SecretInBody = true },
		"discovery": func(c *ClientCredentials) {
			c.TokenURL, c.Issuer = "", s.Issuer
		},
		"secret file": func(c *ClientCredentials) {
			c.ClientSecret, c.ClientSecretFile = "", filepath.Join(t.TempDir(), "secret")
			write(t, c.ClientSecretFile, secret+"\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf, before := conf, s.DiscoveryRequests()
			change(&conf)
			p := mustProvide(t, conf)
			conf.Params.Set("audience", "cluster-1") // Changes nothing
			claims := mustVerify(t, s, mustToken(t, p))
			if claims["sub"] != id || claims["scope"] != "produce consume" || claims["aud"] != "cluster-1" {
				t.Errorf("claims %v", claims)
			}
			requests := s.TokenRequests()
			last := requests[len(requests)-1]
			if last.Basic == conf.SecretInBody || last.Form.Has("client_secret") != conf.SecretInBody || last.Form.Has("client_id") != conf.SecretInBody {
				t.Errorf("sent %v", last)
			}
			if got := s.DiscoveryRequests() - before; (got == 1) != (conf.Issuer != "") {
				t.Errorf("%d requests for discovery", got)
			}
			// The token is kept.
			mustToken(t, p)
			if got := len(s.TokenRequests()); got != len(requests) {
				t.Errorf("%d more requests", got-len(requests))
			}
		})
	}
}

// TestSecretFileIsReadAgain: a secret that is rotated counts for the next token.
func TestSecretFileIsReadAgain(t *testing.T) {
	s, conf := newServer(t)
	conf.ClientSecret, conf.ClientSecretFile = "", filepath.Join(t.TempDir(), "secret")
	write(t, conf.ClientSecretFile, "old")
	p := mustProvide(t, conf)
	mustFail(t, p, "HTTP 401 Unauthorized", "invalid_client")
	write(t, conf.ClientSecretFile, secret)
	mustVerify(t, s, mustToken(t, p))
}

func TestHTTPClientIsUsed(t *testing.T) {
	s := oidctest.NewTLS(t)
	s.AddClient(id, secret)
	conf := ClientCredentials{Issuer: s.Issuer, ClientID: id, ClientSecret: secret, HTTPClient: s.Client()}
	mustVerify(t, s, mustToken(t, mustProvide(t, conf)))
	if s.Client().CheckRedirect != nil {
		t.Error("the user's client was changed")
	}
	conf.HTTPClient = nil
	mustFail(t, mustProvide(t, conf), s.Issuer, "certificate")
}

// TestAnswersThatAreNoToken: each is told with its cause, and without secrets. 5xx and what the network does are tried three
// times.
func TestAnswersThatAreNoToken(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
	echo := fmt.Sprintf(`{"error":"invalid_client","error_description":"%s %s %s %s\u0007\u202e%s"}`,
		secret, url.QueryEscape(secret), basic, jwtOf("{}"), strings.Repeat("x", 1000))
	const json, html = "application/json", "text/html; charset=utf-8"
	for name, test := range map[string]struct {
		answer http.Handler
		tries  int
		status int // Of the EndpointError; 0 for none
		want   []string
	}{
		"500":              {oidctest.Answer(500, html, "<h1>oops"), 3, 500, []string{"HTTP 500 Internal Server Error", "text/html"}},
		"503 with code":    {oidctest.Answer(503, json, `{"error":"temporarily_unavailable"}`), 3, 503, []string{"temporarily_unavailable"}},
		"400":              {oidctest.Answer(400, json, `{"error":"invalid_scope","error_description":"no\nsuch"}`), 1, 400, []string{`invalid_scope: no\nsuch`}},
		"401 without body": {oidctest.Answer(401, "", ""), 1, 401, []string{"HTTP 401 Unauthorized"}},
		"429":              {oidctest.Answer(429, html, "slow down"), 1, 429, []string{"HTTP 429"}},
		"error with 200":   {oidctest.Answer(200, json, `{"error":"bad"}`), 1, 200, []string{"HTTP 200 OK: bad"}},
		"HTML":             {oidctest.Answer(200, html, "<h1>log in"), 1, 200, []string{"HTTP 200 OK", "text/html", "json"}},
		"no token":         {oidctest.Answer(200, json, `{"token_type":"Bearer"}`), 1, 200, []string{"access_token"}},
		"empty token":      {oidctest.Answer(200, json, `{"access_token":""}`), 1, 200, []string{"access_token"}},
		"token that is no text": {oidctest.Answer(200, json, `{"access_token":{"secret":"hidden"}}`), 1, 200,
			[]string{"cannot parse json"}},
		"two tokens":      {oidctest.Answer(200, json, `{"access_token":"hidden hidden"}`), 1, 0, []string{"the token has"}},
		"expired":         {oidctest.Answer(200, json, `{"access_token":"hidden","expires_in":-1}`), 1, 0, []string{"expired"}},
		"expires in what": {oidctest.Answer(200, json, `{"access_token":"hidden","expires_in":1e40}`), 1, 200, []string{"1e40"}},
		"too long":        {oidctest.Answer(200, json, `{"access_token":"`+strings.Repeat("x", answerLimit)), 1, 200, []string{"1 MiB"}},
		"too long a 500":  {oidctest.Answer(500, html, strings.Repeat("x", answerLimit+1)), 1, 500, []string{"1 MiB"}},
		"redirect": {redirect("https://evil.example/token?hidden#hidden"), 1, 307,
			[]string{"HTTP 307", "a redirect to https://evil.example/token, which is not followed"}},
		"cut off": {oidctest.Cut(), 3, 0, []string{"EOF"}},
		"cut off in the middle": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"access_token":"hidden`)
		}), 3, 0, []string{"EOF"}},
		"echo": {oidctest.Answer(400, json, echo), 1, 400, []string{"invalid_client: [secret] [secret] [secret] [token]\\a\\u202exxx", "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // The pauses between tries take their time
			s, conf := newServer(t)
			s.OverrideToken(test.answer)
			conf.TokenURL += "?hidden=1"
			for _, discovered := range []bool{false, true} {
				if discovered {
					conf.TokenURL, conf.Issuer = "", s.Issuer
				}
				before := len(s.TokenRequests())
				err := mustFail(t, mustProvide(t, conf), append(test.want, s.TokenURL, `client "app:1 +é"`)...)
				if discovered {
					mustContain(t, err, s.Issuer)
				}
				if got := len(s.TokenRequests()) - before; got != test.tries {
					t.Errorf("tried %d times, want %d", got, test.tries)
				}
				refused, ok := errors.AsType[*EndpointError](err)
				if ok != (test.status != 0) || ok && (refused.StatusCode != test.status || refused.URL != s.TokenURL) {
					t.Errorf("%#v", refused)
				}
				for _, leak := range []string{secret, url.QueryEscape(secret), basic, jwtOf("{}"), "hidden"} {
					if strings.Contains(fmt.Sprintf("%v %#v", err, refused), leak) {
						t.Errorf("%q is in %q", leak, err)
					}
				}
				if len(err.Error()) > 800 {
					t.Errorf("%d bytes: %v", len(err.Error()), err)
				}
			}
		})
	}
}

func mustContain(t *testing.T, err error, part string) {
	t.Helper()
	if !strings.Contains(err.Error(), part) {
		t.Errorf("%q does not have %q", err, part)
	}
}

func redirect(to string) http.Handler { return http.RedirectHandler(to, http.StatusTemporaryRedirect) }

// TestRedirectIsNotFollowed, not even to a host that would take the secret.
func TestRedirectIsNotFollowed(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(other.Close)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s, conf := newServer(t)
		s.OverrideToken(http.RedirectHandler(other.URL, code))
		conf.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		mustFail(t, mustProvide(t, conf), "redirect to "+other.URL)
		s.OverrideDiscovery(http.RedirectHandler(other.URL, code))
		conf.TokenURL, conf.Issuer = "", s.Issuer
		mustFail(t, mustProvide(t, conf), "discovery", "redirect to "+other.URL)
	}
	if asked.Load() != 0 {
		t.Errorf("asked the other host %d times", asked.Load())
	}
}

func TestRetryEndsWell(t *testing.T) {
	for name, fault := range map[string]http.Handler{"502": oidctest.Answer(502, "text/html", "<h1>"), "cut off": oidctest.Cut()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, conf := newServer(t)
			s.OverrideToken(s.Sequence(fault, fault, nil))
			mustVerify(t, s, mustToken(t, mustProvide(t, conf)))
			s.OverrideToken(nil)
			s.OverrideDiscovery(s.Sequence(fault, nil))
			conf.TokenURL, conf.Issuer = "", s.Issuer
			mustVerify(t, s, mustToken(t, mustProvide(t, conf)))
		})
	}
}

func TestTextPlain(t *testing.T) {
	for _, answer := range []string{` {"access_token":"abc","expires_in":"60"}`, `access_token=abc&expires_in=60`} {
		s, conf := newServer(t)
		s.OverrideToken(oidctest.Answer(200, "text/plain", answer))
		p := mustProvide(t, conf)
		if got := mustToken(t, p); got != "abc" || time.Until(p.current.expires) > time.Minute {
			t.Errorf("%s, expires %v", got, p.current.expires)
		}
	}
}

// TestLifetimeOfZero, which some providers send for none: the token's own exp counts, and 5 minutes if it has none.
func TestLifetimeOfZero(t *testing.T) {
	for _, field := range []string{`,"expires_in":0`, `,"expires_in":null`, ``} {
		s, conf := newServer(t)
		for token, longest := range map[string]time.Duration{"opaque": 5 * time.Minute, s.Sign(nil): time.Hour} {
			s.OverrideToken(oidctest.Answer(200, "application/json", `{"access_token":"`+token+`"`+field+`}`))
			p := mustProvide(t, conf)
			mustToken(t, p)
			if got := time.Until(p.current.expires); got > longest || got < longest-time.Minute {
				t.Errorf("%q: expires after %v", field, got)
			}
		}
	}
}

func TestDiscoveryFails(t *testing.T) {
	const json = "application/json"
	document := func(issuer, endpoint string) http.Handler {
		return oidctest.Answer(200, json, fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, issuer, endpoint))
	}
	for name, test := range map[string]struct {
		answer func(issuer string) http.Handler
		tries  int
		want   string
	}{
		"another issuer": {func(string) http.Handler { return document("https://evil.example\n", "https://evil.example") }, 1,
			`the document is of issuer "https://evil.example\\n", not of`},
		"slash":       {func(issuer string) http.Handler { return document(issuer+"/", issuer) }, 1, "not of"},
		"no endpoint": {func(issuer string) http.Handler { return document(issuer, "") }, 1, "token_endpoint must begin with"},
		"user":        {func(issuer string) http.Handler { return document(issuer, "https://a:hidden@b") }, 1, "token_endpoint must not have a user"},
		"no https":    {func(issuer string) http.Handler { return document(issuer, "http://b") }, 1, "no https"},
		"404":         {func(string) http.Handler { return http.NotFoundHandler() }, 1, "HTTP 404 Not Found: text/plain"},
		"500":         {func(string) http.Handler { return oidctest.Answer(500, json, "{}") }, 3, "HTTP 500"},
		"HTML":        {func(string) http.Handler { return oidctest.Answer(200, "text/html", "<h1>") }, 1, "not a discovery document (text/html)"},
		"too long":    {func(string) http.Handler { return oidctest.Answer(200, json, strings.Repeat(" ", answerLimit+1)) }, 1, "1 MiB"},
		"cut off":     {func(string) http.Handler { return oidctest.Cut() }, 3, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := oidctest.NewTLS(t)
			s.OverrideDiscovery(test.answer(s.Issuer))
			p := mustProvide(t, ClientCredentials{Issuer: s.Issuer, ClientID: id, ClientSecret: secret, HTTPClient: s.Client()})
			err := mustFail(t, p, s.Issuer, "discovery", test.want)
			if strings.Contains(err.Error(), "hidden") || len(s.TokenRequests()) != 0 {
				t.Errorf("%v; %v", err, s.TokenRequests())
			}
			if got := s.DiscoveryRequests(); got != test.tries {
				t.Errorf("tried %d times", got)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := mustProvide(t, ClientCredentials{TokenURL: "http://" + l.Addr().String() + "/token?hidden", ClientID: id, ClientSecret: secret})
	err = mustFail(t, p, "http://"+l.Addr().String()+"/token: ", "connection refused")
	if !errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
}

// TestServerHangs: a real connection, which the time limit cuts off.
func TestServerHangs(t *testing.T) {
	s, conf := newServer(t)
	conf.Timeout = 50 * time.Millisecond
	s.OverrideToken(oidctest.Hang())
	if err := mustFail(t, mustProvide(t, conf), s.TokenURL, "Timeout"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestTimeOfTries: pauses of 100 and 200 ms, and the time limit is for all tries together.
func TestTimeOfTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken\x1b")
		var calls int
		var hang bool
		client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			calls++
			if hang && calls == 2 {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return nil, broken
		})}
		p := mustProvide(t, ClientCredentials{TokenURL: "https://idp.example/token", ClientID: id, ClientSecret: secret, HTTPClient: client})
		start := time.Now()
		if err := mustFail(t, p, `broken\x1b`); !errors.Is(err, broken) || calls != 3 || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%v; %d tries in %v", err, calls, time.Since(start))
		}
		calls, hang = 0, true
		start = time.Now()
		if err := mustFail(t, p, "Timeout"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != defaultTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// The time is over in the second pause: the error is that of the try before it.
		calls, hang, p.timeout = 0, false, 250*time.Millisecond
		start = time.Now()
		if err := mustFail(t, p); !errors.Is(err, broken) || calls != 2 || time.Since(start) != p.timeout {
			t.Errorf("%v; %d tries in %v", err, calls, time.Since(start))
		}
	})
}

// TestTransportPanics: it is the user's code.
func TestTransportPanics(t *testing.T) {
	p := mustProvide(t, ClientCredentials{TokenURL: "https://idp.example/token", ClientID: id, ClientSecret: secret,
		HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { panic("at the disco") })}})
	mustFail(t, p, "https://idp.example/token", "panic: at the disco")
}

// TestAnswerWithoutEnd is given up when it is too long, not when the time is over.
func TestAnswerWithoutEnd(t *testing.T) {
	s, conf := newServer(t)
	s.OverrideToken(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for part := []byte(strings.Repeat(" ", 1<<16)); ; {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}))
	mustFail(t, mustProvide(t, conf), "HTTP 200 OK: the answer has more than 1 MiB")
}

// TestConnectionIsNotKept: the next request is hours away, and nothing closes a provider.
func TestConnectionIsNotKept(t *testing.T) {
	s, conf := newServer(t)
	s.OverrideToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close || r.Header.Get("Accept") != "application/json" {
			t.Errorf("close %v, headers %v", r.Close, r.Header)
		}
		oidctest.Answer(200, "application/json", `{"access_token":"abc"}`).ServeHTTP(w, r)
	}))
	mustToken(t, mustProvide(t, conf))
}
