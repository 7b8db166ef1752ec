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
)

// Service looks up brokers, topics and leaders. All methods may be called concurrently; none but Start and Close waits
// for anything.
type Service struct {
	conf  *sarama.Config // read only
	seeds []string
	dial  DialFunc

	// now is read by anyone. It is written by Start before the loop exists, then by the loop alone.
	now      atomic.Pointer[snapshot]
	sent     atomic.Int64
	requests requests

	// closing is cancelled by Close. Everything that waits for the network does so under it.
	closing context.Context
	close   context.CancelFunc

	mu      sync.Mutex // guards started, closed, and that running is not added to once Close waits for it
	started bool
	closed  bool
	running sync.WaitGroup
}

// New makes a service that knows nothing and does nothing until Start. conf is read, never written. seeds are the
// addresses (host:port) to begin with, and to come back to when no known broker answers.
func New(conf *sarama.Config, seeds []string, dial DialFunc) *Service {
	s := &Service{conf: conf, seeds: slices.Clone(seeds), dial: dial, requests: newRequests()}
	s.closing, s.close = context.WithCancel(context.Background())
	s.now.Store(&snapshot{brokers: map[int32]Broker{}, topics: map[string]*Topic{}})
	return s
}

// Start finds a broker among the seeds, learns the cluster's brokers from it, with Metadata.Full also its topics, and
// starts the look-up goroutine. It tries Metadata.Retry.Max times more if no seed answers, bounded by ctx and by Metadata.Timeout, if that is set; ctx
// bounds nothing after Start has returned. An error wraps sarama.ErrOutOfBrokers, each seed's own error, and the cause
// of ctx if that ended it; nothing is left running then, and Start may be called again. Start returns
// sarama.ErrClosedClient after Close.
func (s *Service) Start(ctx context.Context) error {
	return s.start(func(f *finder) error { return s.bootstrap(ctx, f) })
}

// StartUnasked starts the look-up goroutine without asking anybody: the first look-up of a topic learns the brokers, too.
func (s *Service) StartUnasked() error { return s.start(func(*finder) error { return nil }) }

func (s *Service) start(bootstrap func(*finder) error) error {
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

	f := &finder{dial: s.dial, seeds: s.seeds, requests: &s.sent, failed: map[string]time.Time{}}
	err := bootstrap(f)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = sarama.ErrClosedClient
	}
	if err != nil {
		f.drop()
		s.started = false
		return err
	}
	s.spawn(func() { newLoop(s, f).run() })
	return nil
}

// bootstrap learns the brokers, and with Metadata.Full the topics.
func (s *Service) bootstrap(ctx context.Context, f *finder) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(sarama.ErrClosedClient) })()
	if timeout := s.conf.Metadata.Timeout; timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, timeout, timedOut(timeout))
		defer stop()
	}
	for retries := 0; ; retries++ {
		resp, err := f.ask(ctx, newBootstrapRequest(s.conf), nil)
		if err == nil {
			s.now.Store(s.now.Load().next(answeredBrokers(resp), wholeTopics(resp)))
			return nil
		}
		var out *outOfBrokers
		if retries >= s.conf.Metadata.Retry.Max || ctx.Err() != nil || errors.As(err, &out) && out.unauthenticated() {
			return fmt.Errorf("%w", err)
		}
		pause := time.NewTimer(backoff(s.conf, retries))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// Close ends the look-up goroutine, what it has under way, and its connection, and waits for that. No listener is
// called once it has returned; what was not looked up stays unanswered. It may be called more than once and from
// several goroutines, but not by a listener.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.running.Wait()
}

// spawn runs fn on a goroutine that Close waits for. Panics go to sarama.PanicHandler, if there is one.
func (s *Service) spawn(fn func()) {
	s.running.Go(func() {
		defer recovered(func(any) {})
		fn()
	})
}

