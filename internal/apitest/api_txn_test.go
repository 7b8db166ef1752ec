package apitest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// What is committed is seen, once; what is aborted is not. The requests are those of the transaction's version, and no more.
func TestCommitAndAbort(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		var want []string
		for i := range 4 {
			begin(t, p)
			msgs, values := values(fmt.Sprintf("txn %d message ", i), 8)
			send(p, msgs...)
			if i%2 == 0 {
				commit(t, p)
				want = append(want, values...)
			} else {
				abort(t, p)
			}
			if p.TxnStatus() != sarama.ProducerTxnFlagReady {
				t.Fatal(p.TxnStatus())
			}
		}
		wantCommitted(t, c, want...)
		seen := requests.take()
		wanted := map[int]string{1: "EndTxn v4", 2: "EndTxn v5"}[version]
		epochs := make(map[string]bool)
		for _, text := range seen {
			switch name, rest, _ := strings.Cut(text, " "); name {
			case "Produce":
				if (rest == "v12" || rest == "v13") != (version == 2) {
					t.Error(text)
				}
			case "EndTxn":
				if !strings.HasPrefix(text, wanted) {
					t.Error(text)
				}
				epochs[text[strings.LastIndex(text, "/"):]] = true
			case "AddPartitionsToTxn":
				if version == 2 || !strings.HasPrefix(rest, "v3") {
					t.Error(text)
				}
			default:
				t.Error(text)
			}
		}
		if n := map[int]int{1: 1, 2: 4}[version]; len(epochs) != n {
			t.Errorf("EndTxn under %d epochs, want %d: %q", len(epochs), n, seen)
		}
	})
}

// Version 1: each partition is added once in a transaction, and several in one request.
func TestPartitionsAreAddedOnce(t *testing.T) {
	c := newTopicCluster(t, 3, 4, kfake.MaxVersions(kversion.V3_9_0()))
	conf := txnConfig()
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	p := newAsync(t, c, conf)
	requests := watchTxn(c)
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	c.ControlKey(int16(kmsg.AddPartitionsToTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-held })
		return nil, nil, false
	})
	for range 2 {
		begin(t, p)
		for round := range 3 {
			msgs, _ := values(fmt.Sprint("round ", round, " "), 4)
			send(p, msgs...)
			if round == 0 {
				time.Sleep(30 * time.Millisecond) // while the first request is under way the other partitions gather
				release()
			}
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
		}
		commit(t, p)
		var added []string
		for _, text := range requests.take("AddPartitionsToTxn") {
			_, list, _ := strings.Cut(text, "[")
			added = append(added, strings.Fields(strings.TrimSuffix(list, "]"))...)
		}
		slices.Sort(added)
		if !slices.Equal(added, []string{"0", "1", "2", "3"}) {
			t.Errorf("added %q", added)
		}
	}
}

// An empty transaction costs no request, whichever way it ends.
func TestEmptyTransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		begin(t, p)
		commit(t, p)
		begin(t, p)
		abort(t, p)
		begin(t, p)
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))})
		wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
		wantAbortable(t, p, p.CommitTxn())
		abort(t, p)
		if seen := requests.take(); len(seen) > 0 {
			t.Errorf("%q", seen)
		}
	})
}

// Commit waits for the outcome of every message, and does not need them to be read.
func TestCommitWaitsForOutcomes(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		conf := txnConfig()
		conf.Producer.Return.Successes = true
		conf.Producer.Flush.Frequency = time.Hour
		p := newAsync(t, c, conf)
		gate := holdProduce(t, c, nil)
		begin(t, p)
		msgs, want := values("m", 200)
		go send(p, msgs...)
		for n, _ := p.Buffered(); n < 200; n, _ = p.Buffered() {
			time.Sleep(time.Millisecond)
		}
		committed := make(chan error, 1)
		go func() { committed <- p.CommitTxn() }()
		receive(t, gate.arrived)
		if status := p.TxnStatus(); status != sarama.ProducerTxnFlagEndTransaction|sarama.ProducerTxnFlagCommittingTransaction {
			t.Error(status)
		}
		select {
		case err := <-committed:
			t.Fatalf("committed before the messages are: %v", err)
		default:
		}
		gate.open()
		if err := receive(t, committed); err != nil {
			t.Fatal(err)
		}
		wantCommitted(t, c, want...)
		successes(t, p, 200)
	})
}

// Offsets are committed with the transaction, each group at its own coordinator, on behalf of the member that read them.
func TestOffsetsInATransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		read := func(partition int32, offset int64) *sarama.ConsumerMessage {
			return &sarama.ConsumerMessage{Topic: "t", Partition: partition, Offset: offset}
		}
		begin(t, p)
		for _, err := range []error{
			p.AddMessageToTxn(read(0, 4), "g", nil),
			p.AddMessageToTxn(read(1, 5), "g", nil),
			p.AddMessageToTxn(read(0, 6), "g", nil),
			p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 2, Offset: 9}}}, "other"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		commit(t, p)
		wantError(t, p.AddMessageToTxn(read(0, 8), "g", nil), causes(sarama.ErrTransactionNotReady))
		begin(t, p)
		if err := p.AddMessageToTxn(read(0, 100), "g", nil); err != nil {
			t.Fatal(err)
		}
		abort(t, p)

		for group, want := range map[string]string{"g": "0:7 1:6", "other": "2:9"} {
			if got := committedOffsets(t, c, group); got != want {
				t.Errorf("group %q has %q, want %q", group, got, want)
			}
		}
		seen := requests.take("AddOffsetsToTxn", "TxnOffsetCommit")
		wantRequests := map[int][]string{
			1: {"AddOffsetsToTxn v4", "TxnOffsetCommit v4 /-1/g", "AddOffsetsToTxn v4", "TxnOffsetCommit v4 /-1/other"},
			2: {"TxnOffsetCommit v5 /-1/g", "TxnOffsetCommit v5 /-1/other"},
		}[version]
		if !slices.Equal(seen, wantRequests) {
			t.Errorf("%q, want %q", seen, wantRequests)
		}
	})
}

// Close aborts the transaction that is open.
func TestCloseAborts(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		for _, failed := range []bool{false, true} {
			p := newAsync(t, c, txnConfig())
			begin(t, p)
			msgs, _ := values("m", 8)
			send(p, msgs...)
			if failed {
				if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))}); err == nil {
					t.Error("a message of 2 MiB is delivered")
				}
				drainErrors(p)
			}
			requests := watchTxn(c)
			if err := p.Close(); err != nil && !failed {
				t.Error(err)
			}
			// Nobody needs another epoch, or the cluster's version.
			seen := requests.take("InitProducerID", "EndTxn")
			if len(seen) > 1 || len(seen) == 0 && !failed { // what failed at once may not have been sent at all
				t.Errorf("%q", seen)
			}
			for _, err := range []error{p.BeginTxn(), p.CommitTxn(), p.AbortTxn(), p.AddOffsetsToTxn(nil, "g")} {
				wantError(t, err, causes(sarama.ErrShuttingDown))
			}
		}
		wantCommitted(t, c)
	})
}

// CloseContext ends in time though no coordinator answers.
func TestCloseWithoutACoordinator(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		begin(t, p)
		msgs, _ := values("m", 4)
		send(p, msgs...)
		if err := p.Flush(impatient(t)); err != nil {
			t.Fatal(err)
		}
		c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			return nil, nil, true // and never an answer
		})
		if err := p.CloseContext(soonDone(t, 50*time.Millisecond)); err != nil {
			t.Error(err)
		}
	})
}
