package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// go-metrics starts one goroutine for the life of the process with the first meter.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		goleak.Cleanup(func(status int) {
			removeBuild()
			os.Exit(status)
		}),
	)
}

// A result is what a command leaves behind. stderr has neither embeddedNotice, of which notice tells whether it was there, nor
// that a broker is slow, as it may be beside other tests.
type result struct {
	stdout, stderr string
	notice         bool
	status         int
}

// lastLine is the last line on stdout.
func (r result) lastLine() string {
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	return lines[len(lines)-1]
}

var slowBroker = regexp.MustCompile(`sluice \w+: waiting for an answer of .*\n`)

// waited is what a command has told of while it connected.
var waited = regexp.MustCompile(`sluice \w+: connecting to .*\n`)

func execute(ctx context.Context, stdin io.Reader, args ...string) result {
	var stdout, stderr bytes.Buffer
	status := run(ctx, args, stdin, &stdout, &stderr)
	_, rest, notice := strings.Cut(stderr.String(), ": "+embeddedNotice+"\n") // which is the first line
	if !notice {
		rest = stderr.String()
	}
	return result{stdout.String(), slowBroker.ReplaceAllString(rest, ""), notice, status}
}

func TestCommands(t *testing.T) {
	tests := []struct {
		args   string
		status int
		stdout string // what it contains
		stderr string // what its only line contains
	}{
		{"", statusUsage, "", "which command?"},
		{"prodce", statusUsage, "", "did you mean produce?"},
		{"x", statusUsage, "", `there is no command "x" (`},
		{"-h", statusDone, "sluice produce README.md", ""},
		{"help", statusDone, "Exit status", ""},
		{"help produce", statusDone, "Usage: sluice produce", ""},
		{"help list", statusDone, "Usage: sluice list", ""},
		{"list -h", statusDone, "kcat's spelling works too: -J (-json)", ""},
		{"help perf", statusDone, "Usage: sluice perf", ""},
		{"help nothing", statusUsage, "", "there is no command"},
		{"produce -h", statusDone, "seq 1 1000000 | sluice produce", ""},
		{"perf --help", statusDone, "sluice perf -client sarama", ""},
		{"version", statusDone, "sluice ", ""},
		{"version -h", statusDone, "Go release", ""},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := execute(t.Context(), nil, strings.Fields(tt.args)...)
			if r.status != tt.status || !strings.Contains(r.stdout, tt.stdout) || !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
			}
			if want := min(1, len(tt.stderr)); strings.Count(r.stderr, "\n") != want {
				t.Errorf("stderr has not %d lines: %q", want, r.stderr)
			}
		})
	}
}

