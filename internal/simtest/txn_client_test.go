package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// inTxn is what a message has to do with transactions. From and to are moments of the run's clock: when its send began and
// returned.
type inTxn struct {
	client   *txnClient
	txn      *transaction // it belongs to, for certain; nil: it was sent whether or not there was one
	from, to int64
	sender   int
	reported bool // its outcome comes by a report as well
}

// txnClient is one transactional producer.
type txnClient struct {
	*run
	number int
	p      *sluice.Producer
	sarama bool // it was made by one of sarama's constructors
	// rival is a newer producer with the same id; it was built at rivalAt.
	rival     *txnClient
	rivalAt   int64
	rivalTxn  *transaction // it was opened by the rival meanwhile
	txns      []*transaction
	racers    sync.WaitGroup
	readers   sync.WaitGroup
	racing    context.Context
	stop      context.CancelFunc
	refusedAt time.Time        // when BeginTxn was first refused, since it last was not
	appended  map[string]*sent // by name; under run.mu, as is what follows
	appenders map[appenderKey]*sluice.Appender
}

// appenderKey says whose Appender it is: a sender has one a topic, for all transactions.
type appenderKey struct {
	sender int
	topic  string
}

// tick is the run's logical clock: what happens later has a higher one.
func (r *run) tick() int64 { return r.ticks.Add(1) }

