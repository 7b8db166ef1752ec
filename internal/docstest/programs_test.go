package docstest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamplesNeedNoBroker runs each program of examples/ without flags: it must end by itself, and print something.
func TestExamplesNeedNoBroker(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds programs")
	}
	mains, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	if err != nil || len(mains) < 6 {
		t.Fatalf("%d programs, %v", len(mains), err)
	}
	bin := t.TempDir()
	build := func(dir, pattern string) { // several at once are faster
		ctx, cancel := context.WithTimeout(t.Context(), buildFor)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+string(filepath.Separator), pattern)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", dir, err, out)
		}
	}
	build(root, "./examples/...")
	for _, main := range mains {
		dir := filepath.Dir(main)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			build(dir, ".")
		}
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), runFor)
			defer cancel()
			out, err := exec.CommandContext(ctx, filepath.Join(bin, name)).CombinedOutput()
			if err != nil || strings.Count(string(out), "\n") < 2 {
				t.Errorf("%v, and it printed\n%s", errors.Join(err, ctx.Err()), out)
			}
		})
	}
}
