package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

const produceHelp = `Usage: sluice produce [flags] [FILE...]

Each line of the files, or of standard input if there are none, is a message; "-" is standard input among files. Only
the line feed is taken off: a carriage return before it stays, an empty line is a message with an empty value, and the
last line counts without a line feed too. A line longer than Producer.MaxMessageBytes is not sent, and counts as failed;
-dead-letter keeps it up to 64 MiB.

With -json each line is an object: {"key": "k", "value": "v", "headers": {"a": "b"}, "partition": 0, "timestamp": 0}.
Only "value" is needed; null is a tombstone, and what is neither a text nor null is sent as JSON. "key_base64" and
"value_base64" stand for bytes; headers may be an array, [{"key": "a", "value": "b"}], and the timestamp milliseconds or
RFC 3339. What kcat -J and -dead-letter print is read too; where those messages were, and why they failed, is ignored.

Keys choose partitions by murmur2, as in Java; -config Producer.Partitioner=sticky does it as sarama.

Without -brokers a cluster is started inside the process, and what was written is read back by an independent client,
which compares the messages and their order in each partition with the input. Nothing is kept.

The last line on stdout (on stderr with -tee) says how many messages were delivered of how many that were read, to how
many partitions (those that got a message), the size of their keys and values, the time from the first read to the last
outcome, and the rate. What is waited for, and errors, are named on stderr, the first of each cause in full. Ctrl-C (also
SIGTERM, SIGHUP) stops reading, delivers what was read and reports; a second one gives up what is not delivered. With -rate,
what was read and is not due yet is not sent: it counts as failed, and goes to -dead-letter.

Exit status: 0 if every message was delivered (and read back), 1 if not, 2 if the command line was wrong. A file that
was not read to its end because of Ctrl-C counts as not delivered; standard input does not.
`

const produceExamples = `Examples:
  sluice produce README.md
  seq 1 1000000 | sluice produce -topic numbers
  sluice produce -brokers localhost:9092 -topic users -create 6:3 -key-separator '\t' users.tsv
  sluice produce -brokers a:9092,b:9092 -topic t -config linger.ms=20 -dead-letter failed.jsonl events
  sluice produce -brokers localhost:9092 -topic t -json <failed.jsonl
  sluice produce -brokers localhost:9092 -topic t -header origin=cli -compression zstd -partition 0 <events
  sluice produce -brokers localhost:9092 -topic pictures -whole-files *.png
`

// produceFlags are the flags of produce, parsed and checked.
type produceFlags struct {
	connection
	format       format
	separator    string
	delimiter    string
	key          string
	headers      list
	partition    int
	count        number
	rate         float64
	tee          bool
	creation     string
	create       creation // no partitions if there is none
	deadLetter   string
	files        []string
	settings     *settings
	anyPartition bool
}

