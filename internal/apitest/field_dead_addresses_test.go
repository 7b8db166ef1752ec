package apitest

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// holes is a dialer that gets no answer from some addresses. A deaf one does not even return when its context ends.
type holes struct {
	*virtual
	addrs map[string]bool
	deaf  chan struct{} // nil, or closed at the test's end
}

func (h *holes) Dial(network, addr string) (net.Conn, error) {
	return h.DialContext(context.Background(), network, addr)
}

func (h *holes) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if h.addrs[addr] {
		if h.deaf != nil {
			<-h.deaf
			return nil, errors.New("too late")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.virtual.DialContext(ctx, network, addr)
}

// Dead addresses among the seeds and the brokers cost a message a part of a second each, not a dial time-out: at the start,
// and when a producer id is asked for. So do dialers that never return.
func TestDeadAddressesDelayNothingForLong(t *testing.T) {
	for name, deaf := range map[string]bool{"dials that time out": false, "dialers that never return": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				move(t, v.Cluster, 0, 0)
				seeds := []string{"a:1", "b:1", "c:1", "localhost:1"}
				h := &holes{virtual: v, addrs: map[string]bool{"localhost:2": true, "localhost:3": true}}
				for _, dead := range seeds[:3] {
					h.addrs[dead] = true
				}
				if deaf {
					h.deaf = make(chan struct{})
					defer close(h.deaf)
				}
				conf := v.config()
				conf.Net.Proxy.Dialer = h
				conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
				begin := time.Now()
				p, err := sluice.New(seeds, conf)
				if err != nil {
					t.Fatal(err)
				}
				closeAfter(t, p)
				send(p, message(0, 0))
				successes(t, p, 1)
				if took := time.Since(begin); took > 1500*time.Millisecond {
					t.Errorf("the first message took %v", took)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// Each seed is told with its own error when none answers.
func TestDeadAddressesAreNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		h := &holes{virtual: v, addrs: map[string]bool{"a:1": true, "b:1": true}}
		conf := v.config()
		conf.Net.Proxy.Dialer = h
		conf.Metadata.Retry.Max = 0
		_, err := sluice.New([]string{"a:1", "b:1"}, conf)
		wantError(t, err, causes(sarama.ErrOutOfBrokers, os.ErrDeadlineExceeded), "a:1", "b:1")
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
	})
}

// replacedClient is a client whose brokers were all replaced; it learns that from its seeds when it is asked to refresh.
type replacedClient struct {
	sarama.Client
	conf      *sarama.Config
	refreshed atomic.Bool
}

func (c *replacedClient) Closed() bool           { return false }
func (c *replacedClient) Config() *sarama.Config { return c.conf }
func (c *replacedClient) RefreshMetadata(...string) error {
	c.refreshed.Store(true)
	return nil
}

func (c *replacedClient) Brokers() []*sarama.Broker {
	if c.refreshed.Load() {
		return []*sarama.Broker{sarama.NewBroker("localhost:1")}
	}
	return []*sarama.Broker{sarama.NewBroker("a:1")}
}

// All brokers that a client knew are gone. Its producer finds the new ones through the client.
func TestAClientsProducerSurvivesThatAllBrokersAreReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.Retry.Backoff = 100 * time.Millisecond
		p, err := sluice.NewFromClient(&replacedClient{conf: conf})
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, p)
		send(p, message(0, 0))
		successes(t, p, 1)
	}, kfake.SeedTopics(1, "t"))
}
