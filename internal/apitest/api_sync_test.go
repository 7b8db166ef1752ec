package apitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func TestSendMessageConcurrentSafe(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Return.Successes, conf.Producer.Return.Errors = false, false // of no meaning here
	p := newSync(t, c, conf)
	const senders, each = 100, 20
	at := make([]string, senders*each)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				number := s*each + i
				msg := message(int32(s%4), number)
				partition, offset, err := p.SendMessage(msg)
				if err != nil || msg.Partition != partition || msg.Offset != offset {
					t.Errorf("partition %d offset %d, the message says %d and %d: %v", partition, offset, msg.Partition, msg.Offset, err)
				}
				at[number] = fmt.Sprintf("%d/%d", partition, offset)
			}
		})
	}
	all.Wait()
	for _, r := range readTopic(t, c, "t", senders*each) {
		var number int
		_, _ = fmt.Sscan(string(r.Value), &number)
		if where := fmt.Sprintf("%d/%d", r.Partition, r.Offset); at[number] != where {
			t.Fatalf("message %d is at %s, SendMessage said %s", number, where, at[number])
		}
	}
}

func TestSendMessageFails(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newSync(t, c, testConfig())
	partition, offset, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Partition: 7})
	wantError(t, err, causes(sarama.ErrInvalidPartition))
	if partition != -1 || offset != -1 {
		t.Errorf("partition %d offset %d beside an error", partition, offset)
	}
	_, _, err = p.SendMessage(nil)
	wantConfigurationError(t, err, "nil")
	_, _, err = p.SendMessageContext(t.Context(), nil)
	wantConfigurationError(t, err, "nil")
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: encoder{panics: true}})
	wantError(t, err, nil, "encoder at work")
}

// The errors are those of the messages that failed, in their order, and the others carry their place in the log.
func TestSendMessagesFailsInPart(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	p := newSync(t, c, testConfig())
	for name, sendAll := range map[string]func([]*sarama.ProducerMessage) error{
		"SendMessages":        p.SendMessages,
		"SendMessagesContext": func(msgs []*sarama.ProducerMessage) error { return p.SendMessagesContext(t.Context(), msgs) },
		"without an end": func(msgs []*sarama.ProducerMessage) error {
			return p.SendMessagesContext(context.Background(), msgs)
		},
	} {
		t.Run(name, func(t *testing.T) {
			msgs := messages(100, 2)
			bad := map[*sarama.ProducerMessage]error{}
			spoil := func(i int, cause error, change func(*sarama.ProducerMessage)) {
				change(msgs[i])
				bad[msgs[i]] = cause
			}
			boom := errors.New("boom")
			spoil(0, sarama.ErrInvalidTopic, func(m *sarama.ProducerMessage) { m.Topic = "" })
			spoil(13, sarama.ErrInvalidPartition, func(m *sarama.ProducerMessage) { m.Partition = 2 })
			spoil(50, sarama.ErrMessageSizeTooLarge, func(m *sarama.ProducerMessage) { m.Value = sarama.StringEncoder(strings.Repeat("x", 1<<21)) })
			spoil(99, boom, func(m *sarama.ProducerMessage) { m.Value = encoder{err: boom} })

			var failed sarama.ProducerErrors
			if err := sendAll(msgs); !errors.As(err, &failed) {
				t.Fatalf("the error is %v", err)
			}
			place := func(f *sarama.ProducerError) int { return slices.Index(msgs, f.Msg) }
			if !slices.IsSortedFunc(failed, func(a, b *sarama.ProducerError) int { return place(a) - place(b) }) {
				t.Error("the errors are not in the order of the messages")
			}
			for _, f := range failed {
				if bad[f.Msg] == nil {
					t.Fatalf("%v failed, or failed twice: %v", f.Msg.Value, f.Err)
				}
				wantError(t, f.Err, causes(bad[f.Msg]))
				delete(bad, f.Msg)
			}
			if len(bad) > 0 {
				t.Errorf("%d have not failed", len(bad))
			}
			log := map[string]bool{}
			for _, r := range readTopic(t, c, "t", int(logged(c, "t"))) {
				log[fmt.Sprintf("%d/%d=%s", r.Partition, r.Offset, r.Value)] = true
			}
			for i, msg := range msgs {
				if i == 0 || i == 13 || i == 50 || i == 99 {
					continue
				}
				if at := fmt.Sprintf("%d/%d=%s", msg.Partition, msg.Offset, msg.Value); !log[at] {
					t.Errorf("%s is not in the log", at)
				}
			}
		})
	}
}

