package kafkatest

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const childEnv = "KAFKATEST_CHILD"

// TestProcessDiesWithTheTestBinary runs this test binary again, lets it spawn a program that would run for long, and kills
// the binary. Both hold the write end of a pipe, which ends only when the program is gone too.
func TestProcessDiesWithTheTestBinary(t *testing.T) {
	if os.Getenv(childEnv) == "1" {
		cmd := exec.Command("sh", "-c", "echo running; exec sleep 600")
		cmd.Stdout = os.Stdout
		p, err := spawn(cmd)
		if err != nil {
			t.Fatal(err)
		}
		<-p.exited
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, len("running\n"))
	if _, err := io.ReadFull(r, greeting); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the child ended with %v, want it killed", err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after the greeting came %q, error %v", rest, err)
	}
}
