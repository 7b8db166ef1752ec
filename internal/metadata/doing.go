package metadata

import (
	"errors"
	"sync"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What look-ups wait for, for the error of a message that expires while it waits for one.

// ExplainDials sets what tells the present step of a dial to an address: wire.Dialer.Doing. It must be called before Start.
func (s *Service) ExplainDials(doing func(addr string) error) { s.explain = doing }

// Doing is why a topic's look-up has not ended: why its last try failed, or else which broker is asked, and for how long.
func (s *Service) Doing(topic string) error {
	if err := s.failures.last(topic); err != nil {
		return err
	}
	if err := s.asking.Now(""); err != nil {
		return err
	}
	return errNoRound
}

var errNoRound = errors.New("waiting for the next look-up")

// lastFailures are the errors of look-ups that will be retried, by topic.
type lastFailures struct {
	mu   sync.Mutex
	errs map[string]error
}

func (f *lastFailures) last(topic string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[topic]
}

// set notes an error; nil forgets it.
func (f *lastFailures) set(topic string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		delete(f.errs, topic)
	case f.errs == nil:
		f.errs = map[string]error{topic: flow.External(err)}
	default:
		f.errs[topic] = flow.External(err)
	}
}
