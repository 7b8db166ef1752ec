package flow

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

var errRefused = errors.New("refused")

// desk is an outcome stage with a budget and barriers.
type desk struct {
	*Outcomes
	budget   *Budget
	barriers *Barriers
	closed   bool // the test closed it itself
}

// waitHandedOver waits until every outcome is in its channel, or its callback has returned.
func (d *desk) waitHandedOver() { poll(func() bool { return d.Buffered() == 0 }) }

func newDesk(t *testing.T, change func(*OutcomesConfig)) *desk {
	t.Helper()
	d := &desk{budget: NewBudget(1 << 30), barriers: NewBarriers()}
	cfg := OutcomesConfig{BufferSize: 64, Budget: d.budget, Barriers: d.barriers}
	change(&cfg)
	d.Outcomes = NewOutcomes(cfg)
	t.Cleanup(func() {
		if !d.closed {
			d.waitHandedOver()
			d.CloseReports()
			d.Close()
		}
		if used := d.budget.Used(); used != 0 {
			t.Errorf("%d bytes stay charged", used)
		}
		if n := pending(d.barriers); n != 0 {
			t.Errorf("%d records stay pending", n)
		}
	})
	return d
}

// accept does what the dispatcher does: it counts records, and charges 100 bytes for each.
func (d *desk) accept(recs ...Record) []Record {
	barrier := d.barriers.Accept(len(recs))
	d.Accepted(len(recs))
	for i := range recs {
		recs[i].Charge, recs[i].Barrier = 100, barrier
		d.budget.Force(100 + RecordOverhead)
	}
	return recs
}

func message(value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(value), Partition: 7, Offset: 5}
}

func outcomeOf(recs []Record, err error) *Outcome {
	oc := &Outcome{Topic: "t", Partition: 3, BaseOffset: 40, Records: recs, Err: err}
	if err != nil {
		oc.BaseOffset = NoOffset
	}
	return oc
}

// received collects the ways by which each message's outcome came.
type received struct {
	mu   sync.Mutex
	ways map[*sarama.ProducerMessage][]string
}

func (d *received) add(msg *sarama.ProducerMessage, way string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		way += " failed"
	}
	if d.ways == nil {
		d.ways = make(map[*sarama.ProducerMessage][]string)
	}
	d.ways[msg] = append(d.ways[msg], way)
}

type waiterFunc func(recs []Record, partition int32, offset int64, err error)

func (f waiterFunc) Outcome(recs []Record, partition int32, offset int64, _ time.Time, err error) {
	f(recs, partition, offset, err)
}

// For every combination of settings each outcome comes once by each way that it should, and by no other; first of all to a tracer
// that wants it.
func TestOutcomesGoWhereTheyAreWanted(t *testing.T) {
	for combination := range 32 {
		successes, errs, reports, failed := combination&1 > 0, combination&2 > 0, combination&4 > 0, combination&8 > 0
		traced := combination&16 > 0
		t.Run(fmt.Sprintf("successes=%v,errors=%v,report=%v,failed=%v,traced=%v", successes, errs, reports, failed, traced), func(t *testing.T) {
			var got received
			d := newDesk(t, func(cfg *OutcomesConfig) {
				cfg.ReturnSuccesses, cfg.ReturnErrors, cfg.Traced = successes, errs, traced
				if reports {
					cfg.Report = func(r Report) {
						for _, msg := range r.Messages {
							got.add(msg, "report", r.Err)
						}
					}
				}
			})
			var outcome error
			suffix := ""
			if failed {
				outcome, suffix = errRefused, " failed"
			}
			a, b, called, waited := message("a"), message("b"), message("called"), message("waited")
			done := func(msg *sarama.ProducerMessage, err error) { got.add(msg, "done", err) }
			waiter := waiterFunc(func(recs []Record, partition int32, offset int64, err error) {
				got.add(waited, "waiter", err)
				want := int64(42)
				if failed {
					want = NoOffset
				}
				if len(recs) != 1 || recs[0].Msg != waited || recs[0].Completion.Index != 9 || partition != 3 || offset != want {
					t.Errorf("waiter: %d records, partition %d, offset %d", len(recs), partition, offset)
				}
			})
			recs := d.accept(
				Record{Msg: a},
				Record{Msg: called, Completion: &Completion{Done: done}},
				Record{Msg: waited, Completion: &Completion{Index: 9, Waiter: waiter}},
				Record{Msg: b},
			)
			sealed := d.barriers.Seal()
			if traced {
				for i := range recs[:3] { // the tracer does not ask for b's
					recs[i].trace(t, &got, sealed, int64(40+i), failed)
				}
			}
			d.Decide(outcomeOf(recs, outcome))
			<-sealed
			d.waitHandedOver()
			d.CloseReports()
			go d.Close()
			for msg := range d.Successes {
				got.add(msg, "successes", nil)
			}
			for err := range d.Errors {
				got.add(err.Msg, "errors", err.Err)
			}

			var ways []string
			if reports {
				ways = append(ways, "report"+suffix)
			}
			if successes && !failed {
				ways = append(ways, "successes")
			}
			if errs && failed {
				ways = append(ways, "errors failed")
			}
			for msg, want := range map[*sarama.ProducerMessage][]string{
				a: ways, b: ways, called: {"done" + suffix}, waited: {"waiter" + suffix},
			} {
				if traced && msg != b {
					want = append([]string{"tracer" + suffix}, want...)
				}
				if ways := got.ways[msg]; fmt.Sprint(ways) != fmt.Sprint(want) {
					t.Errorf("the outcome of %s came by %v, want %v", msg.Value, ways, want)
				}
			}
			if waited.Partition != 7 || waited.Offset != 5 {
				t.Error("a waiter's message was written to: only its sender may")
			}
			switch {
			case failed && called.Offset != 5:
				t.Error("a failed message got an offset")
			case called.Partition != 3 || !failed && called.Offset != 41:
				t.Errorf("partition %d, offset %d", called.Partition, called.Offset)
			case len(ways) > 0 && !failed && (a.Offset != 40 || b.Offset != 43):
				t.Errorf("offsets %d and %d: want the place in the batch", a.Offset, b.Offset)
			}
			d.closed = true
		})
	}
}

