package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-kafka/sluice/internal/oidctest"
)

// rsaKey takes a while to make: all tests share one.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyFile writes a private key as PKCS#8 and returns its path.
func keyFile(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "PRIVATE KEY", der)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	return path
}

// TestAssertion: both grants, with both algorithms, each in the forms of PEM that there are. The server checks the assertions.
func TestAssertion(t *testing.T) {
	r, e := rsaKey(), ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(e)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		algorithm string
		path      string
		public    crypto.PublicKey
	}{
		"RS256":        {"", keyFile(t, r), &r.PublicKey},
		"RS256, PKCS1": {"RS256", pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), &r.PublicKey},
		"ES256":        {"ES256", keyFile(t, e), &e.PublicKey},
		"ES256, SEC1":  {"ES256", pemFile(t, "EC PRIVATE KEY", sec1), &e.PublicKey},
	} {
		t.Run(name, func(t *testing.T) {
			s := oidctest.New(t)
			s.AddKey("signer", test.public)
			assertion := Assertion{KeyFile: test.path, Algorithm: test.algorithm, KeyID: "key-7"}
			client := mustProvide(t, ClientCredentials{Issuer: s.Issuer, ClientID: "signer", Assertion: &assertion, Scopes: []string{"a"}})
			assertion.Issuer = "signer"
			bearer := mustProvide(t, JWTBearer{TokenURL: s.TokenURL, Assertion: assertion, Scopes: []string{"a"}, Params: url.Values{"client_id": {"x"}}})
			for _, p := range []*TokenProvider{client, bearer} {
				for range 2 { // Each assertion is another, or the server would refuse it.
					token := mustToken(t, p)
					if claims := mustVerify(t, s, token); claims["sub"] != "signer" || claims["scope"] != "a" {
						t.Errorf("claims %v", claims)
					}
					p.Refused(token)
				}
			}
			sent := s.TokenRequests()
			if f := sent[0].Form; sent[0].Basic || f.Has("client_secret") || f.Get("client_id") != "signer" || f.Has("assertion") {
				t.Errorf("client credentials: %v", sent[0])
			}
			if f := sent[2].Form; sent[2].Basic || f.Has("client_assertion") || f.Get("client_id") != "x" || len(f) != 4 {
				t.Errorf("JWT bearer: %v", sent[2])
			}
		})
	}
}

// TestAssertionClaims: those of the settings, and each has a default.
func TestAssertionClaims(t *testing.T) {
	key := rsaKey()
	path := keyFile(t, key)
	for name, test := range map[string]struct {
		settings Assertion
		want     string
	}{
		"defaults": {Assertion{KeyFile: path}, `{"aud":"https://idp/token","exp":300,"iat":0,"iss":"id","nbf":-60,"sub":"id"}`},
		"all": {Assertion{KeyFile: path, Issuer: "i", Subject: "s", Audience: "a", Lifetime: time.Hour, NotBefore: time.Second,
			Claims: map[string]any{"tenant": "t", "iss": "no", "jti": "no"}}, `{"aud":"a","exp":3600,"iat":0,"iss":"i","nbf":-1,"sub":"s","tenant":"t"}`},
	} {
		a, err := test.settings.checked("id")
		if err != nil {
			t.Fatal(err)
		}
		claims := a.claims("https://idp/token", time.Unix(0, 0))
		if id, _ := claims["jti"].(string); len(id) < 20 {
			t.Errorf("%s: jti %v", name, claims["jti"])
		}
		delete(claims, "jti")
		if got, _ := json.Marshal(claims); string(got) != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	a, err := Assertion{KeyFile: path, KeyID: "key-7"}.checked("id")
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.make("https://idp/token")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"}))
	if err != nil || token.Header["kid"] != "key-7" || token.Header["typ"] != "JWT" {
		t.Errorf("%v, header %v", err, token.Header)
	}
}

// TestAssertionFilesAreReadAgain: a new key, or a new assertion, counts for the next token.
func TestAssertionFilesAreReadAgain(t *testing.T) {
	s := oidctest.New(t)
	old, now := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	s.AddKey("signer", &now.PublicKey)
	path := keyFile(t, old)
	signed := Assertion{KeyFile: path, Algorithm: "ES256", Issuer: "signer"}
	key := mustProvide(t, JWTBearer{TokenURL: s.TokenURL, Assertion: signed})
	mustFail(t, key, "JWT bearer", s.TokenURL, "HTTP 400 Bad Request", "invalid_grant", "signature")
	content, err := os.ReadFile(keyFile(t, now))
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(content))
	mustVerify(t, s, mustToken(t, key))

	file := filepath.Join(t.TempDir(), "assertion.jwt")
	write(t, file, "not yet\n")
	p := mustProvide(t, ClientCredentials{TokenURL: s.TokenURL, ClientID: "signer", Assertion: &Assertion{File: file}})
	if err := mustFail(t, p, "Assertion.File", file); strings.Contains(err.Error(), "not yet") {
		t.Error(err)
	}
	a, err := signed.checked("")
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.make(s.TokenURL)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, text+"\n")
	mustVerify(t, s, mustToken(t, p))

	// What happened to a file is told with its cause.
	for _, path := range []string{path, file} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*TokenProvider{key, p} {
		p.Refused(p.current.text)
		if err := mustFail(t, p, "Assertion.", "no such file"); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// TestAssertionIsNotTold, neither whole nor in part, when the server sends it back.
func TestAssertionIsNotTold(t *testing.T) {
	s := oidctest.New(t)
	var sent string
	s.OverrideToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.PostForm.Get("assertion")
		oidctest.Answer(400, "application/x-www-form-urlencoded", url.Values{
			"error": {"invalid_grant"}, "error_description": {"can't take " + sent + ", that is " + sent[:40]},
		}.Encode()).ServeHTTP(w, r)
	}))
	p := mustProvide(t, JWTBearer{TokenURL: s.TokenURL, Assertion: Assertion{KeyFile: keyFile(t, rsaKey()), Issuer: "me"}})
	if err := mustFail(t, p, "can't take [secret], that is [token]"); strings.Contains(err.Error(), sent[:20]) {
		t.Error(err)
	}
}

// TestEachTryHasItsOwnAssertion: a server may have taken the first one before it failed.
func TestEachTryHasItsOwnAssertion(t *testing.T) {
	s := oidctest.New(t)
	s.AddKey("me", &rsaKey().PublicKey)
	s.OverrideToken(s.Sequence(oidctest.Answer(503, "", ""), oidctest.Cut(), nil))
	p := mustProvide(t, JWTBearer{TokenURL: s.TokenURL, Assertion: Assertion{KeyFile: keyFile(t, rsaKey()), Issuer: "me"}})
	mustVerify(t, s, mustToken(t, p))
	seen := make(map[string]bool)
	for _, req := range s.TokenRequests() {
		seen[req.Form.Get("assertion")] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d assertions in three tries", len(seen))
	}
}
