package apitest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// atEachConstructor runs a test for sarama and for ours, with both producers.
func atEachConstructor(t *testing.T, test func(*testing.T, door, func([]string, *sarama.Config) (txnProducer, error))) {
	for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
		t.Run(d.name+", async", func(t *testing.T) {
			test(t, d, func(addrs []string, conf *sarama.Config) (txnProducer, error) { return d.async(addrs, conf) })
		})
		t.Run(d.name+", sync", func(t *testing.T) {
			test(t, d, func(addrs []string, conf *sarama.Config) (txnProducer, error) { return d.sync(addrs, conf) })
		})
	}
}

// counted counts the requests of a kind.
func counted(c *kfake.Cluster, key kmsg.Key) *atomic.Int32 {
	var n atomic.Int32
	c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		n.Add(1)
		return nil, nil, false
	})
	return &n
}

// A transactional producer has its id when the constructor returns: an older one is fenced by then, so that the offsets
// that a program reads next are final. No later call asks again.
func TestTxnConstructorHasItsID(t *testing.T) {
	atEachConstructor(t, func(t *testing.T, d door, construct func([]string, *sarama.Config) (txnProducer, error)) {
		c := newTopicCluster(t, 2, 1)
		asked := counted(c, kmsg.InitProducerID)
		older, err := construct(c.ListenAddrs(), txnContractConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer older.Close()
		if n := asked.Load(); n != 1 || older.TxnStatus() != ready {
			t.Errorf("%d InitProducerId requests, status %v", n, older.TxnStatus())
		}
		newer, err := construct(c.ListenAddrs(), txnContractConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer newer.Close()
		if n := asked.Load(); n != 2 {
			t.Errorf("%d InitProducerId requests", n)
		}
		for p, want := range map[txnProducer]error{older: sarama.ErrProducerFenced, newer: nil} {
			err := errors.Join(p.BeginTxn(), p.AddOffsetsToTxn(offsets(5), "g"))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.CommitTxn(); d.bare && err != want || !errors.Is(err, want) {
				t.Errorf("CommitTxn: %v, want %v", err, want)
			}
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("%d InitProducerId requests", n)
		}
	})
}

// fromClient constructs sarama's producer from a client that the test closes: a constructor that fails leaves its own open.
func fromClient(t *testing.T) func([]string, *sarama.Config) (txnProducer, error) {
	return func(addrs []string, conf *sarama.Config) (txnProducer, error) {
		client, err := sarama.NewClient(addrs, conf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return sarama.NewSyncProducerFromClient(client)
	}
}

// What the coordinator says is the constructor's error.
func TestTxnConstructorErrors(t *testing.T) {
	refused := func(err *kerr.Error, keys ...kmsg.Key) func(*kfake.Cluster, *sarama.Config) {
		return func(c *kfake.Cluster, _ *sarama.Config) { c.Fault(kfake.Fault{Keys: keys, Err: err, Count: -1}) }
	}
	for _, line := range []struct {
		name    string
		prepare func(*kfake.Cluster, *sarama.Config)
		want    error
		forSome bool // tries end, and not through New
	}{
		{"the time-out is too long", func(_ *kfake.Cluster, conf *sarama.Config) {
			conf.Producer.Transaction.Timeout = time.Hour
		}, sarama.ErrInvalidTransactionTimeout, false},
		{"the time-out is 0", func(_ *kfake.Cluster, conf *sarama.Config) {
			conf.Producer.Transaction.Timeout = 0
		}, sarama.ErrInvalidTransactionTimeout, false},
		{"not allowed", refused(kerr.TransactionalIDAuthorizationFailed, kmsg.InitProducerID),
			sarama.ErrTransactionalIDAuthorizationFailed, false},
		{"not allowed to know the coordinator", refused(kerr.TransactionalIDAuthorizationFailed, kmsg.FindCoordinator),
			sarama.ErrTransactionalIDAuthorizationFailed, false},
		{"fenced", refused(kerr.ProducerFenced, kmsg.InitProducerID), sarama.ErrProducerFenced, false},
		{"not allowed in the cluster", refused(kerr.ClusterAuthorizationFailed, kmsg.InitProducerID),
			sarama.ErrClusterAuthorizationFailed, false},
		{"no coordinator", func(c *kfake.Cluster, conf *sarama.Config) {
			for _, topic := range []string{"__consumer_offsets", "__transaction_state"} { // sarama waits for them
				if err := c.CreateTopic(topic, 1, nil); err != nil {
					t.Error(err)
				}
			}
			refused(kerr.CoordinatorNotAvailable, kmsg.FindCoordinator)(c, conf)
		}, sarama.ErrConsumerCoordinatorNotAvailable, true},
		{"the coordinator loads", refused(kerr.CoordinatorLoadInProgress, kmsg.InitProducerID),
			sarama.ErrOffsetsLoadInProgress, true},
		{"the coordinator is another", refused(kerr.NotCoordinator, kmsg.InitProducerID),
			sarama.ErrNotCoordinatorForConsumer, true},
		// It passes as soon as the markers are written. Retry.Max does not count here, as users of sarama met it (issue 2859),
		// but Transaction.Timeout does.
		{"the transaction before ends", func(c *kfake.Cluster, conf *sarama.Config) {
			conf.Producer.Transaction.Timeout = 50 * time.Millisecond
			refused(kerr.ConcurrentTransactions, kmsg.InitProducerID)(c, conf)
		}, sarama.ErrConcurrentTransactions, false},
	} {
		t.Run(line.name, func(t *testing.T) {
			atEachConstructor(t, func(t *testing.T, d door, construct func([]string, *sarama.Config) (txnProducer, error)) {
				if line.forSome && !d.bare {
					return
				}
				c := newTopicCluster(t, 1, 1)
				conf := txnContractConfig()
				line.prepare(c, conf)
				if d.name == saramasOwn.name {
					construct = fromClient(t)
				}
				p, err := construct(c.ListenAddrs(), conf)
				if err == nil {
					p.Close()
				}
				if d.bare && err != line.want || !errors.Is(err, line.want) {
					t.Errorf("%T %v, want %v", err, err, line.want)
				}
			})
		})
	}
}

// What passes is waited for.
func TestTxnConstructorRetries(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions,
		kerr.RequestTimedOut, kerr.NotEnoughReplicas,
	} {
		t.Run(code.Message, func(t *testing.T) {
			atEachConstructor(t, func(t *testing.T, d door, construct func([]string, *sarama.Config) (txnProducer, error)) {
				c := newTopicCluster(t, 2, 1)
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: code, Count: 1})
				p, err := construct(c.ListenAddrs(), txnContractConfig())
				if err != nil {
					t.Fatal(err)
				}
				p.Close()
			})
		})
	}
}