// trace gives the record an End, as a tracer does, that expects this offset, and that no Flush has heard of the outcome.
func (r *Record) trace(t *testing.T, got *received, flushed <-chan struct{}, offset int64, failed bool) {
	if r.Completion == nil {
		r.Completion = &Completion{}
	}
	msg := r.Msg
	if failed {
		offset = NoOffset
	}
	r.Completion.End = func(partition int32, at int64, err error) {
		got.add(msg, "tracer", err)
		select {
		case <-flushed:
			t.Error("a Flush has heard of the outcome before the tracer")
		default:
		}
		if partition != 3 || at != offset {
			t.Errorf("tracer: partition %d, offset %d, want 3 and %d", partition, at, offset)
		}
	}
}

// Who withdraws a message tells the tracer itself: when the pipeline comes to the record, it must not touch End any more.
func TestWithdrawnIsNotTraced(t *testing.T) {
	d := newDesk(t, func(cfg *OutcomesConfig) { cfg.Traced = true })
	completion := &Completion{Waiter: noWaiter{}}
	completion.End = func(int32, int64, error) { t.Error("the pipeline has told the tracer") }
	recs := d.accept(Record{Msg: message("a"), Completion: completion})
	if !completion.Withdraw() {
		t.Fatal("it can't be withdrawn")
	}
	d.Decide(outcomeOf(recs, ErrWithdrawn))
	d.waitHandedOver()
	if completion.End == nil {
		t.Error("the pipeline has written to End")
	}
}

func TestReportOfABatch(t *testing.T) {
	got := make(chan Report, 1)
	d := newDesk(t, func(cfg *OutcomesConfig) { cfg.Report = func(r Report) { got <- r } })
	nothing := func(*sarama.ProducerMessage, error) {}
	d.Decide(outcomeOf(d.accept(
		Record{Msg: message("x"), Completion: &Completion{Done: nothing}},
		Record{Msg: message("a")},
		Record{Msg: message("b")}), nil))
	r := <-got
	if r.Topic != "t" || r.Partition != 3 || r.BaseOffset != 41 || len(r.Messages) != 2 || r.Err != nil || r.Messages[0].Offset != 41 {
		t.Errorf("report %+v: want the messages without a callback, and the offset of the first of them", r)
	}
	d.Decide(outcomeOf(d.accept(Record{Msg: message("c")}), errRefused))
	if r := <-got; r.BaseOffset != NoOffset || !errors.Is(r.Err, errRefused) {
		t.Errorf("report %+v", r)
	}
}

