package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// buildDir is where the command is built for the tests that need a process of its own.
var buildDir string

var buildOnce = sync.OnceValues(func() (binary string, err error) {
	if buildDir, err = os.MkdirTemp("", "sluice"); err != nil {
		return "", err
	}
	binary = filepath.Join(buildDir, "sluice")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the command")
	}
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func removeBuild() {
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
}