func parseProduce(args []string, stdout io.Writer) (*produceFlags, error) {
	f := &produceFlags{}
	fs := flag.NewFlagSet("produce", flag.ContinueOnError)
	f.register(fs)
	fs.StringVar(&f.separator, "key-separator", "", "`text` before whose first occurrence a line's key stands; \\t and \\x01 are escapes")
	fs.BoolVar(&f.format.ignoreMissingKey, "ignore-missing-key", false, "send a line without -key-separator as it is; else it counts as failed")
	fs.StringVar(&f.key, "key", "", "`text` that is the key of messages that have none otherwise")
	fs.BoolVar(&f.format.nullEmpty, "null-empty", false, "send empty values, and empty keys, as null: such a value is a tombstone")
	fs.Var(&f.headers, "header", "`name=value` of a header for every message; repeated for more")
	fs.BoolVar(&f.format.parseHeaders, "parse-headers", false, "a line begins with headers, name:value,name:value, and a tab")
	fs.StringVar(&f.delimiter, "delimiter", `\n`, "`text` that ends a message, in place of the line feed; with the same escapes")
	fs.BoolVar(&f.format.whole, "whole-files", false, "each file is one message")
	fs.Bool("lines", true, "each line is a message: so it is anyway, but in kcat")
	fs.BoolVar(&f.format.json, "json", false, "each line is a message in JSON, see above")
	fs.Var(&f.count, "count", "`number` of messages after which to stop (default all)")
	fs.Var((*rate)(&f.rate), "rate", "`messages` a second at most, like 10k; 0 is as fast as possible")
	fs.BoolVar(&f.tee, "tee", false, "write what is read to stdout too")
	fs.StringVar(&f.creation, "create", "", "create the topic if it is not there, with `partitions:replicas` such as 6:3")
	fs.StringVar(&f.deadLetter, "dead-letter", "", "`file` to add what was not delivered to, with its reason, as -json reads it")
	fs.Func("partition", "`number` of the partition to write to (default by the key, or one for a batch)", func(v string) (err error) {
		if f.partition, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("not a number")
		}
		return nil
	})
	files, given, err := parse(fs, args, stdout, produceHelp, produceExamples)
	if err != nil {
		return nil, err
	}
	if f.create, err = parseCreation(f.creation); err != nil && given["create"] {
		return nil, usagef("-create %w", err)
	}
	if f.settings, err = f.settle(given); err != nil {
		return nil, err
	}
	if f.embedded() && given["create"] {
		if given["partitions"] {
			return nil, usagef("-create and -partitions exclude each other")
		}
		f.partitions = int(f.create.partitions)
	}
	if f.settings.Conf.Producer.Transaction.ID != "" {
		return nil, usagef("Producer.Transaction.ID (transactional.id) is for perf: produce sends no transactions")
	}
	if !(f.rate >= 0 && f.rate <= 1e9) {
		return nil, usagef("-rate %v is not between 0 and 1e9", f.rate)
	}
	if f.count < 0 || given["count"] && f.count == 0 {
		return nil, usagef("-count %d is not above 0", f.count)
	}
	if err := f.checkFormat(given); err != nil {
		return nil, err
	}
	if err := f.checkPartition(given); err != nil {
		return nil, err
	}
	if f.files = files; len(files) == 0 {
		f.files = []string{"-"}
	}
	return f, nil
}

