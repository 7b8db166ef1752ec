package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

const (
	partitions = 3
	keys       = 10
	childEnv   = "TRANSACTIONS_TEST_BROKERS" // set for a process that is to be killed
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	if brokers := os.Getenv(childEnv); brokers != "" {
		log.Fatalln(run(context.Background(), strings.Split(brokers, ","), testConfig(), "from", "to", "group"))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// testConfig is the program's, with shorter times, and with small transactions, so that there are many.
func testConfig() *sarama.Config {
	c := config("id")
	c.ChannelBufferSize = 10
	c.Consumer.Retry.Backoff = 10 * time.Millisecond
	c.Consumer.Group.Session.Timeout, c.Consumer.Group.Heartbeat.Interval = 500*time.Millisecond, 50*time.Millisecond
	c.Consumer.Group.Rebalance.Retry.Backoff = 10 * time.Millisecond
	return c
}

func start(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(partitions, "from", "to"), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

// write writes lines from..to-1 to the input. Those of a key are in order.
func write(t *testing.T, cluster *kfake.Cluster, from, to int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("from"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Key: fmt.Append(nil, i%keys), Value: fmt.Appendf(nil, "line %d", i)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// begin runs the program. stop ends it, and returns its error.
func begin(t *testing.T, cluster *kfake.Cluster, conf *sarama.Config) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cluster.ListenAddrs(), conf, "from", "to", "group") }()
	return func() error {
		cancel()
		return <-ended
	}
}

// TestKilledAndStopped kills the program at each kind of request of a transaction, before the cluster has handled it and
// after, starts it again each time, and at last stops it as Ctrl-C does, in the middle too.
func TestKilledAndStopped(t *testing.T) {
	const lines = 3000
	cluster := start(t)
	write(t, cluster, 0, lines)
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		for _, handled := range []bool{false, true} {
			kill(t, cluster, key, handled)
		}
	}
	commits := make(chan struct{})
	var once sync.Once
	cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { close(commits) })
		return nil, nil, false
	})
	stop := begin(t, cluster, testConfig())
	<-commits
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = begin(t, cluster, testConfig())
	r := newReader(t, cluster)
	r.wait(lines)
	if err := stop(); err != nil {
		t.Error(err)
	}
	r.end(cluster, lines)
}

// kill runs the program in a process, and kills it when its fourth request of that kind has come: it has committed something
// by then. The request takes effect if handled is set.
func kill(t *testing.T, cluster *kfake.Cluster, key kmsg.Key, handled bool) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(cluster.ListenAddrs(), ","))
	requests := 0
	started := make(chan struct{})
	cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if requests++; requests != 4 {
			return nil, nil, false
		}
		<-started
		cmd.Process.Kill()
		return nil, nil, !handled
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the program ended by itself: %v", err)
	}
}

// TestFailedTransactions: what a transaction read is read again when it was aborted: because a message was refused, because the
// group has another generation, or because the commit had no answer.
func TestFailedTransactions(t *testing.T) {
	const lines = 500
	fault := func(key kmsg.Key, topic string, err *kerr.Error) func(*kfake.Cluster) {
		return func(c *kfake.Cluster) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: topic, Err: err, Count: 2})
		}
	}
	for name, test := range map[string]func(*kfake.Cluster){
		"a refused message":       fault(kmsg.Produce, "to", kerr.TopicAuthorizationFailed),
		"another generation":      fault(kmsg.TxnOffsetCommit, "", kerr.IllegalGeneration),
		"a transaction timed out": fault(kmsg.EndTxn, "", kerr.TransactionAbortable),
		"no answer to a commit":   loseCommits,
	} {
		t.Run(name, func(t *testing.T) {
			cluster := start(t)
			write(t, cluster, 0, lines)
			test(cluster)
			conf := testConfig()
			conf.Producer.Transaction.Timeout = time.Second // also of the commit that has no answer
			stop := begin(t, cluster, conf)
			r := newReader(t, cluster)
			r.wait(lines)
			if err := stop(); err != nil {
				t.Error(err)
			}
			r.end(cluster, lines)
		})
	}
}

// loseCommits closes the connection at each commit, from the second one on, until the producer gives one up.
func loseCommits(cluster *kfake.Cluster) {
	commits, givenUp := 0, false
	cluster.ControlKey(int16(kmsg.EndTxn), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if commit := request.(*kmsg.EndTxnRequest).Commit; commit {
			commits++
		} else {
			givenUp = true
		}
		if commits > 1 && !givenUp {
			return nil, errors.New("lost"), true
		}
		return nil, nil, false
	})
}

// TestTwoMembers: partitions move to a second process with another id, and back, while both work.
func TestTwoMembers(t *testing.T) {
	const lines = 1500
	cluster := start(t)
	write(t, cluster, 0, lines/3)
	stop := begin(t, cluster, testConfig())
	r := newReader(t, cluster)
	r.wait(1)
	second := testConfig()
	second.Producer.Transaction.ID = "another id"
	stopSecond := begin(t, cluster, second)
	write(t, cluster, lines/3, 2*lines/3)
	r.wait(lines / 2)
	write(t, cluster, 2*lines/3, lines)
	err := stop()
	r.wait(lines)
	if err := cmp.Or(err, stopSecond()); err != nil {
		t.Error(err)
	}
	r.end(cluster, lines)
}

// TestLeftBehind: while a transaction of one member takes long, the group gives its partitions to another one, which does the
// work. The first one then must not commit.
func TestLeftBehind(t *testing.T) {
	const lines = 30
	cluster := start(t)
	write(t, cluster, 0, lines)
	conf, second := testConfig(), testConfig()
	second.Producer.Transaction.ID = "another id"
	// The group waits no longer for a member.
	conf.Consumer.Group.Rebalance.Timeout, second.Consumer.Group.Rebalance.Timeout = 200*time.Millisecond, 200*time.Millisecond
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if id := request.(*kmsg.ProduceRequest).TransactionID; id != nil && *id == conf.Producer.Transaction.ID {
			once.Do(func() { close(held) })
			cluster.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	stop := begin(t, cluster, conf)
	<-held
	stopSecond := begin(t, cluster, second)
	r := newReader(t, cluster)
	r.wait(lines)
	close(release)
	if err := cmp.Or(stop(), stopSecond()); err != nil {
		t.Error(err)
	}
	r.end(cluster, lines)
}

// TestFenced: a second process with the same id ends the first one.
func TestFenced(t *testing.T) {
	cluster := start(t)
	write(t, cluster, 0, 10)
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), cluster.ListenAddrs(), testConfig(), "from", "to", "group") }()
	r := newReader(t, cluster)
	r.wait(10)
	other, err := sluice.New(cluster.ListenAddrs(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// Kafka gives the first one no epoch any more; kfake would.
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TxnID: "id", Err: kerr.ProducerFenced, Count: -1})
	write(t, cluster, 10, 20)
	if err := <-ended; !sluice.IsTxnFatal(err) {
		t.Errorf("run returns %v", err)
	}
	r.end(cluster, 10)
}
