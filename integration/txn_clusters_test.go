//go:build unix

package integration

import (
	"fmt"
	"testing"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestTxn is on a node that all tests share, of version 2.
func TestTxn(t *testing.T) {
	c := kafka.Get(t)
	if level := c.FeatureLevel(t, 0, transactionVersion); level != 2 {
		t.Fatalf("%s is %d, want 2", transactionVersion, level)
	}
	t.Run("Requests", func(t *testing.T) { testTxnRequests(t, c, 2) })
	runTxnTests(t, c)
	wantNoOpenTxns(t, c)
}

// runTxnTests are on what holds with both versions, and on one node.
func runTxnTests(t *testing.T, c *kafkatest.Cluster) {
	t.Run("Fencing", func(t *testing.T) { testTxnFencing(t, c) })
	t.Run("Timeout", func(t *testing.T) { testTxnTimeout(t, c) })
	t.Run("Close", func(t *testing.T) { testTxnClose(t, c) })
}

// TestTxnThreeNodes is on transactions of version 1, on a cluster that is then raised to version 2 under load, and on those
// of version 2. The long form is on more versions of Kafka, with 200 transactions and ten kills of the coordinator for each
// version of transactions, and 100,000 messages transformed.
func TestTxnThreeNodes(t *testing.T) {
	if !*long {
		c := startTxnCluster(t, kafkatest.Feature(transactionVersion, 0))
		t.Run("version 1", func(t *testing.T) {
			t.Run("Requests", func(t *testing.T) { testTxnRequests(t, c, 1) })
			runTxnTests(t, c)
			t.Run("Faults", func(t *testing.T) { txnFaults(t, c, "faults-1", 30, txnFault{phase: 1}, txnFault{phase: 3}) })
		})
		t.Run("Upgrade", func(t *testing.T) { testTxnUpgrade(t, c) })
		t.Run("version 2", func(t *testing.T) {
			t.Run("Faults", func(t *testing.T) { txnFaults(t, c, "faults-2", 30, txnFault{phase: 2}, txnFault{phase: 3}) })
			t.Run("Transform", func(t *testing.T) { testTransform(t, c, 4000, 50, 0) })
		})
		wantNoOpenTxns(t, c)
		return
	}
	all := kafkatest.Versions()
	newest := all[len(all)-1]
	for _, test := range []struct {
		name string
		mode int
		opts []kafkatest.Option
	}{
		{newest, 2, []kafkatest.Option{kafkatest.Version(newest)}},
		{newest + " raised", 1, []kafkatest.Option{kafkatest.Version(newest), kafkatest.Feature(transactionVersion, 0)}},
		{"3.9.2", 1, []kafkatest.Option{kafkatest.Version("3.9.2")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := startTxnCluster(t, test.opts...)
			longTxnTests(t, c, test.mode)
			if test.mode == 1 && test.name != "3.9.2" {
				t.Run("Upgrade", func(t *testing.T) { testTxnUpgrade(t, c) })
				longTxnTests(t, c, 2)
			}
			wantNoOpenTxns(t, c)
		})
	}
}

func longTxnTests(t *testing.T, c *kafkatest.Cluster, mode int) {
	t.Run(fmt.Sprintf("version %d", mode), func(t *testing.T) {
		t.Run("Requests", func(t *testing.T) { testTxnRequests(t, c, mode) })
		runTxnTests(t, c)
		t.Run("Faults", func(t *testing.T) { txnFaults(t, c, fmt.Sprintf("faults-%d", mode), 200, allTxnFaults()...) })
		t.Run("Transform", func(t *testing.T) { testTransform(t, c, 100_000, 500, 0, 1, 2) })
	})
}

// wantNoOpenTxns is the admin's view of a cluster after its tests.
func wantNoOpenTxns(t *testing.T, c *kafkatest.Cluster) {
	t.Helper()
	if open := c.OpenTransactions(t); len(open) > 0 {
		t.Errorf("transactions are open: %q", open)
	}
}
