package dispatch

import (
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

// harness is the stages of this package with fakes around them: a cluster that is looked up, and brokers that deliver.
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
}

// newHarness starts the stages. They are closed with the test, which fails if anything has no outcome then.
func newHarness(t *testing.T, change func(*harnessConfig)) *harness {
	t.Helper()
	cfg := &harnessConfig{Config: sarama.NewConfig(), memory: 32 << 20, timeout: time.Minute, partitions: 4}
	cfg.Producer.Partitioner = sarama.NewManualPartitioner
	cfg.Producer.Return.Errors = false
	if change != nil {
		change(cfg)
	}
	// Room for all reports of any test: one that waits here would hold the close up.
	h := &harness{t: t, reports: make(chan flow.Report, 25_000), cluster: newFakeCluster(cfg.partitions)}
	shared := flow.NewShared(flow.Config{
		Conf: cfg.Config, BufferMemory: cfg.memory, DeliveryTimeout: cfg.timeout,
		Report: func(r flow.Report) { h.reports <- r },
	})
	h.brokers = &fakeBrokers{shared: shared, sent: make(map[int32][]int)}
	h.deps = &Deps{Shared: shared, Metadata: h.cluster, Brokers: h.brokers}
	h.Dispatcher = NewDispatcher(h.deps)
	go h.Run()
	t.Cleanup(h.close)
	return h
}

// close is what the producer does. It may be called twice.
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
	result := h.Leave()
	h.deps.Abort(sarama.ErrShuttingDown)
	<-result
	h.deps.Outcomes.CloseReports()
	h.deps.Outcomes.Close()
	if used := h.deps.Budget.Used(); used != 0 {
		h.t.Errorf("%d bytes stay charged", used)
	}
	select {
	case <-h.deps.Barriers.Seal():
	default:
		h.t.Error("records stay without a fate")
	}
	h.brokers.mu.Lock()
	defer h.brokers.mu.Unlock()
	if h.brokers.open != 0 {
		h.t.Errorf("%d sessions are not ended", h.brokers.open)
	}
}

// report is the next one; its messages by number, if they have one.
func (h *harness) report() flow.Report { return <-h.reports }

// failure is the next report's error, of a message that must have failed.
func (h *harness) failure() error {
	h.t.Helper()
	r := <-h.reports
	if r.Err == nil {
		h.t.Fatalf("%d messages were delivered, want a failure", len(r.Messages))
	}
	return r.Err
}

func numbered(n int, partition int32) *sarama.ProducerMessage {
	msg := flowtest.Message(n)
	msg.Partition = partition
	return msg
}

// fakeCluster is a Metadata whose look-ups end at once, on a goroutine of their own, with what the test says.
type fakeCluster struct {
	mu        sync.Mutex
	answer    func(topic string) (*metadata.Topic, error)
	listeners map[string]func(*metadata.Topic, error)
	lookups   int
	answered  uint64
	silent    bool
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

// ledBy is a topic of one partition; -1 is no leader.
func ledBy(leader int32) *metadata.Topic {
	t := topicOf(1)
	t.Partitions[0].Leader = leader
	if leader < 0 {
		t.Writable = nil
	}
	return t
}

// tell changes what look-ups find, and ends a round.
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

func (c *fakeCluster) Answered(string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

func (c *fakeCluster) rounds() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookups
}

func (c *fakeCluster) Broker(id int32) (metadata.Broker, bool) {
	return metadata.Broker{ID: id, Addr: fmt.Sprintf("broker-%d:9092", id)}, true
}

// fakeBrokers deliver what they get at once, on the partition producer's goroutine; held, they keep it.
type fakeBrokers struct {
	shared *flow.Shared

	mu   sync.Mutex
	held bool
	gens []*fakeSession
	open int
	sent map[int32][]int // numbers by partition, in order
	at   []int32         // broker ids of the sessions
}

type fakeSession struct {
	brokers *fakeBrokers
	owner   *partitionProducer
	kept    []flow.Record
	ended   bool
}

func (f *fakeBrokers) Open(b metadata.Broker, pp brokerproducer.SessionOwner, _ brokerproducer.SessionParams) Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &fakeSession{brokers: f, owner: pp.(*partitionProducer)}
	f.gens = append(f.gens, g)
	f.at = append(f.at, b.ID)
	f.open++
	return g
}

// hold keeps what comes from now on.
func (f *fakeBrokers) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
}

// resume delivers what was kept, and what comes.
func (f *fakeBrokers) resume() {
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	f.fate(nil)
}

// fate decides what was kept.
func (f *fakeBrokers) fate(err error) {
	f.mu.Lock()
	gens := f.gens
	f.mu.Unlock()
	for _, g := range gens {
		f.mu.Lock()
		kept := g.kept
		g.kept = nil
		f.mu.Unlock()
		g.deliver(kept, err)
	}
}

// refuse closes the newest session with a cause; what it kept comes back.
func (f *fakeBrokers) refuse(cause error, refresh bool) {
	f.mu.Lock()
	g := f.gens[len(f.gens)-1]
	result := brokerproducer.SessionResult{Cause: cause, Refresh: refresh, Records: g.kept, Unsent: true}
	g.kept = nil
	g.brokers.open--
	g.ended = true
	f.mu.Unlock()
	g.owner.events.Put(partitionEvent{kind: sessionClosed, session: g})
	g.owner.events.Put(partitionEvent{kind: sessionEnded, session: g, result: result})
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

func (g *fakeSession) Send(recs []flow.Record) {
	if len(recs) == 0 {
		return
	}
	recs = append([]flow.Record(nil), recs...) // the partition producer keeps its slice
	f := g.brokers
	f.mu.Lock()
	for _, rec := range recs {
		f.sent[rec.Partition] = append(f.sent[rec.Partition], flowtest.Number(rec.Msg))
	}
	if f.held {
		g.kept = append(g.kept, recs...)
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	g.deliver(recs, nil)
}

func (g *fakeSession) deliver(recs []flow.Record, err error) {
	if len(recs) > 0 {
		g.brokers.shared.Outcomes.Decide(&flow.Outcome{
			Topic: recs[0].Msg.Topic, Partition: recs[0].Partition, BaseOffset: flow.NoOffset, Err: err, Records: recs,
		})
	}
}

func (g *fakeSession) Resend(*brokerproducer.Batch) { panic("no batches here") }

func (g *fakeSession) End() {
	f := g.brokers
	f.mu.Lock()
	if g.ended { // refused
		f.mu.Unlock()
		return
	}
	g.ended = true
	f.open--
	result := brokerproducer.SessionResult{Records: g.kept}
	g.kept = nil
	f.mu.Unlock()
	g.owner.events.Put(partitionEvent{kind: sessionEnded, session: g, result: result})
}
