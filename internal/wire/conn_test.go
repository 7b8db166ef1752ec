package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strconv"
	"strings"
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
	for range 3 { // More than the window: none is open
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
	c, broker := connectTCP(t, testConfig(), 5)
	c.produce.max = 13 // as if the broker had said so
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
	req := kmsg.NewPtrMetadataRequest()
	m, err := c.Metadata(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if m.ClusterID != "cluster" || req.Version != 11 {
		t.Errorf("%+v", m)
	}
	// The answer to ApiVersions has no tags in its header.
	if resp, err := c.Request(t.Context(), kmsg.NewPtrApiVersionsRequest()); err != nil || resp.GetVersion() != 3 {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestRequestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 1)

		var mismatch *VersionError
		_, err := c.RequestUpTo(t.Context(), kmsg.NewPtrInitProducerIDRequest(), -1)
		if !errors.As(err, &mismatch) || mismatch.Key != 22 {
			t.Errorf("%v", err)
		}
		for _, req := range []kmsg.Request{&kmsg.ProduceRequest{}, &kmsg.MetadataRequest{}, &kmsg.FetchRequest{}} {
			if _, err = c.Request(t.Context(), req); err == nil {
				t.Errorf("%s is sent, and nothing here reads its answer", kmsg.NameForKey(req.Key()))
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Metadata(ended, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.Canceled)

		// The caller leaves before the answer comes. The next request gets its own answer.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		requests := make(chan received, 2)
		go func() {
			requests <- broker.next()
			requests <- broker.next()
		}()
		_, err = c.Metadata(ctx, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.DeadlineExceeded)
		go func() {
			first, second := <-requests, <-requests
			broker.reply(first.correlationID, first.body.ResponseKind())
			resp := second.body.ResponseKind().(*kmsg.MetadataResponse)
			resp.Brokers = make([]kmsg.MetadataResponseBroker, 5)
			broker.reply(second.correlationID, resp)
		}()
		resp, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
		if err != nil || len(resp.Brokers) != 5 {
			t.Errorf("%+v, %v", resp, err)
		}

		// An answer that cannot be decoded fails its request only.
		go func() {
			got := broker.next()
			broker.write([]byte{0, 0, 0, 6, 0, 0, 0, byte(got.correlationID), 0, 9})
		}()
		_, err = c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
		mustError(t, err, ErrMalformedAnswer)
		if c.Err() != nil {
			t.Error(c.Err())
		}
	})
}

// An idle connection keeps no reference to the bytes that it has written: they may belong to a message.
func TestWrittenIsLetGo(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 1)
	mustProduce(t, c, newRequest(make(chan outcome, 1), partition("a", 0, make([]byte, 10_000)), partition("a", 1, make([]byte, 10_000))))
	if cap(c.frame.pieces) < 2 || cap(c.frame.buffers) < 2 {
		t.Error("it was not written in pieces")
	}
	for _, p := range c.frame.pieces[:cap(c.frame.pieces)] {
		if p.body != nil {
			t.Error("a piece is kept")
		}
	}
	for _, p := range c.frame.buffers[:cap(c.frame.buffers)] {
		if p != nil {
			t.Error("a buffer is kept")
		}
	}
	broker.next()
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
	if c.Addr() != "fake:9092" || !c.session.renew.IsZero() {
		t.Errorf("addr %s, expires %v", c.Addr(), c.session.renew)
	}
}

// TestLargeAnswers: they are read in steps, and their memory is not kept.
func TestLargeAnswers(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 1)
	name := strings.Repeat("x", 30_000)
	req := kmsg.NewPtrMetadataRequest()
	for i := range 100 {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name + strconv.Itoa(i))
		req.Topics = append(req.Topics, topic)
	}
	go func() {
		got := broker.next()
		resp := got.body.ResponseKind().(*kmsg.MetadataResponse)
		for i := range 100 {
			resp.Topics = append(resp.Topics, kmsg.MetadataResponseTopic{Topic: kmsg.StringPtr(name + strconv.Itoa(i))})
		}
		broker.reply(got.correlationID, resp)
	}()
	resp, err := c.Metadata(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Topics) != 100 || resp.Topics[99].Name != name+"99" {
		t.Errorf("%d topics", len(resp.Topics))
	}
	c.Close()
	if cap(c.body) > bodyStep {
		t.Errorf("%d bytes are kept", cap(c.body))
	}
}
