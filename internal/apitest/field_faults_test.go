package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Faults that are drawn from a seed, at sarama's constructors and at New. Package simtest draws many more, but knows New
// only.

// faulty answers Produce requests and breaks connections as its generator draws it, until it is healed.
type faulty struct {
	*virtual
	healed atomic.Bool

	mu     sync.Mutex
	draw   *rand.Rand
	lost   int // percent of dials and reads
	failed int // percent of Produce requests
	codes  []*kerr.Error
}

func newFaulty(v *virtual, seed uint64) *faulty {
	f := &faulty{virtual: v, draw: rand.New(rand.NewPCG(seed, 1))}
	f.lost, f.failed = []int{0, 0, 3, 10}[f.draw.IntN(4)], []int{0, 5, 20, 50}[f.draw.IntN(4)]
	f.codes = []*kerr.Error{
		kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.NetworkException,
		kerr.KafkaStorageError, kerr.FencedLeaderEpoch, kerr.UnknownTopicID, kerr.CorruptMessage, kerr.NotEnoughReplicas,
		kerr.ThrottlingQuotaExceeded, kerr.UnknownServerError, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend,
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.TopicAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.UnsupportedCompressionType, kerr.InvalidProducerIDMapping, kerr.ProducerFenced,
	}
	if f.draw.IntN(2) == 0 { // two of them
		f.draw.Shuffle(len(f.codes), func(i, j int) { f.codes[i], f.codes[j] = f.codes[j], f.codes[i] })
		f.codes = f.codes[:2]
	}
	v.ControlKey(int16(kmsg.Produce), f.produce)
	return f
}

// hit is true in so many percent of the calls.
func (f *faulty) hit(percent int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.healed.Load() && f.draw.IntN(100) < percent
}

func (f *faulty) number(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.draw.IntN(n)
}

func (f *faulty) produce(kreq kmsg.Request) (kmsg.Response, error, bool) {
	f.KeepControl()
	switch {
	case f.hit(f.failed):
		return answerProduce(kreq, func(p *kmsg.ProduceResponseTopicPartition) {
			code := f.codes[f.number(len(f.codes))]
			if p.ErrorCode, p.BaseOffset = code.Code, -1; code == kerr.InvalidRecord && f.number(3) == 0 {
				invalidRecords(0)(p)
			}
		}), nil, true
	case f.hit(f.failed / 8):
		return nil, nil, true // never answered
	case f.hit(f.failed / 8):
		_ = f.MoveTopicPartition("t", 0, int32(f.number(len(f.ListenAddrs()))))
	}
	return nil, nil, false
}

func (f *faulty) Dial(network, addr string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, addr)
}

func (f *faulty) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if f.hit(f.lost) {
		return nil, errors.New("refused")
	}
	nc, err := f.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultyConn{nc, f}, nil
}

// faultyConn loses what the broker has answered: whether a batch was written is not known then.
type faultyConn struct {
	net.Conn
	f *faulty
}

func (c *faultyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.f.hit(c.f.lost) {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

// Each message has one outcome; what was delivered is in the log, in order; with idempotence once; and through New what
// failed without ErrOutcomeUnknown is not.
func TestOutcomesUnderFaults(t *testing.T) {
	for name, open := range map[string]func([]string, *sarama.Config) (sarama.AsyncProducer, error){
		"NewAsyncProducer": sluice.NewAsyncProducer,
		"New": func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
			return sluice.New(addrs, conf, sluice.WithDeliveryTimeout(20*time.Second))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					inBubble(t, func(t *testing.T, v *virtual) { underFaults(t, v, seed, name == "New", open) }, kfake.SeedTopics(1, "t"))
				})
			}
		})
	}
}

func underFaults(t *testing.T, v *virtual, seed uint64, own bool, open func([]string, *sarama.Config) (sarama.AsyncProducer, error)) {
	f := newFaulty(v, seed)
	conf := v.config()
	conf.Net.Proxy.Dialer, conf.Net.ReadTimeout = f, 2*time.Second
	numbered := seed%2 == 0
	if numbered {
		idempotent(conf)
	}
	conf.Producer.Retry.Max = []int{1, 3, 10, 1_000_000}[f.number(4)]
	conf.Producer.Flush.MaxMessages = []int{1, 5, 20}[f.number(3)]
	conf.Metadata.Retry.Max = 100
	async, err := open(v.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	p := async.(*sluice.Producer)

	n := 20 + f.number(150)
	outcomes := make([][]error, n)
	var readers sync.WaitGroup
	var mu sync.Mutex
	told := func(msg *sarama.ProducerMessage, err error) {
		mu.Lock()
		defer mu.Unlock()
		i := msg.Metadata.(int)
		outcomes[i] = append(outcomes[i], err)
	}
	readers.Go(func() {
		for msg := range p.Successes() {
			told(msg, nil)
		}
	})
	readers.Go(func() {
		for e := range p.Errors() {
			told(e.Msg, e.Err)
		}
	})
	pause := time.Duration(f.number(3)) * 10 * time.Millisecond
	for i := range n {
		msg := message(0, i)
		msg.Metadata = i
		p.Input() <- msg
		time.Sleep(pause)
	}
	if f.number(2) == 0 {
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if messages, bytes := p.Buffered(); messages != 0 || bytes != 0 {
			t.Errorf("%d messages, %d bytes are buffered", messages, bytes)
		}
	}
	begin := time.Now()
	p.AsyncClose()
	readers.Wait()
	if took := time.Since(begin); took > sluice.DefaultDeliveryTimeout+10*time.Second {
		t.Errorf("Close took %v", took)
	}
	_ = p.Close()

	f.healed.Store(true)
	written, last := map[int]int{}, -1
	for _, i := range logOf(t, v) {
		if written[i]++; written[i] == 1 && i < last || numbered && written[i] > 1 {
			t.Errorf("%d is written %d times, and after %d", i, written[i], last)
		}
		last = max(last, i)
	}
	for i, errs := range outcomes {
		switch {
		case len(errs) != 1:
			t.Errorf("%d has the outcomes %v", i, errs)
		case errs[0] == nil && written[i] == 0:
			t.Errorf("%d is lost", i)
		case errs[0] != nil && own && written[i] > 0 && !errors.Is(errs[0], sluice.ErrOutcomeUnknown):
			t.Errorf("%d is in the log: %v", i, errs[0])
		}
	}
}

// logOf reads the numbers that partition 0 of a virtual cluster holds.
func logOf(t *testing.T, v *virtual) (numbers []int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(v.ListenAddrs()...), kgo.Dialer(v.network.DialContext), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := int(logged(v.Cluster, "t")); len(numbers) < n; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			var i int
			if _, err := fmt.Sscan(string(r.Value), &i); err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, i)
		}
	}
	return numbers
}
