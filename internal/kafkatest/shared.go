//go:build unix

package kafkatest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Suite shares one cluster among a package's tests. The cluster starts with the first Get, and ends after all tests.
//
//	var kafka = kafkatest.NewSuite(1)
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(kafka.Around(m)) }
//
//	func TestSomething(t *testing.T) { cluster := kafka.Get(t) … }
type Suite struct {
	nodes int
	opts  []Option

	mu      sync.Mutex // held while the cluster starts, so that parallel tests wait for it
	asked   bool
	cluster *Cluster
	err     error // why the cluster did not start
}

// NewSuite takes the arguments of Start, and starts nothing yet.
func NewSuite(nodes int, opts ...Option) *Suite { return &Suite{nodes: nodes, opts: opts} }

// Get returns the cluster, and starts it first if need be. Without Kafka it skips or fails the test, as Start does. A test
// that takes a node down must bring it up again, and should use its own topics (NewTopic).
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

// Around wraps m, so that the cluster ends after the tests. Pass the result to goleak.VerifyTestMain.
func (s *Suite) Around(m *testing.M) *Runner { return &Runner{suite: s, tests: m} }

// Runner runs the tests of a package, then ends their cluster.
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
