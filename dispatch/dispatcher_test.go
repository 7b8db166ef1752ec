package dispatch

import (
	"bytes"
	"context"
	"errors"
	"log"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
)

func TestInputsKeepOrder(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) { cfg.partitions = 2 })
	for n := 1; n <= 2000; n += 2 {
		h.Input <- numbered(n, 0)
		h.InputBatch <- []*sarama.ProducerMessage{numbered(n, 1), nil, numbered(n+1, 1)}
		h.Input <- numbered(n+1, 0)
	}
	<-h.Barrier(context.Background())
	for p := range int32(2) {
		got := h.brokers.numbers(p)
		if len(got) != 2000 {
			t.Fatalf("partition %d got %d records", p, len(got))
		}
		for i, n := range got {
			if n != i+1 {
				t.Fatalf("partition %d: record %d is at place %d", p, n, i)
			}
		}
	}
}

type badEncoder struct{}

func (badEncoder) Encode() ([]byte, error) { return nil, errors.New("no") }
func (badEncoder) Length() int             { panic("length") }

func sized(n int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, n))}
}

func TestBadMessagesAreRefused(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) {
		cfg.memory = 20_000
		cfg.Producer.MaxMessageBytes = 12_000
	})
	for name, test := range map[string]struct {
		msg  *sarama.ProducerMessage
		want error
		text string
	}{
		"no topic":         {&sarama.ProducerMessage{}, sarama.ErrInvalidTopic, "without a topic"},
		"too large":        {sized(12_000), sarama.ErrMessageSizeTooLarge, "MaxMessageBytes: 12036 > 12000"},
		"beyond memory":    {sized(11_000), flow.ErrBufferFull, "20000"},
		"panicking length": {&sarama.ProducerMessage{Topic: "t", Key: badEncoder{}}, nil, "panicked: length"},
	} {
		t.Run(name, func(t *testing.T) {
			h.Input <- test.msg
			err := h.failure()
			if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q, want one that wraps %v and says %q", err, test.want, test.text)
			}
		})
	}
	h.Input <- numbered(1, 0)
	if r := h.report(); r.Err != nil {
		t.Errorf("the dispatcher did not go on: %v", r.Err)
	}
}

type interceptorFunc func(*sarama.ProducerMessage)

func (f interceptorFunc) OnSend(msg *sarama.ProducerMessage) { f(msg) }

func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	var text bytes.Buffer
	old := sarama.Logger
	sarama.Logger = log.New(&text, "", 0)
	t.Cleanup(func() { sarama.Logger = old })
	return &text
}

func TestInterceptors(t *testing.T) {
	logged := captureLog(t)
	h := newHarness(t, func(cfg *harnessConfig) {
		cfg.Producer.Interceptors = []sarama.ProducerInterceptor{
			interceptorFunc(func(*sarama.ProducerMessage) { panic("oops") }),
			interceptorFunc(func(msg *sarama.ProducerMessage) {
				if msg.Topic == "erase" {
					msg.Topic = ""
				} else {
					msg.Partition++
				}
			}),
		}
	})
	h.Input <- numbered(1, 0)
	h.Input <- nil
	direct(t, h, flow.Record{Msg: numbered(2, 1)})
	<-h.Barrier(context.Background())
	if got := h.brokers.numbers(1); len(got) != 1 || got[0] != 1 {
		t.Errorf("partition 1 got %v", got)
	}
	if got := h.brokers.numbers(2); len(got) != 1 || got[0] != 2 {
		t.Errorf("partition 2 got %v", got)
	}
	h.report()
	h.report()
	erased := numbered(3, 0)
	erased.Topic = "erase"
	direct(t, h, flow.Record{Msg: erased})
	if err := h.failure(); !errors.Is(err, sarama.ErrInvalidTopic) {
		t.Error(err)
	}
	h.close()
	for _, want := range []string{"panicked", "oops", "nil message"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, logged)
		}
	}
}

// direct charges a record and passes it to the dispatcher, as Produce does.
func direct(t *testing.T, h *harness, rec flow.Record) {
	t.Helper()
	if err := Price(h.deps, &rec); err != nil {
		t.Fatal(err)
	}
	rec.Partition = -1
	h.deps.Budget.Force(int64(rec.Charge) + flow.RecordOverhead)
	if !h.Direct(rec) {
		t.Fatal("the dispatcher has left")
	}
}

