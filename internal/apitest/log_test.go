package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// How much the log says, and what a user's handler may do.

// One of three brokers, or all of them, are down for an hour, and nine partitions are written to all the time.
func TestLogOfAnHourWithoutABroker(t *testing.T) {
	t.Run("one broker", func(t *testing.T) {
		logOfAnHour(t, 99, func(addr, first string) bool { return addr == first })
	})
	t.Run("all", func(t *testing.T) {
		logOfAnHour(t, 3*99, func(string, string) bool { return true })
	})
}

func logOfAnHour(t *testing.T, most int, down func(addr, first string) bool) {
	inBubble(t, func(t *testing.T, v *virtual) {
		const partitions = 9
		for p := range int32(partitions) {
			move(t, v.Cluster, p, p%3)
		}
		log := newBook()
		conf := v.config()
		conf.Producer.Return.Successes = false
		first := v.ListenAddrs()[1]
		outage := &outage{virtual: v, down: func(addr string) bool { return down(addr, first) }}
		conf.Net.Proxy.Dialer = outage
		p := newAsync(t, v.Cluster, conf, log.option())
		failed := drainErrors(p)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					send(p, message(int32(n)%partitions, n))
				}
			}
		}()
		time.Sleep(time.Minute)
		before := len(log.all(""))
		outage.on.Store(true)
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Metadata} { // open connections end with the next request
			v.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
				v.KeepControl()
				return nil, errors.New("down"), down(v.ListenAddrs()[v.CurrentNode()], first)
			})
		}
		time.Sleep(time.Hour)
		n := len(log.all("")) - before
		if n < 20 || n > most {
			t.Errorf("%d records in the hour, want %d at most:%s", n, most, log)
		}
		last := log.all("retrying")
		if got := attrs(last[len(last)-1]); got["partitions"].Int64() != partitions/3 ||
			got["for"].Duration() < 50*time.Minute || got["times"].Int64() < 1000 {
			t.Errorf("the last record of the hour: %v", got)
		}
		close(stop)
		<-stopped
		if len(failed()) == 0 {
			t.Error("nothing has failed in the hour")
		}
	}, kfake.SeedTopics(9, "t"))
}

// outage is a dialer that has brokers that are down, from some moment on.
type outage struct {
	*virtual
	down func(addr string) bool
	on   atomic.Bool
}

func (o *outage) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if o.on.Load() && o.down(addr) {
		return nil, errPlugged
	}
	return o.virtual.DialContext(ctx, network, addr)
}

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
	var panicked atomic.Int32
	handlePanics(t, func(any) { panicked.Add(1) })
	c := newTopicCluster(t, 1, 1)
	failProduce(c, kerr.NotEnoughReplicas, 1)
	p := newAsync(t, c, testConfig(), sluice.WithLogger(slog.New(panicking{})))
	send(p, messages(100, 1)...)
	successes(t, p, 100)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if panicked.Load() == 0 {
		t.Error("sarama.PanicHandler got nothing")
	}
}

type panicking struct{}

func (panicking) Enabled(context.Context, slog.Level) bool  { panic("Enabled") }
func (panicking) Handle(context.Context, slog.Record) error { panic("Handle") }
func (p panicking) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicking) WithGroup(string) slog.Handler           { return p }

// handlePanics sets sarama.PanicHandler for one test.
func handlePanics(t *testing.T, handler func(any)) {
	old := sarama.PanicHandler
	sarama.PanicHandler = handler
	t.Cleanup(func() { sarama.PanicHandler = old })
}

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

// The level may be changed while the producer runs.
func TestLogLevelThatChanges(t *testing.T) {
	log := newBook()
	p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), log.option())
	produced := 0
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug, slog.LevelInfo, slog.LevelDebug} {
		log.level.Set(level)
		for i := range 10 {
			if _, _, err := p.SendMessage(message(0, i)); err != nil {
				t.Fatal(err)
			}
		}
		if level == slog.LevelDebug {
			produced += 10
		}
	}
	p.Close()
	got := 0
	for _, r := range log.all("request answered") {
		if attrs(r)["request"].String() == "Produce" {
			got++
		}
	}
	if got != produced {
		t.Errorf("%d records of Produce, want %d", got, produced)
	}
}
