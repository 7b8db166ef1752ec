package flow

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// Log is a producer's log: the user's *slog.Logger, or sarama.Logger if there is none. All methods may be called concurrently.
// Only NewLog and Flush wait for the user's handler: a goroutine passes the records on, and ends when there are no more. So a
// handler that is slow, hangs, or calls the producer holds up nothing. What it can't keep up with is dropped and counted.
//
// A nil *Log is one without a logger.
type Log struct {
	handler slog.Handler
	debugs  atomic.Bool  // the handler wants the debug level, as of the last time it was asked
	askedAt atomic.Int64 // when that was, as Unix nanoseconds

	mu       sync.Mutex
	queue    []slog.Record
	dropped  int           // since the last RecordsDropped
	ask      bool          // ask the handler for the debug level
	draining chan struct{} // closed when the goroutine ends; nil if it does not run
	repeats  map[*Event]map[string]*repeats
}

// mostQueued bounds the records that wait for the handler.
const mostQueued = 1000

// askDebugEvery is how often the handler is asked whether it wants the debug level.
const askDebugEvery = time.Second

// NewLog makes the log of a producer. A nil logger gives a nil Log.
func NewLog(logger *slog.Logger) *Log {
	if logger == nil {
		return nil
	}
	l := &Log{handler: logger.Handler(), repeats: make(map[*Event]map[string]*repeats)}
	l.askedAt.Store(time.Now().UnixNano())
	l.askDebug()
	return l
}

// askDebug asks the handler for the debug level.
func (l *Log) askDebug() {
	Guard(func() { l.debugs.Store(l.handler.Enabled(context.Background(), slog.LevelDebug)) })
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

// Event logs an event. How often it is logged for one key is limited: see repeats.
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

// Always logs an event each time. It is for events whose caller sees to it that there are few; Event is for all others.
func (l *Log) Always(e *Event, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(e, time.Now(), attrs)
}

// Debugs says whether the handler wants the debug level. The answer may be askDebugEvery old, or somewhat older. Call it before
// logging an event of that level.
func (l *Log) Debugs() bool {
	if l == nil {
		return false
	}
	now, asked := time.Now().UnixNano(), l.askedAt.Load()
	if now-asked >= int64(askDebugEvery) && l.askedAt.CompareAndSwap(asked, now) {
		l.mu.Lock()
		l.ask = true
		l.wake()
		l.mu.Unlock()
	}
	return l.debugs.Load()
}

// put queues a record. It needs mu.
func (l *Log) put(e *Event, at time.Time, attrs []slog.Attr) {
	if len(l.queue) >= mostQueued {
		l.dropped++
		return
	}
	r := slog.NewRecord(at, e.Level, e.Name, 0)
	r.AddAttrs(slices.DeleteFunc(attrs, func(a slog.Attr) bool { return a.Equal(slog.Attr{}) })...)
	l.queue = append(l.queue, r)
	l.wake()
}

// wake starts the goroutine, unless it runs. It needs mu.
func (l *Log) wake() {
	if l.draining == nil {
		l.draining = make(chan struct{})
		go l.drain()
	}
}

// drain is the goroutine that calls the handler.
func (l *Log) drain() {
	done := false
	defer func() {
		if !done { // the handler has ended it, as a test's t.Fatal does: the next record begins another
			l.mu.Lock()
			defer l.mu.Unlock()
			close(l.draining)
			l.draining = nil
		}
	}()
	for {
		l.mu.Lock()
		records, ask := l.queue, l.ask
		l.queue, l.ask = nil, false
		if l.dropped > 0 { // since the queue was full, so that there are records
			lost := slog.NewRecord(time.Now(), RecordsDropped.Level, RecordsDropped.Name, 0)
			lost.AddAttrs(slog.Int("records", l.dropped))
			records, l.dropped = append(records, lost), 0
		}
		if len(records) == 0 && !ask {
			close(l.draining)
			l.draining, done = nil, true
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if ask {
			l.askDebug()
		}
		for _, r := range records {
			Guard(func() {
				if ctx := context.Background(); r.Level == slog.LevelDebug || l.handler.Enabled(ctx, r.Level) { // see Debugs
					_ = l.handler.Handle(ctx, r) // an error of the log has nowhere to go
				}
			})
		}
	}
}

// Flush waits until the handler has what was logged before, for patience at most.
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

// Cause is an attribute with an error's text. It is the text alone: an error's fields may hold a secret, such as a token.
func Cause(err error) slog.Attr {
	if err == nil {
		return slog.Attr{} // which is left out
	}
	return slog.String("cause", err.Error())
}

// BrokerAttr is a broker's id. It is left out where the id is not known, as for a seed: the address says which one it is.
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
