package brokerproducer

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// autoOwner ends a session when it is closed, and passes on what is left.
type autoOwner struct {
	ended chan SessionResult
}

func newAutoOwner() *autoOwner { return &autoOwner{ended: make(chan SessionResult, 1)} }

func (owner *autoOwner) Closed(s *Session)                      { s.End() }
func (owner *autoOwner) Ended(_ *Session, result SessionResult) { owner.ended <- result }

// outcomes is a flow.Waiter that passes outcomes on.
type outcomes chan error

func (o outcomes) Outcome(_ []flow.Record, _ int32, _ int64, _ time.Time, err error) { o <- err }

func (o outcomes) record(cfg Config, n int) []flow.Record {
	rec := flow.Record{Msg: flowtest.Message(n), Completion: &flow.Completion{Waiter: o}, Born: cfg.Shared.Now(), Charge: 1000}
	rec.Barrier = cfg.Shared.Barriers.Accept(1)
	cfg.Shared.Outcomes.Accepted(1)
	cfg.Shared.Budget.Force(int64(rec.Charge) + flow.RecordOverhead)
	return append(flow.GetRun(1), rec)
}

func unnumbered(partition int32) SessionParams {
	return SessionParams{Topic: "t", Partition: partition, Sequence: txn.Sequence{Identity: txn.None}}
}

func newCluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestDelivery(t *testing.T) {
	c := newCluster(t)
	cfg := newConfig(t, func(conf *sarama.Config) { conf.Producer.Compression = sarama.CompressionGZIP })
	pool := NewPool(cfg)
	got := make(outcomes, 100)
	var partitions []*autoOwner
	var sessions []*Session
	for p := range int32(3) {
		owner := newAutoOwner()
		s := pool.Open(0, c.ListenAddrs()[0], owner, unnumbered(p))
		partitions, sessions = append(partitions, owner), append(sessions, s)
	}
	if sessions[0].producer != sessions[2].producer {
		t.Error("a broker has two producers")
	}
	for n := range 30 {
		sessions[n%3].Send(got.record(cfg, n))
	}
	for range 30 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	for i, s := range sessions {
		s.End()
		result := <-partitions[i].ended
		if result.Cause != nil || len(result.Batches)+len(result.Records) > 0 || !result.Progress {
			t.Errorf("result %+v", result)
		}
	}
	pool.Wait()
	if end := c.PartitionInfo("t", 0).HighWatermark; end != 10 {
		t.Errorf("partition 0 ends at %d", end)
	}
	for _, name := range []string{"batch-size", "record-send-rate-for-topic-t", "compression-ratio", "records-per-request"} {
		if cfg.Shared.Conf.MetricRegistry.Get(name) == nil {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestDialFailureIsNotSent(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cfg := newConfig(t, nil)
	pool := NewPool(cfg)
	got := make(outcomes, 1)
	owner := newAutoOwner()
	s := pool.Open(1, closed.Addr().String(), owner, unnumbered(0))
	s.Send(got.record(cfg, 1))
	result := <-owner.ended
	if len(result.Batches) != 1 || result.Batches[0].Unsure || result.Batches[0].Attempts != 0 ||
		!result.Unsent || result.Next != AfterLookup {
		t.Errorf("result %+v, want the batch, certainly not sent and no attempt", result)
	}
	if result.Cause == nil || !strings.Contains(result.Cause.Error(), closed.Addr().String()) {
		t.Errorf("cause %v does not name the broker", result.Cause)
	}
	pool.Wait()
}

// severing is a proxy.Dialer that can cut its connections.
type severing struct {
	mu    sync.Mutex
	conns []net.Conn
	dials int
}

func (s *severing) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if err == nil {
		s.conns = append(s.conns, c)
	}
	return c, err
}

func (s *severing) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

func (s *severing) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// newNetworkAlone is a network goroutine's state without the loop: the test reads its answers from the mailbox.
func newNetworkAlone(t *testing.T, cfg Config, addr string) *network {
	t.Helper()
	p := &Producer{
		Config: cfg, conf: cfg.Shared.Conf, metrics: newMetrics(cfg.Shared.Conf),
		id: 0, addr: addr, mailbox: flow.NewMailbox[item](), bridge: make(chan *request, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	n := newNetwork(p)
	t.Cleanup(func() { p.cancel(); n.hangUp() })
	return n
}

func requestOf(t *testing.T, n *network, values ...int) *request {
	t.Helper()
	s := &Session{Topic: "t"}
	b := &Batch{Batch: newBatchOf("t"), session: s}
	for _, v := range values {
		if err := b.Append(flow.Record{Msg: flowtest.Message(v)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.count = b.Len()
	return &request{batches: []*Batch{b}, records: b.Len()}
}

// next is the next item of a kind in the loop's mailbox.
func next(n *network, kind itemKind) item { return nexts(n, kind, 1)[0] }

// nexts are the next count items of a kind, in order.
func nexts(n *network, kind itemKind, count int) []item {
	var notified []item
	for len(notified) < count {
		<-n.mailbox.Wake()
		for _, it := range n.mailbox.Take(nil) {
			if it.kind == kind {
				notified = append(notified, it)
			}
		}
	}
	return notified
}

func through(s *severing) func(*sarama.Config) {
	return func(conf *sarama.Config) {
		conf.Net.Proxy.Enable = true
		conf.Net.Proxy.Dialer = s
	}
}

// A connection that was lost while nothing was open costs a dial and nothing else.
func TestIdleConnectionIsRedialled(t *testing.T) {
	c := newCluster(t)
	var s severing
	n := newNetworkAlone(t, newConfig(t, through(&s)), c.ListenAddrs()[0])
	for round := 1; round <= 3; round++ {
		n.send(requestOf(t, n, round))
		if it := next(n, itemAnswer); it.req.err != nil || it.req.wire.Answers[0].BaseOffset != int64(round-1) {
			t.Fatalf("round %d: %v %+v", round, it.req.err, it.req.wire.Answers)
		}
		if s.count() != round {
			t.Errorf("%d dials in round %d", s.count(), round)
		}
		s.cut()
		<-n.conn.Done()
	}
}

// What is told of a connection is told of the one in use, whatever was there before.
func TestDoingIsOfTheConnectionInUse(t *testing.T) {
	c := newCluster(t)
	n := newNetworkAlone(t, newConfig(t, nil), c.ListenAddrs()[0])
	successor, err := n.dialWaiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	successor.Close() // before it was taken
	n.send(requestOf(t, n, 1))
	next(n, itemAnswer)
	if n.conn == nil || n.link.Load() != n.conn {
		t.Error("another connection is asked what goes on")
	}
}

// With acks 0 nothing is ever open, so the loop hears of a lost connection: it is the only sign that a leader moved.
func TestAcksZeroReportsALostConnection(t *testing.T) {
	c := newCluster(t)
	var s severing
	cfg := newConfig(t, func(conf *sarama.Config) {
		through(&s)(conf)
		conf.Producer.RequiredAcks = sarama.NoResponse
	})
	n := newNetworkAlone(t, cfg, c.ListenAddrs()[0])
	n.send(requestOf(t, n, 1))
	req := next(n, itemAnswer).req
	if a := req.wire.Answers; req.err != nil || a[0].BaseOffset != -1 || a[0].Code != 0 {
		t.Fatalf("%v %+v", req.err, a)
	}
	s.cut()
	<-n.conn.Done()
	n.send(requestOf(t, n, 2))
	var kinds []itemKind
	for len(kinds) < 2 {
		<-n.mailbox.Wake()
		for _, it := range n.mailbox.Take(nil) {
			kinds = append(kinds, it.kind)
			if it.kind == itemConnLost && it.err == nil {
				t.Error("lost without a cause")
			}
			if it.kind == itemAnswer && it.req.err != nil {
				t.Errorf("the request was not sent: %v", it.req.err)
			}
		}
	}
	if kinds[0] != itemConnLost || kinds[1] != itemAnswer || s.count() != 2 {
		t.Errorf("notified %v, %d dials", kinds, s.count())
	}
}

// A request is unanswered if the connection is lost after it was written.
func TestLostWithTheRequestWritten(t *testing.T) {
	c := newCluster(t)
	var s severing
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		s.cut()
		return nil, errors.New("gone"), true
	})
	n := newNetworkAlone(t, newConfig(t, through(&s)), c.ListenAddrs()[0])
	n.send(requestOf(t, n, 1))
	if it := next(n, itemAnswer); it.req.err == nil || !it.req.written {
		t.Errorf("error %v, written %v", it.req.err, it.req.written)
	}
}

// A batch that can't be sealed fails alone; the rest of its request goes out.
func TestSealFailureIsTheBatchsAlone(t *testing.T) {
	c := newCluster(t)
	n := newNetworkAlone(t, newConfig(t, nil), c.ListenAddrs()[0])
	req, bad := requestOf(t, n, 1), requestOf(t, n)
	req.batches = append(req.batches, bad.batches...)
	n.send(req)
	answered := make(map[bool]*request)
	for _, it := range nexts(n, itemAnswer, 2) {
		answered[it.req.fatal] = it.req
	}
	if r := answered[true]; len(r.batches) != 1 || r.batches[0] != bad.batches[0] || r.batches[0].sealError == nil {
		t.Errorf("%d batches apart", len(r.batches))
	}
	if r := answered[false]; r.err != nil || len(r.batches) != 1 || r.wire.Answers[0].Code != 0 {
		t.Errorf("the rest: %d batches, error %v", len(r.batches), r.err)
	}
}

// A batch whose request failed before a byte was written can still be ended as not written, and has no number.
func TestNotWrittenIsNotClaimed(t *testing.T) {
	defer func(size int32) { sarama.MaxRequestSize = size }(sarama.MaxRequestSize)
	c := newCluster(t)
	cfg := newConfig(t, nil)
	cfg.Identity = func() txn.Identity { return txn.Identity{ID: 7} }
	n := newNetworkAlone(t, cfg, c.ListenAddrs()[0])
	if _, err := n.connect(n.ctx); err != nil {
		t.Fatal(err)
	}
	sarama.MaxRequestSize = 10
	req := requestOf(t, n, 1)
	b := req.batches[0]
	b.req = req
	n.send(req)
	if it := next(n, itemAnswer); it.req.err == nil || it.req.written {
		t.Errorf("error %v, written %v", it.req.err, it.req.written)
	}
	if got := n.claims.end(b); got != notWritten || b.Numbered || b.session.sequence.Next != 0 {
		t.Errorf("it is %d, numbered %t, the next number is %d", got, b.Numbered, b.session.sequence.Next)
	}
}

// A batch gets its number when it is first written, loses it if not a byte was written, and keeps it otherwise.
func TestNumbers(t *testing.T) {
	cfg := newConfig(t, nil)
	id := txn.Identity{ID: 7, Epoch: 2}
	cfg.Identity = func() txn.Identity { return id }
	n := newNetworkAlone(t, cfg, "127.0.0.1:1")
	first, second := requestOf(t, n, 1, 2, 3).batches[0], requestOf(t, n, 4).batches[0]
	second.session = first.session
	first.identity, second.identity = id, id
	first.session.sequence = txn.Sequence{Identity: id, Next: 1<<31 - 2}
	n.number([]*Batch{first})
	n.unnumber([]*Batch{first})
	if first.Numbered || first.session.sequence.Next != 1<<31-2 {
		t.Errorf("next %d after the numbers were taken back", first.session.sequence.Next)
	}
	n.number([]*Batch{first})
	n.number([]*Batch{first, second})
	n.unnumber([]*Batch{first})
	if _, epoch, sequence := first.Identity(); !first.Numbered || epoch != 2 || sequence != 1<<31-2 {
		t.Errorf("epoch %d, sequence %d: want the number of the first try", epoch, sequence)
	}
	if _, _, sequence := second.Identity(); sequence != 1 {
		t.Errorf("sequence %d behind three that begin at 2147483646, want 1", sequence)
	}
	third := requestOf(t, n, 5).batches[0]
	third.session, third.identity = first.session, txn.Identity{ID: 7, Epoch: 3}
	n.number([]*Batch{third})
	if _, epoch, sequence := third.Identity(); epoch != 3 || sequence != 0 {
		t.Errorf("epoch %d, sequence %d: a new epoch begins at 0", epoch, sequence)
	}
}

// refusingDialer never connects.
type refusingDialer struct{}

var errNoNetwork = errors.New("no network")

func (refusingDialer) Dial(string, string) (net.Conn, error) { return nil, errNoNetwork }

// The timers, with goroutines: an open batch is sent when linger is over, or well before its deadline.
func TestTimers(t *testing.T) {
	for name, test := range map[string]struct {
		linger, timeout, want time.Duration
		delivery              bool
	}{
		"linger":   {50 * time.Millisecond, time.Minute, 50 * time.Millisecond, true},
		"deadline": {time.Hour, 10 * time.Second, 5 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := newConfig(t, func(conf *sarama.Config) {
					conf.Producer.Flush.Frequency = test.linger
					conf.Net.Proxy.Enable = true
					conf.Net.Proxy.Dialer = refusingDialer{}
				})
				cfg.Shared.DeliveryTimeout = test.timeout
				pool := NewPool(cfg)
				owner := newAutoOwner()
				got := make(outcomes, 1)
				s := pool.Open(1, "b1:9092", owner, unnumbered(0))
				start := time.Now()
				s.Send(got.record(cfg, 1))
				result := <-owner.ended
				if waited := time.Since(start); waited != test.want {
					t.Errorf("sent after %v, want %v", waited, test.want)
				}
				if !errors.Is(result.Cause, errNoNetwork) || len(result.Batches) != 1 {
					t.Errorf("result %+v", result)
				}
				pool.Wait()
			})
		})
	}
}

// silentDialer never answers: a dial lasts until its context ends.
type silentDialer struct{}

func (silentDialer) Dial(string, string) (net.Conn, error) { panic("DialContext is used") }
func (silentDialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// While a dial hangs, messages fail at their deadline, and Abort ends the dial.
func TestDialThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := newConfig(t, func(conf *sarama.Config) {
			conf.Net.DialTimeout = time.Hour
			conf.Net.Proxy.Enable = true
			conf.Net.Proxy.Dialer = silentDialer{}
		})
		cfg.Shared.DeliveryTimeout = 10 * time.Second
		pool := NewPool(cfg)
		owner := newAutoOwner()
		got := make(outcomes, 2)
		s := pool.Open(1, "b1:9092", owner, unnumbered(0))
		s.Send(got.record(cfg, 1))
		time.Sleep(time.Second)
		s.Send(got.record(cfg, 2))
		for range 2 {
			if err := <-got; !errors.Is(err, flow.ErrDeliveryTimeout) {
				t.Error(err)
			}
		}
		if now := time.Duration(cfg.Shared.Now()); now < 11*time.Second || now > 11200*time.Millisecond {
			t.Errorf("both have ended after %v, want 11 s and a small part", now)
		}
		cause := errors.New("closed")
		cfg.Shared.Abort(cause)
		if result := <-owner.ended; len(result.Batches)+len(result.Records) > 0 {
			t.Errorf("result %+v", result)
		}
		pool.Wait()
	})
}

// Many partitions open, send and end at once, while broker producers come and go.
func TestPoolConcurrentSafe(t *testing.T) {
	c := newCluster(t)
	cfg := newConfig(t, nil)
	pool := NewPool(cfg)
	var wg sync.WaitGroup
	for p := range int32(3) {
		wg.Go(func() {
			got := make(outcomes, 10)
			owner := newAutoOwner()
			for round := range 30 {
				s := pool.Open(0, c.ListenAddrs()[0], owner, unnumbered(p))
				for n := range 1 + round%3 {
					s.Send(got.record(cfg, n))
				}
				for range 1 + round%3 {
					if err := <-got; err != nil {
						t.Error(err)
					}
				}
				s.End()
				if result := <-owner.ended; result.Cause != nil {
					t.Error(result.Cause)
				}
			}
		})
	}
	wg.Wait()
	pool.Wait()
	if used := cfg.Shared.Budget.Used(); used != 0 {
		t.Errorf("%d bytes stay charged", used)
	}
}
