package sluice

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/dispatch"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// How an Appender's batches are begun, filled and sealed. A sealed batch goes through the pipeline as one record (flow.SealedBatch), from
// the dispatcher on; the loop of the broker producer takes it out, and it is a batch like all others.

// openBatches are the batches of one Appender that are open, and what is known of the others. Its methods are called with the
// Appender's mu held.
type openBatches struct {
	a           *Appender
	last        *openBatch      // where the last record went
	partitions  []openPartition // by id
	begun       []*openBatch    // the open ones, the oldest first, and some that are sealed
	open        int             // of begun
	linger      *time.Timer     // nil until it is needed
	lingerFor   time.Duration
	byOutcome   bool // no linger: see settle
	closed      bool
	flushes     []*flushed  // the last one is of no Flush yet
	failed      error       // the first failure that no Flush has told
	wakePending atomic.Bool // onUrgent has been called, and its timer has not fired
}

// flushed counts the batches that were sealed between two calls of Flush, so that a Flush does not wait for what Writers append
// meanwhile.
type flushed struct {
	unsettled int           // without an outcome
	settled   chan struct{} // of the Flush that ends it: closed when unsettled is 0, and that of all before. nil until that Flush
}

// openPartition is what is known of one partition.
type openPartition struct {
	batch     *openBatch // nil if none is open
	hint      int        // the size of the last one
	unsettled int        // its sealed batches without an outcome
}

// openBatch takes records of one partition.
type openBatch struct {
	*produceset.Batch
	charge int64  // of the budget, for its buffers and what a record costs besides
	born   int64  // when it was begun, on the producer's clock
	txn    uint64 // the number of the transaction that was open then
	sealed bool
}

// needs is what is to be charged for so many bytes of buffers more.
func (b *openBatch) needs(bytes int) int64 {
	return max(0, b.Granted()+int64(bytes)+flow.RecordOverhead-b.charge)
}

// take gives the batch what was charged.
func (b *openBatch) take(charged int64) {
	b.charge += charged
	b.Grant(int(max(0, b.charge-flow.RecordOverhead-b.Granted())))
}

func (o *openBatches) init(a *Appender) {
	o.a, o.flushes = a, []*flushed{{}}
	o.lingerFor, o.byOutcome = a.p.shared.Linger()
}

// encode adds a record to a batch of its partition, beginning and sealing batches as needed. It waits for memory.
func (a *Appender) encode(partition int32, millis int64, key, value []byte, headers []sarama.RecordHeader) error {
	o, budget := &a.open, a.p.shared.Budget
	var charged int64 // to the budget, and no batch's yet
	least := false    // a new batch gets no more memory than the record needs
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		b := o.of(partition)
		if b != nil && o.ended(b) {
			o.seal(b)
			b = nil
		}
		if b == nil {
			var err error
			if b, err = o.begin(partition, least); err != nil {
				budget.Release(charged)
				return a.refused(produceset.BytesBound(key, value, headers), err)
			}
		}
		b.take(charged)
		charged = 0
		need, err := b.append(a, millis, key, value, headers)
		switch {
		case err == produceset.ErrFull:
			o.seal(b)
			continue
		case err != nil:
			b.dropEmpty(budget)
			return a.refused(produceset.BytesBound(key, value, headers), err)
		case need == 0:
			o.appended(b)
			return nil
		case b.Count() == 0 && !least:
			b.dropEmpty(budget)
			least = true
			continue
		case b.charge+need > budget.Limit():
			if b.dropEmpty(budget) {
				size := produceset.BytesBound(key, value, headers)
				return a.refused(size, dispatch.NoRoom(a.p.deps, a.topic, size))
			}
			o.seal(b) // it would wait for what it holds itself
			continue
		}
		if b.Count() == 0 { // nobody may wait with memory that nobody else can free
			need += b.charge
			b.dropEmpty(budget)
		}
		a.mu.Unlock()
		err = a.p.charge(a.ctx, need)
		a.mu.Lock()
		if err != nil {
			return a.refused(produceset.BytesBound(key, value, headers), err)
		}
		charged, least = need, true // it may be for another batch, as this one may be sealed by now
	}
}

