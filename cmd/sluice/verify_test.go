package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
)

// manyFaults make a short run meet some.
const manyFaults = "cut=10%,delay=10%,swallow=10%"

func verifyJSON(t *testing.T, args ...string) (*verifyReport, result) {
	t.Helper()
	r := execute(t.Context(), nil, append([]string{"verify", "-json"}, args...)...)
	report := &verifyReport{}
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil {
		t.Fatalf("%v; stdout %q, stderr %q", err, r.stdout, r.stderr)
	}
	return report, r
}

func TestVerifyIdempotentIsClean(t *testing.T) {
	t.Parallel()
	report, r := verifyJSON(t, "-records", "3k", "-duration", "1s", "-faults", manyFaults)
	c := report.Clients[0]
	if r.status != statusDone || report.Broken || report.Cluster != "embedded" || report.Acks != "all" || !report.Idempotent || len(report.Clients) != 1 {
		t.Errorf("status %d, %s", r.status, r.stdout)
	}
	if c.Client != "sluice" || c.Sent != 3000 || c.Acknowledged != 3000 || c.Proxy.Cut+c.Proxy.Swallowed == 0 {
		t.Errorf("%+v", c)
	}
	for _, f := range c.Findings {
		if f.Count != 0 {
			t.Errorf("%+v", f)
		}
	}
	var records int64
	for _, p := range c.Partitions {
		records += p.Records
	}
	if len(c.Partitions) != defaultPartitions || records != 3000 {
		t.Errorf("partitions %+v", c.Partitions)
	}
}

// TestVerifyClientsBesideEachOther has no idempotence: there may be duplicates, which break no promise.
func TestVerifyClientsBesideEachOther(t *testing.T) {
	t.Parallel()
	r := execute(t.Context(), nil, "verify", "-client", "sarama,franz-go,sluice", "-records", "2k", "-duration", "1s",
		"-idempotent=false", "-faults", "cut=5%,delay,swallow=5%", "-partitions", "3", "-size", "0")
	if r.status != statusDone || !strings.Contains(r.stdout, "acks all, not idempotent") {
		t.Errorf("status %d, stdout\n%sstderr %s", r.status, r.stdout, r.stderr)
	}
	for _, client := range []string{"sluice", "sarama", "franz-go"} {
		if !strings.Contains(r.stdout, "\n"+client+": every promise was kept") {
			t.Errorf("nothing of %s:\n%s", client, r.stdout)
		}
	}
}

func TestVerifyWithoutAcksPromisesLittle(t *testing.T) {
	t.Parallel()
	report, r := verifyJSON(t, "-acks", "none", "-client", "sarama,franz-go", "-records", "2k", "-duration", "1s", "-faults", manyFaults)
	if r.status != statusDone || report.Broken || report.Acks != "none" || report.Idempotent {
		t.Errorf("status %d, %s", r.status, r.stdout)
	}
}

// A mutant breaks sluice's promises, in what it sends and in what it tells.
type mutant struct {
	sender
	sends func(m []*sarama.ProducerMessage) []*sarama.ProducerMessage
}

func (m mutant) send(msgs []*sarama.ProducerMessage) { m.sender.send(m.sends(msgs)) }

// openMutant makes one. told is called for each outcome, in place of done.
func openMutant(sends func(msgs []*sarama.ProducerMessage, done outcome) []*sarama.ProducerMessage, told func(m *sarama.ProducerMessage, err error, done outcome)) opener {
	return func(addrs []string, s *settings, done outcome) (sender, error) {
		inner, err := openSluice(addrs, s, func(msgs []*sarama.ProducerMessage, err error) {
			for _, m := range msgs {
				if _, ours := m.Metadata.(numbered); !ours {
					continue // a copy
				}
				if told != nil {
					told(m, err, done)
				} else {
					done([]*sarama.ProducerMessage{m}, err)
				}
			}
		})
		if err != nil || sends == nil {
			return inner, err
		}
		return mutant{inner, func(msgs []*sarama.ProducerMessage) []*sarama.ProducerMessage { return sends(msgs, done) }}, nil
	}
}

