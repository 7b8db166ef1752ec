package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

const perfHelp = `Usage: sluice perf [flags]

Sends records as fast as the producer takes them, or at -rate, and prints a line a second and a final line: records/s,
MB/s (a MB is 1,000,000 bytes of values), and the latency from the hand-over of a record to its acknowledgement:
average, p50, p95, p99, p99.9 and maximum. While the producer has no memory left a hand-over waits, and that time
counts; the quantiles are right within 2 %.

Without -brokers a cluster is started inside the process that acknowledges and forgets, on the same processors. Ctrl-C
ends the load, waits for what was sent and prints the final line; a second one gives up what is not acknowledged.

With -compare other producers take turns with this one: each sends -records in each of -rounds. All are connected and warm
before the first round, and only one sends at a time. The table has the medians of the rounds for records/s, and the
latencies of all rounds together. All have the same acks, linger, compression and batch size; sarama is idempotent only if
-idempotent or -config asks for it, as it then has one request open at a time.

-report writes one HTML page that needs nothing else: throughput over time, the distribution of latencies, the figures, and
all settings but passwords.

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

	defaultRounds = 3 // with -compare
	maxKeys       = 10_000_000
)

const perfExamples = `Examples:
  sluice perf -records 5M -size 100
  sluice perf -client sarama -records 1M
  sluice perf -compare sarama,franz-go -report out.html
  sluice perf -brokers localhost:9092 -topic t -records 1M -size 1KB -rate 50000 -keys 10k -compression zstd -json
  sluice perf -brokers localhost:9092 -topic t -transactional-id perf -transaction-duration 100ms
  sluice perf -brokers localhost:9092 -topic t -payload-file events.txt -linger 20ms -config batch.size=262144
