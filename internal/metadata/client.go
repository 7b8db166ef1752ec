package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// Conn is what a look-up needs of a connection. wire.Conn satisfies it.
type Conn interface {
	// Metadata sends one request, in the newest version that both sides speak, and returns its answer. It returns when
	// ctx ends, and also when the broker is silent for Net.ReadTimeout.
	Metadata(ctx context.Context, req *kmsg.MetadataRequest) (*wire.Metadata, error)
	// Close ends the connection. It may be called more than once.
	Close() error
	// Done is closed once the connection is dead. A connection that also has RenewDue() bool is not used once that is
	// true.
	Done() <-chan struct{}
}

// DialFunc opens a connection to a broker, bounded by ctx and by Net.DialTimeout. brokerID is -1 for a seed broker, whose
// id is not known.
type DialFunc func(ctx context.Context, brokerID int32, addr string) (Conn, error)

// ErrRebootstrapRequired is REBOOTSTRAP_REQUIRED (KIP-1102): ask the seed brokers, no longer the known ones. sarama has no
// name for it.
const ErrRebootstrapRequired = sarama.KError(129)

// client sends a request to whichever broker answers. It has one owner at a time: Start, then the loop, which lends it to
// each round.
type client struct {
	dial     DialFunc
	seeds    []string
	requests *atomic.Int64
	cluster  *clusterID // nil: any
	reseed   *reseed    // nil: the seeds are all there is

	readTimeout time.Duration // Net.ReadTimeout

	asking  *flow.Activities        // notes whom the client asks; may be nil
	explain func(addr string) error // see ExplainDials; may be nil
	log     *flow.Log               // may be nil

	conn       Conn                 // kept while it works; nil if there is none
	connTo     candidate            // the broker that conn leads to
	answeredAt time.Time            // when the last answer came over conn
	failedAt   map[string]time.Time // by address: when it last failed; removed by a success
	turnAway   bool                 // ask another broker first next time, see askAnother
}

// candidate is a broker that may be asked.
type candidate struct {
	id   int32 // -1 for a seed broker
	addr string
}

func (c candidate) String() string {
	if c.id < 0 {
		return "seed broker " + c.addr
	}
	return fmt.Sprintf("broker %d at %s", c.id, c.addr)
}

// brokerID is the id of the broker that was asked, if it is known; else -1.
func (c candidate) brokerID(brokers map[int32]Broker) int32 {
	if c.id >= 0 {
		return c.id
	}
	for id, b := range brokers {
		if b.Addr == c.addr {
			return id
		}
	}
	return -1
}

// answered is a good answer and the connection that it came over.
type answered struct {
	by   candidate
	conn Conn
	resp *wire.Metadata
}

// failure is the error of an attempt.
type failure struct {
	by  candidate
	err error
}

func (e *failure) Error() string { return fmt.Sprintf("%s: %v", e.by, e.err) }

func (e *failure) Unwrap() error { return e.err }

// ask returns the first good answer. It tries brokers in the order of attempts, each a while after the one before it, or
// at once when that failed (see flow.FirstGood). Its error wraps sarama.ErrOutOfBrokers and each broker's own error. It
// returns when ctx has ended and its attempts have.
func (c *client) ask(ctx context.Context, req *kmsg.MetadataRequest, known map[int32]Broker) (*wire.Metadata, error) {
	out := &outOfBrokers{}
	rebootstrap := false
	attempts := c.attempts(req, known)
	if len(attempts) == 0 {
		out.causes = append(out.causes, errors.New("no addresses given"))
	}
	failed := func(err error) {
		by := err.(*failure).by
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.failedAt[by.addr] = time.Now()
			c.log.Printf("sluice: looking up topics: %v\n", err)
			if !errors.Is(err, errNotDialled) { // the dialer has told the others
				c.log.Event(flow.LookUpFailed, by.addr, flow.BrokerAttr(by.id), slog.String("addr", by.addr), flow.Cause(err))
			}
		}
	}
	won, ok := flow.FirstGood(ctx, flow.Race[answered]{
		Next: func() flow.Attempt[answered] {
			for len(attempts) > 0 {
				next := attempts[0]
				attempts = attempts[1:]
				if !rebootstrap || next.to.id < 0 {
					return next.run
				}
			}
			return nil
		},
		Failed: func(err error) (goOn bool) {
			failed(err)
			rebootstrap = rebootstrap || errors.Is(err, ErrRebootstrapRequired)
			out.causes = append(out.causes, err)
			// The same credentials fail everywhere, and more tries may lock the account.
			return !out.credentialsRefused()
		},
		// Others were faster by far: they are asked first from now on.
		Lost: func(a answered, err error) {
			if err == nil {
				_ = a.conn.Close()
				return
			}
			failed(err)
		},
	})
	if c.conn != nil && (!ok || c.conn != won.conn) {
		c.disconnect()
	}
	if ok {
		delete(c.failedAt, won.by.addr)
		c.cluster.learn(won.resp)
		c.conn, c.connTo, c.answeredAt = won.conn, won.by, time.Now()
		return won.resp, nil
	}
	c.reseed.begin()
	if ctx.Err() != nil && !errors.Is(out, context.Cause(ctx)) {
		out.causes = append(out.causes, context.Cause(ctx))
	}
	return nil, out
}

