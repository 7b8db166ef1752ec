package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// settings is what the command line says. It travels to the children as JSON.
type settings struct {
	Records     int
	Size        int
	Partitions  int
	Topics      int
	Clients     []string
	Rounds      int
	Delay       time.Duration
	Linger      time.Duration
	LingerSync  time.Duration
	Compression string
	Brokers     []string
	Senders     int
	Call        int
	Goroutines  int
	Idempotent  bool
	Payload     string
	Keys        int
	CPUProfile  string
	Markdown    bool
	Goals       bool
	Timeout     time.Duration

	TxnRecords  int
	TxnDuration time.Duration
	TxnVersion  int
}

var (
	compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	payloads     = []string{"json", "random", "zero"}
)

const examples = `
Examples:
  go run .                                          a million 100-byte records, 4 partitions, every asynchronous client
  go run . -clients sarama,franz-go,sluice -rounds 5
  go run . -partitions 1000 -records 2000000        many partitions
  go run . -partitions 1 -delay 20ms                a distant broker
  go run . -compression lz4 -payload json -size 400
  go run . -goroutines 8                            eight goroutines send, each its share
  go run . -clients sync -senders 64                one message a call, with latencies
  go run . -clients sync -senders 4 -call 100       a hundred messages a call
  go run . -clients frame-sync,sluice-sync -senders 1   how far from the floor a single send is
  go run . -idempotent -clients sluice,sluice-txn       what transactions cost
  go run . -clients txn-sync -senders 1 -call 100   transactions of a hundred messages, one after the other
  go run . -goals -rounds 5                         all goals, and what is reached
  go run . -brokers localhost:9092 -records 200000  a real Kafka; topics of its own, deleted afterwards
  go run . -clients sluice -cpuprofile /tmp/prof    then: go tool pprof /tmp/prof/sluice-1.pprof
`

// parse reads the command line. It returns flag.ErrHelp when help was asked for and printed to out.
func parse(args []string, out io.Writer) (settings, error) {
	var s settings
	var names, brokers string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&s.Records, "records", 0, "records `N` of each run, after a warm-up of a tenth (default 1000000, 100000 if all clients are sync)")
	flags.IntVar(&s.Size, "size", 100, "`bytes` of each value")
	flags.IntVar(&s.Partitions, "partitions", 4, "partitions `N` of each topic; records go round robin")
	flags.IntVar(&s.Topics, "topics", 1, "topics `N`; records go round robin")
	flags.StringVar(&names, "clients", "async", "comma-separated `names`, run in this order in each round; async, sync, txn and txn-sync name all of a kind")
	flags.IntVar(&s.Rounds, "rounds", 3, "rounds `N`; each client runs once in each, and the table has medians")
	flags.DurationVar(&s.Delay, "delay", 0, "the sink answers this long after a request has arrived; requests are pipelined")
	flags.DurationVar(&s.Linger, "linger", 5*time.Millisecond, "how long a batch waits for more records; sync clients do not linger unless this is given")
	flags.StringVar(&s.Compression, "compression", "none", "`codec`: "+strings.Join(compressions, ", "))
	flags.StringVar(&brokers, "brokers", "", "comma-separated `host:port` of a real Kafka, in place of the sink")
	flags.IntVar(&s.Senders, "senders", 16, "goroutines `N` of the sync clients, each with one call under way")
	flags.IntVar(&s.Goroutines, "goroutines", 1, "goroutines `N` that send, of the asynchronous clients; each has its share of the records")
	flags.IntVar(&s.Call, "call", 1, "messages `N` that one call of a sync client sends; p50 and p99 are of a call")
	flags.BoolVar(&s.Idempotent, "idempotent", false, "idempotent producers, of the clients that have them")
	flags.IntVar(&s.TxnRecords, "txn-records", 100_000, "records `N` after which an asynchronous transactional client commits")
	flags.DurationVar(&s.TxnDuration, "txn-duration", 100*time.Millisecond, "how long after its begin it commits in any case; sync transactional clients commit each call")
	flags.IntVar(&s.TxnVersion, "txn-version", 2, "`level` of transaction.version that the sink tells: 1, or 2 (KIP-890); a real Kafka has its own")
	flags.StringVar(&s.Payload, "payload", "json", "what values are made of: "+strings.Join(payloads, ", "))
	flags.IntVar(&s.Keys, "keys", 0, "different keys `N`, in turn, in place of records without a key that go round robin; murmur2 chooses the partition")
	flags.StringVar(&s.CPUProfile, "cpuprofile", "", "write a CPU profile of each run's measured part to `DIR`/CLIENT-ROUND.pprof")
	flags.BoolVar(&s.Markdown, "markdown", false, "print the tables as Markdown")
	flags.BoolVar(&s.Goals, "goals", false, "measure everything that the project has a goal for, ten minutes or more, and say what is reached; of the other flags only -rounds, -timeout, -markdown and -brokers count")
	flags.DurationVar(&s.Timeout, "timeout", 2*time.Minute, "end a run that takes longer")

	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		help(flags, out)
		return s, err
	} else if err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q: everything is said with flags", flags.Arg(0))
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["linger"] {
		s.LingerSync = s.Linger
	}
	if given["txn-version"] && brokers != "" {
		return s, fmt.Errorf("-txn-version: only the sink can be told, and -brokers names a real Kafka")
	}
	if brokers != "" {
		s.Brokers = strings.Split(brokers, ",")
	}
	var err error
	if s.Clients, err = expand(names, s.Idempotent); err != nil {
		return s, err
	}
	if s.Records == 0 {
		s.Records = 1_000_000
		if !slices.ContainsFunc(s.Clients, func(name string) bool { return !kindOf(name).sync }) {
			s.Records = 100_000
		}
	}
	return s, s.validate()
}