// smallMemory is enough for two numbered messages.
func smallMemory(cfg *harnessConfig) {
	size, _ := recordBound(flowtest.Message(1))
	cfg.memory = 2 * (chargeFor(size) + flow.RecordOverhead)
}

func TestDispatcherWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, smallMemory)
		h.brokers.hold()
		for n := 1; n <= 5; n++ {
			h.Input <- numbered(n, 0)
		}
		synctest.Wait()
		if got := h.brokers.numbers(0); len(got) != 2 {
			t.Errorf("the brokers got %v: want as many as fit, at once", got)
		}
		if !h.deps.Urgent() {
			t.Error("not urgent while the dispatcher waits for memory")
		}
		// A record that is charged already passes: it may hold the memory that is awaited.
		direct(t, h, flow.Record{Msg: numbered(100, 1)})
		synctest.Wait()
		if got := h.brokers.numbers(1); len(got) != 1 {
			t.Errorf("the direct record did not pass: %v", got)
		}
		h.brokers.decide(nil)
		synctest.Wait()
		if got := h.brokers.numbers(0); len(got) != 4 {
			t.Errorf("after a release the brokers have %v", got)
		}
		if used := h.deps.Budget.Used(); used > h.deps.Budget.Limit() {
			t.Errorf("%d bytes charged of %d", used, h.deps.Budget.Limit())
		}
	})
}

// Large messages are charged beside their buffers, and memory is left free for those in Input.
func TestLargeMessagesLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, limit = 100 << 10, 1 << 20
		h := newHarness(t, func(cfg *harnessConfig) { cfg.memory = limit })
		h.brokers.hold()
		for n := range 20 {
			h.Input <- large(n, size)
		}
		synctest.Wait()
		h.brokers.decide(nil) // now memory is free, and Input is full
		synctest.Wait()
		sent := h.deps.Outcomes.Buffered()
		if used := h.deps.Budget.Used(); sent == 0 || used < int64(sent)*2*size || used > limit*3/4 {
			t.Errorf("%d bytes charged for %d messages while more wait in Input, of a budget of %d", used, sent, limit)
		}
		if drained := 20 - len(h.brokers.numbers(0)) - len(h.Input); drained > drainBytes/(2*size) {
			t.Errorf("%d messages are drained and not charged", drained)
		}
		h.brokers.resume()
		<-h.Barrier(context.Background())
		if got := h.brokers.numbers(0); len(got) != 20 {
			t.Errorf("%d messages went on", len(got))
		}
		h.close()
	})
}

func large(n, size int) *sarama.ProducerMessage {
	msg := numbered(n, 0)
	msg.Key = sarama.ByteEncoder(make([]byte, size))
	return msg
}

// A message that fits only if it is not charged beside its buffer is sent alone.
func TestMessageAsLargeAsMemory(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) { cfg.memory = 1 << 20 })
	for n := range 3 {
		h.Input <- large(n, 900<<10)
	}
	for range 3 {
		if r := h.report(); r.Err != nil {
			t.Error(r.Err)
		}
	}
}

// A Flush while the dispatcher waits for memory takes in what the inputs hold, and does not exceed the memory: the messages
// under way will free it.
func TestBarrierWhileTheDispatcherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, smallMemory)
		h.brokers.hold()
		for n := 1; n <= 5; n++ {
			h.Input <- numbered(n, 0)
		}
		h.InputBatch <- []*sarama.ProducerMessage{numbered(1, 1), numbered(2, 1), numbered(3, 1)}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.Barrier(ctx) // a Flush that does not wait leaves nothing behind
		barriers := make(chan (<-chan struct{}), 1)
		go func() { barriers <- h.Barrier(context.Background()) }()
		synctest.Wait()
		if used, limit := h.deps.Budget.Used(), h.deps.Budget.Limit(); used > limit {
			t.Errorf("%d bytes are charged of %d", used, limit)
		}
		h.brokers.resume()
		<-<-barriers
		if got := len(h.brokers.numbers(0)) + len(h.brokers.numbers(1)); got != 8 {
			t.Errorf("%d records were sent, want all that the inputs held", got)
		}
	})
}

