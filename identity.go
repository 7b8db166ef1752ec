package sluice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
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

// asker sends a request to any broker: see askAny.
func asker(shared *flow.Shared, dialer *wire.Dialer, md *metadata.Service, seeds []string) func(context.Context, kmsg.Request) (kmsg.Response, error) {
	return func(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
		return askAny(ctx, dialer, addresses(md, seeds), md.ClusterID(), req, shared.Conf.Net.ReadTimeout)
	}
}

// newIdentities makes the manager of the producer's identity: any broker can give one.
func newIdentities(shared *flow.Shared, dialer *wire.Dialer, md *metadata.Service, seeds []string) *txn.Manager {
	return txn.NewManager(txn.Config{
		Ask: asker(shared, dialer, md, seeds),
		// A longer pause after the tries that sarama makes.
		Backoff: func(failures int) time.Duration {
			least := leastTxnPause
			if failures > shared.Conf.Producer.Transaction.Retry.Max {
				least = time.Second
			}
			return max(flow.TxnBackoff(shared.Conf, failures), least)
		},
		Changed: shared.WakeAll,
	})
}

// newTransactions makes the transactional side of a producer.
func newTransactions(shared *flow.Shared, dispatcher *dispatch.Dispatcher, dialer *wire.Dialer, md *metadata.Service, seeds []string) *txn.Transactions {
	conf := shared.Conf
	retries := -1
	if shared.SaramaContract {
		retries = conf.Producer.Transaction.Retry.Max
	}
	return txn.NewTransactions(txn.TransactionsConfig{
		ID: conf.Producer.Transaction.ID, Timeout: conf.Producer.Transaction.Timeout, MaxRetries: retries,
		Coordinators: txn.NewCoordinators(txn.CoordinatorsConfig{
			Ask: asker(shared, dialer, md, seeds),
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
	})
}

// addresses are the brokers to try, each once: known ones in random order, metadata.MostCandidates at most, then the seeds.
func addresses(md *metadata.Service, seeds []string) []string {
	var addrs []string
	for _, b := range md.Brokers() {
		addrs = append(addrs, b.Addr)
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	addrs = addrs[:min(len(addrs), metadata.MostCandidates)]
	for _, seed := range seeds {
		if !slices.Contains(addrs, seed) {
			addrs = append(addrs, seed)
		}
	}
	return addrs
}

// askAny sends one request to several brokers side by side, over connections for that alone, and returns the first that
// is granted. Two brokers may do what it asks: of two producer ids one is never used. A broker may be silent for
// timeout.
func askAny(ctx context.Context, dialer *wire.Dialer, addrs []string, cluster string, req kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	errs := []error{sarama.ErrOutOfBrokers}
	resp, ok := flow.FirstGood(ctx, flow.Race[kmsg.Response]{
		Next: func() flow.Attempt[kmsg.Response] {
			if len(addrs) == 0 {
				return nil
			}
			addr := addrs[0]
			addrs = addrs[1:]
			return func(ctx context.Context, reached func()) (kmsg.Response, error) {
				resp, err := askOne(ctx, dialer, addr, cluster, req, timeout, reached)
				if err != nil {
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

func askOne(ctx context.Context, dialer *wire.Dialer, addr, cluster string, req kmsg.Request, timeout time.Duration, reached func()) (kmsg.Response, error) {
	conn, err := dialer.DialNow(ctx, -1, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reached()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A producer id of another cluster may be somebody else's here.
	if err := conn.CheckCluster(ctx, cluster); err != nil {
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
