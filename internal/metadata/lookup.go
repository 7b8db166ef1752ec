package metadata

import (
	"cmp"
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
)

// Conn is what a look-up needs of a connection. wire.Conn satisfies it.
type Conn interface {
	// Request sends one request, in the newest version that both sides speak, and returns its answer. It returns when
	// ctx ends, and also when the broker is silent for Net.ReadTimeout.
	Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Close ends the connection. It may be called more than once.
	Close() error
	// Done is closed once the connection is of no more use. A connection that also has Expires() time.Time is not used
	// from then on, either (zero: never).
	Done() <-chan struct{}
}

// DialFunc opens a connection to a broker, bounded by ctx and by Net.DialTimeout. brokerID is -1 for a seed, whose id is
// not known.
type DialFunc func(ctx context.Context, brokerID int32, addr string) (Conn, error)

// ErrRebootstrapRequired is REBOOTSTRAP_REQUIRED (KIP-1102), which sarama has no name for: the brokers that are known
// are not to be asked any more, but the seeds.
const ErrRebootstrapRequired = sarama.KError(129)

// finder gets one request answered by any broker. It has one owner at a time: Start, then the loop, which lets the topic send directly to it to
// its round.
type finder struct {
	dial     DialFunc
	seeds    []string
	requests *atomic.Int64

	conn   Conn                 // kept while it works; nil if there is none
	target target               // where conn leads to
	failed map[string]time.Time // by address: when it last failed; cleared by a success
}

// target is a broker that may be asked.
type target struct {
	id   int32 // -1 for a seed
	addr string
}

func (t target) String() string {
	if t.id < 0 {
		return "seed broker " + t.addr
	}
	return fmt.Sprintf("broker %d at %s", t.id, t.addr)
}

// ask returns the first good answer: over the connection that is open, else of the brokers that are known, else of the
// seeds. It fails with an error that wraps sarama.ErrOutOfBrokers and each broker's own error. It ends at once with
// ctx. If ctx has a deadline, a silent broker gets half of what is left of it, so that others get their turn.
func (f *finder) ask(ctx context.Context, req *kmsg.MetadataRequest, known map[int32]Broker) (*kmsg.MetadataResponse, error) {
	out := &outOfBrokers{}
	rebootstrap := false
	try := func(t target, last bool) *kmsg.MetadataResponse {
		resp, err := f.askOne(ctx, req, t, last)
		if err == nil {
			delete(f.failed, t.addr)
			return resp
		}
		f.drop()
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			f.failed[t.addr] = time.Now()
			sarama.Logger.Printf("metadata: %s: %v\n", t, err)
		}
		rebootstrap = rebootstrap || errors.Is(err, ErrRebootstrapRequired)
		out.causes = append(out.causes, fmt.Errorf("%s: %w", t, err))
		return nil
	}

	// A connection that was kept may have been closed by the broker for idleness, unnoticed. Its failure says nothing of
	// a new connection to the same broker, so the broker stays among the candidates.
	if f.usable() {
		if resp := try(f.target, false); resp != nil {
			return resp, nil
		}
	}
	candidates := f.candidates(known)
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
		if out.unauthenticated() {
			// The same credentials fail everywhere, and tries may lock the account.
			return nil, out
		}
	}
	if ctx.Err() != nil && !errors.Is(out, context.Cause(ctx)) {
		out.causes = append(out.causes, context.Cause(ctx))
	}
	return nil, out
}

// askOne asks one broker, over the connection that is open if there is one. A panic of the user's dialer is this
// broker's failure: the loop waits for the round's end.
func (f *finder) askOne(ctx context.Context, req *kmsg.MetadataRequest, t target, last bool) (_ *kmsg.MetadataResponse, err error) {
	defer recovered(func(p any) { err = fmt.Errorf("panicked: %v", p) })
	if deadline, ok := ctx.Deadline(); ok && !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	if f.conn == nil {
		conn, err := f.dial(ctx, t.id, t.addr)
		if err != nil {
			return nil, err
		}
		f.conn, f.target = conn, t
	}
	f.requests.Add(1)
	answer, err := f.conn.Request(ctx, req)
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
		// A broker that is starting up knows of no brokers yet (KAFKA-7924).
		return nil, errors.New("told of no brokers")
	}
	return resp, nil
}

