package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestProduceIsAnswered(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 5)
	big := make([]byte, 300<<10)
	rand.Read(big)
	outcomes := make(chan outcome, 1)
	r := newRequest(outcomes,
		partition("a", 0, big), partition("a", 7, []byte("small")), partition("b", 3, big[:3000]))
	txn := "txn"
	r.TransactionalID = &txn
	mustProduce(t, c, r)

	got := broker.next()
	req := got.body.(*kmsg.ProduceRequest)
	if req.Version != 10 || got.clientID != "test" || *req.TransactionID != txn || req.Acks != -1 || req.TimeoutMillis != 10_000 {
		t.Errorf("request %+v of %q", req, got.clientID)
	}
	if len(req.Topics) != 2 || !bytes.Equal(req.Topics[0].Partitions[0].Records, big) ||
		string(req.Topics[0].Partitions[1].Records) != "small" || !bytes.Equal(req.Topics[1].Partitions[0].Records, big[:3000]) {
		t.Error("records differ")
	}
	resp := accepted(req)
	leader := &resp.Topics[1].Partitions[0].CurrentLeader
	resp.Topics[1].Partitions[0].ErrorCode = int16(sarama.ErrNotLeaderForPartition)
	leader.LeaderID, leader.LeaderEpoch = 2, 9
	rack := "r"
	resp.Brokers = []kmsg.ProduceResponseBroker{{NodeID: 2, Host: "h", Port: 9093, Rack: &rack}}
	broker.reply(got.correlationID, resp)

	o := <-outcomes
	if o.err != nil || !o.r.Written || o.r != r {
		t.Fatalf("outcome %+v, written %v", o, o.r.Written)
	}
	if a := r.Answers[1]; a.BaseOffset != 107 || a.Code != 0 || a.LeaderID != -1 || a.Missing {
		t.Errorf("answer %+v", a)
	}
	if a := r.Answers[2]; a.Code != int16(sarama.ErrNotLeaderForPartition) || a.LeaderID != 2 || a.LeaderEpoch != 9 {
		t.Errorf("answer %+v", a)
	}
	if len(r.Nodes) != 1 || r.Nodes[0] != (NodeEndpoint{ID: 2, Host: "h", Port: 9093, Rack: "r"}) {
		t.Errorf("nodes %+v", r.Nodes)
	}
}

func TestAcksNoneIsNotAwaited(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 1)
	outcomes := make(chan outcome, 3)
	for range 3 { // More than the window has: nothing is ever open.
		r := newRequest(outcomes, partition("a", 0, []byte("x")))
		r.Acks = 0
		mustProduce(t, c, r)
		o := <-outcomes
		if o.err != nil || !r.Written || len(r.Answers) != 1 || r.Answers[0].BaseOffset != -1 || r.Answers[0].Missing {
			t.Errorf("outcome %+v, answers %+v", o, r.Answers)
		}
		broker.next()
	}
	broker.nc.Close()
	<-c.Done()
	r := newRequest(outcomes, partition("a", 0, []byte("x")))
	r.Acks = 0
	mustError(t, c.Produce(t.Context(), r), io.EOF)
	if r.Written || len(outcomes) != 0 {
		t.Error("a request that was not taken has an outcome")
	}
}

