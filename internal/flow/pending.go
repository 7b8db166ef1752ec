package flow

import "context"

// Pending is a result that is worked on beside other things: a connection that is dialled while another is in use.
type Pending[T any] struct {
	cancel context.CancelFunc
	done   chan struct{}
	result T
	err    error
}

// StartPending calls work on a goroutine, which ends with it.
func StartPending[T any](work func(ctx context.Context) (T, error)) *Pending[T] {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pending[T]{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.result, p.err = work(ctx)
	}()
	return p
}

// Ready tells whether the work has ended.
func (p *Pending[T]) Ready() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait returns the result. If ctx ends first, it returns its error, and the work goes on.
func (p *Pending[T]) Wait(ctx context.Context) (result T, err error) {
	if !p.Ready() {
		select {
		case <-p.done:
		case <-ctx.Done():
			return result, ContextError(ctx)
		}
	}
	p.cancel()
	return p.result, p.err
}

// Stop cancels the work, waits for its end, and hands a result that came all the same to discard.
func (p *Pending[T]) Stop(discard func(T)) {
	p.cancel()
	<-p.done
	if p.err == nil {
		discard(p.result)
	}
}