// candidates lists who may be asked, each address once: the known brokers, then the seeds, each group beginning
// anywhere, but with those that failed least recently first.
func (f *finder) candidates(known map[int32]Broker) []target {
	brokers := make([]target, 0, len(known)+len(f.seeds))
	for _, b := range known {
		brokers = append(brokers, target{b.ID, b.Addr})
	}
	seeds := make([]target, 0, len(f.seeds))
	for _, addr := range f.seeds {
		seeds = append(seeds, target{-1, addr})
	}
	for _, group := range [][]target{brokers, seeds} {
		rand.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		slices.SortStableFunc(group, func(a, b target) int { return f.failed[a.addr].Compare(f.failed[b.addr]) })
	}
	seen := make(map[string]bool, len(brokers)+len(seeds))
	all := slices.DeleteFunc(append(brokers, seeds...), func(t target) bool {
		dup := seen[t.addr]
		seen[t.addr] = true
		return dup
	})
	// Brokers that have left the cluster leave this map, too.
	maps.DeleteFunc(f.failed, func(addr string, _ time.Time) bool { return !seen[addr] })
	return all
}

// usable tells whether the connection that was kept still is of use, and lets go of it if not: because it is dead, or
// because its SASL session is about to end (KIP-368), where connections know of that.
func (f *finder) usable() bool {
	if f.conn == nil {
		return false
	}
	if session, ok := f.conn.(interface{ Expires() time.Time }); ok {
		if at := session.Expires(); !at.IsZero() && !time.Now().Before(at) {
			f.drop()
			return false
		}
	}
	select {
	case <-f.conn.Done():
		f.drop()
		return false
	default:
		return true
	}
}

// mark as unresponsive has other brokers asked before the one at addr, and lets go of the connection to it.
func (f *finder) markUnresponsive(addr string) {
	f.failed[addr] = time.Now()
	if f.conn != nil && f.target.addr == addr {
		f.drop()
	}
}

// distrust has another broker asked next time, because this one answers from an old cache.
func (f *finder) distrust() {
	if f.conn != nil {
		f.markUnresponsive(f.target.addr)
	}
}

// drop closes the connection, if there is one.
func (f *finder) drop() {
	if f.conn != nil {
		_ = f.conn.Close() // nothing is under way on it that its error could tell of
		f.conn = nil
	}
}

// outOfBrokers is the error of a request that no broker answered.
type outOfBrokers struct {
	causes []error // each broker's, in the order of asking; then what ended the asking, if anything did
}

func (e *outOfBrokers) Error() string {
	texts := make([]string, len(e.causes))
	for i, err := range e.causes {
		texts[i] = err.Error()
	}
	return sarama.ErrOutOfBrokers.Error() + ": " + strings.Join(texts, "; ")
}

func (e *outOfBrokers) Unwrap() []error { return append([]error{sarama.ErrOutOfBrokers}, e.causes...) }

// unauthenticated tells whether the brokers refuse our credentials, which no retry changes.
func (e *outOfBrokers) unauthenticated() bool {
	return errors.Is(e, sarama.ErrSASLAuthenticationFailed)
}

// backoff is the pause after a failed try; retries is the number of retries before, as sarama counts them.
func backoff(conf *sarama.Config, retries int) (pause time.Duration) {
	pause = conf.Metadata.Retry.Backoff
	defer recovered(func(any) {})
	if f := conf.Metadata.Retry.BackoffFunc; f != nil {
		pause = f(retries, conf.Metadata.Retry.Max)
	}
	return max(pause, 0)
}

// newRequest asks for the given topics, and always for the brokers; for these alone if there are no topics.
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

// newBootstrapRequest asks for all topics if Metadata.Full is set, else for the brokers alone. It creates no topic.
func newBootstrapRequest(conf *sarama.Config) *kmsg.MetadataRequest {
	req := newRequest(conf, nil)
	if conf.Metadata.Full {
		req.Topics = nil // all of them
	}
	return req
}

// verdict is what an answer says of one topic. Like the Java client we believe only refusals to be final: others, such
// as INVALID_REPLICATION_FACTOR while the brokers of a new cluster come up one by one, pass.
func verdict(told *kmsg.MetadataResponseTopic) (err error, final bool) {
	if told == nil {
		return sarama.ErrIncompleteResponse, false
	}
	switch code := sarama.KError(told.ErrorCode); code {
	case sarama.ErrNoError:
		if len(told.Partitions) == 0 {
			return sarama.ErrIncompleteResponse, false
		}
		return nil, false
	case sarama.ErrInvalidTopic, sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed:
		return code, true
	default:
		return code, false
	}
}

// byName sorts watches, so that requests and notifications have an order.
func byName(a, b *watch) int { return cmp.Compare(a.topic, b.topic) }