func TestAppendTimeIsWrittenOnlyWhereTheLogSetIt(t *testing.T) {
	d := newDesk(t, func(cfg *OutcomesConfig) { cfg.ReturnSuccesses = true })
	set, own, logged := message("set"), time.UnixMilli(1000), time.UnixMilli(2000)
	set.Timestamp = own
	d.Decide(outcomeOf(d.accept(Record{Msg: set}), nil))
	if msg := <-d.Successes; !msg.Timestamp.Equal(own) {
		t.Errorf("timestamp %v, want its own", msg.Timestamp)
	}
	oc := outcomeOf(d.accept(Record{Msg: set}), nil)
	oc.AppendTime = logged
	d.Decide(oc)
	if msg := <-d.Successes; !msg.Timestamp.Equal(logged) {
		t.Errorf("timestamp %v, want the log's", msg.Timestamp)
	}
}

func TestUndrainedErrorsHoldNothingElseUp(t *testing.T) {
	reported := make(chan int, 100)
	d := newDesk(t, func(cfg *OutcomesConfig) {
		cfg.ReturnSuccesses, cfg.ReturnErrors, cfg.BufferSize = true, true, 0
		cfg.Report = func(r Report) { reported <- len(r.Messages) }
	})
	for range 10 {
		d.Decide(outcomeOf(d.accept(Record{Msg: message("bad")}, Record{Msg: message("bad")}), errRefused))
		d.Decide(outcomeOf(d.accept(Record{Msg: message("good")}), nil))
	}
	for range 10 {
		<-d.Successes
	}
	for range 20 {
		<-reported
	}
	for range 20 {
		<-d.Errors
	}
}

// A buffer's bytes are released when the outcome is decided, the overhead when the outcome is handed over.
func TestOverheadIsReleasedAtHandOver(t *testing.T) {
	d := newDesk(t, func(cfg *OutcomesConfig) {
		cfg.ReturnSuccesses, cfg.BufferSize = true, 0
	})
	recs := d.accept(Record{Msg: message("a")}, Record{Msg: message("b")})
	d.Decide(outcomeOf(recs, nil))
	<-d.Successes
	if got := d.budget.Used(); got != 2*RecordOverhead {
		t.Errorf("%d bytes charged with an outcome that waits, want the overhead of its records", got)
	}
	if d.Buffered() != 2 {
		t.Errorf("%d buffered", d.Buffered())
	}
	<-d.Successes
	d.waitHandedOver()
	d.CloseReports()
	d.Close()
	d.closed = true
	if recs[0].Msg != nil || recs[1].Msg != nil {
		t.Error("the run was not given back: it still holds its messages")
	}
	if d.Buffered() != 0 || d.budget.Used() != 0 {
		t.Errorf("%d buffered, %d bytes charged", d.Buffered(), d.budget.Used())
	}
}

func TestSameMessageTwiceConcurrentSafe(t *testing.T) {
	var reports sync.WaitGroup
	d := newDesk(t, func(cfg *OutcomesConfig) {
		cfg.ReturnSuccesses, cfg.ReturnErrors = true, true
		cfg.Report = func(Report) { reports.Done() }
	})
	const each = 200
	msg := message("one")
	reports.Add(2 * each)
	var deciders sync.WaitGroup
	for g := range 2 {
		deciders.Go(func() {
			for i := range each {
				var err error
				if (g+i)%2 == 0 {
					err = errRefused
				}
				d.Decide(outcomeOf(d.accept(Record{Msg: msg}), err))
			}
		})
	}
	for range each {
		<-d.Successes
		<-d.Errors
	}
	deciders.Wait()
	reports.Wait()
}

// A callback that runs during CloseReports may still cause outcomes. The channels close last.
func TestCloseHandsOverWhatIsLeft(t *testing.T) {
	var d *desk
	entered, goOn := make(chan struct{}), make(chan struct{})
	d = newDesk(t, func(cfg *OutcomesConfig) { cfg.ReturnErrors = true; cfg.BufferSize = 1 })
	d.Decide(outcomeOf(d.accept(Record{Msg: message("a"), Completion: &Completion{Done: func(*sarama.ProducerMessage, error) {
		close(entered)
		<-goOn
		d.Decide(outcomeOf(d.accept(Record{Msg: message("late")}), errRefused))
	}}}), nil))
	<-entered
	ended := make(chan struct{})
	go func() {
		d.CloseReports()
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("CloseReports returned before the callback did")
	default:
	}
	close(goOn)
	if err := <-d.Errors; !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	<-ended
	for range 3 {
		d.Decide(outcomeOf(d.accept(Record{Msg: message("last")}), errRefused))
	}
	go d.Close()
	n := 0
	for range d.Errors {
		n++
	}
	if _, open := <-d.Successes; open || n != 3 {
		t.Errorf("%d errors after Close began, want 3, and both channels closed", n)
	}
	d.closed = true
}

