//go:build unix

package kafkatest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Suite runs a package's tests around one cluster that they share. The cluster starts when the first test asks for it
// (Get), and ends when all tests have.
//
//	var kafka = kafkatest.NewSuite(1)
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(kafka.Around(m)) }
//
//	func TestSomething(t *testing.T) { cluster := kafka.Get(t) … }
type Suite struct {
	nodes int
	opts  []Option

	mu      sync.Mutex // held while the cluster starts, so that tests that run in parallel wait for it
	asked   bool
	cluster *Cluster
	err     error // why there is no cluster, though it was asked for
}

// NewSuite returns a suite whose cluster, not started yet, is that of Start(tb, nodes, opts...).
func NewSuite(nodes int, opts ...Option) *Suite { return &Suite{nodes: nodes, opts: opts} }

// Get returns the cluster, starting it if need be. Where there is no Kafka it skips or fails the test, as Start does.
// A test that takes a node down must bring it up again; topics are its own (NewTopic).
func (s *Suite) Get(tb testing.TB) *Cluster {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked {
		s.asked = true
		s.cluster, s.err = start(s.nodes, s.opts...)
	}
	if s.err != nil {
		giveUp(tb, s.err)
	}
	return s.cluster
}

// Around returns m with the end of the cluster after it, in the form that goleak.VerifyTestMain takes.
func (s *Suite) Around(m *testing.M) *Runner { return &Runner{suite: s, tests: m} }

// Runner is the tests of a package with their cluster.
type Runner struct {
	suite *Suite
	tests *testing.M
}

// Run runs the tests, ends the cluster, and returns the exit code for the process.
func (r *Runner) Run() int {
	code := r.tests.Run()
	r.suite.mu.Lock()
	defer r.suite.mu.Unlock()
	if r.suite.cluster == nil {
		return code
	}
	if err := r.suite.cluster.close(); err != nil {
		fmt.Fprintf(os.Stderr, "kafkatest: %v\n", err)
		return max(code, 1)
	}
	return code
}
