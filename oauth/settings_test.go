package oauth

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBadSettings: each is refused, and the error begins with the field's name and has no secret.
func TestBadSettings(t *testing.T) {
	dir := t.TempDir()
	empty, long, garbage := filepath.Join(dir, "empty"), filepath.Join(dir, "long"), filepath.Join(dir, "garbage")
	write(t, empty, " \n")
	write(t, long, strings.Repeat("x", fileLimit+1))
	write(t, garbage, "hidden")
	r, p384 := keyFile(t, rsaKey()), keyFile(t, ecKey(t, elliptic.P384()))

	client := func(change func(*ClientCredentials)) interface {
		Provider() (*TokenProvider, error)
	} {
		c := ClientCredentials{TokenURL: "https://idp/token", ClientID: "id", ClientSecret: "hidden"}
		change(&c)
		return c
	}
	bearer := func(change func(*JWTBearer)) interface {
		Provider() (*TokenProvider, error)
	} {
		c := JWTBearer{TokenURL: "https://idp/token", Assertion: Assertion{KeyFile: r, Issuer: "me"}}
		change(&c)
		return c
	}
	fetch := func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil }
	for want, settings := range map[string]interface {
		Provider() (*TokenProvider, error)
	}{
		"TokenURL and Issuer are both empty":             client(func(c *ClientCredentials) { c.TokenURL = "" }),
		"TokenURL and Issuer are both set":               client(func(c *ClientCredentials) { c.Issuer = "https://idp" }),
		"TokenURL is not a URL":                          client(func(c *ClientCredentials) { c.TokenURL = "https://a:hidden@[" }),
		"TokenURL must begin with":                       client(func(c *ClientCredentials) { c.TokenURL = "file:///token" }),
		"TokenURL must not have a user":                  client(func(c *ClientCredentials) { c.TokenURL = "https://a:hidden@b" }),
		"TokenURL must not have a fragment":              client(func(c *ClientCredentials) { c.TokenURL = "https://b#hidden" }),
		"Issuer must begin with":                         client(func(c *ClientCredentials) { c.TokenURL, c.Issuer = "", "idp" }),
		"Issuer must not have a query":                   client(func(c *ClientCredentials) { c.TokenURL, c.Issuer = "", "https://idp?hidden" }),
		"ClientID is empty":                              client(func(c *ClientCredentials) { c.ClientID = "" }),
		"one of ClientSecret, ClientSecretFile":          client(func(c *ClientCredentials) { c.ClientSecret = "" }),
		"one of ClientSecret, ClientSecretFile and A":    client(func(c *ClientCredentials) { c.Assertion = &Assertion{} }),
		"ClientSecretFile: ":                             client(func(c *ClientCredentials) { c.ClientSecret, c.ClientSecretFile = "", empty }),
		"SecretInBody":                                   client(func(c *ClientCredentials) { c.ClientSecret, c.Assertion, c.SecretInBody = "", &Assertion{}, true }),
		"Assertion.File and Assertion.KeyFile":           client(func(c *ClientCredentials) { c.ClientSecret, c.Assertion = "", &Assertion{} }),
		"Scopes":                                         client(func(c *ClientCredentials) { c.Scopes = []string{"a", ""} }),
		`Params: "client_secret"`:                        client(func(c *ClientCredentials) { c.Params = url.Values{"client_secret": {"hidden"}} }),
		`Extensions: the name "auth"`:                    client(func(c *ClientCredentials) { c.Extensions = map[string]string{"auth": "hidden"} }),
		`Extensions: the name "a-b"`:                     client(func(c *ClientCredentials) { c.Extensions = map[string]string{"a-b": "hidden"} }),
		`Extensions: the value of "a"`:                   client(func(c *ClientCredentials) { c.Extensions = map[string]string{"a": "hidden\x01"} }),
		"Timeout is negative":                            client(func(c *ClientCredentials) { c.Timeout = -1 }),
		"TokenURL and Issuer are both":                   bearer(func(c *JWTBearer) { c.TokenURL = "" }),
		"Assertion.File is set, and":                     bearer(func(c *JWTBearer) { c.Assertion.File = garbage }),
		"Assertion.File: ":                               bearer(func(c *JWTBearer) { c.Assertion = Assertion{File: filepath.Join(dir, "none")} }),
		"Assertion.KeyFile: open":                        bearer(func(c *JWTBearer) { c.Assertion.KeyFile = filepath.Join(dir, "none") }),
		"Assertion.KeyFile: " + long:                     bearer(func(c *JWTBearer) { c.Assertion.KeyFile = long }),
		"Assertion.KeyFile: " + garbage + ": not an RSA": bearer(func(c *JWTBearer) { c.Assertion.KeyFile = garbage }),
		"Assertion.KeyFile: " + p384 + ": not an RSA":    bearer(func(c *JWTBearer) { c.Assertion.KeyFile = p384 }),
		"Assertion.KeyFile: " + p384 + ": the key for":   bearer(func(c *JWTBearer) { c.Assertion.KeyFile, c.Assertion.Algorithm = p384, "ES256" }),
		"Assertion.KeyFile: " + r + ": not an EC":        bearer(func(c *JWTBearer) { c.Assertion.Algorithm = "ES256" }),
		"Assertion.Algorithm":                            bearer(func(c *JWTBearer) { c.Assertion.Algorithm = "none" }),
		"Assertion.Issuer":                               bearer(func(c *JWTBearer) { c.Assertion.Issuer = "" }),
		"Assertion.Lifetime":                             bearer(func(c *JWTBearer) { c.Assertion.Lifetime = -1 }),
		"Assertion.NotBefore":                            bearer(func(c *JWTBearer) { c.Assertion.NotBefore = -1 }),
		"signing the assertion":                          bearer(func(c *JWTBearer) { c.Assertion.Claims = map[string]any{"f": func() {}} }),
		`Params: "assertion"`:                            bearer(func(c *JWTBearer) { c.Params = url.Values{"assertion": {"hidden"}} }),
		"Timeout":                                        bearer(func(c *JWTBearer) { c.Timeout = -1 }),
		"Path is empty":                                  TokenFile{},
		"Path: open":                                     TokenFile{Path: filepath.Join(dir, "none")},
		"Path: " + empty + " is empty":                   TokenFile{Path: empty},
		"Timeout is":                                     TokenFile{Path: garbage, Timeout: -1},
		"Extensions: the name \"\"":                      TokenFile{Path: garbage, Extensions: map[string]string{"": ""}},
		"Name":                                           Func{Fetch: fetch},
		"Fetch":                                          Func{Name: "f"},
		"Timeout is n":                                   Func{Name: "f", Fetch: fetch, Timeout: -1},
		"Extensions: the value":                          Func{Name: "f", Fetch: fetch, Extensions: map[string]string{"a": ""}},
	} {
		p, err := settings.Provider()
		if p != nil || err == nil || !strings.HasPrefix(err.Error(), "oauth: "+want) {
			t.Errorf("want %q, got %v", want, err)
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("a secret is in %q", err)
		}
	}
}

