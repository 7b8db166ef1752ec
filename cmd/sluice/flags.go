package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-kafka/sluice/internal/suggest"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// connection holds the flags that several commands have: where to, and how.
type connection struct {
	brokers        string
	topic          string
	partitions     int
	acks           string
	compression    string
	idempotent     bool
	files          list
	config         list
	connectTimeout time.Duration
	verbose        bool
}

const (
	defaultTopic      = "sluice"
	defaultPartitions = 4

	// brokersVariable stands for -brokers where that is not given.
	brokersVariable = "SLUICE_BROKERS"
	defaultPort     = "9092"

	defaultConnectTimeout = 10 * time.Second
)

// registerCluster registers the flags of a command that does not write.
func (c *connection) registerCluster(fs *flag.FlagSet) {
	fs.StringVar(&c.brokers, "brokers", "", "`host:port,...` of the cluster (default $"+brokersVariable+")")
	fs.StringVar(&c.topic, "topic", "", "`topic` to look at")
	c.registerSettings(fs)
}

func (c *connection) registerSettings(fs *flag.FlagSet) {
	fs.Var(&c.files, "F", "`file` of settings by Kafka's names, as .properties; repeated, the last wins (default $SLUICE_CONFIG,\n"+
		"or $KCAT_CONFIG in kcat's form); -config wins over it")
	fs.Var(&c.config, "config", "`name=value`, repeated: a field of sarama.Config such as Producer.Retry.Max=10,\n"+
		"or Kafka's own name such as linger.ms=20; flags win over it")
	fs.DurationVar(&c.connectTimeout, "connect-timeout", defaultConnectTimeout, "`duration` until a command gives up on brokers that don't answer")
	fs.BoolVar(&c.verbose, "v", false, "show the client's log on stderr")
}

func (c *connection) register(fs *flag.FlagSet) {
	fs.StringVar(&c.brokers, "brokers", "", "`host:port,...` of the cluster (default $"+brokersVariable+"); without it an embedded one is started")
	fs.StringVar(&c.topic, "topic", "", "`topic` to write to; needed with -brokers, else "+defaultTopic+" by default")
	fs.IntVar(&c.partitions, "partitions", defaultPartitions, "`number` of partitions of the embedded cluster's topic")
	fs.StringVar(&c.acks, "acks", "", "wait for `none|leader|all` of the replicas (default all)")
	fs.StringVar(&c.compression, "compression", "", "`none|gzip|snappy|lz4|zstd` (default lz4)")
	fs.BoolVar(&c.idempotent, "idempotent", false, "write without duplicates under retries; needs -acks all")
	c.registerSettings(fs)
}

// embedded tells whether the command brings its own cluster.
func (c *connection) embedded() bool { return c.brokers == "" }

// settle checks the flags against each other, fills in what depends on others, and returns the producer's settings.
func (c *connection) settle(given map[string]bool) (*settings, error) {
	s, err := c.settleCluster(given)
	if err != nil {
		return nil, err
	}
	if c.embedded() {
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
		return nil, notATopic(c.topic)
	}
	return s, nil
}

// settleCluster is settle for a command that does not write. If no flag names the brokers, the settings
// do (bootstrap.servers), or else the environment.
func (c *connection) settleCluster(given map[string]bool) (*settings, error) {
	if c.brokers == "" && given["brokers"] {
		return nil, usagef("-brokers is empty")
	}
	if c.connectTimeout <= 0 {
		return nil, usagef("-connect-timeout %v is not above 0", c.connectTimeout)
	}
	s, err := c.settings(given)
	if err != nil {
		return nil, err
	}
	c.brokers = cmp.Or(c.brokers, s.Brokers, os.Getenv(brokersVariable))
	return s, nil
}

func notATopic(name string) error {
	return usagef("-topic %q is not a topic's name: 1 to 249 letters, digits, '.', '_' and '-'", name)
}

// settings are what -config and the flags set.
func (c *connection) settings(given map[string]bool) (*settings, error) {
	s := newSettings()
	if err := s.setFiles(c.files); err != nil {
		return nil, err
	}
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
	if !s.Given["Metadata.Timeout"] {
		s.Conf.Metadata.Timeout = c.connectTimeout // else a producer may take minutes to be made
	}
	if err := s.Finish(); err != nil {
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
			addr = net.JoinHostPort(addr, defaultPort)
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, usagef("-brokers %q is not host:port", addr)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, usagef("-brokers %q: %q is not a port's number", addr, port)
		}
		out = append(out, addr)
	}
	if len(out) == 0 {
		return nil, usagef("-brokers %q names no broker", c.brokers)
	}
	return out, nil
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
//
// kcat's spelling of a flag counts as the flag itself.
func parse(fs *flag.FlagSet, args []string, out io.Writer, help, examples string) (operands []string, given map[string]bool, err error) {
	registerSpellings(fs)
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
	fs.Visit(func(f *flag.Flag) { given[cmp.Or(kcatSpelling[f.Name], f.Name)] = true })
	return operands, given, nil
}

func printHelp(fs *flag.FlagSet, out io.Writer, help, examples string) {
	io.WriteString(out, help+"\nFlags:\n")
	shown := flag.NewFlagSet("", flag.ContinueOnError)
	shown.SetOutput(out)
	var short []string
	fs.VisitAll(func(f *flag.Flag) {
		if long, ok := kcatSpelling[f.Name]; ok {
			short = append(short, fmt.Sprintf("-%s (-%s)", f.Name, long))
			return
		}
		shown.Var(f.Value, f.Name, f.Usage)
		shown.Lookup(f.Name).DefValue = f.DefValue
	})
	shown.PrintDefaults()
	if len(short) > 0 {
		io.WriteString(out, "\nkcat's spelling works too: "+strings.Join(short, ", ")+".\n")
	}
	io.WriteString(out, "\n"+examples)
}

// badValue finds the parts of the flag package's message about a value.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value ("(?:[^"\\]|\\.)*") for (?:flag )?-(\S+): (.*)$`)

// explainValue says what the flag package's "parse error" means for the flag.
func explainValue(fs *flag.FlagSet, err error) error {
	parts := badValue.FindStringSubmatch(err.Error())
	if parts == nil {
		return err
	}
	reason := parts[3]
	if f, ok := fs.Lookup(parts[2]).Value.(flag.Getter); ok && reason == "parse error" {
		switch f.Get().(type) {
		case time.Duration:
			reason = "not a duration such as 5s or 20ms"
		case bool:
			reason = "neither true nor false"
		default:
			reason = "not a number"
		}
	}
	if reason == "value out of range" {
		reason = "too large"
	}
	return fmt.Errorf("-%s %s is %s", parts[2], parts[1], reason)
}

// explainFlag adds the flags that may have been meant to the flag package's message about an unknown one.
func explainFlag(fs *flag.FlagSet, err error) error {
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return explainValue(fs, err)
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) {
		if len(f.Name) > 1 {
			names = append(names, f.Name)
		}
	})
	if near := suggest.Nearest(name, names); len(near) > 0 {
		return fmt.Errorf("there is no flag -%s; did you mean -%s?", name, strings.Join(near, ", -"))
	}
	return fmt.Errorf("there is no flag -%s", name)
}
