package metadata

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice/internal/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// readTimeout is the Net.ReadTimeout of the fake cluster: a request to a silent broker fails after it.
const readTimeout = 30 * time.Second

// asked is one request that reached a broker.
type asked struct {
	at     time.Duration // since the cluster was made
	addr   string
	topics string // sorted, joined by commas
}

// cluster is a fake with brokers a:1, b:1, … and ids 1, 2, …; each answer is scripted by topic.
type cluster struct {
	mu      sync.Mutex
	born    time.Time
	brokers []string                                     // hosts of brokers 1, 2, …
	topics  map[string]kmsg.MetadataResponseTopic        // absent: UNKNOWN_TOPIC_OR_PARTITION
	full    bool                                         // requests for all topics get them; else none
	stale   map[string]kmsg.MetadataResponseTopic        // broker b answers these instead
	dead    map[string]error                             // by address: the error of dialling it
	holes   []string                                     // addresses whose dials are not answered
	id      map[string]string                            // by address: the cluster id in its answers; "": none
	silent  map[string]bool                              // by address: requests are not answered
	answer  func(*asked) (*kmsg.MetadataResponse, error) // if set, answers in place of all this
	session time.Duration                                // a connection's lifetime; 0: for ever
	delay   time.Duration                                // before each answer
	log     []asked
	last    *kmsg.MetadataRequest
	conns   map[*conn]bool // open
	dials   []string       // by address
}

func newCluster(hosts ...string) *cluster {
	return &cluster{
		born: time.Now(), brokers: hosts, topics: map[string]kmsg.MetadataResponseTopic{},
		dead: map[string]error{}, silent: map[string]bool{}, conns: map[*conn]bool{},
	}
}

// do changes the cluster.
func (c *cluster) do(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// seen is the log so far, without the bootstrap request.
func (c *cluster) seen() []asked {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seen []asked
	for _, a := range c.log {
		if a.topics != "" {
			seen = append(seen, a)
		}
	}
	return seen
}

// dialled is the addresses dialled so far.
func (c *cluster) dialled() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.dials)
}

// request is the newest request.
func (c *cluster) request() *kmsg.MetadataRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// open is the number of open connections.
func (c *cluster) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

func (c *cluster) dial(ctx context.Context, id int32, addr string) (Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials = append(c.dials, addr)
	if slices.Contains(c.holes, addr) {
		c.mu.Unlock()
		defer c.mu.Lock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Second):
			return nil, errors.New("dial time-out")
		}
	}
	if err := c.dead[addr]; err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn := &conn{c: c, addr: addr, done: make(chan struct{})}
	if c.session > 0 {
		conn.expires = time.Now().Add(c.session)
	}
	c.conns[conn] = true
	return conn, nil
}

// conn is a connection to a broker of the cluster.
type conn struct {
	c    *cluster
	addr string
	once sync.Once
	done chan struct{}

	expires time.Time
}

func (n *conn) RenewDue() bool { return !n.expires.IsZero() && !time.Now().Before(n.expires) }

func (n *conn) Done() <-chan struct{} { return n.done }

func (n *conn) Close() error {
	n.once.Do(func() {
		close(n.done)
		n.c.do(func() { delete(n.c.conns, n) })
	})
	return nil
}

// Metadata encodes the scripted answer, and decodes it as a real connection does.
func (n *conn) Metadata(ctx context.Context, req *kmsg.MetadataRequest) (*wire.Metadata, error) {
	resp, err := n.answer(ctx, req)
	if err != nil {
		return nil, err
	}
	req.Version, resp.Version = 13, 13
	return wire.ReadMetadata(req, resp.AppendTo(nil))
}

func (n *conn) answer(ctx context.Context, req *kmsg.MetadataRequest) (*kmsg.MetadataResponse, error) {
	var names []string
	for _, t := range req.Topics {
		names = append(names, *t.Topic)
	}
	a := asked{time.Since(n.c.born), n.addr, strings.Join(names, ",")}
	n.c.mu.Lock()
	n.c.log = append(n.c.log, a)
	n.c.last = req
	silent, delay, answer := n.c.silent[n.addr], n.c.delay, n.c.answer
	n.c.mu.Unlock()
	if silent {
		delay = readTimeout
	}
	if delay > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-n.done:
			return nil, errors.New("connection closed")
		case <-time.After(delay):
		}
	}
	if silent {
		return nil, errors.New("i/o timeout")
	}
	if answer != nil {
		return answer(&a)
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	resp := kmsg.NewPtrMetadataResponse()
	if id, ok := n.c.id[n.addr]; ok {
		resp.ClusterID = &id
	}
	for i, host := range n.c.brokers {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = int32(i+1), host, 1, kmsg.StringPtr("rack-"+host)
		resp.Brokers = append(resp.Brokers, b)
	}
	if req.Topics == nil && n.c.full {
		names = slices.Sorted(maps.Keys(n.c.topics))
	}
	for _, name := range names {
		t, ok := n.c.topics[name]
		if n.addr == "b:1" && n.c.stale != nil {
			t, ok = n.c.stale[name]
		}
		if !ok {
			t.ErrorCode = int16(sarama.ErrUnknownTopicOrPartition)
		}
		t.Topic = kmsg.StringPtr(name)
		resp.Topics = append(resp.Topics, t)
	}
	return resp, nil
}

// topic is a broker's answer for a topic with this id, and with the leaders of its partitions 0, 1, …, all of this epoch.
func topic(id byte, epoch int32, leaders ...int32) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.TopicID[0] = id
	for i, leader := range leaders {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader, p.LeaderEpoch = int32(i), leader, epoch
		if leader < 0 {
			p.ErrorCode = int16(sarama.ErrLeaderNotAvailable)
		}
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

func refused(code sarama.KError) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode = int16(code)
	return t
}

// call is one call of a listener.
type call struct {
	at    time.Duration
	topic *Topic
	err   error
}

// listener records its calls.
type listener struct {
	c     *cluster
	mu    sync.Mutex
	calls []call
}

func (l *listener) notify(t *Topic, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, call{time.Since(l.c.born), t, err})
}

// take returns the calls since the last take.
func (l *listener) take() []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls
	l.calls = nil
	return calls
}

// one is take, but expects exactly one call.
func (l *listener) one(t *testing.T) call {
	t.Helper()
	calls := l.take()
	if len(calls) != 1 {
		t.Fatalf("listener was called %d times, want once: %v", len(calls), calls)
	}
	return calls[0]
}

func newConfig() *sarama.Config {
	return sarama.NewConfig() // Retry.Max 3, Retry.Backoff 250 ms, RefreshFrequency 10 min
}

// start starts a service on the cluster with its first host as seed, and closes it with the test.
func start(t *testing.T, c *cluster, conf *sarama.Config) *Service {
	t.Helper()
	return startAt(t, c, conf, "a:1")
}

func startAt(t *testing.T, c *cluster, conf *sarama.Config, seed string) *Service {
	t.Helper()
	s := New(conf, []string{seed}, c.dial)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
