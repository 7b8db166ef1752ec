package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startBroker starts a cluster that ends with the test.
func startBroker(t *testing.T, topic string, partitions int32) (*kfake.Cluster, string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, strings.Join(cluster.ListenAddrs(), ",")
}

// records reads all that the topic holds, by partition.
func records(t *testing.T, cluster *kfake.Cluster, topic string) map[int32][]*kgo.Record {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	out := map[int32][]*kgo.Record{}
	for n := written(cluster, topic); n > 0; {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out[r.Partition] = append(out[r.Partition], r)
			n--
		})
	}
	return out
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantReport holds the last line on stdout against the documented form.
func wantReport(t *testing.T, r result, want string) {
	t.Helper()
	pattern := regexp.QuoteMeta(want)
	pattern = strings.ReplaceAll(pattern, "BYTES", `[0-9.]+ [kMG]?B`)
	pattern = strings.ReplaceAll(pattern, "SECONDS", `[0-9]+\.[0-9][0-9]`)
	pattern = strings.ReplaceAll(pattern, "RATE", `[0-9]+`)
	if !regexp.MustCompile("^" + pattern + "$").MatchString(r.lastLine()) {
		t.Errorf("last line %q, want %q; stderr %q", r.lastLine(), want, r.stderr)
	}
}

func TestProduceEmbedded(t *testing.T) {
	var numbers strings.Builder
	for i := range 20_000 {
		fmt.Fprintln(&numbers, i)
	}
	file := writeFile(t, "from a file\nwithout a line feed")
	tests := []struct {
		name  string
		args  []string
		stdin string
		want  string
	}{
		{"standard input", []string{"-partition", "1"}, "a\n\nb", "delivered 3 of 3 messages to sluice (1 partition), 2 B, SECONDS s, RATE messages/s; read back 3"},
		{"nothing", nil, "", "delivered 0 of 0 messages to sluice (0 partitions), 0 B, SECONDS s, RATE messages/s; read back 0"},
		{"files and standard input", []string{"-topic", "t", "-partition", "0", file, "-", file}, "between\n", "delivered 5 of 5 messages to t (1 partition), BYTES, SECONDS s, RATE messages/s; read back 5"},
		{"keys by hash", []string{"-partitions", "2", "-key-separator", ":"}, "a:1\nb:2\nc:3\nd:4\ne:5\nf:6\n", "delivered 6 of 6 messages to sluice (2 partitions), 12 B, SECONDS s, RATE messages/s; read back 6"},
		{"many", []string{"-header", "a=b", "-header", "c=", "-config", "Producer.Partitioner=round-robin"}, numbers.String(), "delivered 20000 of 20000 messages to sluice (4 partitions), 88.9 kB, SECONDS s, RATE messages/s; read back 20000"},
		{"acks none", []string{"-acks", "none", "-partition", "0"}, "a\nb\n", "delivered 2 of 2 messages to sluice (1 partition), 2 B, SECONDS s, RATE messages/s; read back 2"},
		{"acks leader", []string{"-acks", "leader", "-partition", "0"}, "a\nb\n", "delivered 2 of 2 messages to sluice (1 partition), 2 B, SECONDS s, RATE messages/s; read back 2"},
		{"idempotent", []string{"-idempotent", "-partition", "0"}, "a\nb\n", "delivered 2 of 2 messages to sluice (1 partition), 2 B, SECONDS s, RATE messages/s; read back 2"},
		{"a long line", []string{"-partition", "0"}, strings.Repeat("x", 900_000) + "\ny", "delivered 2 of 2 messages to sluice (1 partition), 900.0 kB, SECONDS s, RATE messages/s; read back 2"},
		{"a larger limit", []string{"-partition", "0", "-config", "max.request.size=3000000", "-compression", "none"}, strings.Repeat("x", 2_500_000), "delivered 1 of 1 message to sluice (1 partition), 2.5 MB, SECONDS s, RATE messages/s; read back 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := execute(t.Context(), strings.NewReader(tt.stdin), append([]string{"produce"}, tt.args...)...)
			wantReport(t, r, tt.want)
			if r.status != statusDone || r.stderr != "" || !r.notice {
				t.Errorf("status %d, stderr %q", r.status, r.stderr)
			}
		})
	}
	// A single partition keeps a full window of batches beside the one that fills up.
	t.Run("one partition", func(t *testing.T) {
		lines := strings.Repeat("a line of text that compresses well\n", 200_000)
		r := execute(t.Context(), strings.NewReader(lines), "produce", "-partitions", "1", "-config", "delivery.timeout.ms=60000")
		wantReport(t, r, "delivered 200000 of 200000 messages to sluice (1 partition), 7.0 MB, SECONDS s, RATE messages/s; read back 200000")
		if r.status != statusDone || r.stderr != "" {
			t.Errorf("status %d, stderr %q", r.status, r.stderr)
		}
	})
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			r := execute(t.Context(), strings.NewReader(numbers.String()), "produce", "-compression", codec, "-config", "Producer.Partitioner=round-robin")
			wantReport(t, r, "delivered 20000 of 20000 messages to sluice (4 partitions), 88.9 kB, SECONDS s, RATE messages/s; read back 20000")
			if r.status != statusDone || r.stderr != "" {
				t.Errorf("status %d, stderr %q", r.status, r.stderr)
			}
		})
	}
}