// append encodes a record, if there is memory for it; else need is what must be charged first.
func (b *openBatch) append(a *Appender, millis int64, key, value []byte, headers []sarama.RecordHeader) (need int64, err error) {
	if millis == now {
		millis = a.clock.millis(b.Count() == 0)
	}
	for {
		more, err := b.AppendBytes(key, value, headers, millis)
		if more == 0 {
			if err == nil && a.tagged {
				b.Tag(a.tag)
			}
			return 0, err
		}
		if need = b.needs(more); !a.p.shared.Budget.Try(need) {
			return need, nil
		}
		b.take(need)
	}
}

// dropEmpty gives a batch back that has no record, and was never open. It returns false for others.
func (b *openBatch) dropEmpty(budget *flow.Budget) bool {
	if b.Count() > 0 {
		return false
	}
	budget.Release(b.charge)
	b.Release()
	return true
}

// of is the open batch of a partition, or nil.
func (o *openBatches) of(partition int32) *openBatch {
	if b := o.last; b != nil && !b.sealed && b.Partition == partition { // a sealed one may be of another by now
		return b
	}
	for int(partition) >= len(o.partitions) { // package metadata bounds the numbers of partitions
		o.partitions = append(o.partitions, openPartition{})
	}
	return o.partitions[partition].batch
}

// ended tells whether the transaction of an open batch takes no more records. Its end seals all, but Append may run beside that.
func (o *openBatches) ended(b *openBatch) bool {
	if o.a.p.txns == nil {
		return false
	}
	number, open := o.a.p.txns.Accepting()
	return !open || number != b.txn
}

// begin makes a batch. It is open from its first record on. least: without room for more than that.
func (o *openBatches) begin(partition int32, least bool) (*openBatch, error) {
	p := o.a.p
	if o.closed || p.shared.Closing() {
		return nil, sarama.ErrShuttingDown
	}
	b := &openBatch{}
	if p.txns != nil {
		var open bool
		if b.txn, open = p.txns.Accepting(); !open {
			return nil, flow.Errorf("a record outside a transaction: %w", flow.External(sarama.ErrTransactionNotReady))
		}
	}
	if cause := p.shared.Stopped(); cause != nil {
		return nil, cause
	}
	if md := p.metadata.Topic(o.a.topic); md != nil {
		o.a.md = md // nothing else brings news of new partitions
	}
	hint, most := 0, p.appenders.mostBytes(p.shared.Budget.Limit())
	if !least {
		hint = min(o.partitions[partition].hint, most)
	}
	b.Batch = produceset.New(p.set, hint)
	b.Limit(most)
	if limit := p.brokers.LimitOf(o.a.topic); limit > 0 {
		b.Limit(limit)
	}
	b.Topic, b.Partition = o.a.topic, partition
	b.Hold()
	return b, nil
}

// appended takes note of a record that a batch has got, and seals a batch that is large enough to be sent.
func (o *openBatches) appended(b *openBatch) {
	o.last = b
	if b.Count() == 1 {
		o.opened(b)
	}
	f := &o.a.p.shared.Conf.Producer.Flush
	if b.Full() || f.MaxMessages > 0 && b.Count() >= f.MaxMessages ||
		f.Bytes > 0 && b.Bytes() >= f.Bytes || f.Messages > 0 && b.Count() >= f.Messages ||
		o.byOutcome && o.partitions[b.Partition].unsettled == 0 {
		o.seal(b)
	}
}

func (o *openBatches) opened(b *openBatch) {
	b.born = o.a.p.shared.Now()
	o.partitions[b.Partition].batch = b
	if len(o.begun) > 2*o.open+minBegun {
		o.dropSealed()
	}
	o.begun = append(o.begun, b)
	o.a.p.appenders.open.Add(1)
	if o.open++; o.open == 1 && !o.byOutcome {
		o.startLinger()
	}
	if o.a.p.shared.Budget.Waiting() { // who waits has woken those that had open batches then
		o.a.onUrgent()
	}
}

