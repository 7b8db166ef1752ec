//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/sluice-kafka/sluice"
)

// What people see at a terminal: the command runs in a pseudo-terminal.

// A screen collects what a terminal was sent.
type screen struct {
	t   *testing.T
	tty *os.File
	cmd *exec.Cmd

	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
	end  chan struct{} // closed when the command has closed the terminal
}

// onTerminal starts the command in a terminal so many columns wide, which is its stdin too unless stdin is given.
func onTerminal(t *testing.T, columns uint16, stdin io.Reader, env []string, args ...string) *screen {
	t.Helper()
	s := &screen{t: t, cmd: exec.Command(build(t), args...), more: make(chan struct{}, 1), end: make(chan struct{})}
	s.cmd.Env = append(append(os.Environ(), "TERM=xterm", "NO_COLOR="), env...)
	s.cmd.Stdin = stdin
	attrs := &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1} // Ctty is its stdout
	tty, err := pty.StartWithAttrs(s.cmd, &pty.Winsize{Rows: 24, Cols: columns}, attrs)
	if err != nil {
		t.Fatal(err)
	}
	s.tty = tty
	t.Cleanup(func() { s.cmd.Process.Kill(); tty.Close(); <-s.end })
	go func() {
		defer close(s.end)
		for buf := make([]byte, 4096); ; {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the terminal has shown what matches the pattern.
func (s *screen) await(pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patience)
	for !re.MatchString(s.String()) {
		select {
		case <-s.more:
		case <-s.end:
			if !re.MatchString(s.String()) {
				s.t.Fatalf("ended without %q: %q", pattern, s)
			}
			return
		case <-late:
			s.t.Fatalf("no %q: %q", pattern, s)
		}
	}
}

// status waits for the end.
func (s *screen) status() int {
	<-s.end
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// wantTidy checks that no progress line is as wide as the terminal, where it would wrap, and that each is wiped before
// anything else is written.
func (s *screen) wantTidy(columns int) {
	s.t.Helper()
	<-s.end
	for line := range strings.SplitSeq(s.String(), "\n") {
		shown := strings.Split(strings.TrimSuffix(line, "\r"), "\r\x1b[K")
		for _, progress := range shown[:len(shown)-1] {
			if n := utf8.RuneCountInString(progress); n >= columns {
				s.t.Errorf("a progress line of %d characters in %d columns: %q", n, columns, progress)
			}
		}
		if last := shown[len(shown)-1]; strings.Contains(last, "%") {
			s.t.Errorf("a progress line was not wiped: %q", line)
		}
	}
}

func TestTerminalShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "t", 3)
	file := writeFile(t, strings.Repeat("a line\n", 600))
	for _, columns := range []int{80, 40, 12} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			s := onTerminal(t, uint16(columns), nil, nil, "produce", "-brokers", addrs, "-topic", "t", "-rate", "300", file)
			s.await(`[1-9][0-9] %`)
			if columns >= 40 {
				s.await(`s left, `)
			}
			s.await(`delivered 600 of 600 messages to t`)
			if status := s.status(); status != statusDone {
				t.Errorf("status %d", status)
			}
			s.wantTidy(columns)
		})
	}
}

func TestTerminalTypedInputIsLeftAlone(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "t", 1)
	s := onTerminal(t, 80, nil, nil, "produce", "-brokers", addrs, "-topic", "t")
	s.await(`reading from the terminal \(Ctrl-D ends the input\)`)
	io.WriteString(s.tty, "hello\n\x04")
	s.await(`delivered 1 of 1 message to t`)
	if status := s.status(); status != statusDone || strings.Contains(s.String(), "\x1b[K") {
		t.Errorf("status %d, %q", status, s)
	}
	// What is waited for is a line of its own here. So a progress line would have been drawn before it.
	s = onTerminal(t, 80, nil, nil, "produce", "-brokers", silentListener(t), "-topic", "t")
	s.await(`waiting for its first answer\r\n`)
	io.WriteString(s.tty, "\x03")
	s.await(`interrupted while connecting`)
	if status := s.status(); status != statusFailed || strings.Contains(s.String(), "\x1b[K") {
		t.Errorf("status %d, %q", status, s)
	}
}

