package metadata

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Service looks up brokers, topics and leaders. All methods may be called concurrently. None but Start and Close waits.
type Service struct {
	conf  *sarama.Config // read only
	seeds []string
	dial  DialFunc

	// current is read by anyone. Start writes it before the loop exists, then the loop alone does.
	current  atomic.Pointer[snapshot]
	sent     atomic.Int64
	cluster  clusterID
	reseed   *reseed
	requests requests

	asking   flow.Activities         // brokers, at the moment
	explain  func(addr string) error // see ExplainDials; may be nil
	log      *flow.Log               // see LogTo; may be nil
	failures lastFailures

	// closing is cancelled by Close, and with it everything that waits for the network.
	closing context.Context
	close   context.CancelFunc

	mu      sync.Mutex // guards what follows; nothing is added to running once closed is set
	started bool
	closed  bool
	running sync.WaitGroup
}

// New makes a service that does nothing until Start. It never writes to conf. seeds are the addresses (host:port) to begin
// with, and to come back to when no known broker answers.
func New(conf *sarama.Config, seeds []string, dial DialFunc) *Service {
	s := &Service{conf: conf, seeds: slices.Clone(seeds), dial: dial, requests: newRequests()}
	s.closing, s.close = context.WithCancel(context.Background())
	s.current.Store(&snapshot{brokers: map[int32]Broker{}, topics: map[string]*Topic{}})
	return s
}

// LogTo sets the log. It must be called before Start.
func (s *Service) LogTo(log *flow.Log) { s.log = log }

// Start asks the seed brokers for the cluster's brokers, with Metadata.Full also for its topics, and starts the look-up
// goroutine. If no seed broker answers, it tries Metadata.Retry.Max times more, until ctx ends or Metadata.Timeout is
// over. ctx has no effect once Start has returned.
//
// An error wraps sarama.ErrOutOfBrokers, each seed broker's own error, and the cause of ctx if that ended it. After an
// error nothing is left running, and Start may be called again. After Close it returns sarama.ErrClosedClient.
func (s *Service) Start(ctx context.Context) error {
	return s.start(func(c *client) error { return s.bootstrap(ctx, c) })
}

// StartUnasked starts the look-up goroutine and sends no request. The first look-up of a topic also brings the brokers.
func (s *Service) StartUnasked() error { return s.start(func(*client) error { return nil }) }

func (s *Service) start(bootstrap func(*client) error) error {
	s.mu.Lock()
	if s.closed || s.started {
		defer s.mu.Unlock()
		if s.closed {
			return sarama.ErrClosedClient
		}
		return errors.New("metadata service started twice")
	}
	s.started = true
	s.running.Add(1) // Close waits for the bootstrap as well
	defer s.running.Done()
	s.mu.Unlock()

	c := &client{
		dial: s.dial, seeds: s.seeds, requests: &s.sent, cluster: &s.cluster, reseed: s.reseed,
		readTimeout: s.conf.Net.ReadTimeout, failedAt: map[string]time.Time{}, asking: &s.asking, explain: s.explain,
		log: s.log,
	}
	err := bootstrap(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = sarama.ErrClosedClient
	}
	if err != nil {
		c.disconnect()
		s.started = false
		return err
	}
	s.spawn(func() { newLoop(s, c).run() })
	return nil
}

// bootstrap asks for the brokers, and with Metadata.Full for the topics.
func (s *Service) bootstrap(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(sarama.ErrClosedClient) })()
	if timeout := s.conf.Metadata.Timeout; timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, timeout, timedOut(timeout))
		defer stop()
	}
	for retries := 0; ; retries++ {
		resp, err := c.ask(ctx, newBootstrapRequest(s.conf), nil)
		if err == nil {
			s.current.Store(s.current.Load().next(answeredBrokers(resp), completeTopics(resp)))
			return nil
		}
		var out *outOfBrokers
		if retries >= s.conf.Metadata.Retry.Max || ctx.Err() != nil || errors.As(err, &out) && out.credentialsRefused() {
			return err
		}
		if flow.Sleep(ctx, flow.MetadataBackoff(s.conf, retries)) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// Close ends the look-up goroutine, its round and its connection, and waits until they have ended. No listener is called
// afterwards: look-ups that have not ended get no answer. It may be called more than once, but not by a listener.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.running.Wait()
}

// spawn runs fn on a goroutine that Close waits for. Dialers, back-off functions and listeners may be the user's code, so
// it is guarded.
func (s *Service) spawn(fn func()) {
	s.running.Go(func() { flow.Guard(fn) })
}

// timedOut is the cause if Metadata.Timeout ends a look-up.
func timedOut(timeout time.Duration) error {
	return fmt.Errorf("Metadata.Timeout (%v) is over: %w", timeout, context.DeadlineExceeded)
}

// Broker returns a broker of the newest snapshot.
func (s *Service) Broker(id int32) (Broker, bool) {
	b, ok := s.current.Load().brokers[id]
	return b, ok
}

