package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/IBM/sarama"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// connection holds the flags that both commands have: where to, and how.
type connection struct {
	brokers     string
	topic       string
	partitions  int
	acks        string
	compression string
	idempotent  bool
	config      list
	verbose     bool
}

const (
	defaultTopic      = "sluice"
	defaultPartitions = 4
)

func (c *connection) register(fs *flag.FlagSet) {
	fs.StringVar(&c.brokers, "brokers", "", "`host:port,...` of the cluster; without it an embedded one is started")
	fs.StringVar(&c.topic, "topic", "", "`topic` to write to; needed with -brokers, else "+defaultTopic+" by default")
	fs.IntVar(&c.partitions, "partitions", defaultPartitions, "`number` of partitions of the embedded cluster's topic")
	fs.StringVar(&c.acks, "acks", "", "wait for `none|leader|all` of the replicas (default all)")
	fs.StringVar(&c.compression, "compression", "", "`none|gzip|snappy|lz4|zstd` (default lz4)")
	fs.BoolVar(&c.idempotent, "idempotent", false, "write without duplicates under retries; needs -acks all")
	fs.Var(&c.config, "config", "`name=value`, repeated: a field of sarama.Config such as Producer.Retry.Max=10,\n"+
		"or Kafka's own name such as linger.ms=20; flags win over it")
	fs.BoolVar(&c.verbose, "v", false, "show the client's log on stderr")
}

// embedded tells whether the command brings its own cluster.
func (c *connection) embedded() bool { return c.brokers == "" }

// settle checks the flags against each other, fills in what depends on others, and returns the producer's settings.
func (c *connection) settle(given map[string]bool) (*settings, error) {
	if c.embedded() {
		if given["brokers"] {
			return nil, usagef("-brokers is empty")
		}
		c.topic = cmp.Or(c.topic, defaultTopic)
		if c.partitions < 1 || c.partitions > 10_000 {
			return nil, usagef("-partitions %d is not between 1 and 10000", c.partitions)
		}
	} else if given["partitions"] {
		return nil, usagef("-partitions is for the embedded cluster; with -brokers the topic has what it has")
	}
	if c.topic == "" {
		return nil, usagef("-topic is missing")
	}
	if !legalTopic(c.topic) {
		return nil, usagef("-topic %q is not a topic's name: 1 to 249 letters, digits, '.', '_' and '-'", c.topic)
	}
	s := newSettings()
	for _, pair := range c.config {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("-config %q is not of the form name=value", pair)
		}
		if err := s.set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return nil, usagef("-config %s: %w", s.shown(name, value), err)
		}
	}
	if given["acks"] {
		if err := s.set("Producer.RequiredAcks", c.acks); err != nil {
			return nil, usagef("-acks: %w", err)
		}
	}
	if given["compression"] {
		if err := s.set("Producer.Compression", c.compression); err != nil {
			return nil, usagef("-compression: %w", err)
		}
	}
	if given["idempotent"] {
		if err := s.set("Producer.Idempotent", fmt.Sprint(c.idempotent)); err != nil {
			return nil, usagef("-idempotent: %w", err)
		}
	}
	if err := s.check(); err != nil {
		return nil, usageError{err}
	}
	return s, nil
}

func (c *connection) addrs() ([]string, error) {
	var out []string
	for addr := range strings.SplitSeq(c.brokers, ",") {
		if addr = strings.TrimSpace(addr); addr == "" {
			continue
		}
		if !strings.Contains(addr, ":") {
			return nil, usagef("-brokers %q has no port; brokers are given as host:port", addr)
		}
		out = append(out, addr)
	}
	if len(out) == 0 {
		return nil, usagef("-brokers %q names no broker", c.brokers)
	}
	return out, nil
}

// logTo sends the client's log to the console if -v asks for it, for the rest of the process: a client that was given up
// while it was connecting may still write to it.
func (c *connection) logTo(con *console) {
	if c.verbose {
		sarama.Logger = log.New(con, "", log.LstdFlags|log.Lmicroseconds)
	}
}

// legalTopic is the broker's rule for topic names; checking it here tells a slip before a connection is made.
func legalTopic(name string) bool {
	if name == "." || name == ".." || len(name) > 249 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return false
		}
		return true
	})
}

// parse parses flags and operands in any order; after "--" all are operands. It returns the operands
// and the names of the flags that were given. For -h it writes the help to out and returns flag.ErrHelp.
func parse(fs *flag.FlagSet, args []string, out io.Writer, help, examples string) (operands []string, given map[string]bool, err error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				printHelp(fs, out, help, examples)
				return nil, nil, err
			}
			return nil, nil, usageError{explainFlag(fs, err)}
		}
		rest := fs.Args()
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			operands = append(operands, rest...)
			rest = nil
		}
		if len(rest) == 0 {
			break
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
	given = map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return operands, given, nil
}

func printHelp(fs *flag.FlagSet, out io.Writer, help, examples string) {
	io.WriteString(out, help+"\nFlags:\n")
	fs.SetOutput(out)
	fs.PrintDefaults()
	io.WriteString(out, "\n"+examples)
}

// explainFlag adds the flags that may have been meant to the flag package's message about an unknown one.
func explainFlag(fs *flag.FlagSet, err error) error {
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return err
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := nearest(name, names); len(near) > 0 {
		return fmt.Errorf("there is no flag -%s; did you mean -%s?", name, strings.Join(near, ", -"))
	}
	return fmt.Errorf("there is no flag -%s", name)
}
