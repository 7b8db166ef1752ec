package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"
)

// asked counts requests over the network: all would go through a proxy that refuses them.
var asked atomic.Int32

func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	os.Setenv("HTTP_PROXY", proxy.URL) // It is read once a process.
	os.Setenv("HTTPS_PROXY", proxy.URL)
	code := m.Run()
	proxy.Close()
	if err := goleak.Find(goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const (
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region = "eu-central-1"
)

// isolate has AWS's libraries find nothing of this machine's, and no network.
func isolate(t *testing.T) {
	t.Helper()
	for _, set := range os.Environ() {
		if name, _, _ := strings.Cut(set, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	before := asked.Load()
	t.Cleanup(func() {
		if n := asked.Load() - before; n != 0 {
			t.Errorf("%d requests over the network", n)
		}
	})
}

func static(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_ACCESS_KEY_ID", keyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
}

// mustParse decodes a token: it is the URL of a signed request.
func mustParse(t *testing.T, token string) *url.URL {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestToken(t *testing.T) {
	static(t)
	tokens, err := newTokens(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Truncate(time.Second)
	token, err := tokens.Token()
	if err != nil {
		t.Fatal(err)
	}
	u, after := mustParse(t, token.Token), time.Now()
	query := u.Query()
	if u.Scheme != "https" || u.Host != "kafka."+region+".amazonaws.com" {
		t.Errorf("the token is for %s://%s", u.Scheme, u.Host)
	}
	signed, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil || signed.Before(before) || signed.After(after) {
		t.Errorf("signed at %v, %v", signed, err)
	}
	scope := strings.Join([]string{keyID, signed.Format("20060102"), region, "kafka-cluster", "aws4_request"}, "/")
	for name, want := range map[string]string{
		"Action": "kafka-cluster:Connect", "X-Amz-Expires": "900", "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
		"X-Amz-Credential": scope, "X-Amz-SignedHeaders": "host", "X-Amz-Security-Token": "",
	} {
		if got := query.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(query.Get("X-Amz-Signature")) != 64 || strings.Contains(u.String(), url.QueryEscape(secret)) {
		t.Errorf("the signature in %s", u)
	}
	// It is kept.
	if again, err := tokens.Token(); err != nil || again.Token != token.Token {
		t.Errorf("%v, %v", again, err)
	}
}

// TestSharedFile: credentials of a profile, with a session token.
func TestSharedFile(t *testing.T) {
	isolate(t)
	path := filepath.Join(t.TempDir(), "credentials")
	content := "[producer]\naws_access_key_id = " + keyID + "\naws_secret_access_key = " + secret + "\naws_session_token = session\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	t.Setenv("AWS_PROFILE", "producer")
	tokens, err := newTokens(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Token()
	if err != nil {
		t.Fatal(err)
	}
	if got := mustParse(t, token.Token).Query().Get("X-Amz-Security-Token"); got != "session" {
		t.Errorf("session token %q", got)
	}
}

// TestNoCredentials: the error says what is missing.
func TestNoCredentials(t *testing.T) {
	isolate(t)
	tokens, err := newTokens(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Token(); err == nil || !strings.Contains(err.Error(), "oauth: MSK IAM in eu-central-1: ") ||
		!strings.Contains(err.Error(), "credentials") {
		t.Errorf("%v", err)
	}
}

// TestExpires: a token ends with its 15 minutes, or with the credentials, if that is earlier.
func TestExpires(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, test := range []struct {
		credentials aws.Credentials
		want        time.Duration
	}{
		{aws.Credentials{}, 15 * time.Minute},
		{aws.Credentials{CanExpire: true, Expires: now.Add(time.Hour)}, 15 * time.Minute},
		{aws.Credentials{CanExpire: true, Expires: now.Add(time.Minute)}, time.Minute},
	} {
		test.credentials.AccessKeyID, test.credentials.SecretAccessKey = keyID, secret
		retrieve := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return test.credentials, nil })
		_, expires, err := sign(t.Context(), region, retrieve)
		if err != nil || expires.Before(now.Add(test.want)) || expires.After(time.Now().Add(test.want)) {
			t.Errorf("expires after %v, want %v; %v", expires.Sub(now), test.want, err)
		}
	}
}

// TestProduce: the whole program but for TLS, with a broker that takes any token of the right form.
func TestProduce(t *testing.T) {
	static(t)
	cluster, logins, err := startEmbedded("my-topic")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	conf, err := newConfig(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(cluster.ListenAddrs(), "my-topic", conf, strings.NewReader("one\ntwo\n"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "my-topic/0/0\nmy-topic/0/1\n" || logins.Load() == 0 {
		t.Errorf("printed %q after %d logins", out.String(), logins.Load())
	}
}
