//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	groupCoordinator       = 0 // the types of FindCoordinator
	transactionCoordinator = 1
)

// coordinatorTimeout covers a failover: the session of a killed node, the election, and loading the log.
const coordinatorTimeout = 60 * time.Second

// TransactionCoordinator finds the node that coordinates a transactional id. While there is none, after a kill, it waits.
func (c *Cluster) TransactionCoordinator(tb testing.TB, id string) int {
	tb.Helper()
	return c.coordinator(tb, transactionCoordinator, id)
}

// GroupCoordinator finds the node that coordinates a consumer group, as TransactionCoordinator does.
func (c *Cluster) GroupCoordinator(tb testing.TB, group string) int {
	tb.Helper()
	return c.coordinator(tb, groupCoordinator, group)
}

func (c *Cluster) coordinator(tb testing.TB, kind int8, key string) (node int) {
	tb.Helper()
	err := c.retry(func(ctx context.Context) (err error) {
		node, err = c.findCoordinator(ctx, kind, key)
		return err
	})
	if err != nil {
		tb.Fatalf("kafkatest: coordinator of %q: %v", key, err)
	}
	return node
}

// findCoordinator asks the first node that is up. It takes no node for the coordinator that it knows to be down.
func (c *Cluster) findCoordinator(ctx context.Context, kind int8, key string) (int, error) {
	for i, n := range c.nodes {
		if !n.answers() {
			continue
		}
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, key, []string{key}
		resp, err := ask[*kmsg.FindCoordinatorResponse](ctx, c.nodes[i], req)
		if err != nil {
			return 0, err
		}
		node, code, message := resp.NodeID, resp.ErrorCode, resp.ErrorMessage
		if len(resp.Coordinators) == 1 { // version 4 and later
			one := resp.Coordinators[0]
			node, code, message = one.NodeID, one.ErrorCode, one.ErrorMessage
		}
		if err := withMessage(code, message); err != nil {
			return 0, err
		}
		if !c.nodes[node].answers() {
			return 0, fmt.Errorf("%w: node %d is down", kerr.CoordinatorNotAvailable, node)
		}
		return int(node), nil
	}
	return 0, errors.New("no node is up")
}

// The states of a transactional id, as Kafka names them, in which a transaction is open or is about to be completed.
const (
	Ongoing       = "Ongoing"
	PrepareCommit = "PrepareCommit"
	PrepareAbort  = "PrepareAbort"
)

// TransactionState asks the coordinator of a transactional id for its state: Ongoing, PrepareCommit, PrepareAbort, or one
// of those in which nothing is open (Empty, CompleteCommit, CompleteAbort). It is "" if the coordinator does not know the id.
func (c *Cluster) TransactionState(tb testing.TB, id string) (state string) {
	tb.Helper()
	err := c.retry(func(ctx context.Context) (err error) {
		state, err = c.describeTransaction(ctx, id)
		return err
	})
	if err != nil {
		tb.Fatalf("kafkatest: state of transactional id %q: %v", id, err)
	}
	return state
}

func (c *Cluster) describeTransaction(ctx context.Context, id string) (state string, err error) {
	node, err := c.findCoordinator(ctx, transactionCoordinator, id)
	if err != nil {
		return "", err
	}
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := ask[*kmsg.DescribeTransactionsResponse](ctx, c.nodes[node], req)
	if err != nil {
		return "", err
	}
	if len(resp.TransactionStates) != 1 {
		return "", fmt.Errorf("%d states for one id", len(resp.TransactionStates))
	}
	switch one := resp.TransactionStates[0]; one.ErrorCode {
	case kerr.TransactionalIDNotFound.Code:
		return "", nil
	default:
		return one.State, kerr.ErrorForCode(one.ErrorCode)
	}
}

// AwaitTransactionState waits until the state of a transactional id is one of want, and returns it. Kafka writes the end of
// a transaction to its partitions after it has answered, and it has no event for that, nor for a time-out.
func (c *Cluster) AwaitTransactionState(tb testing.TB, id string, want ...string) (state string) {
	tb.Helper()
	err := c.retry(func(ctx context.Context) (err error) {
		if state, err = c.describeTransaction(ctx, id); err != nil {
			return err
		}
		for _, w := range want {
			if state == w {
				return nil
			}
		}
		return again{fmt.Errorf("it is %q", state)}
	})
	if err != nil {
		tb.Fatalf("kafkatest: wait until the state of transactional id %q is one of %q: %v", id, want, err)
	}
	return state
}

// OpenTransactions asks every node that is up for the transactional ids that have a transaction open (ListTransactions).
// Such as are about to be completed don't count.
func (c *Cluster) OpenTransactions(tb testing.TB) (ids []string) {
	tb.Helper()
	err := c.retry(func(ctx context.Context) error {
		ids = nil
		for _, n := range c.nodes {
			if !n.answers() {
				continue
			}
			req := kmsg.NewPtrListTransactionsRequest()
			req.StateFilters = []string{Ongoing}
			resp, err := ask[*kmsg.ListTransactionsResponse](ctx, n, req)
			if err != nil {
				return err
			}
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return err
			}
			for _, open := range resp.TransactionStates {
				ids = append(ids, open.TransactionalID)
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("kafkatest: list the open transactions: %v", err)
	}
	return ids
}

// ask sends one request to a node.
func ask[R kmsg.Response](ctx context.Context, n *node, req kmsg.Request) (answer R, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.addr))
	if err != nil {
		return answer, err
	}
	defer cl.Close()
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return answer, err
	}
	return resp.(R), nil
}

// again is an error that is worth another try.
type again struct{ error }

// retry tries until there is no error, or one that Kafka does not call retriable. It does not end with a test, so that
// clean-ups can ask.
func (c *Cluster) retry(try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), coordinatorTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if _, ok := errors.AsType[again](err); err == nil || !ok && !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