// Brokers returns the brokers of the newest snapshot, sorted by id. The slice is the caller's.
func (s *Service) Brokers() []Broker {
	now := s.current.Load()
	brokers := make([]Broker, 0, len(now.brokers))
	for _, b := range now.brokers {
		brokers = append(brokers, b)
	}
	slices.SortFunc(brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return brokers
}

// Topic returns what is known of a topic, nil if nothing is: it was neither looked up nor in the bootstrap's answer.
func (s *Service) Topic(name string) *Topic { return s.current.Load().topics[name] }

// AllowAnyCluster has answers of any cluster taken. It must be called before Start.
func (s *Service) AllowAnyCluster() { s.cluster.any = true }

// ReseedBy sets what is asked for more seeds when no broker answers. It must be called before Start. ask runs on a goroutine
// of its own, which Close does not wait for.
func (s *Service) ReseedBy(ask func() []string) { s.reseed = &reseed{ask: ask} }

// ClusterID is the cluster that brokers must belong to. It is empty if no answer has named one yet, or if any will do.
func (s *Service) ClusterID() string { return s.cluster.known() }

// Requests is the number of Metadata requests sent so far.
func (s *Service) Requests() int64 { return s.sent.Load() }

// Watch sets the listener of a topic, in place of an earlier one, and asks for a look-up. The first look-up of a topic is
// not spaced: it waits for the round under way only. If the bootstrap answered the topic, its first listener is called at
// once, without a look-up.
//
// notify is called on the look-up goroutine after every finished look-up of the topic, even if nothing has changed, and
// after an UpdateLeader that was taken. It gets the newest Topic (nil if there never was one), and the error of the
// look-up. An error wraps the sarama.KError or sarama.ErrOutOfBrokers with its causes.
// INVALID_TOPIC_EXCEPTION, authorization errors and refused credentials end a look-up at once, all others after
// Metadata.Retry.Max retries or Metadata.Timeout. notify must not block and must not call Close. It may call every other
// method.
func (s *Service) Watch(topic string, notify func(*Topic, error)) {
	s.requests.post(command{watch: &watchedTopic{topic: topic, notify: notify}})
}

// Unwatch removes the listener of a topic, and forgets the topic. It may still be called while Unwatch runs, and shortly
// afterwards.
func (s *Service) Unwatch(topic string) { s.requests.post(command{unwatch: topic}) }

// Refresh asks for a look-up of a watched topic. For other topics it does nothing. All refreshes until the next round begins
// share one request, and a round begins Metadata.Retry.Backoff (or BackoffFunc) after the last one has ended.
//
// A round under way does not count, since its answer may be older than the call. Answered tells whether a later round has
// ended, by the refresh number.
//
// Like the periodic refresh it creates no topic: one that was deleted must not come back because it was written to once.
func (s *Service) Refresh(topic string) (refreshNumber uint64) {
	return s.requests.refresh(topic, false)
}

// RefreshOrCreate is Refresh for a topic that a message waits for. With Metadata.AllowAutoTopicCreation the broker may
// create it, as with the look-up of Watch.
func (s *Service) RefreshOrCreate(topic string) (refreshNumber uint64) {
	return s.requests.refresh(topic, true)
}

// RefreshLeader is Refresh by the producer of a partition that failed. acked says whether the known leader has acknowledged
// anything since its last call. A leader epoch that goes back is believed only while it has not (see believe). create: a
// message waits there, see RefreshOrCreate.
func (s *Service) RefreshLeader(topic string, partition int32, acked, create bool) (refreshNumber uint64) {
	return s.requests.refreshLeader(topic, partition, acked, create)
}

// Answered returns the highest refresh number of a topic whose look-up has ended. Within notify that is the look-up which
// notify is called for.
func (s *Service) Answered(topic string) uint64 { return s.requests.answeredUpTo(topic) }

// MarkUnresponsive says that a broker did not answer a produce request. From now on other brokers are asked before it. A
// look-up over the connection to it would run into the same silence. silent says that the request timed out: then what has
// dropped its connection, such as a firewall, may have dropped the look-ups' connection too, wherever that leads. It is
// closed, unless an answer came over it since the request was sent.
func (s *Service) MarkUnresponsive(addr string, silent bool) {
	s.requests.post(command{markUnresponsive: unresponsive{addr, silent}})
}

// UpdateLeader passes on a leader that a produce answer has named (KIP-951). It is taken, and the listener notified, only
// if the partition is known, topicID is the known one or zero, epoch is higher than the known one, and the leader's address
// is known or given as node. Older metadata of the same topic id does not undo it.
func (s *Service) UpdateLeader(topic string, topicID [16]byte, partition, leader, epoch int32, node *Broker) {
	l := newLeader{topic: topic, topicID: topicID, partition: partition, leader: leader, epoch: epoch}
	if node != nil {
		b := *node
		l.node = &b
	}
	s.requests.post(command{updateLeader: &l})
}
