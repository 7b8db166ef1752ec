package promtest

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sluice-kafka/sluice"
	sluiceprom "github.com/sluice-kafka/sluice/prometheus"
)

const (
	dashboardFile = "../../dashboard.json"
	alertsFile    = "../../alerts.yml"
	alertsTest    = "../../alerts_test.yml"
	readme        = "../../README.md"
)

// source has one broker and one topic, so that each metric has a series.
type source struct{}

func (source) Stats() sluice.Stats {
	return sluice.Stats{Brokers: []sluice.BrokerStats{{ID: 1, Addr: "a:9092"}}, Topics: []sluice.TopicStats{{Topic: "t"}}}
}

// scraped are the labels of each metric of a scrape, by its name in queries; job and instance are Prometheus' own.
func scraped(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(sluiceprom.NewCollector(source{}, "a", sluiceprom.WithTopicStages()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, family := range families {
		m := family.GetMetric()[0]
		labels := []string{"job", "instance"}
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName())
		}
		if m.GetHistogram() == nil {
			all[family.GetName()] = labels
			continue
		}
		all[family.GetName()+"_sum"], all[family.GetName()+"_count"] = labels, labels
		all[family.GetName()+"_bucket"] = append(slices.Clip(labels), "le")
	}
	return all
}

// query is a PromQL expression, and where it stands.
type query struct{ where, expr string }

// TestQueriesNameWhatIsScraped parses each query of the dashboard and the alerts: its metrics are scraped, and have the labels that
// it asks for.
func TestQueriesNameWhatIsScraped(t *testing.T) {
	metrics := scraped(t)
	for _, q := range append(readDashboard(t).queries(), alertQueries(t)...) {
		expr := parse(t, q)
		parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			labels, ok := metrics[selector.Name]
			if !ok {
				t.Errorf("%s: %s is not scraped", q.where, selector.Name)
				return nil
			}
			for _, m := range selector.LabelMatchers {
				if m.Name != model.MetricNameLabel && !slices.Contains(labels, m.Name) {
					t.Errorf("%s: %s has no label %s", q.where, selector.Name, m.Name)
				}
			}
			for _, above := range path {
				for _, name := range grouping(above) {
					if !slices.Contains(labels, name) {
						t.Errorf("%s: %s has no label %s to group by", q.where, selector.Name, name)
					}
				}
			}
			return nil
		})
	}
}

// grouping are the labels that a node of a query keeps or ignores.
func grouping(node parser.Node) []string {
	if aggregate, ok := node.(*parser.AggregateExpr); ok {
		return aggregate.Grouping
	}
	return nil
}

// TestEachMetricHasAPanel: what the collector tells of producers, brokers and topics is in the dashboard, but for bytes and the like,
// which nobody needs in the first minute.
func TestEachMetricHasAPanel(t *testing.T) {
	used := map[string]bool{}
	for _, q := range readDashboard(t).queries() {
		parser.Inspect(parse(t, q), func(node parser.Node, _ []parser.Node) error {
			if selector, ok := node.(*parser.VectorSelector); ok {
				used[selector.Name] = true
			}
			return nil
		})
	}
	for _, name := range []string{
		"memory_used_bytes", "memory_limit_bytes", "memory_waiting_senders", "memory_waits_total", "unread_outcomes", "unread_errors",
		"buffered_records", "in_flight_records", "acknowledged_records_total", "failed_records_total", "retried_records_total",
		"stage_duration_seconds_bucket", "stage_duration_seconds_sum",
		"broker_stage_duration_seconds_bucket", "broker_requests_in_flight", "broker_connections", "broker_connections_failed_total",
		"broker_connections_lost_total", "broker_throttled_seconds_total", "broker_acknowledged_records_total",
		"topic_acknowledged_records_total", "topic_failed_records_total", "topic_retried_records_total", "topic_buffered_records",
	} {
		if !used["sluice_producer_"+name] {
			t.Errorf("%s is in no panel", name)
		}
	}
}

// variables are those of the dashboard, as Grafana puts them into a query.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$__range", "30m",
	"$job", "shop", "$client_id", "a", "$instance", "b", "$topic", "t")

func parse(t *testing.T, q query) parser.Expr {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(q.expr))
	if err != nil {
		t.Fatalf("%s: %v\n%s", q.where, err, q.expr)
	}
	return expr
}

func alertRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Fatal(err)
	}
	var rules []rulefmt.Rule
	for _, group := range groups.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("there are no rules")
	}
	return rules
}

func alertQueries(t *testing.T) (all []query) {
	for _, rule := range alertRules(t) {
		all = append(all, query{rule.Alert, rule.Expr})
	}
	return all
}

// TestAlertsSayWhatToDo: each has a time, a severity, and text; a test that makes it fire; and a headline in README.md.
func TestAlertsSayWhatToDo(t *testing.T) {
	tests, page := read(t, alertsTest), read(t, readme)
	for _, rule := range alertRules(t) {
		if rule.For == 0 {
			t.Errorf("%s fires at once", rule.Alert)
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", rule.Alert, severity)
		}
		if want := []string{"description", "summary"}; !slices.Equal(slices.Sorted(maps.Keys(rule.Annotations)), want) {
			t.Errorf("%s has %v, want %v", rule.Alert, rule.Annotations, want)
		}
		if !strings.Contains(tests, `ALERTS{alertname="`+rule.Alert+`",alertstate="firing"`) {
			t.Errorf("no test makes %s fire", rule.Alert)
		}
		if !strings.Contains(page, "\n### "+rule.Alert+"\n") {
			t.Errorf("README.md does not say what to do about %s", rule.Alert)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
