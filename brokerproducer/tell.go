package brokerproducer

import (
	"errors"
	"log/slog"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What the log is told of batches, on the loop's goroutine.

// tellNormal tells that a session's partition can be written to again.
func (l *loop) tellNormal(s *Session) {
	s.trouble.Over(slog.String("topic", s.Topic), slog.Int("partition", int(s.Partition)),
		flow.BrokerAttr(l.id), slog.String("addr", l.addr))
	s.trouble = nil
}

var errRequestBound = errors.New("it is larger than a request to this broker may be")

// tellSplit tells that a batch of so many records and bytes is sent as two.
func (l *loop) tellSplit(s *Session, records, size int, cause error) {
	l.Shared.Log.Event(flow.BatchSplit, s.Topic, slog.String("topic", s.Topic), slog.Int("partition", int(s.Partition)),
		flow.BrokerAttr(l.id), slog.Int("records", records), slog.Int("bytes", size), flow.Cause(cause))
}
