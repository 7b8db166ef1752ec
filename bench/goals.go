package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A goal is what the project wants of one figure under one load: a ratio to the best of some peers, measured in the same
// rounds, or the figure itself where there are no peers. loads lists them all; -goals measures them.
type goal struct {
	what   string
	figure func(result) float64
	client string
	peers  []string
	least  float64 // of the ratio; 0: no such bound
	most   float64 // of the ratio; 0: no such bound
}

// load is what the goals of one table row are measured under: the flags of a run.
type load struct {
	name  string
	flags string
	goals []goal
}

var (
	goPeers  = []string{"sarama", "franz-go"}
	allPeers = []string{"sarama", "franz-go", "kafka-go"}
)

func faster(what, client string, least float64, peers ...string) goal {
	return goal{what: what, figure: result.rate, client: client, peers: peers, least: least}
}

func cheaper(what, client string, most float64, peers ...string) goal {
	return goal{what: what, figure: result.cpu, client: client, peers: peers, most: most}
}

var loads = []load{
	{"4 partitions", "-records 5000000", []goal{
		faster("records/s", "sluice", 7, "sarama"),
		faster("records/s", "sluice", 1.4, "franz-go"),
		cheaper("CPU", "sluice", 0.7, "franz-go"),
		cheaper("CPU", "sluice", 1.2, "channels"),
		cheaper("CPU", "sluice-batch", 0.35, "franz-go"),
		{what: "allocations", figure: result.allocs, client: "sluice", peers: []string{"channels"}, most: 1.025},
		cheaper("CPU", "sluice-append", 0.25, "franz-go"),
		faster("records/s", "sluice-append", 2.5, "franz-go"),
		{what: "allocations", figure: result.allocs, client: "sluice-append", most: 0.005},
		{what: "MiB at its peak", figure: result.memory, client: "sluice-append", most: 32 + 32}, // WithBufferMemory's default, and 32
	}},
	{"1,000 partitions", "-partitions 1000 -records 3000000", []goal{
		faster("records/s", "sluice", 1.1, "franz-go"), cheaper("CPU", "sluice", 0.9, "franz-go"),
		cheaper("CPU", "sluice-append", 0.4, "franz-go"),
	}},
	{"10,000 keys, 64 partitions, murmur2", "-keys 10000 -partitions 64 -records 3000000", []goal{
		cheaper("CPU", "sluice-append", 0.35, "franz-go"),
	}},
	{"10,000 partitions", "-partitions 10000 -records 1500000", []goal{faster("records/s", "sluice", 3, "sarama")}},
	{"20 ms, one partition, idempotent", "-partitions 1 -delay 20ms -idempotent -records 2000000", []goal{
		faster("records/s", "sluice", 1, "franz-go"),
	}},
	{"one synchronous sender", "-senders 1 -records 20000", []goal{
		{what: "p50", figure: result.p50, client: "sluice-sync", peers: []string{"frame-sync"}, most: 1.25},
	}},
	{"100 synchronous senders", "-senders 100 -records 800000", []goal{
		faster("messages/s", "sluice-sync", 1.5, "franz-go-sync"),
		{what: "p99", figure: result.p99, client: "sluice-sync", peers: []string{"franz-go-sync"}, most: 1},
	}},
	{"1,000 messages a call", "-senders 1 -call 1000 -records 4000000", []goal{
		faster("messages/s", "sluice-sync", 1.2, "franz-go-sync"),
	}},
	{"1 KB, none", "-size 1000 -records 2000000", []goal{
		cheaper("CPU", "sluice", 1, goPeers...),
		cheaper("CPU", "sluice-append", 0.7, goPeers...), faster("records/s", "sluice-append", 1.3, goPeers...),
	}},
	{"1 KB, lz4", "-size 1000 -records 800000 -compression lz4", []goal{
		cheaper("CPU", "sluice", 1, goPeers...), faster("records/s", "sluice", 1.3, goPeers...),
		cheaper("CPU", "sluice-append", 0.7, goPeers...), faster("records/s", "sluice-append", 1.3, goPeers...),
	}},
	{"1 KB, zstd", "-size 1000 -records 500000 -compression zstd", []goal{
		cheaper("CPU", "sluice", 1, goPeers...), faster("records/s", "sluice", 1.3, goPeers...),
	}},
	{"1 KB, snappy", "-size 1000 -records 800000 -compression snappy", []goal{cheaper("CPU", "sluice", 1, goPeers...)}},
	{"10 B", "-size 10 -records 4000000", []goal{faster("records/s", "sluice", 1, allPeers...)}},
	{"100 KB", "-size 100000 -records 50000", []goal{faster("records/s", "sluice", 1, allPeers...)}},
	{"20 topics", "-topics 20 -records 3000000", []goal{faster("records/s", "sluice", 1, allPeers...)}},
	{"in transactions, idempotent", "-idempotent -records 5000000", []goal{faster("records/s", "sluice-txn", 0.95, "sluice")}},
	{"8 sending goroutines", "-goroutines 8 -records 4000000", []goal{faster("records/s", "sluice", 1, allPeers...)}},
}

