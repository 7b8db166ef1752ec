//go:build unix

package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeMvn replaces mvn by a shell script. In it, $out is the folder for the jars and $root the returned folder.
func fakeMvn(t *testing.T, script string) (root string) {
	t.Helper()
	root = t.TempDir()
	text := fmt.Sprintf("#!/bin/sh\nroot='%s'\nfor arg; do case $arg in -DoutputDirectory=*) out=${arg#*=};; esac; done\n%s\n", root, script)
	if err := os.WriteFile(filepath.Join(root, "mvn"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", root+":"+os.Getenv("PATH"))
	return root
}

func TestJarsAreFetchedOnce(t *testing.T) {
	root := fakeMvn(t, `echo fetched >>"$root/count"; mkdir "$out" && echo jar >"$out/kafka.jar"`)
	home := filepath.Join(root, "cache", "kafka")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := fetch(home, defaultVersion); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(filepath.Join(home, "lib", "kafka.jar")); err != nil {
		t.Error(err)
	}
	if count, err := os.ReadFile(filepath.Join(root, "count")); err != nil || string(count) != "fetched\n" {
		t.Errorf("mvn left %q, error %v, want one fetch", count, err)
	}
}

func TestFailedFetchLeavesNothing(t *testing.T) {
	root := fakeMvn(t, `mkdir "$out"; echo half >"$out/kafka.jar"; echo 'no such host'; exit 1`)
	home := filepath.Join(root, "cache", "kafka")
	err := fetch(home, defaultVersion)
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("error %v, want mvn's exit and what it printed", err)
	}
	entries, err := os.ReadDir(filepath.Dir(home))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "kafka.lock" {
			t.Errorf("the cache holds %s after a failed fetch", e.Name())
		}
	}
}

func TestFetchWithoutMvn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := fetch(filepath.Join(t.TempDir(), "kafka"), defaultVersion); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v, want %v", err, exec.ErrNotFound)
	}
}

// recorder records how a test would have ended.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (*recorder) Helper()        {}
func (r *recorder) Skip(...any)  { r.skipped = true }
func (r *recorder) Fatal(...any) { r.failed = true }

func TestMissingKafkaSkipsUnlessRequired(t *testing.T) {
	missing := fmt.Errorf("start: %w", &unavailableError{exec.ErrNotFound})
	for _, test := range []struct {
		require  string
		err      error
		wantSkip bool
	}{
		{"", missing, true},
		{"1", missing, false},
		{"", errors.New("the broker ended"), false},
	} {
		t.Setenv(requireEnv, test.require)
		// Unlike those of a real test, these Skip and Fatal return. The first call counts.
		r := &recorder{}
		giveUp(r, test.err)
		if r.skipped != test.wantSkip {
			t.Errorf("%s=%q, error %v: skipped %t, want %t", requireEnv, test.require, test.err, r.skipped, test.wantSkip)
		}
	}
}
