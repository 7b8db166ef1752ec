package txn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Every state × call, and every state × step × answer, one line each: what the machine was, what happened, and what it is then,
// with the step that comes next in a CommitTxn or AbortTxn.
//
// A machine is written as its state and its flags: v2, drained, offsets, started, unsettled, failed, unknown, ended, init-first;
// old-broker is one that can't bump. The next step is named behind an arrow, unless the call is over.
var stateTable = []struct{ from, event, want string }{
	// BeginTxn.
	{"ready", "Begin 1", "open"},
	{"ready", "Begin 2", "open v2"},
	{"ready v2 started failed drained", "Begin 1", "open"}, // nothing of the last transaction is left
	{"open", "Begin 1", "open: ErrTransitionNotAllowed"},
	{"committing", "Begin 1", "committing: ErrTransitionNotAllowed"},
	{"unanswered", "Begin 1", "unanswered: ErrTransitionNotAllowed"},
	{"aborting", "Begin 1", "aborting: ErrTransitionNotAllowed"},
	{"abortable", "Begin 1", "abortable: ErrTransitionNotAllowed"},
	{"fatal", "Begin 1", "fatal: ErrTransitionNotAllowed"},

	// AddOffsetsToTxn.
	{"ready", "AddOffsets", "ready: ErrTransactionNotReady"},
	{"open", "AddOffsets", "open offsets"},
	{"committing", "AddOffsets", "committing: ErrTransactionNotReady"},
	{"unanswered", "AddOffsets", "unanswered: ErrTransactionNotReady"},
	{"aborting", "AddOffsets", "aborting: ErrTransactionNotReady"},
	{"abortable", "AddOffsets", "abortable: ErrTransactionNotReady"},
	{"fatal", "AddOffsets", "fatal: ErrTransactionNotReady"},

	// CommitTxn.
	{"ready", "Commit", "ready: ErrTransitionNotAllowed"},
	{"ready init-first", "Commit", "ready init-first: ErrTransitionNotAllowed"},
	{"open", "Commit", "committing → drain"},
	{"open started offsets", "Commit", "committing offsets started → drain"},
	{"committing", "Commit", "committing → drain"}, // its context had ended
	{"committing drained started", "Commit", "committing drained started → EndTxn"},
	{"unanswered drained started", "Commit", "unanswered drained started → EndTxn"},
	{"aborting", "Commit", "aborting: ErrTransitionNotAllowed"},
	{"abortable", "Commit", "abortable: abortable"},
	{"fatal", "Commit", "fatal: fatal"},

	// AbortTxn.
	{"ready", "Abort", "ready: ErrTransitionNotAllowed"},
	{"open started", "Abort", "aborting started → drain"},
	{"committing drained started", "Abort", "aborting drained started → EndTxn"},
	{"unanswered drained started", "Abort", "aborting drained started unknown → EndTxn"},
	{"aborting drained started", "Abort", "aborting drained started → EndTxn"},
	{"abortable started failed", "Abort", "aborting started failed → drain"},
	{"abortable drained started failed", "Abort", "aborting drained started failed → EndTxn"},
	{"fatal", "Abort", "fatal: fatal"},

	// A message fails.
	{"ready", "message", "ready"},
	{"open", "message", "abortable failed"},
	{"committing", "message", "abortable failed"},
	{"committing drained", "message", "committing drained → finished"}, // of no transaction: all had their outcome
	{"unanswered drained started", "message", "unanswered drained started → EndTxn"},
	{"aborting", "message", "aborting failed → drain"},
	{"abortable", "message", "abortable failed"}, // the first cause is kept, see TestFirstCause
	{"fatal", "message", "fatal"},
	{"ready", "fatal message", "ready"},
	{"open", "fatal message", "fatal failed"},
	{"committing", "fatal message", "fatal failed"},
	{"unanswered drained started", "fatal message", "unanswered drained started → EndTxn"},
	{"aborting", "fatal message", "fatal failed"},
	{"abortable", "fatal message", "fatal failed"},
	{"fatal", "fatal message", "fatal"},

	// A request to add partitions or offsets.
	{"ready", "added", "ready started"}, // it means nothing there, and BeginTxn forgets it
	{"open", "added", "open started"},
	{"open", "maybe added", "open started unsettled"},
	{"open started unsettled", "added", "open started"},
	{"committing", "added", "committing started → drain"},
	{"unanswered drained started", "added", "unanswered drained started → EndTxn"},
	{"aborting", "added", "aborting started → drain"},
	{"abortable", "added", "abortable started"},
	{"fatal", "added", "fatal started"},
	{"ready", "maybe added", "ready started unsettled"},
	{"committing drained offsets", "maybe added", "committing drained offsets started unsettled → add offsets"},
	{"unanswered drained started", "maybe added", "unanswered drained started unsettled → EndTxn"},
	{"aborting", "maybe added", "aborting started unsettled → drain"},
	{"abortable", "maybe added", "abortable started unsettled"},
	{"fatal", "maybe added", "fatal started unsettled"},

	// Every message has its outcome.
	{"committing", "drain granted", "committing drained → finished"}, // an empty transaction costs no request
	{"committing started", "drain granted", "committing drained started → EndTxn"},
	{"committing offsets", "drain granted", "committing drained offsets → add offsets"},
	{"committing started offsets", "drain granted", "committing drained offsets started → add offsets"},
	{"abortable started failed", "drain granted", "abortable drained started failed"},
	{"aborting", "drain granted", "aborting drained → finished"},
	{"aborting offsets", "drain granted", "aborting drained offsets → finished"}, // offsets are not added, to be aborted
	{"aborting started", "drain granted", "aborting drained started → EndTxn"},
	{"aborting failed", "drain granted", "aborting drained failed → finished"},

	// AddOffsetsToTxn and TxnOffsetCommit.
	{"committing drained offsets", "add offsets granted", "committing drained → finished"},
	{"committing drained offsets started", "add offsets granted", "committing drained started → EndTxn"},
	{"committing drained offsets", "add offsets again", "committing drained offsets → add offsets: again"},
	{"committing drained offsets", "add offsets soon", "committing drained offsets → add offsets: again"},
	{"committing drained offsets", "add offsets another", "committing drained offsets → add offsets: again"},
	{"committing drained offsets started", "offsets unanswered", "committing drained offsets started failed → add offsets"},
	{"committing drained offsets", "add offsets abortable", "abortable drained offsets"},
	{"committing drained offsets", "add offsets fatal", "fatal drained offsets"},
	{"committing drained offsets", "add offsets wrong state", "fatal drained offsets"},
	{"committing drained offsets v2", "add offsets wrong state", "abortable v2 drained offsets"},

	// EndTxn to commit.
	{"committing drained started", "EndTxn granted", "ready drained started"},
	{"committing drained started v2", "EndTxn granted", "ready v2 drained started"},
	{"committing drained started", "EndTxn again", "unanswered drained started → EndTxn: again"},
	{"committing drained started", "EndTxn soon", "unanswered drained started → EndTxn: again"},
	{"committing drained started", "EndTxn another", "unanswered drained started → EndTxn: again"},
	{"committing drained started", "EndTxn abortable", "abortable drained started"},
	{"committing drained started", "EndTxn fatal", "fatal drained started"},
	{"committing drained started", "EndTxn wrong state", "fatal drained started"},
	{"committing drained started v2", "EndTxn wrong state", "abortable v2 drained started"}, // KAFKA-20785
	{"unanswered drained started", "EndTxn granted", "ready drained started"},
	{"unanswered drained started", "EndTxn again", "unanswered drained started → EndTxn: again"},
	{"unanswered drained started", "EndTxn soon", "unanswered drained started → EndTxn: again"},
	{"unanswered drained started", "EndTxn another", "unanswered drained started → EndTxn: again"},
	{"unanswered drained started", "EndTxn abortable", "abortable drained started"},
	{"unanswered drained started", "EndTxn fatal", "fatal drained started (outcome unknown)"}, // fenced: before the commit, or after
	{"unanswered drained started", "EndTxn wrong state", "fatal drained started (outcome unknown)"},
	{"unanswered drained started v2", "EndTxn wrong state", "abortable v2 drained started"},

	// A request without an answer may still come: in version 1, under the epoch of the next transaction.
	{"unanswered drained started stray", "EndTxn granted", "ready drained started stray init-first"},
	{"committing drained started stray", "EndTxn granted", "ready drained started stray init-first"},
	{"unanswered drained started stray v2", "EndTxn granted", "ready v2 drained started stray"},
	{"unanswered drained started stray old-broker", "EndTxn granted", "ready old-broker drained started stray"},
	{"aborting drained started stray", "EndTxn granted", "aborting drained stray ended → InitProducerId"},
	{"aborting drained started stray v2", "EndTxn granted", "ready v2 drained started stray"},
	{"aborting drained started stray old-broker", "EndTxn granted", "ready old-broker drained started stray"},
	{"aborting drained stray ended", "InitProducerId granted", "ready drained stray ended"},
	{"ready stray init-first", "InitProducerId granted", "ready stray"},
	{"ready stray", "Begin 1", "open"},

	// EndTxn to abort.
	{"aborting drained started", "EndTxn granted", "ready drained started"},
	{"aborting drained started failed", "EndTxn granted", "aborting drained failed ended → InitProducerId"}, // KIP-360
	{"aborting drained started unsettled", "EndTxn granted", "aborting drained unsettled ended → InitProducerId"},
	{"aborting drained started unknown", "EndTxn granted", "aborting drained unknown ended → InitProducerId"},
	{"aborting drained started failed old-broker", "EndTxn granted", "fatal old-broker drained failed ended"},
	{"aborting drained started failed v2", "EndTxn granted", "ready v2 drained started failed"}, // the answer has the epoch
	{"aborting drained started unknown v2", "EndTxn granted", "aborting v2 drained unknown ended → InitProducerId"},
	{"aborting drained started", "EndTxn again", "aborting drained started → EndTxn: again"},
	{"aborting drained started", "EndTxn soon", "aborting drained started → EndTxn: again"},
	{"aborting drained started", "EndTxn another", "aborting drained started → EndTxn: again"},
	{"aborting drained started", "EndTxn abortable", "aborting drained ended → InitProducerId"}, // it may be open
	{"aborting drained started v2", "EndTxn abortable", "aborting v2 drained ended → InitProducerId"},
	{"aborting drained started failed", "EndTxn abortable", "aborting drained failed ended → InitProducerId"},
	{"aborting drained started", "EndTxn fatal", "fatal drained started"},
	{"aborting drained started unknown", "EndTxn fatal", "fatal drained started unknown (outcome unknown)"},
	{"aborting drained started", "EndTxn wrong state", "fatal drained started"},
	{"aborting drained started v2", "EndTxn wrong state", "fatal v2 drained started"},
	{"aborting drained started unknown", "EndTxn wrong state", "aborting drained unknown ended → InitProducerId"},     // it was committed
	{"aborting drained started unsettled", "EndTxn wrong state", "aborting drained unsettled ended → InitProducerId"}, // nothing was added

	// InitProducerId, in AbortTxn or before the next transaction.
	{"aborting drained failed ended", "InitProducerId granted", "ready drained failed ended"},
	{"aborting drained failed ended", "InitProducerId again", "aborting drained failed ended → InitProducerId: again"},
	{"aborting drained failed ended", "InitProducerId soon", "aborting drained failed ended → InitProducerId: again"},
	{"aborting drained failed ended", "InitProducerId another", "aborting drained failed ended → InitProducerId: again"},
	{"aborting drained failed ended", "InitProducerId abortable", "fatal drained failed ended"},
	{"aborting drained failed ended", "InitProducerId fatal", "fatal drained failed ended"},
	{"aborting drained failed ended", "InitProducerId wrong state", "fatal drained failed ended"},
	{"aborting drained unknown ended", "InitProducerId fatal", "fatal drained unknown ended (outcome unknown)"},
	{"aborting drained failed ended", "postpone", "ready drained failed ended init-first"},
	{"ready init-first", "InitProducerId granted", "ready"},
	{"ready init-first", "InitProducerId again", "ready init-first: again"},
	{"ready init-first", "InitProducerId soon", "ready init-first: again"},
	{"ready init-first", "InitProducerId another", "ready init-first: again"},
	{"ready init-first", "InitProducerId abortable", "fatal init-first"},
	{"ready init-first", "InitProducerId fatal", "fatal init-first"},
	{"ready init-first", "InitProducerId wrong state", "fatal init-first"},
	{"ready", "version changed", "ready init-first"},
	{"open", "version changed", "open"}, // the version is fixed at BeginTxn
}