`

// perfClients are the producers that perf knows.
var perfClients = []string{"sluice", "sarama", "franz-go"}

// perfFlags are the flags of perf, parsed and checked.
type perfFlags struct {
	connection
	records     number
	warmup      number
	size        size
	keys        number
	seed        uint64
	rate        float64
	client      string
	compare     string
	rounds      int
	asJSON      bool
	reportFile  string
	payloadFile string
	linger      time.Duration
	txnID       string
	txnDuration time.Duration
	clients     []string // client, and those of compare
	settings    *settings
}

// transactional tells whether the load is sent in transactions.
func (f *perfFlags) transactional() bool { return f.settings.Conf.Producer.Transaction.ID != "" }

func parsePerf(args []string, stdout io.Writer) (*perfFlags, error) {
	f := &perfFlags{records: 1_000_000, size: 100}
	fs := flag.NewFlagSet("perf", flag.ContinueOnError)
	f.register(fs)
	fs.Var(&f.records, "records", "`number` of records to send, like 1M; 0 goes on until Ctrl-C")
	fs.Var(&f.warmup, "warmup", "`number` of records that each client sends before, which are not measured\n(default 0; with -compare a tenth of -records)")
	fs.Var(&f.size, "size", "`bytes` of a record's value, like 1KB; random capital letters")
	fs.Var(&f.keys, "keys", "`number` of keys, of which each record has one; 0 is no key")
	fs.Uint64Var(&f.seed, "seed", 1, "`number` that the random values and keys follow from")
	fs.Var((*rate)(&f.rate), "rate", "`records` a second at most, like 10k; 0 is as fast as possible")
	fs.StringVar(&f.client, "client", "sluice", "producer to measure, `sluice|sarama|franz-go`")
	fs.StringVar(&f.compare, "compare", "", "`sarama,franz-go`: other producers, which take turns with it")
	fs.IntVar(&f.rounds, "rounds", 0, "`number` of rounds, each with all records (default 1; with -compare 3)")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON in place of the lines")
	fs.StringVar(&f.reportFile, "report", "", "`file` for an HTML page with charts and all settings")
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
	return f, f.check(given)
}

func (f *perfFlags) check(given map[string]bool) error {
	f.clients = withNames([]string{f.client}, f.compare)
	for i, name := range f.clients {
		if !slices.Contains(perfClients, name) {
			return usagef("-%s %q is not one of %s", []string{"client", "compare"}[min(i, 1)], name, strings.Join(perfClients, ", "))
		}
	}
	several := len(f.clients) > 1
	if !given["rounds"] {
		f.rounds = 1
		if several {
			f.rounds = defaultRounds
		}
	}
	if !given["warmup"] && several {
		f.warmup = f.records / 10
	}
	switch {
	case given["transactional-id"] && f.txnID == "":
		return usagef("-transactional-id is empty")
	case f.txnDuration <= 0:
		return usagef("-transaction-duration %v is not above 0", f.txnDuration)
	case f.records < 0:
		return usagef("-records %d is below 0", f.records)
	case f.records == 0 && (several || f.rounds > 1):
		return usagef("-records 0 goes on until Ctrl-C: there would be no second round")
	case f.warmup < 0:
		return usagef("-warmup %d is below 0", f.warmup)
	case f.rounds < 1 || f.rounds > 1000:
		return usagef("-rounds %d is not between 1 and 1000", f.rounds)
	case f.keys < 0 || f.keys > maxKeys:
		return usagef("-keys %d is not between 0 and %d", f.keys, maxKeys)
	case f.size < 0:
		return usagef("-size %d is below 0", f.size)
	case int(f.size) > f.settings.Conf.Producer.MaxMessageBytes:
		return usagef("-size %d is above Producer.MaxMessageBytes, %d", f.size, f.settings.Conf.Producer.MaxMessageBytes)
	case !(f.rate >= 0 && f.rate <= 1e9):
		return usagef("-rate %v is not between 0 and 1e9", f.rate)
	case given["payload-file"] && given["size"]:
		return usagef("-payload-file and -size exclude each other")
	case f.linger < 0:
		return usagef("-linger %v is below 0", f.linger)
	case given["report"] && f.reportFile == "":
		return usagef("-report is empty")
	}
	if given["linger"] {
		f.settings.Conf.Producer.Flush.Frequency = f.linger
	}
	return nil
}

// withNames adds those of a list such as "sarama,franz-go", each once.
func withNames(names []string, list string) []string {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// perf is the command of that name.
func perf(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f, err := parsePerf(args, stdout)
	if err != nil {
		return err
	}
	var payloads []sarama.Encoder
	if f.payloadFile == "" {
		payloads = randomPayloads(int(f.size), f.seed)
	} else if payloads, err = filePayloads(f.payloadFile, f.settings.Conf.Producer.MaxMessageBytes); err != nil {
		return err
	}
	var page *os.File
	if f.reportFile != "" {
		// Made before the load: one that can't be written is told at once.
		if page, err = os.Create(f.reportFile); err != nil {
			return err
		}
		defer page.Close()
	}
	con := newConsole(stderr, "sluice perf")
	defer f.logTo(con, f.settings)()

	var addrs []string
	if f.embedded() {
		con.notef(embeddedNotice)
		cluster, err := startCluster(f.topic, f.partitions, f.settings.Conf, true)
		if err != nil {
			return err
		}
		defer cluster.Close()
		addrs = cluster.ListenAddrs()
	} else if addrs, err = f.meet(ctx, con, f.settings, f.topic); err != nil {
		return err
	}

	if isTerminal(stdout) && len(f.clients) == 1 && f.rounds == 1 && !f.asJSON {
		con.share() // the lines of stdout tell the progress
	}
	faults := newFaults(con)
	begin := time.Now()
	lines := stdout
	if f.asJSON {
		lines = io.Discard
	}
	loads, err := f.measure(ctx, addrs, payloads, con, faults, lines)
	if err != nil {
		return err
	}
	report := f.report(loads, begin)
	faults.summarize()
	failed := false
	for _, l := range loads {
		failed = l.complain(con, f) || failed
	}
	if f.asJSON {
		err = report.writeJSON(stdout)
	} else if len(loads) > 1 || f.rounds > 1 {
		_, err = io.WriteString(stdout, report.table())
	} else {
		_, err = fmt.Fprintln(stdout, loads[0].total().line())
	}
	if err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if page != nil {
		if err := cmp.Or(report.writePage(page), page.Close()); err != nil {
			return fmt.Errorf("%s: %w", f.reportFile, err)
		}
		con.notef("the report is in %s", f.reportFile)
	}
	if failed {
		return errReported
	}
	return nil
}

// complain tells what of a client's load was not done, and returns whether that is anything.
func (l *perfLoad) complain(con *console, f *perfFlags) bool {
	who := ""
	if len(f.clients) > 1 {
		who = l.client + ": "
	}
	sent, want := l.measured(), l.wanted()
	if l.failure != nil {
		con.errorf("%sended after %d records: %v", who, l.sent, l.failure)
	} else if l.interrupted() {
		con.errorf("%sinterrupted after %d of %d records", who, sent, want)
	}
	total := l.total()
	return l.failure != nil || total.records < sent || total.records < want || total.notCommitted > 0
}