// Refusals are charged too, so they wait while memory is used up.
func TestRefusalsWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, smallMemory)
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		h.Input <- numbered(2, 0)
		synctest.Wait()
		h.Input <- &sarama.ProducerMessage{}
		synctest.Wait()
		if len(h.reports) != 0 {
			t.Error("refused beyond the budget")
		}
		h.brokers.resume()
		for n := 0; n < 3; {
			r := h.report()
			if r.Err != nil && !errors.Is(r.Err, sarama.ErrInvalidTopic) {
				t.Error(r.Err)
			}
			n += len(r.Messages)
		}
	})
}

func TestCloseRefusesWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		barrier := h.BeginClose()
		h.Input <- numbered(2, 0)
		h.InputBatch <- []*sarama.ProducerMessage{numbered(3, 0), numbered(4, 0)}
		direct(t, h, flow.Record{Msg: numbered(5, 0)})
		for range 4 {
			if err := h.failure(); !errors.Is(err, sarama.ErrShuttingDown) {
				t.Error(err)
			}
		}
		select {
		case <-barrier:
			t.Error("passed before what came earlier has its outcome")
		default:
		}
		synctest.Wait()
		h.brokers.decide(nil)
		<-barrier
		if r := h.report(); r.Err != nil || flowtest.Number(r.Messages[0]) != 1 {
			t.Errorf("report %+v: want what came before Close delivered", r)
		}
	})
}

// After the end the inputs are closed, as in sarama: no message can get lost in them.
func TestInputsAreClosed(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) { cfg.ChannelBufferSize = 8 })
	h.Input <- numbered(1, 0)
	h.close()
	wantClosed(t, h)
	if h.Direct(flow.Record{Msg: numbered(2, 0)}) {
		t.Error("a record is taken after the end")
	}
	<-h.Barrier(context.Background())
	<-h.BeginClose()
}

func wantClosed(t *testing.T, h *harness) {
	t.Helper()
	if _, open := <-h.Input; open {
		t.Error("Input held a message after the end")
	}
	if _, open := <-h.InputBatch; open {
		t.Error("InputBatch held messages after the end")
	}
}

// A Flush may come while the dispatcher ends.
func TestBarrierBesideLeave(t *testing.T) {
	h := &harness{t: t}
	cfg := &harnessConfig{Config: sarama.NewConfig(), memory: 1 << 20}
	cfg.ChannelBufferSize = 4
	shared := flow.NewShared(flow.Config{Conf: cfg.Config, BufferMemory: cfg.memory})
	h.deps = &Deps{Shared: shared, Metadata: newFakeCluster(1)}
	h.Dispatcher = NewDispatcher(h.deps)
	var replies []chan struct{}
	for _, kind := range []controlKind{controlClose, controlStopInputs, controlCloseInputs, controlLeave, controlBarrier} {
		ev := controlEvent{kind, make(chan struct{}), make(chan struct{})}
		replies = append(replies, ev.done)
		h.control.Put(ev)
	}
	h.Run()
	for _, reply := range replies {
		<-reply
	}
	wantClosed(t, h)
	shared.Outcomes.CloseReports()
	shared.Outcomes.Close()
}

// Senders at all inputs, flushes and a Close: every message that got in has one outcome.
func TestDispatcherConcurrentSafe(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) {
		cfg.memory = 100_000
		cfg.ChannelBufferSize = 16
		cfg.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	})
	const each = 1000
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range each {
			h.Input <- numbered(n, 0)
		}
	})
	wg.Go(func() {
		for n := range each / 4 {
			h.InputBatch <- []*sarama.ProducerMessage{numbered(n, 0), nil, numbered(n, 0), numbered(n, 0), numbered(n, 0)}
		}
	})
	wg.Go(func() {
		for n := range each {
			rec := flow.Record{Msg: numbered(n, 0)}
			_ = Price(h.deps, &rec)
			<-h.deps.Budget.Wait(int64(rec.Charge) + flow.RecordOverhead).Granted()
			if !h.Direct(rec) {
				t.Error("not taken")
			}
		}
	})
	stop := make(chan struct{})
	var barriers sync.WaitGroup
	barriers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.deps.BeginUrgent()
				<-h.Barrier(context.Background())
				h.deps.EndUrgent()
				runtime.Gosched()
			}
		}
	})
	outcomes := make(chan int)
	go func() {
		n := 0
		for n < 3*each {
			n += len((<-h.reports).Messages)
		}
		outcomes <- n
	}()
	wg.Wait()
	if n := <-outcomes; n != 3*each {
		t.Errorf("%d outcomes of %d messages", n, 3*each)
	}
	close(stop)
	barriers.Wait()
}
