package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// A cluster is what a command asks the brokers before there is a producer: so it knows at once whether anybody answers, and
// whether the topic is there. It uses the producer's own way to connect, with every kind of login. One goroutine uses it.
type cluster struct {
	dialer  *wire.Dialer
	conf    *sarama.Config
	timeout time.Duration // for each question, connecting included
	addrs   []string
	asking  flow.Activities // over open connections
	over    atomic.Bool     // the time-out has ended a question
}

func newCluster(addrs []string, s *settings, timeout time.Duration) *cluster {
	conf := s.Config()
	return &cluster{dialer: wire.NewDialer(conf, 1), conf: conf, timeout: timeout, addrs: addrs}
}

// meet finds out whether the brokers answer and have the topic, if it is not "", and tells meanwhile what is waited for. It
// returns the addresses to begin with.
func (c *connection) meet(ctx context.Context, con *console, s *settings, topic string) ([]string, error) {
	w := newWatch(con)
	defer w.stop()
	brokers, err := c.cluster(s, w)
	if err != nil {
		return nil, err
	}
	if topic == "" {
		err = brokers.reach(ctx)
	} else {
		err = brokers.checkTopic(ctx, topic, -1)
	}
	if err != nil && ctx.Err() != nil {
		err = whileConnecting(ctx)
	}
	return brokers.addrs, err
}

// cluster is that of the flags. w tells what it is asked.
func (c *connection) cluster(s *settings, w *watch) (*cluster, error) {
	addrs, err := c.addrs()
	if err != nil {
		return nil, err
	}
	brokers := newCluster(addrs, s, c.connectTimeout)
	w.phase(brokers.waits, nil)
	return brokers, nil
}

// waits is what the cluster is being asked.
func (c *cluster) waits() (waits []sluice.Wait) {
	if c.over.Load() {
		return nil // what was cut short is no reason to wait
	}
	for _, w := range append(c.asking.All(), c.dialer.Waits()...) {
		waits = append(waits, sluice.Wait(w))
	}
	return waits
}

// metadata asks for topics: all of them if none is named. With create the brokers may create them, if they are set up so.
func (c *cluster) metadata(ctx context.Context, create bool, topics ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	return c.askMetadata(ctx, req)
}

// reach asks for the brokers alone, without topics.
func (c *cluster) reach(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	_, err := c.askMetadata(ctx, req)
	return err
}

func (c *cluster) askMetadata(ctx context.Context, req *kmsg.MetadataRequest) (*kmsg.MetadataResponse, error) {
	resp, err := c.ask(ctx, c.addrs, func() kmsg.Request { own := *req; return &own }) // each try sets its version
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.MetadataResponse), nil
}

// ask returns the first answer of the brokers at addrs, which are asked side by side. Those that refuse are asked again
// Metadata.Retry.Max times; the time-out ends it all. A wrong password is told at once.
func (c *cluster) ask(ctx context.Context, addrs []string, request func() kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// What is waited for is known only until the attempts have ended.
	defer time.AfterFunc(c.timeout, func() { cancel(c.gaveUp()) }).Stop()
	for retries := 0; ; retries++ {
		var causes []error
		next, refused := 0, false
		resp, ok := flow.FirstGood(ctx, flow.Race[kmsg.Response]{
			Next: func() flow.Attempt[kmsg.Response] {
				if next == len(addrs) {
					return nil
				}
				addr := addrs[next]
				next++
				return func(ctx context.Context, reached func()) (kmsg.Response, error) {
					return c.askOne(ctx, addr, request(), reached)
				}
			},
			Failed: func(err error) bool {
				causes = append(causes, err)
				refused = refused || flow.LoginRefused(err)
				return !refused
			},
			Lost: func(kmsg.Response, error) {},
		})
		if ok {
			return resp, nil
		}
		if refused || retries >= c.conf.Metadata.Retry.Max {
			return nil, errors.Join(causes...)
		}
		if flow.Sleep(ctx, c.conf.Metadata.Retry.Backoff) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// gaveUp is the error of a question that nobody answered in time.
func (c *cluster) gaveUp() error {
	var texts []string
	for _, w := range c.waits() {
		if text := waitText(w); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	c.over.Store(true)
	return fmt.Errorf("gave up after %v (-connect-timeout): %s", c.timeout, strings.Join(texts, "; "))
}

func (c *cluster) askOne(ctx context.Context, addr string, req kmsg.Request, reached func()) (kmsg.Response, error) {
	conn, err := c.dialer.DialNow(ctx, -1, addr)
	if err != nil {
		sarama.Logger.Printf("sluice: %v\n", err)
		return nil, err
	}
	defer conn.Close()
	reached()
	defer c.asking.Begin("", "waiting for an answer of broker "+addr, nil).End()
	resp, err := conn.RequestUnchecked(ctx, req)
	if md, ok := resp.(*kmsg.MetadataResponse); ok && err == nil && len(md.Brokers) == 0 {
		err = fmt.Errorf("broker %s answers without brokers: it may be starting up", addr)
	}
	return resp, err
}
