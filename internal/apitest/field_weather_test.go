package apitest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/sluice-kafka/sluice"
)

// weather is a network with a firewall, whose logins last for half a minute, and whose brokers can't be dialled at times.
type weather struct {
	*firewall
	mu      sync.Mutex
	refused bool
}

func (w *weather) refuse(refused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = refused
}

// DialContext implements proxy.ContextDialer.
func (w *weather) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	refused := w.refused
	w.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	}
	conn, err := w.firewall.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s := &sessions{lifetime: 30 * time.Second}
	return &sessionConn{Conn: conn, sessions: s, began: time.Now()}, nil
}

// blow has something happen now and then until stop is closed.
func (w *weather) blow(t *testing.T, draw *rand.Rand, stop <-chan struct{}) {
	pause := func(most int) { time.Sleep(time.Duration(draw.IntN(most)) * time.Millisecond) }
	for {
		pause(8000)
		select {
		case <-stop:
			return
		default:
		}
		switch draw.IntN(5) {
		case 0:
			w.drop()
		case 1:
			w.cut("")
		case 2:
			w.refuse(true)
			w.cut("")
			pause(3000)
			w.refuse(false)
		default:
			move(t, w.Cluster, int32(draw.IntN(6)), int32(draw.IntN(3)))
		}
	}
}

// Connections are dropped silently, closed, and refused, are idle for too long, and their logins end, while leaders move: an
// idempotent producer delivers each message once and in order, with few dials.
func TestDeliveryInBadWeather(t *testing.T) {
	doors := map[string]func([]string, *sarama.Config) (sarama.AsyncProducer, error){
		"NewAsyncProducer": sluice.NewAsyncProducer,
		"New": func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
			return sluice.New(addrs, conf, sluice.WithConnectionsMaxIdle(4*time.Second))
		},
	}
	for name, open := range doors {
		for seed := range uint64(10) {
			t.Run(fmt.Sprintf("%s seed %d", name, seed), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					conf := v.saslConfig()
					idempotent(conf)
					conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 100, 100*time.Millisecond
					conf.Net.ReadTimeout = 3 * time.Second
					w := &weather{firewall: v.behindFirewall(conf)}
					conf.Net.Proxy.Dialer = w
					p, err := open(v.ListenAddrs(), conf)
					if err != nil {
						t.Fatal(err)
					}
					stop := make(chan struct{})
					var blowing sync.WaitGroup
					blowing.Go(func() { w.blow(t, rand.New(rand.NewPCG(seed, 1)), stop) })

					const n = 1000
					go func() {
						draw := rand.New(rand.NewPCG(seed, 2))
						for i := range n {
							p.Input() <- message(int32(i)%6, i)
							switch draw.IntN(100) {
							case 0:
								time.Sleep(time.Duration(draw.IntN(12)) * time.Second)
							case 1, 2, 3, 4:
								time.Sleep(time.Duration(draw.IntN(2000)) * time.Millisecond)
							}
						}
					}()
					for i := range n {
						select {
						case <-p.Successes():
						case err := <-p.Errors():
							t.Fatalf("after %d of %d: %v", i, n, err.Err)
						case <-time.After(time.Minute):
							t.Fatalf("%d of %d outcomes", i, n)
						}
					}
					close(stop)
					blowing.Wait()
					if messages, bytes := p.(*sluice.Producer).Buffered(); messages != 0 || bytes != 0 {
						t.Errorf("%d messages and %d bytes are buffered", messages, bytes)
					}
					if dials := w.dials(); dials > 400 {
						t.Errorf("%d dials", dials)
					}
					if err := p.Close(); err != nil {
						t.Error(err)
					}
					login := plain.Auth{User: conf.Net.SASL.User, Pass: conf.Net.SASL.Password}.AsMechanism()
					wantInOrder(t, v.Cluster, n, kgo.SASL(login), kgo.Dialer(v.DialContext))
				}, withLogin(kfake.SeedTopics(6, "t"),
					kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "30000"}))...)
			})
		}
	}
}
