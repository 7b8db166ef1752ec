package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// script is a txnClient that keeps what is done with it.
type script struct {
	mu       sync.Mutex
	open     bool
	sent     []int // times that each record was sent
	sizes    []int // of the transactions
	expected int
	failAt   int // the commit that fails, from 1
	wrong    []string
}

func (s *script) note(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *script) expect(n int) func() error {
	s.expected += n
	s.sent = append(s.sent, make([]int, n)...)
	return func() error {
		if s.open {
			s.note("the outcomes are asked for before the commit")
		}
		return nil
	}
}

func (s *script) begin() error {
	if s.open {
		s.note("a transaction begins in another")
	}
	s.open = true
	s.sizes = append(s.sizes, 0)
	return nil
}

func (s *script) put(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		s.note("record %d is outside a transaction", i)
	}
	s.sent[i]++
	s.sizes[len(s.sizes)-1]++
}

func (s *script) commit() error {
	if !s.open {
		s.note("a commit outside a transaction")
	}
	s.open = false
	if len(s.sizes) == s.failAt {
		return errors.New("no commit")
	}
	return nil
}

func (s *script) close() error { return nil }

// check: each record was sent once, within a transaction, and each commit's time was taken.
func (s *script) check(t *testing.T, commits int) {
	t.Helper()
	for _, wrong := range s.wrong {
		t.Error(wrong)
	}
	for i, times := range s.sent {
		if times != 1 {
			t.Fatalf("record %d was sent %d times", i, times)
		}
	}
	if commits != len(s.sizes) {
		t.Errorf("%d commits' times for %d transactions", commits, len(s.sizes))
	}
}

func TestTransactionsBySize(t *testing.T) {
	for _, test := range []struct{ records, size, goroutines, want int }{
		{1000, 100, 1, 10}, {1001, 100, 1, 11}, {99, 100, 1, 1}, {1000, 1, 1, 1000}, {1000, 100, 4, 10}, {5, 1, 3, 2},
	} {
		s := &script{}
		c := newTransactions(run{settings: settings{TxnRecords: test.size, TxnDuration: time.Hour, Goroutines: test.goroutines}}, s)
		if err := c.send(test.records); err != nil {
			t.Fatal(err)
		}
		s.check(t, len(c.(committing).commits()))
		if len(s.sizes) != test.want {
			t.Errorf("%+v: transactions of %v", test, s.sizes)
		}
	}
}

// TestTransactionsByTime: with no time at all a transaction ends when the clock is looked at, and is never empty.
func TestTransactionsByTime(t *testing.T) {
	s := &script{}
	c := newTransactions(run{settings: settings{TxnRecords: 1 << 30, TxnDuration: 0, Goroutines: 1}}, s)
	if err := c.send(2*clockEvery + 1); err != nil {
		t.Fatal(err)
	}
	s.check(t, len(c.(committing).commits()))
	if got := fmt.Sprint(s.sizes); got != fmt.Sprintf("[%d %d 1]", clockEvery, clockEvery) {
		t.Errorf("transactions of %v", got)
	}
}

func TestTransactionsEndWithAFailedCommit(t *testing.T) {
	s := &script{failAt: 2}
	c := newTransactions(run{settings: settings{TxnRecords: 10, TxnDuration: time.Hour, Goroutines: 1}}, s)
	if err := c.send(100); err == nil || err.Error() != "commit: no commit" || len(s.sizes) != 2 {
		t.Errorf("send returns %v after transactions of %v", err, s.sizes)
	}
}

// TestTxnSenders: a call is a transaction of its sender's client; the commits are those of the last send.
func TestTxnSenders(t *testing.T) {
	var clients []*script
	c, err := openTxnSenders(run{settings: settings{Senders: 3, Call: 7}}, func(_ run, number int) (txnClient, error) {
		clients = append(clients, &script{})
		return scripted{clients[number]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.send(100); err != nil {
			t.Fatal(err)
		}
	}
	transactions := 0
	for _, s := range clients {
		transactions += len(s.sizes)
		for _, wrong := range s.wrong {
			t.Error(wrong)
		}
	}
	if commits := len(c.(committing).commits()); transactions != 30 || commits != 15 {
		t.Errorf("%d transactions, %d commits' times of the last 15", transactions, commits)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}

	failed := errors.New("no client")
	if _, err := openTxnSenders(run{settings: settings{Senders: 2}}, func(_ run, number int) (txnClient, error) {
		if number == 1 {
			return nil, failed
		}
		return scripted{&script{}}, nil
	}); !errors.Is(err, failed) || !strings.Contains(err.Error(), "sender 1") {
		t.Errorf("openTxnSenders returns %v", err)
	}
}

// scripted takes the records of any call.
type scripted struct{ *script }

func (s scripted) put(i int) {
	if !s.open {
		s.note("record %d is outside a transaction", i)
	}
}

// TestBrokersCountCommitted: neither markers nor aborted records count.
func TestBrokersCountCommitted(t *testing.T) {
	c := cluster(t)
	s, err := parse([]string{"-partitions", "3", "-brokers", strings.Join(c.ListenAddrs(), ",")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(to.addrs()...), kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for j := range 2 + i {
			record := &kgo.Record{Topic: to.topics()[0], Partition: int32(j % 2), Value: []byte("x")}
			if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	if records, _, err := to.finish(t.Context(), true); err != nil || records != 6 {
		t.Errorf("finish returns %d records, %v", records, err)
	}
}