func TestProduceWritesWhatTheLinesSay(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 3)
	r := execute(t.Context(), strings.NewReader("k1=v1\nno key\r\n=empty key\nk2=\nk3=a=b"),
		"produce", "-brokers", addrs, "-topic", "t", "-partition", "2", "-key-separator", "=", "-ignore-missing-key", "-header", "h=1=2", "-header", "e=")
	wantReport(t, r, "delivered 5 of 5 messages to t (1 partition), BYTES, SECONDS s, RATE messages/s")
	if r.status != statusDone {
		t.Fatalf("status %d, %s", r.status, r.stderr)
	}
	var got []string
	for _, rec := range records(t, cluster, "t")[2] {
		got = append(got, fmt.Sprintf("%q %v %q %s=%s %s=%s", rec.Key, rec.Key == nil, rec.Value,
			rec.Headers[0].Key, rec.Headers[0].Value, rec.Headers[1].Key, rec.Headers[1].Value))
	}
	want := []string{
		`"k1" false "v1" h=1=2 e=`,
		`"" true "no key\r" h=1=2 e=`,
		`"" false "empty key" h=1=2 e=`,
		`"k2" false "" h=1=2 e=`,
		`"k3" false "a=b" h=1=2 e=`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestProduceNamesWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"missing file", []string{missing}, missing + ": no such file or directory"},
		{"missing after a good one", []string{writeFile(t, "a\n"), missing}, missing},
		{"directory", []string{dir}, dir + " is a directory"},
		{"nobody listens", []string{"-brokers", "127.0.0.1:1", "-topic", "t", writeFile(t, "a\n")}, "127.0.0.1:1"},
		{"no such host", []string{"-brokers", "no-such-host.invalid", "-topic", "t", writeFile(t, "a\n")}, "no-such-host.invalid:9092: no such host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := execute(t.Context(), strings.NewReader("x\n"), append([]string{"produce"}, tt.args...)...)
			if r.status != statusFailed || r.stdout != "" {
				t.Errorf("status %d, stdout %q", r.status, r.stdout)
			}
			// What is waited for may be told before.
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, tt.want) || len(lines) > 2 {
				t.Errorf("stderr %q, want %q in the last line", r.stderr, tt.want)
			}
		})
	}
}

func TestProduceCountsFailures(t *testing.T) {
	t.Run("lines over the limit", func(t *testing.T) {
		input := "ok\n" + strings.Repeat("12345678\n", 5) + "ok\n"
		r := execute(t.Context(), strings.NewReader(input), "produce", "-partition", "0", "-config", "Producer.MaxMessageBytes=1000000")
		wantReport(t, r, "delivered 7 of 7 messages to sluice (1 partition), 44 B, SECONDS s, RATE messages/s; read back 7")

		long := strings.Repeat("x", 1_000_001)
		r = execute(t.Context(), strings.NewReader("ok\n"+strings.Repeat(long+"\n", 5)+"ok\n"), "produce", "-partition", "0", "-config", "Producer.MaxMessageBytes=1000000")
		wantReport(t, r, "delivered 2 of 7 messages to sluice (1 partition), 4 B, SECONDS s, RATE messages/s; read back 2")
		if r.status != statusFailed || strings.Count(r.stderr, "\n") != shownPerCause+1 ||
			!strings.Contains(r.stderr, "sluice produce: stdin:2: ") || !strings.Contains(r.stderr, "1000001 bytes, at most 1000000") || !strings.Contains(r.stderr, "and 2 more: ") {
			t.Errorf("status %d, stderr %s", r.status, r.stderr)
		}
	})
	t.Run("refused by the broker", func(t *testing.T) {
		cluster, addrs := startBroker(t, "t", 1)
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		r := execute(t.Context(), strings.NewReader(strings.Repeat("x\n", 100)), "produce", "-brokers", addrs, "-topic", "t")
		wantReport(t, r, "delivered 0 of 100 messages to t (0 partitions), 0 B, SECONDS s, RATE messages/s")
		if r.status != statusFailed || strings.Count(r.stderr, "\n") != shownPerCause+1 || !strings.Contains(r.stderr, "and 97 more: ") || !strings.Contains(r.stderr, "authoriz") {
			t.Errorf("status %d, stderr %s", r.status, r.stderr)
		}
	})
}

// TestInterruptDeliversWhatWasRead shows that a reader that waits for input does not hold up the end, and that nothing
// that was read is lost.
func TestInterruptDeliversWhatWasRead(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	defer out.Close()
	go func() {
		io.WriteString(out, strings.Repeat("line\n", 1000)+"unfinished")
		// A second write returns when the reader asks for more, so that all lines have been handed over.
		io.WriteString(out, " still")
		interrupt()
	}()
	r := execute(ctx, in, "produce", "-partition", "0")
	wantReport(t, r, "delivered 1000 of 1000 messages to sluice (1 partition), 4.0 kB, SECONDS s, RATE messages/s; read back 1000")
	if r.status != statusDone || !strings.Contains(r.stderr, "interrupted: ") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

// TestInterruptBeforeAFileIsAFailure shows that lines of a file that nobody came to read count as not delivered.
func TestInterruptBeforeAFileIsAFailure(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	defer out.Close()
	go func() {
		io.WriteString(out, "line\n")
		io.WriteString(out, "unfinished")
		interrupt()
	}()
	r := execute(ctx, in, "produce", "-partition", "0", "-", writeFile(t, "a\n"))
	wantReport(t, r, "delivered 1 of 1 message to sluice (1 partition), 4 B, SECONDS s, RATE messages/s; read back 1")
	if r.status != statusFailed || !strings.Contains(r.stderr, "the input was not read to its end") {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

// TestInterruptWhileConnecting shows that a constructor that hangs does not hold up the end.
func TestInterruptWhileConnecting(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancel(t.Context())
	cluster.ControlKey(-1, func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		interrupt()
		return nil, nil, true // never answered
	})
	r := execute(ctx, strings.NewReader("x\n"), "produce", "-brokers", addrs, "-topic", "t", "-config", "Net.ReadTimeout=100ms", "-config", "Metadata.Retry.Max=0")
	if r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, "interrupted while connecting") {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
}
