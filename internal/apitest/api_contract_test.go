package apitest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// What a user of sarama relies on, run against sarama and against both doors to this package.

// door is a way to make producers, with sarama's types.
type door struct {
	name  string
	async func([]string, *sarama.Config) (sarama.AsyncProducer, error)
	sync  func([]string, *sarama.Config) (sarama.SyncProducer, error)
	bare  bool // it hands over the very errors of sarama, the network and the user
}

var (
	saramasOwn = door{"sarama", sarama.NewAsyncProducer, sarama.NewSyncProducer, true}
	saramaDoor = door{"NewAsyncProducer", sluice.NewAsyncProducer, sluice.NewSyncProducer, true}
	ownDoor    = door{
		name: "New",
		async: func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
			return sluice.New(addrs, conf)
		},
		sync: func(addrs []string, conf *sarama.Config) (sarama.SyncProducer, error) { return sluice.New(addrs, conf) },
	}
)

// atEachDoor runs a test for sarama and for both of ours.
func atEachDoor(t *testing.T, test func(*testing.T, door)) {
	for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
		t.Run(d.name, func(t *testing.T) { test(t, d) })
	}
}

func (d door) newAsync(t *testing.T, c *kfake.Cluster, conf *sarama.Config) sarama.AsyncProducer {
	t.Helper()
	p, err := d.async(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (d door) newSync(t *testing.T, c *kfake.Cluster, conf *sarama.Config) sarama.SyncProducer {
	t.Helper()
	p, err := d.sync(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// contractConfig is one that sarama's SyncProducer takes, too.
func contractConfig() *sarama.Config {
	conf := testConfig()
	conf.Metadata.Retry.Max = 2
	return conf
}

// A goroutine that selects on both outputs, and returns at the first that is closed, has seen every outcome.
func TestContractOutcomesComeBeforeTheEnd(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		c := newTopicCluster(t, 1, 1)
		for range 2 {
			const n = 1000
			p := d.newAsync(t, c, contractConfig())
			outcomes := make(chan int)
			go func() {
				got := 0
				defer func() { outcomes <- got }()
				for {
					select {
					case _, open := <-p.Successes():
						if !open {
							return
						}
					case _, open := <-p.Errors():
						if !open {
							return
						}
					}
					got++
					time.Sleep(10 * time.Microsecond)
				}
			}()
			for i := range n {
				msg := message(0, i)
				if i%3 == 0 {
					msg.Topic = "" // fails
				}
				p.Input() <- msg
			}
			p.AsyncClose()
			if got := <-outcomes; got != n {
				t.Fatalf("%d of %d outcomes", got, n)
			}
		}
	})
}

// Between AsyncClose and the end a message is refused with an outcome; at the end Input is closed.
func TestContractLateMessages(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		c := newTopicCluster(t, 1, 1)
		held := holdProduce(t, c, nil)
		p := d.newAsync(t, c, contractConfig())
		early, late := message(0, 1), message(0, 2)
		p.Input() <- early
		receive(t, held.arrived)
		p.AsyncClose()
		// sarama begins to close on a goroutine: what it has not begun to refuse is delivered.
		refused := 0
		for refused == 0 {
			p.Input() <- late
			select {
			case err := <-p.Errors():
				if err.Msg != late || err.Err != sarama.ErrShuttingDown {
					t.Fatalf("%v: %v", err.Msg, err.Err)
				}
				refused++
			case <-time.After(10 * time.Millisecond):
			}
		}
		held.open()
		if got := receive(t, p.Successes()); got != early {
			t.Errorf("got %v", got)
		}
		for range p.Successes() {
		}
		for err := range p.Errors() {
			if err.Err != sarama.ErrShuttingDown {
				t.Error(err.Err)
			}
		}
		wantPanic(t, func() { p.Input() <- message(0, 3) })
	})
}

