package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFillLeavesNothing: each query of the dashboard is complete, or Prometheus would refuse it.
func TestFillLeavesNothing(t *testing.T) {
	d, err := readDashboard("../..")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			queries++
			if expr := fill(target.Expr, "a", time.Hour); strings.Contains(expr, "$") {
				t.Errorf("panel %d: %s", panel.ID, expr)
			}
		}
	}
	if queries == 0 {
		t.Error("there are no queries")
	}
}

func TestLegend(t *testing.T) {
	got := legend("broker {{broker}} ({{address}}) is slow", map[string]string{"broker": "1", "address": "a:9092"})
	if got != "broker 1 (a:9092) is slow" {
		t.Error(got)
	}
}
