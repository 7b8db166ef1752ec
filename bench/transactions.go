package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// txnClient sends in transactions, one after the other. Its methods are called by one goroutine, but for put.
type txnClient interface {
	// expect is called before n records are sent, in one transaction or several. When the last is committed, its result is:
	// it returns when each record is acknowledged, or with the first failure.
	expect(n int) (acked func() error)
	begin() error
	// put hands over the i-th record. It may be called concurrently.
	put(i int)
	// commit commits what was put since begin, and waits for its records before.
	commit() error
	close() error
}

// txnID is the transactional id of one of a run's clients. It is new for each run: a broker would let nobody use one that
// another run's client has left in a transaction.
func (r run) txnID(number int) string { return fmt.Sprintf("%s-%s-%d", topicPrefix, r.Client, number) }

// committing is a client that takes the time of each commit.
type committing interface {
	// commits returns those of the last send, in no order. The slice is the caller's.
	commits() []time.Duration
}

// timedTxn takes the time of a client's commits, from the moment when the last record is handed over: so it has the wait
// for the records' acknowledgements, too, whether a client does that in its commit or wants a flush before.
type timedTxn struct {
	txnClient
	taken []time.Duration
}

// commit shadows the client's own.
func (t *timedTxn) commit() error {
	start := time.Now()
	err := t.txnClient.commit()
	t.taken = append(t.taken, time.Since(start))
	return err
}

func (t *timedTxn) commits() []time.Duration { return t.taken }

// transactions is an asynchronous client: it commits when a transaction has as many records, or has lasted as long, as the
// settings say.
type transactions struct {
	timedTxn
	run run
}

func newTransactions(r run, c txnClient) client { return &transactions{timedTxn{txnClient: c}, r} }

func (t *transactions) send(n int) error {
	t.taken = nil
	acked := t.expect(n)
	left := shares(n, t.run.Goroutines, 1)
	for sent := 0; sent < n; {
		if err := t.begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		sent += t.fill(left)
		if err := t.commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return acked()
}

// fill sends a transaction's worth of what is left of the shares, and returns how many records that was.
func (t *transactions) fill(left []share) (sent int) {
	until := time.Now().Add(t.run.TxnDuration)
	most := max(1, t.run.TxnRecords/len(left))
	if len(left) == 1 {
		return t.feed(&left[0], most, until)
	}
	var wg sync.WaitGroup
	counts := make([]int, len(left))
	for i := range left {
		wg.Go(func() { counts[i] = t.feed(&left[i], most, until) })
	}
	wg.Wait()
	for _, n := range counts {
		sent += n
	}
	return sent
}

// clockEvery is how many records are sent between two looks at the clock.
const clockEvery = 64

// feed is one of the goroutines that send. It sends at least a record, if one is left.
func (t *transactions) feed(s *share, most int, until time.Time) int {
	from, to := s.from, min(s.to, s.from+most)
	for s.from < to {
		for range min(clockEvery, to-s.from) {
			t.put(s.from)
			s.from++
		}
		if !time.Now().Before(until) {
			break
		}
	}
	return s.from - from
}

// txnSenders is a sync client: each call is a transaction, and each sender has a client, since one has one transaction at
// a time.
type txnSenders struct {
	*senders
	clients []*timedTxn
}

func openTxnSenders(r run, open func(r run, number int) (txnClient, error)) (client, error) {
	t := &txnSenders{senders: &senders{number: r.Senders, size: r.Call}}
	t.end = t.closeAll
	for number := range r.Senders {
		c, err := open(r, number)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sender %d: %w", number, err), t.closeAll())
		}
		t.clients = append(t.clients, &timedTxn{txnClient: c})
	}
	t.sender = func(number int) func(i, n int) error {
		c := t.clients[number]
		c.taken = nil
		return c.call
	}
	return t, nil
}

// call is a transaction.
func (t *timedTxn) call(i, n int) error {
	acked := t.expect(n)
	if err := t.begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for j := range n {
		t.put(i + j)
	}
	if err := t.commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return acked()
}

func (t *txnSenders) commits() (all []time.Duration) {
	for _, c := range t.clients {
		all = append(all, c.commits()...)
	}
	return all
}

func (t *txnSenders) closeAll() error {
	var failed error
	for _, c := range t.clients {
		failed = errors.Join(failed, c.close())
	}
	return failed
}
