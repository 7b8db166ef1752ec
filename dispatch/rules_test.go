package dispatch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// partitionModel is the world around the rules: brokers that batch, deliver, refuse and hand back at random.
type partitionModel struct {
	t   *testing.T
	rnd *rand.Rand
	rules
	now          int64
	next         int // number of the next record
	isClosing    bool
	asked        bool // a look-up is under way
	refreshCount uint64

	session   *modelSession // not ended yet
	outcomes  map[int]string
	delivered int // the last number that was delivered
	log       []string
}

type modelSession struct {
	model         *partitionModel
	batches       []*brokerproducer.Batch
	records       []flow.Record
	closed, ended bool
	direct        bool // the topic may send to it
	result        brokerproducer.SessionResult
}

func (m *partitionModel) fatal(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.log[max(0, len(m.log)-40):] {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

func (m *partitionModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *partitionModel) open(to leader, _ txn.Sequence, _ bool) Session {
	if m.session != nil {
		m.fatal("a session is opened while another one has not ended")
	}
	if !to.known {
		m.fatal("a session is opened at an unknown leader")
	}
	m.note("open at %d", to.broker.ID)
	m.session = &modelSession{model: m, direct: true}
	return m.session
}

func (m *partitionModel) stopDirect() { m.session.direct = false }

func (m *partitionModel) failing(error) {}

func (m *partitionModel) working() {}

func (m *partitionModel) identity() txn.Identity              { return txn.None }
func (m *partitionModel) awaitIdentity()                      { m.fatal("awaits an identity without idempotence") }
func (m *partitionModel) waitsFor(state partitionState) error { return errors.New(state.String()) }
func (m *partitionModel) renew(txn.Identity)                  { m.fatal("renewed without idempotence") }
func (m *partitionModel) bump(txn.Identity)                   { m.fatal("bumped without idempotence") }
func (m *partitionModel) refresh(_, _ bool) uint64 {
	m.asked = true
	m.refreshCount++
	return m.refreshCount
}

func (m *partitionModel) outcome(recs []flow.Record, what string) {
	m.note("%s %s", what, flowtest.Numbers(recs))
	last := 0
	for _, rec := range recs {
		n := flowtest.Number(rec.Msg)
		if before, twice := m.outcomes[n]; twice {
			m.fatal("record %d is %s and was %s", n, what, before)
		}
		if n <= last {
			m.fatal("record %d comes after %d", n, last)
		}
		m.outcomes[n], last = what, n
	}
}

func (m *partitionModel) failBatch(b *brokerproducer.Batch, _ error) { m.outcome(b.Records, "failed") }
func (m *partitionModel) failRecords(recs []flow.Record, _ error)    { m.outcome(recs, "failed") }

func (s *modelSession) Send(recs []flow.Record) {
	if s.ended || s.model.session != s {
		s.model.fatal("records are sent to a session after its end")
	}
	s.records = append(s.records, recs...)
}

func (s *modelSession) Resend(b *brokerproducer.Batch) {
	if s.ended || s.model.session != s || len(s.records) > 0 {
		s.model.fatal("a batch is sent again after the end, or behind records")
	}
	s.batches = append(s.batches, b)
}

func (s *modelSession) Doing() error { return nil }

func (s *modelSession) End() {
	if s.ended {
		s.model.fatal("ended twice")
	}
	if s.direct {
		s.model.fatal("ended while the topic may send to it")
	}
	s.ended = true
}

// seal makes a batch of the next records.
func (s *modelSession) seal() {
	if n := min(len(s.records), 1+s.model.rnd.IntN(3)); n > 0 && !s.closed {
		s.batches = append(s.batches, scriptBatch(s.model.timeout, s.records[:n]...))
		s.records = s.records[n:]
	}
}

// decide decides the oldest batch.
func (s *modelSession) decide(what string) {
	if len(s.batches) == 0 {
		return
	}
	b := s.batches[0]
	s.batches = s.batches[1:]
	if what == "delivered" {
		if n := flowtest.Number(b.Records[0].Msg); n <= s.model.delivered {
			s.model.fatal("record %d is delivered after %d", n, s.model.delivered)
		}
		s.model.delivered = flowtest.Number(b.Records[len(b.Records)-1].Msg)
		s.result.Progress = true
	}
	s.model.outcome(b.Records, what)
}

// close is what a retriable answer does.
func (s *modelSession) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.result.Cause = errors.New("refused")
	switch s.model.rnd.IntN(6) {
	case 0:
		s.result.Next = brokerproducer.AtOnce
	case 1, 2:
		s.result.Next = brokerproducer.AfterBackoff
	default:
		s.result.Next = brokerproducer.AfterLookup
	}
	s.model.note("closed")
	s.model.onSessionClosed(s)
	if !s.ended {
		s.model.fatal("a closed session is not ended")
	}
}

func (m *partitionModel) step() {
	s := m.session
	switch m.rnd.IntN(12) {
	case 0, 1, 2:
		var recs []flow.Record
		for range 1 + m.rnd.IntN(4) {
			m.next++
			recs = append(recs, flow.Record{Msg: flowtest.Message(m.next), Born: m.now})
		}
		m.onRecords(recs, m.now)
	case 3, 4:
		if s != nil {
			s.seal()
		}
	case 5, 6:
		if s != nil && !s.closed {
			s.decide("delivered")
		}
	case 7:
		if s != nil {
			if m.rnd.IntN(4) == 0 {
				s.decide("given up")
			}
			s.close()
		}
	case 8:
		m.handBack()
	case 9:
		l := leader{}
		if m.rnd.IntN(4) > 0 {
			l = leader{broker: metadata.Broker{ID: m.rnd.Int32N(3)}, known: true}
		}
		m.note("round %v", l)
		answers := m.refreshCount
		if m.rnd.IntN(3) == 0 && answers > 0 {
			answers-- // it began before the partition producer asked
		} else {
			m.asked = false
		}
		m.onLeader(l, answers, nil, m.now, m.now)
	default:
		m.now += m.rnd.Int64N(80)
		m.onTick(m.now)
	}
	if m.state == stateOpen && (len(m.batches) > 0 || len(m.records) > 0) {
		m.fatal("an open partition holds something back")
	}
	if m.state == stateOpen != (m.session != nil && !m.session.ended) {
		m.fatal("state %v", m.state)
	}
}

// handBack gives the rules the result of a session that was told to end.
func (m *partitionModel) handBack() {
	if s := m.session; s != nil && s.ended {
		s.result.Batches, s.result.Records = s.batches, s.records
		m.session = nil
		m.onSessionEnded(s, s.result, m.now)
	}
}

// Whatever happens, every record has one outcome, records are delivered in order, and in the end the rules stop.
func TestRulesKeepOrder(t *testing.T) {
	for seed := range uint64(100) {
		m := &partitionModel{t: t, rnd: rand.New(rand.NewPCG(seed, 3)), outcomes: make(map[int]string)}
		m.rules = rules{
			effects:  m,
			retryMax: int(seed % 4),
			backoff:  func(failures int) time.Duration { return time.Duration(10 * failures) },
			timeout:  time.Duration(200 + m.rnd.IntN(2000)),
			closing:  func() bool { return m.isClosing },
			stopped:  func() error { return nil },
			sequence: txn.Sequence{Identity: txn.None},
		}
		for range 400 {
			m.step()
		}
		m.isClosing = seed%2 == 0
		for range 100 {
			m.step()
		}
		if seed%5 == 0 {
			m.abort(errors.New("aborted"))
			for m.session != nil && len(m.session.batches)+len(m.session.records) > 0 {
				m.session.seal() // the broker producer aborts too
				m.session.decide("failed")
				if m.session.closed && len(m.session.batches) == 0 {
					m.outcome(m.session.records, "failed")
					m.session.records = nil
				}
			}
		}
		// All is well again: what is held is delivered, unless it was given up.
		for range 10_000 {
			if len(m.outcomes) == m.next {
				break
			}
			m.now += 5
			m.onTick(m.now)
			if m.asked {
				m.asked = false
				m.onLeader(leader{broker: metadata.Broker{ID: 1}, known: true}, m.refreshCount, nil, m.now, m.now)
			}
			if m.session != nil {
				m.session.seal()
				m.session.decide("delivered")
			}
			m.handBack()
		}
		if len(m.outcomes) != m.next {
			m.fatal("seed %d: %d records of %d have an outcome; state %v", seed, len(m.outcomes), m.next, m.state)
		}
		if m.session != nil && m.stop() {
			m.fatal("seed %d: stopped while a session has not ended", seed)
		}
		m.handBack()
		if !m.stop() {
			m.fatal("seed %d: does not stop", seed)
		}
	}
}

// Records that have expired are not kept reachable by the slice of those that have not.
func TestRulesForgetWhatExpired(t *testing.T) {
	m := &partitionModel{t: t, outcomes: make(map[int]string)}
	m.rules = rules{
		effects: m, timeout: time.Second, sequence: txn.Sequence{Identity: txn.None},
		closing: func() bool { return false }, stopped: func() error { return nil },
	}
	run := flow.GetRun(3)
	for n := range 3 {
		run = append(run, flow.Record{Msg: flowtest.Message(n + 1), Born: int64(n) * int64(time.Second)})
	}
	m.onRecords(run, 0)
	m.onTick(int64(2*time.Second) - 1)
	if len(m.records) != 2 {
		t.Fatalf("%d records are left", len(m.records))
	}
	for _, rec := range m.records[:cap(m.records)][2:] {
		if rec.Msg != nil {
			t.Error("the slice still holds a message that has expired")
		}
	}
}