// TestVerifyFindsBrokenPromises has clients that break one each, with one message in a hundred or so.
func TestVerifyFindsBrokenPromises(t *testing.T) {
	t.Parallel()
	chosen := func(m *sarama.ProducerMessage) bool { return m.Metadata.(numbered)%100 == 50 }
	one := func(m *sarama.ProducerMessage) []*sarama.ProducerMessage { return []*sarama.ProducerMessage{m} }
	tests := []struct {
		kind string
		open opener
		want string // what is printed about it
	}{
		{"lost", openMutant(func(msgs []*sarama.ProducerMessage, done outcome) (sent []*sarama.ProducerMessage) {
			for _, m := range msgs {
				if chosen(m) {
					done(one(m), nil)
				} else {
					sent = append(sent, m)
				}
			}
			return sent
		}, nil), "partition 2: message 50 was acknowledged at offset 0, and is not in the log"},
		{"duplicated", openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) (sent []*sarama.ProducerMessage) {
			for _, m := range msgs {
				sent = append(sent, m)
				if chosen(m) {
					again := *m
					again.Metadata = nil
					sent = append(sent, &again)
				}
			}
			return sent
		}, nil), "partition 2, offset 13 holds message 50 once more"},
		{"reordered", openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) []*sarama.ProducerMessage {
			for i := len(msgs) - 1; i >= 0; i-- {
				if chosen(msgs[i]) && i+4 < len(msgs) {
					msgs[i], msgs[i+4] = msgs[i+4], msgs[i]
				}
			}
			return msgs
		}, nil), "partition 2, offset 13 holds message 50 after message 54"},
		{"changed", openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) []*sarama.ProducerMessage {
			for _, m := range msgs {
				if chosen(m) {
					m.Value.(sarama.ByteEncoder)[60] ^= 1
				}
			}
			return msgs
		}, nil), "does not hold message 50 as it was sent"},
		{"never sent", openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) []*sarama.ProducerMessage {
			extra := *msgs[0]
			extra.Metadata, extra.Value = nil, sarama.ByteEncoder("9999999 ")
			return append(msgs, &extra)
		}, nil), "holds a message that was never sent"},
		{"failed, but written", openMutant(nil, func(m *sarama.ProducerMessage, err error, done outcome) {
			if chosen(m) {
				err = errors.New("refused")
			}
			done(one(m), err)
		}), "message 50 failed as certainly not written, and is in the log"},
		{"misplaced", openMutant(nil, func(m *sarama.ProducerMessage, err error, done outcome) {
			if chosen(m) {
				m.Offset += 1000
			}
			done(one(m), err)
		}), "partition 2: message 50 was acknowledged at offset 1012, and is elsewhere"},
		{"several outcomes", openMutant(nil, func(m *sarama.ProducerMessage, err error, done outcome) {
			done(one(m), err)
			if chosen(m) {
				done(one(m), err)
			}
		}), "message 50 has 2 outcomes"},
		{"no outcome", openMutant(nil, func(m *sarama.ProducerMessage, err error, done outcome) {
			if !chosen(m) {
				done(one(m), err)
			}
		}), "message 50 has no outcome"},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			f, err := parseVerify(strings.Fields("-records 2k -duration 0s -faults none"), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			f.clients = []verifyClient{{name: "mutant", open: tt.open, certain: true, ordered: verifyClients[0].ordered}}
			var out, errs bytes.Buffer
			if status := exit(&errs, "sluice verify", f.verify(t.Context(), newConsole(&errs, "sluice verify"), &out)); status != statusFailed {
				t.Errorf("status %d, stderr %s", status, &errs)
			}
			verdict := slices.Collect(strings.Lines(out.String()))
			if last := verdict[len(verdict)-1]; !strings.HasPrefix(last, "mutant: BROKEN: ") || !strings.Contains(last, tt.kind) {
				t.Errorf("verdict %q", last)
			}
			if !strings.Contains(out.String(), "mutant: "+tt.kind+": ") || !strings.Contains(out.String(), tt.want) {
				t.Errorf("want %q in\n%s", tt.want, &out)
			}
		})
	}
}

// TestVerifyAllowsWhatIsNotPromised takes a client that duplicates, without idempotence.
func TestVerifyAllowsWhatIsNotPromised(t *testing.T) {
	t.Parallel()
	f, err := parseVerify(strings.Fields("-records 2k -duration 0s -faults none -idempotent=false"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	open := openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) []*sarama.ProducerMessage {
		again := *msgs[0]
		again.Metadata = nil
		return append(msgs, &again)
	}, nil)
	f.clients = []verifyClient{{name: "mutant", open: open, certain: true, ordered: verifyClients[0].ordered}}
	var out, errs bytes.Buffer
	if err := f.verify(t.Context(), newConsole(&errs, "sluice verify"), &out); err != nil || !strings.Contains(out.String(), "duplicated: allowed, as the producer is not idempotent") {
		t.Errorf("%v, stdout\n%s", err, &out)
	}
}

