package oauth

import (
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"
)

// logged is what went to sarama.Logger.
var logged buffer

func TestMain(m *testing.M) {
	sarama.Logger = log.New(&logged, "", 0)
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// take returns what was logged since the last call.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

func mustProvide(t *testing.T, settings interface {
	Provider() (*TokenProvider, error)
}) *TokenProvider {
	t.Helper()
	p, err := settings.Provider()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustToken(t *testing.T, p *TokenProvider) string {
	t.Helper()
	token, err := p.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

// mustFail returns the error of Token, which must have these parts.
func mustFail(t *testing.T, p *TokenProvider, parts ...string) error {
	t.Helper()
	token, err := p.Token()
	if err == nil {
		t.Fatalf("got a token: %v", token)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not have %q", err, part)
		}
	}
	return err
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// numbered returns tokens 1, 2, 3.
func numbered(n int) string { return fmt.Sprintf("token-%d", n) }
