package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// told is a handler that keeps what it gets, as text. While gate is not nil, each record waits for it.
type told struct {
	gate  chan struct{}
	least slog.Level

	mu   sync.Mutex
	text []string
}

func (h *told) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least }

func (h *told) Handle(_ context.Context, r slog.Record) error {
	if h.gate != nil {
		<-h.gate
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if !a.Equal(slog.Attr{}) {
			text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, text)
	return nil
}

func (h *told) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *told) WithGroup(string) slog.Handler      { return h }

// take returns what was told since the last call, in a bubble.
func (h *told) take() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.text = nil }()
	return h.text
}

func inBubble(t *testing.T, test func(t *testing.T, l *Log, h *told)) {
	synctest.Test(t, func(t *testing.T) {
		h := &told{}
		test(t, NewLog(slog.New(h)), h)
	})
}

func wantTold(t *testing.T, h *told, want ...string) {
	t.Helper()
	if got := h.take(); !slices.Equal(got, want) {
		t.Errorf("told\n%q, want\n%q", got, want)
	}
}

func TestLogTellsLessAndLessOften(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		for range 1000 {
			l.Event(ConnectionLost, "a")
			l.Event(ConnectionLost, "b")
			time.Sleep(10 * time.Millisecond)
		}
		var want []string
		for _, at := range []int{0, 100, 300, 700} { // 1 s, 2 s and 4 s after the one before
			text := "connection lost"
			if at > 0 {
				text += fmt.Sprintf(" times=%d for=%v", at+1, time.Duration(at)*10*time.Millisecond)
			}
			want = append(want, text, text)
		}
		wantTold(t, h, want...)
		time.Sleep(time.Minute)
		l.Event(ConnectionLost, "a") // after that much quiet it is the first again
		wantTold(t, h, "connection lost")
	})
}

// What comes just often enough not to count as quiet, for a day.
func TestLogOfADay(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 50 * time.Second, 61 * time.Second} {
		inBubble(t, func(t *testing.T, l *Log, h *told) {
			for begin := time.Now(); time.Since(begin) < 24*time.Hour; time.Sleep(every) {
				l.Event(ConnectionLost, "a")
			}
			if n := len(h.take()); n > 24*60 {
				t.Errorf("every %v: %d records in a day", every, n)
			}
		})
	}
}

// However many keys there are, neither memory nor records grow with them.
func TestLogOfManyKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		for i := range 10_000 {
			l.Event(TopicNotFound, fmt.Sprint(i))
		}
		if n := len(h.take()); n != mostKeys+1 {
			t.Errorf("%d records", n)
		}
		if n := len(l.repeats[TopicNotFound]); n != mostKeys+1 {
			t.Errorf("%d keys are kept", n)
		}
		time.Sleep(2 * quietEnough)
		l.Event(TopicNotFound, "new")
		wantTold(t, h, "topic not found")
		if n := len(l.repeats[TopicNotFound]); n > 2 {
			t.Errorf("%d keys are kept after a while", n)
		}
	})
}

// Partitions with the same trouble share its records, and its end.
func TestTroubleIsShared(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		a, b, c := Trouble{Of: "partitions"}, Trouble{Of: "partitions"}, Trouble{Of: "partitions"}
		a.Over() // of none
		a.Again(l, Retrying, "x")
		time.Sleep(600 * time.Millisecond)
		b.Again(l, Retrying, "x")
		c.Again(l, Retrying, "x")
		wantTold(t, h, "retrying partitions=1")
		time.Sleep(600 * time.Millisecond)
		a.Again(l, Retrying, "x")
		wantTold(t, h, "retrying partitions=3 times=4 for=1.2s")
		a.Over()
		c.Leave()
		wantTold(t, h)
		b.Over(slog.String("topic", "t"))
		wantTold(t, h, "back to normal topic=t took=600ms retries=1")
		b.Over()
		wantTold(t, h)
	})
}

// What was told has its end told, and nothing else has.
func TestTroubleHasOneEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		a := Trouble{Of: "partitions"}
		for range 10 {
			a.Again(l, Retrying, "x")
			a.Over()
			time.Sleep(time.Millisecond)
		}
		wantTold(t, h, "retrying partitions=1", "back to normal took=0s retries=1")
		time.Sleep(2 * time.Second)
		a.Again(l, Retrying, "x")
		time.Sleep(3 * time.Second)
		a.Again(l, NoLeader, "t") // the same trouble, seen from elsewhere
		time.Sleep(3 * time.Second)
		a.Over()
		wantTold(t, h, "retrying partitions=1", "no leader partitions=1", "back to normal took=6s retries=2")
		a.Again(l, Retrying, "x")
		a.Leave() // nobody knows how it went on
		wantTold(t, h, "retrying partitions=1")
	})
}

// A trouble is not over because its failures are far between.
func TestTroubleWithRareFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		var a Trouble
		for begin := time.Now(); time.Since(begin) < time.Hour; time.Sleep(70 * time.Second) {
			a.Again(l, Retrying, "x")
		}
		if n := len(h.take()); n < 10 || n > 20 {
			t.Errorf("%d records", n)
		}
	})
}

