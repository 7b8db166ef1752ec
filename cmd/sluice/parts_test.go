package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

func TestHistogramQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var h histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(5*time.Millisecond))
		all = append(all, d)
		h.add(d, 1)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.95, 0.99, 0.999, 1} {
		exact := all[max(int(q*float64(len(all)))-1, 0)]
		got := h.quantile(q)
		if got < exact || float64(got) > float64(exact)*1.017+1 {
			t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
		}
	}
	if h.max != all[len(all)-1] || h.quantile(1) != h.max {
		t.Errorf("maximum %v, want %v", h.max, all[len(all)-1])
	}
}

func TestHistogramBuckets(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 129, 255, 256, 1 << 20, 1<<40 + 12345, 1<<63 - 1, 1<<64 - 1} {
		i := bucket(v)
		if upper(i) < v || i > 0 && upper(i-1) >= v {
			t.Errorf("%d is in bucket %d, up to %d", v, i, upper(i))
		}
	}
	var h histogram
	if h.quantile(0.5) != 0 || h.average() != 0 {
		t.Error("an empty histogram has values")
	}
	h.add(-time.Second, 1)
	h.add(2*time.Second, 3)
	if h.count != 4 || h.average() != 1500*time.Millisecond {
		t.Errorf("%d observations, average %v", h.count, h.average())
	}
}

func TestPacerSpreadsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(1000)
		sent := int64(0)
		for sent < 3000 {
			n := p.wait(t.Context(), sent, 256)
			if n < 1 || n > 256 {
				t.Fatalf("%d records at once", n)
			}
			sent += int64(n)
			if early := time.Duration(sent-1)*time.Millisecond - time.Since(p.start); early > 0 {
				t.Fatalf("%d records %v early", sent, early)
			}
		}
		if took := time.Since(p.start); took < 2990*time.Millisecond || took > 3*time.Second {
			t.Errorf("3000 records at 1000/s took %v", took)
		}
	})
}

func TestPacerCatchesUpAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPacer(10)
		time.Sleep(2 * time.Second)
		if n := p.wait(ctx, 0, 256); n != 21 {
			t.Errorf("%d records are due after 2 s at 10/s", n)
		}
		time.AfterFunc(10*time.Millisecond, cancel)
		if n := p.wait(ctx, 21, 256); n != 0 {
			t.Errorf("%d records after the end", n)
		}
		if n := newPacer(0).wait(ctx, 0, 256); n != 0 {
			t.Errorf("%d records after the end, unpaced", n)
		}
	})
}

func TestFaultsShowTheFirstAndCountTheRest(t *testing.T) {
	var out bytes.Buffer
	f := newFaults(newConsole(&out, "sluice produce"))
	for i := range 10 {
		f.add(func() string { return fmt.Sprintf("file:%d", i) }, fmt.Errorf("attempt %d: %w", i, sarama.ErrNotLeaderForPartition))
	}
	f.add(func() string { return "file:11" }, errors.Join(errors.New("a"), errors.New("b")))
	f.summarize()
	want := "" +
		"sluice produce: file:0: attempt 0: " + readable(sarama.ErrNotLeaderForPartition) + "\n" +
		"sluice produce: file:1: attempt 1: " + readable(sarama.ErrNotLeaderForPartition) + "\n" +
		"sluice produce: file:2: attempt 2: " + readable(sarama.ErrNotLeaderForPartition) + "\n" +
		"sluice produce: file:11: a; b\n" +
		"sluice produce: and 7 more: " + readable(sarama.ErrNotLeaderForPartition) + "\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestFaultsBoundCauses(t *testing.T) {
	var out bytes.Buffer
	f := newFaults(newConsole(&out, "c"))
	for i := range 1000 {
		f.add(func() string { return "m" }, fmt.Errorf("cause %d", i))
	}
	f.summarize()
	if lines := strings.Count(out.String(), "\n"); lines != maxCauses+shownPerCause+1 || !strings.HasSuffix(out.String(), "c: and 981 more: other causes\n") {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 6_888_896: "6.9 MB", 12e9: "12.0 GB", 3e18: "3000.0 PB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestConsoleMakesRoomForOtherLines(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out, "c")
	c.progress("unseen")
	c.terminal, c.width = true, func() int { return 80 }
	c.progress("1")
	c.progress("2")
	c.errorf("a\nb")
	c.progress("3")
	c.progress()
	const wipe = "\r\x1b[K"
	if want := "1" + wipe + "2" + wipe + "c: a; b\n3" + wipe; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestProof shows that every way in which a log can differ from what was acknowledged is found.
func TestProof(t *testing.T) {
	header := []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("v")}}
	record := func(offset int64, key, value string) *kgo.Record {
		r := &kgo.Record{Offset: offset, Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
		if key != "" {
			r.Key = []byte(key)
		}
		return r
	}
	type acked struct {
		offset int64
		sluice.Record
	}
	delivered := func(seq, offset int64, key, value string) acked {
		r := sluice.Record{Value: []byte(value), Headers: header, Tag: int64((&message{seq: seq}).tag())}
		if key != "" {
			r.Key = []byte(key)
		}
		return acked{offset, r}
	}
	tests := []struct {
		name  string
		acked []acked
		log   []*kgo.Record
		want  string
	}{
		{"as written", []acked{delivered(1, 0, "", "a"), delivered(5, 1, "k", "b")},
			[]*kgo.Record{record(0, "", "a"), record(1, "k", "b")}, ""},
		{"outcomes in any order", []acked{delivered(5, 1, "k", "b"), delivered(1, 0, "", "a")},
			[]*kgo.Record{record(0, "", "a"), record(1, "k", "b")}, ""},
		{"swapped", []acked{delivered(5, 0, "", "a"), delivered(1, 1, "", "b")},
			[]*kgo.Record{record(0, "", "a"), record(1, "", "b")}, "offset 1 holds message 1 after message 5"},
		{"changed value", []acked{delivered(1, 0, "", "a")}, []*kgo.Record{record(0, "", "b")}, "does not hold what was written"},
		{"changed key", []acked{delivered(1, 0, "k", "a")}, []*kgo.Record{record(0, "l", "a")}, "does not hold what was written"},
		{"lost key", []acked{delivered(1, 0, "k", "a")}, []*kgo.Record{record(0, "", "a")}, "does not hold what was written"},
		{"lost header", []acked{delivered(1, 0, "", "a")}, []*kgo.Record{{Value: []byte("a")}}, "does not hold what was written"},
		{"unacknowledged", []acked{delivered(1, 0, "", "a")},
			[]*kgo.Record{record(0, "", "a"), record(1, "", "a")}, "offset 1 holds a message that was not acknowledged"},
		{"gap", []acked{delivered(1, 0, "", "a"), delivered(2, 1, "", "b")}, []*kgo.Record{record(1, "", "b")}, "came where offset 0 was expected"},
		{"missing", []acked{delivered(1, 0, "", "a"), delivered(2, 1, "", "b")}, []*kgo.Record{record(0, "", "a")}, "partition 0 ends at offset 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProof(sarama.WaitForAll)
			for _, a := range tt.acked {
				p.acknowledged(0, a.offset, slices.Values([]sluice.Record{a.Record}))
			}
			var err error
			for _, r := range tt.log {
				err = errors.Join(err, p.readBack(r))
			}
			err = errors.Join(err, p.missing())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