func TestVersionIsChosenPerRequest(t *testing.T) {
	conf := testConfig()
	conf.Version = sarama.V4_1_0_0
	c, broker := connectTCP(t, conf, 5)
	if c.ProduceVersion() != 13 {
		t.Fatalf("produce version %d", c.ProduceVersion())
	}
	outcomes := make(chan outcome, 1)
	id := [16]byte{1}
	for _, test := range []struct {
		txn  bool
		ids  [2][16]byte
		want int16
	}{
		{false, [2][16]byte{id, id}, 13},
		{false, [2][16]byte{id, {}}, 12},
		{true, [2][16]byte{id, id}, 11},
	} {
		r := newRequest(outcomes, partition("a", 0, []byte("x")), partition("a", 1, []byte("x")))
		r.Partitions[0].TopicID, r.Partitions[1].TopicID = test.ids[0], test.ids[1]
		if test.txn {
			r.TransactionalID = new(string)
		}
		mustProduce(t, c, r)
		got := broker.next()
		if v := got.body.GetVersion(); v != test.want {
			t.Errorf("version %d, want %d", v, test.want)
		}
		broker.reply(got.correlationID, accepted(got.body))
		if o := <-outcomes; o.err != nil || r.Answers[1].BaseOffset != 101 {
			t.Errorf("v%d: %v, answers %+v", test.want, o.err, r.Answers)
		}
	}
}

// TestWindow: N requests are open, the next waits for an answer or for its context.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 2)
		outcomes := make(chan outcome, 3)
		sent := make(chan error)
		go func() {
			for range 3 {
				sent <- c.Produce(context.Background(), newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			sent <- c.Produce(ctx, newRequest(outcomes, partition("a", 0, []byte("x"))))
		}()
		first := broker.next()
		<-sent
		broker.next()
		<-sent
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("a third request in a window of two: %v", err)
		default:
		}
		broker.reply(first.correlationID, accepted(first.body))
		broker.next()
		<-sent
		if o := <-outcomes; o.err != nil {
			t.Error(o.err)
		}
		mustError(t, <-sent, context.DeadlineExceeded)
		c.Close()
		for range 2 {
			mustError(t, (<-outcomes).err, ErrConnClosed)
		}
	})
}

// TestDoneWaitsForWrite: a broker that answers a request before the write call has returned does not make Done early,
// since the caller reuses the frames then.
func TestDoneWaitsForWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 2)
		outcomes := make(chan outcome, 1)
		returned := make(chan struct{})
		go func() {
			mustProduce(t, c, newRequest(outcomes, partition("a", 0, make([]byte, 100))))
			close(returned)
		}()
		// One byte is missing: on a pipe the write waits for it to be read.
		var p [1]byte
		var request []byte
		for len(request) < 4 || len(request) < 3+int(request[3]) {
			if _, err := broker.nc.Read(p[:]); err != nil {
				t.Fatal(err)
			}
			request = append(request, p[0])
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 10
		broker.reply(0, resp)
		synctest.Wait()
		if len(outcomes) != 0 {
			t.Error("Done before the write has returned")
		}
		if _, err := broker.nc.Read(p[:]); err != nil {
			t.Fatal(err)
		}
		<-returned
		if o := <-outcomes; o.err != nil || !o.r.Answers[0].Missing {
			t.Errorf("outcome %+v, answers %+v", o, o.r.Answers)
		}
	})
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c, broker := connect(t, conf, 5)
		time.Sleep(time.Hour) // Idle: nothing is timed.
		outcomes := make(chan outcome, 3)
		go func() {
			for range 3 {
				mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
		}()
		first := broker.next()
		broker.next()
		broker.next()
		time.Sleep(9 * time.Second)
		broker.reply(first.correlationID, accepted(first.body)) // The clock starts anew.
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
		start := time.Now()
		for range 2 {
			o := <-outcomes
			mustError(t, o.err, os.ErrDeadlineExceeded)
			if !o.r.Written || len(o.r.Answers) != 0 {
				t.Errorf("written %v, answers %v", o.r.Written, o.r.Answers)
			}
		}
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("timed out after %v", waited)
		}
		<-c.Done()
		mustError(t, c.Err(), os.ErrDeadlineExceeded)
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.WriteTimeout = 5 * time.Second
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 2)
		go func() {
			mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			mustProduce(t, c, newRequest(outcomes, partition("a", 0, make([]byte, 1000))))
		}()
		broker.next()
		broker.nc.Read(make([]byte, 10)) // Some of the second, and no more.
		for range 2 {                    // The earlier one fails first.
			o := <-outcomes
			mustError(t, o.err, os.ErrDeadlineExceeded)
			if !o.r.Written {
				t.Error("bytes left, Written is false")
			}
		}
	})
}