// TestVerifyTouchesItsOwnTopicOnly looks at what a cluster is asked for, and at what is left behind.
func TestVerifyTouchesItsOwnTopicOnly(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "precious", 2)
	produced := execute(t.Context(), strings.NewReader("a\nb\n"), "produce", "-brokers", addrs, "-topic", "precious")
	if produced.status != statusDone {
		t.Fatal(produced.stderr)
	}
	touched := map[string]bool{}
	note := func(key kmsg.Key, names func(kmsg.Request) []string) {
		cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			for _, name := range names(req) {
				touched[name] = true
			}
			return nil, nil, false
		})
	}
	note(kmsg.CreateTopics, func(req kmsg.Request) (names []string) {
		for _, topic := range req.(*kmsg.CreateTopicsRequest).Topics {
			names = append(names, "create "+topic.Topic)
		}
		return names
	})
	note(kmsg.DeleteTopics, func(req kmsg.Request) (names []string) {
		for _, topic := range req.(*kmsg.DeleteTopicsRequest).Topics {
			names = append(names, "delete "+*topic.Topic)
		}
		return names
	})
	report, r := verifyJSON(t, "-brokers", addrs, "-records", "1k", "-duration", "0s", "-partitions", "3")
	if r.status != statusDone || report.Partitions != 3 || report.Cluster != addrs || report.Kept || !strings.HasPrefix(report.Topic, verifyTopicPrefix) {
		t.Errorf("status %d, stderr %q, %+v", r.status, r.stderr, report)
	}
	want := []string{"create " + report.Topic, "delete " + report.Topic}
	if got := slices.Sorted(maps.Keys(touched)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if cluster.TopicInfo(report.Topic) != nil {
		t.Errorf("%s is left behind", report.Topic)
	}
	if n := written(cluster, "precious"); n != 2 {
		t.Errorf("precious holds %d messages", n)
	}

	// A topic that is named is used as it is, after what it holds.
	clear(touched)
	report, r = verifyJSON(t, "-brokers", addrs, "-topic", "precious", "-records", "1k", "-duration", "0s")
	if r.status != statusDone || report.Partitions != 2 || !report.Kept || report.Clients[0].Acknowledged != 1000 || len(touched) != 0 {
		t.Errorf("status %d, stderr %q, %v, %+v", r.status, r.stderr, touched, report)
	}
	if n := written(cluster, "precious"); n != 1002 {
		t.Errorf("precious holds %d messages", n)
	}
}

// TestVerifyLeavesOthersMessagesAlone has somebody else write to the topic meanwhile.
func TestVerifyLeavesOthersMessagesAlone(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "t", 1)
	f, err := parseVerify([]string{"-brokers", addrs, "-topic", "t", "-records", "100", "-duration", "0s", "-faults", "none"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	f.clients = []verifyClient{{name: "sluice", certain: true, ordered: verifyClients[0].ordered,
		open: openMutant(func(msgs []*sarama.ProducerMessage, _ outcome) []*sarama.ProducerMessage {
			return append(msgs, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("1 of another program")})
		}, nil)}}
	var out, errs bytes.Buffer
	if err := f.verify(t.Context(), newConsole(&errs, "c"), &out); err != nil || !strings.Contains(out.String(), "1 record of others in the topic") {
		t.Errorf("%v, stdout\n%s", err, &out)
	}
}

func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancelCause(t.Context())
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt(errors.New("interrupt"))
		return nil, nil, false
	})
	r := execute(ctx, nil, "verify", "-brokers", addrs, "-records", "1M", "-duration", "1h")
	if r.status != statusDone || !strings.HasSuffix(r.stdout, "every promise was kept until the interrupt, without a fault: a longer run, or higher -faults, would prove more\n") &&
		!strings.HasSuffix(r.stdout, "every promise was kept until the interrupt\n") {
		t.Errorf("status %d, stdout\n%sstderr %q", r.status, r.stdout, r.stderr)
	}
	if !strings.Contains(r.stderr, "interrupt again to end at once") {
		t.Errorf("stderr %q", r.stderr)
	}
}

