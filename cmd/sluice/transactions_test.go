package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// finalTxnLine is what follows finalLine where there are transactions.
var finalTxnLine = regexp.MustCompile(`; (\d+) transactions committed, [0-9.]+ ms avg, [0-9.]+ ms p50, [0-9.]+ ms p99, [0-9.]+ ms max commit(, \d+ not committed)?$`)

// wantTransactions holds the last line on stdout against the numbers of records and transactions.
func wantTransactions(t *testing.T, r result, sent, failed, committed, lost string) {
	t.Helper()
	line := r.lastLine()
	m := finalTxnLine.FindStringSubmatchIndex(line)
	if m == nil {
		t.Fatalf("final line %q, stderr %q", line, r.stderr)
	}
	parts := finalTxnLine.FindStringSubmatch(line)
	if parts[1] != committed || parts[2] != lost {
		t.Errorf("final line %q, want %s committed%s; stderr %q", line, committed, lost, r.stderr)
	}
	wantFinal(t, result{stdout: line[:m[0]]}, sent, failed)
}

// ends keeps the EndTxn requests that a cluster gets.
type ends struct {
	mu               sync.Mutex
	commits, aborts  int
	transactionalIDs map[string]bool
}

func watchEnds(cluster *kfake.Cluster) *ends {
	e := &ends{transactionalIDs: map[string]bool{}}
	cluster.ControlKey(int16(kmsg.EndTxn), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		e.mu.Lock()
		defer e.mu.Unlock()
		end := request.(*kmsg.EndTxnRequest)
		e.transactionalIDs[end.TransactionalID] = true
		if end.Commit {
			e.commits++
		} else {
			e.aborts++
		}
		return nil, nil, false
	})
	return e
}

// committedRecords counts what a reader of committed records finds in a topic.
func committedRecords(t *testing.T, cluster *kfake.Cluster, topic string) (n int) {
	t.Helper()
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	left := map[int32]int64{}
	for _, p := range cluster.PartitionInfos(topic) {
		if p.LastStableOffset != p.HighWatermark {
			t.Fatalf("partition %d has an open transaction: %+v", p.Partition, p)
		}
		if p.HighWatermark > 0 {
			left[p.Partition] = p.HighWatermark
		}
	}
	for len(left) > 0 {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				n++
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return n
}

// TestPerfTransactions: each hand-over is a transaction where the duration is over at once, and all are one where it is
// long; the id is the one given, or has our prefix.
func TestPerfTransactions(t *testing.T) {
	for _, client := range []string{"sluice", "sarama"} {
		for _, test := range []struct{ args, id, transactions string }{
			{"-transactional-id x -transaction-duration 1ns", "x", "4"},
			{"-transactional-id x", "x", "1"},
			{"-config transactional.id=x", "x", "1"},
			{"-config transactional.id=y -transactional-id x", "x", "1"},
			{"-config transactional.id=x -transaction-duration 1ns", "x", "4"},
			{"-transaction-duration 1h", txnIDPrefix, "1"},
		} {
			t.Run(client+" "+test.args, func(t *testing.T) {
				cluster, addrs := startBroker(t, "t", 2)
				ends := watchEnds(cluster)
				args := "perf -records 1000 -topic t -brokers " + addrs + " -client " + client + " " + test.args
				r := execute(t.Context(), nil, strings.Fields(args)...)
				wantTransactions(t, r, "1000", "", test.transactions, "")
				if r.status != statusDone || r.stderr != "" {
					t.Errorf("status %d, stderr %q", r.status, r.stderr)
				}
				if n := committedRecords(t, cluster, "t"); n != 1000 {
					t.Errorf("%d records are committed", n)
				}
				if got := fmt.Sprint(ends.commits); got != test.transactions || ends.aborts > 0 || len(ends.transactionalIDs) != 1 {
					t.Errorf("%s commits, %d aborts, by %v", got, ends.aborts, ends.transactionalIDs)
				}
				for id := range ends.transactionalIDs {
					if id != test.id && (test.id != txnIDPrefix || !strings.HasPrefix(id, txnIDPrefix) || len(id) < len(txnIDPrefix)+16) {
						t.Errorf("transactional id %q", id)
					}
				}
			})
		}
	}
}

func TestPerfTransactionsEmbedded(t *testing.T) {
	r := execute(t.Context(), nil, "perf", "-records", "5000", "-transaction-duration", "1h")
	wantTransactions(t, r, "5000", "", "1", "")
	if r.status != statusDone || r.stderr != "" {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

// TestPerfInterruptedCommits: what was sent before Ctrl-C is committed.
func TestPerfInterruptedCommits(t *testing.T) {
	for _, client := range perfClients {
		t.Run(client, func(t *testing.T) {
			cluster, addrs := startBroker(t, "t", 1)
			ends := watchEnds(cluster)
			ctx, interrupt := context.WithCancel(t.Context())
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				interrupt()
				return nil, nil, false
			})
			r := execute(ctx, nil, "perf", "-brokers", addrs, "-topic", "t", "-client", client, "-records", "0", "-rate", "1000", "-transactional-id", "x", "-transaction-duration", "1h")
			n := committedRecords(t, cluster, "t")
			wantTransactions(t, r, fmt.Sprint(n), "", "1", "")
			if n == 0 || r.status != statusDone || beyondInterrupt(r.stderr) != "" || ends.commits != 1 || ends.aborts != 0 {
				t.Errorf("%d records, status %d, stderr %q, %d commits, %d aborts", n, r.status, r.stderr, ends.commits, ends.aborts)
			}
		})
	}
}

// TestPerfAbortsWhatCannotBeCommitted: a record that is refused costs its transaction, and the load goes on.
func TestPerfAbortsWhatCannotBeCommitted(t *testing.T) {
	for _, client := range []string{"sluice", "franz-go"} {
		t.Run(client, func(t *testing.T) {
			cluster, addrs := startBroker(t, "t", 1)
			ends := watchEnds(cluster)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1})
			r := execute(t.Context(), nil, "perf", "-brokers", addrs, "-topic", "t", "-client", client, "-records", "600", "-transactional-id", "x", "-transaction-duration", "1ns")
			wantTransactions(t, r, "344", ", 256 failed", "2", ", 1 not committed")
			if r.status != statusFailed || ends.commits != 2 || ends.aborts > 1 || !strings.Contains(r.stderr, "TOPIC_AUTHORIZATION_FAILED") {
				t.Errorf("status %d, %d commits, %d aborts, stderr %q", r.status, ends.commits, ends.aborts, r.stderr)
			}
			if n := committedRecords(t, cluster, "t"); n != 344 {
				t.Errorf("%d records are committed", n)
			}
		})
	}
}

