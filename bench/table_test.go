package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func results(client string, elapsed ...time.Duration) []result {
	var all []result
	for _, e := range elapsed {
		all = append(all, result{
			Client: client, Records: 1000, Sent: 1100, Elapsed: e, CPU: e / 2, Mallocs: 3000, OwnMallocs: 2000,
			Commits: 10, CommitP50: e / 2000, CommitP99: e / 200,
			Bytes: 50_000, PeakMemory: 8 << 20, IdleMemory: 1 << 19, SinkCPU: 1100 * 25, P50: e / 1000, P99: e / 100,
		})
	}
	return all
}

func TestReport(t *testing.T) {
	// A slow round of each: the median is the middle, not the mean.
	all := append(results("sarama", 4*time.Millisecond, 90*time.Millisecond, 5*time.Millisecond),
		results("franz-go", time.Millisecond, 2*time.Millisecond, 50*time.Millisecond)...)
	for _, test := range []struct {
		markdown bool
		want     string
	}{
		{true, `
| client | records/s | lowest–highest | CPU ns/record | allocs/record | user's own | bytes/record | peak MiB | idle MiB | sink ns/record |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| sarama | 200 k | 11 k–250 k | 2500 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 |
| franz-go | 500 k | 20 k–1.00 M | 1000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 |

| client | records/s ÷ sarama | records/s ÷ franz-go | CPU ÷ sarama | CPU ÷ franz-go | allocs ÷ sarama | allocs ÷ franz-go | peak memory ÷ sarama | peak memory ÷ franz-go |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
| sarama | 1.00 | 0.40 | 1.00 | 2.50 | 1.00 | 1.00 | 1.00 | 1.00 |
| franz-go | 2.50 | 1.00 | 0.40 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |
`},
		{false, `
client    records/s  lowest–highest  CPU ns/record  allocs/record  user's own  bytes/record  peak MiB  idle MiB  sink ns/record
sarama    200 k      11 k–250 k      2500           3.00           2.00        50            8         0.5       25
franz-go  500 k      20 k–1.00 M     1000           3.00           2.00        50            8         0.5       25

client    records/s ÷ sarama  records/s ÷ franz-go  CPU ÷ sarama  CPU ÷ franz-go  allocs ÷ sarama  allocs ÷ franz-go  peak memory ÷ sarama  peak memory ÷ franz-go
sarama    1.00                0.40                  1.00          2.50            1.00             1.00               1.00                  1.00
franz-go  2.50                1.00                  0.40          1.00            1.00             1.00               1.00                  1.00
`},
	} {
		var out bytes.Buffer
		if err := report(&out, settings{Clients: []string{"sarama", "franz-go"}, Markdown: test.markdown}, all); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != test.want {
			t.Errorf("report is\n%s\nwant\n%s", got, test.want)
		}
	}
}

