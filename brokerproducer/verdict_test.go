package brokerproducer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// The rules, one line each: how an attempt ended, the state of batch and session, and what becomes of them. A batch has
// two records and may be retried twice, unless the line says otherwise.
//
// States: in-txn, numbered, unsure, elsewhere, decided, failed=N, rejected=N, culprits=N; oldest, broken, verifying; closing
// (the whole producer); one-record, acks=1.
func TestJudge(t *testing.T) {
	for _, rule := range []struct{ end, state, want string }{
		// In the log.
		{"ok", "", "deliver"},
		{"ok", "numbered unsure failed=2 oldest verifying", "deliver, failed 2, unsure"},
		{"ok", "decided numbered", "deliver"},
		{"duplicate", "numbered unsure", "deliver, unsure"},

		// Retriable: the session closes, so that nothing overtakes the batch.
		{"not-enough", "", "resend, failed 1, closes"},
		{"not-enough", "numbered oldest", "resend, failed 1, closes"},
		{"not-enough", "unsure", "resend, failed 1, unsure, closes"}, // a refusal does not undo it
		{"not-enough", "failed=1", "resend, failed 2, closes"},
		{"not-enough", "failed=2", "give up, exhausted, failed 3, closes"},
		{"not-enough", "failed=2 numbered", "give up, exhausted, failed 3, breaks, closes"},
		{"not-enough", "verifying numbered unsure", "resend, failed 1, unsure, closes"},
		{"not-enough", "decided", "give up, failed 1, closes"},
		{"not-enough", "decided numbered failed=2", "give up, failed 3, breaks, closes"},
		{"timed-out", "", "resend, failed 1, unsure, closes"},
		{"timed-out", "acks=1", "resend, failed 1, unsure, closes"},
		{"timed-out", "failed=2", "give up, exhausted, failed 3, unsure, closes"},

		// The last transaction is still being ended: no failure, however often.
		{"concurrent", "in-txn numbered oldest", "resend, closes, soon"},
		{"concurrent", "in-txn numbered oldest failed=2 unsure", "resend, failed 2, unsure, closes, soon"},
		{"concurrent", "in-txn numbered decided", "give up, breaks, closes"},

		// No batch gets a new number within its transaction.
		{"out-of-order", "in-txn numbered oldest", "give up, breaks, closes"},
		{"out-of-order", "in-txn numbered", "resend, closes"},
		{"out-of-order", "in-txn numbered oldest unsure elsewhere", "give up, unsure, breaks, closes"},
		{"unknown-producer", "in-txn numbered oldest", "give up, breaks, closes"},
		{"invalid-epoch", "in-txn numbered oldest", "give up, breaks, renews, closes"},

		// The batch itself may be the cause: three retries at most.
		{"corrupt", "numbered rejected=2 failed=1", "resend, failed 2, rejected 3, closes"},
		{"corrupt", "rejected=3 failed=1", "give up, exhausted, failed 2, rejected 4, closes"},
		{"corrupt", "failed=2", "give up, exhausted, failed 3, rejected 1, closes"},
		{"corrupt", "unsure", "resend, failed 1, rejected 1, unsure, closes"},
		{"not-enough", "rejected=3", "resend, failed 1, rejected 3, closes"},
		{"server-error", "acks=1", "resend, failed 1, rejected 1, unsure, closes"},
		{"server-error", "rejected=3 numbered", "give up, exhausted, failed 1, rejected 4, unsure, breaks, closes"},

		// After the append, too.
		{"storage-error", "acks=1", "resend, failed 1, unsure, closes, refresh"},
		{"unknown-topic", "", "resend, failed 1, unsure, closes, refresh"},
		{"unknown-topic", "acks=1", "resend, failed 1, closes, refresh"},

		// The leader may have moved.
		{"not-leader", "", "resend, failed 1, unsure, closes, refresh"},
		{"not-leader", "acks=1", "resend, failed 1, closes, refresh"},
		{"not-leader", "acks=1 failed=2 numbered", "give up, exhausted, failed 3, breaks, closes, refresh"},
		{"not-leader", "acks=1 decided", "give up, failed 1, closes, refresh"},

		// Too large: split, unless the whole batch may be in the log.
		{"too-large", "", "split, closes"},
		{"list-too-large", "numbered", "split, closes"},
		{"list-too-large", "one-record", "give up"},
		{"too-large", "numbered failed=2", "split, failed 2, closes"},
		{"too-large", "one-record", "give up"},
		{"too-large", "one-record numbered", "give up, breaks, closes"},
		{"too-large", "unsure", "give up, unsure"},
		{"too-large", "unsure numbered", "give up, unsure, breaks, closes"},
		{"too-large", "decided", "give up"},

		// A lost sequence. The oldest batch: the broker has lost its state.
		{"out-of-order", "numbered oldest", "resend, failed 1, breaks, closes"},
		{"unknown-producer", "numbered oldest", "resend, failed 1, breaks, closes"},
		{"unknown-producer", "numbered oldest failed=2", "give up, exhausted, failed 3, breaks, closes"},
		{"unknown-producer", "numbered oldest unsure", "give up, unsure, breaks, closes"},
		{"out-of-order", "numbered oldest unsure", "give up, unsure, breaks, closes"},
		// The topic was created anew: none of it is written there, if the broker wants 0 first.
		{"out-of-order", "numbered oldest unsure elsewhere", "resend, failed 1, breaks, closes"},
		{"out-of-order", "numbered oldest unsure elsewhere failed=2", "give up, exhausted, failed 3, breaks, closes"},
		{"out-of-order", "numbered unsure elsewhere", "resend, unsure, closes"},
		{"out-of-order", "numbered verifying oldest unsure elsewhere", "resend"},
		{"unknown-producer", "numbered oldest unsure elsewhere", "give up, unsure, breaks, closes"},
		{"not-enough", "numbered oldest unsure elsewhere", "resend, failed 1, unsure, closes"},
		{"too-large", "numbered oldest unsure elsewhere", "give up, unsure, breaks, closes"},
		{"out-of-order", "numbered oldest unsure elsewhere decided", "give up, unsure, breaks, closes"},
		// Another: the oldest was not written yet. That is no failure of this one.
		{"out-of-order", "numbered", "resend, closes"},
		{"out-of-order", "numbered failed=2", "resend, failed 2, closes"},
		{"out-of-order", "numbered unsure", "resend, unsure, closes"},
		{"unknown-producer", "numbered unsure", "resend, unsure, closes"},
		// Behind a broken sequence: out of order means not written.
		{"out-of-order", "numbered broken oldest", "resend, closes"},
		{"out-of-order", "numbered broken unsure", "resend, closes"},
		{"out-of-order", "numbered verifying oldest unsure", "resend"},
		{"out-of-order", "numbered verifying unsure", "resend"},
		{"unknown-producer", "numbered broken oldest", "resend, closes"},
		{"unknown-producer", "numbered broken unsure", "give up, unsure, breaks, closes"},
		{"unknown-producer", "numbered verifying unsure", "give up, unsure, breaks, closes"},
		// The broker does not take the producer id any more.
		{"invalid-epoch", "numbered oldest", "resend, failed 1, breaks, renews, closes"},
		{"unknown-id", "numbered oldest", "resend, failed 1, breaks, renews, closes"},
		{"fenced", "numbered oldest", "resend, failed 1, breaks, renews, closes"},
		{"unknown-id", "numbered oldest failed=2", "give up, exhausted, failed 3, breaks, renews, closes"},
		{"unknown-id", "numbered oldest unsure", "give up, unsure, breaks, renews, closes"},
		{"unknown-id", "numbered oldest decided", "give up, breaks, renews, closes"},
		{"unknown-id", "numbered", "resend, closes"},
		{"unknown-id", "numbered broken oldest", "resend, closes"},
		{"unknown-id", "numbered verifying unsure", "give up, unsure, breaks, renews, closes"},
		{"unknown-id", "", "give up"},
		// It can't be about a batch without a number, and is too late for one with an outcome.
		{"out-of-order", "oldest", "give up"},
		{"out-of-order", "numbered oldest decided", "give up, breaks, closes"},
		{"out-of-order", "numbered verifying decided", "give up, breaks, closes"},

		// Fatal.
		{"invalid-record", "", "give up"},
		{"invalid-record", "numbered", "give up, breaks, closes"},
		{"invalid-record", "unsure decided", "give up, unsure"},
		{"a future code", "", "give up"},

		// Records at fault (KIP-467) fail alone.
		{"invalid-record", "culprits=1", "sift, closes"},
		{"invalid-record", "culprits=1 numbered failed=2", "sift, failed 2, breaks, closes"},
		{"invalid-record", "culprits=2 numbered", "give up, breaks, closes"}, // all of them
		{"invalid-record", "culprits=1 unsure", "give up, unsure"},
		{"invalid-record", "culprits=1 decided", "give up"},
		{"not-enough", "culprits=1", "resend, failed 1, closes"},

		// No answer.
		{"unmentioned", "", "resend, failed 1, unsure, closes, refresh"},
		{"unmentioned", "decided", "give up, failed 1, unsure, closes, refresh"},
		{"unanswered", "", "resend, failed 1, unsure, closes, refresh"},
		{"unanswered", "numbered verifying unsure", "resend, failed 1, unsure, closes, refresh"},
		{"unanswered", "failed=2 numbered", "give up, exhausted, failed 3, unsure, breaks, closes, refresh"},
		{"unanswered", "decided", "give up"},
		{"unanswered", "decided numbered", "give up, breaks, closes"},
		// In part: not in doubt. A request that may have been too large is sent smaller, which is no failed attempt.
		{"cut-off", "", "resend, failed 1, closes, refresh"},
		{"cut-off", "unsure", "resend, failed 1, unsure, closes, refresh"},
		{"cut-off", "failed=2", "give up, exhausted, failed 3, closes, refresh"},
		{"cut-off", "large-request failed=2", "resend, failed 2, closes, refresh"},
		{"cut-off", "large-request one-record", "resend, failed 1, closes, refresh"},
		{"cut-off", "refused", "resend, closes, refresh"},
		{"cut-off", "refused one-record", "give up, failed 1, closes, refresh"},
		{"cut-off", "refused unsure", "give up, unsure, closes, refresh"},
		{"unanswered", "refused", "give up, failed 1, unsure, closes, refresh"},
		{"cut-off", "decided", "give up"},
		{"not-sent", "failed=2", "resend, failed 2, closes, refresh, unsent"},
		{"not-sent", "numbered unsure", "resend, unsure, closes, refresh, unsent"},
		{"not-sent", "closing", "resend, failed 1, closes, refresh, unsent"},
		{"not-sent", "closing failed=2", "give up, exhausted, failed 3, closes, refresh, unsent"},
		{"not-sent", "decided", "give up"},
		{"recalled", "numbered unsure failed=2 closing", "put back, failed 2, unsure"},
		{"recalled", "decided", "give up"},
		{"recalled", "decided numbered", "give up, breaks, closes"},
		{"unusable", "", "give up"},
		{"unusable", "numbered", "give up, breaks, closes"},
	} {
		a := attempt{acks: sarama.WaitForAll, maxRetries: 2, records: 2}
		a.ended(t, rule.end)
		for _, word := range strings.Fields(rule.state) {
			a.set(t, word)
		}
		if got := judge(&a).String(); got != rule.want {
			t.Errorf("%s, %s:\n got %s\nwant %s", rule.end, rule.state, got, rule.want)
		}
	}
}

