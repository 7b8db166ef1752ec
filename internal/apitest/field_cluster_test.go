package apitest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// twoClusters dials one cluster's brokers, or those of another cluster that has taken over their addresses.
type twoClusters struct {
	own   *virtual
	other *virtual

	mu    sync.Mutex
	taken map[string]bool     // by port: the clusters' addresses differ in the name of the host
	open  map[net.Conn]string // the port
}

// byName keeps Produce below v13: from there on requests name topics by their id, and only a look-up tells the other
// cluster's.
var (
	byName = kfake.MaxVersions(kversion.V3_9_0())
	byID   = kfake.MaxVersions(kversion.Stable())
)

// withOther adds a cluster with this id, and a topic of the same name. In both it is led by the broker at port 1.
func withOther(t *testing.T, own *virtual, id string, versions kfake.Opt) *twoClusters {
	other := &virtual{}
	other.Cluster = newCluster(t, kfake.ListenFn(other.network.Listen), kfake.Ports(1, 2, 3),
		kfake.SeedTopics(1, "t"), kfake.ClusterID(id), versions)
	move(t, own.Cluster, 0, 0)
	move(t, other.Cluster, 0, 0)
	return &twoClusters{own: own, other: other, taken: map[string]bool{}, open: map[net.Conn]string{}}
}

func (c *twoClusters) Dial(network, addr string) (net.Conn, error) {
	return c.DialContext(context.Background(), network, addr)
}

func (c *twoClusters) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, _ := net.SplitHostPort(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	cluster := c.own
	if c.taken[port] {
		cluster = c.other
	}
	nc, err := cluster.DialContext(ctx, network, addr)
	if err == nil {
		c.open[nc] = port
	}
	return nc, err
}

// take gives a port to the other cluster, or back, and cuts the connections to it.
func (c *twoClusters) take(port string, taken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken[port] = taken
	for nc, to := range c.open {
		if to == port {
			nc.Close()
			delete(c.open, nc)
		}
	}
}

func (c *twoClusters) config(idempotent bool) *sarama.Config {
	conf := c.own.config()
	conf.Net.Proxy.Dialer = c
	conf.Metadata.RefreshFrequency = time.Second
	conf.Metadata.Retry.Backoff = 100 * time.Millisecond
	conf.Producer.Retry.Backoff = 100 * time.Millisecond
	conf.Producer.Retry.Max = 1000000
	if idempotent {
		conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		conf.Version = sarama.V2_8_0_0
	}
	return conf
}

// A broker's address is taken over by a broker of another cluster that has a topic of the same name. Nothing is written
// there: messages wait, and go to the right cluster when that is back at its address.
func TestNothingIsWrittenToAnotherCluster(t *testing.T) {
	for name, ports := range map[string][]string{"one broker of three": {"1"}, "all": {"1", "2", "3"}} {
		t.Run(name, func(t *testing.T) {
			nothingIsWritten(t, ports, byName, false)
			nothingIsWritten(t, ports, byName, true)
			nothingIsWritten(t, ports, byID, false)
			nothingIsWritten(t, ports, byID, true)
		})
	}
}

func nothingIsWritten(t *testing.T, ports []string, versions kfake.Opt, idempotent bool) {
	inBubble(t, func(t *testing.T, v *virtual) {
		c := withOther(t, v, "other", versions)
		p := newAsync(t, v.Cluster, c.config(idempotent))
		send(p, message(0, 0))
		successes(t, p, 1)

		for _, port := range ports {
			c.take(port, true)
		}
		for i := 1; i <= 100; i++ {
			send(p, message(0, i))
		}
		time.Sleep(20 * time.Second)
		if n := logged(c.other.Cluster, "t"); n != 0 {
			t.Errorf("%d messages are in the wrong cluster", n)
		}
		for _, port := range ports {
			c.take(port, false)
		}
		successes(t, p, 100)
		if n := logged(v.Cluster, "t"); n != 101 {
			t.Errorf("the right cluster holds %d messages, want 101", n)
		}
	}, kfake.SeedTopics(1, "t"), kfake.ClusterID("own"), versions)
}

// A message that is given up while another cluster has the address says so, and names both.
func TestTheErrorNamesBothClusters(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		c := withOther(t, v, "other", byName)
		p := newAsync(t, v.Cluster, c.config(false), sluice.WithDeliveryTimeout(10*time.Second))
		send(p, message(0, 0))
		successes(t, p, 1)
		for _, port := range []string{"1", "2", "3"} {
			c.take(port, true)
		}
		send(p, message(0, 1))
		err := receive(t, p.Errors()).Err
		wantError(t, err, causes(sluice.ErrOtherCluster, sluice.ErrDeliveryTimeout), `"own"`, `"other"`)
	}, kfake.SeedTopics(1, "t"), kfake.ClusterID("own"), byName)
}

// A name that is moved on purpose: the option lets messages follow it.
func TestAnotherClusterByOption(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		c := withOther(t, v, "other", byName)
		p := newAsync(t, v.Cluster, c.config(false), sluice.WithClusterIDCheck(false))
		send(p, message(0, 0))
		successes(t, p, 1)
		for _, port := range []string{"1", "2", "3"} {
			c.take(port, true)
		}
		send(p, message(0, 1))
		successes(t, p, 1)
		if n := logged(c.other.Cluster, "t"); n != 1 {
			t.Errorf("%d messages are in the other cluster, want 1", n)
		}
	}, kfake.SeedTopics(1, "t"), kfake.ClusterID("own"), byName)
}

// Cluster ids that are not told are not checked.
func TestAClusterWithoutAnID(t *testing.T) {
	for _, ids := range [][2]string{{"", "other"}, {"own", ""}} {
		inBubble(t, func(t *testing.T, v *virtual) {
			c := withOther(t, v, ids[1], byName)
			p := newAsync(t, v.Cluster, c.config(false))
			send(p, message(0, 0))
			successes(t, p, 1)
			for _, port := range []string{"1", "2", "3"} {
				c.take(port, true)
			}
			send(p, message(0, 1))
			successes(t, p, 1)
		}, kfake.SeedTopics(1, "t"), kfake.ClusterID(ids[0]), byName)
	}
}