func TestSendMessagesRefuses(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newSync(t, c, testConfig())
	wantConfigurationError(t, p.SendMessages([]*sarama.ProducerMessage{message(0, 0), nil}), "message 1 of 2")
	wantConfigurationError(t, p.SendMessagesContext(t.Context(), []*sarama.ProducerMessage{nil}), "message 0 of 1")
	if err := errors.Join(p.SendMessages(nil), p.SendMessagesContext(t.Context(), nil)); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", 0)
}

func TestSendMessagesBeyondMemory(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	conf := testConfig()
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	p := newSync(t, c, conf, sluice.WithBufferMemory(8<<10))
	const n = 1000
	if err := p.SendMessages(messages(n, 2)); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, c, n)
}

func TestSendSameMessageTwice(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newSync(t, c, conf)
	msg := message(0, 0)
	if err := p.SendMessages([]*sarama.ProducerMessage{msg, msg, msg}); err != nil {
		t.Error(err)
	}
	// Each call sends a copy, so the same message may be sent from several goroutines if they don't read it.
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			own := *msg
			for range 10 {
				if _, _, err := p.SendMessageContext(t.Context(), &own); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	readTopic(t, c, "t", 203)
}

// A message that was not encoded when its context ended is withdrawn: it is never written.
func TestSendMessageContextWithdraws(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdLookUps(t, c)
	conf := testConfig()
	conf.Metadata.Full = false // else the topic is known from the start
	p := newSync(t, c, conf)
	cause := errors.New("no patience")

	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-held.arrived; cancel(cause) }()
	msg := message(0, 0)
	msg.Partition, msg.Offset = 0, 77
	_, _, err := p.SendMessageContext(ctx, msg)
	wantError(t, err, causes(cause), "withdrawn")
	if errors.Is(err, sluice.ErrOutcomeUnknown) {
		t.Errorf("%v: it was not sent", err)
	}
	if msg.Offset != 77 {
		t.Error("the message was written without an outcome")
	}
	var failed sarama.ProducerErrors
	if err := p.SendMessagesContext(ctx, messages(3, 1)); !errors.As(err, &failed) || len(failed) != 3 {
		t.Fatalf("SendMessagesContext with an ended context: %v", err)
	}
	for _, f := range failed {
		wantError(t, f.Err, causes(cause), "withdrawn")
	}

	held.open()
	if _, _, err := p.SendMessage(message(0, 0)); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wantInOrder(t, c, 1)
}

// One that was encoded may still be written.
func TestSendMessageContextUnknown(t *testing.T) {
	for name, sendOne := range map[string]func(context.Context, *sluice.Producer, *sarama.ProducerMessage) error{
		"SendMessageContext": func(ctx context.Context, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			_, _, err := p.SendMessageContext(ctx, msg)
			return err
		},
		"SendMessagesContext": func(ctx context.Context, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			err := p.SendMessagesContext(ctx, []*sarama.ProducerMessage{msg})
			if failed, ok := err.(sarama.ProducerErrors); ok && len(failed) == 1 && failed[0].Msg == msg {
				return failed[0].Err
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			held := holdProduce(t, c, nil)
			p := newSync(t, c, testConfig())
			cause := errors.New("no patience")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-held.arrived; cancel(cause) }()
			msg := message(0, 0)
			msg.Offset = 77
			wantError(t, sendOne(ctx, p, msg), causes(sluice.ErrOutcomeUnknown, cause))
			if msg.Offset != 77 {
				t.Error("the message was written without an outcome")
			}
			held.open()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			wantInOrder(t, c, 1)
		})
	}
}

