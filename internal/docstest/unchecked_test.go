package docstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoProducerReadsUncheckedAnswers keeps what wire.Conn.RequestUnchecked says: an answer takes as much memory as it claims, so it
// is for the command alone.
func TestNoProducerReadsUncheckedAnswers(t *testing.T) {
	users := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), ".RequestUnchecked") {
			users++
			if filepath.Dir(path) != filepath.Join(root, "cmd", "sluice") {
				t.Errorf("%s uses RequestUnchecked", path)
			}
		}
		return err
	})
	if err != nil || users == 0 {
		t.Errorf("%d files use it, %v", users, err)
	}
}
