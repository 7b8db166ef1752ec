package mocks_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	saramamocks "github.com/IBM/sarama/mocks"

	"github.com/sluice-kafka/sluice/mocks"
)

// What sarama's mocks export is theirs here too, to the letter.
var (
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.AsyncProducer = mocks.NewAsyncProducer
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.SyncProducer  = mocks.NewSyncProducer
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.Consumer      = mocks.NewConsumer
	_ func() *saramamocks.TopicConfig                                            = mocks.NewTopicConfig
	_ func() *sarama.Config                                                      = mocks.NewTestConfig
	_ func(saramamocks.ValueChecker) saramamocks.MessageChecker                  = mocks.CheckValue
	_ *saramamocks.PartitionConsumer                                             = (*mocks.PartitionConsumer)(nil)
	_                                                                            = [1]int{}[mocks.AnyOffset-saramamocks.AnyOffset]
)

// Every name that sarama's mocks export is here.
func TestDropInNames(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/IBM/sarama/mocks").Output()
	if err != nil {
		t.Skipf("the source of sarama's mocks is not at hand: %v", err)
	}
	ours, theirs := exported(t, "."), exported(t, strings.TrimSpace(string(dir)))
	if len(theirs) == 0 {
		t.Fatal("sarama's mocks export nothing")
	}
	for _, name := range theirs {
		if !slices.Contains(ours, name) {
			t.Errorf("mocks has no %s", name)
		}
	}
}

// exported returns the names that the package in dir exports.
func exported(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					add(decl.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							add(name)
						}
					}
				}
			}
		}
	}
	return names
}

// expect is one expectation, and the message that comes for it.
type expect struct {
	err   error
	check mocks.ValueChecker // or
	look  mocks.MessageChecker
}

// scenario is a test as its author wrote it for any of the mocks.
type scenario struct {
	config  *sarama.Config
	begin   bool // a transaction
	expects []expect
	send    []*sarama.ProducerMessage
}

// seen is what a scenario showed: the reports, and each outcome, successes first.
type seen struct{ reports, outcomes []string }

func (s *seen) outcome(msg *sarama.ProducerMessage, err error) {
	if err != nil {
		s.outcomes = append(s.outcomes, fmt.Sprintf("%s failed: %v", msg.Value, err))
	} else {
		s.outcomes = append(s.outcomes, fmt.Sprintf("%s in partition %d at offset %d", msg.Value, msg.Partition, msg.Offset))
	}
}

// channels reads both channels to their ends.
func (s *seen) channels(p sarama.AsyncProducer) {
	for msg := range p.Successes() {
		s.outcome(msg, nil)
	}
	for err := range p.Errors() {
		s.outcome(err.Msg, err.Err)
	}
}

// one sends one message after the other.
func (s *seen) one(msgs []*sarama.ProducerMessage, send func(*sarama.ProducerMessage) (int32, int64, error)) {
	var failed []*sarama.ProducerError
	for _, msg := range msgs {
		partition, offset, err := send(msg)
		if err != nil {
			failed = append(failed, &sarama.ProducerError{Msg: msg, Err: err})
			if partition != -1 || offset != -1 {
				s.outcomes = append(s.outcomes, fmt.Sprintf("a failed message at %d, %d", partition, offset))
			}
			continue
		}
		s.outcome(&sarama.ProducerMessage{Value: msg.Value, Partition: partition, Offset: offset}, nil)
	}
	for _, err := range failed {
		s.outcome(err.Msg, err.Err)
	}
}

func saramaAsync(c scenario) (s seen) {
	r := &reports{}
	mp := saramamocks.NewAsyncProducer(r, c.config)
	if c.begin {
		mp.BeginTxn()
	}
	for _, e := range c.expects {
		switch {
		case e.check != nil && e.err == nil:
			mp.ExpectInputWithCheckerFunctionAndSucceed(e.check)
		case e.check != nil:
			mp.ExpectInputWithCheckerFunctionAndFail(e.check, e.err)
		default:
			mp.ExpectInputWithMessageCheckerFunctionAndFail(e.look, e.err)
		}
	}
	for _, msg := range c.send {
		mp.Input() <- msg
	}
	mp.Close()
	s.channels(mp)
	s.reports = r.text
	return s
}