func TestSendMessageContextWaitsForMemory(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	p := newSync(t, c, testConfig(), sluice.WithBufferMemory(1<<10))
	first := make(chan error, 1)
	most := message(0, 0)
	most.Value = sarama.StringEncoder(strings.Repeat("x", 200)) // most of the memory
	go func() { _, _, err := p.SendMessage(most); first <- err }()
	receive(t, held.arrived)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _, err := p.SendMessageContext(ctx, message(0, 1))
	wantError(t, err, causes(sluice.ErrBufferFull, context.DeadlineExceeded))
	var failed sarama.ProducerErrors
	if err := p.SendMessagesContext(ctx, messages(2, 1)); !errors.As(err, &failed) || len(failed) != 2 {
		t.Fatalf("SendMessagesContext without memory: %v", err)
	}
	wantError(t, failed[1].Err, causes(sluice.ErrBufferFull, context.DeadlineExceeded))
	held.open()
	if err := receive(t, first); err != nil {
		t.Error(err)
	}
}

func TestSendAfterClose(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newSync(t, c, testConfig())
	if err := errors.Join(p.Close(), p.Close(), p.CloseContext(t.Context())); err != nil {
		t.Error(err)
	}
	_, _, err := p.SendMessage(message(0, 0))
	wantError(t, err, causes(sarama.ErrShuttingDown))
	_, _, err = p.SendMessageContext(t.Context(), message(0, 0))
	wantError(t, err, causes(sarama.ErrShuttingDown))
	for _, err := range []error{p.SendMessages(messages(2, 1)), p.SendMessagesContext(t.Context(), messages(2, 1))} {
		var failed sarama.ProducerErrors
		if !errors.As(err, &failed) || len(failed) != 2 {
			t.Fatalf("SendMessages after Close: %v", err)
		}
		wantError(t, failed[0].Err, causes(sarama.ErrShuttingDown))
	}
}

// Senders and Close: each send returns, delivered or refused.
func TestSendDuringClose(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	p := newSync(t, c, testConfig(), sluice.WithBufferMemory(16<<10))
	var all sync.WaitGroup
	var mu sync.Mutex
	delivered, enough := 0, make(chan struct{})
	for s := range 20 {
		all.Go(func() {
			for i := 0; ; i++ {
				var err error
				sent := 1
				if s%2 == 0 {
					_, _, err = p.SendMessage(message(int32(s%4/2), i))
				} else {
					sent = 10
					err = p.SendMessages(messages(10, 2))
					var failed sarama.ProducerErrors
					if errors.As(err, &failed) {
						sent -= len(failed)
						err = failed[0].Err
					}
				}
				if err != nil {
					wantError(t, err, causes(sarama.ErrShuttingDown))
					if s%2 == 0 {
						sent = 0
					}
				}
				mu.Lock()
				if before := delivered; before < 1000 && before+sent >= 1000 {
					close(enough)
				}
				delivered += sent
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wait(t, enough, "a thousand messages")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	readTopic(t, c, "t", delivered)
}

func TestSyncCloseContextEnds(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	arrived := swallowProduce(c, 0)
	p := newSync(t, c, testConfig())
	sent := make(chan error, 1)
	go func() { _, _, err := p.SendMessage(message(0, 0)); sent <- err }()
	receive(t, arrived)
	if err := p.CloseContext(ended()); err != nil {
		t.Error(err)
	}
	wantError(t, receive(t, sent), causes(sluice.ErrOutcomeUnknown, context.Canceled))
}

// The same message many times in one call, to brokers that end its batches one by one: nobody writes into it meanwhile.
func TestSendSameMessageTwiceInParts(t *testing.T) {
	c := newTopicCluster(t, 2, 8)
	appended := time.UnixMilli(1_600_000_000_000)
	hasTime(c, appended)
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newSync(t, c, conf, sluice.WithBufferMemory(16<<10))
	for range 10 {
		msg := message(0, 0)
		msgs := make([]*sarama.ProducerMessage, 300)
		for i := range msgs {
			msgs[i] = msg
		}
		if err := p.SendMessages(msgs); err != nil {
			t.Fatal(err)
		}
		if !msg.Timestamp.Equal(appended) {
			t.Fatalf("timestamp %v, want the broker's", msg.Timestamp)
		}
	}
}