// A channel that nobody reads keeps both open.
func TestContractUnreadOutcomes(t *testing.T) {
	for _, failing := range []bool{false, true} {
		t.Run(fmt.Sprintf("failing %v", failing), func(t *testing.T) {
			atEachDoor(t, func(t *testing.T, d door) {
				c := newTopicCluster(t, 1, 1)
				p := d.newAsync(t, c, contractConfig())
				msg := message(0, 0)
				if failing {
					msg.Topic = ""
				}
				p.Input() <- msg
				p.AsyncClose()
				if failing {
					wantOpen(t, p.Successes())
					<-p.Errors()
				} else {
					wantOpen(t, p.Errors())
					<-p.Successes()
				}
				for range p.Successes() {
				}
				for range p.Errors() {
				}
			})
		})
	}
}

func wantOpen[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	select {
	case <-ch:
		t.Error("the channel is closed while the other one has an outcome")
	case <-time.After(50 * time.Millisecond):
	}
}

// The reader of Errors sends again what failed, until the producer closes.
func TestContractReaderResends(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		c := newTopicCluster(t, 1, 1)
		failProduce(c, kerr.TopicAuthorizationFailed, 20)
		conf := contractConfig()
		conf.Producer.Flush.MaxMessages = 1
		p := d.newAsync(t, c, conf)
		const n = 100
		var readers sync.WaitGroup
		delivered, resent := make(chan bool, n), 0
		readers.Go(func() {
			for range p.Successes() {
				delivered <- true
			}
		})
		readers.Go(func() {
			for err := range p.Errors() {
				if err.Err != sarama.ErrShuttingDown {
					resent++
					p.Input() <- err.Msg
				}
			}
		})
		for i := range n {
			p.Input() <- message(0, i)
		}
		for range n {
			receive(t, delivered)
		}
		p.AsyncClose()
		readers.Wait()
		if resent == 0 {
			t.Error("nothing failed")
		}
	})
}

// reject is a partitioner that returns an error of the user's.
type reject struct{ err error }

func (r reject) Partition(*sarama.ProducerMessage, int32) (int32, error) { return -1, r.err }
func (r reject) RequiresConsistency() bool                               { return true }

// unencodable is an encoder that returns an error of the user's.
type unencodable struct{ err error }

func (u unencodable) Encode() ([]byte, error) { return nil, u.err }
func (u unencodable) Length() int             { return 1 }

