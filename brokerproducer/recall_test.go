package brokerproducer

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"golang.org/x/net/proxy"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// deafDialer connects to a broker that reads everything and never answers.
type deafDialer struct{}

func (deafDialer) Dial(string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.Copy(io.Discard, theirs)
		theirs.Close()
	}()
	return ours, nil
}

// A partition producer that ends its session gets back at once what was not written, whatever the network goroutine waits
// for, and has no reason for a back-off. Another partition's batch in the same request stays, and fails at its own deadline.
func TestEndDoesNotWaitForTheNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		dialer  proxy.Dialer
		written int // partitions, each with one request
	}{
		"dial":                    {silentDialer{}, 0},
		"window of open requests": {deafDialer{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := newConfig(t, func(conf *sarama.Config) {
					conf.ApiVersionsRequest = false
					conf.Version = sarama.V3_6_0_0
					conf.Net.DialTimeout, conf.Net.ReadTimeout = time.Hour, time.Hour
					conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, test.dialer
					conf.Producer.Flush.Frequency = time.Millisecond // one request for both partitions
				})
				pool := NewPool(cfg)
				got := make(outcomes, 3)
				open := func(p int32) (*autoOwner, *Session) {
					owner := newAutoOwner()
					s := pool.Open(1, "b1:9092", owner, unnumbered(p))
					s.Send(got.record(cfg, int(p)))
					return owner, s
				}
				if test.written > 0 {
					open(0)
					time.Sleep(time.Second)
				}
				_, _ = open(1)
				leaver, s := open(2)
				time.Sleep(time.Second)
				start := time.Now()
				s.End()
				result := <-leaver.ended
				if took := time.Since(start); took > 0 {
					t.Errorf("the partition had its batch back after %v", took)
				}
				if len(result.Batches) != 1 || result.Cause != nil || result.Unsent {
					t.Fatalf("result %+v, want a batch and no cause", result)
				}
				if b := result.Batches[0]; b.Attempts != 0 || b.Unsure || b.Cause != nil {
					t.Errorf("%+v, want a batch that was not sent", b)
				}
				for range 1 + test.written {
					if err := <-got; !errors.Is(err, flow.ErrDeliveryTimeout) {
						t.Error(err)
					}
				}
				cfg.Shared.Abort(errors.New("closed"))
				pool.Wait()
			})
		})
	}
}
