package sluice

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// Status tells what a producer waits for, also while New has not returned: for a health check, a log line, or somebody at a
// terminal. It belongs to one producer; its zero value is ready for WithStatus. All methods may be called concurrently.
type Status struct {
	mu       sync.Mutex
	dialer   *wire.Dialer // until New returns
	producer *Producer    // since then
}

// A Wait is one thing that a producer waits for.
type Wait struct {
	// What goes on, such as "waiting for the leader of t/3" or "dialling broker 2 (b:9092)".
	What string
	// Since is when it began.
	Since time.Time
	// Err is why it lasts: the last failure, if there was one.
	Err error
}

// String is such as "waiting for the leader of t/3 for 2.5s: no leader: ...".
func (w Wait) String() string {
	text := fmt.Sprintf("%s for %v", w.What, flow.Ago(w.Since))
	if w.Err != nil {
		text += ": " + w.Err.Error()
	}
	return text
}

// WithStatus makes s the producer's: s.Waits tells what it waits for, from the moment at which New is called.
func WithStatus(s *Status) Option {
	return func(o *options) error {
		o.status = s
		return nil
	}
}

// Waits is what goes on at the moment, the oldest first. Requests that are answered within milliseconds are among it: look at
// Since. It is empty before New and while there is nothing to do.
func (s *Status) Waits() []Wait {
	s.mu.Lock()
	dialer, p := s.dialer, s.producer
	s.mu.Unlock()
	var all []flow.Wait
	switch {
	case p != nil:
		all = p.waits()
	case dialer != nil:
		all = dialer.Waits()
	}
	waits := make([]Wait, len(all))
	for i, w := range all {
		waits[i] = Wait(w)
	}
	slices.SortStableFunc(waits, func(a, b Wait) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.What, b.What)) })
	return waits
}

// waits is what goes on at the moment.
func (p *Producer) waits() []flow.Wait { return append(p.deps.Waits.All(), p.brokers.Waits()...) }

// holders are the attributes that say what holds a full memory: how many messages, and what the oldest of them wait for.
func (p *Producer) holders() []slog.Attr {
	attrs := []slog.Attr{slog.Int("messages", p.shared.Outcomes.Buffered()), slog.Int("unread", p.shared.Outcomes.Unread())}
	waits := p.waits()
	if len(waits) == 0 {
		return attrs
	}
	oldest := slices.MinFunc(waits, func(a, b flow.Wait) int { return a.Since.Compare(b.Since) })
	return append(attrs, slog.String("waits_for", Wait(oldest).String()))
}

// connecting is told of the dialer of a producer that is being made. A nil Status is told nothing.
func (s *Status) connecting(d *wire.Dialer) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dialer = d
	}
}

// running is told of the producer that was made.
func (s *Status) running(p *Producer) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.producer = p
	}
}