// TestTrialGivesUpAHangingClient has one that takes messages and never says anything.
func TestTrialGivesUpAHangingClient(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, err := parseVerify(strings.Fields("-records 10 -duration 1s"), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			release := make(chan struct{})
			trial := f.newTrial(&verifyClients[0], nil, &loadShape{mark: "m", topic: "t", partitions: 1})
			trial.sender = hangingSender{release: release}
			ctx, interrupt := context.WithCancel(t.Context())
			if interrupted {
				time.AfterFunc(2*time.Second, interrupt)
			}
			begin := time.Now()
			var errs bytes.Buffer
			trial.run(ctx, newConsole(&errs, "c"))
			want := trial.patience
			if interrupted {
				want = 2*time.Second + abandonInterrupted
			}
			if took := time.Since(begin); trial.failed == nil || took < want || took > want+3*time.Second {
				t.Errorf("%v after %v, want %v", trial.failed, took, want)
			}
			trial.ledger.close()
			a := newAudit(trial.ledger, promises{all: !interrupted})
			a.finish()
			if a.silent.count != 10 || a.broken() == interrupted {
				t.Errorf("%+v", a.silent)
			}
			close(release)
			interrupt()
			synctest.Wait()
			if trial.ledger.next(1) != nil {
				t.Error("it goes on after its end")
			}
		})
	}
}

type hangingSender struct {
	sender
	release chan struct{}
}

func (s hangingSender) send([]*sarama.ProducerMessage) {}
func (s hangingSender) close()                         { <-s.release }

func TestVerifyNamesWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "t", 1)
	for args, want := range map[string]string{
		"-brokers 127.0.0.1:1 -config Net.DialTimeout=100ms": "127.0.0.1:1",
		"-brokers " + addrs + " -topic missing":              "topic missing: UNKNOWN_TOPIC_OR_PARTITION",
	} {
		r := execute(t.Context(), nil, append([]string{"verify"}, strings.Fields(args)...)...)
		if r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, want) || strings.Count(waited.ReplaceAllString(r.stderr, ""), "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want one line with %q", args, r.status, r.stdout, r.stderr, want)
		}
	}
}

func TestVerifyWrongCommandLines(t *testing.T) {
	for args, want := range map[string]string{
		"extra":                      `"extra" is one word too many`,
		"-client kafka":              `-client "kafka" is not one of sluice, sarama, franz-go`,
		"-records 0":                 "-records 0 is not between 1 and",
		"-records many":              "is not a number such as",
		"-size 2MB":                  "-size 2000000 is not between 0 and",
		"-duration -1s":              "-duration -1s is below 0",
		"-partitions 0":              "-partitions 0 is not between",
		"-topic t -partitions 3":     "-partitions is for the topic that is created",
		"-topic=":                    "-topic is empty",
		"-topic a/b":                 "not a topic's name",
		"-faults cut=2":              "-faults: cut=2 is not a share such as 0.01 or 1%",
		"-faults cut=NaN":            "-faults: cut=NaN is not a share",
		"-faults burn":               `-faults: "burn" is not one of cut, delay, swallow, none`,
		"-config transactional.id=x": "verify sends no transactions",
		"-idempotent -acks leader":   "Idempotent producer requires",
		"-brokers ,":                 "names no broker",
	} {
		r := execute(t.Context(), nil, append([]string{"verify"}, strings.Fields(args)...)...)
		if r.status != statusUsage || r.stdout != "" || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want one line with %q", args, r.status, r.stdout, r.stderr, want)
		}
	}
}

