//go:build unix

package integration

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// transactionState is the topic that coordinators keep the state of transactions in.
const transactionState = "__transaction_state"

// txnPhases are when the coordinator of a transaction is killed. A phase gets the function that kills, and runs one
// transaction, of which this happens in the midst, or beside it.
var txnPhases = []struct {
	name string
	run  func(ctx context.Context, l *txnLoad, tap *txnTap, abort bool, kill func())
}{
	{"before Begin", func(ctx context.Context, l *txnLoad, _ *txnTap, abort bool, kill func()) {
		kill()
		l.run(ctx, abort, nil)
	}},
	{"between sends", func(ctx context.Context, l *txnLoad, _ *txnTap, abort bool, kill func()) {
		l.run(ctx, abort, kill)
	}},
	{"before EndTxn arrives", func(ctx context.Context, l *txnLoad, tap *txnTap, abort bool, kill func()) {
		tap.act(func(s sent) {
			if s.key == kmsg.EndTxn {
				kill()
			}
		}, nil)
		defer tap.act(nil, nil)
		l.run(ctx, abort, nil)
	}},
	{"EndTxn is answered, which is lost", func(ctx context.Context, l *txnLoad, tap *txnTap, abort bool, kill func()) {
		var once sync.Once
		tap.act(nil, func(s sent) (lose bool) {
			if s.key == kmsg.EndTxn {
				once.Do(func() { kill(); lose = true })
			}
			return lose
		})
		defer tap.act(nil, nil)
		l.run(ctx, abort, nil)
	}},
	{"after the end", func(ctx context.Context, l *txnLoad, _ *txnTap, abort bool, kill func()) {
		l.run(ctx, abort, nil)
		kill()
		l.run(ctx, false, nil)
	}},
}

// txnFault is a kill of the coordinator: in which of txnPhases, and whether the transaction is aborted.
type txnFault struct {
	phase int
	abort bool
}

// allTxnFaults are each phase of a transaction that is committed, and of one that is aborted.
func allTxnFaults() (all []txnFault) {
	for phase := range txnPhases {
		all = append(all, txnFault{phase, false}, txnFault{phase, true})
	}
	return all
}

// txnFaults runs transactions on three nodes, some of them aborted, and kills the coordinator in some.
func txnFaults(t *testing.T, c *kafkatest.Cluster, id string, transactions int, faults ...txnFault) {
	conf := txnConfig(id)
	tap := tapTxn(conf)
	txnFaultsOf(t, c, id, sluiceTxns{newTxn(t, c, conf), t}, tap, transactions, faults...)
}

func txnFaultsOf(t *testing.T, c *kafkatest.Cluster, id string, client txnClient, tap *txnTap, transactions int, faults ...txnFault) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	topic := c.NewTopic(t, 6, nil)
	l := &txnLoad{t: t, client: client, topic: topic, partitions: 6, messages: 20}
	start := time.Now()
	quiet := max(1, transactions/(len(faults)+1)-2) // transactions between two faults
	for _, fault := range faults {
		for i := range quiet {
			l.run(ctx, i%5 == 4, nil)
		}
		phase := txnPhases[fault.phase]
		node := c.TransactionCoordinator(t, id)
		var once sync.Once
		kill := func() {
			once.Do(func() {
				t.Logf("%.1f s: kill node %d: %s, abort=%t", time.Since(start).Seconds(), node, phase.name, fault.abort)
				c.Kill(t, node)
			})
		}
		phase.run(ctx, l, tap, fault.abort, kill)
		// If the coordinator still has that one open, this one joins it, and takes it to the wrong end.
		l.run(ctx, !fault.abort, nil)
		t.Logf("%.1f s: restart node %d", time.Since(start).Seconds(), node)
		c.Restart(t, node)
		awaitInSync(ctx, t, c, topic, transactionState)
	}
	for i := l.done; i < transactions; i++ {
		l.run(ctx, i%5 == 4, nil)
	}
	l.check(c)
	t.Logf("%.1f s in all", time.Since(start).Seconds())
}

// startTxnCluster starts three nodes of which one may be down.
func startTxnCluster(t *testing.T, opts ...kafkatest.Option) *kafkatest.Cluster {
	t.Helper()
	return kafkatest.Start(t, 3, append([]kafkatest.Option{
		kafkatest.WithConfig("min.insync.replicas", "2"),
		kafkatest.WithConfig("group.min.session.timeout.ms", "1000"),
	}, opts...)...)
}
