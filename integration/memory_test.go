//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPeakMemory stalls the broker under full load and looks at the producer's peak resident memory, the user's
// messages included: at most twice the budget and 64 MiB. The producer is a process of its own, built without the race
// detector, which multiplies memory.
func TestPeakMemory(t *testing.T) {
	const budget = 64 << 20
	stall := 4 * time.Second // longer than the producer's read time-out
	if *long {
		stall = 10 * time.Second
	}
	c := kafka.Get(t)
	program := filepath.Join(t.TempDir(), "memload")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./memload").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, value := range []int{100, 1 << 10, 100 << 10} {
		t.Run(fmt.Sprint(value), func(t *testing.T) {
			ctx := testContext(t)
			cmd := exec.CommandContext(ctx, program, "-brokers", strings.Join(c.Brokers(), ","), "-topic", c.NewTopic(t, 6, nil),
				"-value", fmt.Sprint(value), "-budget", fmt.Sprint(budget))
			stderr := new(strings.Builder)
			cmd.Stderr = stderr
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var paused time.Time
			defer func() {
				if !paused.IsZero() {
					c.Resume(t, 0)
				}
			}()
			var peak int64
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				switch line := lines.Text(); {
				case line == "running":
					c.Pause(t, 0)
					paused = time.Now()
				case line == "stalled":
					<-time.After(stall - time.Since(paused)) // the time is what is tested
					c.Resume(t, 0)
					paused = time.Time{}
					if err := stdin.Close(); err != nil {
						t.Error(err)
					}
				case strings.HasPrefix(line, "peak "):
					if _, err := fmt.Sscanf(line, "peak %d", &peak); err != nil {
						t.Errorf("%q: %v", line, err)
					}
				default:
					t.Log(line)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("memload: %v\n%s", err, stderr)
			}
			t.Logf("values of %d bytes: peak resident memory %d MiB with a budget of %d MiB", value, peak>>10, budget>>20)
			if limit := int64(2*budget + 64<<20); peak<<10 > limit || peak == 0 {
				t.Errorf("peak resident memory %d KiB, want at most %d", peak, limit>>10)
			}
		})
	}
}
