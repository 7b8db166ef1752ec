package metadata

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Each round is "broker: answer", asked for by partition 0; "acked" before it says that the leader has acknowledged
// something, "unasked" that partition 0 did not ask. The last one that counts is the fifth of the same.
func TestBelieveAnEpochThatWentBack(t *testing.T) {
	const old = "1: 0=1@100 1=1@100"
	five := func(round string) []string { return []string{round, round, round, round, round} }
	for name, test := range map[string]struct {
		several bool
		rounds  []string
		want    bool
	}{
		"five answers of the only broker": {false, five("1: 1: 0=2@1"), true},
		"four":                            {false, five("1: 1: 0=2@1")[:4], false},
		"five of one of several":          {true, five("1: 1: 0=2@1"), false},
		"a sixth of another":              {true, append(five("1: 1: 0=2@1"), "2: 1: 0=2@1"), true},
		"a seed without an id":            {true, append(five("1: 1: 0=2@1"), "-1: 1: 0=2@1"), false},
		"the same leader":                 {false, five("1: 1: 0=1@1"), true},
		"one names another leader":        {false, append(five("1: 1: 0=2@1")[:4], "1: 1: 0=3@1"), false},
		"one has another epoch":           {false, append(five("1: 1: 0=2@1")[:4], "1: 1: 0=2@2"), false},
		"one has the known epoch": {false, []string{
			"1: 1: 0=2@1", "1: 1: 0=2@1", "1: 1: 0=2@1", "1: 1: 0=2@1", "1: 1: 0=1@100", "1: 1: 0=2@1",
		}, false},
		"one has no leader":      {false, append(five("1: 1: 0=2@1")[:4], "1: 1: 0=-1@1", "1: 1: 0=2@1"), true},
		"created anew meanwhile": {false, append(five("1: 1: 0=2@1")[:4], "1: 2: 0=2@1", "1: 1: 0=2@1"), false},
		"acknowledged meanwhile": {false, append(five("1: 1: 0=2@1")[:4], "acked 1: 1: 0=2@1"), false},
		"nobody asked":           {false, five("unasked 1: 1: 0=2@1"), false},
		"no ids":                 {false, five("1: 0: 0=2@1"), false}, // merge takes them at once
	} {
		t.Run(name, func(t *testing.T) {
			w := &watchedTopic{topic: "t"}
			got := false
			for _, round := range test.rounds {
				w.asking = failing{0: false}
				if rest, ok := strings.CutPrefix(round, "acked "); ok {
					w.asking, round = failing{0: true}, rest
				} else if rest, ok := strings.CutPrefix(round, "unasked "); ok {
					w.asking, round = failing{1: false}, rest
				}
				var from int32
				broker, answer, _ := strings.Cut(round, ": ")
				_, _ = fmt.Sscan(broker, &from)
				known := parse(t, old)
				believed := w.believe(known, parse(t, answer), from, test.several, nil)
				if describe(known) != old {
					t.Fatalf("the known topic was changed to %s", describe(known))
				}
				if got {
					t.Fatal("it was believed too early")
				}
				got = believed != known
			}
			if got != test.want {
				t.Errorf("believed: %v, want %v", got, test.want)
			}
		})
	}
}

// The whole service: five rounds, over both brokers, then the lower epoch is known, and hints count from it.
func TestEpochThatGoesBackIsBelievedAfterFiveRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 100, 1, 1)
		s := start(t, c, newConfig())
		s.Watch("t", func(*Topic, error) {})
		synctest.Wait()
		c.do(func() { c.topics["t"] = topic(1, 1, 2, 2) })
		for n := 1; n <= olderAnswers; n++ {
			if got := describe(s.Topic("t")); got != "1: 0=1@100 1=1@100" {
				t.Fatalf("after %d rounds %s", n-1, got)
			}
			s.RefreshLeader("t", 0, n == 1, false)
			s.Refresh("t")
			time.Sleep(time.Second)
		}
		// Partition 1 did not ask: its leader may acknowledge.
		if got := describe(s.Topic("t")); got != "1: 0=2@1 1=1@100" {
			t.Errorf("%s", got)
		}
		s.UpdateLeader("t", [16]byte{1}, 0, 1, 2, nil)
		synctest.Wait()
		if got := describe(s.Topic("t")); got != "1: 0=1@2 1=1@100" {
			t.Errorf("after a hint with the next epoch: %s", got)
		}
	})
}
