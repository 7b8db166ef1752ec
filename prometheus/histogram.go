package sluiceprom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
)

// buckets are the upper bounds of all histograms. Each is one of HistogramBounds, so that nothing is estimated: a bucket is the sum
// of some of Stats'. Stats has eighty; each of these is a series.
var buckets = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	20 * time.Second, 40 * time.Second, 125 * time.Second, // the read time-out and the delivery timeout, by default, are just below
}

var statsBounds = sluice.HistogramBounds()

// constHistogram counts again what Stats has counted. The count is that of the buckets: Count is read at another moment.
func constHistogram(desc *prometheus.Desc, h *sluice.Histogram, labelValues ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(buckets))
	var count uint64
	next := 0
	for i, n := range h.Buckets {
		count += uint64(n)
		if next < len(buckets) && i < len(statsBounds) && statsBounds[i] == buckets[next] {
			cumulative[buckets[next].Seconds()] = count
			next++
		}
	}
	for ; next < len(buckets); next++ {
		cumulative[buckets[next].Seconds()] = count
	}
	return prometheus.MustNewConstHistogram(desc, count, h.Sum.Seconds(), cumulative, labelValues...)
}
