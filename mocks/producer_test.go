package mocks_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// anyProducer is an interface as a program may define it, of all that a Producer can do.
type anyProducer interface {
	sarama.AsyncProducer
	SendMessage(*sarama.ProducerMessage) (int32, int64, error)
	SendMessages([]*sarama.ProducerMessage) error
	InputBatch() chan<- []*sarama.ProducerMessage
	Produce(context.Context, *sarama.ProducerMessage, func(*sarama.ProducerMessage, error)) error
	SendMessageContext(context.Context, *sarama.ProducerMessage) (int32, int64, error)
	SendMessagesContext(context.Context, []*sarama.ProducerMessage) error
	Flush(context.Context) error
	CloseContext(context.Context) error
	Buffered() (int, int64)
	Stats() sluice.Stats
	CommitTxnContext(context.Context) error
	AbortTxnContext(context.Context) error
	Transact(context.Context, func(sluice.Tx) error) error
}

var (
	_ anyProducer         = (*sluice.Producer)(nil)
	_ anyProducer         = (*mocks.Producer)(nil)
	_ sarama.SyncProducer = (*mocks.Producer)(nil)
)

func TestProducerHasTheMethodsOfTheRealOne(t *testing.T) {
	mock, asked := reflect.TypeFor[*mocks.Producer](), reflect.TypeFor[anyProducer]()
	for want := range reflect.TypeFor[*sluice.Producer]().Methods() {
		got, ok := mock.MethodByName(want.Name)
		if !ok {
			t.Errorf("the mock has no %s", want.Name)
			continue
		}
		if !slices.Equal(slices.Collect(got.Type.Ins())[1:], slices.Collect(want.Type.Ins())[1:]) ||
			!slices.Equal(slices.Collect(got.Type.Outs()), slices.Collect(want.Type.Outs())) {
			t.Errorf("the mock's %s is %v, want %v", want.Name, got.Type, want.Type)
		}
		if _, ok := asked.MethodByName(want.Name); !ok {
			t.Errorf("%s is not in this test's interface", want.Name)
		}
	}
}

// ended returns a context that has ended with errEnough.
func ended() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnough)
	return ctx
}

var errEnough = errors.New("waited long enough")

// panics tells whether f does.
func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestProducerReturns(t *testing.T) {
	for name, c := range map[string]struct {
		successes, errors bool
		wantS, wantE      int
	}{
		"both":           {true, true, 1, 2},
		"errors only":    {false, true, 0, 2},
		"successes only": {true, false, 1, 0},
		"neither":        {false, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := mocks.NewTestConfig()
			config.Producer.Return.Successes, config.Producer.Return.Errors = c.successes, c.errors
			p := mocks.New(&reports{}, config).ExpectAndSucceed().ExpectAndFail(sarama.ErrOutOfBrokers)
			p.InputBatch() <- []*sarama.ProducerMessage{text("t", "1"), nil, text("t", "2"), text("t", "not expected")}
			p.Input() <- nil
			p.AsyncClose()
			s, e := 0, 0
			for range p.Successes() {
				s++
			}
			for range p.Errors() {
				e++
			}
			if s != c.wantS || e != c.wantE {
				t.Errorf("%d successes, %d errors, want %d, %d", s, e, c.wantS, c.wantE)
			}
		})
	}
}

// More outcomes than the buffers hold, and nobody reads: only the close waits for that. A call comes behind what was sent
// to the inputs before it.
func TestProducerUnreadOutcomes(t *testing.T) {
	for _, size := range []int{0, 1, 5} {
		config := partitionedBy(counting{})
		config.ChannelBufferSize = size
		p := mocks.New(t, config)
		checked := 0
		check := func(*sarama.ProducerMessage) error {
			checked++
			return nil
		}
		for i := range 10 {
			p.ExpectAndSucceed(check).ExpectAndFail(sarama.ErrOutOfBrokers, check)
			p.Input() <- text("t", "")
			if err := p.Flush(t.Context()); err != nil || checked != 2*i+1 {
				t.Fatalf("Flush returned %v behind %d messages", err, checked)
			}
			p.InputBatch() <- []*sarama.ProducerMessage{text("t", "")}
			if err := p.Flush(t.Context()); err != nil || checked != 2*i+2 {
				t.Fatalf("Flush returned %v behind %d messages", err, checked)
			}
			if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
				t.Errorf("%d messages of %d bytes are undecided after Flush", n, bytes)
			}
		}
		for range 10 {
			p.ExpectAndFail(sarama.ErrOutOfBrokers).ExpectAndSucceed()
			p.Input() <- text("t", "")
			if _, _, err := p.SendMessage(text("t", "")); err != nil {
				t.Errorf("SendMessage came before the message in Input: %v", err)
			}
		}
		if failed, ok := p.Close().(sarama.ProducerErrors); !ok || len(failed) != 20 {
			t.Errorf("Close returned %v, want 20 errors", failed)
		}
	}
}