// Errors are the values that programs compare with: sarama's, the network's, the user's own.
func TestContractErrors(t *testing.T) {
	users := errors.New("the user's own")
	code := func(err *kerr.Error) func(*sarama.Config, *kfake.Cluster, *sarama.ProducerMessage) {
		return func(_ *sarama.Config, c *kfake.Cluster, _ *sarama.ProducerMessage) { failProduce(c, err, -1) }
	}
	tooLarge := message(0, 0)
	tooLarge.Value = sarama.ByteEncoder(make([]byte, 2000))
	tests := []struct {
		name    string
		prepare func(*sarama.Config, *kfake.Cluster, *sarama.ProducerMessage)
		want    error
	}{
		{"refused for good", code(kerr.TopicAuthorizationFailed), sarama.ErrTopicAuthorizationFailed},
		{"too large for the broker", code(kerr.MessageTooLarge), sarama.ErrMessageSizeTooLarge},
		{"retried in vain", code(kerr.NotEnoughReplicas), sarama.ErrNotEnoughReplicas},
		{"retried in vain, perhaps written", code(kerr.NotEnoughReplicasAfterAppend), sarama.ErrNotEnoughReplicasAfterAppend},
		{"no leader there", code(kerr.NotLeaderForPartition), sarama.ErrNotLeaderForPartition},
		{"too large for the configuration", func(conf *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) {
			conf.Producer.MaxMessageBytes = 1000
			msg.Value = tooLarge.Value
		}, sarama.ConfigurationError(fmt.Sprintf(
			"Attempt to produce message larger than configured Producer.MaxMessageBytes: %d > 1000", tooLarge.ByteSize(2)))},
		{"partitioner", func(conf *sarama.Config, _ *kfake.Cluster, _ *sarama.ProducerMessage) {
			conf.Producer.Partitioner = func(string) sarama.Partitioner { return reject{users} }
		}, users},
		{"encoder", func(_ *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) { msg.Value = unencodable{users} }, users},
		{"key encoder", func(_ *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) { msg.Key = unencodable{users} }, users},
		{"no such partition", func(_ *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) { msg.Partition = 7 },
			sarama.ErrInvalidPartition},
		{"no topic", func(_ *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) { msg.Topic = "" }, sarama.ErrInvalidTopic},
		{"no such topic", func(conf *sarama.Config, _ *kfake.Cluster, msg *sarama.ProducerMessage) {
			conf.Metadata.AllowAutoTopicCreation = false
			msg.Topic = "elsewhere"
		}, sarama.ErrUnknownTopicOrPartition},
		{"connection lost", func(_ *sarama.Config, c *kfake.Cluster, _ *sarama.ProducerMessage) { loseConnections(c, 10) }, io.EOF},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			atEachDoor(t, func(t *testing.T, d door) {
				is := func(where string, err error) {
					t.Helper()
					very := d.bare && (d.name != "sarama" || test.want != sarama.ErrUnknownTopicOrPartition) // sarama joins this one
					if very && err != test.want || !errors.Is(err, test.want) {
						t.Errorf("%s: %T %q, want %q", where, err, err, test.want)
					}
				}
				if d.name == ownDoor.name && test.want == sarama.ErrUnknownTopicOrPartition {
					return // it waits for the topic: TestUnknownTopicIsWaitedFor
				}
				c := newTopicCluster(t, 1, 1)
				conf := contractConfig()
				conf.Producer.Retry.Max = 1
				msg := message(0, 0)
				test.prepare(conf, c, msg)

				sync := d.newSync(t, c, conf)
				_, _, err := sync.SendMessage(msg)
				is("SendMessage", err)
				err = sync.SendMessages([]*sarama.ProducerMessage{msg})
				var several sarama.ProducerErrors
				if !errors.As(err, &several) || len(several) != 1 {
					t.Fatalf("SendMessages: %v", err)
				}
				is("SendMessages", several[0].Err)
				if err := sync.Close(); err != nil {
					t.Errorf("the SyncProducer's Close: %v", err)
				}

				async := d.newAsync(t, c, conf)
				async.Input() <- msg
				is("Errors", receive(t, async.Errors()).Err)
				async.Input() <- msg
				if err := async.Close(); !errors.As(err, &several) || len(several) != 1 {
					t.Fatalf("Close: %v", err)
				}
				is("Close", several[0].Err)
			})
		})
	}
}

// A broker that is gone fails a message after some rounds, and not after minutes.
func TestContractPatience(t *testing.T) {
	for _, d := range []door{saramasOwn, saramaDoor} { // through New only the delivery timeout ends it
		for _, retries := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s, Retry.Max %d", d.name, retries), func(t *testing.T) {
				c := newTopicCluster(t, 1, 1)
				conf := contractConfig()
				conf.Producer.Retry.Max = retries
				p := d.newSync(t, c, conf)
				if _, _, err := p.SendMessage(message(0, 0)); err != nil {
					t.Fatal(err)
				}
				c.Close()
				for range 3 {
					_, _, err := p.SendMessage(message(0, 1))
					if err == nil || errors.Is(err, sluice.ErrDeliveryTimeout) || errors.Is(err, sluice.ErrOutcomeUnknown) {
						t.Errorf("error %v", err)
					}
				}
				unknown := message(0, 2)
				unknown.Topic = "never seen"
				if _, _, err := p.SendMessage(unknown); !errors.Is(err, sarama.ErrOutOfBrokers) {
					t.Errorf("a new topic: %v", err)
				}
				p.Close()
			})
		}
	}
}

