package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

const produceHelp = `Usage: sluice produce [flags] [FILE...]

Each line of the files, or of standard input if there are none, is a message; "-" is standard input among files. Only
the line feed is taken off: a carriage return before it stays, an empty line is a message with an empty value, and the
last line counts without a line feed too. A line longer than Producer.MaxMessageBytes is not sent, and counts as failed.

Without -brokers a cluster is started inside the process, and what was written is read back by an independent client,
which compares the messages and their order in each partition with the input.

The last line on stdout says how many messages were delivered of how many that were read, to how many partitions
(those that got a message), the size of their keys and values, the time from the first read to the last outcome, and
the rate. Errors are named on stderr, the first of each cause in full. Ctrl-C stops reading, delivers what was read and
reports; a second one ends at once.

Exit status: 0 if every message was delivered (and read back), 1 if not, 2 if the command line was wrong. A file that
was not read to its end because of Ctrl-C counts as not delivered; standard input does not.
`

const produceExamples = `Examples:
  sluice produce README.md
  seq 1 1000000 | sluice produce -topic numbers
  sluice produce -brokers localhost:9092 -topic users -key-separator : users.txt
  sluice produce -brokers a:9092,b:9092 -topic t -idempotent -config linger.ms=20 -config delivery.timeout.ms=30000 f
  sluice produce -brokers localhost:9092 -topic t -header origin=cli -compression zstd -partition 0 <events
`

// produceFlags are the flags of produce, parsed and checked.
type produceFlags struct {
	connection
	separator string
	headers   list
	partition int
	files     []string
	settings  *settings
}

func parseProduce(args []string, stdout io.Writer) (*produceFlags, error) {
	f := &produceFlags{}
	fs := flag.NewFlagSet("produce", flag.ContinueOnError)
	f.register(fs)
	fs.StringVar(&f.separator, "key-separator", "", "`text` before whose first occurrence a line's key stands;\na line without it has no key")
	fs.Var(&f.headers, "header", "`name=value` of a header for every message; repeated for more")
	fs.Func("partition", "`number` of the partition to write to (default by the key, or one for a batch)", func(v string) (err error) {
		f.partition, err = strconv.Atoi(v)
		return err
	})
	files, given, err := parse(fs, args, stdout, produceHelp, produceExamples)
	if err != nil {
		return nil, err
	}
	if f.settings, err = f.settle(given); err != nil {
		return nil, err
	}
	if f.settings.conf.Producer.Transaction.ID != "" {
		return nil, usagef("Producer.Transaction.ID (transactional.id) is for perf: produce sends no transactions")
	}
	if given["key-separator"] && f.separator == "" {
		return nil, usagef("-key-separator is empty")
	}
	for _, h := range f.headers {
		if name, _, ok := strings.Cut(h, "="); !ok || name == "" {
			return nil, usagef("-header %q is not of the form name=value", h)
		}
	}
	if given["partition"] {
		if f.partition < 0 || f.partition > math.MaxInt32 || f.embedded() && f.partition >= f.partitions {
			return nil, usagef("-partition %d is not a partition of %s", f.partition, f.topic)
		}
		f.settings.conf.Producer.Partitioner = sarama.NewManualPartitioner
	}
	if f.files = files; len(files) == 0 {
		f.files = []string{"-"}
	}
	return f, nil
}

func (f *produceFlags) source(stdin io.Reader) *source {
	s := &source{
		files:     f.files,
		stdin:     stdin,
		topic:     f.topic,
		partition: int32(f.partition),
		separator: []byte(f.separator),
		limit:     f.settings.conf.Producer.MaxMessageBytes,
	}
	for _, h := range f.headers {
		name, value, _ := strings.Cut(h, "=")
		s.headers = append(s.headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	return s
}

// produce is the command of that name.
func produce(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	f, err := parseProduce(args, stdout)
	if err != nil {
		return err
	}
	if err := checkFiles(f.files); err != nil {
		return err
	}
	con := newConsole(stderr, "sluice produce")
	f.logTo(con)

	src := f.source(stdin)
	var (
		cluster *kfake.Cluster
		proof   *proof
		addrs   []string
	)
	if f.embedded() {
		if cluster, err = startCluster(f.topic, f.partitions, f.settings.conf, false); err != nil {
			return err
		}
		defer cluster.Close()
		addrs, proof = cluster.ListenAddrs(), newProof(f.settings.conf.Producer.RequiredAcks, src.headers)
	} else if addrs, err = f.addrs(); err != nil {
		return err
	}

	faults := newFaults(con)
	batchCall := newBatchCall(faults, proof)
	sender, err := openSender(ctx, "sluice", addrs, f.settings, batchCall.outcome)
	if err != nil {
		return err
	}
	begin := time.Now()
	stopProgress := showProgress(con, batchCall)
	failure := pump(ctx, con, src, batchCall, sender)
	sender.close()
	took := time.Since(begin)
	stopProgress()

	faults.summarize()
	if failure != nil {
		con.errorf("%v", failure)
	}
	total := batchCall.count()
	report := total.report(f.topic, took)
	if cluster != nil {
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx) // interrupted before: what was delivered is still read back
		}
		n, err := readBack(ctx, cluster, f.topic, total.delivered, proof)
		if err != nil {
			con.errorf("%v", err)
			failure = err
		}
		report += fmt.Sprintf("; read back %d", n)
	}
	if _, err := fmt.Fprintln(stdout, report); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if failure != nil || total.delivered != total.read {
		return errReported
	}
	return nil
}

// sendAtOnce is how many messages are handed over in one piece; more would make the producer's first batch wait for the
// whole of a large read.
const sendAtOnce = 512

// pump moves messages from the input to the sender until the input or ctx ends. It returns why the input was not read
// to its end, if that means that messages were not delivered.
func pump(ctx context.Context, con *console, src *source, batchCall *batchCall, sender sender) error {
	loads := make(chan load)
	go src.read(ctx, loads)
	for {
		select {
		case l, ok := <-loads:
			if !ok {
				return nil
			}
			if l.err != nil {
				return l.err
			}
			batchCall.add(len(l.msgs) + len(l.bad))
			for _, b := range l.bad {
				batchCall.refused(b)
			}
			for len(l.msgs) > 0 {
				n := min(sendAtOnce, len(l.msgs))
				sender.send(l.msgs[:n:n])
				l.msgs = l.msgs[n:]
			}
		case <-ctx.Done():
			con.errorf("interrupted; delivering what was read (interrupt again to end at once)")
			for _, name := range src.files {
				if name != "-" {
					return fmt.Errorf("the input was not read to its end: %w", context.Cause(ctx))
				}
			}
			return nil
		}
	}
}

// showProgress keeps the progress line until the returned function is called.
func showProgress(con *console, batchCall *batchCall) (stop func()) {
	if !con.terminal {
		return func() {}
	}
	const interval = 250 * time.Millisecond
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		before := batchCall.count()
		for {
			select {
			case <-ticker.C:
				now := batchCall.count()
				con.progress(now.progress(before, interval))
				before = now
			case <-done:
				con.progress("")
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}
