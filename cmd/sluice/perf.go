package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const perfHelp = `Usage: sluice perf [flags]

Sends records as fast as the producer takes them, or at -rate, and prints a line a second and a final line: records/s,
MB/s (a MB is 1,000,000 bytes of values), and the latency from the hand-over of a record to its acknowledgement:
average, p50, p95, p99, p99.9 and maximum. While the producer has no memory left a hand-over waits, and that time
counts; the quantiles are right within 2 %.

Without -brokers a cluster is started inside the process that acknowledges and forgets, on the same processors. Ctrl-C
ends the load, waits for what was sent and prints the final line.

With -transactional-id or -transaction-duration the records are sent in transactions, one after the other. As in
kafka-producer-perf-test, one is committed with the first hand-over after its duration, and the last one at the end. The
latency is still that of a record's acknowledgement; the time of the commits, each with the wait for its last records, is
told behind it, and is part of the time for records/s. Ctrl-C commits the open transaction. One that can't be committed is
aborted: then the status is 1, though its records count as sent.

Exit status: 0 if every record was delivered, 1 if not, 2 if the command line was wrong.
`

const (
	// defaultTxnDuration is kafka-producer-perf-test's, where only the id is given; where only the duration is, the id is
	// this prefix and something random.
	defaultTxnDuration = 3 * time.Second
	txnIDPrefix        = "sluice-perf-"
)

const perfExamples = `Examples:
  sluice perf -records 5000000 -size 100
  sluice perf -client sarama -records 1000000
  sluice perf -brokers localhost:9092 -topic t -records 1000000 -size 1000 -rate 50000 -acks all -compression zstd
  sluice perf -brokers localhost:9092 -topic t -transactional-id perf -transaction-duration 100ms
  sluice perf -brokers localhost:9092 -topic t -payload-file events.txt -linger 20ms -config batch.size=262144
`

// perfFlags are the flags of perf, parsed and checked.
type perfFlags struct {
	connection
	records     int64
	size        int
	rate        float64
	client      string
	payloadFile string
	linger      time.Duration
	txnID       string
	txnDuration time.Duration
	settings    *settings
}

// transactional tells whether the load is sent in transactions.
func (f *perfFlags) transactional() bool { return f.settings.conf.Producer.Transaction.ID != "" }

func parsePerf(args []string, stdout io.Writer) (*perfFlags, error) {
	f := &perfFlags{}
	fs := flag.NewFlagSet("perf", flag.ContinueOnError)
	f.register(fs)
	fs.Int64Var(&f.records, "records", 1_000_000, "`number` of records to send; 0 goes on until Ctrl-C")
	fs.IntVar(&f.size, "size", 100, "`bytes` of a record's value, random capital letters")
	fs.Float64Var(&f.rate, "rate", 0, "`records` a second at most; 0 is as fast as possible")
	fs.StringVar(&f.client, "client", "sluice", "producer to measure, `sluice|sarama`")
	fs.StringVar(&f.payloadFile, "payload-file", "", "`file` whose lines are sent in turn, in place of -size")
	fs.DurationVar(&f.linger, "linger", 0, "`duration` to wait for more records before a batch is sent (default 5ms)")
	fs.StringVar(&f.txnID, "transactional-id", "", "send in transactions of this `id` (default "+txnIDPrefix+"... if there is a duration)")
	fs.DurationVar(&f.txnDuration, "transaction-duration", defaultTxnDuration, "`duration` after which a transaction is committed")
	operands, given, err := parse(fs, args, stdout, perfHelp, perfExamples)
	if err != nil {
		return nil, err
	}
	if len(operands) > 0 {
		return nil, usagef("%q is one word too many; perf has flags only", operands[0])
	}
	if given["transactional-id"] {
		f.config = append(f.config, "Producer.Transaction.ID="+f.txnID) // before settle, which checks it with the rest
	} else if given["transaction-duration"] {
		// In front, so that an id of -config wins.
		f.config = append(list{"Producer.Transaction.ID=" + txnIDPrefix + rand.Text()}, f.config...)
	}
	if f.settings, err = f.settle(given); err != nil {
		return nil, err
	}
	switch {
	case given["transactional-id"] && f.txnID == "":
		return nil, usagef("-transactional-id is empty")
	case f.txnDuration <= 0:
		return nil, usagef("-transaction-duration %v is not above 0", f.txnDuration)
	case f.records < 0:
		return nil, usagef("-records %d is below 0", f.records)
	case f.size < 0:
		return nil, usagef("-size %d is below 0", f.size)
	case f.size > f.settings.conf.Producer.MaxMessageBytes:
		return nil, usagef("-size %d is above Producer.MaxMessageBytes, %d", f.size, f.settings.conf.Producer.MaxMessageBytes)
	case !(f.rate >= 0 && f.rate <= 1e9):
		return nil, usagef("-rate %v is not between 0 and 1e9", f.rate)
	case f.client != "sluice" && f.client != "sarama":
		return nil, usagef("-client %q is not one of sluice, sarama", f.client)
	case given["payload-file"] && given["size"]:
		return nil, usagef("-payload-file and -size exclude each other")
	case f.linger < 0:
		return nil, usagef("-linger %v is below 0", f.linger)
	}
	if given["linger"] {
		f.settings.conf.Producer.Flush.Frequency = f.linger
	}
	return f, nil
}

