package telemetry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

const (
	// firstWait is how long a producer lives, on average, before it asks for a subscription: one that lives shorter costs no connection.
	firstWait = time.Second
	// lastPush bounds the push at Close.
	lastPush = time.Second
	// mostBrokers bounds Telemetry.brokers.
	mostBrokers = 16
)

// Requests are those that a broker must support.
func Requests() []kmsg.Request {
	return []kmsg.Request{kmsg.NewPtrGetTelemetrySubscriptionsRequest(), kmsg.NewPtrPushTelemetryRequest()}
}

// Conn is a *wire.Conn: an open connection to a broker.
type Conn interface {
	Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	Supports(requests ...kmsg.Request) bool
	wire.Renewable
}

// Config is what a Telemetry depends on. Its functions are called by one goroutine at a time.
type Config struct {
	// Bounds are those of the buckets of Source.Snapshot.
	Bounds []time.Duration
	// Rack, TransactionalID and Version describe the producer. They may be empty.
	Rack, TransactionalID, Version string
	// Failing tells whether the last dial to an address failed. Others are tried first.
	Failing func(addr string) bool
	// Compress compresses with a codec of Kafka. ok is false if it does not know the codec, or if the result is not smaller.
	Compress func(codec int8, data []byte) (out []byte, ok bool)
	// Timeout is how long a broker may be silent.
	Timeout time.Duration
	// Log may be nil.
	Log *flow.Log
}

// Source is what a Telemetry has once the producer is made. Its functions are called by one goroutine at a time.
type Source struct {
	// Snapshot is called before each push.
	Snapshot func() Snapshot
	// Dial connects to a broker of the producer's cluster. An id of -1 is not known.
	Dial func(ctx context.Context, id int32, addr string) (Conn, error)
}

// broker is one that takes metrics, as its ApiVersions said.
type broker struct {
	id   int32 // -1: not known
	addr string
}

// Telemetry pushes metrics. Learn, Start and Close may be called concurrently. Those of a nil *Telemetry do nothing.
type Telemetry struct {
	cfg     Config
	header  header
	created time.Time
	random  func() float64 // from 0 to 1
	closing context.Context
	close   context.CancelFunc

	running sync.WaitGroup // the goroutine; nothing is added once closed is set

	mu      sync.Mutex // guards what follows
	brokers []broker   // those that take metrics, the last one learned first
	source  Source     // set by Start
	alive   bool       // there is a goroutine
	over    bool       // it has ended, and must not be started again
	closed  bool

	// For the goroutine only. The next one goes on with it.
	state  state
	conn   Conn // nil: none
	to     broker
	before Snapshot  // of the last push that succeeded
	since  time.Time // of before
	// longest is the longest throttle since the last push that succeeded.
	longest time.Duration
	told    bool  // the log, of a failure since a push was taken
	known   int32 // the subscription that was told of
	named   bool  // one was
}

// New makes a Telemetry that does nothing before Start.
func New(cfg Config) *Telemetry {
	t := &Telemetry{cfg: cfg, created: time.Now(), random: rand.Float64}
	t.header = header{scope: "github.com/sluice-kafka/sluice", version: cfg.Version}
	if cfg.Rack != "" {
		t.header.resource = append(t.header.resource, label{"client_rack", cfg.Rack})
	}
	if cfg.TransactionalID != "" {
		t.header.resource = append(t.header.resource, label{"transactional_id", cfg.TransactionalID})
	}
	t.since, t.state.wait = t.created, t.soon()
	t.closing, t.close = context.WithCancel(context.Background())
	return t
}

// soon has the jitter of pushes: producers that are started together don't dial together.
func (t *Telemetry) soon() time.Duration {
	return time.Duration((0.5 + t.random()) * float64(firstWait))
}

// Learn takes in whether a broker takes metrics, as its answer to ApiVersions over a new connection says.
func (t *Telemetry) Learn(id int32, addr string, takes bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.brokers, func(b broker) bool { return b.addr == addr })
	if i >= 0 {
		id = max(id, t.brokers[i].id) // a seed's id is not known
		t.brokers = slices.Delete(t.brokers, i, i+1)
	}
	if takes {
		t.brokers = slices.Insert(t.brokers, 0, broker{id, addr})
		t.brokers = t.brokers[:min(len(t.brokers), mostBrokers)]
	}
	t.run()
}

// Start begins, once a broker is known that takes metrics. It is called once.
func (t *Telemetry) Start(source Source) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source = source
	t.run()
}

// run starts the goroutine, if there is something to do for it. It needs mu.
func (t *Telemetry) run() {
	if t.source.Dial == nil || t.alive || t.closed || t.over || len(t.brokers) == 0 {
		return
	}
	t.alive = true
	t.running.Go(t.loop)
}

// Close ends the goroutine, after a last push if its connection is open. It waits for that, a second at most.
func (t *Telemetry) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.close()
	t.running.Wait()
}

// loop is the goroutine.
func (t *Telemetry) loop() {
	timer := time.NewTimer(t.state.wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			t.guarded(func() error { return t.act(t.closing, false) })
		case <-t.closing.Done():
			if t.state.next == push && t.conn != nil && t.conn.Err() == nil && !t.conn.SessionOver() {
				ctx, cancel := context.WithTimeout(context.Background(), lastPush)
				t.guarded(func() error { return t.act(ctx, true) })
				cancel()
			}
			t.disconnect()
			return
		}
		if t.ends() {
			return
		}
		timer.Reset(t.state.wait)
	}
}