// kafkaLoads are for a real Kafka, and are measured with -brokers alone.
var kafkaLoads = []load{
	{"real Kafka, idempotent", "-idempotent -records 2000000", []goal{
		faster("records/s", "sluice", 1, "franz-go"), faster("records/s", "sluice", 2, "sarama"),
	}},
	{"real Kafka, in transactions", "-idempotent -records 2000000", []goal{faster("records/s", "sluice-txn", 0.95, "sluice")}},
	{"real Kafka, transactions of 100", "-senders 1 -call 100 -records 100000", []goal{
		{what: "transactions/s", figure: result.commits, client: "sluice-txn-sync", peers: []string{"franz-go-txn-sync"}, least: 1},
		{what: "commit p50", figure: result.commitP50, client: "sluice-txn-sync", peers: []string{"franz-go-txn-sync"}, most: 1},
		{what: "commit p99", figure: result.commitP99, client: "sluice-txn-sync", peers: []string{"franz-go-txn-sync"}, most: 1},
	}},
}

// clients are all that the load's goals name.
func (l load) clients() (names []string) {
	for _, k := range kinds {
		if slices.ContainsFunc(l.goals, func(g goal) bool { return g.client == k.name || slices.Contains(g.peers, k.name) }) {
			names = append(names, k.name)
		}
	}
	return names
}

// settings are those of the command line with the load's own.
func (l load) settings(given settings) (settings, error) {
	s, err := parse(append(strings.Fields(l.flags), "-clients", strings.Join(l.clients(), ",")), io.Discard)
	s.Rounds, s.Brokers, s.Timeout, s.Markdown = given.Rounds, given.Brokers, given.Timeout, given.Markdown
	return s, err
}

// measureGoals runs every load and writes a table of what was wanted and what came out.
func measureGoals(ctx context.Context, given settings, out, progress io.Writer) error {
	all := loads
	if len(given.Brokers) > 0 {
		all = kafkaLoads
	}
	rows := [][]string{{"load", "figure", "wanted", "measured", ""}}
	for _, l := range all {
		s, err := l.settings(given)
		if err != nil {
			return err
		}
		fmt.Fprintln(progress, l.name+":")
		results, err := rounds(ctx, s, progress)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		for _, g := range l.goals {
			rows = append(rows, append([]string{l.name}, g.row(results)...))
		}
	}
	return write(out, given.Markdown, rows)
}

// row is the figure, what was wanted, what was measured, and whether that is reached.
func (g goal) row(results []result) []string {
	of := func(client string) float64 {
		return median(slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.Client != client }), g.figure)
	}
	best := 1.0
	for i, peer := range g.peers {
		switch figure := of(peer); {
		case i == 0:
			best = figure
		case g.least > 0:
			best = max(best, figure)
		default:
			best = min(best, figure)
		}
	}
	got := of(g.client) / best
	wanted, reached := fmt.Sprintf("≥ %g", g.least), got >= g.least
	if g.most > 0 {
		wanted, reached = fmt.Sprintf("≤ %g", g.most), got <= g.most
	}
	verdict := "reached"
	if !reached {
		verdict = "missed"
	}
	what := g.what + " of " + g.client
	switch {
	case len(g.peers) == 1:
		what += " ÷ " + g.peers[0]
	case len(g.peers) > 1:
		what += " ÷ the best of " + strings.Join(g.peers, ", ")
	}
	return []string{what, wanted, fmt.Sprintf("%.2f", got), verdict}
}