// checkFormat settles what a line means.
func (f *produceFlags) checkFormat(given map[string]bool) error {
	if given["key-separator"] && f.separator == "" {
		return usagef("-key-separator is empty")
	}
	if given["delimiter"] && f.delimiter == "" {
		return usagef("-delimiter is empty; -whole-files takes a file as one message")
	}
	for _, other := range []string{"key-separator", "parse-headers", "whole-files"} {
		if f.format.json && given[other] {
			return usagef("-json and -%s exclude each other", other)
		}
	}
	if f.format.whole && given["delimiter"] {
		return usagef("-whole-files and -delimiter exclude each other")
	}
	var err error
	if f.format.separator, err = unescape(f.separator); err != nil {
		return usagef("-key-separator: %w", err)
	}
	if f.format.delimiter, err = unescape(f.delimiter); err != nil {
		return usagef("-delimiter: %w", err)
	}
	if f.format.whole {
		f.format.delimiter = nil
	}
	if given["key"] {
		f.format.key = []byte(f.key)
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return usagef("-header %q is not of the form name=value", h)
		}
		f.format.headers = append(f.format.headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	return nil
}

// checkPartition settles whether the partitioner chooses.
func (f *produceFlags) checkPartition(given map[string]bool) error {
	f.anyPartition = !given["partition"]
	switch {
	case f.anyPartition:
		f.partition = anyPartition
	case f.partition < 0 || f.partition > math.MaxInt32:
		return usagef("-partition %d is not between 0 and %d", f.partition, math.MaxInt32)
	case f.embedded() && f.partition >= f.partitions:
		return usagef("-partition %d is not a partition of %s: the embedded cluster's has %s", f.partition, f.topic, partitionsOf(f.partitions))
	}
	return nil
}

func (f *produceFlags) source(stdin io.Reader) *source {
	s := &source{
		files: f.files, stdin: stdin, format: &f.format, limit: f.settings.Conf.Producer.MaxMessageBytes,
		count: int64(f.count), tee: f.tee, ended: make(chan struct{}),
	}
	if f.deadLetter != "" {
		s.keep = deadLetterLine
	}
	return s
}

// embeddedNotice is the first line of a command that brings its own cluster.
const embeddedNotice = "no -brokers: the cluster is embedded in this process, and nothing is kept"

// produce is the command of that name.
func produce(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	f, err := parseProduce(args, stdout)
	if err != nil {
		return err
	}
	if err := checkFiles(f.files); err != nil {
		return err
	}
	letters, err := openDeadLetters(f.deadLetter)
	if err != nil {
		return err
	}
	con := newConsole(stderr, "sluice produce")
	defer f.logTo(con, f.settings)()
	if f.tee {
		// When the reader of stdout ends, as head does, what was sent is still waited for and counted.
		signal.Ignore(syscall.SIGPIPE)
		defer signal.Reset(syscall.SIGPIPE)
	}
	typed := slices.Contains(f.files, "-") && isTerminal(stdin)
	if typed || f.tee && isTerminal(stdout) {
		con.share()
	}
	watch := newWatch(con)
	defer watch.stop()

	p := &production{f: f, con: con, src: f.source(stdin), watch: watch}
	p.tally = &batchCall{faults: newFaults(con), topic: f.topic, origin: p.src.origin, letters: letters, partitions: map[int32]struct{}{}}
	var addrs []string
	if f.embedded() {
		con.notef(embeddedNotice)
		if p.cluster, err = startCluster(f.topic, f.partitions, f.settings.Conf, false); err != nil {
			return err
		}
		defer p.cluster.Close()
		addrs = p.cluster.ListenAddrs()
		p.tally.proof = newProof(f.settings.Conf.Producer.RequiredAcks)
	} else if addrs, err = p.meetCluster(ctx); err != nil {
		if ctx.Err() != nil {
			return whileConnecting(ctx)
		}
		return err
	}
	var status sluice.Status
	p.waits = func() []sluice.Wait { return explainAdvertised(status.Waits(), addrs) }
	watch.phase(p.waits, nil)
	p.producer, err = connected(ctx, func() (*sluice.Producer, error) {
		return openProducer(addrs, f.settings, &status)
	}, func(unused *sluice.Producer) { unused.Close() })
	if err != nil {
		return err
	}
	if typed {
		con.notef("reading from the terminal (Ctrl-D ends the input)")
	}
	failure := p.run(ctx, stdout)
	if err := letters.close(); err != nil {
		con.errorf("%v", err)
		failure = err
	}
	report := stdout
	if f.tee {
		report = stderr // stdout has what was read, and nothing else
	}
	return p.report(ctx, report, failure)
}

// A production is one run of produce, once the command line is understood. Its methods are for the command's goroutine.
type production struct {
	f        *produceFlags
	con      *console
	src      *source
	watch    *watch
	waits    func() []sluice.Wait // of the producer
	tally    *batchCall
	cluster  *kfake.Cluster // nil unless it is embedded
	producer *sluice.Producer
	appender *sluice.Appender
	refusal  error // of the Appender, for the rest of a load
	pace     *pacer
	sent     int64 // messages that were handed to the producer
	warned   bool  // of what the embedded cluster holds
	took     time.Duration
}

// meetCluster finds out, before anything is read, whether the cluster answers and has the topic. It returns the addresses to
// begin with.
func (p *production) meetCluster(ctx context.Context) ([]string, error) {
	c, err := p.f.cluster(p.f.settings, p.watch)
	if err != nil {
		return nil, err
	}
	if p.f.create.partitions > 0 {
		created, err := c.create(ctx, p.f.topic, p.f.create)
		if err != nil {
			return nil, err
		}
		if created {
			p.con.notef("created topic %s with %s", p.f.topic, plural(p.f.create.partitions, "partition"))
		}
	}
	partition := int32(-1)
	if !p.f.anyPartition {
		partition = int32(p.f.partition)
	}
	err = c.checkTopic(ctx, p.f.topic, partition)
	if _, missing := errors.AsType[noTopicError](err); missing {
		err = fmt.Errorf("%w (-create 6:3 creates it, with 6 partitions and 3 replicas of each)", err)
	}
	return c.addrs, err
}

// run reads and sends until the input or ctx ends, and waits for the outcomes. It returns why the input was not read to its
// end, if that means that messages were not delivered.
func (p *production) run(ctx context.Context, stdout io.Writer) error {
	reading, stopReading := context.WithCancelCause(ctx)
	defer stopReading(nil)
	p.tally.hopeless = func(err error) {
		stopReading(fmt.Errorf("stopped reading: every message would fail alike: %w", rootCause(err)))
	}
	p.watch.phase(p.waits, p.progress())
	noted := onInterrupt(ctx, p.noteInterrupt)
	ends, giveAllUp := context.WithCancelCause(giveUp(ctx))
	defer giveAllUp(nil)
	stopBounding := p.boundConnecting(func(err error) { stopReading(err); giveAllUp(err) })
	begin := time.Now()
	failure := p.pump(ctx, reading, ends, stdout)
	_ = p.producer.CloseContext(ends) // the tally has what failed
	stopBounding()
	p.took = time.Since(begin)
	p.watch.stop()
	noted() // it is said before the report
	p.tally.faults.summarize()
	if failure != nil {
		p.con.errorf("%s", readable(failure))
	}
	return failure
}

// boundConnecting calls giveUp when messages have waited for -connect-timeout, none has had an outcome yet, and a broker that is needed
// can't be reached: the cluster answers, but names an address that does not work from here. stop ends the watching.
func (p *production) boundConnecting(giveUp func(error)) (stop func()) {
	began, over := time.Now(), false
	return every(drawEvery, func() {
		now := p.tally.count()
		over = over || now.delivered+now.failed > 0
		if now.outstanding() == 0 {
			began = time.Now()
		}
		if over || time.Since(began) < p.f.connectTimeout {
			return
		}
		for _, w := range p.waits() {
			if _, network := errors.AsType[*net.OpError](w.Err); network {
				over = true
				giveUp(fmt.Errorf("gave up after %v (-connect-timeout), nothing was delivered: %s", p.f.connectTimeout, waitText(w)))
				return
			}
		}
	}, func() {})
}

// noteInterrupt answers the first signal at once, whatever is waited for.
func (p *production) noteInterrupt() {
	if n := p.tally.count().outstanding(); n > 0 {
		p.con.notef("interrupted: delivering %s (interrupt again to end at once)", plural(n, "outstanding message"))
		return
	}
	p.con.notef("interrupted: nothing is outstanding (interrupt again to end at once)")
}

// progress is what the progress line says.
func (p *production) progress() func() []string {
	size, begin := p.src.size(), time.Now()
	before, at := p.tally.count(), begin
	return func() []string {
		now, share := p.tally.count(), -1.0
		if lines := p.src.lines.Load(); size > 0 && lines > 0 {
			// Of what was read, some has no outcome yet.
			share = float64(p.src.bytes.Load()) / float64(size) * float64(now.delivered+now.failed) / float64(lines)
		}
		fields := now.progress(before, max(time.Since(at), time.Millisecond), share, time.Since(begin))
		before, at = now, time.Now()
		return fields
	}
}

const (
	// sendAtOnce is how many messages are counted as read before they are appended, which may wait for memory.
	sendAtOnce = 512
	// embeddedMuch is how many messages, and how many bytes, the embedded cluster holds before a warning.
	embeddedMuch      = 5_000_000
	embeddedMuchBytes = 512 << 20
)

// pump moves messages from the input to the producer until the input or reading ends; that is a context of ctx, the
// command's.
func (p *production) pump(ctx, reading, ends context.Context, stdout io.Writer) error {
	var err error
	if p.appender, err = sluice.NewAppender(p.producer, p.f.topic, sluice.WithAppendContext(ends), sluice.WithAppendReport(p.tally.outcome)); err != nil {
		return err
	}
	loads, gone := make(chan load), make(chan struct{})
	defer close(gone)
	go p.src.read(reading, loads, gone)
	p.pace = newPacer(p.f.rate)
	for {
		select {
		case l, ok := <-loads:
			if !ok {
				return nil
			}
			if err := p.take(reading, ends, l, stdout); err != nil {
				return err
			}
		case <-reading.Done():
			for _, l := range p.src.rest(loads) {
				if err := p.take(reading, ends, l, stdout); err != nil {
					return err
				}
			}
			if ctx.Err() == nil {
				return context.Cause(reading)
			}
			for _, name := range p.f.files {
				if name != "-" {
					return fmt.Errorf("the input was not read to its end: %w", context.Cause(ctx))
				}
			}
			return nil
		}
	}
}

// take sends what was read. All of it is counted: with -rate, what is not due when reading ends has failed.
func (p *production) take(reading, ends context.Context, l load, stdout io.Writer) error {
	if l.err != nil {
		return l.err
	}
	p.tally.add(len(l.bad), 0)
	for _, b := range l.bad {
		p.tally.refused(b)
	}
	if err := p.teeTo(stdout, l.raw); err != nil {
		p.notSent(l.msgs, err)
		return err
	}
	p.refusal = nil
	for len(l.msgs) > 0 {
		n := min(sendAtOnce, len(l.msgs))
		if p.f.rate > 0 {
			if n = p.pace.wait(reading, p.sent, n); n == 0 {
				p.notSent(l.msgs, context.Cause(reading))
				return nil
			}
		}
		p.send(ends, l.msgs[:n])
		l.msgs = l.msgs[n:]
	}
	if p.cluster != nil && !p.warned && (p.sent >= embeddedMuch || p.src.bytes.Load() >= embeddedMuchBytes) {
		p.warned = true
		p.con.notef("the embedded cluster holds all of it in memory: %d messages, %s so far; -brokers writes to a real one",
			p.sent, humanBytes(p.src.bytes.Load()))
	}
	return nil
}

// send appends messages. It waits while the producer has no memory, until ends.
func (p *production) send(ends context.Context, msgs []message) {
	p.tally.add(len(msgs), sizeOf(msgs))
	p.sent += int64(len(msgs))
	for i := range msgs {
		err := p.refusal
		if err == nil {
			err = p.append(&msgs[i])
		}
		if err == nil {
			continue
		}
		if ends.Err() != nil {
			p.tally.fail(msgs[i:], context.Cause(ends))
			return
		}
		p.tally.fail(msgs[i:i+1], err)
		if !errors.Is(err, sarama.ErrMessageSizeTooLarge) && !errors.Is(err, sarama.ErrInvalidPartition) {
			p.refusal = err // the topic can't be found: each message would wait for it as long as this one
		}
	}
}

func (p *production) append(m *message) error {
	p.appender.Tag(int64(m.tag()))
	partition := m.partition
	if partition == anyPartition {
		partition = int32(p.f.partition)
	}
	return p.appender.AppendAt(partition, m.at, m.key, m.value, m.headers...)
}

// notSent counts messages that were read, and that the producer does not get.
func (p *production) notSent(msgs []message, cause error) {
	if len(msgs) > 0 {
		p.tally.add(len(msgs), sizeOf(msgs))
		p.tally.fail(msgs, fmt.Errorf("not sent: %w", cause))
	}
}

// teeTo writes lines to stdout as they were.
func (p *production) teeTo(stdout io.Writer, lines [][]byte) error {
	if !p.f.tee || len(lines) == 0 {
		return nil
	}
	out := append(bytes.Join(lines, p.f.format.delimiter), p.f.format.delimiter...)
	if _, err := stdout.Write(out); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

// report writes the last line, reads back what the embedded cluster holds, and says whether all was well.
func (p *production) report(ctx context.Context, out io.Writer, failure error) error {
	total := p.tally.count()
	report := total.report(p.f.topic, p.took)
	if p.cluster != nil {
		// What was delivered before the first signal is read back all the same.
		n, err := readBack(giveUp(ctx), p.cluster, p.f.topic, total.delivered, p.tally.proof)
		if err != nil {
			p.con.errorf("%s", readable(err))
			failure = err
		}
		report += fmt.Sprintf("; read back %d", n)
	}
	if _, err := fmt.Fprintln(out, report); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if failure != nil || total.delivered != total.read {
		return errReported
	}
	return nil
}
