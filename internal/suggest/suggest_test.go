package suggest

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNearest(t *testing.T) {
	names := []string{"topic", "brokers", "v", "linger.ms", "Producer.Retry.Max", "Producer.Retry.Backoff"}
	for given, want := range map[string]string{
		"":                   "",
		"topc":               "topic",
		"Topic":              "topic",
		"x":                  "",
		"lingerms":           "linger.ms",
		"producer.retry.mxa": "Producer.Retry.Max",
		"backof":             "Producer.Retry.Backoff",
		"entirely-else":      "",

		strings.Repeat("x", 10<<20): "", // at once
	} {
		if got := strings.Join(Nearest(given, names), " "); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