// groups are the names that stand for several clients.
var groups = map[string]func(*kind) bool{
	"async":    func(k *kind) bool { return !k.sync && !k.transactional },
	"sync":     func(k *kind) bool { return k.sync && !k.transactional },
	"txn":      func(k *kind) bool { return !k.sync && k.transactional },
	"txn-sync": func(k *kind) bool { return k.sync && k.transactional },
}

// expand makes a list of clients of names, groups among them. A client that cannot be idempotent is left out
// of a kind, and refused by name.
func expand(names string, idempotent bool) ([]string, error) {
	var list []string
	for _, name := range strings.Split(names, ",") {
		kind, group := kindOf(name), groups[name]
		switch {
		case group != nil:
			for _, k := range kinds {
				if group(&k) && (!idempotent || !k.notIdempotent) {
					list = append(list, k.name)
				}
			}
		case kind == nil:
			return nil, fmt.Errorf("-clients: unknown client %q: known are async, sync, txn, txn-sync, %s", name, strings.Join(kindNames(), ", "))
		case idempotent && kind.notIdempotent:
			return nil, fmt.Errorf("-idempotent: %s has no idempotent producer", name)
		default:
			list = append(list, name)
		}
	}
	for i, name := range list {
		if slices.Contains(list[:i], name) {
			return nil, fmt.Errorf("-clients: %s is named twice", name)
		}
	}
	return list, nil
}

func (s settings) validate() error {
	for _, bound := range []struct {
		flag          string
		value, lo, hi int
	}{
		{"records", s.Records, 1, 1_000_000_000},
		{"size", s.Size, 0, 900_000}, // below the 1 MiB that a batch may have
		{"partitions", s.Partitions, 1, 100_000},
		{"topics", s.Topics, 1, 10_000},
		{"rounds", s.Rounds, 1, 1000},
		{"senders", s.Senders, 1, 100_000},
		{"call", s.Call, 1, 10_000},
		{"goroutines", s.Goroutines, 1, 1000},
		{"keys", s.Keys, 0, 10_000_000},
		{"txn-records", s.TxnRecords, 1, 1_000_000_000},
		{"txn-version", s.TxnVersion, 1, 2},
	} {
		if bound.value < bound.lo || bound.value > bound.hi {
			return fmt.Errorf("-%s: %d is not between %d and %d", bound.flag, bound.value, bound.lo, bound.hi)
		}
	}
	switch {
	case s.Topics*s.Partitions > 1_000_000:
		return fmt.Errorf("-topics, -partitions: %d partitions in all are more than 1000000", s.Topics*s.Partitions)
	case slices.Contains(s.Clients, "frame-sync") && frameHeader+s.Call*(s.Size+frameRecord) > batchBytes:
		return fmt.Errorf("-call: %d records of %d bytes are more than one batch of %d bytes, which is what frame-sync sends", s.Call, s.Size, batchBytes)
	case s.Delay < 0:
		return fmt.Errorf("-delay: %v is negative", s.Delay)
	case s.Linger < 0:
		return fmt.Errorf("-linger: %v is negative", s.Linger)
	case s.TxnDuration <= 0:
		return fmt.Errorf("-txn-duration: %v is not positive", s.TxnDuration)
	case s.Timeout <= 0:
		return fmt.Errorf("-timeout: %v is not positive", s.Timeout)
	case !slices.Contains(compressions, s.Compression):
		return fmt.Errorf("-compression: unknown codec %q: known are %s", s.Compression, strings.Join(compressions, ", "))
	case !slices.Contains(payloads, s.Payload):
		return fmt.Errorf("-payload: unknown kind %q: known are %s", s.Payload, strings.Join(payloads, ", "))
	case len(s.Brokers) > 0 && s.Delay > 0:
		return fmt.Errorf("-delay: only the sink can delay its answers, and -brokers names a real Kafka")
	case slices.Contains(s.Brokers, ""):
		return fmt.Errorf("-brokers: an empty address")
	}
	if s.CPUProfile != "" {
		if info, err := os.Stat(s.CPUProfile); err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("-cpuprofile: %s is not a directory", s.CPUProfile)
		}
	}
	return nil
}

func help(flags *flag.FlagSet, out io.Writer) {
	fmt.Fprint(out, "Compares Kafka producers: each sends the same records, in a process of its own, to a broker that keeps\n"+
		"nothing; rounds are interleaved, and a table gives the medians. See README.md for what is measured.\n\nFlags:\n")
	flags.SetOutput(out)
	flags.PrintDefaults()
	fmt.Fprint(out, "\nClients:\n")
	for _, k := range kinds {
		fmt.Fprintf(out, "  %-14s %s\n", k.name, k.about)
	}
	fmt.Fprint(out, examples)
}

// encode and decode carry settings to a child and back.
func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func decode[T any](text string) (v T, err error) {
	err = json.Unmarshal([]byte(text), &v)
	return v, err
}
