//go:build unix

package integration

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// audit is what a log says about a producer's outcomes: counts of messages.
type audit struct {
	lost       int // acknowledged, and not in the log
	denied     int // in the log, though the producer said that they are not
	duplicated int // in the log more often than once: the surplus
	reordered  int // first occurrences that stand after a later message of their partition
	misplaced  int // acknowledged with an offset that holds something else
	foreign    int // records that are no message of this load
}

// auditLog compares what a producer said about the messages of a load with the log, by partition. The order of a key
// is that of its partition: the key decides the partition, and what is elsewhere is misplaced.
func auditLog(outcomes []outcome, log map[int32][]*kgo.Record) audit {
	var a audit
	seen := make([]bool, len(outcomes))
	numbers := make(map[int32][]int, len(log)) // by partition and offset
	for partition, records := range log {
		latest := -1
		for _, r := range records {
			number, ok := messageNumber(r)
			if !ok || number >= len(outcomes) {
				number = -1
			}
			numbers[partition] = append(numbers[partition], number)
			switch {
			case number < 0:
				a.foreign++
			case seen[number]:
				a.duplicated++
			default:
				seen[number] = true
				if number < latest {
					a.reordered++
				}
				latest = max(latest, number)
			}
		}
	}
	for number, o := range outcomes {
		acked := o.told && o.err == nil
		switch {
		case acked && !seen[number]:
			a.lost++
		case acked && o.offset >= 0:
			at := numbers[o.partition]
			if o.offset >= int64(len(at)) || at[o.offset] != number {
				a.misplaced++
			}
		case o.err != nil && seen[number] && !mayBeWritten(o.err):
			a.denied++
		}
	}
	return a
}

// messageNumber is the number of a load's message, if the record is one.
func messageNumber(r *kgo.Record) (int, bool) {
	digits, _, _ := strings.Cut(string(r.Value), ":")
	number, err := strconv.Atoi(digits)
	return number, err == nil && string(r.Key) == loadKey(number)
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	record := func(number int) *kgo.Record {
		return &kgo.Record{Key: []byte(loadKey(number)), Value: fmt.Appendf(nil, "%d: x", number)}
	}
	acked := func(partition int32, offset int64) outcome {
		return outcome{told: true, partition: partition, offset: offset}
	}
	refused := outcome{told: true, err: errors.New("refused")}
	unknown := outcome{told: true, err: fmt.Errorf("given up: %w", sluice.ErrOutcomeUnknown)}
	for _, test := range []struct {
		name     string
		outcomes []outcome
		logs     [][]int // the numbers in partitions 0, 1, …
		want     audit
	}{
		{"all well", []outcome{acked(0, 0), acked(1, 0), acked(0, 1)}, [][]int{{0, 2}, {1}}, audit{}},
		{"no offset told", []outcome{acked(0, -1)}, [][]int{{0}}, audit{}},
		{"lost", []outcome{acked(0, 0), acked(0, 1)}, [][]int{{0}}, audit{lost: 1}},
		{"duplicated", []outcome{acked(0, 0), acked(0, 1)}, [][]int{{0, 1, 0, 1}}, audit{duplicated: 2}},
		{"duplicated at once", []outcome{acked(0, 1), acked(0, 2)}, [][]int{{0, 0, 1}}, audit{duplicated: 1}},
		{"reordered", []outcome{acked(0, 1), acked(0, 0)}, [][]int{{1, 0}}, audit{reordered: 1}},
		{"misplaced", []outcome{acked(0, 1), acked(0, 1)}, [][]int{{0, 1}}, audit{misplaced: 1}},
		{"in another partition", []outcome{acked(1, 0)}, [][]int{{0}}, audit{misplaced: 1}},
		{"denied", []outcome{refused, acked(0, 1)}, [][]int{{0, 1}}, audit{denied: 1}},
		{"refused", []outcome{refused, acked(0, 0)}, [][]int{{1}}, audit{}},
		{"unknown, written", []outcome{unknown}, [][]int{{0}}, audit{}},
		{"unknown, not written", []outcome{unknown}, nil, audit{}},
		{"foreign", []outcome{acked(0, 0)}, [][]int{{0, 7}}, audit{foreign: 1}},
	} {
		log := make(map[int32][]*kgo.Record)
		for partition, numbers := range test.logs {
			for _, n := range numbers {
				log[int32(partition)] = append(log[int32(partition)], record(n))
			}
		}
		if got := auditLog(test.outcomes, log); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	if _, ok := messageNumber(&kgo.Record{Key: []byte("key-1"), Value: []byte("2: x")}); ok {
		t.Error("a record with another's key counts as the message")
	}
}
