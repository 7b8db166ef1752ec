package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice/bench/sink"
)

// TestMain is also the children's main: the test binary starts itself as the program does.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && (os.Args[1] == sinkCommand || os.Args[1] == runCommand) {
		os.Exit(bench(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// program runs the program and returns its exit status and what it wrote.
func program(args ...string) (status int, out, problems string) {
	var o, p bytes.Buffer
	status = bench(args, strings.NewReader(""), &o, &p)
	return status, o.String(), p.String()
}

// TestEveryClient sends a few records with each client through the whole program; that the sink has as many as were
// sent is checked by the program itself.
func TestEveryClient(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			status, out, problems := program("-clients", k.name, "-records", "2000", "-rounds", "1", "-partitions", "3", "-topics", "2")
			if status != 0 {
				t.Fatalf("status %d: %s", status, problems)
			}
			if !strings.Contains(out, "\n"+k.name+" ") {
				t.Errorf("the table has no row for %s:\n%s", k.name, out)
			}
		})
	}
}

// TestOddNumbers: no record is lost or doubled where neither calls nor goroutines divide the records or the warm-up's.
func TestOddNumbers(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			status, _, problems := program("-clients", k.name, "-records", "8005", "-rounds", "1", "-partitions", "3",
				"-senders", "3", "-call", "7", "-goroutines", "3")
			if status != 0 {
				t.Errorf("status %d: %s", status, problems)
			}
		})
	}
}

// TestSettingsReachEveryClient: a codec and idempotence that a client did not take would show as an error of the
// client or of the sink; a delay that was not waited for, in the time that the run took.
func TestSettingsReachEveryClient(t *testing.T) {
	for _, k := range kinds {
		if k.name == "channels" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			args := []string{"-clients", k.name, "-records", "100", "-compression", "zstd", "-payload", "random", "-delay", "50ms"}
			if !k.notIdempotent {
				args = append(args, "-idempotent")
			}
			s, err := parse(args, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := once(t.Context(), s, k.name, 1)
			if err != nil {
				t.Fatal(err)
			}
			if res.Elapsed < s.Delay {
				t.Errorf("%d records took %v, less than the delay of one answer", res.Records, res.Elapsed)
			}
			if res.Sent != 110 || res.Records != 100 || res.CPU <= 0 || res.Mallocs < res.OwnMallocs/2 || res.PeakMemory < 1<<20 || res.IdleMemory < 0 || res.IdleMemory > res.PeakMemory {
				t.Errorf("result is %+v", res)
			}
			if k.sync && (res.P50 < s.Delay || res.P99 < res.P50) {
				t.Errorf("p50 %v, p99 %v, with answers after %v", res.P50, res.P99, s.Delay)
			}
			// Every answer is late, that to the last record as well as that to the commit.
			if k.transactional != (res.Commits > 0) || k.transactional && (res.CommitP50 < s.Delay || res.CommitP99 < res.CommitP50) {
				t.Errorf("%d commits, p50 %v, p99 %v", res.Commits, res.CommitP50, res.CommitP99)
			}
		})
	}
}

func TestProfile(t *testing.T) {
	dir := t.TempDir()
	if status, _, problems := program("-clients", "channels", "-records", "1000", "-rounds", "1", "-cpuprofile", dir); status != 0 {
		t.Fatalf("status %d: %s", status, problems)
	}
	if info, err := os.Stat(dir + "/channels-1.pprof"); err != nil || info.Size() == 0 {
		t.Errorf("no profile: %v", err)
	}
}

func TestTimeoutEndsRun(t *testing.T) {
	status, _, problems := program("-clients", "franz-go", "-records", "1000", "-delay", "1h", "-timeout", "300ms")
	if status != 1 || !strings.Contains(problems, "round 1, franz-go: not done after 300ms (-timeout)") {
		t.Errorf("status %d: %s", status, problems)
	}
}

