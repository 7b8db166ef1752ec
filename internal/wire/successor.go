package wire

import (
	"context"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Renewable is what a Successor asks a connection. A *Conn is one.
type Renewable interface {
	Err() error
	RenewDue() bool
	SessionOver() bool
	Close() error
}

// Successor is the connection that takes another one's place when that one's SASL session ends (KIP-368), or the files of its
// TLS have changed. It is dialled and logged in while the other is in use. The zero value is one that is not begun. One goroutine
// at a time may use it.
type Successor[C Renewable] struct {
	Log *flow.Log // may be nil

	pending *pending[C] // nil: not begun

	// Dials that fail are spaced: new certificates that a broker refuses may be there for long.
	failures  int // in a row
	notBefore time.Time
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// Due tells whether conn must be replaced now: its session is over, or the successor is ready. When conn is due to be renewed,
// Due begins the successor with dial. A dial that fails is logged, and conn goes on. A later call begins another, after 100
// ms, doubling to 30 s.
func (s *Successor[C]) Due(conn C, dial func(context.Context) (C, error)) bool {
	switch {
	case conn.SessionOver():
		return true
	case !conn.RenewDue():
		return false
	case s.pending == nil:
		if time.Now().Before(s.notBefore) {
			return false
		}
		s.pending = startPending(dial)
	}
	if !s.pending.ready() {
		return false
	}
	if _, err := s.pending.wait(context.Background()); err != nil {
		s.Log.Printf("sluice: dialling in place of an open connection, which goes on: %v\n", err)
		s.pending = nil
		s.notBefore = time.Now().Add(flow.Doubled(firstPause, s.failures, longestPause))
		s.failures++
		return false
	}
	s.failures = 0
	return true
}

// Take hands the successor over, and waits for it until ctx ends. ok is false if none was begun, or if it has waited for too long
// itself: then dial anew.
func (s *Successor[C]) Take(ctx context.Context) (conn C, ok bool, err error) {
	if s.pending == nil {
		return conn, false, nil
	}
	conn, err = s.pending.wait(ctx)
	if err != nil && ctx.Err() != nil {
		return conn, false, err // it goes on
	}
	s.pending = nil
	if err != nil {
		return conn, false, err
	}
	if conn.Err() != nil || conn.SessionOver() {
		conn.Close()
		return conn, false, nil
	}
	return conn, true, nil
}

// Stop ends a successor that is not needed.
func (s *Successor[C]) Stop() {
	if s.pending != nil {
		s.pending.stop(func(conn C) { conn.Close() })
		s.pending = nil
	}
}

// pending is a result that is worked on beside other things: a connection that is dialled while another is in use.
type pending[T any] struct {
	cancel context.CancelFunc
	done   chan struct{}
	result T
	err    error
}

// startPending calls work on a goroutine, which ends with it.
func startPending[T any](work func(ctx context.Context) (T, error)) *pending[T] {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pending[T]{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.result, p.err = work(ctx)
	}()
	return p
}

// ready tells whether the work has ended.
func (p *pending[T]) ready() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait returns the result. If ctx ends first, it returns its error, and the work goes on.
func (p *pending[T]) wait(ctx context.Context) (result T, err error) {
	if !p.ready() {
		select {
		case <-p.done:
		case <-ctx.Done():
			return result, flow.ContextError(ctx)
		}
	}
	p.cancel()
	return p.result, p.err
}

// stop cancels the work, waits for its end, and hands a result that came all the same to discard.
func (p *pending[T]) stop(discard func(T)) {
	p.cancel()
	<-p.done
	if p.err == nil {
		discard(p.result)
	}
}