// TestTokenFile: each call has what is in the file now; while that is no valid token, the one from before as long as it lasts.
func TestTokenFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		exp := func(seconds int64) string { return jwtOf(fmt.Sprintf(`{"exp":%d}`, time.Now().Unix()+seconds)) }
		first := exp(3600)
		write(t, path, first+"\n")
		p := mustProvide(t, TokenFile{Path: path, Extensions: map[string]string{"a": "b"}})
		if got := mustToken(t, p); got != first {
			t.Error(got)
		}
		second := exp(600)
		write(t, path, second)
		if got := mustToken(t, p); got != second {
			t.Errorf("got %s after the file had changed", got)
		}
		for _, bad := range []string{"", "half a tok", exp(-1)} {
			time.Sleep(refreshPause)
			write(t, path, bad)
			if got := mustToken(t, p); got != second {
				t.Errorf("%q: got %s", bad, got)
			}
			if text := logged.take(); !strings.Contains(text, path) || strings.Contains(text, second) || bad != "" && strings.Contains(text, bad) {
				t.Errorf("logged %q", text)
			}
		}
		time.Sleep(10 * time.Minute)
		mustFail(t, p, "token file", path, "expired")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := mustFail(t, p, "Path", path); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		write(t, path, "opaque")
		if got := mustToken(t, p); got != "opaque" || time.Until(p.current.expires) != unknownLifetime {
			t.Errorf("%s, expires %v", got, p.current.expires)
		}
		// Refused: there is no other, so it is the same one again.
		p.Refused("opaque")
		if got := mustToken(t, p); got != "opaque" {
			t.Error(got)
		}
	})
}
