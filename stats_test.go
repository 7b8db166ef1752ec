package sluice

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/stats"
)

func TestEachCauseHasAName(t *testing.T) {
	names := []FailureCause{
		CauseDeliveryTimeout, CauseTooLarge, CauseInvalid, CauseUnknownTopic, CauseUnavailable, CauseNotAuthorized, CauseRefused,
		CauseTransaction, CauseBufferFull, CauseCancelled, CauseClosed, CauseOther,
	}
	if len(names) != stats.Causes {
		t.Errorf("%d of %d causes", len(names), stats.Causes)
	}
	for i, name := range names {
		if got := stats.Cause(i).String(); got != string(name) {
			t.Errorf("cause %d is %q, want %q", i, got, name)
		}
	}
}

func TestHistogramBounds(t *testing.T) {
	bounds := HistogramBounds()
	const us = time.Microsecond
	want := []time.Duration{10 * us, 12500, 16 * us, 20 * us, 25 * us, 31500, 40 * us, 50 * us, 63 * us, 80 * us, 100 * us}
	if !slices.Equal(bounds[:11], want) || bounds[len(bounds)-1] != 1000*time.Second || len(bounds) != 81 {
		t.Errorf("%d bounds: %v", len(bounds), bounds)
	}
	bounds[0] = 0
	if HistogramBounds()[0] == 0 {
		t.Error("the slice is shared")
	}
}

// of is a histogram of durations.
func of(durations ...time.Duration) Histogram {
	var h stats.Histogram
	for _, d := range durations {
		h.Record(d, 1)
	}
	var s stats.Durations
	h.AddTo(&s)
	return histogram(&s)
}

func TestQuantile(t *testing.T) {
	if got := (Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("of nothing it is %v", got)
	}
	if h := of(0, 0); h.Quantile(1) != 0 || h.Quantile(0) != 0 {
		t.Errorf("of zeros it is %v", h.Quantile(1))
	}
	if h := of(time.Hour); h.Quantile(1) != time.Hour || h.Quantile(0.5) < 1000*time.Second {
		t.Errorf("of what is above all bounds it is %v and %v", h.Quantile(0.5), h.Quantile(1))
	}
	if h := of(3*time.Second, time.Second); h.Quantile(2) != 3*time.Second || h.Quantile(-1) > time.Second {
		t.Errorf("beyond 0 and 1 it is %v and %v", h.Quantile(-1), h.Quantile(2))
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		durations := make([]time.Duration, 1+draw.IntN(1000))
		for i := range durations {
			durations[i] = time.Duration(math.Exp(draw.NormFloat64()*3) * float64(5*time.Millisecond))
		}
		h := of(durations...)
		slices.Sort(durations)
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
			want := float64(durations[int(math.Ceil(q*float64(len(durations))))-1])
			got := float64(h.Quantile(q))
			if want >= float64(10*time.Microsecond) && want <= float64(1000*time.Second) && (got < want/1.29 || got > want*1.29) {
				t.Errorf("the quantile %g of %d is %v, want %v", q, len(durations), time.Duration(got), time.Duration(want))
			}
		}
	}
}
