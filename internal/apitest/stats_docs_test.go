package apitest

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-kafka/sluice"
)

// docs/metrics.md has a line for each number of Stats and each gauge, and no other ones.
func TestEachMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Table of all")
	var fields, names []string
	code, bold := regexp.MustCompile("`([^`]+)`"), regexp.MustCompile(`\*\*[^*]+\*\*`)
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "-") || strings.Contains(cells[1], "`Stats`") {
			continue
		}
		for _, found := range code.FindAllStringSubmatch(cells[1], -1) {
			fields = append(fields, found[1])
		}
		for _, found := range code.FindAllStringSubmatch(bold.ReplaceAllString(cells[2], ""), -1) {
			names = append(names, found[1])
		}
	}
	var want []string
	stats := reflect.TypeFor[sluice.Stats]()
	for i := range stats.NumField() {
		f := stats.Field(i)
		if f.Type.Kind() != reflect.Struct {
			want = append(want, f.Name)
			continue
		}
		for j := range f.Type.NumField() {
			want = append(want, f.Name+"."+f.Type.Field(j).Name)
		}
	}
	sameSet(t, "fields of Stats", fields, want)
	sameSet(t, "gauges", names, gauges)
}

func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	times := map[string]int{}
	for _, name := range want {
		times[name]--
	}
	for _, name := range got {
		times[name]++
	}
	for name, n := range times {
		if n != 0 {
			t.Errorf("%s: %s is there %d times more than it must", what, name, n)
		}
	}
}