// A BackoffFunc is given what it may expect: retries from 1 to Retry.Max.
func TestContractBackoffFunc(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		type call struct{ retries, most int }
		record := func(conf *sarama.Config) func() []call {
			var mu sync.Mutex
			var calls []call
			conf.Producer.Retry.BackoffFunc = func(retries, most int) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, call{retries, most})
				return time.Millisecond
			}
			return func() []call {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(calls)
			}
		}

		t.Run("refusals", func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.NotEnoughReplicas, -1)
			conf := contractConfig()
			conf.Producer.Retry.Max = 3
			calls := record(conf)
			p := d.newSync(t, c, conf)
			if _, _, err := p.SendMessage(message(0, 0)); err == nil {
				t.Fatal("no error")
			}
			p.Close()
			if got := calls(); !slices.Equal(got, []call{{1, 3}, {2, 3}, {3, 3}}) {
				t.Errorf("calls %v", got)
			}
		})
		t.Run("nothing is retried", func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.NotEnoughReplicas, -1)
			conf := contractConfig()
			conf.Producer.Retry.Max = 0
			calls := record(conf)
			p := d.newSync(t, c, conf)
			if _, _, err := p.SendMessage(message(0, 0)); err == nil {
				t.Fatal("no error")
			}
			p.Close()
			if d.name == "sarama" {
				return // it calls the function with 0 before the first message after a refusal
			}
			if got := calls(); len(got) > 0 {
				t.Errorf("calls %v", got)
			}
		})
		t.Run("Close of idle partitions", func(t *testing.T) {
			c := newTopicCluster(t, 1, 3)
			conf := contractConfig()
			calls := record(conf)
			p := d.newSync(t, c, conf)
			if err := p.SendMessages(messages(3, 3)); err != nil {
				t.Fatal(err)
			}
			p.Close()
			if got := calls(); len(got) > 0 {
				t.Errorf("calls %v", got)
			}
		})
	})
}

// A BackoffFunc that looks the pause up in a slice, or shifts by the number, survives a broker that is gone for long.
func TestBackoffFuncWhileABrokerIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		move(t, v.Cluster, 0, 0)
		conf := v.config()
		conf.Producer.Retry.Max = 1_000_000
		most := 0
		conf.Producer.Retry.BackoffFunc = func(retries, _ int) time.Duration {
			most = max(most, retries) // one partition: one goroutine calls it
			return 10 * time.Millisecond
		}
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		down := errors.New("nobody at home")
		v.refused.Store(&refusal{v.ListenAddrs()[0], down})
		loseConnections(v.Cluster, 1)
		send(p, message(0, 1))
		time.Sleep(time.Minute)
		v.refused.Store(nil)
		successes(t, p, 1)
		if most != 30 {
			t.Errorf("up to retry %d", most)
		}
	}, kfake.SeedTopics(1, "t"))
}

// With Return.Errors off a failure is logged.
func TestContractFailuresAreLogged(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		log := captureLog(t)
		c := newTopicCluster(t, 1, 1)
		failProduce(c, kerr.TopicAuthorizationFailed, -1)
		conf := contractConfig()
		conf.Producer.Return.Errors = false
		p := d.newAsync(t, c, conf)
		p.Input() <- message(0, 0)
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if !log.holds("Failed to produce message to topic t", sarama.ErrTopicAuthorizationFailed.Error()) {
			t.Errorf("not in the log: %v", log.lines)
		}
	})
}

