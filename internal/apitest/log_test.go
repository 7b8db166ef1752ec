package apitest

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// How much the log says, and what a user's handler may do.

// A trouble that goes on, and its end, are told with how long they took.
func TestLogOfATroubleAndItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		log := newBook()
		conf := v.config()
		conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 1<<20, 100*time.Millisecond
		p := newAsync(t, v.Cluster, conf, log.option())
		failure := failProduce(v.Cluster, kerr.NotEnoughReplicas, -1)
		send(p, message(0, 0))
		time.Sleep(30 * time.Second)
		failure.Remove()
		successes(t, p, 1)
		got := log.await(t, "back to normal", nil)
		if took := got["took"].Duration(); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("took %v", took)
		}
		told := log.all("retrying")
		if len(told) < 4 || len(told) > 6 {
			t.Errorf("told %d times in 30 s:%s", len(told), log)
		}
		if first := attrs(told[0]); first["times"].Kind() != slog.KindAny {
			t.Errorf("the first says how many: %v", first)
		}
		for i := range told[1:] {
			if a, b := attrs(told[i]), attrs(told[i+1]); a["times"].Kind() == slog.KindInt64 && a["times"].Int64() >= b["times"].Int64() {
				t.Errorf("%v, then %v", a, b)
			}
		}
		// All is well: nothing more is told.
		n := len(log.all(""))
		for i := range 1000 {
			send(p, message(0, i))
			successes(t, p, 1)
		}
		if len(log.all("")) != n {
			t.Errorf("told while all is well:%s", log)
		}
	}, kfake.SeedTopics(1, "t"))
}

// What has kept messages waiting before their first look-up, or without a producer id, has an end, too.
func TestLogOfOtherTroublesAndTheirEnd(t *testing.T) {
	for name, line := range map[string]struct {
		key  kmsg.Key
		err  *kerr.Error
		want map[string]string
	}{
		"topic not found": {kmsg.Metadata, kerr.UnknownTopicOrPartition, map[string]string{"topic": "t"}},
		"no producer id":  {kmsg.InitProducerID, kerr.CoordinatorNotAvailable, map[string]string{"producer_epoch": "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				log := newBook()
				conf := idempotent(v.config())
				conf.Metadata.Full = false
				failure := v.Fault(kfake.Fault{Keys: []kmsg.Key{line.key}, TopLevel: line.key == kmsg.InitProducerID, Err: line.err, Count: -1})
				p := newAsync(t, v.Cluster, conf, log.option())
				send(p, message(0, 0))
				log.await(t, name, nil)
				time.Sleep(20 * time.Second)
				failure.Remove()
				successes(t, p, 1)
				got := log.await(t, "back to normal", line.want)
				if took := got["took"].Duration(); took < 19*time.Second || took > 22*time.Second {
					t.Errorf("took %v", took)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// Logins that are refused while New runs have an end, too: the connection that is made says what it took.
func TestLogOfLoginsAtTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		log, logins := newBook(), countLogins(v.Cluster)
		logins.refuse(sarama.ErrSASLAuthenticationFailed, tooManyConnects, 0)
		time.AfterFunc(5*time.Second, logins.take)
		conf := v.saslConfig()
		conf.Metadata.Retry.Max = 1000
		newAsync(t, v.Cluster, conf, log.option())
		log.await(t, "login failed", map[string]string{"mechanism": "PLAIN"})
		got := log.await(t, "connected", nil)
		if after := got["after"].Duration(); got["failures"].Int64() < 2 || after < 4*time.Second || after > 7*time.Second {
			t.Errorf("%v", got)
		}
	}, withLogin(kfake.SeedTopics(1, "t"))...)
}

// A producer with a log of its own says nothing to sarama.Logger, and one without says nothing to anybody else's.
func TestLogsAreApart(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	lines, log := captureLog(t), newBook()
	own, other := newAsync(t, c, testConfig(), log.option()), newAsync(t, c, testConfig(), sluice.WithLogger(nil))
	send(own, nil, message(0, 0))
	successes(t, own, 1)
	log.await(t, "nil message", nil)
	if n := lines.count("sluice:"); n != 0 {
		t.Errorf("%d lines of it in sarama.Logger", n)
	}
	n := len(log.all("nil message"))
	send(other, nil, message(0, 1))
	successes(t, other, 1)
	if lines.count("sluice: a nil message was sent, it is ignored\n") != 1 {
		t.Errorf("sarama.Logger does not have it")
	}
	if len(log.all("nil message")) != n {
		t.Error("the other's log has it")
	}
}

// A handler that panics costs its records, and nothing else.
func TestLogHandlerThatPanics(t *testing.T) {
	var handled atomic.Int32
	handlePanics(t, func(any) { handled.Add(1) })
	c := newTopicCluster(t, 1, 1)
	failProduce(c, kerr.NotEnoughReplicas, 1)
	p := newAsync(t, c, testConfig(), sluice.WithLogger(slog.New(panicking{})))
	send(p, messages(100, 1)...)
	successes(t, p, 100)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if handled.Load() == 0 {
		t.Error("sarama.PanicHandler got nothing")
	}
}

type panicking struct{}

func (panicking) Enabled(context.Context, slog.Level) bool  { panic("Enabled") }
func (panicking) Handle(context.Context, slog.Record) error { panic("Handle") }
func (p panicking) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicking) WithGroup(string) slog.Handler           { return p }

// A handler that hangs holds up neither messages nor, for more than a second, Close. The records come once it goes on.
func TestLogHandlerThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		log := newBook()
		slow := &slowBook{book: log, opened: make(chan struct{})}
		p := newAsync(t, v.Cluster, v.config(), sluice.WithLogger(slog.New(slow)))
		begin := time.Now()
		send(p, messages(500, 1)...)
		successes(t, p, 500)
		if took := time.Since(begin); took > 0 {
			t.Errorf("delivered after %v", took)
		}
		p.Close()
		if took := time.Since(begin); took != time.Second {
			t.Errorf("closed after %v", took)
		}
		close(slow.opened)
		log.await(t, "connected", nil)
	}, kfake.SeedTopics(1, "t"))
}

