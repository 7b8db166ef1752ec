package brokerproducer

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// clusterModel is a random broker and random partition producers around a bench. With idempotence it checks sequence numbers
// as a broker does.
type clusterModel struct {
	*bench
	rnd        *rand.Rand
	idempotent bool
	next       int
	owner      map[int]int32           // partition by record
	held       map[int32][]flow.Record // by partition producers whose session is ending or ended
	ending     map[int32]bool          // by partition producers that have called End
	log        map[int32][]int         // what the broker has written
	expected   map[int32]int32         // sequence number that the broker takes next
}

func (m *clusterModel) send(p int32) {
	var recs []flow.Record
	for range 1 + m.rnd.IntN(4) {
		m.next++
		m.owner[m.next] = p
		recs = append(recs, m.record(m.next))
	}
	if m.ending[p] {
		m.held[p] = append(m.held[p], recs...)
	} else {
		m.open(p, false).Send(recs)
	}
}

func (m *clusterModel) end(p int32) {
	if s := m.sessions[p]; s != nil && !m.ending[p] {
		m.ending[p] = true
		s.End()
	}
}

// again opens the partition's next session, once the last one has ended.
func (m *clusterModel) again(p int32) {
	if m.ending[p] && m.sessions[p] == nil {
		m.ending[p] = false
		m.reopen(p, false)
		m.open(p, false).Send(m.held[p])
		m.held[p] = nil
	}
}