func TestReportOfSyncClients(t *testing.T) {
	var out bytes.Buffer
	s := settings{Clients: []string{"channels", "sarama-sync"}, Markdown: true}
	all := append(results("channels", time.Second), results("sarama-sync", 2*time.Second, 4*time.Second)...)
	if err := report(&out, s, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| p50 | p99 |\n",
		"| channels | 1000 | 1000–1000 | 500000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 |  |  |\n",
		"| sarama-sync | 375 | 250–500 | 1500000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 | 3ms | 30ms |\n",
		"| peak memory ÷ sarama-sync | p50 ÷ sarama-sync | p99 ÷ sarama-sync |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestReportOfTransactions(t *testing.T) {
	var out bytes.Buffer
	s := settings{Clients: []string{"sluice", "sluice-txn", "franz-go-txn-sync", "sluice-txn-sync"}, Markdown: true}
	var all []result
	for i, name := range s.Clients {
		all = append(all, results(name, time.Duration(1<<i)*time.Second)...)
	}
	if err := report(&out, s, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| sink ns/record | p50 | p99 | transactions/s | commit p50 | commit p99 |\n",
		"| sluice | 1000 | 1000–1000 | 500000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 |  |  |  |  |  |\n",
		"| sluice-txn | 500 | 500–500 | 1000000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 |  |  | 5.0 | 1ms | 10ms |\n",
		"| sluice-txn-sync | 125 | 125–125 | 4000000 | 3.00 | 2.00 | 50 | 8 | 0.5 | 25 | 8ms | 80ms | 1.2 | 4ms | 40ms |\n",
		"| client | records/s ÷ sluice | CPU ÷ sluice | allocs ÷ sluice | peak memory ÷ sluice |\n|---|---:|---:|---:|---:|\n" +
			"| sluice-txn | 0.50 | 2.00 | 1.00 | 1.00 |\n",
		"| commit p50 ÷ franz-go-txn-sync | commit p99 ÷ franz-go-txn-sync |\n",
		"| sluice-txn-sync | 0.50 | 2.00 | 1.00 | 1.00 | 2.00 | 2.00 | 2.00 | 2.00 |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestPeersOfSyncClients: those that ran, in a fixed order, whatever the order of the clients.
func TestPeersOfSyncClients(t *testing.T) {
	names := []string{"frame-sync", "sluice-sync", "franz-go-sync", "sarama-sync"}
	runs := make(map[string][]result)
	for i, name := range names {
		runs[name] = results(name, time.Duration(i+1)*time.Second)
	}
	rows := ratios(settings{Clients: names}, runs, "sync", peersOf("sync"))
	if got, want := strings.Join(rows[0][len(rows[0])-6:], " | "), "p50 ÷ sarama-sync | p50 ÷ franz-go-sync | p50 ÷ frame-sync | "+
		"p99 ÷ sarama-sync | p99 ÷ franz-go-sync | p99 ÷ frame-sync"; got != want {
		t.Errorf("the last columns are %s, want %s", got, want)
	}
	if got, want := strings.Join(rows[2][len(rows[2])-6:], " "), "0.50 0.67 2.00 0.50 0.67 2.00"; rows[2][0] != "sluice-sync" || got != want {
		t.Errorf("row of %s ends with %s, want %s", rows[2][0], got, want)
	}
	delete(runs, "frame-sync")
	if head := strings.Join(ratios(settings{Clients: names}, runs, "sync", peersOf("sync"))[0], " "); strings.Contains(head, "frame-sync") {
		t.Errorf("a peer that did not run has columns: %s", head)
	}
}

func TestRatio(t *testing.T) {
	for _, test := range []struct {
		a, b float64
		want string
	}{{3, 2, "1.50"}, {0, 2, "0.00"}, {3, 0, "–"}, {3, 0.001, "–"}, {0.01, 0.01, "1.00"}} {
		if got := ratio(test.a, test.b); got != test.want {
			t.Errorf("ratio(%v, %v) = %s, want %s", test.a, test.b, got, test.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		elapsed []time.Duration
		want    float64
	}{
		{[]time.Duration{time.Second}, 500_000},
		{[]time.Duration{4 * time.Second, 2 * time.Second}, 1_500_000},
		{[]time.Duration{9 * time.Second, 2 * time.Second, time.Second}, 1_000_000},
	} {
		if got := median(results("x", test.elapsed...), result.cpu); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.elapsed, got, test.want)
		}
	}
}

func TestPayload(t *testing.T) {
	for _, kind := range payloads {
		for _, size := range []int{0, 1, 100, 5000} {
			a, b := newPayload(kind, size, false, []string{"x", "y"}), newPayload(kind, size, false, []string{"x", "y"})
			for i := range 5000 {
				if len(a.value(i)) != size || !bytes.Equal(a.value(i), b.value(i)) {
					t.Fatalf("%s: value %d has %d bytes, or differs from run to run", kind, i, len(a.value(i)))
				}
			}
			if size >= 100 && kind != "zero" && bytes.Equal(a.value(0), a.value(1)) {
				t.Errorf("%s: values are equal", kind)
			}
			if a.topic(0) != "x" || a.topic(1) != "y" || a.topic(2) != "x" {
				t.Errorf("topics do not go round")
			}
		}
	}
}

// peersOf are a group's.
func peersOf(group string) []string {
	for _, p := range peers {
		if p.group == group {
			return p.names
		}
	}
	return nil
}
