package txn

import (
	"context"
	"slices"
	"sync"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// additions adds partitions to transactions of version 1 (KIP-98). Before its first batch is written, each partition must be
// added; several go in one request, and no partition is added twice in a transaction. A goroutine runs while there is something
// to add.
type additions struct {
	t *Transactions

	mu      sync.Mutex // guards what follows
	added   map[topicPartition]bool
	failed  bool                        // nothing is added any more, until begin
	waiting map[topicPartition][]func() // what to call when they are added
	running chan struct{}               // closed when the goroutine has ended; nil without one
	cancel  context.CancelFunc          // ends it
	failure error                       // of the last try, until one is granted
}

func (a *additions) init(t *Transactions) { a.t, a.failed = t, true }

// begin forgets the last transaction.
func (a *additions) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.added, a.waiting, a.failed = make(map[topicPartition]bool), make(map[topicPartition][]func()), false
	a.failure = nil
}

// add tells whether a partition is added. If not, it is added soon, and added is called then.
func (a *additions) add(tp topicPartition, added func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.added[tp] || a.failed {
		return !a.failed
	}
	if added != nil {
		a.waiting[tp] = append(a.waiting[tp], added)
	}
	if a.running == nil && len(a.waiting) > 0 {
		a.running = make(chan struct{})
		var ctx context.Context
		ctx, a.cancel = context.WithCancel(a.t.ctx)
		go a.run(ctx, a.running)
	}
	return false
}

// run adds what waits, until nothing does, or the transaction fails.
func (a *additions) run(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	for {
		tps := a.next()
		if tps == nil {
			return
		}
		if !a.request(ctx, tps) {
			a.mu.Lock()
			a.waiting, a.running, a.failed = nil, nil, true // and the transaction with it
			a.cancel()
			a.mu.Unlock()
			return
		}
	}
}

// next is what to add next. Without anything the goroutine ends.
func (a *additions) next() (tps []topicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for tp := range a.waiting {
		tps = append(tps, tp)
	}
	if tps == nil {
		a.running = nil
		a.cancel()
	}
	return tps
}

// request sends one AddPartitionsToTxn, and returns false if the transaction has failed.
func (a *additions) request(ctx context.Context, tps []topicPartition) bool {
	id := a.t.Current()
	_, meaning, err := a.t.ask(ctx, &request{
		to: a.t.coordinator(), highest: 3, // v4 is for brokers (KIP-890)
		make:   func() kmsg.Request { return addRequest(a.t.cfg.ID, id, tps) },
		read:   func(resp kmsg.Response) sarama.KError { return codeOfAdditions(resp, len(tps)) },
		unsure: func() { a.t.added(false) },
		failed: a.setFailure,
	})
	if meaning != answerGranted {
		if ctx.Err() == nil {
			a.t.fail(err, meaning == answerFatal)
		}
		return false
	}
	a.t.added(true)
	var tell []func()
	a.mu.Lock()
	a.failure = nil
	for _, tp := range tps {
		a.added[tp] = true
		tell = append(tell, a.waiting[tp]...)
		delete(a.waiting, tp)
	}
	a.mu.Unlock()
	for _, added := range tell {
		added()
	}
	return true
}

func (a *additions) setFailure(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failure = err
}

// lastFailure is why the last try failed, or nil.
func (a *additions) lastFailure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure
}

// wait returns when nothing is being added.
func (a *additions) wait(ctx context.Context) error {
	a.mu.Lock()
	running := a.running
	a.mu.Unlock()
	if running == nil {
		return nil
	}
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return flow.ContextError(ctx)
	}
}

// stop ends what is being added, and waits for its goroutine.
func (a *additions) stop() {
	a.mu.Lock()
	running := a.running
	if running != nil {
		a.cancel()
	}
	a.mu.Unlock()
	if running != nil {
		<-running
	}
}

func addRequest(transactionalID string, id Identity, tps []topicPartition) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = transactionalID, id.ID, id.Epoch
	for _, tp := range tps {
		i := slices.IndexFunc(req.Topics, func(t kmsg.AddPartitionsToTxnRequestTopic) bool { return t.Topic == tp.topic })
		if i < 0 {
			i = len(req.Topics)
			topic := kmsg.NewAddPartitionsToTxnRequestTopic()
			topic.Topic = tp.topic
			req.Topics = append(req.Topics, topic)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, tp.partition)
	}
	return req
}

// codeOfAdditions is the code that counts in an answer: a refusal before one that asks for patience.
func codeOfAdditions(kresp kmsg.Response, asked int) sarama.KError {
	var codes []int16
	for _, topic := range kresp.(*kmsg.AddPartitionsToTxnResponse).Topics {
		for _, p := range topic.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return worstOf(kmsg.AddPartitionsToTxn, asked, codes)
}
