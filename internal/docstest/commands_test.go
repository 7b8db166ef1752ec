package docstest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestCommands wants each line of a block of shell in README.md or docs/ to be tried: here, if it begins with "go run ./",
// "seq" or "cd examples/", or by .ci/run. A block that is marked "sh cluster" needs a Kafka, or a server, of the reader's own.
func TestCommands(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs programs")
	}
	ci, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		t.Fatal(err)
	}
	// The command is built once, and what it writes goes to a folder that the test removes.
	scratch := t.TempDir()
	sluice := filepath.Join(scratch, "sluice")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", sluice, "./cmd/sluice")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	comment := regexp.MustCompile(`\s+#.*$`)
	all := pages(t)
	var running sync.WaitGroup
	slots := make(chan struct{}, 4) // most of them wait rather than work
	tried := map[string]bool{}
	for _, page := range sorted(all) {
		if page != "README.md" && !strings.HasPrefix(page, "docs/") {
			continue
		}
		for _, b := range blocks(t, page, all[page]) {
			if b.language != "sh" || b.mark == "cluster" {
				continue
			}
			for command := range strings.Lines(b.text) {
				command = strings.TrimSpace(comment.ReplaceAllString(command, ""))
				switch {
				case command == "" || tried[command] || strings.Contains(string(ci), command):
				case strings.HasPrefix(command, "go run ./") || strings.HasPrefix(command, "seq ") || strings.HasPrefix(command, "cd examples/"):
					tried[command] = true
					running.Go(func() {
						slots <- struct{}{}
						defer func() { <-slots }()
						ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
						defer cancel()
						cmd := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(command, "go run ./cmd/sluice", sluice))
						cmd.Dir = root
						if strings.Contains(command, "go run ./cmd/sluice") {
							cmd.Dir = t.TempDir()
						}
						if out, err := cmd.CombinedOutput(); err != nil {
							t.Errorf("%s: %s: %v\n%s", page, command, errors.Join(err, ctx.Err()), out)
						}
					})
				default:
					t.Errorf("%s: nothing tries %q: mark its block \"sh cluster\" if it needs one", page, command)
				}
			}
		}
	}
	running.Wait()
}
