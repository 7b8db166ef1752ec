package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// interrupts are what signals ask for. At the first one a command stops reading, delivers what it has read and reports; at
// the second it gives up what is not delivered, and reports; a third one, or a command that has not ended by then, ends the
// process.
type interrupts struct {
	first, second context.CancelCauseFunc
	number        atomic.Int32 // of the signal that came second; 0 before
}

// reportTime is how long a command may take for its report after the second signal.
const reportTime = 2 * time.Second

type secondKey struct{}

// newInterrupts returns a context that the first signal ends. It leads to the one that the second ends: see giveUp.
func newInterrupts(parent context.Context) (context.Context, *interrupts) {
	second, cancelSecond := context.WithCancelCause(parent)
	first, cancelFirst := context.WithCancelCause(context.WithValue(second, secondKey{}, second))
	return first, &interrupts{first: cancelFirst, second: cancelSecond}
}

// giveUp is the context that ends with the second signal, of a command whose context ends with the first one.
func giveUp(ctx context.Context) context.Context {
	if second, ok := ctx.Value(secondKey{}).(context.Context); ok {
		return second
	}
	return context.WithoutCancel(ctx)
}

// onInterrupt calls f when ctx ends. stop, which is called once, ends that; if ctx has ended by then, it returns after f.
func onInterrupt(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	forget := context.AfterFunc(ctx, func() { defer close(done); f() })
	return func() {
		if !forget() {
			<-done
		}
	}
}

// An interrupted is the cause of a context that a signal has ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return fmt.Sprintf("ended by a signal (%v)", i.signal) }

// watch waits for signals. The signals' own meaning would do for the last one, but not where they are ignored from the start,
// as in a script's background.
func (i *interrupts) watch(signals <-chan os.Signal, exit func(status int)) {
	i.first(interrupted{<-signals})
	s := <-signals
	number, _ := s.(syscall.Signal)
	i.number.Store(int32(number))
	i.second(interrupted{s})
	select {
	case <-signals:
	case <-time.After(reportTime):
	}
	exit(i.status(statusFailed))
}

// status is what the process ends with: after a second signal that which shells give a process that a signal ended.
func (i *interrupts) status(status int) int {
	if n := i.number.Load(); n > 0 {
		return 128 + int(n)
	}
	return status
}