// The SyncProducer's Close has no failures of others, and SendMessage feeds no channel.
func TestContractSyncClose(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		c := newTopicCluster(t, 1, 1)
		held := holdProduce(t, c, nil)
		failProduce(c, kerr.TopicAuthorizationFailed, -1)
		p := d.newSync(t, c, contractConfig())
		var sender sync.WaitGroup
		sender.Go(func() {
			if _, _, err := p.SendMessage(message(0, 0)); !errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
				t.Error(err)
			}
		})
		receive(t, held.arrived)
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		held.open()
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		sender.Wait()
		if own, ok := p.(*sluice.Producer); ok {
			if len(own.Successes())+len(own.Errors()) > 0 {
				t.Error("a channel has what SendMessage sent")
			}
			if _, _, err := p.SendMessage(message(0, 0)); err != sarama.ErrShuttingDown {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

func TestContractConstructors(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	closedClient, err := sarama.NewClient(c.ListenAddrs(), contractConfig())
	if err != nil {
		t.Fatal(err)
	}
	closedClient.Close()
	clients := map[string][2]func(sarama.Client) error{
		"sarama": {
			func(c sarama.Client) error { _, err := sarama.NewAsyncProducerFromClient(c); return err },
			func(c sarama.Client) error { _, err := sarama.NewSyncProducerFromClient(c); return err },
		},
		"NewAsyncProducer": {
			func(c sarama.Client) error { _, err := sluice.NewAsyncProducerFromClient(c); return err },
			func(c sarama.Client) error { _, err := sluice.NewSyncProducerFromClient(c); return err },
		},
		"New": {
			func(c sarama.Client) error { _, err := sluice.NewFromClient(c); return err },
			func(c sarama.Client) error { _, err := sluice.NewFromClient(c); return err },
		},
	}
	atEachDoor(t, func(t *testing.T, d door) {
		isConfiguration := func(what string, err error) {
			t.Helper()
			if _, ok := err.(sarama.ConfigurationError); !ok {
				t.Errorf("%s: %T %v", what, err, err)
			}
		}
		_, err := d.async(nil, contractConfig())
		isConfiguration("no addresses", err)
		_, err = d.sync(nil, contractConfig())
		isConfiguration("no addresses, sync", err)
		bad := contractConfig()
		bad.Producer.Retry.Max = -1
		_, err = d.async(c.ListenAddrs(), bad)
		isConfiguration("a bad configuration", err)
		for _, construct := range clients[d.name] {
			if err := construct(closedClient); err != sarama.ErrClosedClient {
				t.Errorf("a closed client: %v", err)
			}
		}
		if d.bare { // no broker is needed for these
			asleep := contractConfig()
			asleep.Metadata.Full = false
			p, err := d.async([]string{"127.0.0.1:1"}, asleep)
			if err != nil {
				t.Fatalf("nobody there, without Metadata.Full: %v", err)
			}
			p.Close()
		}
		unreachable := contractConfig()
		unreachable.Metadata.Retry.Max = 0
		if _, err := d.async([]string{"127.0.0.1:1"}, unreachable); !errors.Is(err, sarama.ErrOutOfBrokers) {
			t.Errorf("nobody there: %v", err)
		}
	})
}

func TestContractTxnStatus(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		for _, idempotent := range []bool{false, true} {
			c := newTopicCluster(t, 1, 1)
			conf := contractConfig()
			want := sarama.ProducerTxnFlagUninitialized
			if idempotent {
				conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
				want = sarama.ProducerTxnFlagReady
			}
			p := d.newAsync(t, c, conf)
			if got := p.TxnStatus(); got != want || p.IsTransactional() {
				t.Errorf("idempotent %v: %v, transactional %v", idempotent, got, p.IsTransactional())
			}
			if err := p.BeginTxn(); err != sarama.ErrNonTransactedProducer {
				t.Errorf("BeginTxn: %v", err)
			}
			p.Close()
		}
	})
}

// What sarama's constructors return here is a *Producer underneath.
func TestTypeAssertionFindsTheProducer(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	async := saramaDoor.newAsync(t, c, contractConfig())
	p, ok := async.(*sluice.Producer)
	if !ok {
		t.Fatalf("%T", async)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	async.Close()
	sync := saramaDoor.newSync(t, c, contractConfig())
	if _, ok := sync.(*sluice.Producer); !ok {
		t.Errorf("%T", sync)
	}
	sync.Close()
}

// A message that is larger than the default memory bound is sent, where the configuration allows it, as sarama does.
func TestContractLargeMessages(t *testing.T) {
	atEachDoor(t, func(t *testing.T, d door) {
		c := newTopicCluster(t, 1, 1, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "90000000"}))
		conf := contractConfig()
		conf.Producer.MaxMessageBytes = 80_000_000
		p := d.newSync(t, c, conf)
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat("x", 40_000_000))}); err != nil {
			t.Error(err)
		}
		p.Close()
	})
}

