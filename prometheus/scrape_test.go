package sluiceprom

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exposition is what a scrape of a registry over HTTP reads.
func exposition(t testing.TB, registry prometheus.Gatherer) []byte {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.Bytes()
}

// series are the values of an exposition, by name and labels.
func series(t testing.TB, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	return parse(t, bytes.NewReader(exposition(t, registry)))
}

func parse(t testing.TB, text io.Reader) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				all[seriesKey(name, labels)] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[seriesKey(name, labels)] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				h := m.GetHistogram()
				all[seriesKey(name+"_count", labels)] = float64(h.GetSampleCount())
				all[seriesKey(name+"_sum", labels)] = h.GetSampleSum()
				for _, b := range h.GetBucket() {
					le := strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
					if math.IsInf(b.GetUpperBound(), 1) {
						le = "+Inf"
					}
					with := maps.Clone(labels)
					with["le"] = le
					all[seriesKey(name+"_bucket", with)] = float64(b.GetCumulativeCount())
				}
			default:
				t.Errorf("%s is a %v", name, family.GetType())
			}
		}
	}
	return all
}

// seriesKey names a series as a query does, its labels sorted; those without a name are left out.
func seriesKey(name string, labels map[string]string) string {
	var parts []string
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if label != "" {
			parts = append(parts, fmt.Sprintf("%s=%q", label, labels[label]))
		}
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

// eachNumber calls do with each int64 of a value, and its path; of a long slice with the first and the last one.
func eachNumber(v reflect.Value, path string, do func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Int64:
		do(strings.TrimPrefix(path, "."), v)
	case reflect.Struct:
		for i := range v.NumField() {
			eachNumber(v.Field(i), path+"."+v.Type().Field(i).Name, do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if i > 3 && i < v.Len()-1 {
				continue
			}
			eachNumber(v.Index(i), fmt.Sprintf("%s[%d]", path, i), do)
		}
	}
}

// hasPart tells whether a path begins or ends with a part, or is within it.
func hasPart(path, part string) bool {
	return strings.HasPrefix(path, part+".") || strings.HasSuffix(path, "."+part)
}