// TestThrottle: KIP-219, writes wait and so does the clock.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 3)
		go func() {
			for range 2 {
				mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
		}()
		first, second := broker.next(), broker.next()
		resp := accepted(first.body)
		resp.ThrottleMillis = 60_000
		broker.reply(first.correlationID, resp)
		<-outcomes
		start := time.Now()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		mustError(t, c.Produce(ctx, newRequest(outcomes, partition("a", 0, []byte("x")))), context.DeadlineExceeded)

		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		time.Sleep(30 * time.Second) // Longer than the read timeout
		broker.reply(second.correlationID, accepted(second.body))
		if o := <-outcomes; o.err != nil {
			t.Fatalf("a throttled request timed out: %v", o.err)
		}
		third := broker.next()
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("written %v after the throttle", waited)
		}
		broker.reply(third.correlationID, accepted(third.body))
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
		if n := conf.MetricRegistry.Get("throttle-time-in-ms-for-broker-1").(interface{ Max() int64 }).Max(); n != 60_000 {
			t.Errorf("throttle metric %d", n)
		}
	})
}

// TestThrottleEndsWithConnection: nobody waits for a throttle of a dead connection; Request answers throttle too.
func TestThrottleEndsWithConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 5)
		go func() {
			got := broker.next()
			resp := got.body.ResponseKind().(*kmsg.MetadataResponse)
			resp.ThrottleMillis = 60_000
			broker.reply(got.correlationID, resp)
		}()
		if _, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			result <- c.Produce(context.Background(), newRequest(nil, partition("a", 0, []byte("x"))))
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		mustError(t, <-result, ErrConnClosed)
		if time.Since(start) != 0 {
			t.Error("waited for the throttle")
		}
	})
}

// TestThrottleOfOldBrokers: before Produce v6 the broker has throttled by the time it answers.
func TestThrottleOfOldBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Version = sarama.V1_0_0_0
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 2)
		start := time.Now()
		for range 2 {
			go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			got := broker.next()
			resp := accepted(got.body)
			resp.ThrottleMillis = 60_000
			broker.reply(got.correlationID, resp)
			if o := <-outcomes; o.err != nil {
				t.Fatal(o.err)
			}
		}
		if time.Since(start) != 0 {
			t.Error("throttled twice")
		}
	})
}

func TestIdleCloseByBroker(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 5)
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
	broker.nc.Close()
	<-c.Done()
	mustError(t, c.Err(), io.EOF)
	if !strings.Contains(c.Err().Error(), "fake:9092") {
		t.Errorf("%v does not name the broker", c.Err())
	}
	r := newRequest(nil, partition("a", 0, []byte("x")))
	mustError(t, c.Produce(t.Context(), r), io.EOF)
	if r.Written {
		t.Error("Written")
	}
	_, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
	mustError(t, err, io.EOF)
}