func TestStates(t *testing.T) {
	for _, row := range stateTable {
		t.Run(row.from+"/"+row.event, func(t *testing.T) {
			m := parseMachine(t, row.from)
			again, err := happen(t, m, row.event)
			if got := describe(m, again, err); got != row.want {
				t.Errorf("\n got %s\nwant %s", got, row.want)
			}
		})
	}
}

// No state × call, and no step of a state × answer, is left out of the table.
func TestStateTableIsComplete(t *testing.T) {
	have := make(map[string]bool)
	for _, row := range stateTable {
		event := row.event
		if strings.HasPrefix(event, "Begin") {
			event = "Begin"
		}
		have[strings.Fields(row.from)[0]+": "+event] = true
	}
	var want []string
	for _, s := range stateNames {
		for _, call := range []string{"Begin", "AddOffsets", "Commit", "Abort", "message", "fatal message", "added", "maybe added"} {
			want = append(want, s+": "+call)
		}
	}
	for s, steps := range map[state][]step{
		stateCommitting: {stepOffsets, stepEndTxn}, stateUnanswered: {stepEndTxn}, stateAborting: {stepEndTxn, stepInit}, stateReady: {stepInit},
	} {
		for _, step := range steps {
			for _, a := range answerNames {
				want = append(want, fmt.Sprintf("%v: %v %s", s, step, a))
			}
		}
	}
	want = append(want, "committing: drain granted", "aborting: drain granted", "abortable: drain granted")
	for _, w := range want {
		if !have[w] {
			t.Errorf("the table lacks %q", w)
		}
	}
}