func TestInterruptEndsRun(t *testing.T) {
	s, err := parse([]string{"-clients", "franz-go", "-records", "1000", "-delay", "1h"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := rounds(ctx, s, os.Stderr); err != context.DeadlineExceeded {
		t.Errorf("rounds returns %v", err)
	}
}

// TestCountMustAgree gives a client a target whose count is not what was sent.
func TestCountMustAgree(t *testing.T) {
	s, err := parse([]string{"-clients", "franz-go", "-records", "100"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	r := run{settings: s, Client: "franz-go", Addrs: to.addrs(), Names: to.topics()}
	res, err := child(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	records, cpu, err := to.finish(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(&res, records, cpu); err != nil {
		t.Errorf("%d records of %d: %v", records, res.Sent, err)
	}
	if err := check(&res, records-1, cpu); err == nil || !strings.Contains(err.Error(), "109 records, and 110 were acknowledged") {
		t.Errorf("a record too few gives %v", err)
	}
}

func TestUnreachableKafka(t *testing.T) {
	// A sink that is closed again leaves a port on which nobody listens.
	b, err := sink.Listen(sink.Config{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	status, _, problems := program("-clients", "franz-go", "-brokers", b.Addr(), "-timeout", "2s")
	if status != 1 || strings.Count(problems, "\n") != 1 {
		t.Errorf("status %d: %s", status, problems)
	}
}

func TestHelp(t *testing.T) {
	status, out, problems := program("-h")
	if status != 0 || problems != "" {
		t.Fatalf("status %d: %s", status, problems)
	}
	s, flags := settings{}, []string{"-brokers", "-senders", "-call", "-goroutines", "-cpuprofile", "Examples:", "go run . -partitions 1000"}
	for _, k := range kinds {
		flags = append(flags, k.name)
	}
	for _, want := range flags {
		if !strings.Contains(out, want) {
			t.Errorf("the help of %T does not mention %s", s, want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-records x", `invalid value "x" for flag -records`},
		{"-records -1", "-records: -1 is not between"},
		{"-size 2000000", "-size: 2000000 is not between"},
		{"-partitions 0", "-partitions: 0 is not between"},
		{"-topics 10000 -partitions 1000", "10000000 partitions in all"},
		{"-rounds 0", "-rounds: 0 is not between"},
		{"-senders 0", "-senders: 0 is not between"},
		{"-goroutines 0", "-goroutines: 0 is not between 1 and 1000"},
		{"-goroutines 1001", "-goroutines: 1001 is not between 1 and 1000"},
		{"-call 0", "-call: 0 is not between 1 and 10000"},
		{"-clients frame-sync -call 2 -size 524288", "-call: 2 records of 524288 bytes are more than one batch of 1048576 bytes"},
		{"-clients frame-sync -idempotent", "-idempotent: frame-sync has no idempotent producer"},
		{"-call 10001", "-call: 10001 is not between 1 and 10000"},
		{"-delay -1s", "-delay: -1s is negative"},
		{"-linger -1s", "-linger: -1s is negative"},
		{"-timeout 0s", "-timeout: 0s is not positive"},
		{"-compression brotli", `-compression: unknown codec "brotli": known are none, gzip`},
		{"-payload xml", `-payload: unknown kind "xml"`},
		{"-clients kafkacat", `-clients: unknown client "kafkacat": known are async, sync, txn, txn-sync, channels`},
		{"-clients sarama,async", "-clients: sarama is named twice"},
		{"-clients kafka-go -idempotent", "-idempotent: kafka-go has no idempotent producer"},
		{"-txn-records 0", "-txn-records: 0 is not between"},
		{"-txn-duration 0s", "-txn-duration: 0s is not positive"},
		{"-txn-version 3", "-txn-version: 3 is not between 1 and 2"},
		{"-txn-version 1 -brokers a:1", "-txn-version: only the sink can be told"},
		{"-brokers a:1,,b:2", "-brokers: an empty address"},
		{"-brokers a:1 -delay 1s", "-delay: only the sink"},
		{"-cpuprofile /nowhere/at/all", "-cpuprofile: stat /nowhere/at/all"},
		{"-nosuch", "flag provided but not defined: -nosuch"},
		{"extra", `unexpected argument "extra"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			status, out, problems := program(strings.Fields(test.args)...)
			if status != 2 || out != "" {
				t.Errorf("status %d, output %q", status, out)
			}
			if strings.Count(problems, "\n") != 1 || !strings.Contains(problems, test.want) {
				t.Errorf("says %q, want one line with %q", problems, test.want)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	s, err := parse(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Records != 1_000_000 || s.Linger != 5*time.Millisecond || s.LingerSync != 0 {
		t.Errorf("defaults are %+v", s)
	}
	for _, name := range s.Clients {
		if kindOf(name).sync {
			t.Errorf("%s is not asynchronous", name)
		}
	}
	if s, err = parse([]string{"-clients", "sync", "-idempotent", "-linger", "1ms"}, nil); err != nil {
		t.Fatal(err)
	}
	if s.Records != 100_000 || s.LingerSync != time.Millisecond {
		t.Errorf("defaults of sync clients are %+v", s)
	}
	for _, name := range s.Clients {
		if k := kindOf(name); !k.sync || k.notIdempotent {
			t.Errorf("%s is not synchronous, or not idempotent", name)
		}
	}
	if _, err := parse([]string{"-help"}, new(bytes.Buffer)); err != flag.ErrHelp {
		t.Errorf("-help gives %v", err)
	}
}