// TestDeathFailsOpenRequestsInOrder, however the connection dies.
func TestDeathFailsOpenRequestsInOrder(t *testing.T) {
	huge := make([]byte, 8)
	huge[0] = 0x7f
	for name, test := range map[string]struct {
		kill func(*Conn, *fakeBroker)
		want error
	}{
		"closed by broker": {func(_ *Conn, b *fakeBroker) { b.nc.Close() }, io.EOF},
		"closed by us":     {func(c *Conn, _ *fakeBroker) { c.Close() }, ErrConnClosed},
		"inside an answer": {func(_ *Conn, b *fakeBroker) {
			answer := appendAnswer(nil, 0, &kmsg.ProduceResponse{Version: 10})
			b.write(answer[:len(answer)-1])
			b.nc.Close()
		}, io.ErrUnexpectedEOF},
		"answer out of order": {func(_ *Conn, b *fakeBroker) { b.reply(1, &kmsg.ProduceResponse{Version: 10}) }, ErrUnexpectedAnswer},
		"malformed answer": {func(_ *Conn, b *fakeBroker) {
			b.write([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 99, 99, 99})
		}, ErrMalformedAnswer},
		"malformed header": {func(_ *Conn, b *fakeBroker) {
			b.write([]byte{0, 0, 0, 6, 0, 0, 0, 0, 99, 99})
		}, ErrMalformedAnswer},
		"length too large": {func(_ *Conn, b *fakeBroker) { b.write(huge) }, ErrMalformedAnswer},
		"length too small": {func(_ *Conn, b *fakeBroker) { b.write(make([]byte, 8)) }, ErrMalformedAnswer},
		"socket breaks":    {func(c *Conn, _ *fakeBroker) { c.socket.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			conf := testConfig()
			c, broker := connectTCP(t, conf, 5)
			outcomes := make(chan outcome, 3)
			result := make(chan error, 1)
			for i := range 3 {
				r := newRequest(outcomes, partition("a", int32(i), []byte("x")))
				mustProduce(t, c, r)
				broker.next()
			}
			go func() {
				_, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
				result <- err
			}()
			broker.next()
			test.kill(c, broker)
			for i := range 3 {
				o := <-outcomes
				mustError(t, o.err, test.want)
				if o.r.Partitions[0].Partition != int32(i) || !o.r.Written || len(o.r.Answers) != 0 {
					t.Errorf("outcome %d is of partition %d, written %v", i, o.r.Partitions[0].Partition, o.r.Written)
				}
			}
			mustError(t, <-result, test.want)
			<-c.Done()
			mustError(t, c.Err(), test.want)
			if n := conf.MetricRegistry.Get("requests-in-flight").(interface{ Count() int64 }).Count(); n != 0 {
				t.Errorf("%d requests in flight", n)
			}
		})
	}
}

func TestUnsolicitedAnswer(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 5)
	broker.reply(0, &kmsg.ProduceResponse{Version: 10})
	<-c.Done()
	mustError(t, c.Err(), ErrUnexpectedAnswer)
}