// timedOut is the cause of what Metadata.Timeout ends.
func timedOut(timeout time.Duration) error {
	return fmt.Errorf("Metadata.Timeout (%v) is over: %w", timeout, context.DeadlineExceeded)
}

// recovered is deferred where code of the user may run: dialers, back-off functions, listeners. As in sarama a panic
// goes on if sarama.PanicHandler is nil.
func recovered(then func(p any)) {
	if handler := sarama.PanicHandler; handler != nil {
		if p := recover(); p != nil {
			handler(p)
			then(p)
		}
	}
}

// Broker returns a broker of the newest snapshot.
func (s *Service) Broker(id int32) (Broker, bool) {
	b, ok := s.now.Load().brokers[id]
	return b, ok
}

// Brokers returns the brokers of the newest snapshot, sorted by id. The slice is the caller's.
func (s *Service) Brokers() []Broker {
	now := s.now.Load()
	brokers := make([]Broker, 0, len(now.brokers))
	for _, b := range now.brokers {
		brokers = append(brokers, b)
	}
	slices.SortFunc(brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return brokers
}

// Topic returns what is known of a topic: of one that is watched, or that the bootstrap told of. It is nil if the topic
// was not resolved yet.
func (s *Service) Topic(name string) *Topic { return s.now.Load().topics[name] }

// Requests is the number of Metadata requests sent so far.
func (s *Service) Requests() int64 { return s.sent.Load() }

// Watch registers the one listener of a topic, in place of an earlier one, and asks for the topic's look-up. The first
// look-up of a topic waits for no spacing, only for a round that is under way. A topic without a listener that the
// bootstrap told of needs none: the listener is called at once.
//
// notify is called on the look-up goroutine after every finished look-up of the topic, also when nothing has changed,
// and for each leader taken by UpdateLeader: with the newest Topic (nil if never resolved), and with nil or the error of the
// look-up. An error names the topic and wraps the sarama.KError, or sarama.ErrOutOfBrokers and its causes; tries that
// are followed by a retry are not told. INVALID_TOPIC_EXCEPTION and authorization errors are told at once, all others
// after Metadata.Retry.Max retries or Metadata.Timeout. notify must not block and must not call Close; every other
// method is fine.
func (s *Service) Watch(topic string, notify func(*Topic, error)) {
	s.requests.post(command{watch: &watch{topic: topic, notify: notify}})
}

// Refresh asks for a look-up of a topic that is watched; for others it does nothing. All that ask until the next round
// begins share its request, and a round begins Metadata.Retry.Backoff (or BackoffFunc) after the end of the one before.
// A round that is under way does not count: what it learns may be older than the call. So each call has a refresh number, and
// Answered tells when a round has ended that began after it.
func (s *Service) Refresh(topic string) (refreshNumber uint64) { return s.requests.refresh(topic) }

// Answered is up to which refresh number the rounds that have ended for a topic answer its refreshes. A listener that asks it
// while it is notified learns of the round that it is notified of.
func (s *Service) Answered(topic string) uint64 { return s.requests.answeredUpTo(topic) }

// MarkUnresponsive tells that a broker did not answer a produce request. Others are asked before it from now on: a look-up over the
// connection that is kept to it would only wait for the same silence once more.
func (s *Service) MarkUnresponsive(addr string) { s.requests.post(command{markUnresponsive: addr}) }

// UpdateLeader hands over a leader that a produce answer told (KIP-951). It is taken, and the listener notified, only if the
// partition is known, topicID does not contradict (zero: not told), epoch is higher than known, and the leader's address
// is known or given with node. Older metadata of the same topic id does not undo it.
func (s *Service) UpdateLeader(topic string, topicID [16]byte, partition, leader, epoch int32, node *Broker) {
	l := leadership{topic: topic, topicID: topicID, partition: partition, leader: leader, epoch: epoch}
	if node != nil {
		b := *node
		l.node = &b
	}
	s.requests.post(command{updateLeader: &l})
}
