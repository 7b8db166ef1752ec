package sluice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// newIdentities makes the manager of the producer's identity: any broker can give one.
func newIdentities(shared *flow.Shared, dialer *wire.Dialer, md *metadata.Service, seeds []string) *txn.Manager {
	return txn.NewManager(txn.Config{
		Ask: func(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
			return askAny(ctx, dialer, addresses(md, seeds), req, shared.Conf.Net.ReadTimeout)
		},
		// No storm of requests where there is no pause: nothing but time helps here.
		Backoff: func(failures int) time.Duration {
			return max(flow.TxnBackoff(shared.Conf, failures), 10*time.Millisecond)
		},
		Changed: shared.WakeAll,
	})
}

// addresses are the brokers to try, in random order, the known ones before the seeds.
func addresses(md *metadata.Service, seeds []string) []string {
	var addrs []string
	for _, b := range md.Brokers() {
		addrs = append(addrs, b.Addr)
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return append(addrs, seeds...)
}

// askAny sends one request to one broker after another until one grants it, over a connection for that alone. A silent one costs
// timeout.
func askAny(ctx context.Context, dialer *wire.Dialer, addrs []string, req kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	errs := []error{sarama.ErrOutOfBrokers}
	for _, addr := range addrs {
		resp, err := askOne(ctx, dialer, addr, req, timeout)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, flow.ContextError(ctx)
		}
		errs = append(errs, fmt.Errorf("broker %s: %w", addr, err))
	}
	return nil, errors.Join(errs...)
}

func askOne(ctx context.Context, dialer *wire.Dialer, addr string, req kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	conn, err := dialer.Dial(ctx, -1, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := conn.Request(ctx, req)
	if err == nil {
		err = txn.ErrorOf(resp) // another broker may do better
	}
	return resp, err
}
