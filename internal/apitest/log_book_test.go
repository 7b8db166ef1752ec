package apitest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice"
)

// book is a slog.Handler that keeps the records.
type book struct {
	level slog.LevelVar

	mu      sync.Mutex
	records []slog.Record
	more    chan struct{} // closed at the next record
}

func newBook() *book { return &book{more: make(chan struct{})} }

// option makes it a producer's log.
func (b *book) option() sluice.Option { return sluice.WithLogger(slog.New(b)) }

func (b *book) Enabled(_ context.Context, level slog.Level) bool { return level >= b.level.Level() }

func (b *book) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	close(b.more)
	b.more = make(chan struct{})
	return nil
}

func (b *book) WithAttrs([]slog.Attr) slog.Handler { return b }

func (b *book) WithGroup(string) slog.Handler { return b }

// attrs are the attributes of a record that are told.
func attrs(r slog.Record) map[string]slog.Value {
	all := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool {
		if !a.Equal(slog.Attr{}) {
			all[a.Key] = a.Value
		}
		return true
	})
	return all
}

// all are the records of an event until now; of every event, if name is empty.
func (b *book) all(name string) (found []slog.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		if name == "" || r.Message == name {
			found = append(found, r)
		}
	}
	return found
}

// of are the records of an event about one kind of request.
func (b *book) of(name, request string) (found []slog.Record) {
	for _, r := range b.all(name) {
		if attrs(r)["request"].String() == request {
			found = append(found, r)
		}
	}
	return found
}

// await waits for the first record of an event that has some attribute values, as text.
func (b *book) await(t testing.TB, name string, want map[string]string) map[string]slog.Value {
	t.Helper()
	timeout := time.After(patience)
	for {
		b.mu.Lock()
		more := b.more
		b.mu.Unlock()
		for _, r := range b.all(name) {
			got := attrs(r)
			if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(key string) bool { return got[key].String() != want[key] }) {
				return got
			}
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no record %q with %v, but %s", name, want, b)
		}
	}
}

func (b *book) String() (text string) {
	for _, r := range b.all("") {
		text += fmt.Sprintf("\n%v %s %v", r.Level, r.Message, attrs(r))
	}
	return text
}
