package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Conn is what a look-up needs of a connection. wire.Conn satisfies it.
type Conn interface {
	// Request sends one request, in the newest version that both sides speak, and returns its answer. It returns when
	// ctx ends, and also when the broker is silent for Net.ReadTimeout.
	Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Close ends the connection. It may be called more than once.
	Close() error
	// Done is closed once the connection is dead. A connection that also has Expires() time.Time is not used after that
	// time (zero: never expires).
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

	conn     Conn                 // kept while it works; nil if there is none
	connTo   candidate            // the broker that conn leads to
	failedAt map[string]time.Time // by address: when it last failed; removed by a success
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

// ask returns the first good answer. It tries the open connection first, then the known brokers, then the seed brokers.
// Its error wraps sarama.ErrOutOfBrokers and each broker's own error. It returns at once when ctx ends. If ctx has a
// deadline, a silent broker may take half of the time that is left, so that others get their turn.
func (c *client) ask(ctx context.Context, req *kmsg.MetadataRequest, known map[int32]Broker) (*kmsg.MetadataResponse, error) {
	out := &outOfBrokers{}
	rebootstrap := false
	try := func(t candidate, last bool) *kmsg.MetadataResponse {
		resp, err := c.askOne(ctx, req, t, last)
		if err == nil {
			delete(c.failedAt, t.addr)
			c.cluster.learn(resp)
			return resp
		}
		c.disconnect()
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.failedAt[t.addr] = time.Now()
			sarama.Logger.Printf("metadata: %s: %v\n", t, err)
		}
		rebootstrap = rebootstrap || errors.Is(err, ErrRebootstrapRequired)
		out.causes = append(out.causes, fmt.Errorf("%s: %w", t, err))
		return nil
	}

	// The broker may have closed the kept connection because it was idle. That says nothing about a new connection, so
	// the broker stays among the candidates.
	if c.usable() {
		if resp := try(c.connTo, false); resp != nil {
			return resp, nil
		}
	}
	candidates := c.candidates(known)
	if len(candidates) == 0 {
		out.causes = append(out.causes, errors.New("no addresses given"))
	}
	for i, t := range candidates {
		if ctx.Err() != nil {
			break
		}
		if rebootstrap && t.id >= 0 {
			continue
		}
		if resp := try(t, i == len(candidates)-1); resp != nil {
			return resp, nil
		}
		if out.credentialsRefused() {
			// The same credentials fail everywhere, and more tries may lock the account.
			return nil, out
		}
	}
	if ctx.Err() != nil && !errors.Is(out, context.Cause(ctx)) {
		out.causes = append(out.causes, context.Cause(ctx))
	}
	return nil, out
}

// askOne asks one broker. A panic of the user's code, such as a dialer, counts as this broker's failure: the loop waits for
// the round's end.
func (c *client) askOne(ctx context.Context, req *kmsg.MetadataRequest, t candidate, last bool) (*kmsg.MetadataResponse, error) {
	resp, err := (*kmsg.MetadataResponse)(nil), errPanicked
	flow.Guard(func() { resp, err = c.request(ctx, req, t, last) })
	return resp, err
}

var errPanicked = errors.New("panicked, see sarama.PanicHandler")

// request uses the open connection if there is one.
func (c *client) request(ctx context.Context, req *kmsg.MetadataRequest, t candidate, last bool) (*kmsg.MetadataResponse, error) {
	if deadline, ok := ctx.Deadline(); ok && !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	if c.conn == nil {
		conn, err := c.dial(ctx, t.id, t.addr)
		if err != nil {
			return nil, err
		}
		c.conn, c.connTo = conn, t
	}
	c.requests.Add(1)
	answer, err := c.conn.Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp, ok := answer.(*kmsg.MetadataResponse)
	switch {
	case !ok:
		return nil, fmt.Errorf("answered a metadata request with %T", answer)
	case resp.ErrorCode != 0:
		return nil, sarama.KError(resp.ErrorCode)
	case len(resp.Brokers) == 0:
		// A broker that is starting up may not know any yet (KAFKA-7924).
		return nil, errors.New("answered without brokers")
	}
	if err := c.cluster.check(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// candidates lists whom to ask, each address once: the known brokers, then the seed brokers. Both groups are shuffled, then
// sorted by their last failure, the oldest first.
func (c *client) candidates(known map[int32]Broker) []candidate {
	brokers := make([]candidate, 0, len(known)+len(c.seeds))
	for _, b := range known {
		brokers = append(brokers, candidate{b.ID, b.Addr})
	}
	seeds := make([]candidate, 0, len(c.seeds))
	for _, addr := range c.seeds {
		seeds = append(seeds, candidate{-1, addr})
	}
	for _, group := range [][]candidate{brokers, seeds} {
		rand.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		slices.SortStableFunc(group, func(a, b candidate) int { return c.failedAt[a.addr].Compare(c.failedAt[b.addr]) })
	}
	seen := make(map[string]bool, len(brokers)+len(seeds))
	all := slices.DeleteFunc(append(brokers, seeds...), func(t candidate) bool {
		dup := seen[t.addr]
		seen[t.addr] = true
		return dup
	})
	// Forget the failures of brokers that have left the cluster.
	maps.DeleteFunc(c.failedAt, func(addr string, _ time.Time) bool { return !seen[addr] })
	return all
}

// usable tells whether there is a connection to use. It closes one that is dead or whose SASL session is about to end
// (KIP-368).
func (c *client) usable() bool {
	if c.conn == nil {
		return false
	}
	if session, ok := c.conn.(interface{ Expires() time.Time }); ok {
		if at := session.Expires(); !at.IsZero() && !time.Now().Before(at) {
			c.disconnect()
			return false
		}
	}
	select {
	case <-c.conn.Done():
		c.disconnect()
		return false
	default:
		return true
	}
}

// markUnresponsive has other brokers asked before the one at addr, and closes the connection to it.
func (c *client) markUnresponsive(addr string) {
	c.failedAt[addr] = time.Now()
	if c.conn != nil && c.connTo.addr == addr {
		c.disconnect()
	}
}

// markStale has another broker asked next time: this one answers from an old cache.
func (c *client) markStale() {
	if c.conn != nil {
		c.markUnresponsive(c.connTo.addr)
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
	return errors.Is(e, sarama.ErrSASLAuthenticationFailed)
}

// newRequest asks for the brokers and the given topics.
func newRequest(conf *sarama.Config, topics []string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = conf.Metadata.AllowAutoTopicCreation && len(topics) > 0
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
	req := newRequest(conf, nil)
	if conf.Metadata.Full {
		req.Topics = nil // all of them
	}
	return req
}

// topicError is the error of one topic in an answer. As in the Java client only refusals are final. Others pass, such as
// INVALID_REPLICATION_FACTOR while the brokers of a new cluster come up one by one.
func topicError(answer *kmsg.MetadataResponseTopic) (err error, final bool) {
	if answer == nil {
		return sarama.ErrIncompleteResponse, false
	}
	switch code := sarama.KError(answer.ErrorCode); code {
	case sarama.ErrNoError:
		if len(answer.Partitions) == 0 {
			return sarama.ErrIncompleteResponse, false
		}
		return nil, false
	case sarama.ErrInvalidTopic, sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed:
		return code, true
	default:
		return code, false
	}
}
