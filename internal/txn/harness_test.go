package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// coordinatorHarness runs Transactions with coordinators that answer as the test says. Messages are a counter: drained when
// hold is nil or closed.
type coordinatorHarness struct {
	*Transactions
	coordinators *Coordinators

	mu      sync.Mutex
	began   time.Time
	seen    []string // the requests, with the time since began where it is not 0
	failed  error    // as Fail was called
	dials   int
	highest int16 // version of every request that brokers have
	version int16 // the cluster's transaction.version
	// answer is asked for each request to a coordinator; nil: granted. An error means no answer.
	answer func(req kmsg.Request) (sarama.KError, error)
	hold   chan struct{}
	// leaveOut is how many answers of a kind name no partition.
	leaveOut map[kmsg.Key]int
}

func newCoordinatorHarness(t *testing.T, change func(*TransactionsConfig)) *coordinatorHarness {
	h := &coordinatorHarness{began: time.Now(), highest: 20, version: 1}
	h.coordinators = NewCoordinators(CoordinatorsConfig{
		Ask: func(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
			find := req.(*kmsg.FindCoordinatorRequest)
			h.note(fmt.Sprintf("FindCoordinator %d %s", find.CoordinatorType, find.CoordinatorKey))
			resp := kmsg.NewPtrFindCoordinatorResponse()
			resp.Host, resp.NodeID = "host", int32(find.CoordinatorType)
			return resp, ctx.Err()
		},
		Dial: func(ctx context.Context, b metadata.Broker) (Conn, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.dials++
			return &fakeConn{h: h}, ctx.Err()
		},
		Timeout: 10 * time.Second,
	})
	cfg := TransactionsConfig{
		ID: "tx", Timeout: time.Minute, MaxRetries: -1, Coordinators: h.coordinators,
		Backoff:        func(int) time.Duration { return time.Second },
		Version:        func() int16 { h.mu.Lock(); defer h.mu.Unlock(); return h.version },
		RefreshVersion: func(context.Context, Conn) error { return nil },
		Begin:          func(context.Context) error { return nil },
		Drain: func(ctx context.Context) error {
			h.mu.Lock()
			hold := h.hold
			h.mu.Unlock()
			if hold == nil {
				return nil
			}
			select {
			case <-hold:
				return nil
			case <-ctx.Done():
				return flow.ContextError(ctx)
			}
		},
		Fail:  func(cause error) { h.mu.Lock(); defer h.mu.Unlock(); h.failed = cause },
		Clear: func() { h.mu.Lock(); defer h.mu.Unlock(); h.failed = nil },
	}
	if change != nil {
		change(&cfg)
	}
	h.Transactions = NewTransactions(cfg)
	t.Cleanup(h.Close)
	return h
}

func (h *coordinatorHarness) note(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since := time.Since(h.began); since > 0 {
		text += fmt.Sprint(" at ", since)
	}
	h.seen = append(h.seen, text)
}

// take returns the requests since the last call, and sets the clock of their times to 0.
func (h *coordinatorHarness) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen, h.began = nil, time.Now()
	return seen
}

func (h *coordinatorHarness) wantSeen(t *testing.T, want ...string) {
	t.Helper()
	if got := h.take(); !slices.Equal(got, want) {
		t.Errorf("requests\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// answers lets the nth request of a kind, from 0 on, be answered so; an empty code is no answer, and what is beyond is granted.
func (h *coordinatorHarness) answers(key kmsg.Key, codes ...sarama.KError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = func(req kmsg.Request) (sarama.KError, error) {
		if kmsg.Key(req.Key()) != key || len(codes) == 0 {
			return 0, nil
		}
		code := codes[0]
		codes = codes[1:]
		if code == lost {
			return 0, errLost
		}
		return code, nil
	}
}

// failure is what Fail was called with.
func (h *coordinatorHarness) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// lost is no code: there is no answer.
const lost sarama.KError = 30_000

var errLost = errors.New("connection lost")

type fakeConn struct{ h *coordinatorHarness }

func (c *fakeConn) Err() error        { return nil }
func (c *fakeConn) SessionOver() bool { return false }
func (c *fakeConn) RenewDue() bool    { return false }
func (c *fakeConn) Close() error      { return nil }

func (c *fakeConn) RequestBetween(ctx context.Context, kreq kmsg.Request, lowest, highest int16) (kmsg.Response, error) {
	c.h.mu.Lock()
	version := min(highest, c.h.highest, kreq.MaxVersion())
	answer := c.h.answer
	leaveOut := c.h.leaveOut[kmsg.Key(kreq.Key())] > 0
	if leaveOut {
		c.h.leaveOut[kmsg.Key(kreq.Key())]--
	}
	c.h.mu.Unlock()
	if version < lowest {
		return nil, &wire.VersionError{Key: kreq.Key()}
	}
	kreq.SetVersion(version)
	text := fmt.Sprintf("%s v%d", kmsg.NameForKey(kreq.Key()), version)
	code, err := sarama.ErrNoError, error(nil)
	if answer != nil {
		code, err = answer(kreq)
	}
	kresp := kreq.ResponseKind()
	switch req := kreq.(type) {
	case *kmsg.InitProducerIDRequest:
		text += fmt.Sprintf(" %d/%d", req.ProducerID, req.ProducerEpoch)
		resp := kresp.(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = int16(code), 7, req.ProducerEpoch+1
	case *kmsg.EndTxnRequest:
		text += fmt.Sprintf(" %v %d/%d", req.Commit, req.ProducerID, req.ProducerEpoch)
		resp := kresp.(*kmsg.EndTxnResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = int16(code), req.ProducerID, req.ProducerEpoch+1
	case *kmsg.AddOffsetsToTxnRequest:
		kresp.(*kmsg.AddOffsetsToTxnResponse).ErrorCode = int16(code)
		text += " " + req.Group
	case *kmsg.AddPartitionsToTxnRequest:
		resp := kresp.(*kmsg.AddPartitionsToTxnResponse)
		for _, topic := range req.Topics {
			slices.Sort(topic.Partitions)
			text += fmt.Sprint(" ", topic.Topic, topic.Partitions)
			answered := kmsg.NewAddPartitionsToTxnResponseTopic()
			for range topic.Partitions {
				p := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				p.ErrorCode = int16(code)
				answered.Partitions = append(answered.Partitions, p)
			}
			resp.Topics = append(resp.Topics, answered)
		}
	case *kmsg.TxnOffsetCommitRequest:
		resp := kresp.(*kmsg.TxnOffsetCommitResponse)
		text += fmt.Sprintf(" %s/%s/%d", req.Group, req.MemberID, req.Generation)
		for _, topic := range req.Topics {
			answered := kmsg.NewTxnOffsetCommitResponseTopic()
			for _, partition := range topic.Partitions {
				text += fmt.Sprintf(" %s/%d=%d", topic.Topic, partition.Partition, partition.Offset)
				p := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				p.ErrorCode = int16(code)
				answered.Partitions = append(answered.Partitions, p)
			}
			resp.Topics = append(resp.Topics, answered)
		}
	}
	c.h.note(text)
	if err != nil {
		return nil, err
	}
	if leaveOut {
		kresp = kreq.ResponseKind()
	}
	return kresp, ctx.Err()
}
