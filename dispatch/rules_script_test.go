package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/produceset"
)

// The rules as scripts: events in, effects out, without a goroutine or a clock. Commands:
//
//	new [leader=N|none] [retry=N] [timeout=D] [backoff=D] [grows] [idempotent] [bounded]
//	                       makes the rules of a partition; with grows the back-off is D times the failures
//	run 1..3               records come
//	closed                 the broker producer closed the session
//	ended [1..3] [4]?# 5..9 cause=E refresh hinted unsent denied at-once progress sequence-broken identity-lost next=N
//	                       untried=N
//	                       the session's result: batches (? is unsure, # is numbered), then records
//	round leader=N|none [err=E|err=denied] [older]
//	                       a look-up round ended, denied: credentials were refused; older: it began before the last refresh
//	tick +100ms            time passes
//	lose-id, no-id, id     the producer has no id; asking for one failed; there is one
//	refused                asking for one was refused
//	last-epoch             the identity's epoch is the last one
//	attempts               prints the attempts of each batch
//	closing                Close begins
//	abort, stop            the producer aborts, or ends
//
// Sessions are s1, s2 and so on, in the order in which they are opened.
func TestRulesScripts(t *testing.T) {
	flowtest.Run(t, "testdata/*.txt", func(*testing.T) flowtest.Command { return (&rulesScript{}).do })
}

type rulesScript struct {
	rules
	out          strings.Builder
	now          time.Duration
	opened       int
	isClosing    bool
	abortedBy    error
	id           txn.Identity // of the producer
	refreshCount uint64
	known        map[int]flow.Record              // all records of the script, by number
	sealed       map[string]*brokerproducer.Batch // all batches of the script, by what stands in brackets
}

var scriptConfig = &produceset.Config{MaxBytes: 1 << 20}

// scriptBatch is a batch as the broker producer hands it back.
func scriptBatch(timeout time.Duration, recs ...flow.Record) *brokerproducer.Batch {
	b := &brokerproducer.Batch{Batch: produceset.New(scriptConfig, 0), Deadline: recs[0].Born + int64(timeout)}
	for _, rec := range recs {
		if err := b.Append(rec, 0); err != nil {
			panic(err)
		}
	}
	return b
}

func (s *rulesScript) do(t *testing.T, name string, args []string) string {
	s.out.Reset()
	switch name {
	case "new":
		s.create(args)
	case "run":
		var recs []flow.Record
		for _, n := range flowtest.Range(args[0]) {
			s.known[n] = flow.Record{Msg: flowtest.Message(n), Born: int64(s.now), Charge: 1000}
			recs = append(recs, s.known[n])
		}
		s.onRecords(recs, int64(s.now))
	case "closed":
		s.onSessionClosed(s.session)
	case "attempts":
		var attempts []string
		for _, name := range slices.Sorted(maps.Keys(s.sealed)) {
			attempts = append(attempts, fmt.Sprintf("%s %d", name, s.sealed[name].Attempts))
		}
		fmt.Fprintln(&s.out, strings.Join(attempts, ", "))
	case "ended":
		s.onSessionEnded(s.session, s.result(args), int64(s.now))
	case "round":
		var err error
		if text := flowtest.Option(args, "err", ""); text != "" {
			err = errors.New(text)
			if text == "denied" {
				err = sarama.ErrSASLAuthenticationFailed
			}
		}
		answers := s.refreshCount
		if strings.Contains(strings.Join(args, " "), "older") {
			answers-- // it began before the partition producer asked
		}
		s.onLeader(scriptLeader(args), answers, err, int64(s.now), int64(s.now))
	case "tick":
		s.now += duration(strings.TrimPrefix(args[0], "+"))
		s.onTick(int64(s.now))
	case "id":
		s.id = txn.Identity{ID: 7}
		s.onIdentity(int64(s.now))
	case "no-id":
		s.onIdentityFailed(errors.New("no producer id"), false, int64(s.now))
	case "refused":
		s.onIdentityFailed(errors.New("refused"), true, int64(s.now))
	case "last-epoch":
		s.id.Epoch = math.MaxInt16
	case "lose-id":
		s.id = txn.None
	case "closing":
		s.isClosing = true
	case "abort":
		s.abortedBy = errors.New("aborted")
		s.abort(s.abortedBy)
	case "stop":
		fmt.Fprintf(&s.out, "stopped: %v\n", s.stop())
	case "":
		s.print()
	default:
		t.Fatalf("no command %q", name)
	}
	return s.out.String()
}

