package apitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// bothTxnVersions runs a test on a cluster of each transaction.version, with topic "t" of four partitions on three brokers.
func bothTxnVersions(t *testing.T, test func(t *testing.T, c *kfake.Cluster, version int)) {
	for version, brokers := range map[int]*kversion.Versions{1: kversion.V3_9_0(), 2: kversion.V4_1_0()} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			test(t, newTopicCluster(t, 3, 4, kfake.MaxVersions(brokers)), version)
		})
	}
}

// txnConfig is testConfig with the transactional id "tx".
func txnConfig() *sarama.Config {
	conf := idempotent(testConfig())
	conf.Producer.Return.Successes = false
	conf.Producer.Transaction.ID = "tx"
	conf.Producer.Transaction.Retry.Backoff = 2 * time.Millisecond
	return conf
}

// txnRequests records the requests of transactions that a cluster gets, in order, as "EndTxn v5 commit".
type txnRequests struct {
	mu   sync.Mutex
	seen []string
}

func watchTxn(c *kfake.Cluster) *txnRequests {
	r := &txnRequests{}
	for _, key := range []kmsg.Key{
		kmsg.Produce, kmsg.FindCoordinator, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn,
	} {
		c.ControlKey(int16(key), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			r.add(kreq)
			return nil, nil, false
		})
	}
	return r
}

func (r *txnRequests) add(kreq kmsg.Request) {
	text := fmt.Sprintf("%s v%d", kmsg.NameForKey(kreq.Key()), kreq.GetVersion())
	switch req := kreq.(type) {
	case *kmsg.EndTxnRequest:
		text += map[bool]string{true: " commit", false: " abort"}[req.Commit] + fmt.Sprintf(" %d/%d", req.ProducerID, req.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnRequest:
		var partitions []int32
		for _, topic := range req.Topics {
			partitions = append(partitions, topic.Partitions...)
		}
		slices.Sort(partitions)
		text += fmt.Sprint(" ", partitions)
	case *kmsg.TxnOffsetCommitRequest:
		text += fmt.Sprintf(" %s/%d/%s", req.MemberID, req.Generation, req.Group)
	case *kmsg.InitProducerIDRequest:
		text += fmt.Sprintf(" epoch %d", req.ProducerEpoch)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, text)
}

// take returns the requests since the last call whose text begins with one of the prefixes; all, without any.
func (r *txnRequests) take(prefixes ...string) (got []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range r.seen {
		if len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(text, p) }) {
			got = append(got, text)
		}
	}
	r.seen = nil
	return got
}

// begin begins a transaction.
func begin(t testing.TB, p *sluice.Producer) {
	t.Helper()
	if err := p.BeginTxn(); err != nil {
		t.Fatal(err)
	}
}

// commit commits the open one.
func commit(t testing.TB, p *sluice.Producer) {
	t.Helper()
	if err := p.CommitTxnContext(impatient(t)); err != nil {
		t.Fatal(err)
	}
}

// abort aborts the open one.
func abort(t testing.TB, p *sluice.Producer) {
	t.Helper()
	if err := p.AbortTxnContext(impatient(t)); err != nil {
		t.Fatal(err)
	}
}

// wantCommitted checks that a read_committed reader sees these values in topic "t", each once and no other, in any order of
// partitions, and that no transaction is open.
func wantCommitted(t testing.TB, c *kfake.Cluster, want ...string) {
	t.Helper()
	wantCommittedBy(t, c, want)
}

func wantCommittedBy(t testing.TB, c *kfake.Cluster, want []string, opts ...kgo.Opt) {
	t.Helper()
	client := newReader(t, c, append(opts, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	// Where every transaction has ended, the last record of a partition is the mark of an end.
	left := make(map[int32]int64)
	for _, p := range c.PartitionInfos("t") {
		if p.HighWatermark > 0 {
			left[p.Partition] = p.HighWatermark - 1
		}
	}
	var got []string
	for ctx := impatient(t); len(left) > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading: %v; a transaction is open in these partitions, up to these offsets: %v", err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				got = append(got, string(r.Value))
			} else if r.Offset == left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("committed: %q, want %q", got, want)
	}
}

// values are messages to topic "t", in turn to each of four partitions.
func values(prefix string, n int) (msgs []*sarama.ProducerMessage, want []string) {
	for i := range n {
		value := fmt.Sprintf("%s%d", prefix, i)
		msgs = append(msgs, &sarama.ProducerMessage{Topic: "t", Partition: int32(i % 4), Value: sarama.StringEncoder(value)})
		want = append(want, value)
	}
	return msgs, want
}

// drainErrors collects the errors of a producer until it is closed.
func drainErrors(p *sluice.Producer) (errs func() []error) {
	var mu sync.Mutex
	var got []error
	go func() {
		for err := range p.Errors() {
			mu.Lock()
			got = append(got, err.Err)
			mu.Unlock()
		}
	}()
	return func() []error {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// soonDone is a context that ends after d.
func soonDone(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// committedOffsets are the offsets of a group, as "partition:offset".
func committedOffsets(t testing.TB, c *kfake.Cluster, group string) string {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	req.Groups = append(req.Groups, asked)
	resp, err := req.RequestWith(impatient(t), newReader(t, c))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, topic := range resp.Groups[0].Topics {
		for _, p := range topic.Partitions {
			got = append(got, fmt.Sprintf("%d:%d", p.Partition, p.Offset))
		}
	}
	slices.Sort(got)
	return strings.Join(got, " ")
}

func wantAbortable(t testing.TB, p *sluice.Producer, err error, causes ...error) {
	t.Helper()
	wantError(t, err, causes)
	if !sluice.IsTxnAbortable(err) || sluice.IsTxnFatal(err) {
		t.Errorf("not abortable: %v", err)
	}
	if status := p.TxnStatus(); status != sarama.ProducerTxnFlagInError|sarama.ProducerTxnFlagAbortableError {
		t.Error(status)
	}
}

func wantFatal(t testing.TB, p *sluice.Producer, err error, causes ...error) {
	t.Helper()
	wantError(t, err, causes)
	if sluice.IsTxnAbortable(err) || !sluice.IsTxnFatal(err) {
		t.Errorf("not fatal: %v", err)
	}
	if status := p.TxnStatus(); status != sarama.ProducerTxnFlagInError|sarama.ProducerTxnFlagFatalError {
		t.Error(status)
	}
}

// wantGoesOn checks that the next transaction of a producer is committed, and that nothing else is.
func wantGoesOn(t testing.TB, c *kfake.Cluster, p *sluice.Producer) {
	t.Helper()
	begin(t, p)
	msgs, want := values("again ", 4)
	send(p, msgs...)
	commit(t, p)
	wantCommitted(t, c, want...)
}