// Between AsyncClose and its end a message is refused; afterwards a send panics, and calls return errors.
func TestProducerAfterTheClose(t *testing.T) {
	config := sarama.NewConfig()
	config.ChannelBufferSize = 0
	p := mocks.New(t, config).ExpectAndFail(sarama.ErrOutOfBrokers)
	p.Input() <- text("t", "")
	p.AsyncClose()
	p.AsyncClose()
	// The end waits for the failure above to be read.
	late := text("t", "late")
	const times = 100
	for range times {
		p.Input() <- late
		p.InputBatch() <- []*sarama.ProducerMessage{late, nil}
	}
	if err := <-p.Errors(); !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Errorf("the first message got %v", err)
	}
	for range 2 * times {
		if err := <-p.Errors(); err.Msg != late || err.Err != sarama.ErrShuttingDown {
			t.Errorf("a late message got %v", err)
		}
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
	}
	if !panics(func() { p.Input() <- late }) || !panics(func() { p.InputBatch() <- nil }) {
		t.Error("an input is open after Close")
	}
	_, _, one := p.SendMessage(late)
	many, _ := p.SendMessages([]*sarama.ProducerMessage{late}).(sarama.ProducerErrors)
	if len(many) != 1 {
		t.Fatalf("SendMessages after Close failed for %d messages", len(many))
	}
	for _, err := range []error{one, many[0].Err, p.Produce(t.Context(), late, nil)} {
		if err != sarama.ErrShuttingDown {
			t.Errorf("a call after Close returned %v", err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Errorf("Flush after Close returned %v", err)
	}
}

// What waits for a check or a callback ends with its context, and the rest comes when these end.
func TestProducerContexts(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	busy := func(*sarama.ProducerMessage) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	p := mocks.New(t, nil).ExpectAndSucceed(busy).ExpectAndSucceed()
	in := text("t", "in the check")
	p.Input() <- in
	<-entered
	called := make(chan error, 1)
	p.Produce(t.Context(), text("t", "behind it"), func(msg *sarama.ProducerMessage, err error) {
		busy(msg)
		called <- err
	})
	if n, bytes := p.Buffered(); n != 2 || bytes != int64(in.ByteSize(2)+text("t", "behind it").ByteSize(2)) {
		t.Errorf("%d messages of %d bytes are undecided", n, bytes)
	}
	if r := p.Stats().Records; r.Buffered.Records != 2 || r.Acknowledged.Records != 0 {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go cancel(errEnough)
	if err := p.Flush(ctx); !errors.Is(err, errEnough) || !errors.Is(err, context.Canceled) {
		t.Errorf("Flush behind a busy check returned %v", err)
	}
	if _, _, err := p.SendMessageContext(ctx, text("t", "")); !errors.Is(err, errEnough) {
		t.Errorf("SendMessageContext returned %v", err)
	}
	if err := p.SendMessagesContext(ctx, []*sarama.ProducerMessage{in, in}); len(err.(sarama.ProducerErrors)) != 2 {
		t.Errorf("SendMessagesContext returned %v", err)
	}
	release <- struct{}{}
	<-entered
	if err := p.CloseContext(ctx); !errors.Is(err, errEnough) {
		t.Errorf("CloseContext behind a busy callback returned %v", err)
	}
	close(release)
	if err := errors.Join(<-called, p.Close()); err != nil {
		t.Error(err)
	}
}

func TestProducerBadInput(t *testing.T) {
	p := mocks.New(t, nil)
	if err := errors.Join(p.SendMessages(nil), p.SendMessagesContext(ended(), nil)); err != nil {
		t.Errorf("sending nothing: %v", err)
	}
	_, _, err := p.SendMessage(nil)
	for _, err := range []error{
		err,
		p.SendMessages([]*sarama.ProducerMessage{text("t", ""), nil}),
		p.Produce(t.Context(), nil, nil),
	} {
		if _, ok := errors.AsType[sarama.ConfigurationError](err); !ok {
			t.Errorf("a nil message got %v", err)
		}
	}
	p.Close()
}

// Callbacks may use the mock, and a check may set expectations.
func TestProducerCallbacks(t *testing.T) {
	p := mocks.New(t, transactional())
	p.BeginTxn()
	p.ExpectAndSucceed(func(*sarama.ProducerMessage) error {
		p.ExpectAndSucceed().ExpectAndFail(sarama.ErrOutOfBrokers)
		return nil
	}, nil, mocks.CheckValue(nil), mocks.CheckValue(is("")))
	var got []error
	p.Produce(t.Context(), &sarama.ProducerMessage{Topic: "a tombstone"}, func(_ *sarama.ProducerMessage, err error) {
		_, _, sent := p.SendMessage(text("t", ""))
		got = append(got, err, sent, p.Flush(t.Context()), p.CommitTxn(), p.BeginTxn())
		p.Produce(t.Context(), text("t", ""), func(_ *sarama.ProducerMessage, err error) {
			got = append(got, err)
			p.AsyncClose()
		})
	})
	for range p.Errors() {
		t.Error("an outcome of Produce in Errors")
	}
	want := []error{nil, nil, nil, nil, nil, sarama.ErrOutOfBrokers}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// FailNow, which ends its goroutine, in a check or a callback fails its message and not the mock.
func TestProducerFailNow(t *testing.T) {
	leave := func(*sarama.ProducerMessage) error {
		new(testing.T).SkipNow() // FailNow, without a failure
		return nil
	}
	p := mocks.New(t, partitionedBy(counting{})).ExpectAndSucceed(leave).ExpectAndSucceed(leave).ExpectAndSucceed()
	p.Input() <- text("t", "1")
	if _, _, err := p.SendMessage(text("t", "2")); err == nil {
		t.Error("a message succeeded whose check did not return")
	}
	p.Produce(t.Context(), text("t", "3"), func(msg *sarama.ProducerMessage, _ error) { leave(msg) })
	if failed, _ := p.Close().(sarama.ProducerErrors); len(failed) != 1 {
		t.Errorf("Close returned %v, want one failure", failed)
	}
}

func TestProducerPartitions(t *testing.T) {
	p := mocks.New(t, partitionedBy(counting{}))
	send := func(topic string, want int32) {
		t.Helper()
		p.ExpectAndSucceed()
		if got, _, _ := p.SendMessage(text(topic, "")); got != want {
			t.Errorf("topic %s went to partition %d, want %d", topic, got, want)
		}
	}
	send("a", 31)
	p.SetDefaultPartitions(4)
	p.SetPartitions(map[string]int32{"b": 7})
	p.SetPartitions(map[string]int32{"c": 9})
	send("a", 3)
	send("b", 6)
	send("c", 8)
	p.Close()
}

// Whatever the number of senders, each message has one outcome, and each expectation serves one message.
func TestProducerConcurrentSafe(t *testing.T) {
	const senders, each, ways = 6, 50, 5
	config := partitionedBy(counting{})
	config.ChannelBufferSize = 3
	p := mocks.New(t, config)
	checked := 0 // without a lock: checks run one at a time
	check := func(*sarama.ProducerMessage) error {
		checked++
		return nil
	}
	var mu sync.Mutex
	outcomes := make(map[*sarama.ProducerMessage]int)
	count := func(msg *sarama.ProducerMessage) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[msg]++
	}
	var wg, readers sync.WaitGroup
	readers.Go(func() {
		for msg := range p.Successes() {
			count(msg)
		}
	})
	readers.Go(func() {
		for err := range p.Errors() {
			count(err.Msg)
		}
	})
	for range senders {
		wg.Go(func() {
			for i := range each {
				p.ExpectAndSucceed(check).ExpectAndFail(sarama.ErrOutOfBrokers, check).ExpectAndSucceed(check)
				p.ExpectAndFail(sarama.ErrOutOfBrokers, check).ExpectAndSucceed(check)
				p.Input() <- text("t", "")
				p.InputBatch() <- []*sarama.ProducerMessage{text("t", "")}
				p.Produce(t.Context(), text("t", ""), func(msg *sarama.ProducerMessage, _ error) { count(msg) })
				one, many := text("t", ""), text("t", "")
				p.SendMessageContext(t.Context(), one)
				p.SendMessages([]*sarama.ProducerMessage{many})
				count(one)
				count(many)
				p.SetPartitions(map[string]int32{"t": int32(i + 1)})
				p.Flush(t.Context())
				p.Buffered()
				p.BeginTxn()
				p.TxnStatus()
			}
		})
	}
	wg.Wait()
	for range 3 {
		wg.Go(func() { p.CloseContext(t.Context()) })
		wg.Go(p.AsyncClose)
	}
	wg.Wait()
	readers.Wait()
	// What Close took of the channels is not counted here.
	if checked != ways*senders*each || len(outcomes) > checked {
		t.Errorf("%d checked, %d with an outcome, want %d", checked, len(outcomes), ways*senders*each)
	}
	for _, n := range outcomes {
		if n != 1 {
			t.Fatalf("a message has %d outcomes", n)
		}
	}
}

// The mock's Stats count what its expectations say, by sluice's causes.
func TestStats(t *testing.T) {
	p := mocks.New(t, nil).ExpectAndSucceed().ExpectAndFail(sarama.ErrNotEnoughReplicas).ExpectAndFail(sarama.ErrTopicAuthorizationFailed)
	for range 3 {
		_, _, _ = p.SendMessage(text("t", "x"))
	}
	r := p.Stats().Records
	if r.Acknowledged.Records != 1 || r.Failed.Records != 2 || r.Failed.Bytes != 2*r.Acknowledged.Bytes || r.Buffered != (sluice.Amount{}) ||
		r.FailedBy[sluice.CauseUnavailable] != 1 || r.FailedBy[sluice.CauseNotAuthorized] != 1 {
		t.Errorf("%+v", r)
	}
	r.FailedBy[sluice.CauseOther] = 1 // the map is the caller's
	if n := len(p.Stats().Records.FailedBy); n != 2 {
		t.Errorf("%d causes", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