func saramaSync(c scenario) (s seen) {
	r := &reports{}
	sp := saramamocks.NewSyncProducer(r, c.config)
	if c.begin {
		sp.BeginTxn()
	}
	for _, e := range c.expects {
		switch {
		case e.check != nil && e.err == nil:
			sp.ExpectSendMessageWithCheckerFunctionAndSucceed(e.check)
		case e.check != nil:
			sp.ExpectSendMessageWithCheckerFunctionAndFail(e.check, e.err)
		default:
			sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(e.look, e.err)
		}
	}
	s.one(c.send, sp.SendMessage)
	sp.Close()
	s.reports = r.text
	return s
}

// ours runs a scenario with New's mock, which gets its messages by send and is closed then.
func ours(send func(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage)) func(scenario) seen {
	return func(c scenario) (s seen) {
		r := &reports{}
		p := mocks.New(r, c.config)
		if c.begin {
			p.BeginTxn()
		}
		for _, e := range c.expects {
			if e.check != nil {
				e.look = mocks.CheckValue(e.check)
			}
			if e.look != nil {
				p.ExpectAndFail(e.err, e.look)
			} else {
				p.ExpectAndFail(e.err)
			}
		}
		send(&s, p, c.send)
		if err := p.Close(); err != nil {
			s.outcomes = append(s.outcomes, err.Error())
		}
		s.reports = r.text
		return s
	}
}

func byInput(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage) {
	for _, msg := range msgs {
		p.Input() <- msg
	}
	p.AsyncClose()
	s.channels(p)
}

func byInputBatch(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage) {
	p.InputBatch() <- append(slices.Clone(msgs), nil)
	p.AsyncClose()
	s.channels(p)
}

func byProduce(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage) {
	var failed []*sarama.ProducerError
	for _, msg := range msgs {
		p.Produce(context.Background(), msg, func(msg *sarama.ProducerMessage, err error) {
			if err != nil {
				failed = append(failed, &sarama.ProducerError{Msg: msg, Err: err})
			} else {
				s.outcome(msg, nil)
			}
		})
	}
	p.Close()
	for _, err := range failed {
		s.outcome(err.Msg, err.Err)
	}
}

func bySendMessage(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage) {
	s.one(msgs, p.SendMessage)
}

func bySendMessages(s *seen, p *mocks.Producer, msgs []*sarama.ProducerMessage) {
	failed, _ := p.SendMessages(msgs).(sarama.ProducerErrors)
	for _, msg := range msgs {
		if !slices.ContainsFunc(failed, func(err *sarama.ProducerError) bool { return err.Msg == msg }) {
			s.outcome(msg, nil)
		}
	}
	for _, err := range failed {
		s.outcome(err.Msg, err.Err)
	}
}

