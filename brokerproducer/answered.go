package brokerproducer

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// What the loop does with a request that comes back from the network goroutine.

// answered carries out what an ended request means for each of its batches.
func (l *loop) answered(req *request) {
	if req.err != nil && (req.written || req.cutOff) && l.MarkUnresponsive != nil {
		l.MarkUnresponsive(l.addr, lossOf(req.err) == timedOut) // before any partition producer asks for a look-up
	}
	l.slow.answered = l.slow.answered || req.err == nil && !req.fatal
	l.learnSize(req)
	l.checkDenied(req)
	l.countEnded(req)
	var acked stats.Batches
	onSize := l.closedOnSize(req)
	for i, b := range req.batches {
		b.session.unacked--
		if onSize {
			l.countClose(b)
		}
		a := l.attemptOf(b, req, i, onSize)
		if l.Txn != nil && a.end == answered && a.code == sarama.ErrConcurrentTransactions {
			l.Txn.LastStillEnds()
		}
		v := judge(&a)
		if v.do == deliver {
			if !b.decided {
				acked.Add(b.counts())
			}
			l.deliver(b, &req.wire.Answers[i])
			continue
		}
		b.Cause = l.causeOf(b, req, i)
		if a.end == answered && v.next == AfterLookup && l.updateLeader(b, &req.wire.Answers[i], req.wire.Nodes) {
			v.next = AfterHint
		}
		if err := l.divide(b, v.do, req, i); err != nil {
			a.end = unusable
			v, b.Cause = judge(&a), fmt.Errorf("splitting: %w", err)
		}
		l.carryOut(&a, v, b)
	}
	req.recorder.Acknowledged(acked)
	for _, b := range req.batches {
		b.req = nil
		s := b.session
		if s.verified() {
			l.closeSession(s, nil, AtOnce)
		}
		l.requeue(s)
		l.maybeEnd(s)
	}
	l.recycle(req)
}

// checkDenied closes all sessions if the broker has refused our credentials: each would dial, and be refused as well.
func (l *loop) checkDenied(req *request) {
	if l.Shared.SaramaContract || !flow.LoginRefused(req.err) {
		return
	}
	for s := range l.sessions {
		if !s.closed && !s.ending { // else it goes on elsewhere
			s.result.Denied = true
			l.closeSession(s, req.err, AfterBackoff)
		}
	}
}

// learnSize takes in what the end of a request says about the size of requests.
func (l *loop) learnSize(req *request) {
	switch {
	case req.written || req.cutOff:
		l.sizes.lost(req.bytes, req.sizeNumber, lossOf(req.err), l.now)
	case req.err == nil && !req.fatal && l.conf.Producer.RequiredAcks != sarama.NoResponse:
		l.sizes.acknowledged(req.bytes, l.maxRequestBytes(), l.now)
	}
}

// closedOnSize tells whether the broker may have closed the connection because the request was too large.
func (l *loop) closedOnSize(req *request) bool {
	return (req.written || req.cutOff) && lossOf(req.err) == closedByPeer && l.sizes.suspicious(req.bytes, closedByPeer)
}

// countClose counts how often this broker has closed the connection on a batch, maybe for its size.
func (l *loop) countClose(b *Batch) {
	if b.closedBy != l.key() {
		b.closedBy, b.closes = l.key(), 0
	}
	b.closes++
}

// attemptOf describes the attempt to send batch i of a request that has ended. onSize is closedOnSize of the request.
func (l *loop) attemptOf(b *Batch, req *request, i int, onSize bool) attempt {
	s := b.session
	a := attempt{
		acks: l.conf.Producer.RequiredAcks, maxRetries: l.conf.Producer.Retry.Max, closing: l.Shared.Closing(),
		records: b.Len(), failed: b.Attempts, rejected: b.Rejected, numbered: b.Numbered, unsure: b.Unsure, decided: b.decided,
		elsewhere:     b.Unsure && anotherTopic(b.unsureIn, s.TopicID),
		transactional: l.Txn != nil,
		oldest:        s.flight[0] == b, broken: s.result.SequenceState != SequenceIntact, verifying: s.verify,
	}
	if onSize {
		a.size = largeRequest
		if len(req.batches) == 1 && req.bytes >= refusableBytes {
			a.size = largeBatch
			if b.closes >= refusals {
				a.size = batchIsRefused
			}
		}
	}
	switch {
	case req.fatal:
		a.end = unusable
	case errors.Is(req.err, errRecalled):
		a.end = recalled
	case req.cutOff:
		a.end = cutOff
	case req.err != nil && req.written:
		a.end = unanswered
	case req.err != nil:
		a.end = notSent
	case req.wire.Answers[i].Missing:
		a.end = unmentioned
	default:
		a.code = sarama.KError(req.wire.Answers[i].Code)
		a.culprits = culpritsOf(req.wire.Answers[i].RecordErrors, b.Len())
	}
	return a
}

