package main

import (
	"context"
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

Exit status: 0 if every record was delivered, 1 if not, 2 if the command line was wrong.
`

const perfExamples = `Examples:
  sluice perf -records 5000000 -size 100
  sluice perf -client sarama -records 1000000
  sluice perf -brokers localhost:9092 -topic t -records 1000000 -size 1000 -rate 50000 -acks all -compression zstd
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
	settings    *settings
}

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
	operands, given, err := parse(fs, args, stdout, perfHelp, perfExamples)
	if err != nil {
		return nil, err
	}
	if len(operands) > 0 {
		return nil, usagef("%q is one word too many; perf has flags only", operands[0])
	}
	if f.settings, err = f.settle(given); err != nil {
		return nil, err
	}
	switch {
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
	sent := f.generate(ctx, payloads, sender)
	sender.close()
	stopLines()

	faults.summarize()
	if sent < f.records {
		con.errorf("interrupted after %d of %d records", sent, f.records)
	}
	if _, err := fmt.Fprintln(stdout, stats.final()); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if acknowledged := stats.acknowledged(); acknowledged < sent || acknowledged < f.records {
		return errReported
	}
	return nil
}

// perfBatch is how many records share a hand-over and its time.
const perfBatch = 256

// generate sends the load, and returns how many records that was.
func (f *perfFlags) generate(ctx context.Context, payloads []sarama.Encoder, sender sender) (sent int64) {
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
		slab, msgs := make([]sarama.ProducerMessage, n), make([]*sarama.ProducerMessage, n)
		stamp := &sendTime{time.Now()}
		for i := range slab {
			m := &slab[i]
			m.Topic, m.Value, m.Metadata = f.topic, payloads[(sent+int64(i))%int64(len(payloads))], stamp
			msgs[i] = m
		}
		sender.send(msgs)
		sent += int64(n)
	}
	return sent
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
