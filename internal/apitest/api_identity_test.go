package apitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Constructors of idempotent producers.

// idempotentDoors are all constructors, sarama's first.
var idempotentDoors = []struct {
	name string
	bare bool // the error is the broker's own, as sarama's
	open func(t *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error)
}{
	{"sarama", true, func(_ *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		client, err := sarama.NewClient(addrs, conf) // NewAsyncProducer's own would be left open
		if err != nil {
			return nil, err
		}
		defer client.Close()
		return sarama.NewAsyncProducerFromClient(client)
	}},
	{"NewAsyncProducer", true, func(_ *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.NewAsyncProducer(addrs, conf)
	}},
	{"NewSyncProducer", true, func(_ *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.NewSyncProducer(addrs, conf)
	}},
	{"NewAsyncProducerFromClient", true, func(t *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.NewAsyncProducerFromClient(newClient(t, addrs, conf))
	}},
	{"NewSyncProducerFromClient", true, func(t *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.NewSyncProducerFromClient(newClient(t, addrs, conf))
	}},
	{"New", false, func(_ *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.New(addrs, conf)
	}},
	{"NewFromClient", false, func(t *testing.T, addrs []string, conf *sarama.Config) (interface{ Close() error }, error) {
		return sluice.NewFromClient(newClient(t, addrs, conf))
	}},
}

// A producer id that is refused is the constructor's error, and nothing is left behind.
func TestRefusedProducerIDIsTheConstructorsError(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion, kerr.TransactionalIDAuthorizationFailed, kerr.InvalidRequest,
		kerr.UnsupportedForMessageFormat, kerr.ProducerFenced,
	} {
		for _, full := range []bool{true, false} {
			for _, d := range idempotentDoors {
				t.Run(fmt.Sprintf("%s full %t %s", code.Message, full, d.name), func(t *testing.T) {
					c := newTopicCluster(t, 3, 1)
					c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: code, Count: -1})
					conf := idempotent(testConfig())
					conf.Metadata.Full = full
					p, err := d.open(t, c.ListenAddrs(), conf)
					if err == nil {
						p.Close()
					}
					want := sarama.KError(code.Code)
					if d.bare && err != want || !errors.Is(err, want) {
						t.Errorf("%T %v, want %v", err, err, want)
					}
					if !d.bare {
						wantError(t, err, nil, "sluice: no producer id", "broker 127.0.0.1:")
					}
				})
			}
		}
	}
}

// After an error of the constructor its metrics are gone too.
func TestRefusedProducerIDLeavesNoMetrics(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	conf := idempotent(testConfig())
	if _, err := sluice.New(c.ListenAddrs(), conf); err == nil {
		t.Fatal("no error")
	}
	if left := registered(conf.MetricRegistry); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// Where there is no definite answer the constructor goes on after a second, or after the first try that failed for a reason
// that may pass. The asking goes on.
func TestConstructorWaitsASecondForAProducerID(t *testing.T) {
	for _, d := range []door{saramaDoor, ownDoor} {
		for _, full := range []bool{true, false} {
			for name, line := range map[string]struct {
				answer func(*kmsg.InitProducerIDResponse) bool // false: none
				most   time.Duration
			}{
				"no answer": {func(*kmsg.InitProducerIDResponse) bool { return false }, time.Second},
				"not ready": {func(r *kmsg.InitProducerIDResponse) bool {
					r.ErrorCode = kerr.CoordinatorLoadInProgress.Code
					return true
				}, 0},
				"a negative id":        {func(r *kmsg.InitProducerIDResponse) bool { r.ProducerID, r.ProducerEpoch = -1, -1; return true }, 0},
				"a negative epoch":     {func(r *kmsg.InitProducerIDResponse) bool { r.ProducerID, r.ProducerEpoch = 7, -1; return true }, 0},
				"the most negative id": {func(r *kmsg.InitProducerIDResponse) bool { r.ProducerID = -1 << 63; return true }, 0},
			} {
				t.Run(fmt.Sprintf("%s full %t %s", d.name, full, name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, v *virtual) {
						begin := time.Now()
						v.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
							v.KeepControl()
							if time.Since(begin) > 20*time.Second {
								return nil, nil, false
							}
							resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
							if !line.answer(resp) {
								return nil, nil, true
							}
							return resp, nil, true
						})
						conf := idempotent(v.config())
						conf.Metadata.Full = full
						conf.Net.ReadTimeout, conf.Producer.Retry.Max = 5*time.Second, 1_000_000
						p := d.newAsync(t, v.Cluster, conf).(*sluice.Producer)
						closeAfter(t, p)
						if took := time.Since(begin); took > line.most {
							t.Errorf("the constructor took %v", took)
						}
						send(p, message(0, 0))
						successes(t, p, 1)
						if took := time.Since(begin); took < 20*time.Second || took > 30*time.Second {
							t.Errorf("delivered after %v", took)
						}
						if err := p.Close(); err != nil {
							t.Error(err)
						}
					}, kfake.SeedTopics(1, "t"))
				})
			}
		}
	}
}

// A dead address among those that are given does not hold a refusal up, once brokers are known.
func TestRefusalDoesNotWaitForADeadSeed(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
		conf := idempotent(v.config())
		conf.Net.Proxy.Dialer = hangsAt{v, "dead:1"}
		_, err := sluice.New(append(v.ListenAddrs(), "dead:1"), conf)
		wantError(t, err, causes(sarama.ErrClusterAuthorizationFailed))
	}, kfake.SeedTopics(1, "t"))
}

// Nor does a broker that can't be reached. One that is slow to be reached, and gives an id, has the last word.
func TestRefusalDoesNotWaitForADeadBroker(t *testing.T) {
	for name, line := range map[string]struct {
		pause time.Duration // of a dial to the broker that gives ids
		cause error
	}{
		"dead": {time.Hour, sarama.ErrClusterAuthorizationFailed},
		"slow": {400 * time.Millisecond, nil},
	} {
		for _, full := range []bool{true, false} {
			for _, d := range idempotentDoors[1:] {
				if d.name != "NewAsyncProducer" && d.name != "New" {
					continue
				}
				t.Run(fmt.Sprintf("%s full %t %s", name, full, d.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, v *virtual) {
						v.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
							v.KeepControl()
							resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
							resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
							return resp, nil, v.CurrentNode() != 2
						})
						conf := idempotent(v.config())
						conf.Metadata.Full = full
						conf.Net.Proxy.Dialer = slowAt{v, v.ListenAddrs()[2], line.pause}
						begin := time.Now()
						p, err := d.open(t, v.ListenAddrs(), conf)
						if took := time.Since(begin); took > time.Second { // 250 ms of them may be the first look-up
							t.Errorf("it took %v", took)
						}
						if line.cause == nil && err != nil || !errors.Is(err, line.cause) {
							t.Errorf("%v, want %v", err, line.cause)
						}
						if err == nil {
							p.Close()
						}
					}, kfake.SeedTopics(1, "t"))
				})
			}
		}
	}
}

// slowAt is a dialer whose dials to one address take a while.
type slowAt struct {
	*virtual
	addr  string
	pause time.Duration
}

func (s slowAt) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == s.addr {
		select {
		case <-time.After(s.pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.virtual.DialContext(ctx, network, addr)
}