// anotherTopic tells whether two ids are of different topics. Brokers before Kafka 2.8 tell none.
func anotherTopic(a, b [16]byte) bool {
	unknown := [16]byte{}
	return a != b && a != unknown && b != unknown
}

// culpritsOf is how many records of a batch an answer names; 0 if it names one twice, or one that is not there.
func culpritsOf(named []wire.RecordError, records int) int {
	if len(named) > records {
		return 0
	}
	seen := make(map[int32]bool, len(named))
	for _, e := range named {
		if e.Index < 0 || int(e.Index) >= records || seen[e.Index] {
			return 0
		}
		seen[e.Index] = true
	}
	return len(named)
}

// causeOf is why the attempt to send batch i of a request failed.
func (l *loop) causeOf(b *Batch, req *request, i int) error {
	switch {
	case req.fatal:
		return b.sealError
	case errors.Is(req.err, errRecalled):
		return b.Cause // of an earlier attempt: this one has not failed
	case req.err != nil:
		return req.err
	}
	a := &req.wire.Answers[i]
	code := flow.External(sarama.KError(a.Code))
	if sarama.KError(a.Code) == sarama.ErrUnsupportedCompressionType {
		code = fmt.Errorf("%v is refused: choose another Producer.Compression (Azure Event Hubs takes gzip and none): %w",
			b.Codec(), code)
	}
	switch {
	case a.Missing:
		return fmt.Errorf("%v: %w", l.Producer, flow.External(sarama.ErrIncompleteResponse))
	case a.Message == "":
		return fmt.Errorf("%v: %w", l.Producer, code)
	}
	return fmt.Errorf("%v: %w (%s)", l.Producer, code, flow.BrokerText(a.Message))
}

// deliver ends a batch that is in the log.
func (l *loop) deliver(b *Batch, a *wire.ProduceAnswer) {
	s := b.session
	s.result.Progress = true
	if s.trouble != nil {
		l.logBackToNormal(s)
	}
	s.confirmed, s.confirmedAt = b.Numbered, l.now
	s.countAcked(b)
	if !b.decided {
		offset := a.BaseOffset
		if MeaningOf(sarama.KError(a.Code)) == Duplicate {
			offset = flow.NoOffset
		}
		l.decide(b, offset, a.AppendTime, nil)
	}
	l.release(b)
}

// divide puts smaller batches in the place of one that is to be split or sifted. On an error it is as it was.
func (l *loop) divide(b *Batch, do action, req *request, i int) error {
	switch do {
	case split:
		return l.split(b)
	case sift:
		a := &req.wire.Answers[i]
		return l.sift(b, sarama.KError(a.Code), a.RecordErrors)
	}
	return nil
}

// carryOut does what a verdict says about a batch that was not delivered.
func (l *loop) carryOut(a *attempt, v verdict, b *Batch) {
	s, cause := b.session, b.Cause
	b.Attempts, b.Rejected, b.Unsure = v.failed, v.rejected, v.unsure
	if a.mayHaveWritten() {
		b.unsureIn = s.TopicID
	}
	switch v.do {
	case resend:
		b.resend = true
	case giveUp:
		l.giveUp(b, l.failureOf(a, v, b))
	case putBack:
		s.removeFromFlight(b) // it was the last one
		s.ready = slices.Insert(s.ready, 0, b)
	}
	s.result.Unsent = s.result.Unsent || v.unsent
	s.result.SequenceState = max(s.result.SequenceState, v.sequence)
	if v.closes {
		l.closeSession(s, cause, v.next)
	}
}

// failureOf is why a batch is given up.
func (l *loop) failureOf(a *attempt, v verdict, b *Batch) error {
	failure := b.Cause
	if a.size >= largeBatch {
		failure = fmt.Errorf("the broker closed the connection on a request of %d bytes "+
			"(socket.request.max.bytes? Its requests have up to %d bytes from now on): %w",
			b.bytesInRequest(), l.sizes.bound(l.maxRequestBytes()), failure)
	}
	if v.exhausted {
		failure = fmt.Errorf("after %d attempts: %w", b.Attempts, failure)
	}
	return failure
}

