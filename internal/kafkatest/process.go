//go:build unix

package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a running program. It has a process group of its own, so that a Ctrl-C at the terminal reaches the test only,
// which then ends the program.
type process struct {
	pid    int
	exited chan struct{} // closed by spawn's goroutine when the program has ended
	err    error         // why it ended; read it after exited
}

// spawn starts cmd. Its goroutine waits for the program, and ends with it.
func spawn(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	p := &process{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that started the program ends. So this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// signal sends sig to the whole group. It must not be called after kill has returned: the group's id may belong to another
// by then.
func (p *process) signal(sig syscall.Signal) error {
	select {
	case <-p.exited:
		return fmt.Errorf("%w: %w", os.ErrProcessDone, p.err)
	default:
	}
	return os.NewSyscallError("kill", syscall.Kill(-p.pid, sig))
}

func (p *process) pause() error  { return p.signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

// kill ends the process, running or paused, and waits until it is gone. It may have ended already.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL) // fails only for a process that has ended
	<-p.exited
}

// terminate asks the process to end and waits for that. After the timeout it kills the process and returns an error.
func (p *process) terminate(timeout time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		p.kill()
		return errors.New("still running " + timeout.String() + " after SIGTERM; killed")
	}
}
