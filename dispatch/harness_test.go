package dispatch

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// harness runs the stages of this package with fakes: a cluster for the look-ups, and brokers that deliver.
type harness struct {
	*Dispatcher
	deps    *Deps
	cluster *fakeCluster
	brokers *fakeBrokers
	reports chan flow.Report
	t       *testing.T
}

type harnessConfig struct {
	*sarama.Config
	memory     int64
	timeout    time.Duration
	partitions int
	sarama     bool // sarama's contract
	txn        bool // a transactional producer
}

// newHarness starts the stages and closes them with the test. The test fails if anything has no outcome then.
func newHarness(t *testing.T, change func(*harnessConfig)) *harness {
	t.Helper()
	cfg := &harnessConfig{Config: sarama.NewConfig(), memory: 32 << 20, timeout: time.Minute, partitions: 4}
	cfg.Producer.Partitioner = sarama.NewManualPartitioner
	cfg.Producer.Return.Errors = false
	if change != nil {
		change(cfg)
	}
	// Room for all reports of any test, so that none blocks close.
	h := &harness{t: t, reports: make(chan flow.Report, 25_000), cluster: newFakeCluster(cfg.partitions)}
	shared := flow.NewShared(flow.Config{
		Conf: cfg.Config, BufferMemory: cfg.memory, DeliveryTimeout: cfg.timeout, SaramaContract: cfg.sarama,
		Report: func(r flow.Report) { h.reports <- r },
	})
	h.brokers = &fakeBrokers{shared: shared, sent: make(map[int32][]int)}
	h.deps = &Deps{Shared: shared, Metadata: h.cluster, Brokers: h.brokers, Transactional: cfg.txn}
	h.Dispatcher = NewDispatcher(h.deps)
	go h.Run()
	t.Cleanup(h.close)
	return h
}

// close does what the producer's Close does. It may be called twice.
func (h *harness) close() {
	if h.deps.Closing() {
		return
	}
	h.brokers.resume()
	h.deps.BeginUrgent()
	h.deps.BeginClose()
	<-h.BeginClose()
	h.deps.Outcomes.WaitRead()
	h.StopInputs()
	h.deps.Outcomes.WaitEmpty(h.InputFull)
	h.CloseInputs()
	h.deps.Outcomes.WaitEmpty(func() bool { return false })
	ended := h.Leave()
	h.deps.Abort(sarama.ErrShuttingDown)
	<-ended
	h.deps.Outcomes.CloseReports()
	h.deps.Outcomes.Close()
	if used := h.deps.Budget.Used(); used != 0 {
		h.t.Errorf("%d bytes stay charged", used)
	}
	select {
	case <-h.deps.Barriers.Seal():
	default:
		h.t.Error("records stay without an outcome")
	}
	h.brokers.mu.Lock()
	defer h.brokers.mu.Unlock()
	if h.brokers.open != 0 {
		h.t.Errorf("%d sessions are not ended", h.brokers.open)
	}
}

// report waits for the next report.
func (h *harness) report() flow.Report { return <-h.reports }

// failure waits for the next report, which must be of a failure, and returns its error.
func (h *harness) failure() error {
	h.t.Helper()
	r := <-h.reports
	if r.Err == nil {
		h.t.Fatalf("%d messages were delivered, want a failure", len(r.Messages))
	}
	return r.Err
}

// numbered is a message that fakeBrokers knows by its number.
func numbered(n int, partition int32) *sarama.ProducerMessage {
	msg := flowtest.Message(n)
	msg.Partition = partition
	return msg
}

// fakeCluster is a Metadata. Look-ups end at once, each on its own goroutine, with the answer that the test has set.
type fakeCluster struct {
	mu        sync.Mutex
	answer    func(topic string) (*metadata.Topic, error)
	listeners map[string]func(*metadata.Topic, error)
	lookups   int
	answered  uint64
	silent    bool // look-ups never end
}

func newFakeCluster(partitions int) *fakeCluster {
	c := &fakeCluster{listeners: make(map[string]func(*metadata.Topic, error))}
	all := topicOf(partitions)
	c.answer = func(string) (*metadata.Topic, error) { return all, nil }
	return c
}

// topicOf is a topic whose partitions are led by broker 1.
func topicOf(partitions int) *metadata.Topic {
	t := &metadata.Topic{Name: "t"}
	for p := range int32(partitions) {
		t.Partitions = append(t.Partitions, metadata.Partition{ID: p, Leader: 1, Epoch: -1})
		t.All = append(t.All, p)
		t.Writable = append(t.Writable, p)
	}
	return t
}

// ledBy is a topic with one partition and that leader; -1 is none.
func ledBy(leader int32) *metadata.Topic {
	t := topicOf(1)
	t.Partitions[0].Leader = leader
	if leader < 0 {
		t.Writable = nil
	}
	return t
}

// tell sets what look-ups find, and ends a round.
func (c *fakeCluster) tell(md *metadata.Topic, err error) {
	c.mu.Lock()
	c.answer = func(string) (*metadata.Topic, error) { return md, err }
	notify := c.listeners["t"]
	c.answered = uint64(c.lookups)
	c.mu.Unlock()
	if notify != nil {
		notify(md, err)
	}
}

