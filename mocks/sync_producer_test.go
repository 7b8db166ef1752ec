package mocks_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/mocks"
)

// Every way that a message can take, by each of the four calls; each message has its outcome by its own expectation.
func TestSyncProducerOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		config  *sarama.Config
		expect  func(*mocks.SyncProducer)
		send    []*sarama.ProducerMessage
		errs    []error
		reports []string // when sent one by one
		batch   []string // when sent together, if that differs
	}{
		"as the expectations say": {
			expect: func(sp *mocks.SyncProducer) {
				sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndFail(sarama.ErrOutOfBrokers).ExpectSendMessageAndSucceed()
			},
			send: []*sarama.ProducerMessage{text("t", "1"), text("t", "2"), text("u", "3")},
			errs: []error{nil, sarama.ErrOutOfBrokers, nil},
		},
		"no expectation": {
			expect:  func(sp *mocks.SyncProducer) {},
			send:    []*sarama.ProducerMessage{text("t", "1")},
			errs:    []error{mocks.ErrOutOfExpectations},
			reports: []string{""},
		},
		"expectations too many": {
			expect: func(sp *mocks.SyncProducer) {
				sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndFail(sarama.ErrOutOfBrokers).ExpectSendMessageAndFail(nil)
			},
			send:    []*sarama.ProducerMessage{text("t", "1")},
			errs:    []error{nil},
			reports: []string{"2"},
		},
		"a checker refuses": {
			expect: func(sp *mocks.SyncProducer) {
				sp.ExpectSendMessageWithCheckerFunctionAndSucceed(is("a")).ExpectSendMessageWithCheckerFunctionAndSucceed(is("a")).
					ExpectSendMessageWithCheckerFunctionAndFail(is("a"), sarama.ErrOutOfBrokers).
					ExpectSendMessageWithCheckerFunctionAndFail(is("a"), sarama.ErrOutOfBrokers).
					ExpectSendMessageWithCheckerFunctionAndSucceed(nil)
			},
			send: []*sarama.ProducerMessage{
				text("t", "a"), text("t", "b"), text("t", "a"), text("t", "b"), text("t", "c"),
			},
			errs:    []error{nil, errRefused, sarama.ErrOutOfBrokers, errRefused, nil},
			reports: []string{errRefused.Error(), errRefused.Error()},
		},
		"a checker looks at the message": {
			config: partitionedBy(fixed{}),
			expect: func(sp *mocks.SyncProducer) {
				look := func(msg *sarama.ProducerMessage) error {
					if msg.Topic != "known" || msg.Partition != 15 {
						return errRefused
					}
					return nil
				}
				sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(look, sarama.ErrOutOfBrokers).
					ExpectSendMessageWithMessageCheckerFunctionAndSucceed(look)
			},
			send: []*sarama.ProducerMessage{text("known", ""), text("known", "")},
			errs: []error{sarama.ErrOutOfBrokers, nil},
		},
		"a checker panics": {
			expect: func(sp *mocks.SyncProducer) {
				sp.ExpectSendMessageWithCheckerFunctionAndSucceed(func([]byte) error { panic("no reason given") })
			},
			send:    []*sarama.ProducerMessage{text("t", "1")},
			errs:    []error{nil},
			reports: []string{"no reason given"},
		},
		"the partitioner refuses": {
			config:  partitionedBy(fixed{}),
			expect:  func(sp *mocks.SyncProducer) { sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndSucceed() },
			send:    []*sarama.ProducerMessage{text("unknown", ""), text("known", "")},
			errs:    []error{errNoPlace, nil},
			reports: []string{errNoPlace.Error()},
		},
		"a value that can't be encoded": {
			expect:  func(sp *mocks.SyncProducer) { sp.ExpectSendMessageWithCheckerFunctionAndSucceed(is("")) },
			send:    []*sarama.ProducerMessage{{Topic: "t", Value: brokenEncoder{}}},
			errs:    []error{errBroken},
			reports: []string{errBroken.Error()},
		},
		"outside a transaction": {
			config:  transactional(),
			expect:  func(sp *mocks.SyncProducer) { sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndSucceed() },
			send:    []*sarama.ProducerMessage{text("t", "1"), text("t", "2")},
			errs:    []error{mocks.ErrNotInTransaction, mocks.ErrNotInTransaction},
			reports: []string{"", "", "2"},
			batch:   []string{"", "2"},
		},
		"an invalid configuration": {
			config:  invalid(),
			expect:  func(sp *mocks.SyncProducer) {},
			reports: []string{"spaces are not allowed here"},
		},
	} {
		for call, send := range map[string]func(*mocks.SyncProducer, []*sarama.ProducerMessage) []error{
			"SendMessage": func(sp *mocks.SyncProducer, msgs []*sarama.ProducerMessage) []error {
				return oneByOne(t, msgs, sp.SendMessage)
			},
			"SendMessageContext": func(sp *mocks.SyncProducer, msgs []*sarama.ProducerMessage) []error {
				return oneByOne(t, msgs, func(msg *sarama.ProducerMessage) (int32, int64, error) {
					return sp.SendMessageContext(t.Context(), msg)
				})
			},
			"SendMessagesContext": func(sp *mocks.SyncProducer, msgs []*sarama.ProducerMessage) []error {
				return together(t, sp, msgs)
			},
		} {
			t.Run(name+"/"+call, func(t *testing.T) {
				r := &reports{}
				sp := mocks.NewSyncProducer(r, c.config)
				c.expect(sp)
				errs := send(sp, clones(c.send))
				for range 2 {
					if err := sp.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
				want := c.reports
				if call == "SendMessagesContext" && c.batch != nil {
					want = c.batch
				}
				r.want(t, want...)
				if name == "a checker panics" {
					if errs[0] == nil {
						t.Error("a message whose checker panicked succeeded")
					}
					return
				}
				if !slices.EqualFunc(errs, c.errs, errors.Is) {
					t.Errorf("outcomes %v, want %v", errs, c.errs)
				}
			})
		}
	}
}