// newTxnClient makes a producer, as often as that takes.
func (r *run) newTxnClient(number int) *txnClient {
	draw := rand.New(rand.NewPCG(r.seed, uint64(number)|13<<60))
	c := &txnClient{run: r, number: number, sarama: draw.Float64()*100 < r.sc.txn.saramaClients}
	c.appended, c.appenders = map[string]*sent{}, map[appenderKey]*sluice.Appender{}
	c.racing, c.stop = context.WithCancel(context.Background())
	var addrs []string
	for node := range int32(r.sc.brokers) {
		addrs = append(addrs, addr(node))
	}
	conf := r.sc.txnConfig(number)
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, r.net
	for {
		begin, healed := time.Now(), r.healed()
		err := c.build(addrs, conf)
		r.trace("producer %d (sarama's %t) is built after %v: %v", number, c.sarama, time.Since(begin), err)
		if err == nil {
			r.coordinator.forgive(number)
			break
		}
		if r.broken() {
			return nil
		}
		if healed && !r.coordinator.isBlamed(number) {
			r.fail("producer %d can't be built: %v", number, err)
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := c.p.TxnStatus(); got != sarama.ProducerTxnFlagReady || !c.p.IsTransactional() {
		r.fail("producer %d begins with status %v, transactional %t", number, got, c.p.IsTransactional())
	}
	c.readers.Go(func() {
		for msg := range c.p.Successes() {
			r.outcome(msg.Metadata.(*sent), msg, nil)
		}
	})
	c.readers.Go(func() {
		for e := range c.p.Errors() {
			r.outcome(e.Msg.Metadata.(*sent), e.Msg, e.Err)
		}
	})
	for i := range r.sc.txn.racers {
		c.racers.Go(func() { c.race(i) })
	}
	return c
}

func (c *txnClient) build(addrs []string, conf *sarama.Config) (err error) {
	if !c.sarama {
		c.p, err = sluice.New(addrs, conf, c.sc.txnOptions(c.reported)...)
		return err
	}
	var p any
	if c.number%2 == 0 {
		p, err = sluice.NewSyncProducer(addrs, conf)
	} else {
		p, err = sluice.NewAsyncProducer(addrs, conf)
	}
	if err == nil {
		c.p = p.(*sluice.Producer)
	}
	return err
}

// close ends the producer.
func (c *txnClient) close(draw *rand.Rand) {
	c.stop()
	c.racers.Wait()
	begin := time.Now()
	switch choice := draw.IntN(3); {
	case choice == 0, c.sarama: // without reports, Close takes what is left in Successes
		c.p.AsyncClose()
	case choice == 1:
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Duration(draw.Int64N(int64(2*c.sc.readTimeout))), errEnd)
		c.closedWith(c.p.CloseContext(ctx))
		cancel()
	default:
		c.closedWith(c.p.Close())
	}
	c.readers.Wait()
	c.trace("producer %d is closed after %v", c.number, time.Since(begin))
	if took := time.Since(begin); took > c.patience() {
		c.fail("Close of producer %d took %v", c.number, took)
	}
	c.mu.Lock()
	messages := slices.DeleteFunc(slices.Clone(c.messages), func(m *sent) bool { return m.client != c })
	c.mu.Unlock()
	c.checkStats(c.p, messages, c.sarama)
	if messages, bytes := c.p.Buffered(); messages != 0 || bytes != 0 {
		c.fail("a closed producer holds %d messages, %d bytes", messages, bytes)
	}
}

// patience bounds every call whose context does not end.
func (r *run) patience() time.Duration {
	t := r.sc.txn
	tries := time.Duration(t.retryMax + 1)
	return r.sc.delivery + r.slack() + 2*t.timeout + tries*(r.sc.readTimeout+t.backoff+time.Second)
}

// race sends now and then, in a transaction or not.
func (c *txnClient) race(id int) {
	draw := rand.New(rand.NewPCG(c.seed, uint64(id)<<8|uint64(c.number)|14<<60))
	for n := 1; n <= 40; n++ {
		select {
		case <-time.After(time.Duration(draw.Int64N(int64(c.sc.length / 20)))):
		case <-c.racing.Done():
			return
		}
		c.send(draw, c.racing, sender{id: c.number*1000 + 900 + id}, pick(draw, "input", "produce", "sync"), n)
	}
}

// sender names who sends, for which transaction, and in which Transact.
type sender struct {
	id  int
	txn *transaction
	tx  sluice.Tx
}

// send sends one message, or one batch of them, in one way; number is the first one's.
func (c *txnClient) send(draw *rand.Rand, ctx context.Context, s sender, how string, number int) int {
	n := 1
	if how == "batch" || how == "syncs" {
		n = 1 + draw.IntN(5)
	}
	ms, msgs := make([]*sent, n), make([]*sarama.ProducerMessage, n)
	name := how
	if how == "syncs" {
		name = "sync" // both kinds of calls of one goroutine are one stream
	}
	for i := range ms {
		ms[i] = c.newMessage(s.id, number+i, name)
		ms[i].client, ms[i].txn, ms[i].sender = c, s.txn, s.id
		ms[i].reported = !c.sarama && (how == "input" || how == "batch")
		msgs[i] = ms[i].msg
		if s.txn != nil {
			s.txn.add(ms[i])
		}
	}
	c.offer(ms...)
	from := c.tick()
	for _, m := range ms {
		m.from = from
	}
	var refused error
	switch how {
	case "append":
		refused = c.append(ms[0])
	case "input":
		refused = sendUntil(ctx, c.p.Input(), msgs[0])
	case "batch":
		refused = sendUntil(ctx, c.p.InputBatch(), msgs)
	case "produce":
		produce := c.p.Produce
		if s.tx != nil {
			produce = s.tx.Produce
		}
		refused = produce(ctx, msgs[0], func(msg *sarama.ProducerMessage, err error) { c.outcome(ms[0], msg, err) })
	case "sync":
		p, offset, err := c.p.SendMessageContext(ctx, msgs[0])
		c.tell(ms[0], outcome{p, offset, err, time.Now()})
	case "syncs":
		c.toldAll(ms, c.p.SendMessagesContext(ctx, msgs))
	}
	to := c.tick()
	c.mu.Lock()
	for _, m := range ms {
		m.to = to
		m.accepted = refused == nil
	}
	c.mu.Unlock()
	if refused != nil {
		c.refuse(refused, ms...)
		if s.txn != nil && ctx.Err() == nil {
			c.trace("%v was refused: %v", ms[0], refused)
		}
	}
	return n
}

// append sends by the Appender of the message's sender and topic.
func (c *txnClient) append(m *sent) error {
	key := appenderKey{m.sender, m.topic}
	c.mu.Lock()
	a := c.appenders[key]
	c.appended[m.String()] = m
	c.mu.Unlock()
	if a == nil {
		var err error
		a, err = sluice.NewAppender(c.p, m.topic, sluice.WithAppendReport(func(report sluice.AppendReport) { c.appendReport(c.appended, report) }))
		if err != nil {
			c.fail("NewAppender: %v", err)
			return err
		}
		c.mu.Lock()
		c.appenders[key] = a
		c.mu.Unlock()
	}
	var k []byte
	if m.msg.Key != nil {
		k, _ = m.msg.Key.Encode()
	}
	if c.sc.partitioner == "manual" {
		return a.AppendAt(m.wanted, time.Time{}, k, []byte(m.value))
	}
	return a.Append(k, []byte(m.value))
}

// sendUntil sends to an input until ctx ends. It is open: producers are closed when nobody sends any more.
func sendUntil[T any](ctx context.Context, in chan<- T, v T) error {
	select {
	case in <- v:
		return nil
	case <-ctx.Done():
		return errStopped
	}
}

// toldAll takes the outcomes of SendMessages.
func (r *run) toldAll(ms []*sent, err error) {
	failed := map[*sarama.ProducerMessage]error{}
	var errs sarama.ProducerErrors
	if errors.As(err, &errs) {
		for _, e := range errs {
			failed[e.Msg] = e.Err
		}
	} else if err != nil {
		r.fail("SendMessages: %v", err)
	}
	for _, m := range ms {
		r.tell(m, outcome{m.msg.Partition, m.msg.Offset, failed[m.msg], time.Now()})
	}
}

// broken tells whether the run has failed already.
func (r *run) broken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

func (c *txnClient) String() string { return fmt.Sprint("producer ", c.number) }