// mostBytes is how large a batch may get that is begun now. All open batches together shall hold a quarter of the memory at most, or what
// is being sent would have to wait for them; but a batch below 16 KiB costs more than it spares.
func (s *appenders) mostBytes(memory int64) int {
	const share, least = 4, 16 << 10
	return int(max(memory/share/(s.open.Load()+1), least))
}

// startLinger sets the timer to when the oldest open batch has lingered.
func (o *openBatches) startLinger() {
	o.dropSealed()
	if o.open == 0 {
		return
	}
	wait := o.lingerFor - time.Duration(o.a.p.shared.Now()-o.begun[0].born)
	if o.linger == nil {
		o.linger = time.AfterFunc(wait, o.a.onLinger)
	} else {
		o.linger.Reset(wait)
	}
}

// dropSealed takes sealed batches out of begun.
func (o *openBatches) dropSealed() {
	open := o.begun[:0]
	for _, b := range o.begun {
		if !b.sealed {
			open = append(open, b)
		}
	}
	clear(o.begun[len(open):])
	o.begun = open
}

// onLinger seals what has lingered.
func (a *Appender) onLinger() {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &a.open
	before := a.p.shared.Now() - int64(o.lingerFor)
	for _, b := range o.begun {
		if b.born > before {
			break
		}
		if !b.sealed {
			o.seal(b)
		}
	}
	o.startLinger()
}

// sealAll seals every open batch.
func (a *Appender) sealAll() { a.sealAllOf(func(*openBatch) {}) }

// failAll has every open batch refused: it is of no transaction.
func (a *Appender) failAll() { a.sealAllOf(func(b *openBatch) { b.txn = 0 }) }

func (a *Appender) sealAllOf(change func(*openBatch)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.open.begun {
		if !b.sealed {
			change(b)
			a.open.seal(b)
		}
	}
	a.open.dropSealed()
}

// patience is how long somebody waits for memory before open batches are sealed for that. Where many Appenders use it all up, one of
// them waits at any time, and sealed at once their batches would be of a few records.
const patience = time.Millisecond

// onUrgent has everything sealed soon if somebody waits for memory: open batches may hold it. It does not block.
func (a *Appender) onUrgent() {
	if a.p.shared.Budget.Waiting() && a.open.wakePending.CompareAndSwap(false, true) {
		time.AfterFunc(patience, func() {
			a.open.wakePending.Store(false)
			if a.p.shared.Budget.Waiting() {
				a.sealAll()
			}
		})
	}
}

// seal hands an open batch to the dispatcher.
func (o *openBatches) seal(b *openBatch) {
	b.sealed = true
	at := &o.partitions[b.Partition]
	at.batch = nil
	o.open--
	p := o.a.p
	p.appenders.open.Add(-1)
	at.hint = b.Bytes()
	rec := o.carry(b.Batch, b.txn, o.flushes[len(o.flushes)-1])
	rec.Born, rec.Size = b.born, int32(b.charge-flow.RecordOverhead)
	rec.Charge = rec.Size
	if !p.dispatcher.Direct(rec) { // Close has ended meanwhile; then it has sealed everything before
		p.shared.Budget.Release(b.charge)
		go rec.Completion.Done(rec.Msg, sarama.ErrShuttingDown)
	}
}

// minBegun is how many sealed batches may be in begun in any case.
const minBegun = 64

// appendedBatch is a sealed batch on its way.
type appendedBatch struct {
	a     *Appender
	batch *produceset.Batch
	txn   uint64
	in    *flushed
	msg   sarama.ProducerMessage
	call  flow.Completion
}