func clones(msgs []*sarama.ProducerMessage) (copies []*sarama.ProducerMessage) {
	for _, msg := range msgs {
		c := *msg
		copies = append(copies, &c)
	}
	return copies
}

// oneByOne sends each message with its own call, and checks what a call says about a message against the message.
func oneByOne(t *testing.T, msgs []*sarama.ProducerMessage, send func(*sarama.ProducerMessage) (int32, int64, error)) (errs []error) {
	t.Helper()
	offset := int64(0)
	for _, msg := range msgs {
		p, o, err := send(msg)
		errs = append(errs, err)
		if err != nil {
			if p != -1 || o != -1 {
				t.Errorf("a failed message has partition %d, offset %d", p, o)
			}
			continue
		}
		offset++
		if p != msg.Partition || o != offset || msg.Offset != offset {
			t.Errorf("call says %d@%d, message %d@%d, want offset %d", p, o, msg.Partition, msg.Offset, offset)
		}
	}
	return errs
}

// together sends all messages with one call.
func together(t *testing.T, sp *mocks.SyncProducer, msgs []*sarama.ProducerMessage) []error {
	t.Helper()
	var failed sarama.ProducerErrors
	if err := sp.SendMessagesContext(t.Context(), msgs); err != nil && !errors.As(err, &failed) {
		t.Errorf("SendMessagesContext returned %v, want ProducerErrors", err)
	}
	errs := make([]error, len(msgs))
	for _, f := range failed {
		errs[slices.Index(msgs, f.Msg)] = f.Err
	}
	offset := int64(0)
	for i, msg := range msgs {
		if errs[i] == nil {
			offset++
		}
		if errs[i] == nil && msg.Offset != offset {
			t.Errorf("message %d has offset %d, want %d", i, msg.Offset, offset)
		}
	}
	return errs
}

// SendMessages returns the first failure itself, as sarama's mock does, and the others have their outcomes.
func TestSyncProducerSendMessages(t *testing.T) {
	r := &reports{}
	sp := mocks.NewSyncProducer(r, nil)
	sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndFail(sarama.ErrOutOfBrokers).
		ExpectSendMessageWithCheckerFunctionAndSucceed(is("b")).ExpectSendMessageAndSucceed()
	msgs := []*sarama.ProducerMessage{text("t", "a"), text("t", "a"), text("t", "a"), text("t", "a")}
	if err := sp.SendMessages(msgs); err != sarama.ErrOutOfBrokers {
		t.Errorf("SendMessages returned %v, want the first failure", err)
	}
	if msgs[0].Offset != 1 || msgs[3].Offset != 2 {
		t.Errorf("offsets %d and %d succeeded, want 1 and 2", msgs[0].Offset, msgs[3].Offset)
	}
	r.want(t, errRefused.Error())

	// Too few expectations: the call fails, and uses none up.
	sp.ExpectSendMessageAndSucceed()
	if err := sp.SendMessages(msgs[:2]); err != mocks.ErrOutOfExpectations {
		t.Errorf("SendMessages returned %v, want ErrOutOfExpectations", err)
	}
	sp.Close()
	r.want(t, errRefused.Error(), "", "1")
}

func TestSyncProducerBadInput(t *testing.T) {
	sp := mocks.NewSyncProducer(t, nil).ExpectSendMessageAndSucceed()
	msgs := []*sarama.ProducerMessage{text("t", ""), nil}
	_, _, one := sp.SendMessage(nil)
	_, _, oneContext := sp.SendMessageContext(t.Context(), nil)
	for i, err := range []error{one, oneContext, sp.SendMessages(msgs), sp.SendMessagesContext(t.Context(), msgs)} {
		if err == nil || err.Error() == "" {
			t.Errorf("call %d took a nil message", i)
		}
	}
	if err := errors.Join(sp.SendMessages(nil), sp.SendMessagesContext(t.Context(), nil)); err != nil {
		t.Errorf("sending nothing: %v", err)
	}
	if _, _, err := sp.SendMessage(msgs[0]); err != nil {
		t.Error(err)
	}
	sp.Close()
	for _, err := range []error{sp.SendMessages(msgs[:1]), sp.SendMessages(nil)} {
		if !errors.Is(err, sarama.ErrShuttingDown) {
			t.Errorf("sending after Close: %v", err)
		}
	}
	if _, _, err := sp.SendMessageContext(t.Context(), msgs[0]); !errors.Is(err, sarama.ErrShuttingDown) {
		t.Errorf("sending after Close: %v", err)
	}
}

func TestSyncProducerTransaction(t *testing.T) {
	sp := mocks.NewSyncProducer(t, transactional())
	for _, end := range []func() error{sp.CommitTxn, sp.AbortTxn} {
		sp.ExpectSendMessageAndSucceed()
		if err := sp.BeginTxn(); err != nil || !sp.IsTransactional() || sp.TxnStatus() != sarama.ProducerTxnFlagInTransaction {
			t.Fatalf("BeginTxn: %v, transactional %t, status %v", err, sp.IsTransactional(), sp.TxnStatus())
		}
		if _, _, err := sp.SendMessage(text("t", "")); err != nil {
			t.Error(err)
		}
		if err := end(); err != nil || sp.TxnStatus() != sarama.ProducerTxnFlagReady {
			t.Errorf("end of the transaction: %v, status %v", err, sp.TxnStatus())
		}
	}
	sp.Close()
}