func TestWithdrawnGetsNoOutcome(t *testing.T) {
	d := newDesk(t, func(*OutcomesConfig) {})
	waiter := waiterFunc(func([]Record, int32, int64, error) { t.Error("a withdrawn message got an outcome") })
	completion := &Completion{Waiter: waiter}
	recs := d.accept(Record{Msg: message("a"), Completion: completion})
	if !completion.Withdraw() {
		t.Fatal("not withdrawn")
	}
	d.Decide(outcomeOf(recs, nil))
}

// Consecutive records of a batch that share a Completion get their outcome in one call.
func TestSharedCompletion(t *testing.T) {
	for _, outcome := range []error{nil, errRefused} {
		d := newDesk(t, func(cfg *OutcomesConfig) { cfg.ReturnSuccesses, cfg.ReturnErrors = true, true })
		var got []string
		waiter := waiterFunc(func(recs []Record, partition int32, offset int64, err error) {
			for i, rec := range recs {
				got = append(got, fmt.Sprint(rec.Msg.Value, partition, OffsetBehind(offset, i), err))
			}
			got = append(got, "|")
		})
		completion := &Completion{NotCancellable: true, Waiter: waiter}
		recs := d.accept(
			Record{Msg: message("a"), Completion: completion}, Record{Msg: message("b"), Completion: completion},
			Record{Msg: message("c")},
			Record{Msg: message("d"), Completion: completion},
		)
		if waiters := d.Decide(outcomeOf(recs, outcome)); waiters != 3 {
			t.Errorf("%d records had a waiter, want 3", waiters)
		}
		want := "[a3 40 <nil> b3 41 <nil> | d3 43 <nil> |]"
		if outcome != nil {
			want = "[a3 -1 refused b3 -1 refused | d3 -1 refused |]"
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if outcome == nil {
			<-d.Successes
		} else {
			<-d.Errors
		}
		d.waitHandedOver()
	}
}

func TestPanicHandler(t *testing.T) {
	caught := make(chan any, 2)
	old := sarama.PanicHandler
	sarama.PanicHandler = func(p any) { caught <- p }
	defer func() { sarama.PanicHandler = old }()
	d := newDesk(t, func(cfg *OutcomesConfig) {
		cfg.ReturnSuccesses = true
		cfg.Report = func(Report) { panic("report") }
	})
	d.Decide(outcomeOf(d.accept(
		Record{Msg: message("a"), Completion: &Completion{Done: func(*sarama.ProducerMessage, error) { panic("done") }}},
		Record{Msg: message("b")}), nil))
	if a, b := <-caught, <-caught; a != "done" || b != "report" {
		t.Errorf("caught %v and %v", a, b)
	}
	<-d.Successes
	d.waitHandedOver() // in spite of the panics all outcomes come
}

func TestGuardWithoutHandlerPanics(t *testing.T) {
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("recovered %v", p)
		}
	}()
	Guard(func() { panic("boom") })
}

func TestErrorsWrapTheirCause(t *testing.T) {
	if err := Expired(time.Minute, errRefused); !errors.Is(err, ErrDeliveryTimeout) || !errors.Is(err, errRefused) {
		t.Error(err)
	}
	err := Expired(time.Minute, nil)
	if !errors.Is(err, ErrDeliveryTimeout) || err.Error() != "sluice: delivery timeout of 1m0s is over" {
		t.Error(err)
	}
	if err := Unknown(errRefused); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, errRefused) {
		t.Error(err)
	}
}

// BenchmarkDecide decides batches of a hundred records, for a reader of Successes and for waiters.
func BenchmarkDecide(b *testing.B) {
	for _, name := range []string{"successes", "waiters"} {
		b.Run(name, func(b *testing.B) {
			budget, barriers := NewBudget(1<<30), NewBarriers()
			o := NewOutcomes(OutcomesConfig{BufferSize: 1024, ReturnSuccesses: true, Budget: budget, Barriers: barriers})
			read := make(chan struct{})
			go func() {
				defer close(read)
				for range o.Successes {
				}
			}()
			rec := Record{Msg: message("x")}
			if name == "waiters" {
				rec.Completion = &Completion{NotCancellable: true, Waiter: noWaiter{}}
			}
			b.ReportAllocs()
			for b.Loop() {
				run := GetRun(100)
				for range 100 {
					run = append(run, rec)
				}
				o.Accepted(len(run))
				budget.Force(int64(len(run)) * RecordOverhead)
				barriers.Accept(len(run))
				o.Decide(outcomeOf(run, nil))
				if o.Buffered() > 100_000 {
					poll(func() bool { return o.Buffered() == 0 })
				}
			}
			o.CloseReports()
			o.Close()
			<-read
		})
	}
}
