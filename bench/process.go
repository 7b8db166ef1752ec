package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// The subcommands with which this program starts itself.
	sinkCommand = "sink"
	runCommand  = "run"
)

// process is a child: this program with a subcommand. Its standard input stays open as long as it may live, so that
// it ends with its parent, however that one ends.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr strings.Builder
	what   string
}

// start starts a child, which ctx kills.
func start(ctx context.Context, what, command, argument string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p := &process{cmd: exec.CommandContext(ctx, self, command, argument), what: what}
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return p, nil
}

// line reads a line of the child's output. When there is none, the child has failed: end tells how.
func (p *process) line() (string, error) {
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return "", errors.Join(fmt.Errorf("%s ended without an answer", p.what), p.end())
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// end waits for the child's end, which is near: it has answered, or its input is closed. An error has what the child
// wrote on stderr.
func (p *process) end() error {
	err := p.cmd.Wait()
	if err == nil {
		return nil
	}
	if said := strings.TrimSpace(p.stderr.String()); said != "" {
		// Only what a child says of itself is short; a crash is told in full by its first lines.
		lines := strings.SplitN(said, "\n", 4)
		return fmt.Errorf("%s: %w: %s", p.what, err, strings.Join(lines[:min(len(lines), 3)], "; "))
	}
	return fmt.Errorf("%s: %w", p.what, err)
}

// endWithParent ends this process when its input does: the parent has gone.
func endWithParent() {
	io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}
