package txn

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// request is a request to a coordinator that is repeated until it has a definite answer.
type request struct {
	to              coordinatorKey
	lowest, highest int16 // versions
	// make makes it anew for each try. read returns the answer's error code.
	make func() kmsg.Request
	read func(kmsg.Response) sarama.KError
	// unsure is called after each try that may have been done, and has no definite answer. It may be nil, and may change the
	// versions of the next try.
	unsure func()
	// failed is called with the error of each try that will be repeated. It may be nil.
	failed func(error)
	// check looks for nonsense in an answer without an error code: its error has the request sent again. It may be nil.
	check func(kmsg.Response) error
	// early is until when PRODUCER_FENCED may mean that the last transaction is still being ended. While its markers are written, the
	// coordinator takes no EndTxn of the epoch that it has given with them. So it is asked again.
	early time.Time
}

// definite tells whether an answer ends a request.
func definite(a answer) bool {
	return a == answerGranted || a == answerAbortable || a == answerFatal || a == answerWrongState
}

// ask sends a request until its answer is definite. err says why it was not granted. If the answer is not definite, the time
// or the tries are over, or ctx has ended.
func (t *Transactions) ask(ctx context.Context, r *request) (kmsg.Response, answer, error) {
	began, failures, concurrent := time.Now(), 0, 0
	for {
		req := r.make()
		resp, sent, err := t.cfg.Coordinators.request(ctx, r.to, req, r.lowest, r.highest)
		a := answerGranted
		early := false
		var code sarama.KError
		if err != nil {
			a = meaningOfFailure(err)
			t.strayed(sent && kmsg.Key(req.Key()) != kmsg.InitProducerID)
		} else if code = r.read(resp); code != sarama.ErrNoError {
			a = meaningOf(kmsg.Key(req.Key()), code)
			err = fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), flow.External(code))
			if early = code == sarama.ErrProducerFenced && time.Now().Before(r.early); early {
				a = answerRetrySoon
			} else if a == answerRetrySoon {
				t.LastStillEnds()
			}
		} else if r.check != nil {
			if err = r.check(resp); err != nil {
				a = answerLookUp
			}
		}
		if definite(a) {
			return resp, a, err
		}
		if sent && r.unsure != nil {
			r.unsure()
		}
		if r.failed != nil {
			r.failed(err)
		}
		if ctx.Err() != nil {
			return nil, a, fmt.Errorf("%w: %w", flow.ContextError(ctx), err)
		}
		if a == answerLookUp {
			t.cfg.Coordinators.forget(r.to)
		}
		over := time.Since(began) >= t.cfg.Timeout
		var pause time.Duration
		if a == answerRetrySoon {
			pause = t.shortly(concurrent)
			concurrent++
		} else {
			failures++
			over = over || t.cfg.MaxRetries >= 0 && failures > t.cfg.MaxRetries
			pause = t.cfg.Backoff(failures)
		}
		switch {
		case over && early:
			return nil, answerFatal, err
		case over && code != sarama.ErrNoError:
			return nil, a, givenUp(kmsg.Key(req.Key()), code)
		case over:
			return nil, a, err
		}
		if a != answerRetrySoon {
			t.cfg.Log.Printf("sluice: transactional id %q: again in %v: %v\n", t.cfg.ID, pause, err)
			t.cfg.Log.Event(flow.RequestRepeated, r.to.String(), slog.String("transactional_id", t.cfg.ID),
				slog.String("request", kmsg.NameForKey(req.Key())), slog.Duration("pause", pause), flow.Cause(err))
		}
		if ended := flow.Sleep(ctx, pause); ended != nil {
			return nil, a, fmt.Errorf("%w: %w", ended, err)
		}
	}
}

// givenUp is the error of a request whose tries are used up, with the last answer's code. As in sarama, two requests have an error
// of their own around it.
func givenUp(key kmsg.Key, code sarama.KError) error {
	err := error(code)
	switch key {
	case kmsg.AddPartitionsToTxn:
		err = sarama.Wrap(sarama.ErrAddPartitionsToTxn, code)
	case kmsg.TxnOffsetCommit:
		err = sarama.Wrap(sarama.ErrTxnOffsetCommit, code)
	}
	return fmt.Errorf("%s: %w", kmsg.NameForKey(int16(key)), flow.External(err))
}

// strayed records that a request that may have been sent has no answer.
func (t *Transactions) strayed(sent bool) {
	if sent {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.machine.stray = true
	}
}

// shortly is the pause while the last transaction is still being ended, which takes milliseconds mostly.
func (t *Transactions) shortly(n int) time.Duration {
	const first, enough = time.Millisecond, 20 * time.Millisecond
	return flow.Doubled(first, n, max(t.cfg.Backoff(1), enough))
}