// carry makes the record that stands for a batch.
func (o *openBatches) carry(batch *produceset.Batch, txn uint64, in *flushed) flow.Record {
	in.unsettled++
	o.partitions[batch.Partition].unsettled++
	c := &appendedBatch{a: o.a, batch: batch, txn: txn, in: in}
	c.msg.Topic, c.msg.Metadata = o.a.topic, flow.ChosenPartition(batch.Partition)
	c.call.Batch, c.call.Divide, c.call.Done, c.call.Stale = batch, c.divide, c.done, c.stale
	return flow.Record{Msg: &c.msg, Completion: &c.call, Partition: -1}
}

// stale tells whether the transaction has ended that the batch belongs to.
func (c *appendedBatch) stale() bool {
	if c.a.p.txns == nil {
		return false
	}
	number, _ := c.a.p.txns.Open()
	return number != c.txn
}

// divide makes the record of a part of the batch. The parts take the place of the whole.
func (c *appendedBatch) divide(part flow.SealedBatch, last bool) flow.Record {
	o := &c.a.open
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	rec := o.carry(part.(*produceset.Batch), c.txn, c.in)
	if last {
		o.settle(c.batch.Partition, c.in)
	} else {
		c.a.p.shared.Budget.Force(flow.RecordOverhead) // one record more is charged
	}
	return rec
}

// done tells the outcome. It runs on the goroutine of reports.
func (c *appendedBatch) done(_ *sarama.ProducerMessage, err error) {
	a := c.a
	defer func() {
		partition := c.batch.Partition
		c.batch.Release()
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil && a.open.failed == nil {
			a.open.failed = err
		}
		a.open.settle(partition, c.in)
	}()
	base := c.msg.Offset
	if err != nil {
		base = flow.NoOffset
	}
	if a.report != nil {
		a.report(AppendReport{a.topic, c.batch.Partition, base, c.batch.Count(), c.batch.Bytes(), err, c.batch})
	} else if err != nil {
		a.p.shared.Log.Printf("sluice: %d records were not delivered: %v\n", c.batch.Count(), err)
	}
}

// settle counts an outcome.
func (o *openBatches) settle(partition int32, in *flushed) {
	at := &o.partitions[partition]
	at.unsettled--
	if o.byOutcome && at.unsettled == 0 && at.batch != nil {
		o.seal(at.batch)
	}
	in.unsettled--
	o.endFlushes()
}

// whenSettled is closed when every batch has its outcome that is sealed by now.
func (o *openBatches) whenSettled() <-chan struct{} {
	n := len(o.flushes)
	if last := o.flushes[n-1]; last.unsettled > 0 || n == 1 {
		last.settled = make(chan struct{})
		o.flushes = append(o.flushes, &flushed{})
	}
	settled := o.flushes[len(o.flushes)-2].settled
	o.endFlushes()
	return settled
}

// endFlushes ends each Flush whose batches, and those of earlier ones, have their outcome.
func (o *openBatches) endFlushes() {
	for o.flushes[0].settled != nil && o.flushes[0].unsettled == 0 {
		close(o.flushes[0].settled)
		o.flushes = o.flushes[1:]
	}
}

// records is how many are in open batches.
func (o *openBatches) records() (n int) {
	for _, b := range o.begun {
		if !b.sealed {
			n += b.Count()
		}
	}
	return n
}

// appenders are those of one producer.
type appenders struct {
	open atomic.Int64 // batches

	mu  sync.Mutex
	all map[*Appender]func() // and what ends their OnUrgent
}

func (s *appenders) add(a *Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*Appender]func())
	}
	s.all[a] = a.p.shared.OnUrgent(a.onUrgent)
}

func (s *appenders) remove(a *Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.all[a]; end != nil {
		end()
		delete(s.all, a)
	}
}

// each calls do with every Appender.
func (s *appenders) each(do func(*Appender)) {
	for _, a := range s.list() {
		do(a)
	}
}

// records is how many are in open batches.
func (s *appenders) records() (n int) {
	s.each(func(a *Appender) {
		a.mu.Lock()
		defer a.mu.Unlock()
		n += a.open.records()
	})
	return n
}

func (s *appenders) list() []*Appender {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Appender, 0, len(s.all))
	for a := range s.all {
		list = append(list, a)
	}
	return list
}
