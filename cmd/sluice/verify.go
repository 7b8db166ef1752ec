package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

const verifyHelp = `Usage: sluice verify [flags]

Proves on your cluster what the producer promises. It sends numbered messages, evenly over -duration, through a proxy of
its own inside this process that cuts connections, delays answers and swallows answers. Then it reads the topic back with
franz-go's client, without the proxy, and holds each message against what the producer said about it:

  lost                  acknowledged, and not in the log
  failed, but written   failed as certainly not written, and in the log (only sluice tells that from "unknown")
  duplicated            in the log more than once; a broken promise with idempotence only
  reordered             after a later message of its partition; counted by first occurrences
  gaps                  not acknowledged and not in the log, while a later message of its partition is: the producer told
  misplaced             in another partition, or not at the offset that was told
  changed, never sent   not what was sent
  several outcomes      or none

The faults hit the connections of this command only: no broker is stopped, and nobody else's connection is touched. By
default it creates a topic with a random name, and deletes it at the end; with -topic it writes to yours, which must be
there, and looks at its own messages only. No other topic is written to, created or deleted. Without -brokers a cluster is
started inside the process.

-client lets other producers run beside sluice at the same time, each behind a proxy of its own with the same seed. They
have the same acks and idempotence, and retries that don't end.

Ctrl-C ends the sending and the faults, and reports what is known by then; a second one ends at once, and then a topic that
was created stays.

Exit status: 0 if every promise was kept, 1 if one was broken or the log could not be read, 2 if the command line was wrong.
`

const verifyExamples = `Examples:
  sluice verify
  sluice verify -brokers localhost:9092
  sluice verify -brokers localhost:9092 -client sarama,franz-go -duration 1m -records 1M
  sluice verify -brokers a:9092,b:9092 -topic t -idempotent=false -faults cut=5%,swallow=5% -seed 7
  sluice verify -json | jq '.clients[0].findings'
`

const (
	verifyTopicPrefix = "sluice-verify-"
	// abandonAfter is how long after everything was to have an outcome a client is given up, which a client should never
	// need; abandonInterrupted is the same after Ctrl-C.
	abandonAfter       = 30 * time.Second
	abandonInterrupted = 10 * time.Second
	maxVerifyRecords   = 100_000_000
)

// A verifyClient is a producer that may be verified.
type verifyClient struct {
	name string
	open opener
	// certain clients tell what is certainly not written from what may be.
	certain bool
	// ordered tells whether order is promised without idempotence.
	ordered func(conf *sarama.Config) bool
}