// askFor asks for topics, and for missing topics, which the broker may create. That is a request's property, not a topic's:
// so these have a request of their own. An error is about both.
func (c *client) askFor(ctx context.Context, topics, missing []string, known map[int32]Broker) (*wire.Metadata, error) {
	if len(missing) == 0 {
		return c.ask(ctx, newRequest(topics, false), known)
	}
	created, err := c.ask(ctx, newRequest(missing, true), known)
	if err != nil || len(topics) == 0 {
		return created, err
	}
	resp, err := c.ask(ctx, newRequest(topics, false), known)
	if err == nil {
		resp.Topics = append(resp.Topics, created.Topics...)
	}
	return resp, err
}

// attempt is a broker to ask, if its turn comes.
type attempt struct {
	to  candidate
	run flow.Attempt[answered]
}

// attempts lists whom to ask: the kept connection's broker, then the others, then that broker over a new connection. The
// kept one may be closed or dropped because it was idle, which says nothing about a new one. If that broker's answers are
// of no use, one other is first, and the kept connection second: it is not given up for a broker that can't be reached.
func (c *client) attempts(req *kmsg.MetadataRequest, known map[int32]Broker) []attempt {
	var all []attempt
	kept := c.usable()
	if kept {
		all = append(all, c.attempt(req, c.connTo, c.conn))
	}
	for _, to := range c.candidates(known) {
		if !kept || to.addr != c.connTo.addr {
			all = append(all, c.attempt(req, to, nil))
		}
	}
	if c.turnAway && kept && len(all) > 1 {
		all[0], all[1] = all[1], all[0]
	}
	c.turnAway = false
	if kept {
		all = append(all, c.attempt(req, c.connTo, nil))
	}
	return all
}

// attempt asks one broker, over a new connection if conn is nil. A panic of the user's code, such as a dialer, is this
// broker's failure.
func (c *client) attempt(req *kmsg.MetadataRequest, to candidate, conn Conn) attempt {
	return attempt{to, func(ctx context.Context, reached func()) (a answered, err error) {
		err = errPanicked
		flow.Guard(func() { a, err = c.request(ctx, req, to, conn, reached) })
		if err != nil {
			return answered{}, &failure{to, err}
		}
		return a, nil
	}}
}

// notDialled is the error of a dial. It is errNotDialled.
type notDialled struct{ error }

func (e notDialled) Unwrap() error { return e.error }

func (e notDialled) Is(target error) bool { return target == errNotDialled }

var errNotDialled = errors.New("not dialled")

var errPanicked = errors.New("panicked, see sarama.PanicHandler")

