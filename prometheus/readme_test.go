package sluiceprom

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
)

var metricRow = regexp.MustCompile("(?m)^\\| `(sluice_producer_\\w+)` \\| (\\w+) \\| .+ \\| `([\\w., ]+)` \\|$")

// TestReadmeListsEachMetric: each metric has one row, with its type and a field that Stats has.
func TestReadmeListsEachMetric(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, have []string
	for _, row := range metricRow.FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+" "+row[2])
		for field := range strings.SplitSeq(row[3], ", ") {
			if !hasField(partOf(row[1]), field) {
				t.Errorf("%s: there is no field %s", row[1], field)
			}
		}
	}
	source := &fake{}
	source.set(everything())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "a", WithTopicStages()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		have = append(have, fmt.Sprint(family.GetName(), " ", strings.ToLower(family.GetType().String())))
	}
	slices.Sort(documented)
	slices.Sort(have)
	for _, row := range documented {
		if !slices.Contains(have, row) {
			t.Errorf("README.md has %q", row)
		}
	}
	for _, row := range have {
		if !slices.Contains(documented, row) {
			t.Errorf("README.md lacks %q", row)
		}
	}
	if len(documented) != len(have) {
		t.Errorf("README.md has %d rows, and there are %d metrics", len(documented), len(have))
	}
}

// partOf is the type of which a metric is.
func partOf(metric string) reflect.Type {
	switch {
	case strings.HasPrefix(metric, "sluice_producer_broker_"):
		return reflect.TypeFor[sluice.BrokerStats]()
	case strings.HasPrefix(metric, "sluice_producer_topic_"):
		return reflect.TypeFor[sluice.TopicStats]()
	}
	return reflect.TypeFor[sluice.Stats]()
}

func hasField(part reflect.Type, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		field, ok := part.FieldByName(name)
		if !ok {
			return false
		}
		part = field.Type
	}
	return true
}
