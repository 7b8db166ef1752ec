//go:build unix

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// verdict is what a producer said about a transaction, in the end.
type verdict uint8

const (
	committed verdict = iota
	aborted
	unknown // all of it may be in the log, or nothing
)

// txnTry is one try of a transaction: the values that it sent, by partition.
type txnTry struct {
	verdict verdict
	values  map[int32][]string
}

// auditTxns compares the transactions of one producer, in their order, with what a read-committed consumer has read:
// each message of a committed transaction once and in order, and nothing else.
func auditTxns(tries []txnTry, read map[int32][]string) error {
	var errs []error
	next := make(map[int32]int) // where each partition is read on
	startsWith := func(p int32, values []string) bool {
		rest := read[p][min(next[p], len(read[p])):]
		return len(rest) >= len(values) && slices.Equal(rest[:len(values)], values)
	}
	for n, try := range tries {
		if try.verdict == aborted {
			continue
		}
		found, missing := 0, []string(nil)
		for p, values := range try.values {
			if startsWith(p, values) {
				found++
			} else {
				missing = append(missing, fmt.Sprintf("partition %d has %s, want %s", p, excerpt(read[p], next[p]), excerpt(values, 0)))
			}
		}
		if try.verdict == unknown && found == 0 {
			continue
		}
		if len(missing) > 0 {
			errs = append(errs, fmt.Errorf("transaction %d, counted with each try: %s", n, strings.Join(missing, "; ")))
			return errors.Join(errs...) // what follows would be out of step
		}
		for p, values := range try.values {
			next[p] += len(values)
		}
	}
	for p, values := range read {
		if next[p] < len(values) {
			errs = append(errs, fmt.Errorf("partition %d goes on with %s", p, excerpt(values, next[p])))
		}
	}
	return errors.Join(errs...)
}

// excerpt shows the first few values from a place on.
func excerpt(values []string, from int) string {
	rest := values[min(from, len(values)):]
	return fmt.Sprintf("%d values %.10q", len(rest), rest[:min(len(rest), 4)])
}

func TestTxnAuditFindsWhatIsWrong(t *testing.T) {
	try := func(v verdict, partitions ...string) txnTry {
		values := make(map[int32][]string)
		for p, text := range partitions {
			if text != "" {
				values[int32(p)] = strings.Fields(text)
			}
		}
		return txnTry{v, values}
	}
	a, b := try(committed, "a0 a2", "a1"), try(committed, "b0", "b1")
	for _, test := range []struct {
		name  string
		tries []txnTry
		read  []string
		want  string // a part of the error
	}{
		{"all well", []txnTry{a, b}, []string{"a0 a2 b0", "a1 b1"}, ""},
		{"lost", []txnTry{a, b}, []string{"a0 b0", "a1 b1"}, "partition 0 has"},
		{"lost at the end", []txnTry{a, b}, []string{"a0 a2 b0", "a1"}, "partition 1 has"},
		{"lost as a whole", []txnTry{a}, nil, "partition 0 has"},
		{"twice", []txnTry{a, b}, []string{"a0 a2 b0", "a1 a1 b1"}, "partition 1 has"},
		{"twice at the end", []txnTry{a, b}, []string{"a0 a2 b0", "a1 b1 b1"}, "partition 1 goes on"},
		{"out of order", []txnTry{a, b}, []string{"b0 a0 a2", "a1 b1"}, "partition 0 has"},
		{"aborted, not there", []txnTry{try(aborted, "x"), a}, []string{"a0 a2", "a1"}, ""},
		{"aborted, there", []txnTry{try(aborted, "x"), a}, []string{"x a0 a2", "a1"}, "partition 0 has"},
		{"aborted, there in the end", []txnTry{a, try(aborted, "x")}, []string{"a0 a2 x", "a1"}, "partition 0 goes on"},
		{"unknown, not there", []txnTry{try(unknown, "u0", "u1"), a}, []string{"a0 a2", "a1"}, ""},
		{"unknown, there", []txnTry{try(unknown, "u0", "u1"), a}, []string{"u0 a0 a2", "u1 a1"}, ""},
		{"unknown, half there", []txnTry{try(unknown, "u0", "u1"), a}, []string{"u0 a0 a2", "a1"}, "transaction 0"},
	} {
		read := make(map[int32][]string)
		for p, text := range test.read {
			read[int32(p)] = strings.Fields(text)
		}
		err := auditTxns(test.tries, read)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// valuesOf are the values of records, by partition.
func valuesOf(records map[int32][]*kgo.Record) map[int32][]string {
	values := make(map[int32][]string)
	for p, all := range records {
		for _, r := range all {
			values[p] = append(values[p], string(r.Value))
		}
	}
	return values
}