func TestParseFaultRates(t *testing.T) {
	d := defaultFaultRates()
	for text, want := range map[string]faultRates{
		"none":                       {},
		"cut":                        {Cut: d.Cut},
		"cut,swallow=0.5":            {Cut: d.Cut, Swallow: 0.5},
		"cut=1%, delay=100%":         {Cut: 0.01, Delay: 1},
		defaultFaultRates().String(): d,
	} {
		if got, err := parseFaultRates(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// TestAudit holds logs against outcomes. Messages go to two partitions in turn.
func TestAudit(t *testing.T) {
	unknown := fmt.Errorf("given up: %w", sluice.ErrOutcomeUnknown)
	refused := errors.New("refused")
	strict := promises{acknowledgedIsWritten: true, offsets: true, once: true, ordered: true, all: true}
	loose := promises{acknowledgedIsWritten: true, offsets: true, ordered: true, all: true}
	type said struct {
		offset int64
		err    error
	}
	tests := []struct {
		name     string
		promises promises
		said     []said
		logs     [2][]int64
		want     string // kinds with their counts; those in brackets are allowed
	}{
		{"all well", strict, []said{{0, nil}, {0, nil}, {1, nil}}, [2][]int64{{0, 2}, {1}}, ""},
		{"no offset told", strict, []said{{-1, nil}}, [2][]int64{{0}}, ""},
		{"lost", strict, []said{{0, nil}, {0, nil}}, [2][]int64{{0}}, "1 lost"},
		{"lost, acks none", promises{once: true, ordered: true, all: true}, []said{{0, nil}, {0, nil}}, [2][]int64{{0}}, "(1 lost)"},
		{"duplicated", strict, []said{{0, nil}, {0, nil}}, [2][]int64{{0, 0}, {1}}, "1 duplicated"},
		{"duplicated, not idempotent", loose, []said{{0, nil}, {0, nil}}, [2][]int64{{0, 0}, {1}}, "(1 duplicated)"},
		{"a duplicate's place", loose, []said{{1, nil}}, [2][]int64{{0, 0}}, "(1 duplicated)"},
		{"reordered", strict, []said{{1, nil}, {0, nil}, {0, nil}}, [2][]int64{{2, 0}, {1}}, "1 reordered"},
		{"written late", loose, []said{{0, unknown}, {0, nil}, {0, nil}}, [2][]int64{{2, 0}, {1}}, ""},
		{"written late, idempotent", strict, []said{{0, unknown}, {0, nil}, {0, nil}}, [2][]int64{{2, 0}, {1}}, "1 reordered"},
		{"failed", strict, []said{{0, refused}, {0, nil}, {0, nil}}, [2][]int64{{2}, {1}}, "(1 gaps)"},
		{"failed at the end", strict, []said{{0, nil}, {0, nil}, {0, refused}}, [2][]int64{{0}, {1}}, ""},
		{"failed, and there", strict, []said{{0, refused}}, [2][]int64{{0}}, "1 failed, but written"},
		{"unknown, and there", strict, []said{{0, unknown}}, [2][]int64{{0}}, ""},
		{"unknown, and not there", strict, []said{{0, unknown}, {0, nil}}, [2][]int64{nil, {1}}, ""},
		{"in the wrong partition", strict, []said{{0, unknown}}, [2][]int64{nil, {0}}, "1 misplaced"},
		{"at another offset", strict, []said{{1, nil}, {0, nil}, {1, nil}}, [2][]int64{{0, 2}, {1}}, "1 misplaced"},
		{"never sent", strict, []said{{0, nil}}, [2][]int64{{0, 2}}, "1 never sent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(&loadShape{mark: "m", topic: "t", partitions: 2, size: 20}, true)
			for i, m := range l.next(len(tt.said)) {
				m.Offset = tt.said[i].offset
				l.outcome([]*sarama.ProducerMessage{m}, tt.said[i].err)
			}
			l.close()
			a := newAudit(l, tt.promises)
			for p, numbers := range tt.logs {
				for offset, number := range numbers {
					a.record(&kgo.Record{Partition: int32(p), Offset: int64(offset), Value: l.load.value(number)})
				}
			}
			a.finish()
			var got []string
			for _, f := range a.findings() {
				switch {
				case f.broken():
					got = append(got, fmt.Sprint(f.count, " ", f.kind))
				case f.count > 0:
					got = append(got, fmt.Sprintf("(%d %s)", f.count, f.kind))
				}
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestFranzConnects has franz-go's client read a secured cluster by sarama's settings.
func TestFranzConnects(t *testing.T) {
	ca := certtest.NewCA(t, "test CA")
	server := ca.Server(t, "127.0.0.1").TLS()
	for _, mechanism := range []sarama.SASLMechanism{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512} {
		t.Run(string(mechanism), func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"), kfake.EnableSASL(),
				kfake.Superuser(string(mechanism), "user", "right"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}}))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			conf := newSettings().Conf
			conf.Net.TLS.Enable, conf.Net.TLS.Config = true, &tls.Config{RootCAs: ca.Pool()}
			conf.Net.SASL.Enable, conf.Net.SASL.Mechanism = true, mechanism
			conf.Net.SASL.User, conf.Net.SASL.Password = "user", "right"
			topic, err := openVerifyTopic(t.Context(), cluster.ListenAddrs(), conf, "t")
			if err != nil {
				t.Fatal(err)
			}
			defer topic.close()
			if n, err := topic.prepare(t.Context()); n != 2 || err != nil {
				t.Errorf("%d partitions, %v", n, err)
			}
		})
	}
	conf := newSettings().Conf
	conf.Net.SASL.Enable, conf.Net.SASL.Mechanism = true, sarama.SASLTypeGSSAPI
	if _, err := franzConnection(nil, conf); err == nil || !strings.Contains(err.Error(), "GSSAPI") {
		t.Errorf("GSSAPI: %v", err)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestVerifyRemovesTheTopicOfAnEarlyEnd interrupts it while the topic is being created, and where creating is refused.
func TestVerifyRemovesTheTopicOfAnEarlyEnd(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancelCause(t.Context())
	cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt(errors.New("interrupt"))
		return nil, nil, false
	})
	deleted := make(chan string, 1)
	cluster.ControlKey(int16(kmsg.DeleteTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		deleted <- *req.(*kmsg.DeleteTopicsRequest).Topics[0].Topic
		return nil, nil, false
	})
	r := execute(ctx, nil, "verify", "-brokers", addrs)
	if name := <-deleted; r.status != statusFailed || cluster.TopicInfo(name) != nil || !strings.HasPrefix(name, verifyTopicPrefix) {
		t.Errorf("status %d, stderr %q, deleted %s", r.status, r.stderr, name)
	}

	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	r = execute(t.Context(), nil, "verify", "-brokers", addrs)
	if r.status != statusFailed || !strings.Contains(r.stderr, "TOPIC_AUTHORIZATION_FAILED") || !strings.Contains(r.stderr, "-topic names one that is there") {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

// whenWritten calls itself before anything is written.
type whenWritten func()

func (f whenWritten) Write(p []byte) (int, error) { f(); return len(p), nil }

// TestVerifyPrintsWhenTheTopicIsGone shows that a pipe that nobody reads from, which ends the process, leaves no topic behind.
func TestVerifyPrintsWhenTheTopicIsGone(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	names := make(chan string, 1)
	cluster.ControlKey(int16(kmsg.DeleteTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		names <- *req.(*kmsg.DeleteTopicsRequest).Topics[0].Topic
		return nil, nil, false
	})
	printed := false
	stdout := whenWritten(func() {
		printed = true
		select {
		case name := <-names:
			if cluster.TopicInfo(name) != nil {
				t.Errorf("%s is there", name)
			}
		default:
			t.Error("the topic was not deleted before the report")
		}
	})
	var stderr bytes.Buffer
	status := run(t.Context(), []string{"verify", "-brokers", addrs, "-records", "10", "-duration", "0s", "-faults", "none"}, nil, stdout, &stderr)
	if status != statusDone || !printed {
		t.Errorf("status %d, stderr %q", status, &stderr)
	}
}

// TestVerifySecured cuts connections that are encrypted and logged in.
func TestVerifySecured(t *testing.T) {
	t.Parallel()
	ca := certtest.NewCA(t, "test CA")
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	f, err := parseVerify([]string{"-brokers", strings.Join(cluster.ListenAddrs(), ","), "-client", "sarama,franz-go",
		"-records", "2k", "-duration", "1s", "-faults", "cut=1%,delay=5%,swallow=1%"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	conf := f.settings.Conf
	conf.Net.TLS.Enable, conf.Net.TLS.Config = true, &tls.Config{RootCAs: ca.Pool()}
	conf.Net.SASL.Enable, conf.Net.SASL.User, conf.Net.SASL.Password = true, "user", "right"
	var out, errs bytes.Buffer
	if err := f.verify(t.Context(), newConsole(&errs, "sluice verify"), &out); err != nil || !strings.Contains(out.String(), "\nsluice: every promise was kept") {
		t.Errorf("%v, stdout\n%sstderr %s", err, &out, &errs)
	}
}