func (s *rulesScript) create(args []string) {
	retryMax, _ := strconv.Atoi(flowtest.Option(args, "retry", "3"))
	backoff := duration(flowtest.Option(args, "backoff", "100ms"))
	grows := strings.Contains(strings.Join(args, " "), "grows")
	*s = rulesScript{known: make(map[int]flow.Record), sealed: make(map[string]*brokerproducer.Batch), id: txn.None}
	if strings.Contains(strings.Join(args, " "), "idempotent") {
		s.id = txn.Identity{ID: 7}
	}
	s.rules = rules{
		effects:  s,
		retryMax: retryMax,
		backoff: func(failures int) time.Duration {
			if grows {
				return backoff * time.Duration(failures)
			}
			return backoff
		},
		pause:   backoff,
		bounded: strings.Contains(strings.Join(args, " "), "bounded"),

		lookUpRetries: 1,

		timeout:    duration(flowtest.Option(args, "timeout", "10s")),
		closing:    func() bool { return s.isClosing },
		stopped:    func() error { return s.abortedBy },
		leader:     scriptLeader(args),
		idempotent: s.id.Known(),
		sequence:   txn.Sequence{Identity: txn.None},
	}
}

func scriptLeader(args []string) leader {
	id, err := strconv.Atoi(flowtest.Option(args, "leader", "1"))
	if err != nil {
		return leader{}
	}
	return leader{broker: metadata.Broker{ID: int32(id)}, known: true}
}

func (s *rulesScript) result(args []string) brokerproducer.SessionResult {
	result, atOnce := brokerproducer.SessionResult{Sequence: txn.Sequence{Identity: txn.None}}, false
	if next := flowtest.Option(args, "next", ""); next != "" {
		n, _ := strconv.Atoi(next)
		result.Sequence = txn.Sequence{Identity: s.id, Next: int32(n)}
	}
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "["):
			inner, numbered := strings.CutSuffix(arg, "#")
			inner, unsure := strings.CutSuffix(inner, "?")
			var recs []flow.Record
			for _, n := range flowtest.Range(strings.Trim(inner, "[]")) {
				recs = append(recs, s.known[n])
			}
			b := s.sealed[inner] // the same batch if it was sent again
			if b == nil {
				b = scriptBatch(s.timeout, recs...)
				s.sealed[inner] = b
			}
			b.Unsure, b.Numbered = unsure, numbered
			result.Batches = append(result.Batches, b)
		case strings.HasPrefix(arg, "next="):
		case strings.HasPrefix(arg, "cause="):
			result.Cause = errors.New(strings.TrimPrefix(arg, "cause="))
			result.Next = max(result.Next, brokerproducer.AfterBackoff)
		case arg == "refresh":
			result.Next = max(result.Next, brokerproducer.AfterLookup)
		case arg == "hinted":
			result.Next = max(result.Next, brokerproducer.AfterHint)
		case arg == "unsent":
			result.Unsent = true
		case arg == "denied":
			result.Denied = true
		case arg == "sequence-broken":
			result.SequenceState = brokerproducer.SequenceBroken
		case arg == "identity-lost":
			result.SequenceState = brokerproducer.IdentityLost
		case arg == "at-once":
			atOnce = true
		case arg == "progress":
			result.Progress = true
		case strings.HasPrefix(arg, "untried="):
			result.Untried, _ = strconv.Atoi(strings.TrimPrefix(arg, "untried="))
		default:
			for _, n := range flowtest.Range(arg) {
				result.Records = append(result.Records, s.known[n])
			}
		}
	}
	if atOnce {
		result.Next = brokerproducer.AtOnce
	}
	if n := len(result.Batches) - result.Untried; result.Cause != nil && !result.Unsent && result.Next != brokerproducer.AtOnce && n > 0 {
		result.Batches[0].Attempts++ // as the broker producer does
	}
	return result
}

