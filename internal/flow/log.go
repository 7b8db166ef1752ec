package flow

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Log is where a producer tells what happens to it: the user's *slog.Logger, or sarama.Logger if there is none. All methods may
// be called concurrently. None waits for the user's handler: a goroutine hands the records over, and ends when there are no more.
// So a slow handler holds up nothing; what it does not keep up with is dropped and counted.
//
// A nil *Log is one without a logger.
type Log struct {
	handler slog.Handler

	mu       sync.Mutex
	queue    []slog.Record
	dropped  int           // since the last record that said so
	draining chan struct{} // closed when the goroutine ends; nil if it does not run
	repeats  map[*Event]map[string]*repeats
}

// mostQueued bounds the records that wait for the handler.
const mostQueued = 1000

// NewLog makes the log of a producer. A nil logger gives a nil Log.
func NewLog(logger *slog.Logger) *Log {
	if logger == nil {
		return nil
	}
	return &Log{handler: logger.Handler(), repeats: make(map[*Event]map[string]*repeats)}
}

// Printf writes a line to sarama.Logger, if that is where the producer logs.
func (l *Log) Printf(format string, args ...any) {
	if l == nil {
		sarama.Logger.Printf(format, args...)
	}
}

// Println is Printf without a format.
func (l *Log) Println(args ...any) {
	if l == nil {
		sarama.Logger.Println(args...)
	}
}

// Event tells of an event, at most so often for each key as repeats says.
func (l *Log) Event(e *Event, key string, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if r := l.repeatsOf(e, key, now); r.due(now) {
		l.put(e, now, append(attrs, r.attrs(now)...))
	}
}

// Tell tells of an event whose caller sees to it that there are few.
func (l *Log) Tell(e *Event, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(e, time.Now(), attrs)
}

// Debugs tells whether the user wants RequestAnswered. The caller holds no lock: it asks the user's handler.
func (l *Log) Debugs() (debugs bool) {
	if l != nil {
		Guard(func() { debugs = l.handler.Enabled(context.Background(), slog.LevelDebug) })
	}
	return debugs
}

// put queues a record. It needs mu.
func (l *Log) put(e *Event, at time.Time, attrs []slog.Attr) {
	if len(l.queue) >= mostQueued {
		l.dropped++
		return
	}
	if l.dropped > 0 {
		lost := slog.NewRecord(at, RecordsDropped.Level, RecordsDropped.Name, 0)
		lost.AddAttrs(slog.Int("records", l.dropped))
		l.queue, l.dropped = append(l.queue, lost), 0
	}
	r := slog.NewRecord(at, e.Level, e.Name, 0)
	r.AddAttrs(attrs...)
	l.queue = append(l.queue, r)
	if l.draining == nil {
		l.draining = make(chan struct{})
		go l.drain()
	}
}

// drain is the goroutine that calls the handler.
func (l *Log) drain() {
	for {
		l.mu.Lock()
		records := l.queue
		l.queue = nil
		if len(records) == 0 {
			close(l.draining)
			l.draining = nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, r := range records {
			Guard(func() {
				if ctx := context.Background(); r.Level == slog.LevelDebug || l.handler.Enabled(ctx, r.Level) { // of Debug it was asked before
					_ = l.handler.Handle(ctx, r) // a log that can't be written is nowhere to be told
				}
			})
		}
	}
}

// Flush waits until the handler has what was told before, for patience at most.
func (l *Log) Flush(patience time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	draining := l.draining
	l.mu.Unlock()
	if draining == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-draining:
	case <-timer.C:
	}
}

// Cause is an attribute with an error's text. It is the text alone: an error may hold what does not belong into a log, such as a
// token.
func Cause(err error) slog.Attr {
	if err == nil {
		return slog.Attr{} // handlers leave it out
	}
	return slog.String("cause", err.Error())
}

// BrokerAttr names a broker. One whose id is not known, such as a seed, is left out: its address says which.
func BrokerAttr(id int32) slog.Attr {
	if id < 0 {
		return slog.Attr{}
	}
	return slog.Int("broker", int(id))
}

// EpochAttr is a leader or producer epoch, left out where there is none.
func EpochAttr[T int16 | int32](key string, epoch T) slog.Attr {
	if epoch < 0 {
		return slog.Attr{}
	}
	return slog.Int(key, int(epoch))
}