// ends tells whether there is nothing left to do. After that the goroutine touches nothing: Learn may have started the next one.
func (t *Telemetry) ends() bool {
	if t.state.next == over || !t.anyBroker() {
		t.disconnect()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state.next == over:
		t.over = true
	case len(t.brokers) > 0:
		return false
	default:
		t.state.next, t.state.wait = subscribe, t.soon()
	}
	t.alive = false
	return true
}

func (t *Telemetry) anyBroker() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.brokers) > 0
}

var errPanicked = errors.New("panicked, see sarama.PanicHandler")

// guarded calls do, which may run the user's code, as a dial does, and tells the log of its error, once until a push is taken.
func (t *Telemetry) guarded(do func() error) {
	err := errPanicked
	flow.Guard(func() { err = do() })
	if err == errPanicked {
		t.disconnect()
		t.state.unanswered()
	}
	if err == nil || t.closing.Err() != nil {
		return
	}
	if !t.told || t.state.next == over {
		t.cfg.Log.Printf("sluice: pushing metrics to brokers that ask for them: %v\n", err)
		t.cfg.Log.Event(flow.MetricsNotTaken, t.state.next.String(), flow.BrokerAttr(t.to.id), slog.String("addr", t.to.addr), flow.Cause(err),
			slog.Bool("final", t.state.next == over))
	}
	t.told = true
}

// act sends the next request, and takes in its answer.
func (t *Telemetry) act(ctx context.Context, last bool) error {
	if !last {
		if err := t.connect(ctx); err != nil {
			t.state.unanswered()
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	if t.state.next == push {
		return t.push(ctx, last)
	}
	return t.subscribe(ctx)
}

// connect sees that there is a connection: the one that there was, else to any broker that takes metrics.
func (t *Telemetry) connect(ctx context.Context) error {
	if t.conn != nil && t.conn.Err() == nil && !t.conn.RenewDue() {
		return nil
	}
	t.disconnect()
	t.mu.Lock()
	brokers := slices.Clone(t.brokers)
	t.mu.Unlock()
	rand.Shuffle(len(brokers), func(i, j int) { brokers[i], brokers[j] = brokers[j], brokers[i] })
	slices.SortStableFunc(brokers, func(a, b broker) int { return rank(t.cfg.Failing(a.addr)) - rank(t.cfg.Failing(b.addr)) })
	var errs []error
	for _, b := range brokers {
		t.to = b
		conn, err := t.source.Dial(ctx, b.id, b.addr)
		if err == nil && conn.Supports(Requests()...) {
			t.conn = conn
			return nil
		}
		if err == nil { // Learn has been told
			_ = conn.Close()
			continue
		}
		if ctx.Err() != nil {
			return flow.ContextError(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...) // nil, and no connection, if no broker takes metrics any more
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

func (t *Telemetry) disconnect() {
	if t.conn != nil {
		_ = t.conn.Close()
		t.conn = nil
	}
}

// ask sends a request. Without an answer the connection is given up.
func (t *Telemetry) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if t.conn == nil {
		t.state.unanswered()
		return nil, nil
	}
	resp, err := t.conn.Request(ctx, req)
	if err != nil {
		t.state.unanswered()
		if t.closing.Err() == nil { // else the last push goes over it
			t.disconnect()
		}
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

func (t *Telemetry) subscribe(ctx context.Context) error {
	req := kmsg.NewPtrGetTelemetrySubscriptionsRequest()
	req.ClientInstanceID = t.state.instance
	resp, err := t.ask(ctx, req)
	if resp == nil {
		return err
	}
	if err := t.state.subscribed(resp.(*kmsg.GetTelemetrySubscriptionsResponse), t.random()); err != nil {
		return err
	}
	sub := &t.state.sub
	if t.state.next == push && (!t.named || t.known != sub.id) {
		t.named, t.known = true, sub.id
		t.cfg.Log.Event(flow.MetricsSubscribed, "", flow.BrokerAttr(t.to.id), slog.String("addr", t.to.addr),
			slog.String("client_instance_id", base64.RawURLEncoding.EncodeToString(t.state.instance[:])),
			slog.Duration("interval", sub.interval), slog.String("metrics", sub.text()))
	}
	return nil
}

func (t *Telemetry) push(ctx context.Context, last bool) error {
	sub := &t.state.sub
	now, at := t.source.Snapshot(), time.Now()
	t.longest = max(t.longest, now.LongestThrottle)
	now.LongestThrottle = t.longest
	metrics := slices.DeleteFunc(collect(&t.before, &now, at.Sub(t.since), t.cfg.Bounds, sub.delta),
		func(m metric) bool { return !sub.wants(m.name) })
	data := encode(&t.header, metrics, span{t.created, t.since, at}, sub.delta, t.state.limit())

	req := kmsg.NewPtrPushTelemetryRequest()
	req.ClientInstanceID, req.SubscriptionID, req.Terminating = t.state.instance, sub.id, last
	req.CompressionType, req.Metrics = t.compressed(data)
	resp, err := t.ask(ctx, req)
	if resp == nil {
		if t.closing.Err() != nil { // it may have been sent, and the last push follows it over the same connection
			t.before, t.since, t.longest = now, at, 0
		}
		return err
	}
	code := sarama.KError(resp.(*kmsg.PushTelemetryResponse).ErrorCode)
	if err := t.state.pushed(code, len(data)); err != nil {
		return err
	}
	t.before, t.since, t.longest, t.told = now, at, 0, false
	return nil
}

// compressed compresses with the first of the broker's codecs that is known here, if the result is smaller.
func (t *Telemetry) compressed(data []byte) (codec int8, out []byte) {
	for _, codec := range t.state.sub.codecs {
		if codec == int8(sarama.CompressionNone) {
			break
		}
		if out, ok := t.cfg.Compress(codec, data); ok {
			return codec, out
		}
	}
	return int8(sarama.CompressionNone), data
}
