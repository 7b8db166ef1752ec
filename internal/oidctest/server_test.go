package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	status int
	body   map[string]any
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return a
}

func get(t *testing.T, url string) answer {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func post(t *testing.T, s *Server, form url.Values, basic ...string) answer {
	req, err := http.NewRequest(http.MethodPost, s.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != nil {
		req.SetBasicAuth(basic[0], basic[1])
	}
	return do(t, req)
}

// The key in the key set verifies a token of each kind of request.
func TestTokenVerifiesWithPublishedKey(t *testing.T) {
	s := New(t)
	s.AddClient("me", "secret")
	s.SetLifetime(time.Minute)
	found := get(t, s.Issuer+"/.well-known/openid-configuration").body
	if found["issuer"] != s.Issuer || found["token_endpoint"] != s.TokenURL {
		t.Fatalf("discovery: %v", found)
	}
	key := get(t, found["jwks_uri"].(string)).body["keys"].([]any)[0].(map[string]any)
	number := func(name string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(key[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(raw)
	}
	public := &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}

	got := post(t, s, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"x"}}, "me", "secret")
	if got.status != http.StatusOK || got.body["expires_in"] != 60.0 {
		t.Fatalf("%v", got)
	}
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(got.body["access_token"].(string), claims, func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithIssuer(s.Issuer), jwt.WithAudience("x"), jwt.WithSubject("me"))
	if err != nil || token.Header["kid"] != key["kid"] || claims["scope"] != "a b" {
		t.Errorf("%v, claims %v", err, claims)
	}
	if s.DiscoveryRequests() != 1 || len(s.TokenRequests()) != 1 || s.TokenRequests()[0].User != "me" {
		t.Errorf("counted %d, %v", s.DiscoveryRequests(), s.TokenRequests())
	}
	if claims, err := s.Verify(s.Sign(map[string]any{"sub": "you", "aud": nil})); err != nil || claims["sub"] != "you" || claims["aud"] != nil {
		t.Errorf("%v, %v", claims, err)
	}
}

func TestTokenEndpointChecksClient(t *testing.T) {
	s := New(t)
	s.AddClient("me", "secret")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.AddKey("signer", &private.PublicKey)
	ids := 0
	// assert signs an assertion that is right but for these claims.
	assert := func(changes jwt.MapClaims) string {
		ids++
		now := time.Now().Unix()
		claims := jwt.MapClaims{"iss": "signer", "sub": "signer", "aud": s.TokenURL, "iat": now, "nbf": now, "exp": now + 60, "jti": strings.Repeat("i", ids)}
		maps.Copy(claims, changes)
		signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	bearer := func(assertion string) url.Values {
		return url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion}}
	}
	client := func(assertion string) url.Values {
		return url.Values{"grant_type": {grantClientCredentials}, "client_assertion": {assertion}, "client_assertion_type": {assertionJWTBearer}}
	}
	with := func(form url.Values, name, value string) url.Values {
		form.Set(name, value)
		return form
	}
	params := url.Values{"grant_type": {grantClientCredentials}, "client_id": {"me"}, "client_secret": {"secret"}}
	used := assert(nil)
	for _, test := range []struct {
		name  string
		form  url.Values
		basic []string
		want  string // The error code
	}{
		{"parameters", params, nil, ""},
		{"two ways", params, []string{"me", "secret"}, "invalid_client"},
		{"wrong secret", url.Values{"grant_type": {grantClientCredentials}}, []string{"me", "wrong"}, "invalid_client"},
		{"nobody", url.Values{"grant_type": {grantClientCredentials}}, nil, "invalid_client"},
		{"other grant", url.Values{"grant_type": {"password"}}, nil, "unsupported_grant_type"},
		{"bearer", bearer(used), nil, ""},
		{"used again", bearer(used), nil, "invalid_grant"},
		{"expired", bearer(assert(jwt.MapClaims{"exp": 1})), nil, "invalid_grant"},
		{"other audience", bearer(assert(jwt.MapClaims{"aud": "you"})), nil, "invalid_grant"},
		{"other issuer", bearer(assert(jwt.MapClaims{"iss": "me"})), nil, "invalid_grant"},
		{"no subject", bearer(assert(jwt.MapClaims{"sub": ""})), nil, "invalid_grant"},
		{"broken", bearer(assert(nil) + "A"), nil, "invalid_grant"},
		{"client assertion", with(client(assert(nil)), "client_id", "signer"), nil, ""},
		{"of another client", with(client(assert(nil)), "client_id", "me"), nil, "invalid_client"},
		{"type", with(client(assert(nil)), "client_assertion_type", "saml"), nil, "invalid_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := post(t, s, test.form, test.basic...)
			code, _ := got.body["error"].(string)
			if code != test.want || (got.status == http.StatusOK) != (test.want == "") {
				t.Errorf("%v", got)
			}
		})
	}
}