// updateLeader passes on the leader that an answer names, if it names one (KIP-951).
func (l *loop) updateLeader(b *Batch, a *wire.ProduceAnswer, nodes []wire.NodeEndpoint) (named bool) {
	if a.LeaderID < 0 || a.LeaderEpoch < 0 {
		return false
	}
	var node *metadata.Broker
	for _, n := range nodes {
		if n.ID == a.LeaderID {
			addr := net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
			node = &metadata.Broker{ID: n.ID, Addr: addr, Rack: n.Rack}
		}
	}
	l.UpdateLeader(b.Topic, b.TopicID, b.Partition, a.LeaderID, a.LeaderEpoch, node)
	return true
}

// split puts the two halves of a batch in its place (KIP-126). They go to the partition's next session, like every batch
// that is sent again, so that nothing overtakes them. On an error the batch is as it was.
func (l *loop) split(b *Batch) error {
	s, size, records := b.session, b.Bytes(), b.Len()
	halves, err := l.halve(b)
	if err != nil {
		return err
	}
	l.pool.limits.lower(s.Topic, size, l.now)
	l.countSplit(s)
	l.logSplit(s, records, size, b.Cause)
	for _, half := range halves {
		half.resend = true
	}
	i := slices.Index(s.flight, b)
	s.flight = slices.Replace(s.flight, i, i+1, halves...)
	s.hint = halves[0].Bytes()
	return nil
}

// halve makes two batches of one that is not written, and is its caller's to take out. On an error it is as it was.
func (l *loop) halve(b *Batch) ([]*Batch, error) {
	id, epoch, sequence := b.Batch.Identity()
	first, second, err := b.Split()
	if err != nil {
		return nil, err
	}
	halves := make([]*Batch, 0, 2)
	for _, half := range []*produceset.Batch{first, second} {
		if b.Numbered {
			// The batch was not written: the halves have its numbers (KIP-126).
			half.SetIdentity(id, epoch, sequence, l.Txn != nil)
			sequence = txn.Advance(sequence, half.Len())
		}
		halves = append(halves, &Batch{
			Batch: half, Attempts: b.Attempts, Rejected: b.Rejected, Cause: b.Cause, session: b.session, Numbered: b.Numbered,
			Deadline: l.Shared.Deadline(half.Records[0].Born), since: b.since, sentBefore: b.sentBefore,
		})
	}
	return halves, nil
}

// sift fails the records of a batch that the broker names as invalid, and puts a batch of the others in its place. Like
// the halves of a split it goes to the partition's next session. It has no number: under its old one it would leave a gap.
func (l *loop) sift(b *Batch, code sarama.KError, culprits []wire.RecordError) error {
	s := b.session
	why := make(map[int]string, len(culprits))
	for _, c := range culprits {
		why[int(c.Index)] = c.Message
	}
	if b.Appended() {
		return l.siftAppended(b, code, why)
	}
	records := slices.Clone(b.Records)
	rest, err := b.Without(func(i int) bool { _, bad := why[i]; return bad })
	if err != nil {
		return err
	}
	for i, rec := range records {
		message, bad := why[i]
		if !bad {
			continue
		}
		l.failRecord(s, rec, l.invalid(code, message))
	}
	l.replaceSifted(b, rest)
	return nil
}

// siftAppended is sift of a batch of an Appender.
func (l *loop) siftAppended(b *Batch, code sarama.KError, why map[int]string) error {
	rest, sifted, err := b.Sift(func(i int) bool { _, bad := why[i]; return bad })
	if err != nil {
		return err
	}
	for n, i := range slices.Sorted(maps.Keys(why)) {
		l.failRecord(b.session, sifted[n].TakeRecords()[0], l.invalid(code, why[i]))
		sifted[n].Release()
	}
	l.replaceSifted(b, rest)
	return nil
}

// invalid is why a record of a batch was sifted out.
func (l *loop) invalid(code sarama.KError, message string) error {
	err := fmt.Errorf("%v: %w", l.Producer, flow.External(code))
	if message != "" {
		err = fmt.Errorf("%w (%s)", err, flow.BrokerText(message))
	}
	return err
}

// replaceSifted puts what is left of a batch in its place.
func (l *loop) replaceSifted(b *Batch, rest *produceset.Batch) {
	s := b.session
	s.flight[slices.Index(s.flight, b)] = &Batch{
		Batch: rest, Attempts: b.Attempts, Rejected: b.Rejected, Cause: b.Cause, session: s, resend: true,
		Deadline: l.Shared.Deadline(rest.Records[0].Born), since: b.since, sentBefore: true,
	}
}