func (s *rulesScript) print() {
	fmt.Fprintf(&s.out, "state %v", s.state)
	if len(s.batches)+len(s.records) > 0 {
		s.out.WriteString(", holds")
		for _, b := range s.batches {
			fmt.Fprintf(&s.out, " [%s]", flowtest.Numbers(b.Records))
		}
		if recs := s.records; len(recs) > 0 {
			s.out.WriteString(" " + flowtest.Numbers(recs))
		}
	}
	if at := s.wake(); at > 0 {
		fmt.Fprintf(&s.out, ", wakes in %v", time.Duration(at)-s.now)
	}
	s.out.WriteString("\n")
}

// The effects of the rules.

func (s *rulesScript) open(to leader, sequence txn.Sequence, verify bool) Session {
	s.opened++
	fmt.Fprintf(&s.out, "open s%d at broker %d", s.opened, to.broker.ID)
	if sequence.Known() {
		fmt.Fprintf(&s.out, " from epoch %d sequence %d", sequence.Epoch, sequence.Next)
	}
	if verify {
		s.out.WriteString(" to verify")
	}
	s.out.WriteString("\n")
	return &scriptSession{s, s.opened}
}

func (s *rulesScript) stopDirect() {}

func (s *rulesScript) failing(error) {}

func (s *rulesScript) working() {}

func (s *rulesScript) identity() txn.Identity { return s.id }

func (s *rulesScript) waitsFor(state partitionState) error {
	return fmt.Errorf("waiting in state %v", state)
}

func (s *rulesScript) awaitIdentity() { s.out.WriteString("await an identity\n") }

func (s *rulesScript) renew(from txn.Identity) {
	fmt.Fprintf(&s.out, "renew id %d epoch %d\n", from.ID, from.Epoch)
	s.id = txn.None
}

func (s *rulesScript) bump(from txn.Identity) {
	fmt.Fprintf(&s.out, "bump epoch %d\n", from.Epoch)
	if s.id.Epoch == math.MaxInt16 {
		s.id = txn.None // a broker is asked for another id
		return
	}
	s.id.Epoch++
}

func (s *rulesScript) refresh(_, _ bool) uint64 {
	s.out.WriteString("refresh\n")
	s.refreshCount++
	return s.refreshCount
}

func (s *rulesScript) failBatch(b *brokerproducer.Batch, cause error) {
	unsure := ""
	if b.Unsure {
		unsure = "?"
	}
	fmt.Fprintf(&s.out, "fail [%s]%s: %v\n", flowtest.Numbers(b.Records), unsure, cause)
}

func (s *rulesScript) failRecords(recs []flow.Record, cause error) {
	fmt.Fprintf(&s.out, "fail %s: %v\n", flowtest.Numbers(recs), cause)
}

type scriptSession struct {
	script *rulesScript
	number int
}

func (s *scriptSession) Send(recs []flow.Record) {
	if len(recs) > 0 {
		fmt.Fprintf(&s.script.out, "send to s%d: %s\n", s.number, flowtest.Numbers(recs))
	}
}

func (s *scriptSession) Resend(b *brokerproducer.Batch) {
	fmt.Fprintf(&s.script.out, "resend to s%d: [%s]\n", s.number, flowtest.Numbers(b.Records))
}

func (s *scriptSession) Doing() error { panic("it is asked by the effect") }

func (s *scriptSession) End() { fmt.Fprintf(&s.script.out, "end s%d\n", s.number) }

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