// TestWrongCommandLines shows that a wrong command line ends with one line that names what is wrong, before anything is
// started.
func TestWrongCommandLines(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{"produce -tpic t", "there is no flag -tpic; did you mean -topic?"},
		{"produce -x", "there is no flag -x ("},
		{"produce -topic", "flag needs an argument: -topic"},
		{"produce -partition one", `-partition "one" is not a number`},
		{"produce -partition 4", "-partition 4 is not a partition of sluice"},
		{"produce -partition -1", "-partition -1 is not"},
		{"produce -partition 4294967296 -brokers a:1 -topic t", "-partition 4294967296 is not"},
		{"produce -partitions 0", "-partitions 0 is not between"},
		{"produce -partitions 2 -brokers a:1 -topic t", "-partitions is for the embedded cluster"},
		{"produce -brokers a:9092", "-topic is missing"},
		{"produce -brokers= -topic t", "-brokers is empty"},
		{"produce -brokers , -topic t", "names no broker"},
		{"produce -brokers localhost:kafka -topic t", `"kafka" is not a port's number`},
		{"produce -brokers a:1:2 -topic t", `"a:1:2" is not host:port`},
		{"produce -brokers a:1 -topic t -connect-timeout 0s", "-connect-timeout 0s is not above 0"},
		{"produce -key-separator \\q", `there is no escape \q`},
		{"produce -key-separator \\x4", `needs two hexadecimal digits`},
		{"produce -delimiter=", "-delimiter is empty"},
		{"produce -json -key-separator :", "-json and -key-separator exclude each other"},
		{"produce -whole-files -delimiter ;", "-whole-files and -delimiter exclude each other"},
		{"produce -count 0", "-count 0 is not above 0"},
		{"produce -count 1x", `-count "1x" is not a number such as 500, 10k or 1M`},
		{"produce -rate -1", "-rate -1 is not between"},
		{"produce -create 6:x", `-create "6:x" is not partitions:replicas such as 6:3`},
		{"produce -create 6 -partitions 3", "-create and -partitions exclude each other"},
		{"list", "which cluster? -brokers or SLUICE_BROKERS tells"},
		{"list -brokers a:1 b", `"b" is one word too many`},
		{"list -brokers a:1 -topic a/b", `is not a topic's name`},
		{"-C -b localhost -t t", "-C: sluice writes only (-P) and lists (-L)"},
		{"-P -b localhost -t", "-t needs a value"},
		{"-P -y", "there is no option -y"},
		{"produce -topic a/b", `-topic "a/b" is not a topic's name`},
		{"produce -topic ..", `-topic ".." is not a topic's name`},
		{"produce -header x", `-header "x" is not of the form name=value`},
		{"produce -header =x", `-header "=x" is not of the form name=value`},
		{"produce -key-separator=", "-key-separator is empty"},
		{"produce -acks some", `-acks: "some" is not one of none, leader, all`},
		{"produce -compression lzma", `-compression: "lzma" is not one of none, gzip`},
		{"produce -config linger", `-config "linger" is not of the form name=value`},
		{"produce -config linger.mx=5", "there is no setting linger.mx; did you mean linger.ms?"},
		{"produce -config Producer.Flush.Frequncy=5ms", "did you mean Producer.Flush.Frequency?"},
		{"produce -config frequency=5ms", "did you mean Producer.Flush.Frequency"},
		{"produce -config Producer.MaxMessageBytes=0", "Producer.MaxMessageBytes"},
		{"produce -idempotent -acks leader", "Idempotent producer requires Producer.RequiredAcks"},
		{"produce -config Producer.Transaction.ID=x -idempotent", "Producer.Transaction.ID (transactional.id) is for perf"},
		{"produce -config ConnectionsMaxIdle=0s", "ConnectionsMaxIdle (connections.max.idle.ms) is 0"},
		{"produce -config Version=0.10.2.0 -config ApiVersionsRequest=false", "Version 0.10.2.0 is below 0.11"},
		{"perf -client kafka", `-client "kafka" is not one of sluice, sarama, franz-go`},
		{"perf -compare kafka", `-compare "kafka" is not one of sluice, sarama, franz-go`},
		{"perf -compare sarama -records 0", "there would be no second round"},
		{"perf -rounds 0", "-rounds 0 is not between"},
		{"perf -warmup -1", "-warmup -1 is below 0"},
		{"perf -keys -1", "-keys -1 is not between"},
		{"perf -report=", "-report is empty"},
		{"perf -records -1", "-records -1 is below 0"},
		{"perf -size -1", "-size -1 is below 0"},
		{"perf -size 2000000", "-size 2000000 is above Producer.MaxMessageBytes"},
		{"perf -rate -5", "-rate -5 is not between"},
		{"perf -rate NaN", "-rate NaN is not between"},
		{"perf -linger -1s", "-linger -1s is below 0"},
		{"perf -size 5 -payload-file f", "-payload-file and -size exclude each other"},
		{"perf -transactional-id=", "-transactional-id is empty"},
		{"perf -transactional-id x -transaction-duration 0s", "-transaction-duration 0s is not above 0"},
		{"perf -transaction-duration -1s", "-transaction-duration -1s is not above 0"},
		{"perf -transaction-duration 100", `-transaction-duration "100" is not a duration such as 5s or 20ms`},
		{"perf -transactional-id x -acks leader", "Idempotent producer requires Producer.RequiredAcks"},
		{"perf -transactional-id x -config Producer.Idempotent=false", "Transactional producer requires Idempotent"},
		{"perf extra", `"extra" is one word too many`},
		{"perf -header a=b", "there is no flag -header"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := execute(t.Context(), strings.NewReader("x\n"), strings.Fields(tt.args)...)
			if r.status != statusUsage || r.stdout != "" {
				t.Errorf("status %d, stdout %q", r.status, r.stdout)
			}
			if !strings.Contains(r.stderr, tt.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("stderr %q, want one line with %q", r.stderr, tt.want)
			}
		})
	}
}

func TestParseTakesOperandsAnywhere(t *testing.T) {
	f, err := parseProduce([]string{"a", "-topic", "t", "b", "-key-separator", ":", "--", "-c", "d"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.files, " "); got != "a b -c d" || f.topic != "t" || f.separator != ":" {
		t.Errorf("files %q, topic %q, separator %q", got, f.topic, f.separator)
	}
}

// beyondInterrupt is stderr without the answer to a signal, which there is if something was outstanding at that moment.
func beyondInterrupt(stderr string) string {
	return regexp.MustCompile(`(?m)^sluice \w+: interrupted: waiting for \d+ outstanding records? \(interrupt again to end at once\)\n`).ReplaceAllString(stderr, "")
}
