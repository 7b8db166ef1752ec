package dispatch

import (
	"errors"
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What a topic does about a partition that it does not know, on its goroutine: the topic may have got more partitions since
// the last look-up. So it looks the topic up once before it refuses the message; the other messages go on meanwhile. Then
// the partitioner is asked anew, with the new number of partitions. The held messages come first when the
// answer does, so the order within the new partition holds.

// errNotKnown marks that the partitioner chose a partition beyond the known ones.
type errNotKnown struct{ error }

func (e errNotKnown) Unwrap() error { return e.error }

// notKnown holds the records whose partition is not known.
type notKnown struct {
	records       []flow.Record
	asked         int    // so many of them had come when the look-up was asked for; it decides about these
	refreshNumber uint64 // of that look-up; 0: none is under way
}

// failOrHold fails a record that got no partition. If the topic may have got that partition lately, it holds the record for
// one look-up instead, which lookForPartitions asks for.
func (t *topic) failOrHold(rec *flow.Record, err error) {
	if _, ok := errors.AsType[errNotKnown](err); !ok || t.deps.Stopped() != nil {
		t.fail([]flow.Record{*rec}, err)
		return
	}
	t.notKnown.records = append(t.notKnown.records, *rec)
}

// lookForPartitions asks for a look-up, unless one is under way. The look-up service spaces them.
func (t *topic) lookForPartitions() {
	if nk := &t.notKnown; nk.refreshNumber == 0 && len(nk.records) > 0 {
		nk.refreshNumber, nk.asked = t.deps.Metadata.Refresh(t.name), len(nk.records)
	}
}

// retryNotKnown asks the partitioner again, after a look-up that answers all refreshes up to a number. What still has no
// partition fails if it had come before that look-up began.
func (t *topic) retryNotKnown(answers uint64) {
	before := t.notKnown
	if len(before.records) == 0 {
		return
	}
	after, decided := notKnown{refreshNumber: before.refreshNumber}, 0
	if before.refreshNumber <= answers {
		after.refreshNumber, decided = 0, before.asked
	}
	for i := 0; i < len(before.records); i++ {
		rest := before.records[i:]
		n, err := t.partition(rest)
		for j := range rest[:n] {
			t.put(&rest[j], 0)
		}
		if i += n; i == len(before.records) {
			break
		}
		if _, ok := errors.AsType[errNotKnown](err); !ok || i < decided {
			t.fail(before.records[i:i+1], err)
			continue
		}
		after.records = append(after.records, before.records[i])
		if i < before.asked {
			after.asked++
		}
	}
	t.notKnown = after
	t.lookForPartitions()
}

// failNotKnown gives up the first n of them.
func (t *topic) failNotKnown(n int, err error) {
	if n == 0 {
		return
	}
	nk := &t.notKnown
	t.fail(nk.records[:n], err)
	nk.asked = max(0, nk.asked-n)
	if nk.records = slices.Delete(nk.records, 0, n); len(nk.records) == 0 {
		nk.records = nil
	}
}
