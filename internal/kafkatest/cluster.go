//go:build unix

package kafkatest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// requireEnv, set to 1, makes a missing java, mvn or jar a failure instead of a skip.
const requireEnv = "SLUICE_REQUIRE_KAFKA"

const (
	startTimeout = 90 * time.Second // to format, start and answer; about 4 s on an idle machine
	stopTimeout  = 60 * time.Second // a controlled shutdown moves the leaders away first
)

// Cluster is a running Kafka cluster. Its methods may be called from any goroutine of a test, but not concurrently for
// the same node.
type Cluster struct {
	conf  clusterConfig
	slot  *slot
	kafka install
	nodes []*node
}

// node is one broker and controller.
type node struct {
	dir    string
	addr   string
	proc   *process // nil while it is down
	paused bool
}

// answers tells whether the node can answer a request: it runs and is not paused.
func (n *node) answers() bool { return n.proc != nil && !n.paused }

// Start starts a cluster of 1 to 5 nodes, waits until each node answers and knows all others, and ends it with the test.
// If java is missing, or the jars can't be fetched, it skips the test, or fails it if SLUICE_REQUIRE_KAFKA is 1. A cluster
// that does not come up fails the test, with the end of the nodes' logs.
func Start(tb testing.TB, nodes int, opts ...Option) *Cluster {
	tb.Helper()
	c, err := start(nodes, opts...)
	if err != nil {
		giveUp(tb, err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(c.logTails())
		}
		if err := c.close(); err != nil {
			tb.Errorf("kafkatest: %v", err)
		}
	})
	return c
}

// start is Start without a test. The caller closes the cluster.
func start(nodes int, opts ...Option) (_ *Cluster, err error) {
	conf := newClusterConfig(nodes, opts)
	if nodes < 1 || nodes > maxNodes {
		return nil, fmt.Errorf("kafkatest: a cluster of %d nodes, want 1 to %d", nodes, maxNodes)
	}
	if n := len(conf.listeners); n > maxListeners {
		return nil, fmt.Errorf("kafkatest: %d further listeners, want up to %d", n, maxListeners)
	}
	if err := checkVersion(conf.version); err != nil {
		return nil, err
	}
	kafka, err := installation(conf.version)
	if err != nil {
		return nil, err
	}
	s, err := takeSlot(slotRoot(), portsFree)
	if err != nil {
		return nil, err
	}
	c := &Cluster{conf: conf, slot: s, kafka: kafka}
	defer func() {
		if err != nil {
			_ = c.close() // the first error matters more
		}
	}()
	for i := range nodes {
		c.nodes = append(c.nodes, &node{
			dir:  filepath.Join(s.dir, fmt.Sprintf("node-%d", i)),
			addr: fmt.Sprintf("127.0.0.1:%d", s.brokerPort(i)),
		})
	}
	if err := c.format(); err != nil {
		return nil, err
	}
	all := make([]int, nodes)
	for i := range all {
		all[i] = i
	}
	if err := c.launch(all, nodes); err != nil {
		return nil, err
	}
	return c, nil
}

// giveUp skips the test if this machine can't run Kafka and requireEnv is not set. Else it fails the test.
func giveUp(tb testing.TB, err error) {
	tb.Helper()
	if isUnavailable(err) && os.Getenv(requireEnv) != "1" {
		tb.Skip(err)
	}
	tb.Fatal(err)
}

// Brokers returns host:port of each node, by broker id. The addresses never change.
func (c *Cluster) Brokers() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.addr
	}
	return addrs
}

// Kill ends node i like a crash (SIGKILL), and waits until it is gone.
func (c *Cluster) Kill(tb testing.TB, i int) {
	tb.Helper()
	c.running(tb, i).kill()
	c.nodes[i].proc, c.nodes[i].paused = nil, false
}

// Stop asks node i to shut down (SIGTERM), so that it hands its leaders over first, and waits until it is gone.
func (c *Cluster) Stop(tb testing.TB, i int) {
	tb.Helper()
	p := c.running(tb, i)
	if err := p.terminate(stopTimeout); err != nil {
		tb.Fatalf("kafkatest: stop node %d: %v\n%s", i, err, c.logTails())
	}
	c.nodes[i].proc = nil
}

// Restart starts nodes that are down, with their old data, and waits until each of them answers and is part of the cluster.
// If most nodes are down, restart enough of them for a quorum in one call.
func (c *Cluster) Restart(tb testing.TB, nodes ...int) {
	tb.Helper()
	for _, i := range nodes {
		c.check(tb, i)
		if c.nodes[i].proc != nil {
			tb.Fatalf("kafkatest: restart node %d: it is running", i)
		}
	}
	if err := c.launch(nodes, len(nodes)); err != nil {
		tb.Fatal(err)
	}
}

// Pause freezes node i (SIGSTOP): its connections stay open and nothing answers on them.
func (c *Cluster) Pause(tb testing.TB, i int) {
	tb.Helper()
	if err := c.running(tb, i).pause(); err != nil {
		tb.Fatalf("kafkatest: pause node %d: %v", i, err)
	}
	c.nodes[i].paused = true
}

// Resume lets a paused node run on (SIGCONT).
func (c *Cluster) Resume(tb testing.TB, i int) {
	tb.Helper()
	if err := c.running(tb, i).resume(); err != nil {
		tb.Fatalf("kafkatest: resume node %d: %v", i, err)
	}
	c.nodes[i].paused = false
}

func (c *Cluster) check(tb testing.TB, i int) {
	tb.Helper()
	if i < 0 || i >= len(c.nodes) {
		tb.Fatalf("kafkatest: node %d of a cluster of %d", i, len(c.nodes))
	}
}

// running returns the process of node i and fails the test if there is none.
func (c *Cluster) running(tb testing.TB, i int) *process {
	tb.Helper()
	c.check(tb, i)
	p := c.nodes[i].proc
	if p == nil {
		tb.Fatalf("kafkatest: node %d is down", i)
	}
	return p
}

// close kills the nodes, removes the data and gives the slot back. The cluster may be half started.
func (c *Cluster) close() error {
	for _, n := range c.nodes {
		if n.proc != nil {
			n.proc.kill()
			n.proc = nil
		}
	}
	return c.slot.release()
}
