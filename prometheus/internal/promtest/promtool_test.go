package promtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPromtool runs promtool over the alerts and their tests. It is in Debian's package prometheus. $PROMTOOL names one that is not on
// the PATH; with $SLUICE_REQUIRE_PROMTOOL a missing one is a failure.
func TestPromtool(t *testing.T) {
	name := os.Getenv("PROMTOOL")
	if name == "" {
		name = "promtool"
	}
	promtool, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("SLUICE_REQUIRE_PROMTOOL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, args := range []string{"check rules --lint=all --lint-fatal " + filepath.Base(alertsFile), "test rules " + filepath.Base(alertsTest)} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, promtool, strings.Fields(args)...)
		cmd.Dir = filepath.Dir(alertsFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
}