// An election that is shorter than the rounds is outlived; a longer one ends with the look-ups' word.
func TestElection(t *testing.T) {
	for _, d := range []door{saramaDoor, ownDoor} {
		for _, seconds := range []time.Duration{2, 20} {
			t.Run(fmt.Sprintf("%s, %d s", d.name, seconds), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					election := v.Fault(kfake.Fault{
						Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Partitions: []int32{0}, Err: kerr.LeaderNotAvailable, Count: -1,
					})
					conf := sarama.NewConfig() // the pauses that everybody has
					conf.Producer.Partitioner = sarama.NewManualPartitioner
					conf.Producer.Return.Successes = true
					conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, v
					p := d.newAsync(t, v.Cluster, conf)
					start := time.Now()
					p.Input() <- message(0, 0)
					p.Input() <- message(1, 1) // which has a leader
					if msg := receive(t, p.Successes()); msg.Partition != 1 || time.Since(start) > time.Second {
						t.Errorf("partition %d after %v", msg.Partition, time.Since(start))
					}
					go func() {
						time.Sleep(seconds * time.Second)
						election.Remove()
					}()
					select {
					case msg := <-p.Successes():
						if took := time.Since(start); msg.Partition != 0 || took < seconds*time.Second || took > (seconds+2)*time.Second {
							t.Errorf("partition %d after %v", msg.Partition, took)
						}
						if d.bare && seconds == 20 {
							t.Error("nothing gave it up")
						}
					case err := <-p.Errors():
						if !d.bare || seconds == 2 || err.Err != sarama.ErrLeaderNotAvailable || time.Since(start) > 10*time.Second {
							t.Errorf("%v after %v", err.Err, time.Since(start))
						}
					}
					time.Sleep(20 * time.Second) // the other goroutine ends
					p.Close()
				}, kfake.SeedTopics(2, "t"))
			})
		}
	}
}

// A producer of a client needs no broker, as in sarama: the first message does.
func TestContractClientWhoseClusterIsGone(t *testing.T) {
	for name, construct := range map[string]func(sarama.Client) (sarama.SyncProducer, error){
		"sarama": sarama.NewSyncProducerFromClient, "sluice": sluice.NewSyncProducerFromClient,
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			client, err := sarama.NewClient(c.ListenAddrs(), contractConfig())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			c.Close()
			p, err := construct(client)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := p.SendMessage(message(0, 0)); err == nil {
				t.Error("delivered")
			}
			p.Close()
		})
	}
}

// What is sent to a partition that refuses everything fails after its own tries, and does not wait for those of all that was
// sent before.
func TestContractRefusalsDoNotPileUp(t *testing.T) {
	for _, d := range []door{saramasOwn, saramaDoor} {
		t.Run(d.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				failProduce(v.Cluster, kerr.NotEnoughReplicas, -1)
				conf := sarama.NewConfig()
				conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, v
				conf.ApiVersionsRequest = false
				conf.Version = sarama.V2_8_0_0
				p := d.newAsync(t, v.Cluster, conf)
				var longest time.Duration
				var reader sync.WaitGroup
				reader.Go(func() {
					for err := range p.Errors() {
						longest = max(longest, time.Since(err.Msg.Metadata.(time.Time)))
					}
				})
				for range 3000 {
					p.Input() <- &sarama.ProducerMessage{Topic: "t", Metadata: time.Now()}
					time.Sleep(10 * time.Millisecond)
				}
				p.AsyncClose()
				reader.Wait()
				if longest > 2*time.Second {
					t.Errorf("a message failed after %v", longest)
				}
				time.Sleep(20 * time.Second) // for sarama's breakers
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// While no broker gives a producer id, messages fail after some rounds, and Close ends.
func TestNoProducerID(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		conf := v.config()
		conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		p := saramaDoor.newAsync(t, v.Cluster, conf)
		start := time.Now()
		p.Input() <- message(0, 0)
		if err := receive(t, p.Errors()); err.Err != sarama.ErrConsumerCoordinatorNotAvailable {
			t.Errorf("%v", err.Err)
		}
		p.Input() <- message(0, 1)
		if err := p.Close(); err == nil {
			t.Error("delivered without an id")
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// A Close that is cut short ends, whatever is retried at that moment.
func TestCloseIsCutShortWhileRetrying(t *testing.T) {
	for range 20 {
		c := newTopicCluster(t, 1, 1)
		failProduce(c, kerr.NotEnoughReplicas, -1)
		conf := testConfig()
		conf.Producer.Flush.MaxMessages, conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 1, 1_000_000, 0
		p := newAsync(t, c, conf)
		send(p, messages(300, 1)...)
		var failed sarama.ProducerErrors
		if err := p.CloseContext(ended()); !errors.As(err, &failed) || len(failed) != 300 {
			t.Fatalf("%d failed", len(failed))
		}
	}
}
