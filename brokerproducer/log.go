package brokerproducer

import (
	"errors"
	"log/slog"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What is logged about batches, on the loop's goroutine.

// logBackToNormal logs that a session's partition can be written to again.
func (l *loop) logBackToNormal(s *Session) {
	s.trouble.Over(slog.String("topic", s.Topic), slog.Int("partition", int(s.Partition)),
		flow.BrokerAttr(l.id), slog.String("addr", l.addr))
	s.trouble = nil
}

// slowness is the state of SlowAnswer, for one broker.
type slowness struct {
	trouble  flow.Trouble
	last     time.Time // when a request was last found open for too long; zero: it is not slow
	answered bool      // a request was answered since then
}

const (
	// slowAnswer is how long a request must be open before SlowAnswer is logged. A broker may wait for its replicas up to
	// Producer.Timeout, 10 s by default, but a healthy one takes milliseconds.
	slowAnswer = 5 * time.Second
	// notSlow is how long there must be no such request before the broker counts as healthy again.
	notSlow = 2 * slowAnswer
)

// logSlow logs that a request is open for long, and when answers come in time again. While it returns true it must be called again
// soon.
func (l *loop) logSlow() (again bool) {
	conn := l.link.Load()
	if l.Shared.Log == nil || conn == nil {
		return !l.slow.last.IsZero()
	}
	now, broker := time.Now(), []slog.Attr{flow.BrokerAttr(l.id), slog.String("addr", l.addr)}
	if sent, open := conn.Oldest(); open > 0 && now.Sub(sent) >= slowAnswer {
		l.slow.last, l.slow.answered = now, false
		l.slow.trouble.Again(l.Shared.Log, flow.SlowAnswer, l.addr,
			append(broker, slog.Int("open_requests", open), slog.Duration("waited", flow.Short(now.Sub(sent))), flow.Cause(conn.Doing(l.String())))...)
		return true
	}
	if l.slow.last.IsZero() {
		return false
	}
	if l.slow.answered && now.Sub(l.slow.last) >= notSlow {
		l.slow.trouble.Over(broker...)
		l.slow.last = time.Time{}
	}
	return !l.slow.last.IsZero()
}

var errRequestBound = errors.New("it is larger than a request to this broker may be")

// logSplit logs that a batch of so many records and bytes is sent as two.
func (l *loop) logSplit(s *Session, records, size int, cause error) {
	l.Shared.Log.Event(flow.BatchSplit, s.Topic, slog.String("topic", s.Topic), slog.Int("partition", int(s.Partition)),
		flow.BrokerAttr(l.id), slog.Int("records", records), slog.Int("bytes", size), flow.Cause(cause))
}