func TestTerminalColoursErrorsOnly(t *testing.T) {
	t.Parallel()
	const red = "\x1b[31m"
	for _, tt := range []struct {
		env  string
		want bool
	}{{"NO_COLOR=", true}, {"NO_COLOR=1", false}, {"TERM=dumb", false}} {
		s := onTerminal(t, 80, nil, []string{tt.env}, "produce", "-brokers", "127.0.0.1:1", "-topic", "t")
		if status := s.status(); status != statusFailed || strings.Contains(s.String(), red) != tt.want {
			t.Errorf("%s: status %d, %q", tt.env, status, s)
		}
	}
	s := onTerminal(t, 80, strings.NewReader("a\n"), nil, "produce")
	if status := s.status(); status != statusDone || strings.Contains(s.String(), red) {
		t.Errorf("status %d, %q", status, s)
	}
}

// Ctrl-C is typed while a broker has accepted the connection and says nothing.
func TestTerminalSaysWhatItConnectsTo(t *testing.T) {
	t.Parallel()
	s := onTerminal(t, 60, strings.NewReader("a\n"), nil, "produce", "-brokers", silentListener(t), "-topic", "t")
	s.await(`connected to 127\.0\.0\.1:\d+, waiting for its first answer`)
	s.cmd.Process.Signal(os.Interrupt)
	s.await(`interrupted while connecting; nothing was sent`)
	if status := s.status(); status != statusFailed {
		t.Errorf("status %d", status)
	}
	s.wantTidy(60)
}

// Without a terminal each wait is told once, and the progress every ten seconds.
func TestWatchWritesLinesToAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := newWatch(newConsole(&out, "c"))
		begin := time.Now()
		w.phase(func() []sluice.Wait {
			return []sluice.Wait{{What: "waiting for the leader of t/3", Since: begin, Err: fmt.Errorf("no leader")}}
		}, func() []string { return []string{"1 of 2 delivered", "1 messages/s"} })
		time.Sleep(21 * time.Second)
		w.stop()
		want := "c: waiting for the leader of t/3: no leader\n" + strings.Repeat("c: 1 of 2 delivered, 1 messages/s\n", 2)
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	})
}

func TestFitDropsWhatHasNoRoom(t *testing.T) {
	fields := []string{"50 %", "ten seconds left, or so", "5 of 10 delivered"}
	for width, want := range map[int]string{0: "…", 3: "50…", 4: "50 %", 14: "50 %", 23: "50 %, 5 of 10 delivered", 100: "50 %, ten seconds left, or so, 5 of 10 delivered"} {
		if got := fit(fields, width); got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
	}
	if got := fit(nil, 10); got != "" {
		t.Errorf("%q", got)
	}
}

// The reader waits for memory, as a broker answers nothing: both signals are answered, and the second one ends with the
// summary.
func TestSignalsWhileTheReaderWaitsForMemory(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	answerNoProduce(cluster)
	ctx, i := newInterrupts(context.Background())
	stdout, stderr := newLines(), newLines()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"produce", "-brokers", addrs, "-topic", "t", "-config", "buffer.memory=1000000"}, endless{}, stdout, stderr)
	}()
	stderr.await(t, "waiting for an answer of broker 0 (127.0.0.1:")
	i.first(interrupted{os.Interrupt})
	stderr.await(t, "outstanding messages (interrupt again to end at once)")
	i.second(interrupted{os.Interrupt})
	if status := <-ended; status != statusFailed || !strings.Contains(stdout.String(), "delivered 0 of ") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// So does perf, also in transactions and beside others.
func TestPerfSignalsWhileNothingIsAnswered(t *testing.T) {
	for _, args := range [][]string{{}, {"-transaction-duration", "1h"}, {"-warmup", "10"}} {
		cluster, addrs := startBroker(t, "t", 1)
		answerNoProduce(cluster)
		ctx, i := newInterrupts(context.Background())
		stdout, stderr := newLines(), newLines()
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, append([]string{"perf", "-brokers", addrs, "-topic", "t"}, args...), nil, stdout, stderr)
		}()
		stderr.await(t, "waiting for an answer of broker 0 (127.0.0.1:")
		i.first(interrupted{os.Interrupt})
		stderr.await(t, "outstanding records (interrupt again to end at once)")
		i.second(interrupted{os.Interrupt})
		if status := <-ended; status != statusFailed || !strings.Contains(stdout.String(), "0 records sent, ") || !strings.Contains(stderr.String(), " interrupted after ") {
			t.Errorf("%v: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}
