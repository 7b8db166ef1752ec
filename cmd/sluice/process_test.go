//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSignalDeliversWhatWasRead sends the first signal to a process that has read and sent all that there was, and waits
// for more input.
func TestSignalDeliversWhatWasRead(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			cluster, addrs := startBroker(t, "t", 1)
			reached := make(chan struct{})
			var once sync.Once
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				once.Do(func() { close(reached) })
				return nil, nil, false
			})
			cmd := exec.Command(build(t), "produce", "-brokers", addrs, "-topic", "t")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(stdin, strings.Repeat("line\n", 10)); err != nil {
				t.Fatal(err)
			}
			<-reached
			cmd.Process.Signal(signal)
			err = cmd.Wait()
			if err != nil || !strings.HasPrefix(stdout.String(), "delivered 10 of 10 messages to t (1 partition), 40 B, ") {
				t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
			}
		})
	}
}

// TestSecondSignalEndsAtOnce sends it to a process that waits for a broker that never answers.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	reached := make(chan struct{})
	var once sync.Once
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		once.Do(func() { close(reached) })
		return nil, nil, true // never answered
	})
	cmd := exec.Command(build(t), "produce", "-brokers", addrs, "-topic", "t", "-config", "Net.ReadTimeout=10m")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout strings.Builder
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(stdin, "line\n")
	<-reached
	cmd.Process.Signal(os.Interrupt)
	lines := bufio.NewScanner(stderr)
	for !strings.Contains(lines.Text(), "interrupted: delivering 1 outstanding message (interrupt again to end at once)") {
		if !lines.Scan() {
			t.Fatal("the first signal was not answered")
		}
	}
	cmd.Process.Signal(os.Interrupt)
	for lines.Scan() {
	}
	err = cmd.Wait()
	if !strings.HasPrefix(stdout.String(), "delivered 0 of 1 message to t ") {
		t.Errorf("stdout %q", stdout.String())
	}
	if got, want := cmd.ProcessState.ExitCode(), 128+int(syscall.SIGINT); got != want {
		t.Errorf("status %d, want %d: %v", got, want, err)
	}
}

// TestTeeIntoAPipeThatEnds shows that a reader of stdout that ends does not end the process before it has told what was delivered.
func TestTeeIntoAPipeThatEnds(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "t", 1)
	cmd := exec.Command(build(t), "produce", "-brokers", addrs, "-topic", "t", "-tee")
	cmd.Stdin = endless{}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(stdout, make([]byte, 1))
	stdout.Close()
	cmd.Wait()
	if cmd.ProcessState.ExitCode() != statusFailed || !strings.Contains(stderr.String(), "\ndelivered ") || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("%v, stderr %q", cmd.ProcessState, stderr.String())
	}
}

// TestUnreachableBroker is the whole process: one line, status 1.
func TestUnreachableBroker(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(build(t), "produce", "-brokers", "127.0.0.1:1", "-topic", "t")
	cmd.Stdin = strings.NewReader("line\n")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != statusFailed || strings.Count(string(out), "\n") > 2 || !strings.Contains(string(out), "127.0.0.1:1") {
		t.Errorf("%v, output %q", err, out)
	}
}

// TestVerboseShowsAFailedDialOnce is of one that fails several times.
func TestVerboseShowsAFailedDialOnce(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(build(t), "produce", "-brokers", "127.0.0.1:1", "-topic", "t", "-v")
	out, _ := cmd.CombinedOutput()
	for _, pattern := range []string{`(?m)^\d\d:\d\d:\d\d\.\d+ 127\.0\.0\.1:1: connection refused$`, `(?m)connection refused \(4 times\)$`} {
		if n := len(regexp.MustCompile(pattern).FindAll(out, -1)); n != 1 {
			t.Errorf("%d times %s: %s", n, pattern, out)
		}
	}
}

// What happens to our own producer is shown as docs/logs.md lists it.
func TestVerboseShowsTheProducersEvents(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(build(t), "produce", "-v")
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.CombinedOutput()
	if line := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d+ level=INFO msg=connected broker=\d addr=\S+ tls=false took=\S+$`); err != nil || !line.Match(out) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestVerboseShowsTheLogOnStderr(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(build(t), "perf", "-client", "sarama", "-records", "1", "-v")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() == 0 || strings.Count(stdout.String(), "\n") != 1 {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
}
