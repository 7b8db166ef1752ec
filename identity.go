package sluice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/dispatch"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// leastTxnPause is there whatever Producer.Transaction.Retry says: each try may cost a dial and a login at every broker.
const leastTxnPause = 10 * time.Millisecond

// asker sends requests to any broker.
type asker struct {
	dialer  *wire.Dialer
	md      *metadata.Service
	seeds   []string
	timeout time.Duration   // how long a broker may be silent
	doing   flow.Activities // whom it asks at the moment
}

func newAsker(shared *flow.Shared, dialer *wire.Dialer, md *metadata.Service, seeds []string) *asker {
	return &asker{dialer: dialer, md: md, seeds: seeds, timeout: shared.Conf.Net.ReadTimeout}
}

// Doing is which broker is dialled or asked, for the errors of messages that wait for its answer; nil if none is.
func (a *asker) Doing() error { return a.doing.Now("") }

// newIdentities makes the manager of the producer's identity: any broker can give one.
func newIdentities(shared *flow.Shared, dialer *wire.Dialer, md *metadata.Service, seeds []string) *txn.Manager {
	asker := newAsker(shared, dialer, md, seeds)
	return txn.NewManager(txn.Config{
		Ask: asker.ask, Doing: asker.Doing,
		// A longer pause after the tries that sarama makes.
		Backoff: func(failures int) time.Duration {
			least := leastTxnPause
			if failures > shared.Conf.Producer.Transaction.Retry.Max {
				least = time.Second
			}
			return max(flow.TxnBackoff(shared.Conf, failures), least)
		},
		Changed: shared.WakeAll,
		Log:     shared.Log,
	})
}

// newTransactions makes the transactional side of a producer.
func newTransactions(shared *flow.Shared, dispatcher *dispatch.Dispatcher, dialer *wire.Dialer, md *metadata.Service, seeds []string) *txn.Transactions {
	conf := shared.Conf
	asker := newAsker(shared, dialer, md, seeds)
	retries := -1
	if shared.SaramaContract {
		retries = conf.Producer.Transaction.Retry.Max
	}
	return txn.NewTransactions(txn.TransactionsConfig{
		ID: conf.Producer.Transaction.ID, Timeout: conf.Producer.Transaction.Timeout, MaxRetries: retries,
		Coordinators: txn.NewCoordinators(txn.CoordinatorsConfig{
			Ask: asker.ask, Asking: asker.Doing, Dialling: dialer.Doing,
			Dial: func(ctx context.Context, b metadata.Broker) (txn.Conn, error) {
				conn, err := dialer.DialNow(ctx, b.ID, b.Addr)
				if err != nil {
					return nil, err // not a nil *wire.Conn in an interface
				}
				if err := conn.CheckCluster(ctx, md.ClusterID()); err != nil {
					conn.Close()
					return nil, err
				}
				return conn, nil
			},
			Timeout: conf.Net.ReadTimeout,
			Log:     shared.Log,
		}),
		Backoff:        func(failures int) time.Duration { return max(flow.TxnBackoff(conf, failures), leastTxnPause) },
		Version:        dialer.TransactionVersion,
		RefreshVersion: func(ctx context.Context, c txn.Conn) error { return dialer.RefreshFeatures(ctx, c.(*wire.Conn)) },
		Begin:          dispatcher.BeginTxn,
		Drain: func(ctx context.Context) error {
			shared.BeginUrgent()
			defer shared.EndUrgent()
			select {
			case <-dispatcher.EndTxn(ctx):
				return nil
			case <-ctx.Done():
				return flow.ContextError(ctx)
			}
		},
		Fail: shared.FailTxn, Clear: shared.ClearTxn,
		Log: shared.Log,
	})
}

// addresses are the brokers to try, each once: known ones in random order, metadata.MostCandidates at most, and the other
// seeds.
func (a *asker) addresses() (known, seeds []string) {
	for _, b := range a.md.Brokers() {
		known = append(known, b.Addr)
	}
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	known = known[:min(len(known), metadata.MostCandidates)]
	for _, seed := range a.seeds {
		if !slices.Contains(known, seed) {
			seeds = append(seeds, seed)
		}
	}
	return known, seeds
}

// ask sends one request to several brokers side by side, over connections for that alone, and returns the first that
// is granted. Two brokers may do what it asks: of two producer ids one is never used. Once a known broker has refused, the
// seeds are not asked beside them, and brokers that can't be reached soon are not waited for: one that is gone would hold the
// refusal up for Net.DialTimeout.
func (a *asker) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	errs := []error{sarama.ErrOutOfBrokers}
	known, seeds := a.addresses()
	var answered atomic.Bool // a known broker has, with a refusal
	refused, refuse := context.WithCancel(ctx)
	defer refuse()
	resp, ok := flow.FirstGood(ctx, flow.Race[kmsg.Response]{
		Next: func() flow.Attempt[kmsg.Response] {
			from := &known
			if len(known) == 0 {
				from = &seeds
			}
			if len(*from) == 0 || from == &seeds && answered.Load() {
				return nil
			}
			addr := (*from)[0]
			*from = (*from)[1:]
			return func(ctx context.Context, reached func()) (kmsg.Response, error) {
				resp, err := a.askOne(ctx, refused, addr, req, reached)
				if err != nil {
					if txn.Refuses(err) {
						refuse()
					}
					if _, code := errors.AsType[sarama.KError](err); code && from == &known {
						answered.Store(true)
					}
					return nil, fmt.Errorf("broker %s: %w", addr, err)
				}
				return resp, nil
			}
		},
		Failed: func(err error) (goOn bool) {
			errs = append(errs, err)
			// The same credentials fail everywhere, and more tries may lock the account.
			return !flow.LoginRefused(err)
		},
		Lost: func(kmsg.Response, error) {},
	})
	switch {
	case ok:
		return resp, nil
	case ctx.Err() != nil:
		return nil, flow.ContextError(ctx)
	}
	return nil, errors.Join(errs...)
}

// dialAfterRefusal is how long a broker is dialled once another one has refused. What is left of the constructor's second is
// enough for that.
const dialAfterRefusal = 500 * time.Millisecond

var errRefusedMeanwhile = errors.New("given up, as other brokers have refused")

func (a *asker) askOne(ctx, refused context.Context, addr string, req kmsg.Request, reached func()) (kmsg.Response, error) {
	step := a.doing.Begin("", "dialling broker "+addr, func() error { return a.dialer.Doing(addr) })
	defer step.End()
	dialling, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	defer context.AfterFunc(refused, func() {
		time.AfterFunc(dialAfterRefusal, func() { giveUp(errRefusedMeanwhile) })
	})()
	conn, err := a.dialer.DialNow(dialling, -1, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reached()
	step.Next(fmt.Sprintf("waiting for broker %s to answer %s", addr, kmsg.NameForKey(req.Key())), nil)
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	// A producer id of another cluster may be somebody else's here.
	if err := conn.CheckCluster(ctx, a.md.ClusterID()); err != nil {
		return nil, err
	}
	resp, err := conn.Request(ctx, copyOf(req))
	if err == nil {
		err = txn.ErrorOf(resp) // another broker may do better
	}
	return resp, err
}

// copyOf is a request of one's own: to send one sets its version.
func copyOf(req kmsg.Request) kmsg.Request {
	own := reflect.New(reflect.TypeOf(req).Elem())
	own.Elem().Set(reflect.ValueOf(req).Elem())
	return own.Interface().(kmsg.Request)
}
