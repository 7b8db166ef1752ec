package apitest

import (
	"context"
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
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/faketxn"
)

// The states of the transactional interface, and how a test reaches each.

// txnProducer is what sarama's two producers have in common.
type txnProducer interface {
	IsTransactional() bool
	TxnStatus() sarama.ProducerTxnStatusFlag
	BeginTxn() error
	CommitTxn() error
	AbortTxn() error
	AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata, string) error
	AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata, *sarama.ConsumerGroupMetadata) error
	AddMessageToTxn(*sarama.ConsumerMessage, string, *string) error
	AddMessageToTxnWithGroupMetadata(*sarama.ConsumerMessage, *sarama.ConsumerGroupMetadata, *string) error
	Close() error
}

// txnVersions are clusters by the version of their transactions. sarama speaks version 1 to both.
var txnVersions = []struct {
	name string
	opts []kfake.Opt
}{
	{"version 1", []kfake.Opt{kfake.MaxVersions(kversion.V3_9_0())}},
	{"version 2", nil}, // KIP-890
}

// txnContractConfig is a transactional producer's. What fails is tried twice.
func txnContractConfig() *sarama.Config {
	conf := idempotent(contractConfig())
	conf.Producer.Retry.Max = 1
	conf.Producer.MaxMessageBytes = 10_000
	conf.Producer.Transaction.ID = "tx"
	conf.Producer.Transaction.Retry.Max = 1
	conf.Producer.Transaction.Retry.Backoff = time.Millisecond
	return conf
}

// txnTest is one producer at one cluster, whose only topic is "t".
type txnTest struct {
	*testing.T
	door  door
	c     *kfake.Cluster
	p     txnProducer
	async sarama.AsyncProducer // one of them is nil
	sync  sarama.SyncProducer
	shim  *faketxn.Shim

	closing sync.Once
}

// newTxnTest makes a producer of the door that is closed with the test.
func newTxnTest(t *testing.T, d door, async bool, conf *sarama.Config, opts ...kfake.Opt) *txnTest {
	x := &txnTest{T: t, door: d, shim: faketxn.New(nil)}
	x.c = newTopicCluster(t, 1, 1, append(slices.Clone(opts), x.shim.Opt())...)
	x.shim.Attach(x.c)
	if async {
		x.async = d.newAsync(t, x.c, conf)
		x.p = x.async
	} else {
		x.sync = d.newSync(t, x.c, conf)
		x.p = x.sync
	}
	t.Cleanup(x.close)
	return x
}

// close closes the producer, once: sarama's second Close panics.
func (x *txnTest) close() { x.closing.Do(func() { x.p.Close() }) }

// must ends the test with an error of a step on the way to a state.
func (x *txnTest) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// mustFail ends the test if such a step succeeds.
func (x *txnTest) mustFail(err error) {
	x.Helper()
	if err == nil {
		x.Fatal("no error")
	}
}

// send sends a message and waits for its outcome.
func (x *txnTest) send(msg *sarama.ProducerMessage) error {
	if x.sync != nil {
		_, _, err := x.sync.SendMessage(msg)
		return err
	}
	x.async.Input() <- msg
	return x.outcome()
}

// outcome is that of the next message in the channels.
func (x *txnTest) outcome() error {
	select {
	case <-x.async.Successes():
		return nil
	case err := <-x.async.Errors():
		return err.Err
	case <-time.After(patience):
		return errors.New("no outcome")
	}
}

func (x *txnTest) own() *sluice.Producer { return x.p.(*sluice.Producer) }

// fail lets the next n requests of a kind fail (-1: all, until the fault is removed).
func (x *txnTest) fail(err *kerr.Error, n int, keys ...kmsg.Key) *kfake.FaultHandle {
	return x.c.Fault(kfake.Fault{Keys: keys, Err: err, Count: n})
}

// takeOver lets another producer begin with the transactional id (KIP-98): the one before is fenced.
func (x *txnTest) takeOver() {
	x.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr("tx"), 60_000
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := req.RequestWith(impatient(x), newReader(x.T, x.c))
	x.must(err)
	x.must(kerr.ErrorForCode(resp.ErrorCode))
}

// commitInVain calls CommitTxn while no request of a kind comes to a definite answer. Through New it would go on until
// Transaction.Timeout: there its context ends after two tries.
func (x *txnTest) commitInVain(key kmsg.Key) {
	x.Helper()
	own, ok := x.p.(*sluice.Producer)
	if !ok || x.door.bare {
		x.mustFail(x.p.CommitTxn())
		return
	}
	ctx, cancel := context.WithCancel(x.Context())
	defer cancel()
	var tries atomic.Int32
	x.c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if tries.Add(1) == 3 { // the second has failed
			x.c.DropControl()
			cancel()
		}
		return nil, nil, false
	})
	x.mustFail(own.CommitTxnContext(ctx))
}

func offsets(offset int64) map[string][]*sarama.PartitionOffsetMetadata {
	return map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 0, Offset: offset}}}
}

// tooLarge is a message that the configuration of txnContractConfig refuses.
func tooLarge() *sarama.ProducerMessage {
	msg := message(0, 0)
	msg.Value = sarama.ByteEncoder(make([]byte, 20_000))
	return msg
}

var errTooLarge = sarama.ConfigurationError(fmt.Sprintf(
	"Attempt to produce message larger than configured Producer.MaxMessageBytes: %d > 10000", tooLarge().ByteSize(2)))