// Troubles that come and go for an hour cost tens of records. After one that has lasted the next is told within a minute.
func TestTroublesThatComeAndGo(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		var a Trouble
		for begin := time.Now(); time.Since(begin) < time.Hour; time.Sleep(5 * time.Second) {
			a.Again(l, Retrying, "x")
			time.Sleep(5 * time.Second)
			a.Over()
		}
		if n := len(h.take()); n < 20 || n > 50 {
			t.Errorf("%d records", n)
		}
		for range 3600 {
			a.Again(l, NoLeader, "x")
			time.Sleep(time.Second)
		}
		h.take()
		a.Over()
		time.Sleep(quietEnough / 2)
		for range 61 {
			a.Again(l, NoLeader, "x")
			time.Sleep(time.Second)
		}
		if got := h.take(); len(got) < 2 {
			t.Errorf("after an hour without a leader, and half a minute with one: %q", got)
		}
	})
}

// A slow handler costs records, not memory or time.
func TestLogDropsWhatTheHandlerIsTooSlowFor(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		h.gate = make(chan struct{})
		l.Always(MemoryFree)
		synctest.Wait() // the handler has it
		for range mostQueued + 7 {
			l.Always(MemoryFree)
		}
		begin := time.Now()
		l.Flush(time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Flush took %v", took)
		}
		close(h.gate)
		l.Flush(time.Second)
		got := h.take() // what was dropped is told also if nothing else is told any more
		if n := len(got); n != mostQueued+2 || got[n-1] != "records dropped records=7" {
			t.Errorf("%d records, the last is %q", n, got[n-1])
		}
		l.Always(MemoryFree)
		wantTold(t, h, "memory free again")
		l.Flush(time.Second)
	})
}

// A handler may end the goroutine that calls it, as t.Fatal of a test does. Later records come all the same, and Flush returns.
func TestLogGoesOnAfterGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &leaving{}
		l := NewLog(slog.New(h))
		for n := range 3 {
			l.Always(Connected)
			began := time.Now()
			if l.Flush(time.Second); time.Since(began) > 0 {
				t.Error("Flush waits for a goroutine that has ended")
			}
			synctest.Wait()
			if h.calls != n+1 {
				t.Errorf("record %d: %d calls", n+1, h.calls)
			}
		}
	})
}

// leaving is a handler that ends its goroutine.
type leaving struct {
	told
	calls int
}

func (h *leaving) Handle(context.Context, slog.Record) error {
	h.calls++
	runtime.Goexit()
	return nil
}

// Levels that the handler does not want are not handed to it. It is asked for the debug level once a second, by the goroutine that
// calls it: who tells does not wait for it.
func TestLogHeedsTheLevel(t *testing.T) {
	inBubble(t, func(t *testing.T, l *Log, h *told) {
		wantDebugs := func(want bool) {
			t.Helper()
			if synctest.Wait(); l.Debugs() != want {
				t.Errorf("debug: %v", !want)
			}
		}
		wantDebugs(false)
		h.least = slog.LevelDebug
		wantDebugs(false)
		time.Sleep(askDebugEvery)
		wantDebugs(false) // which asks
		wantDebugs(true)
		time.Sleep(askDebugEvery)
		h.gate, h.least = make(chan struct{}), slog.LevelInfo
		l.Always(MemoryFree) // the handler hangs
		wantDebugs(true)
		wantDebugs(true)
		close(h.gate)
		wantDebugs(false)
		h.take()
		h.least = slog.LevelError
		l.Always(MemoryFull)
		l.Always(CannotGoOn)
		wantTold(t, h, "producer can't go on")
	})
}

// Without a logger nothing happens, and nothing costs memory.
func TestNoLog(t *testing.T) {
	l := NewLog(nil)
	var trouble Trouble
	l.Event(Connected, "a")
	l.Always(Connected)
	l.Flush(time.Hour)
	trouble.Again(l, Retrying, "a")
	trouble.Over()
	trouble.Leave()
	if allocs := testing.AllocsPerRun(100, func() { _ = l.Debugs() }); allocs > 0 || l.Debugs() {
		t.Errorf("%v allocations", allocs)
	}
	quiet := NewLog(slog.New(&told{}))
	if allocs := testing.AllocsPerRun(100, func() { _ = quiet.Debugs() }); allocs > 0 {
		t.Errorf("%v allocations with a log", allocs)
	}
}

// Many goroutines tell, flush and end troubles at a time. Nothing is lost but what was dropped, and the goroutine ends.
func TestLogConcurrentSafe(t *testing.T) {
	h := &told{}
	l := NewLog(slog.New(h))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var trouble Trouble
			for n := range 100 {
				l.Always(MemoryFree)
				l.Event(LookUpFailed, fmt.Sprint(n), Cause(errors.New("x")))
				trouble.Again(l, Retrying, fmt.Sprint(n%3))
				if n%5 == i%5 {
					trouble.Over()
				}
				l.Flush(time.Second)
			}
			trouble.Leave()
		})
	}
	wg.Wait()
	l.Flush(time.Minute)
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, text := range h.text {
		if text == "memory free again" {
			n++
		}
	}
	if n != 800 {
		t.Errorf("%d records of 800", n)
	}
	goleak.VerifyNone(t)
}

func TestAttributes(t *testing.T) {
	for _, a := range []slog.Attr{Cause(nil), BrokerAttr(-1), EpochAttr("e", int16(-1)), EpochAttr("e", int32(-1))} {
		if !a.Equal(slog.Attr{}) {
			t.Errorf("%v is told", a)
		}
	}
	for want, a := range map[string]slog.Attr{
		"cause=x": Cause(errors.New("x")), "broker=0": BrokerAttr(0), "e=3": EpochAttr("e", int32(3)),
	} {
		if a.String() != want {
			t.Errorf("%v, want %s", a, want)
		}
	}
}
