package apitest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// virtual is a cluster in a synctest bubble: its network takes no time, and time passes when nothing else happens.
type virtual struct {
	*kfake.Cluster
	network kfake.VirtualNetwork
	refused atomic.Pointer[refusal] // what a dial meets
}

type refusal struct {
	addr string
	err  error
}

// inBubble runs a test with a virtual cluster.
func inBubble(t *testing.T, test func(*testing.T, *virtual), opts ...kfake.Opt) {
	synctest.Test(t, func(t *testing.T) {
		v := &virtual{}
		v.Cluster = newCluster(t, append([]kfake.Opt{kfake.ListenFn(v.network.Listen), virtualBrokers(3)}, opts...)...)
		test(t, v)
	})
}

// virtualBrokers has a virtual cluster of n brokers: kfake.NumBrokers counts only where no ports are given. Without it there
// are three.
func virtualBrokers(n int) kfake.Opt { return kfake.Ports([]int{1, 2, 3}[:n]...) }

// Dial implements proxy.Dialer.
func (v *virtual) Dial(network, addr string) (net.Conn, error) {
	return v.DialContext(context.Background(), network, addr)
}

// DialContext implements proxy.ContextDialer.
func (v *virtual) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if r := v.refused.Load(); r != nil && r.addr == addr {
		return nil, r.err
	}
	return v.network.DialContext(ctx, network, addr)
}

// config is testConfig over the virtual network.
func (v *virtual) config() *sarama.Config {
	conf := testConfig()
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = v
	return conf
}
