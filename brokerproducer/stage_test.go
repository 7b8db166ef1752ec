package brokerproducer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	gometrics "github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// newConfig is what broker producers share.
func newConfig(t *testing.T, change func(*sarama.Config)) Config {
	t.Helper()
	conf := sarama.NewConfig()
	conf.MetricRegistry = gometrics.NewRegistry()
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Errors = false
	if change != nil {
		change(conf)
	}
	shared := flow.NewShared(flow.Config{Conf: conf, BufferMemory: 1 << 30, DeliveryTimeout: time.Minute})
	t.Cleanup(func() {
		shared.Outcomes.CloseReports()
		shared.Outcomes.Close()
	})
	return Config{
		Shared: shared,
		Set:    &produceset.Config{Codec: conf.Producer.Compression, MaxBytes: conf.Producer.MaxMessageBytes},
		Dialer: wire.NewDialer(conf, 1),
		Window: 1,
	}
}

// bench is the loop of one broker producer without a goroutine: the test makes its turns, and stands for the network and the
// partition producers. Partitions are called p0, p1, …
type bench struct {
	t    *testing.T
	loop *loop
	now  time.Duration

	sessions  map[int32]*Session      // that have not ended
	results   map[int32]SessionResult // of those that have, for reopen
	topicID   byte                    // of the topic, in the first byte
	requests  []*request              // by number, from 1; nil once ended
	waits     bool                    // the network goroutine waits with the next request
	waiting   int                     // the number of the request that it waits with, or 0
	out       strings.Builder
	closed    []int32 // in this turn
	outcomes  []outcome
	decided   map[int]string // by number
	delivered []int          // numbers
	items     []item
}

type outcome struct {
	number    int
	partition int32
	text      string
}