func (m *clusterModel) openRequests() (numbers []int) {
	for i, req := range m.requests {
		if req != nil && i+1 != m.waiting {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// append is the broker's answer to one batch. If well is true, it refuses nothing.
func (m *clusterModel) append(b *Batch, recs []flow.Record, well bool) wire.ProduceAnswer {
	a := wire.ProduceAnswer{BaseOffset: -1, AppendTime: -1, LeaderID: -1, LeaderEpoch: -1}
	_, _, sequence := b.Identity()
	if m.idempotent && sequence != m.expected[b.Partition] {
		a.Code = int16(sarama.ErrOutOfOrderSequenceNumber)
		if sequence < m.expected[b.Partition] {
			a.Code = int16(sarama.ErrDuplicateSequenceNumber)
		}
		return a
	}
	refusals := []sarama.KError{sarama.ErrNotLeaderForPartition, sarama.ErrNotEnoughReplicas, sarama.ErrMessageSizeTooLarge}
	if !m.idempotent {
		refusals = append(refusals, sarama.ErrRequestTimedOut, sarama.ErrInvalidTopic)
	} else if b.Len() < 2 || b.Unsure {
		refusals = refusals[:2] // a given up batch breaks the sequence, which other tests show
	}
	if !well && m.rnd.IntN(3) == 0 {
		a.Code = int16(refusals[m.rnd.IntN(len(refusals))])
		return a
	}
	m.expected[b.Partition] += int32(b.count)
	for _, rec := range recs {
		m.log[b.Partition] = append(m.log[b.Partition], flowtest.Number(rec.Msg))
	}
	return a
}

func (m *clusterModel) answerOldest(well bool) {
	if open := m.openRequests(); len(open) > 0 {
		var answers []wire.ProduceAnswer
		for _, b := range m.requests[open[0]-1].batches {
			answers = append(answers, m.append(b, b.Records, well))
		}
		m.answer(open[0], nil, true, answers...)
	}
}

// lose ends the connection. The broker may have written the first of the open requests.
func (m *clusterModel) lose() {
	wrote := true
	for _, number := range m.openRequests() {
		wrote = wrote && m.rnd.IntN(2) == 0
		if wrote {
			for _, b := range m.requests[number-1].batches {
				m.append(b, b.Records, false)
			}
		}
		m.answer(number, errors.New("lost"), true)
	}
}

func (m *clusterModel) step() {
	p := m.rnd.Int32N(3)
	expired := false
	switch m.rnd.IntN(14) {
	case 0, 1, 2, 3:
		m.send(p)
	case 4, 5, 6:
		m.answerOldest(false)
	case 7:
		if m.rnd.IntN(3) == 0 {
			m.lose()
		} else if open := m.openRequests(); len(open) == 1 {
			m.answer(open[0], errors.New("refused"), false)
		}
	case 8:
		for p, s := range m.sessions {
			if s.closed {
				m.end(p)
			}
		}
	case 9:
		if m.rnd.IntN(4) == 0 {
			m.end(p)
		}
	case 10:
		m.again(p)
	case 11:
		m.now += time.Duration(m.rnd.IntN(20)) * time.Millisecond
		expired = !m.idempotent && m.rnd.IntN(8) == 0
	default:
		m.goOn()
	}
	m.waits = m.rnd.IntN(3) == 0
	m.turn(expired)
}

// goOn lets the network goroutine write what it waits with, or say that it is free.
func (m *clusterModel) goOn() {
	if m.waiting > 0 {
		m.write()
	} else if !m.loop.bridgeFree {
		m.loop.mailbox.Put(item{kind: itemBridgeFree})
	}
}

// Whatever the answers, and whenever sessions end and begin: every record gets one outcome, records are delivered in order,
// and with idempotence the log has every record once.
func TestLoopKeepsOrder(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		idempotent := seed%2 == 1
		cfg := newConfig(t, func(conf *sarama.Config) {
			conf.Producer.Flush.MaxMessages = []int{0, 1, 3, 7}[rnd.IntN(4)]
			conf.Producer.Flush.Frequency = []time.Duration{0, 10 * time.Millisecond}[rnd.IntN(2)]
			conf.Producer.MaxMessageBytes = []int{130, 200, 1_000_000}[rnd.IntN(3)]
			conf.Producer.Retry.Max = 2
			if idempotent {
				conf.Producer.Retry.Max = 1_000_000
			}
		})
		cfg.Shared.DeliveryTimeout = 400 * time.Millisecond
		if idempotent {
			cfg.Shared.DeliveryTimeout = time.Hour
			cfg.Window = 3
			cfg.Identity = func() txn.Identity { return txn.Identity{ID: 7} }
		}
		m := &clusterModel{
			bench: newBench(t, cfg), rnd: rnd, idempotent: idempotent,
			owner: make(map[int]int32), held: make(map[int32][]flow.Record), ending: make(map[int32]bool),
			log: make(map[int32][]int), expected: make(map[int32]int32),
		}
		for range 500 {
			m.step()
			m.out.Reset()
		}
		for round := 0; len(m.decided) < m.next; round++ {
			if round == 2000 {
				m.print()
				t.Fatalf("seed %d: %d of %d records have an outcome; result:\n%s", seed, len(m.decided), m.next, m.out.String())
			}
			for p := range int32(3) {
				if s := m.sessions[p]; s != nil && s.closed {
					m.end(p)
				}
				m.again(p)
			}
			m.answerOldest(true)
			m.goOn()
			m.now += time.Millisecond
			m.turn(false)
			m.out.Reset()
		}
		last := make(map[int32]int)
		for _, n := range m.delivered {
			if p := m.owner[n]; n <= last[p] {
				t.Fatalf("seed %d: record %d is delivered after %d", seed, n, last[p])
			} else {
				last[p] = n
			}
		}
		for p, log := range m.log {
			if !idempotent {
				continue
			}
			var want []int
			for n := 1; n <= m.next; n++ {
				if m.owner[n] == p {
					want = append(want, n)
				}
			}
			if !slices.Equal(log, want) {
				t.Fatalf("seed %d: partition %d has\n%v, want\n%v", seed, p, log, want)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type failingEncoder struct{}

func (failingEncoder) Encode() ([]byte, error) { return nil, errors.New("can't") }
func (failingEncoder) Length() int             { return 2 }

// A record that can't be encoded fails at once, one that was withdrawn gets no outcome, and neither affects the others.
func TestRecordsThatAreNotSent(t *testing.T) {
	b := newBench(t, newConfig(t, nil))
	bad, withdrawn, good := b.record(1), b.record(2), b.record(3)
	bad.Msg.Value = failingEncoder{}
	withdrawn.Completion.Withdraw()
	s := b.open(0, false)
	s.Send([]flow.Record{bad, withdrawn})
	b.turn(false)
	if len(b.requests) != 0 || s.open != nil {
		t.Error("a batch is made of nothing")
	}
	if !strings.Contains(b.decided[1], "can't") || b.decided[2] != "" {
		t.Errorf("outcomes %v", b.decided)
	}
	barrier := b.loop.Shared.Barriers.Seal()
	select {
	case <-barrier:
		t.Error("the good record counts as decided")
	default:
	}
	s.Send([]flow.Record{good})
	b.turn(false)
	b.answer(1, nil, true, wire.ProduceAnswer{BaseOffset: 5, AppendTime: -1})
	b.turn(false)
	if b.decided[3] != "delivered" {
		t.Errorf("outcomes %v", b.decided)
	}
	select {
	case <-barrier:
	default:
		t.Error("a record that was not sent counts as undecided")
	}
}

// A request stays under sarama.MaxRequestSize. What has no room comes first in the next one.
func TestRequestSizeIsBounded(t *testing.T) {
	old := sarama.MaxRequestSize
	sarama.MaxRequestSize = RequestSlack + 250
	defer func() { sarama.MaxRequestSize = old }()
	b := newBench(t, newConfig(t, nil))
	b.open(0, false).Send([]flow.Record{b.record(1)})
	b.turn(false)
	for p := range int32(4) {
		b.open(p+1, false).Send([]flow.Record{b.record(2 + int(p))})
	}
	b.turn(false)
	b.loop.mailbox.Put(item{kind: itemBridgeFree})
	b.turn(false)
	b.loop.mailbox.Put(item{kind: itemBridgeFree})
	b.turn(false)
	b.print()
	if len(b.requests) != 3 || len(b.requests[1].batches) != 2 || b.requests[2].batches[0].Partition != 3 {
		t.Errorf("%d requests:\n%s", len(b.requests), b.out.String())
	}
}

// A request's batches are grouped by topic.
func TestTopicsStandTogether(t *testing.T) {
	req := &request{}
	for _, name := range []string{"b", "a", "b", "a"} {
		b := &Batch{}
		b.Batch = newBatchOf(name)
		req.batches = append(req.batches, b)
	}
	req.groupTopics()
	var names []string
	for _, b := range req.batches {
		names = append(names, b.Topic)
	}
	if !slices.Equal(names, []string{"a", "a", "b", "b"}) {
		t.Error(names)
	}
}
