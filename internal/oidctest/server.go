// Package oidctest is an identity provider for tests: OpenID Connect discovery, a key set, and a token endpoint that
// checks what it is sent. It listens on 127.0.0.1. A Kafka broker that runs on the same machine can take its keys from it:
//
//	sasl.oauthbearer.jwks.endpoint.url=<JWKSURL>
//	sasl.oauthbearer.expected.issuer=<Issuer>
//	sasl.oauthbearer.expected.audience=kafka
package oidctest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultAudience is the audience of access tokens, if the request has no parameter audience.
const DefaultAudience = "kafka"

const keyID = "test-key"

// serverKey signs access tokens: one key for all servers of a test binary, since it takes a while to make.
var serverKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// Server is an identity provider. Its methods may be called concurrently.
type Server struct {
	Issuer   string
	TokenURL string
	JWKSURL  string

	http *httptest.Server

	mu         sync.Mutex
	secrets    map[string]string           // By client id
	keys       map[string]crypto.PublicKey // By client id
	seen       map[string]bool             // The jti of each assertion that was accepted
	lifetime   time.Duration
	overrides  map[string]http.Handler // By path
	discovered int
	tokens     []TokenRequest
}

// TokenRequest is what came to the token endpoint.
type TokenRequest struct {
	Form         url.Values
	User, Secret string // Of Basic authentication, decoded
	Basic        bool   // There was Basic authentication
}

// New starts a server without TLS. It ends with the test.
func New(tb testing.TB) *Server { return start(tb, false) }

// NewTLS starts a server with a certificate that only the client of [Server.Client] trusts. It ends with the test.
func NewTLS(tb testing.TB) *Server { return start(tb, true) }

func start(tb testing.TB, tls bool) *Server {
	s := &Server{
		secrets: make(map[string]string), keys: make(map[string]crypto.PublicKey), seen: make(map[string]bool),
		lifetime: time.Hour, overrides: make(map[string]http.Handler),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+discoveryPath, s.discovery)
	mux.HandleFunc("GET "+jwksPath, s.jwks)
	mux.HandleFunc("POST "+tokenPath, s.token)
	s.http = httptest.NewUnstartedServer(s.overridden(mux))
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // Clients that refuse the certificate
	if tls {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	tb.Cleanup(s.http.Close)
	s.Issuer, s.TokenURL, s.JWKSURL = s.http.URL, s.http.URL+tokenPath, s.http.URL+jwksPath
	return s
}

const (
	discoveryPath = "/.well-known/openid-configuration"
	jwksPath      = "/jwks"
	tokenPath     = "/token"
)

// Client trusts the server's certificate.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Close ends the server before the test does.
func (s *Server) Close() { s.http.Close() }

// AddClient makes a client with a secret known.
func (s *Server) AddClient(id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id] = secret
}

// AddKey makes a client known that signs its assertions: key is the public half.
func (s *Server) AddKey(id string, key crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = key
}

// SetLifetime sets how long access tokens live from now on. The default is an hour.
func (s *Server) SetLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifetime = d
}

// OverrideToken has h answer at the token endpoint, nil for the server itself. The requests are counted.
func (s *Server) OverrideToken(h http.Handler) { s.override(tokenPath, h) }

// OverrideDiscovery has h answer for the discovery document, nil for the server itself. The requests are counted.
func (s *Server) OverrideDiscovery(h http.Handler) { s.override(discoveryPath, h) }

func (s *Server) override(path string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overrides[path] = h
}

// TokenRequests are the requests to the token endpoint so far.
func (s *Server) TokenRequests() []TokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]TokenRequest(nil), s.tokens...)
}

// DiscoveryRequests counts the requests for the discovery document.
func (s *Server) DiscoveryRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discovered
}

// Sign makes an access token with these claims. iss, aud, sub, iat and exp have defaults; a nil value leaves a claim out.
func (s *Server) Sign(claims map[string]any) string {
	s.mu.Lock()
	lifetime := s.lifetime
	s.mu.Unlock()
	now := time.Now()
	all := jwt.MapClaims{"iss": s.Issuer, "aud": DefaultAudience, "sub": "test", "iat": now.Unix(), "exp": now.Add(lifetime).Unix()}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = keyID
	signed, err := token.SignedString(serverKey())
	if err != nil {
		panic(err) // Claims that are not JSON: the test's fault
	}
	return signed
}

// Verify checks an access token as a broker does, and returns its claims.
func (s *Server) Verify(token string) (map[string]any, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return &serverKey().PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(s.Issuer), jwt.WithExpirationRequired())
	return claims, err
}

// overridden counts each request, and lets the override of its path answer, or next.
func (s *Server) overridden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // What is wrong with it, the token endpoint finds missing
		s.mu.Lock()
		switch r.URL.Path {
		case discoveryPath:
			s.discovered++
		case tokenPath:
			s.tokens = append(s.tokens, tokenRequest(r))
		}
		h := s.overrides[r.URL.Path]
		s.mu.Unlock()
		if h == nil {
			h = next
		}
		h.ServeHTTP(w, r)
	})
}

func tokenRequest(r *http.Request) TokenRequest {
	got := TokenRequest{Form: r.PostForm}
	user, secret, ok := r.BasicAuth()
	if !ok {
		return got
	}
	// RFC 6749 section 2.3.1: both are form-encoded first.
	got.Basic = true
	got.User, _ = url.QueryUnescape(user)
	got.Secret, _ = url.QueryUnescape(secret)
	return got
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{"issuer": s.Issuer, "token_endpoint": s.TokenURL, "jwks_uri": s.JWKSURL})
}

// jwks is the key set as in RFC 7517.
func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	public := serverKey().PublicKey
	encode := base64.RawURLEncoding.EncodeToString
	reply(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
	}}})
}

func reply(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // The client has left
}