// TestPerfFailsWithItsTransaction: every record is acknowledged, and one transaction is not committed.
func TestPerfFailsWithItsTransaction(t *testing.T) {
	for _, client := range []string{"sluice", "franz-go"} {
		t.Run(client, func(t *testing.T) {
			cluster, addrs := startBroker(t, "t", 1)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.TransactionAbortable, Count: 1})
			r := execute(t.Context(), nil, "perf", "-brokers", addrs, "-topic", "t", "-client", client, "-records", "600", "-transactional-id", "x", "-transaction-duration", "1ns")
			wantTransactions(t, r, "600", "", "2", ", 1 not committed")
			if n := committedRecords(t, cluster, "t"); n != 344 || r.status != statusFailed {
				t.Errorf("%d records are committed, status %d, stderr %q", n, r.status, r.stderr)
			}
		})
	}
}

// TestPerfEndsWhenFenced: a producer that another one has taken over from can't go on.
func TestPerfEndsWhenFenced(t *testing.T) {
	for _, client := range []string{"sluice", "franz-go"} {
		t.Run(client, func(t *testing.T) {
			cluster, addrs := startBroker(t, "t", 1)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.ProducerFenced, Count: -1})
			r := execute(t.Context(), nil, "perf", "-brokers", addrs, "-topic", "t", "-client", client, "-records", "1000", "-transactional-id", "x", "-transaction-duration", "1ns")
			wantTransactions(t, r, "256", "", "0", ", 1 not committed")
			if r.status != statusFailed || !strings.Contains(r.stderr, "sluice perf: a transaction was not committed: ") ||
				!strings.Contains(r.stderr, "sluice perf: ended after 256 records: no other transaction can begin: ") {
				t.Errorf("status %d, stderr %q", r.status, r.stderr)
			}
		})
	}
}