// Transaction.Retry.BackoffFunc is asked before each retry: how many came before it, and Transaction.Retry.Max.
func TestTxnContractBackoffFunc(t *testing.T) {
	type call struct{ retries, most int }
	const most = 3
	for _, line := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"InitProducerId", kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, Count: 2}},
		{"AddPartitionsToTxn or Produce", kfake.Fault{
			Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.CoordinatorLoadInProgress, Count: 2}},
		{"TxnOffsetCommit", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: 2}},
		{"EndTxn", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.CoordinatorLoadInProgress, Count: 2}},
	} {
		t.Run(line.name, func(t *testing.T) {
			for _, d := range []door{saramasOwn, saramaDoor} {
				t.Run(d.name, func(t *testing.T) {
					var mu sync.Mutex
					var calls []call
					conf := txnContractConfig()
					conf.Producer.Transaction.Retry.Max = most
					conf.Producer.Transaction.Retry.BackoffFunc = func(retries, most int) time.Duration {
						mu.Lock()
						defer mu.Unlock()
						calls = append(calls, call{retries, most})
						return time.Millisecond
					}
					c := newTopicCluster(t, 1, 1, txnVersions[0].opts...)
					c.Fault(line.fault)
					p := d.newSync(t, c, conf)
					err := errors.Join(p.BeginTxn(), p.AddOffsetsToTxn(offsets(5), "g"))
					_, _, sent := p.SendMessage(message(0, 0))
					if err := errors.Join(err, sent, p.CommitTxn(), p.Close()); err != nil {
						t.Error(err)
					}
					if want := []call{{0, most}, {1, most}}; !slices.Equal(calls, want) {
						t.Errorf("calls %v, want %v", calls, want)
					}
				})
			}
		})
	}
}

// What sarama's Config.Validate refuses, the constructors refuse, before they ask anyone.
func TestTxnContractValidate(t *testing.T) {
	for i, spoil := range []func(*sarama.Config){
		func(conf *sarama.Config) { conf.Producer.Idempotent = false },
		func(conf *sarama.Config) { conf.Producer.RequiredAcks = sarama.WaitForLocal },
		func(conf *sarama.Config) { conf.Producer.Retry.Max = 0 },
		func(conf *sarama.Config) { conf.Net.MaxOpenRequests = 5 },
		func(conf *sarama.Config) { conf.Version = sarama.V0_10_2_0 },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			atEachConstructor(t, func(t *testing.T, d door, construct func([]string, *sarama.Config) (txnProducer, error)) {
				conf := txnContractConfig()
				spoil(conf)
				want := conf.Validate()
				if want == nil {
					t.Fatal("sarama takes it")
				}
				if _, err := construct([]string{"127.0.0.1:1"}, conf); err != want {
					t.Errorf("%T %v, want %v", err, err, want)
				}
			})
		})
	}
}