var verifyClients = []verifyClient{
	{
		name: "sluice", open: openSluice, certain: true,
		ordered: func(*sarama.Config) bool { return true },
	},
	{
		name: "sarama", open: openPatientSarama,
		ordered: func(conf *sarama.Config) bool { return conf.Net.MaxOpenRequests == 1 },
	},
	{
		name: "franz-go",
		open: func(addrs []string, s *settings, done outcome) (sender, error) {
			return openFranzWith(addrs, s, done, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		},
		ordered: func(*sarama.Config) bool { return true }, // it has one request in flight then
	},
}

// openPatientSarama bounds the retries: sarama makes room for all of them ahead, for each partition.
func openPatientSarama(addrs []string, s *settings, done outcome) (sender, error) {
	s.Conf.Producer.Retry.Max = min(s.Conf.Producer.Retry.Max, 10_000)
	return openSarama(addrs, s, done)
}

// verifyFlags are the flags of verify, parsed and checked.
type verifyFlags struct {
	connection
	records  number
	size     size
	duration time.Duration
	seed     uint64
	rates    faultRates
	asJSON   bool
	clients  []verifyClient
	ownTopic bool
	settings *settings
}

func parseVerify(args []string, stdout io.Writer) (*verifyFlags, error) {
	f := &verifyFlags{records: 100_000, size: 100, rates: defaultFaultRates()}
	faults, beside := f.rates.String(), ""
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	f.register(fs)
	fs.Lookup("topic").Usage = "`topic` to write to, which must be there (default one with a random name, which is deleted at the end)"
	fs.Lookup("partitions").Usage = "`number` of partitions of the topic that is created"
	fs.Lookup("idempotent").Usage = "write without duplicates under retries; -idempotent=false allows them"
	fs.Lookup("idempotent").DefValue = "true with acks all"
	fs.Var(&f.records, "records", "`number` of messages to send, like 1M")
	fs.Var(&f.size, "size", "`bytes` of a message's value, like 1KB")
	fs.DurationVar(&f.duration, "duration", 10*time.Second, "`duration` over which they are sent evenly; 0s is as fast as possible")
	fs.Uint64Var(&f.seed, "seed", 1, "`number` that decides which requests and answers meet a fault")
	fs.StringVar(&faults, "faults", faults, "`kind=share,...` of requests (cut) and answers (all kinds) that meet a fault; none is no fault")
	fs.StringVar(&beside, "client", "", "`sarama,franz-go`: other producers that run beside sluice")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON")
	operands, given, err := parse(fs, args, stdout, verifyHelp, verifyExamples)
	if err != nil {
		return nil, err
	}
	if len(operands) > 0 {
		return nil, usagef("%q is one word too many; verify has flags only", operands[0])
	}
	if given["topic"] && f.topic == "" {
		return nil, usagef("-topic is empty")
	}
	if f.ownTopic = f.topic == ""; f.ownTopic {
		f.topic = verifyTopicPrefix + strings.ToLower(rand.Text())
	}
	// Unlike the other commands this one makes topics: -partitions is for any cluster, but not for a topic that is there.
	if f.partitions < 1 || f.partitions > 10_000 {
		return nil, usagef("-partitions %d is not between 1 and 10000", f.partitions)
	}
	if given["partitions"] && !f.ownTopic {
		return nil, usagef("-partitions is for the topic that is created; the one of -topic has what it has")
	}
	delete(given, "partitions")
	if f.settings, err = f.settle(given); err != nil {
		return nil, err
	}
	conf := f.settings.Conf
	if f.rates, err = parseFaultRates(faults); err != nil {
		return nil, usagef("-faults: %w", err)
	}
	if f.clients, err = chooseClients(beside); err != nil {
		return nil, err
	}
	switch {
	case f.records < 1 || f.records > maxVerifyRecords:
		return nil, usagef("-records %d is not between 1 and %d", f.records, maxVerifyRecords)
	case f.size < 0 || int(f.size) > conf.Producer.MaxMessageBytes-1000:
		return nil, usagef("-size %d is not between 0 and %d, Producer.MaxMessageBytes without room for the rest", f.size, conf.Producer.MaxMessageBytes-1000)
	case f.duration < 0:
		return nil, usagef("-duration %v is below 0", f.duration)
	case conf.Producer.Transaction.ID != "":
		return nil, usagef("Producer.Transaction.ID (transactional.id) is for perf: verify sends no transactions")
	}
	return f, nil
}

// chooseClients returns sluice and those that are named beside it.
func chooseClients(beside string) (chosen []verifyClient, err error) {
	for _, name := range withNames([]string{verifyClients[0].name}, beside) {
		i := slices.IndexFunc(verifyClients, func(c verifyClient) bool { return c.name == name })
		if i < 0 {
			return nil, usagef("-client %q is not one of sluice, sarama, franz-go", name)
		}
		chosen = append(chosen, verifyClients[i])
	}
	return chosen, nil
}

// verify is the command of that name.
func verify(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parseVerify(args, stdout)
	if err != nil {
		return err
	}
	con := newConsole(stderr, "sluice verify")
	defer f.logTo(con, f.settings)()
	return f.verify(ctx, con, stdout)
}

func (f *verifyFlags) verify(ctx context.Context, con *console, stdout io.Writer) error {
	report, err := f.examine(ctx, con)
	if err != nil {
		return err
	}
	if err := report.print(stdout, f.asJSON); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if report.Broken {
		return errReported
	}
	return nil
}

// examine does everything but to print. So a topic that was created is deleted before, as a pipe that nobody reads from
// (sluice verify | true) ends the process.
func (f *verifyFlags) examine(ctx context.Context, con *console) (report *verifyReport, err error) {
	var addrs []string
	if f.embedded() {
		con.notef(embeddedNotice)
		cluster, err := startCluster(f.topic, f.partitions, f.settings.Conf, false)
		if err != nil {
			return nil, err
		}
		defer cluster.Close()
		addrs = cluster.ListenAddrs()
	} else if addrs, err = f.meet(ctx, con, f.settings, ""); err != nil {
		return nil, err
	}
	topic, err := openVerifyTopic(ctx, addrs, f.settings.Config(), f.topic)
	if err != nil {
		return nil, err
	}
	defer topic.close()
	defer func() {
		if err := topic.remove(context.WithoutCancel(ctx)); err != nil {
			con.errorf("%v", err)
		}
	}()
	if f.ownTopic && !f.embedded() {
		if err := topic.create(ctx, f.partitions); err != nil {
			return nil, err
		}
	}
	partitions, err := topic.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return f.prove(ctx, con, topic, addrs, partitions)
}

// prove runs the clients side by side, reads back and compares.
func (f *verifyFlags) prove(ctx context.Context, con *console, topic *verifyTopic, addrs []string, partitions int) (*verifyReport, error) {
	run := rand.Text()
	trials := make([]*trial, len(f.clients))
	for i := range f.clients {
		trials[i] = f.newTrial(&f.clients[i], addrs, &loadShape{
			mark: fmt.Sprintf("%s-%d", run, i), topic: f.topic, partitions: partitions, size: int(f.size), seed: f.seed,
		})
	}
	defer func() {
		for _, t := range trials {
			t.proxy.close()
		}
	}()
	// All are connected before the first one meets a fault.
	for _, t := range trials {
		if err := t.open(ctx); err != nil {
			for _, opened := range trials {
				opened.abandon()
			}
			return nil, err
		}
	}
	stop := showTrials(con, trials, int64(f.records))
	begin := time.Now()
	noted := onInterrupt(ctx, func() {
		con.errorf("interrupted; waiting for the outcomes of what was sent (interrupt again to end at once)")
	})
	var wg sync.WaitGroup
	for _, t := range trials {
		wg.Go(func() { t.run(ctx, con) })
	}
	wg.Wait()
	noted()
	stop()
	took := time.Since(begin)

	interrupted := ctx.Err() != nil
	if interrupted {
		ctx = context.WithoutCancel(ctx)
	}
	audits := map[string]*audit{}
	for _, t := range trials {
		t.ledger.close()
		t.audit = newAudit(t.ledger, f.promises(t.client, !interrupted))
		audits[t.ledger.load.mark] = t.audit
	}
	if err := topic.read(ctx, audits); err != nil {
		return nil, err
	}
	for _, t := range trials {
		t.audit.finish()
	}
	return f.report(trials, topic, partitions, interrupted, took), nil
}

func (f *verifyFlags) promises(c *verifyClient, all bool) promises {
	p := &f.settings.Conf.Producer
	return promises{
		acknowledgedIsWritten: p.RequiredAcks != sarama.NoResponse,
		offsets:               p.RequiredAcks != sarama.NoResponse,
		once:                  p.Idempotent,
		ordered:               p.Idempotent || c.ordered(f.settings.Conf),
		all:                   all,
	}
}

// showTrials keeps the progress line until the returned function is called.
func showTrials(con *console, trials []*trial, records int64) (stop func()) {
	if !con.live() {
		return func() {}
	}
	return every(250*time.Millisecond, func() {
		var parts []string
		faults := int64(0)
		for _, t := range trials {
			parts = append(parts, t.client.name+" "+thousands(t.ledger.acknowledged()))
			c := &t.proxy.counts
			faults += c.cut.Load() + c.delayed.Load() + c.swallowed.Load()
		}
		con.progress(append(parts, fmt.Sprintf("acknowledged of %s", thousands(records)), plural(faults, "fault"))...)
	}, func() { con.progress() })
}

// errAbandoned is why a client is left behind.
var errAbandoned = errors.New("gave no outcome for all messages in time, and was given up")
