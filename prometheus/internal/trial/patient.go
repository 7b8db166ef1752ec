package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	sluiceprom "github.com/sluice-kafka/sluice/prometheus"
)

// fault is what happens to a patient.
type fault struct {
	name   string // the producer's client_id
	memory int64
	opts   []kfake.Opt
	happen func(*patient)
}

var faults = []fault{
	{name: "broker-stopped", memory: 32 << 20, happen: func(p *patient) { p.dialer.stop(p.cluster.ListenAddrs()[1]) }},
	{name: "broker-slow", memory: 32 << 20, happen: func(p *patient) { p.delay(1, 2*time.Second) }},
	{name: "wrong-password", memory: 32 << 20, opts: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "shop", "secret")},
		happen: func(p *patient) {
			p.cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				p.cluster.KeepControl()
				resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
				resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
				return resp, nil, true
			})
			p.dialer.cut("") // brokers that are restarted ask for the password again
		}},
	{name: "memory-full", memory: 1 << 20, happen: func(p *patient) {
		p.delay(-1, 50*time.Millisecond)
		p.rate.Store(20_000)
	}},
	{name: "errors-unread", memory: 32 << 20, happen: func(p *patient) {
		p.readErrors.Store(false)
		var last time.Time // kfake asks one at a time
		p.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "audit", Err: kerr.InvalidRecord, Count: -1, When: func(kmsg.Request) bool {
			now := time.Now()
			refuse := now.Sub(last) >= time.Second
			if refuse {
				last = now
			}
			return refuse
		}})
	}},
}

// patient is a producer with a load, its cluster, and its metrics over HTTP.
type patient struct {
	fault    fault
	cluster  *kfake.Cluster
	dialer   *dialer
	producer *sluice.Producer
	server   *httptest.Server
	log      *os.File // what the producer logs, beside the pictures

	rate       atomic.Int64 // records a second
	readErrors atomic.Bool
	running    sync.WaitGroup
	ended      chan struct{}
}

func newPatient(f fault) (*patient, error) {
	p := &patient{fault: f, dialer: &dialer{}, ended: make(chan struct{})}
	p.rate.Store(400)
	p.readErrors.Store(true)
	var err error
	if p.cluster, err = kfake.NewCluster(append(f.opts, kfake.NumBrokers(3), kfake.SeedTopics(6, "orders", "audit"))...); err != nil {
		return nil, err
	}
	for _, topic := range []string{"orders", "audit"} {
		for i := range int32(6) {
			if err := p.cluster.MoveTopicPartition(topic, i, i%3); err != nil {
				return nil, err
			}
		}
	}
	conf := sluice.NewConfig()
	conf.ClientID = f.name
	conf.Producer.Return.Successes = true
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, p.dialer
	if len(f.opts) > 0 {
		conf.Net.SASL.Enable = true
		conf.Net.SASL.User, conf.Net.SASL.Password = "shop", "secret"
	}
	opts := []sluice.Option{sluice.WithBufferMemory(f.memory), sluice.WithLogger(slog.New(slog.DiscardHandler))}
	if *pictures != "" {
		if p.log, err = os.Create(filepath.Join(*pictures, f.name+".log")); err != nil {
			return nil, err
		}
		opts = append(opts, sluice.WithLogger(slog.New(slog.NewTextHandler(p.log, nil))))
	}
	if p.producer, err = sluice.New(p.cluster.ListenAddrs(), conf, opts...); err != nil {
		return nil, err
	}
	registry := client.NewRegistry()
	registry.MustRegister(sluiceprom.NewCollector(p.producer, f.name))
	p.server = httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	p.running.Go(p.send)
	p.running.Go(p.read)
	return p, nil
}

// send sends p.rate records a second to each topic.
func (p *patient) send() {
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	value := sarama.ByteEncoder(make([]byte, 200))
	for {
		select {
		case <-ticks.C:
		case <-p.ended:
			return
		}
		for range p.rate.Load() / 100 {
			for _, topic := range []string{"orders", "audit"} {
				select {
				case p.producer.Input() <- &sarama.ProducerMessage{Topic: topic, Value: value}:
				case <-p.ended:
					return
				}
			}
		}
	}
}

// read takes outcomes, errors only while p.readErrors is set.
func (p *patient) read() {
	failures := p.producer.Errors()
	for {
		if !p.readErrors.Load() {
			failures = nil
		}
		select {
		case <-p.producer.Successes():
		case <-failures:
		case <-p.ended:
			return
		}
	}
}

// delay lets a broker, or all of them (-1), answer each Produce request later.
func (p *patient) delay(node int32, d time.Duration) {
	p.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.cluster.KeepControl()
		if node < 0 || p.cluster.CurrentNode() == node {
			p.cluster.SleepControl(func() { time.Sleep(d) })
		}
		return nil, nil, false
	})
}

func (p *patient) fall() { p.fault.happen(p) }

func (p *patient) close() {
	close(p.ended)
	p.running.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.producer.CloseContext(ctx)
	p.server.Close()
	p.cluster.Close()
	if p.log != nil {
		_ = p.log.Close()
	}
}

// address is where Prometheus finds the metrics.
func (p *patient) address() string { return p.server.Listener.Addr().String() }

// dialer dials brokers, and can stop them: their connections end, and no other can be had.
type dialer struct {
	mu      sync.Mutex
	stopped map[string]bool
	open    map[net.Conn]string
}

// Dial implements proxy.Dialer.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped[addr] {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	if d.open == nil {
		d.open = map[net.Conn]string{}
	}
	d.open[conn] = addr
	return conn, nil
}

func (d *dialer) stop(addr string) {
	d.mu.Lock()
	d.stopped = map[string]bool{addr: true}
	d.mu.Unlock()
	d.cut(addr)
}

// cut closes the connections to a broker, or with "" to all.
func (d *dialer) cut(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn, to := range d.open {
		if addr == "" || to == addr {
			_ = conn.Close()
			delete(d.open, conn)
		}
	}
}
