package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var finalLine = regexp.MustCompile(`^(\d+) records sent, [0-9.]+ records/s \([0-9.]+ MB/s\)(, \d+ failed)?, ` +
	`[0-9.]+ ms avg, [0-9.]+ ms p50, [0-9.]+ ms p95, [0-9.]+ ms p99, [0-9.]+ ms p99\.9, [0-9.]+ ms max latency$`)

func wantFinal(t *testing.T, r result, sent, failed string) {
	t.Helper()
	m := finalLine.FindStringSubmatch(r.lastLine())
	if m == nil || m[1] != sent || m[2] != failed {
		t.Errorf("final line %q, want %s sent%s; stderr %q", r.lastLine(), sent, failed, r.stderr)
	}
}

func TestPerf(t *testing.T) {
	for _, args := range []string{
		"-records 5000",
		"-records 5000 -client sarama",
		"-records 5k -client franz-go",
		"-records 5000 -size 0 -linger 1ms -acks leader",
		"-records 500 -rate 5000 -partitions 1 -compression none",
		"-records 5000 -payload-file " + writeFile(t, "one\ntwo\n\nthree"),
	} {
		t.Run(args, func(t *testing.T) {
			r := execute(t.Context(), nil, append([]string{"perf"}, strings.Fields(args)...)...)
			want := "5000"
			if strings.Contains(args, "-records 500 ") {
				want = "500"
			}
			wantFinal(t, r, want, "")
			if r.status != statusDone || r.stderr != "" {
				t.Errorf("status %d, stderr %q", r.status, r.stderr)
			}
		})
	}
}

func TestPerfWritesTheRecords(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	r := execute(t.Context(), nil, "perf", "-brokers", addrs, "-topic", "t", "-records", "7", "-payload-file", writeFile(t, "one\ntwo\n\nthree"))
	wantFinal(t, r, "7", "")
	var got []string
	for _, rec := range records(t, cluster, "t")[0] {
		got = append(got, string(rec.Value))
	}
	if strings.Join(got, " ") != "one two three one two three one" {
		t.Errorf("%q", got)
	}
}

func TestPerfInterrupted(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancel(t.Context())
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt()
		return nil, nil, false
	})
	r := execute(ctx, nil, "perf", "-brokers", addrs, "-topic", "t", "-records", "1000000000", "-rate", "1000")
	if !finalLine.MatchString(r.lastLine()) || r.status != statusFailed || !strings.Contains(r.stderr, "of 1000000000 records") {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
}

func TestPerfWithoutAnEndIsDoneWhenInterrupted(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancel(t.Context())
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt()
		return nil, nil, false
	})
	r := execute(ctx, nil, "perf", "-brokers", addrs, "-topic", "t", "-records", "0", "-rate", "1000")
	if !finalLine.MatchString(r.lastLine()) || r.status != statusDone || beyondInterrupt(r.stderr) != "" {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
}

func TestPerfCountsFailures(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	r := execute(t.Context(), nil, "perf", "-brokers", addrs, "-topic", "t", "-records", "100")
	wantFinal(t, r, "0", ", 100 failed")
	if r.status != statusFailed || strings.Count(r.stderr, "\n") != shownPerCause+1 || !strings.Contains(r.stderr, "and 97 more: ") {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

func TestPerfNamesWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-payload-file missing-file":                                                                           "missing-file: no such file or directory",
		"-payload-file " + writeFile(t, "\n\n"):                                                                "holds no line to send",
		"-payload-file " + writeFile(t, strings.Repeat("x", 2<<20)):                                            "input:1: ",
		"-brokers 127.0.0.1:1 -topic t":                                                                        "127.0.0.1:1",
		"-brokers 127.0.0.1:1 -topic t -client sarama -records 1000":                                           "127.0.0.1:1",
		"-brokers 127.0.0.1:1 -topic t -client franz-go -config Net.DialTimeout=1s -config Net.ReadTimeout=1s": "127.0.0.1:1",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r := execute(t.Context(), nil, append([]string{"perf"}, strings.Fields(args)...)...)
			if r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, want) || strings.Count(waited.ReplaceAllString(r.stderr, ""), "\n") != 1 {
				t.Errorf("status %d, stdout %q, stderr %q, want one line with %q", r.status, r.stdout, r.stderr, want)
			}
		})
	}
}
