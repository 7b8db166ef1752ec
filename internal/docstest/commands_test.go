package docstest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommands wants each line of a block of shell in README.md or docs/ to be tried: here, if it begins with "go run ./",
// "seq" or "cd examples/", or by .ci/run. A block that is marked "sh cluster" needs a Kafka, or a server, of the reader's own.
func TestCommands(t *testing.T) {
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
				case command == "" || strings.Contains(string(ci), command):
				case strings.HasPrefix(command, "go run ./") || strings.HasPrefix(command, "seq ") || strings.HasPrefix(command, "cd examples/"):
					ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
					cmd := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(command, "go run ./cmd/sluice", sluice))
					cmd.Dir = scratch
					if !strings.Contains(command, "go run ./cmd/sluice") {
						cmd.Dir = root
					}
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Errorf("%s: %s: %v\n%s", page, command, errors.Join(err, ctx.Err()), out)
					}
					cancel()
				default:
					t.Errorf("%s: nothing tries %q: mark its block \"sh cluster\" if it needs one", page, command)
				}
			}
		}
	}
}