func (a *attempt) ended(t *testing.T, how string) {
	t.Helper()
	codes := map[string]sarama.KError{
		"ok": sarama.ErrNoError, "duplicate": sarama.ErrDuplicateSequenceNumber,
		"concurrent": sarama.ErrConcurrentTransactions,
		"not-enough": sarama.ErrNotEnoughReplicas, "timed-out": sarama.ErrRequestTimedOut,
		"not-leader": sarama.ErrNotLeaderForPartition, "too-large": sarama.ErrMessageSizeTooLarge,
		"out-of-order": sarama.ErrOutOfOrderSequenceNumber, "unknown-producer": sarama.ErrUnknownProducerID,
		"invalid-epoch": sarama.ErrInvalidProducerEpoch, "invalid-record": 87, "a future code": 9999,
		"fenced":     sarama.ErrProducerFenced,
		"unknown-id": sarama.ErrInvalidProducerIDMapping, "corrupt": sarama.ErrInvalidMessage,
		"server-error": sarama.ErrUnknown, "storage-error": sarama.ErrKafkaStorageError,
		"unknown-topic": sarama.ErrUnknownTopicOrPartition, "list-too-large": sarama.ErrMessageSetSizeTooLarge,
	}
	ends := map[string]attemptEnd{
		"unmentioned": unmentioned, "unanswered": unanswered, "not-sent": notSent, "cut-off": cutOff, "recalled": recalled, "unusable": unusable,
	}
	if code, ok := codes[how]; ok {
		a.code = code
	} else if end, ok := ends[how]; ok {
		a.end = end
	} else {
		t.Fatalf("no end %q", how)
	}
}

