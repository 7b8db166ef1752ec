package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Every load's flags are flags, its clients exist, and each goal has one bound.
func TestLoads(t *testing.T) {
	for _, l := range append(slices.Clone(kafkaLoads), loads...) {
		s, err := l.settings(settings{Rounds: 7, Timeout: time.Minute})
		if err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
		if s.Rounds != 7 || s.Timeout != time.Minute || len(s.Clients) < 2 {
			t.Errorf("%s: %+v", l.name, s)
		}
		for _, g := range l.goals {
			if (g.least > 0) == (g.most > 0) || kindOf(g.client) == nil {
				t.Errorf("%s: %+v", l.name, g)
			}
		}
	}
}

func TestGoalRow(t *testing.T) {
	var all []result
	for client, ms := range map[string]time.Duration{"sluice": 2, "sarama": 8, "franz-go": 3} {
		all = append(all, results(client, ms*time.Millisecond, ms*time.Millisecond, time.Second)...)
	}
	for want, g := range map[string]goal{
		"records/s of sluice ÷ sarama|≥ 4|4.00|reached":                        faster("records/s", "sluice", 4, "sarama"),
		"records/s of sluice ÷ the best of sarama, franz-go|≥ 1.6|1.50|missed": faster("records/s", "sluice", 1.6, goPeers...),
		"CPU of sluice ÷ the best of sarama, franz-go|≤ 0.7|0.67|reached":      cheaper("CPU", "sluice", 0.7, goPeers...),
		"CPU of franz-go ÷ sluice|≤ 1.2|1.50|missed":                           cheaper("CPU", "franz-go", 1.2, "sluice"),
		"rounds of sluice|≤ 2|1.00|reached":                                    {what: "rounds", figure: func(result) float64 { return 1 }, client: "sluice", most: 2},
	} {
		if got := strings.Join(g.row(all), "|"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// All goals are measured against a real broker's stand-in, with the loads that are for it.
func TestGoals(t *testing.T) {
	c := cluster(t)
	was := kafkaLoads
	kafkaLoads = slices.Clone(was)
	for i := range kafkaLoads {
		kafkaLoads[i].flags += " -records 500" // the last one counts
	}
	defer func() { kafkaLoads = was }()
	status, out, problems := program("-goals", "-rounds", "1", "-brokers", strings.Join(c.ListenAddrs(), ","))
	if status != 0 || strings.Count(out, "real Kafka, ") != 6 {
		t.Errorf("status %d, %s\n%s", status, problems, out)
	}
}