// The first cause of a failed transaction is the one to tell, unless a later one ends the producer.
func TestFirstCause(t *testing.T) {
	m := machine{}
	if err := m.begin(1); err != nil {
		t.Fatal(err)
	}
	first, second, last := errors.New("first"), errors.New("second"), errors.New("last")
	m.messageFailed(first, false)
	m.messageFailed(second, false)
	if err := m.commit(); !errors.Is(err, first) || errors.Is(err, second) || !IsAbortable(err) || IsFatal(err) {
		t.Errorf("%v", err)
	}
	m.messageFailed(last, true)
	m.messageFailed(first, true)
	for _, call := range []func() error{m.commit, m.abort} {
		if err := call(); !errors.Is(err, last) || errors.Is(err, first) || IsAbortable(err) || !IsFatal(err) {
			t.Errorf("%v", err)
		}
	}
}

// TxnStatus in each state, in sarama's flags.
func TestStatus(t *testing.T) {
	for from, want := range map[string]string{
		"ready":            "ProducerTxnStateReady",
		"ready init-first": "ProducerTxnStateInitializing",
		"open":             "ProducerTxnStateInTransaction",
		"committing":       "ProducerTxnStateEndTransaction|ProducerTxnStateCommittingTransaction",
		"unanswered":       "ProducerTxnStateEndTransaction|ProducerTxnStateCommittingTransaction",
		"aborting":         "ProducerTxnStateEndTransaction|ProducerTxnStateAbortingTransaction",
		"abortable":        "ProducerTxnStateInError|ProducerTxnStateAbortableError",
		"fatal":            "ProducerTxnStateInError|ProducerTxnStateFatalError",
	} {
		if got := parseMachine(t, from).status().String(); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

// flags are the names of a machine's flags in the table, in the order in which they are written.
func flags(m *machine) (names []string, values []*bool) {
	return []string{"drained", "offsets", "started", "unsettled", "stray", "failed", "unknown", "ended", "init-first"},
		[]*bool{&m.drained, &m.offsets, &m.started, &m.unsettled, &m.stray, &m.failed, &m.unknown, &m.ended, &m.initFirst}
}

func parseMachine(t *testing.T, text string) *machine {
	t.Helper()
	words := strings.Fields(text)
	m := &machine{state: state(slices.Index(stateNames[:], words[0])), version: 1, canBump: true}
	if m.state == stateAbortable || m.state == stateFatal {
		m.cause = errors.New("an earlier cause")
	}
	names, values := flags(m)
	for _, word := range words[1:] {
		switch i := slices.Index(names, word); {
		case i >= 0:
			*values[i] = true
		case word == "v2":
			m.version = 2
		case word == "old-broker":
			m.canBump = false
		default:
			t.Fatalf("no flag %q", word)
		}
	}
	return m
}

// happen does what an event says.
func happen(t *testing.T, m *machine, event string) (again bool, err error) {
	t.Helper()
	cause := errors.New("the cause")
	switch event {
	case "Begin 1":
		return false, m.begin(1)
	case "Begin 2":
		return false, m.begin(2)
	case "AddOffsets":
		return false, m.addOffset()
	case "Commit":
		return false, m.commit()
	case "Abort":
		return false, m.abort()
	case "message":
		m.messageFailed(cause, false)
	case "fatal message":
		m.messageFailed(cause, true)
	case "added":
		m.added(true)
	case "maybe added":
		m.added(false)
	case "offsets unanswered":
		m.unansweredOffsets()
	case "postpone":
		m.postpone()
	case "version changed":
		m.versionChanged()
	default:
		for s, name := range stepNames {
			for a, answerName := range answerNames {
				if event == name+" "+answerName {
					if !definite(answer(a)) {
						if step(s) == stepEndTxn {
							m.unsure()
						}
						return true, nil // ask repeats it
					}
					m.answered(step(s), answer(a), cause)
					return false, nil
				}
			}
		}
		t.Fatalf("no event %q", event)
	}
	return false, nil
}

func describe(m *machine, again bool, err error) string {
	text := m.state.String()
	add := func(word string, set bool) {
		if set {
			text += " " + word
		}
	}
	add("old-broker", !m.canBump)
	add("v2", m.version == 2)
	names, values := flags(m)
	for i, name := range names {
		add(name, *values[i])
	}
	add("(outcome unknown)", errors.Is(m.cause, flow.ErrOutcomeUnknown))
	if m.state == stateCommitting || m.state == stateUnanswered || m.state == stateAborting {
		add("→ "+m.next().String(), err == nil)
	}
	switch failure, failed := errors.AsType[*Error](err); {
	case errors.Is(err, sarama.ErrTransitionNotAllowed):
		text += ": ErrTransitionNotAllowed"
	case errors.Is(err, sarama.ErrTransactionNotReady):
		text += ": ErrTransactionNotReady"
	case failed && failure.Fatal:
		text += ": fatal"
	case failed:
		text += ": abortable"
	case err != nil:
		text += ": " + err.Error()
	case again:
		text += ": again"
	}
	return text
}