func (a *attempt) set(t *testing.T, word string) {
	t.Helper()
	flags := map[string]*bool{
		"in-txn": &a.transactional, "numbered": &a.numbered, "unsure": &a.unsure, "elsewhere": &a.elsewhere, "decided": &a.decided,
		"oldest": &a.oldest, "broken": &a.broken, "verifying": &a.verifying, "closing": &a.closing,
	}
	if flag, ok := flags[word]; ok {
		*flag = true
		return
	}
	switch word {
	case "large-request":
		a.size = largeRequest
	case "refused":
		a.size = batchIsRefused
	case "one-record":
		a.records = 1
	case "acks=1":
		a.acks = sarama.WaitForLocal
	default:
		_, failed := fmt.Sscanf(word, "failed=%d", &a.failed)
		_, rejected := fmt.Sscanf(word, "rejected=%d", &a.rejected)
		_, culprits := fmt.Sscanf(word, "culprits=%d", &a.culprits)
		if failed != nil && rejected != nil && culprits != nil {
			t.Fatalf("no state %q", word)
		}
	}
}

func (v verdict) String() string {
	names := [...]string{deliver: "deliver", resend: "resend", giveUp: "give up", split: "split", sift: "sift", putBack: "put back"}
	text := []string{names[v.do]}
	add := func(set bool, name string) {
		if set {
			text = append(text, name)
		}
	}
	add(v.exhausted, "exhausted")
	add(v.failed > 0, fmt.Sprintf("failed %d", v.failed))
	add(v.rejected > 0, fmt.Sprintf("rejected %d", v.rejected))
	add(v.unsure, "unsure")
	add(v.sequence >= SequenceBroken, "breaks")
	add(v.sequence == IdentityLost, "renews")
	add(v.closes, "closes")
	add(v.next == AfterLookup, "refresh")
	add(v.next == Soon, "soon")
	add(v.unsent, "unsent")
	return strings.Join(text, ", ")
}

