package mocks_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	saramamocks "github.com/IBM/sarama/mocks"

	"github.com/sluice-kafka/sluice/mocks"
)

// Helpers that were written for sarama's mocks take ours.
var (
	_ saramamocks.ErrorReporter  = mocks.ErrorReporter(nil)
	_ saramamocks.ValueChecker   = mocks.ValueChecker(nil)
	_ saramamocks.MessageChecker = mocks.MessageChecker(nil)
	_ *saramamocks.Consumer      = mocks.NewConsumer(&reports{}, nil)
	_ *saramamocks.PartitionConsumer
	_ = [1]int{}[mocks.AnyOffset-saramamocks.AnyOffset]
)

// Every method and field that sarama's types export is here, with the same parameters.
func TestDropInNames(t *testing.T) {
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[*saramamocks.AsyncProducer](), reflect.TypeFor[*mocks.AsyncProducer]()},
		{reflect.TypeFor[*saramamocks.SyncProducer](), reflect.TypeFor[*mocks.SyncProducer]()},
		{reflect.TypeFor[*saramamocks.TopicConfig](), reflect.TypeFor[*mocks.TopicConfig]()},
	} {
		theirs, ours := pair[0], pair[1]
		rename := func(r reflect.Type) reflect.Type {
			if r == theirs {
				return ours
			}
			return r
		}
		for want := range theirs.Methods() {
			got, ok := ours.MethodByName(want.Name)
			if !ok {
				t.Errorf("%v has no %s", ours, want.Name)
				continue
			}
			same := slices.EqualFunc(slices.Collect(want.Type.Ins()), slices.Collect(got.Type.Ins()),
				func(w, g reflect.Type) bool { return rename(w) == g }) &&
				slices.EqualFunc(slices.Collect(want.Type.Outs()), slices.Collect(got.Type.Outs()),
					func(w, g reflect.Type) bool { return rename(w) == g })
			if !same {
				t.Errorf("%s is %v, want %v", want.Name, got.Type, want.Type)
			}
		}
		for want := range theirs.Elem().Fields() {
			if _, ok := ours.Elem().FieldByName(want.Name); want.IsExported() && !ok {
				t.Errorf("%v has no field %s", ours, want.Name)
			}
		}
	}
	mine, theirs := mocks.NewTestConfig(), saramamocks.NewTestConfig()
	if mine.Version != theirs.Version || mine.Producer.Retry.Backoff != 0 || mine.Consumer.Retry.Backoff != 0 {
		t.Errorf("NewTestConfig differs: %v", mine.Version)
	}
	if topics := mocks.NewTopicConfig(); topics == nil {
		t.Error("no TopicConfig")
	}
}

// asyncMock is a mock whose expectations return it.
type asyncMock[M any] interface {
	sarama.AsyncProducer
	ExpectInputAndSucceed() M
	ExpectInputAndFail(error) M
	ExpectInputWithCheckerFunctionAndSucceed(mocks.ValueChecker) M
	ExpectInputWithMessageCheckerFunctionAndFail(mocks.MessageChecker, error) M
}

// asyncTest is a test as its author wrote it for either mock. It tells what it saw.
func asyncTest[M asyncMock[M]](make func(mocks.ErrorReporter, *sarama.Config) M) (seen []string) {
	r := &reports{}
	mp := make(r, partitionedBy(counting{}))
	mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers)
	mp.ExpectInputWithMessageCheckerFunctionAndFail(func(msg *sarama.ProducerMessage) error {
		seen = append(seen, fmt.Sprint("checked in partition ", msg.Partition))
		return nil
	}, sarama.ErrMessageSizeTooLarge)
	mp.ExpectInputWithCheckerFunctionAndSucceed(is("4")).ExpectInputAndSucceed()
	for i := range 4 {
		mp.Input() <- text("t", fmt.Sprint(i+1))
	}
	seen = append(seen, fmt.Sprint("closed ", mp.Close()), fmt.Sprint("reports ", len(r.text)))
	seen = append(seen, fmt.Sprintf("left %d %d", len(mp.Successes()), len(mp.Errors())))
	for msg := range mp.Successes() {
		seen = append(seen, fmt.Sprintf("%v at %d", msg.Value, msg.Offset))
	}
	for err := range mp.Errors() {
		seen = append(seen, fmt.Sprintf("%v failed, %v", err.Msg.Value, err.Err))
	}
	return seen
}

// syncMock is asyncMock for the other interface.
type syncMock[M any] interface {
	sarama.SyncProducer
	ExpectSendMessageAndSucceed() M
	ExpectSendMessageAndFail(error) M
	ExpectSendMessageWithCheckerFunctionAndSucceed(mocks.ValueChecker) M
}

func syncTest[M syncMock[M]](make func(mocks.ErrorReporter, *sarama.Config) M) (seen []string) {
	r := &reports{}
	sp := make(r, partitionedBy(counting{}))
	sp.ExpectSendMessageAndSucceed().ExpectSendMessageAndFail(sarama.ErrOutOfBrokers)
	sp.ExpectSendMessageWithCheckerFunctionAndSucceed(is("never")).ExpectSendMessageAndSucceed()
	for i := range 3 {
		p, o, err := sp.SendMessage(text("t", fmt.Sprint(i+1)))
		seen = append(seen, fmt.Sprint(p, o, err))
	}
	msgs := []*sarama.ProducerMessage{text("t", "4"), text("t", "5")}
	seen = append(seen, fmt.Sprint("too few expectations: ", sp.SendMessages(msgs) != nil, len(r.text)))
	sp.ExpectSendMessageAndFail(sarama.ErrOutOfBrokers).ExpectSendMessageAndSucceed()
	seen = append(seen, fmt.Sprint(sp.SendMessages(msgs) == error(sarama.ErrOutOfBrokers), msgs[0].Offset))
	seen = append(seen, fmt.Sprint(errors.Join(sp.Close()), len(r.text)))
	return seen
}

// The same test sees the same with sarama's mocks and with ours.
func TestDropInBehaviour(t *testing.T) {
	if got, want := asyncTest(mocks.NewAsyncProducer), asyncTest(saramamocks.NewAsyncProducer); !slices.Equal(got, want) {
		t.Errorf("async: saw %q, with sarama's mock %q", got, want)
	}
	if got, want := syncTest(mocks.NewSyncProducer), syncTest(saramamocks.NewSyncProducer); !slices.Equal(got, want) {
		t.Errorf("sync: saw %q, with sarama's mock %q", got, want)
	}
}