// set sets what look-ups find, or that they never end.
func (c *fakeCluster) set(silent bool, md *metadata.Topic, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = silent
	c.answer = func(string) (*metadata.Topic, error) { return md, err }
}

func (c *fakeCluster) Watch(topic string, notify func(*metadata.Topic, error)) {
	c.mu.Lock()
	if c.listeners[topic] != nil {
		panic("watched twice")
	}
	c.listeners[topic] = notify
	c.mu.Unlock()
	c.Refresh(topic)
}

func (c *fakeCluster) Refresh(topic string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups++
	refreshNumber := uint64(c.lookups)
	if c.silent {
		return refreshNumber
	}
	c.answered = refreshNumber
	md, err := c.answer(topic)
	notify := c.listeners[topic]
	go notify(md, err)
	return refreshNumber
}

func (c *fakeCluster) RefreshOrCreate(topic string) uint64 { return c.Refresh(topic) }

func (c *fakeCluster) Unwatch(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, topic)
}
func (c *fakeCluster) RefreshLeader(topic string, _ int32, _, _ bool) uint64 { return c.Refresh(topic) }

func (c *fakeCluster) Answered(string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

func (c *fakeCluster) Doing(string) error { return errAsking }

var errAsking = errors.New("asking")

func (c *fakeCluster) rounds() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookups
}

func (c *fakeCluster) Broker(id int32) (metadata.Broker, bool) {
	return metadata.Broker{ID: id, Addr: fmt.Sprintf("broker-%d:9092", id)}, true
}

// fakeBrokers deliver what they get at once, on the goroutine that sends it. While held they keep it.
type fakeBrokers struct {
	shared *flow.Shared

	mu   sync.Mutex
	held bool
	all  []*fakeSession
	open int             // sessions that have not ended
	sent map[int32][]int // numbers by partition, in order
	at   []int32         // broker ids of the sessions
}

type fakeSession struct {
	brokers  *fakeBrokers
	producer *partitionProducer
	kept     []flow.Record
	ended    bool
}

func (f *fakeBrokers) Open(b metadata.Broker, pp brokerproducer.SessionOwner, _ brokerproducer.SessionParams) Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &fakeSession{brokers: f, producer: pp.(*partitionProducer)}
	f.all = append(f.all, s)
	f.at = append(f.at, b.ID)
	f.open++
	return s
}

func (f *fakeBrokers) Forget(string) {}

// hold makes the brokers keep what comes.
func (f *fakeBrokers) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
}

// resume delivers what was kept, and what comes later.
func (f *fakeBrokers) resume() {
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	f.decide(nil)
}

// decide delivers what was kept, or lets it fail with err.
func (f *fakeBrokers) decide(err error) {
	f.mu.Lock()
	all := f.all
	f.mu.Unlock()
	for _, s := range all {
		f.mu.Lock()
		kept := s.kept
		s.kept = nil
		f.mu.Unlock()
		s.deliver(kept, err)
	}
}

// refuse closes the newest session with that cause, and hands back what it kept.
func (f *fakeBrokers) refuse(cause error, refresh bool) {
	f.mu.Lock()
	s := f.all[len(f.all)-1]
	result := brokerproducer.SessionResult{Cause: cause, Next: brokerproducer.AfterBackoff, Records: s.kept, Unsent: true}
	if refresh {
		result.Next = brokerproducer.AfterLookup
	}
	s.kept = nil
	s.brokers.open--
	s.ended = true
	f.mu.Unlock()
	s.producer.events.Put(partitionEvent{kind: sessionClosed, session: s})
	s.producer.events.Put(partitionEvent{kind: sessionEnded, session: s, result: result})
}

func (f *fakeBrokers) numbers(partition int32) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.sent[partition]...)
}

func (f *fakeBrokers) sessions() []int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int32(nil), f.at...)
}

func (s *fakeSession) Send(recs []flow.Record) {
	if len(recs) == 0 {
		return
	}
	recs = append([]flow.Record(nil), recs...)
	f := s.brokers
	f.mu.Lock()
	for _, rec := range recs {
		f.sent[rec.Partition] = append(f.sent[rec.Partition], flowtest.Number(rec.Msg))
	}
	if f.held {
		s.kept = append(s.kept, recs...)
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	s.deliver(recs, nil)
}

func (s *fakeSession) deliver(recs []flow.Record, err error) {
	if len(recs) > 0 {
		s.brokers.shared.Outcomes.Decide(&flow.Outcome{
			Topic: recs[0].Msg.Topic, Partition: recs[0].Partition, BaseOffset: flow.NoOffset, Err: err, Records: recs,
		})
	}
}

func (s *fakeSession) Resend(*brokerproducer.Batch) { panic("no batches here") }

func (s *fakeSession) Doing() error { return errAsking }

func (s *fakeSession) End() {
	f := s.brokers
	f.mu.Lock()
	if s.ended { // refused
		f.mu.Unlock()
		return
	}
	s.ended = true
	f.open--
	result := brokerproducer.SessionResult{Records: s.kept}
	s.kept = nil
	f.mu.Unlock()
	s.producer.events.Put(partitionEvent{kind: sessionEnded, session: s, result: result})
}