// What holds in every state, whatever ended the attempt.
func TestJudgeInvariants(t *testing.T) {
	var codes []sarama.KError
	for code := range produceCodes {
		codes = append(codes, code)
	}
	codes = append(codes, 9999)
	var ends []attempt
	for _, code := range codes {
		ends = append(ends, attempt{code: code})
	}
	for end := unmentioned; end <= unusable; end++ {
		ends = append(ends, attempt{end: end})
	}
	for _, a := range ends {
		a.acks, a.maxRetries = sarama.WaitForAll, 2
		for bits := range 1 << 9 {
			bit := func(i int) bool { return bits>>i&1 == 1 }
			a.numbered, a.unsure, a.decided = bit(0), bit(1), bit(2)
			a.oldest, a.broken, a.verifying, a.closing = bit(3), bit(4), bit(5), bit(6)
			a.elsewhere, a.transactional = a.unsure && bit(7), bit(8)
			for a.failed = range 4 {
				for a.records = range 3 {
					a.culprits = a.records / 2
					v := judge(&a)
					for _, rule := range []struct {
						name  string
						holds bool
					}{
						{"a decided batch is never sent again", !a.decided || v.do == deliver || v.do == giveUp},
						{"a numbered batch that is given up breaks the sequence", v.do != giveUp || (v.sequence != SequenceIntact) == a.numbered},
						{"only numbered batches break the sequence", v.sequence == SequenceIntact || a.numbered},
						{"a broken sequence closes the session", v.sequence == SequenceIntact || v.closes},
						{"what was unsure stays so, but for out of order behind a broken sequence or in a new topic", !a.unsure || v.unsure ||
							a.end == answered && a.code == sarama.ErrOutOfOrderSequenceNumber && (a.broken || a.verifying || a.elsewhere && a.oldest)},
						{"what is sent again closes the session, unless it verifies", v.do != resend || v.closes || a.verifying},
						{"what failed too often is not sent again, unless another batch is the cause", v.do != resend ||
							v.failed <= a.maxRetries || v.failed == a.failed && (MeaningOf(a.code) == LostSequence || MeaningOf(a.code) == LostIdentity || MeaningOf(a.code) == Wait) || a.end == notSent},
						{"in a transaction no batch gets another number", !a.transactional || v.do != resend || v.sequence == SequenceIntact},
						{"what waits for the last transaction's end has not failed", MeaningOf(a.code) != Wait || v.failed == a.failed && (v.do == giveUp || v.next == Soon)},
						{"a code that may hide a write leaves the batch unsure", a.end != answered || !Unsure(a.code, a.acks) || v.unsure},
						{"an unsure batch is not split, nor a single record", v.do != split && v.do != sift || !a.unsure && a.records > 1},
						{"what is sifted gets new numbers", v.do != sift || (v.sequence != SequenceIntact) == a.numbered},
						{"an attempt counts once", v.failed == a.failed || v.failed == a.failed+1},
						{"the leader is looked up for another session only", v.next != AfterLookup || v.closes},
					} {
						if !rule.holds {
							t.Fatalf("%s: %+v: %v", rule.name, a, v)
						}
					}
				}
			}
		}
	}
}