// Close, and a New that fails, return when the handler has the last records.
func TestLogIsWholeAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		log := newBook()
		lazy := &lazyBook{log}
		p := newAsync(t, v.Cluster, v.config(), sluice.WithLogger(slog.New(lazy)))
		send(p, nil)
		p.Close()
		if len(log.all("nil message")) != 1 {
			t.Errorf("after Close:%s", log)
		}
		conf := v.config()
		conf.Metadata.Retry.Max = 0
		v.refused.Store(&refusal{"nowhere:1", errPlugged})
		if _, err := sluice.New([]string{"nowhere:1"}, conf, sluice.WithLogger(slog.New(lazy))); err == nil {
			t.Error("it is made")
		}
		if len(log.all("not connected")) != 1 {
			t.Errorf("after New:%s", log)
		}
	}, kfake.SeedTopics(1, "t"))
}

// lazyBook is a handler that takes a while for each record.
type lazyBook struct{ *book }

func (b *lazyBook) Handle(ctx context.Context, r slog.Record) error {
	time.Sleep(10 * time.Millisecond)
	return b.book.Handle(ctx, r)
}

// The level may be changed while the producer runs. That counts a second later.
func TestLogLevelThatChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		log := newBook()
		p := newAsync(t, v.Cluster, v.config(), log.option())
		produced := func(n int) int {
			before := len(log.of("request answered", "Produce"))
			for i := range n {
				if _, _, err := p.SendMessage(message(0, i)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			return len(log.of("request answered", "Produce")) - before
		}
		for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug, slog.LevelInfo, slog.LevelDebug} {
			log.level.Set(level)
			time.Sleep(2 * time.Second)
			produced(1) // has the handler asked
			want := 0
			if level == slog.LevelDebug {
				want = 10
			}
			if got := produced(10); got != want {
				t.Errorf("level %v: %d records of 10 requests, want %d", level, got, want)
			}
		}
	}, kfake.SeedTopics(1, "t"))
}

// At the debug level each request has its record, those of a dial too, and those that are not answered.
func TestLogOfEachRequest(t *testing.T) {
	log := newBook()
	log.level.Set(slog.LevelDebug)
	c := newTopicCluster(t, 1, 1, withLogin()...)
	conf := idempotent(testConfig())
	conf.Version = sarama.V3_6_0_0
	conf.Net.SASL.Enable = true
	conf.Net.SASL.User, conf.Net.SASL.Password = "user", "secret"
	p := newAsync(t, c, conf, log.option())
	loseConnections(c, 1)
	send(p, message(0, 0))
	successes(t, p, 1)
	p.Close()
	for _, request := range []string{"ApiVersions", "SASLHandshake", "SASLAuthenticate", "Metadata", "InitProducerID", "Produce"} {
		log.await(t, "request answered", map[string]string{"request": request})
	}
	log.await(t, "request lost", map[string]string{"request": "Produce", "broker": "0"})
	wantNoSecrets(t, log)
}

// The handler may call the producer whose records it gets. It waits for nothing but itself: Close, called by it, does so for a second.
func TestLogHandlerThatCallsTheProducer(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		ready := make(chan *sluice.Producer, 1)
		calls := &callingBook{book: newBook(), ready: ready, closed: make(chan struct{})}
		failProduce(v.Cluster, kerr.NotEnoughReplicas, 1)
		p := newAsync(t, v.Cluster, v.config(), sluice.WithLogger(slog.New(calls)))
		ready <- p
		send(p, message(0, 0))
		successes(t, p, 2) // the second one is the handler's
		<-calls.closed
		if calls.took != time.Second {
			t.Errorf("Close took %v", calls.took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// callingBook sends with the first record that there is a producer for, and closes it with "back to normal".
type callingBook struct {
	*book
	ready  chan *sluice.Producer
	p      *sluice.Producer
	closed chan struct{}
	took   time.Duration
}

func (b *callingBook) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Message == "retrying":
		b.p = <-b.ready
		send(b.p, message(0, 1))
		b.p.Buffered()
		if err := b.p.Flush(ctx); err != nil {
			return err
		}
	case r.Message == "back to normal":
		begin := time.Now()
		_ = b.p.Close()
		b.took = time.Since(begin)
		close(b.closed)
	}
	return b.book.Handle(ctx, r)
}

// The logger's attributes and groups are kept, and what is not known is nowhere in the text.
func TestLogKeepsTheLoggersGroups(t *testing.T) {
	var text synced
	handler := slog.NewJSONHandler(&text, &slog.HandlerOptions{AddSource: true, Level: slog.LevelWarn})
	logger := slog.New(handler).With("client", "shop").WithGroup("kafka").With("cluster", "west")
	p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), sluice.WithLogger(logger))
	send(p, nil)
	p.Close()
	var record struct {
		Msg, Client string
		Kafka       map[string]any
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if err := json.Unmarshal([]byte(lines[0]), &record); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1 || record.Msg != "nil message" || record.Client != "shop" || record.Kafka["cluster"] != "west" || len(record.Kafka) != 1 {
		t.Errorf("%s", text.String())
	}
}

// synced is a strings.Builder for several goroutines.
type synced struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