// perf is the command of that name.
func perf(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parsePerf(args, stdout)
	if err != nil {
		return err
	}
	var payloads []sarama.Encoder
	if f.payloadFile == "" {
		payloads = randomPayloads(f.size)
	} else if payloads, err = filePayloads(f.payloadFile, f.settings.conf.Producer.MaxMessageBytes); err != nil {
		return err
	}
	con := newConsole(stderr, "sluice perf")
	f.logTo(con)

	var addrs []string
	if f.embedded() {
		cluster, err := startCluster(f.topic, f.partitions, f.settings.conf, true)
		if err != nil {
			return err
		}
		defer cluster.Close()
		addrs = cluster.ListenAddrs()
	} else if addrs, err = f.addrs(); err != nil {
		return err
	}

	faults := newFaults(con)
	stats := newStats(faults)
	sender, err := openSender(ctx, f.client, addrs, f.settings, stats.outcome)
	if err != nil {
		return err
	}
	stats.start()
	stopLines := everySecond(func() { fmt.Fprintln(stdout, stats.line()) })
	var txns *transactions
	if f.transactional() {
		txns = &transactions{sender: sender, duration: f.txnDuration, stats: stats}
	}
	sent, failure := f.generate(ctx, payloads, sender, txns)
	sender.close()
	stopLines()

	faults.summarize()
	if failure != nil {
		con.errorf("ended after %d records: %v", sent, failure)
	} else if sent < f.records {
		con.errorf("interrupted after %d of %d records", sent, f.records)
	}
	if _, err := fmt.Fprintln(stdout, stats.final()); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	acknowledged := stats.acknowledged()
	if failure != nil || acknowledged < sent || acknowledged < f.records || stats.notCommitted() > 0 {
		return errReported
	}
	return nil
}

// perfBatch is how many records share a hand-over and its time.
const perfBatch = 256

// generate sends the load, in transactions unless txns is nil. It returns how many records that was, and what ended it
// early, but for ctx.
func (f *perfFlags) generate(ctx context.Context, payloads []sarama.Encoder, sender sender, txns *transactions) (sent int64, err error) {
	pace := newPacer(f.rate)
	for f.records == 0 || sent < f.records {
		most := int64(perfBatch)
		if f.records > 0 {
			most = min(most, f.records-sent)
		}
		n := pace.wait(ctx, sent, int(most))
		if n == 0 {
			break
		}
		if err := txns.begin(); err != nil {
			return sent, err
		}
		slab, msgs := make([]sarama.ProducerMessage, n), make([]*sarama.ProducerMessage, n)
		stamp := &sendTime{time.Now()}
		for i := range slab {
			m := &slab[i]
			m.Topic, m.Value, m.Metadata = f.topic, payloads[(sent+int64(i))%int64(len(payloads))], stamp
			msgs[i] = m
		}
		sender.send(msgs)
		sent += int64(n)
		if err := txns.sent(); err != nil {
			return sent, err
		}
	}
	return sent, txns.end()
}

// everySecond calls f each second until the returned function is called.
func everySecond(f func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