// request asks one broker, over conn if that is not nil. After an error it has closed its connection. It runs beside
// other attempts: it reads nothing of the client that changes.
func (c *client) request(ctx context.Context, req *kmsg.MetadataRequest, to candidate, conn Conn, reached func()) (_ answered, err error) {
	var detail func() error
	if c.explain != nil {
		detail = func() error { return c.explain(to.addr) }
	}
	asking := c.asking.Begin("", "asking "+to.String(), detail)
	defer asking.End()
	if conn == nil {
		if conn, err = c.dial(ctx, to.id, to.addr); err != nil {
			return answered{}, notDialled{err}
		}
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	asking.Next("asking "+to.String(), nil)
	reached()
	c.requests.Add(1)
	own := *req // Metadata sets its version
	resp, err := conn.Metadata(ctx, &own)
	switch {
	case err != nil:
		return answered{}, err
	case resp.Code != 0:
		return answered{}, sarama.KError(resp.Code)
	case len(resp.Brokers) == 0:
		// A broker that is starting up may not know any yet (KAFKA-7924).
		return answered{}, errors.New("answered without brokers")
	}
	if err := c.cluster.check(resp); err != nil {
		return answered{}, err
	}
	return answered{to, conn, resp}, nil
}

// MostCandidates is how many of the known brokers one request is tried at. An answer may name thousands that do not exist.
const MostCandidates = 20

// candidates lists whom to ask, each address once: MostCandidates of the known brokers, then the seed brokers. Both groups are
// shuffled, then sorted by their last failure, the oldest first: so others have their turn the next time.
func (c *client) candidates(known map[int32]Broker) []candidate {
	brokers := make([]candidate, 0, len(known)+len(c.seeds))
	for _, b := range known {
		brokers = append(brokers, candidate{b.ID, b.Addr})
	}
	seeds := make([]candidate, 0, len(c.seeds))
	for _, addr := range append(c.reseed.found(), c.seeds...) {
		seeds = append(seeds, candidate{-1, addr})
	}
	for _, group := range [][]candidate{brokers, seeds} {
		rand.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		slices.SortStableFunc(group, func(a, b candidate) int { return c.failedAt[a.addr].Compare(c.failedAt[b.addr]) })
	}
	// Forget the failures of brokers that have left the cluster.
	here := make(map[string]bool, len(brokers)+len(seeds))
	for _, group := range [][]candidate{brokers, seeds} {
		for _, to := range group {
			here[to.addr] = true
		}
	}
	maps.DeleteFunc(c.failedAt, func(addr string, _ time.Time) bool { return !here[addr] })
	brokers = brokers[:min(len(brokers), MostCandidates)]
	seen := make(map[string]bool, len(brokers)+len(seeds))
	all := slices.DeleteFunc(append(brokers, seeds...), func(t candidate) bool {
		dup := seen[t.addr]
		seen[t.addr] = true
		return dup
	})
	return all
}

// usable tells whether there is a connection to use. It closes one that is dead or due to be replaced: its SASL session ends
// soon (KIP-368).
func (c *client) usable() bool {
	if c.conn == nil {
		return false
	}
	if session, ok := c.conn.(interface{ RenewDue() bool }); ok && session.RenewDue() {
		c.disconnect()
		return false
	}
	select {
	case <-c.conn.Done():
		c.disconnect()
		return false
	default:
		return true
	}
}

// markUnresponsive has other brokers asked before this one, and closes the connection if it may be silent too: a dial is
// cheaper than to find that out.
func (c *client) markUnresponsive(u unresponsive) {
	c.failedAt[u.addr] = time.Now()
	silentToo := u.silent && time.Since(c.answeredAt) >= c.readTimeout
	if c.conn != nil && (c.connTo.addr == u.addr || silentToo) {
		c.disconnect()
	}
}

// askAnother has another broker asked next time: what this one answered is of no use, and its cache may be old. It costs
// one dial. The broker is asked again when all others were.
func (c *client) askAnother() {
	if c.conn != nil {
		c.turnAway, c.failedAt[c.connTo.addr] = true, time.Now()
	}
}

// disconnect closes the connection, if there is one.
func (c *client) disconnect() {
	if c.conn != nil {
		_ = c.conn.Close() // no request is under way
		c.conn = nil
	}
}

// outOfBrokers: no broker answered a request.
type outOfBrokers struct {
	causes []error // each broker's, in the order of asking; then what cut the asking short, if anything did
}

func (e *outOfBrokers) Error() string {
	texts := make([]string, len(e.causes))
	for i, err := range e.causes {
		texts[i] = err.Error()
	}
	return sarama.ErrOutOfBrokers.Error() + ": " + strings.Join(texts, "; ")
}

func (e *outOfBrokers) Unwrap() []error { return append([]error{sarama.ErrOutOfBrokers}, e.causes...) }

// credentialsRefused tells whether a broker refused our credentials. No retry helps then.
func (e *outOfBrokers) credentialsRefused() bool {
	return flow.LoginRefused(e)
}

// newRequest asks for the brokers and the given topics. With create the broker may create those that do not exist.
func newRequest(topics []string, create bool) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	req.Topics = make([]kmsg.MetadataRequestTopic, 0, len(topics)) // not nil: that would ask for all topics
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	return req
}

// newBootstrapRequest asks for the brokers, and for all topics if Metadata.Full is set. It creates no topic.
func newBootstrapRequest(conf *sarama.Config) *kmsg.MetadataRequest {
	req := newRequest(nil, false)
	if conf.Metadata.Full {
		req.Topics = nil // all of them
	}
	return req
}

// topicError is the error of one topic in an answer. As in the Java client only refusals are final. Others pass, such as
// INVALID_REPLICATION_FACTOR while the brokers of a new cluster come up one by one.
func topicError(answer *wire.MetadataTopic) (err error, final bool) {
	if answer == nil {
		return sarama.ErrIncompleteResponse, false
	}
	code := sarama.KError(answer.Code)
	if code == sarama.ErrNoError {
		if len(answer.Partitions) == 0 {
			return sarama.ErrIncompleteResponse, false
		}
		return nil, false
	}
	return code, Final(code)
}

// Final tells whether the error of a look-up stays however often it is repeated. What one of several brokers said is not
// final, unless it refused our credentials.
func Final(err error) bool {
	if flow.LoginRefused(err) || errors.Is(err, sarama.ErrOutOfBrokers) {
		return flow.LoginRefused(err)
	}
	return errors.Is(err, sarama.ErrInvalidTopic) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) ||
		errors.Is(err, sarama.ErrClusterAuthorizationFailed)
}