// What sarama's tests of its mocks check, and what they leave open, seen through every mock and every way to send.
func TestDropInBehaviour(t *testing.T) {
	const (
		none     = "No more expectation set on this mock producer to handle the input message."
		left     = "Expected to exhaust all expectations, but %d are left."
		refused  = "Check function returned an error: refused by the checker"
		unbroken = "Input message encoding failed: can't be encoded"
		outside  = "attempt to send message when transaction is not started or is in ending state"
	)
	lookFor15 := func(msg *sarama.ProducerMessage) error {
		if msg.Topic != "known" || msg.Partition != 15 {
			return errRefused
		}
		return nil
	}

	for name, c := range map[string]struct {
		scenario
		want seen
		// What sarama's AsyncProducer shows, where that is something else: what may change for a test that moves to New.
		async *seen
	}{
		"as the expectations say": {
			scenario: scenario{
				config:  partitionedBy(counting{}),
				expects: []expect{{}, {}, {err: sarama.ErrOutOfBrokers}, {}},
				send:    []*sarama.ProducerMessage{text("t", "a"), text("t", "b"), text("t", "c"), text("u", "d")},
			},
			want: seen{nil, []string{
				"a in partition 31 at offset 1", "b in partition 31 at offset 2", "d in partition 31 at offset 3",
				"c failed: " + sarama.ErrOutOfBrokers.Error(),
			}},
		},
		"too few expectations": {
			scenario: scenario{
				config:  partitionedBy(counting{}),
				expects: []expect{{}},
				send:    []*sarama.ProducerMessage{text("t", "a"), text("t", "b")},
			},
			want:  seen{[]string{none}, []string{"a in partition 31 at offset 1", "b failed: no more expectations set on mock"}},
			async: &seen{[]string{none}, []string{"a in partition 31 at offset 1"}},
		},
		"too many expectations": {
			scenario: scenario{
				config:  partitionedBy(counting{}),
				expects: []expect{{}, {err: sarama.ErrOutOfBrokers}, {}},
				send:    []*sarama.ProducerMessage{text("t", "a")},
			},
			want: seen{[]string{fmt.Sprintf(left, 2)}, []string{"a in partition 31 at offset 1"}},
		},
		"a checker refuses": {
			scenario: scenario{
				config:  partitionedBy(counting{}),
				expects: []expect{{check: is("a")}, {check: is("a")}, {check: is("c"), err: sarama.ErrOutOfBrokers}, {}},
				send:    []*sarama.ProducerMessage{text("t", "a"), text("t", "b"), text("t", "c"), text("t", "d")},
			},
			want: seen{[]string{refused}, []string{
				"a in partition 31 at offset 1", "d in partition 31 at offset 2",
				"b failed: refused by the checker", "c failed: " + sarama.ErrOutOfBrokers.Error(),
			}},
			async: &seen{[]string{refused}, []string{ // two outcomes of b
				"a in partition 31 at offset 1", "b in partition 31 at offset 2", "d in partition 31 at offset 3",
				"b failed: refused by the checker", "c failed: " + sarama.ErrOutOfBrokers.Error(),
			}},
		},
		"the partitioner refuses, a checker sees the partition": {
			scenario: scenario{
				config:  partitionedBy(fixed{}),
				expects: []expect{{look: lookFor15}, {}, {look: lookFor15, err: sarama.ErrOutOfBrokers}},
				send:    []*sarama.ProducerMessage{text("known", "a"), text("unknown", "b"), text("known", "c")},
			},
			want: seen{[]string{"Partitioner returned an error: no place for it"}, []string{
				"a in partition 15 at offset 1", "b failed: no place for it", "c failed: " + sarama.ErrOutOfBrokers.Error(),
			}},
		},
		"a value that can't be encoded": {
			scenario: scenario{
				config:  partitionedBy(fixed{}),
				expects: []expect{{check: is("a"), err: sarama.ErrOutOfBrokers}},
				send:    []*sarama.ProducerMessage{{Topic: "known", Value: brokenEncoder{}}},
			},
			want: seen{[]string{"Check function returned an error: " + unbroken}, []string{"{} failed: " + unbroken}},
			async: &seen{[]string{"Check function returned an error: " + unbroken}, []string{
				"{} failed: " + unbroken, "{} failed: " + sarama.ErrOutOfBrokers.Error(),
			}},
		},
		"outside a transaction": {
			scenario: scenario{config: transactional(), send: []*sarama.ProducerMessage{text("t", "a")}},
			want:     seen{[]string{outside + "."}, []string{"a failed: " + outside}},
		},
		"in a transaction": {
			scenario: scenario{
				config:  transactional(),
				begin:   true,
				expects: []expect{{}},
				send:    []*sarama.ProducerMessage{text("t", "a")},
			},
			want: seen{nil, []string{"a in partition 31 at offset 1"}},
		},
		"an invalid configuration": {
			scenario: scenario{config: invalid()},
			want: seen{[]string{"Invalid mock configuration provided: kafka: invalid configuration (" +
				`ClientID value "spaces are not allowed here" is not valid for Kafka versions before 1.0.0)`}, nil},
		},
	} {
		for door, run := range map[string]func(scenario) seen{
			"sarama's AsyncProducer": saramaAsync, "Input": ours(byInput), "InputBatch": ours(byInputBatch), "Produce": ours(byProduce),
			"sarama's SyncProducer": saramaSync, "SendMessage": ours(bySendMessage), "SendMessages": ours(bySendMessages),
		} {
			t.Run(name+"/"+door, func(t *testing.T) {
				want := c.want
				if door == "sarama's AsyncProducer" && c.async != nil {
					want = *c.async
				}
				again := c.scenario
				again.send = nil
				for _, msg := range c.send {
					clone := *msg
					again.send = append(again.send, &clone)
				}
				got := run(again)
				if !slices.Equal(got.reports, want.reports) {
					t.Errorf("reports %q, want %q", got.reports, want.reports)
				}
				if !slices.Equal(got.outcomes, want.outcomes) {
					t.Errorf("outcomes %q, want %q", got.outcomes, want.outcomes)
				}
			})
		}
	}
}
