package apitest

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// request is what a broker saw of a Produce request.
type request struct {
	node    int32
	acks    int16
	records int
	batches []batch
}

type batch struct {
	partition int32
	records   int
	bytes     int
	codec     sarama.CompressionCodec
}

func parseProduce(c *kfake.Cluster, kreq kmsg.Request) request {
	req := kreq.(*kmsg.ProduceRequest)
	seen := request{node: c.CurrentNode(), acks: req.Acks}
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			b := batch{
				partition: p.Partition,
				records:   int(binary.BigEndian.Uint32(p.Records[57:])),
				bytes:     len(p.Records),
				codec:     sarama.CompressionCodec(p.Records[22] & 7),
			}
			seen.batches = append(seen.batches, b)
			seen.records += b.records
		}
	}
	return seen
}

// watcher keeps what the brokers saw, answered or not.
type watcher struct {
	mu       sync.Mutex
	requests []request
}

// watch must come before other controls of Produce.
func watch(c *kfake.Cluster) *watcher {
	w := &watcher{}
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.requests = append(w.requests, parseProduce(c, kreq))
		return nil, nil, false
	})
	return w
}

func (w *watcher) seen() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests)
}

// gate holds Produce requests at the brokers.
type gate struct {
	sleepers
	arrived chan request // room for many
	opened  chan struct{}
	once    sync.Once
}

// sleepers counts the control functions that may be asleep. A cluster must not be closed while one wakes up: they would wait
// for each other. It is no sync.WaitGroup, as a request may come while somebody waits for none.
type sleepers struct {
	mu     sync.Mutex
	asleep int
	woke   chan struct{} // closed when none is asleep; nil if nobody waits for that
}

func (s *sleepers) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asleep++
}

func (s *sleepers) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep--; s.asleep == 0 && s.woke != nil {
		close(s.woke)
		s.woke = nil
	}
}

// wait returns when none sleeps. One goroutine calls it.
func (s *sleepers) wait() {
	s.mu.Lock()
	if s.asleep == 0 {
		s.mu.Unlock()
		return
	}
	woke := make(chan struct{})
	s.woke = woke
	s.mu.Unlock()
	<-woke
}

func newGate(t testing.TB) *gate {
	g := &gate{arrived: make(chan request, 1000), opened: make(chan struct{})}
	t.Cleanup(func() {
		g.open()
		g.wait()
	})
	return g
}

// holdProduce holds the requests that match (nil: all) until the gate is opened, then they are handled.
func holdProduce(t testing.TB, c *kfake.Cluster, match func(request) bool) *gate {
	g := newGate(t)
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := parseProduce(c, kreq)
		if match == nil || match(req) {
			g.hold(c, req)
		}
		return nil, nil, false
	})
	return g
}

// hold lets the request that is being handled wait at the gate. One must not sleep for nothing: a request that sleeps
// twice is a race within the cluster.
func (g *gate) hold(c *kfake.Cluster, req request) {
	g.enter()
	defer g.leave()
	select {
	case <-g.opened:
	default:
		g.arrived <- req
		c.SleepControl(func() { <-g.opened })
	}
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// swallowProduce lets a broker never answer. Each such request is told to arrived.
func swallowProduce(c *kfake.Cluster, node int32) (arrived <-chan request) {
	ch := make(chan request, 1000)
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := parseProduce(c, kreq)
		if req.node != node {
			return nil, nil, false
		}
		c.KeepControl()
		ch <- req
		return nil, nil, true
	})
	return ch
}

// failProduce lets the next Produce requests with messages for partition 0 of "t" fail with err.
func failProduce(c *kfake.Cluster, err *kerr.Error, count int) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{0}, Err: err, Count: count})
}

// loseConnections closes the connections of the next Produce requests, unhandled.
func loseConnections(c *kfake.Cluster, count int) {
	for range count {
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			return nil, errors.New("connection lost"), true
		})
	}
}

// holdLookUps holds all requests that look topics up.
func holdLookUps(t *testing.T, c *kfake.Cluster) *gate {
	g := newGate(t)
	c.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if len(kreq.(*kmsg.MetadataRequest).Topics) > 0 {
			g.hold(c, request{})
		}
		return nil, nil, false
	})
	return g
}

// answerProduce answers a Produce request in the cluster's place: every batch at offset 0, changed by change.
func answerProduce(kreq kmsg.Request, change func(*kmsg.ProduceResponseTopicPartition)) *kmsg.ProduceResponse {
	req := kreq.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range req.Topics {
		answer := kmsg.NewProduceResponseTopic()
		answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition = p.Partition
			change(&partition)
			answer.Partitions = append(answer.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// metadataRequests counts those that ask for a topic.
func metadataRequests(c *kfake.Cluster, topic string) *atomic.Int32 {
	var n atomic.Int32
	c.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		for _, asked := range kreq.(*kmsg.MetadataRequest).Topics {
			if asked.Topic != nil && *asked.Topic == topic {
				n.Add(1)
			}
		}
		return nil, nil, false
	})
	return &n
}
