package wire

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// sessionOf is a connection that is told how its session stands.
type sessionOf struct{ dead, renew, over, closed bool }

func (s *sessionOf) Err() error {
	if s.dead {
		return ErrConnClosed
	}
	return nil
}
func (s *sessionOf) RenewDue() bool    { return s.renew }
func (s *sessionOf) SessionOver() bool { return s.over }
func (s *sessionOf) Close() error      { s.closed = true; return nil }

func TestSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type result struct {
			conn *sessionOf
			err  error
		}
		results := make(chan result)
		dials := 0
		dial := func(ctx context.Context) (*sessionOf, error) {
			dials++
			select {
			case r := <-results:
				return r.conn, r.err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		var s Successor[*sessionOf]
		conn, next := &sessionOf{}, &sessionOf{}
		due := func(want bool, wantDials int) {
			t.Helper()
			if got := s.Due(conn, dial); got != want {
				t.Errorf("due: %t", got)
			}
			if synctest.Wait(); dials != wantDials {
				t.Errorf("%d dials, want %d", dials, wantDials)
			}
		}
		take := func(ctx context.Context, want *sessionOf, wantErr error) {
			t.Helper()
			got, ok, err := s.Take(ctx)
			if got != want && ok || ok != (want != nil) || !errors.Is(err, wantErr) {
				t.Errorf("took %v, %t, %v", got, ok, err)
			}
		}

		due(false, 0)
		take(t.Context(), nil, nil)
		conn.renew = true
		due(false, 1)
		due(false, 1) // one at a time
		failed := errors.New("no login today")
		results <- result{err: failed}
		synctest.Wait()
		due(false, 1) // the old connection goes on
		due(false, 1) // not at once
		time.Sleep(firstPause)
		due(false, 2)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		take(ended, nil, context.Canceled) // the dial goes on
		results <- result{conn: next}
		synctest.Wait()
		due(true, 2)
		take(t.Context(), next, nil)
		take(t.Context(), nil, nil)

		// When the session is over, a dial that fails is told.
		due(false, 3)
		conn.over = true
		due(true, 3)
		go func() { results <- result{err: failed} }()
		take(t.Context(), nil, failed)

		// One that has waited for too long is closed, as is one that nobody takes.
		conn.over = false
		for _, late := range []*sessionOf{{over: true}, {dead: true}} {
			due(false, dials+1)
			results <- result{conn: late}
			synctest.Wait()
			take(t.Context(), nil, nil)
			if !late.closed {
				t.Error("left open")
			}
		}
		unused := &sessionOf{}
		due(false, 6)
		results <- result{conn: unused}
		s.Stop()
		if !unused.closed {
			t.Error("left open")
		}
		due(false, 7)
		s.Stop() // while it is dialled
		s.Stop()
	})
}