// TestCloseConcurrentSafe: Close by many, while requests are on their way. Each request that was taken has one outcome.
func TestCloseConcurrentSafe(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 3)
	go func() {
		for {
			got, err := broker.receive()
			if err != nil {
				return
			}
			p := appendAnswer(nil, got.correlationID, answerTo(got.body))
			if _, err := broker.nc.Write(p); err != nil {
				return
			}
		}
	}()
	var requests, closers sync.WaitGroup
	outcomes := make(chan outcome, 10_000)
	taken := 0
	answered := make(chan struct{}, 1)
	requests.Go(func() {
		for taken < cap(outcomes) {
			r := newRequest(outcomes, partition("a", 0, []byte("x")))
			if err := c.Produce(context.Background(), r); err != nil {
				mustError(t, err, ErrConnClosed)
				return
			}
			taken++
		}
	})
	for range 3 {
		requests.Go(func() {
			for {
				if _, err := c.Request(context.Background(), kmsg.NewPtrMetadataRequest()); err != nil {
					mustError(t, err, ErrConnClosed)
					return
				}
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	<-answered
	for range 3 {
		closers.Go(func() { c.Close() })
	}
	closers.Wait()
	requests.Wait()
	if len(outcomes) != taken {
		t.Errorf("%d outcomes of %d requests", len(outcomes), taken)
	}
}

func answerTo(body kmsg.Request) kmsg.Response {
	if _, ok := body.(*kmsg.ProduceRequest); ok {
		return accepted(body)
	}
	return body.ResponseKind()
}

func TestRequest(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 1)
	go func() {
		for range 2 {
			got := broker.next()
			resp := got.body.ResponseKind()
			if m, ok := resp.(*kmsg.MetadataResponse); ok {
				id := "cluster"
				m.ClusterID = &id
			}
			broker.reply(got.correlationID, resp)
		}
	}()
	resp, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
	if err != nil {
		t.Fatal(err)
	}
	if m := resp.(*kmsg.MetadataResponse); *m.ClusterID != "cluster" || m.Version != 12 {
		t.Errorf("%+v", m)
	}
	// The answer to ApiVersions has no tags in its header.
	if resp, err = c.Request(t.Context(), kmsg.NewPtrApiVersionsRequest()); err != nil || resp.GetVersion() != 3 {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestRequestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 1)

		var mismatch *VersionError
		_, err := c.RequestUpTo(t.Context(), kmsg.NewPtrMetadataRequest(), -1)
		if !errors.As(err, &mismatch) || mismatch.Key != 3 {
			t.Errorf("%v", err)
		}
		if _, err = c.Request(t.Context(), &kmsg.ProduceRequest{}); err == nil {
			t.Error("a request without an answer is accepted")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Request(ended, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.Canceled)

		// The caller goes before the answer comes; the next one gets its own.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		requests := make(chan received, 2)
		go func() {
			requests <- broker.next()
			requests <- broker.next()
		}()
		_, err = c.Request(ctx, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.DeadlineExceeded)
		go func() {
			first, second := <-requests, <-requests
			broker.reply(first.correlationID, first.body.ResponseKind())
			resp := second.body.ResponseKind().(*kmsg.MetadataResponse)
			resp.ControllerID = 5
			broker.reply(second.correlationID, resp)
		}()
		resp, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
		if err != nil || resp.(*kmsg.MetadataResponse).ControllerID != 5 {
			t.Errorf("%+v, %v", resp, err)
		}

		// An answer that cannot be read fails its request only.
		go func() {
			got := broker.next()
			broker.write([]byte{0, 0, 0, 6, 0, 0, 0, byte(got.correlationID), 0, 9})
		}()
		_, err = c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
		mustError(t, err, ErrMalformedAnswer)
		if c.Err() != nil {
			t.Error(c.Err())
		}
	})
}

// TestTurn: a Request does not wait longer than its context for somebody else's write.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 1)
		outcomes := make(chan outcome, 1)
		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		synctest.Wait() // The write hangs: the broker reads nothing.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Request(ctx, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.DeadlineExceeded)
		got := broker.next()
		broker.reply(got.correlationID, accepted(got.body))
		if o := <-outcomes; o.err != nil {
			t.Error(o.err)
		}
	})
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	c, _ := connect(t, testConfig(), 1)
	long := strings.Repeat("x", 40_000)
	done := func(*ProduceRequest, error) { t.Error("Done was called") }
	for name, r := range map[string]*ProduceRequest{
		"no Done":               {Acks: 1, Partitions: []ProducePartition{partition("a", 0, nil)}},
		"no partitions":         {Acks: 1, Done: done},
		"long topic":            {Acks: 1, Done: done, Partitions: []ProducePartition{partition(long, 0, nil)}},
		"long transactional id": {Acks: 1, Done: done, TransactionalID: &long, Partitions: []ProducePartition{partition("a", 0, nil)}},
		"frame without room":    {Acks: 1, Done: done, Partitions: []ProducePartition{{Topic: "a", Frame: make([]byte, 9)}}},
		"too large": {Acks: 1, Done: done, Partitions: []ProducePartition{
			{Topic: "a", Frame: make([]byte, sarama.MaxRequestSize)}}},
	} {
		if err := c.Produce(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(c.window) != 0 || len(c.turn) != 0 {
		t.Error("a refused request keeps its place")
	}
	if c.Addr() != "fake:9092" || !c.Expires().IsZero() {
		t.Errorf("addr %s, expires %v", c.Addr(), c.Expires())
	}
}