func newBench(t *testing.T, cfg Config) *bench {
	p := &Producer{
		Config: cfg, conf: cfg.Shared.Conf,
		pool: &Pool{brokers: make(map[brokerKey]*Producer), closing: true}, // it ends at once when it is idle
		refs: 1,                                                            // the test's own, so that the loop does not end
		id:   1, addr: "b1:9092", mailbox: flow.NewMailbox[item](), bridge: make(chan *request, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	b := &bench{
		t: t, loop: newLoop(p),
		sessions: make(map[int32]*Session), results: make(map[int32]SessionResult), decided: make(map[int]string),
		topicID: 1,
	}
	t.Cleanup(func() {
		p.cancel()
		b.loop.lingerTimer.Stop()
		b.loop.deadlineTimer.Stop()
	})
	return b
}

// record is an accepted record whose outcome the bench notes.
func (b *bench) record(n int) flow.Record {
	msg := flowtest.Message(n)
	return b.accept(flow.Record{Msg: msg, Completion: &flow.Completion{Waiter: b, Index: n}, Charge: 1000})
}

func (b *bench) accept(rec flow.Record) flow.Record {
	rec.Born = int64(b.now)
	rec.Barrier = b.loop.Shared.Barriers.Accept(1)
	b.loop.Shared.Outcomes.Accepted(1)
	b.loop.Shared.Budget.Force(int64(rec.Charge) + flow.RecordOverhead)
	return rec
}

// Outcome implements flow.Waiter.
func (b *bench) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	n := recs[0].Completion.Index
	text := "delivered"
	switch {
	case err != nil:
		text = "failed: " + strings.ReplaceAll(err.Error(), "sluice: ", "")
		if errors.Is(err, flow.ErrOutcomeUnknown) {
			text = "unknown" + strings.TrimPrefix(text, "failed")
		}
	case offset == flow.NoOffset:
		text = "delivered at an unknown offset"
	}
	if !timestamp.IsZero() {
		text += fmt.Sprintf(", appended at %d", timestamp.UnixMilli())
	}
	if before, twice := b.decided[n]; twice {
		b.t.Errorf("record %d has a second outcome: %s, after %s", n, text, before)
	}
	b.decided[n] = text
	if err == nil {
		b.delivered = append(b.delivered, n)
	}
	b.outcomes = append(b.outcomes, outcome{n, partition, text})
}

// benchOwner is a partition producer, as the loop sees it.
type benchOwner struct {
	bench     *bench
	partition int32
}

func (owner benchOwner) Closed(*Session) {
	owner.bench.closed = append(owner.bench.closed, owner.partition)
}

func (owner benchOwner) Ended(s *Session, result SessionResult) {
	b := owner.bench
	if b.sessions[owner.partition] != s {
		b.t.Errorf("p%d: the end of an unknown session", owner.partition)
	}
	delete(b.sessions, owner.partition)
	b.results[owner.partition] = result
	fmt.Fprintf(&b.out, "p%d has ended%s\n", owner.partition, describe(result))
}

func describe(result SessionResult) string {
	var text strings.Builder
	if len(result.Batches)+len(result.Records) > 0 {
		text.WriteString(", left" + batchNames(result.Batches))
		if len(result.Records) > 0 {
			text.WriteString(" " + flowtest.Numbers(result.Records))
		}
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{result.Next == AfterLookup, "refresh"}, {result.Next == AfterHint, "hinted"}, {result.Cause != nil && result.Next == AtOnce, "at once"},
		{result.Unsent, "unsent"}, {result.Denied, "denied"}, {result.Progress, "progress"},
		{result.SequenceState == SequenceBroken, "sequence broken"}, {result.SequenceState == IdentityLost, "identity lost"},
	} {
		if flag.set {
			text.WriteString(", " + flag.name)
		}
	}
	if result.Sequence.Known() {
		fmt.Fprintf(&text, ", next %d", result.Sequence.Next)
	}
	if result.Cause != nil {
		fmt.Fprintf(&text, ", cause: %v", result.Cause)
	}
	return text.String()
}

func batchNames(batches []*Batch) string {
	var text strings.Builder
	for _, b := range batches {
		text.WriteString(" " + batchName(b))
	}
	return text.String()
}

// batchName is [1..3], with ? if it is unsure, #7 if that is its sequence number, and its failed attempts if there are any.
func batchName(b *Batch) string {
	name := "[" + flowtest.Numbers(b.Records) + "]"
	if b.decided {
		name = "[decided]"
	}
	if b.Unsure {
		name += "?"
	}
	if b.Numbered {
		_, epoch, sequence := b.Identity()
		name += fmt.Sprintf("#%d", sequence)
		if epoch > 0 {
			name += fmt.Sprintf("e%d", epoch)
		}
	}
	if b.Attempts > 0 {
		name += fmt.Sprintf("(%d failed)", b.Attempts)
	}
	return name
}

// open returns the partition's session; if there is none, a new one.
func (b *bench) open(partition int32, verify bool) *Session {
	s := b.sessions[partition]
	if s == nil {
		sequence := txn.Sequence{Identity: txn.None}
		if result, ok := b.results[partition]; ok {
			sequence = result.Sequence
		}
		b.loop.refs++
		s = &Session{
			Topic: "t", TopicID: [16]byte{b.topicID}, Partition: partition, owner: benchOwner{b, partition}, producer: b.loop.Producer,
			sequence: sequence, identity: sequence.Identity, verify: verify,
		}
		b.sessions[partition] = s
	}
	return s
}

// reopen sends what the last session left through a new one, as a partition producer does. If it verifies, only what is
// unsure.
func (b *bench) reopen(partition int32, verify bool) {
	s := b.open(partition, verify)
	result := b.results[partition]
	delete(b.results, partition)
	for _, batch := range result.Batches {
		if !verify || batch.Numbered && batch.Unsure {
			s.Resend(batch)
		}
	}
	if !verify {
		s.Send(result.Records)
	}
}

// turn is one turn of the loop. What it hands over the bridge becomes a request.
func (b *bench) turn(expired bool) {
	l := b.loop
	l.now = int64(b.now)
	b.items = l.mailbox.Take(flow.Spare(b.items))
	if expired {
		l.deadlineArmed = false
	}
	l.turn(b.items, expired)
	for s := range l.sessions {
		if s.holds() && !l.deadlineArmed {
			b.t.Errorf("p%d has records whose deadline is not watched", s.Partition)
		}
	}
	// The loop goes through its sessions in any order.
	slices.Sort(b.closed)
	for _, p := range b.closed {
		fmt.Fprintf(&b.out, "p%d is closed\n", p)
	}
	b.closed = b.closed[:0]
	if expired || l.Shared.Aborted() != nil {
		slices.SortStableFunc(b.outcomes, func(a, b outcome) int { return cmp.Compare(a.partition, b.partition) })
	}
	for from := 0; from < len(b.outcomes); {
		to := from + 1
		for to < len(b.outcomes) && b.outcomes[to].text == b.outcomes[from].text &&
			b.outcomes[to].number == b.outcomes[to-1].number+1 {
			to++
		}
		fmt.Fprintf(&b.out, "%s %s\n", span(b.outcomes[from].number, b.outcomes[to-1].number), b.outcomes[from].text)
		from = to
	}
	b.outcomes = b.outcomes[:0]
	select {
	case req := <-l.bridge:
		b.requests = append(b.requests, req)
		b.waiting = len(b.requests)
		l.claims.beginWait(l.ctx, req)
		if b.waits {
			fmt.Fprintf(&b.out, "r%d waits:%s\n", b.waiting, batchNames(req.batches))
		} else {
			b.write()
		}
	default:
	}
	if b.waiting > 0 && l.claims.wait.Err() != nil {
		fmt.Fprintf(&b.out, "r%d waits no more\n", b.waiting)
		b.answer(b.waiting, context.Cause(l.claims.wait), false)
		b.waiting = 0
	}
}

// write writes the request that the network goroutine waits with.
func (b *bench) write() {
	number := b.waiting
	req := b.requests[number-1]
	b.waiting = 0
	n := newNetwork(b.loop.Producer)
	if err := n.claimAndNumber(req); err != nil {
		b.t.Errorf("r%d is not written: %v", number, err)
	}
	n.claims.endWrite()
	fmt.Fprintf(&b.out, "r%d:", number)
	seen := make(map[int32]bool)
	for _, batch := range req.batches {
		if seen[batch.Partition] {
			b.t.Errorf("r%d has two batches of p%d", number, batch.Partition)
		}
		seen[batch.Partition] = true
		fmt.Fprintf(&b.out, " p%d%s", batch.Partition, batchName(batch))
	}
	b.out.WriteString("\n")
}

func newBatchOf(topic string) *produceset.Batch {
	b := produceset.New(&produceset.Config{MaxBytes: 1000}, 0)
	b.Topic = topic
	return b
}

func span(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d..%d", first, last)
}

// answer ends a request.
func (b *bench) answer(number int, err error, written bool, answers ...wire.ProduceAnswer) {
	req := b.requests[number-1]
	if req == nil {
		b.t.Fatalf("r%d is answered already", number)
	}
	b.requests[number-1] = nil
	req.err, req.written, req.wire.Answers = err, written, answers
	if err != nil && !written {
		newNetwork(b.loop.Producer).unnumber(req.batches)
	}
	b.loop.mailbox.Put(item{kind: itemAnswer, req: req})
}
