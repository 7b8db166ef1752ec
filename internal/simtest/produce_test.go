package simtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Codes that a broker answers instead of an append. All of them say that nothing was written.
var (
	retriableCodes = []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.NotEnoughReplicas,
		kerr.KafkaStorageError, kerr.CorruptMessage, kerr.NetworkException, kerr.FencedLeaderEpoch, kerr.RequestTimedOut,
		kerr.ThrottlingQuotaExceeded,
	}
	fatalCodes = []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.PolicyViolation, kerr.InvalidTimestamp,
	}
	lostStateCodes = []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch}
	// Of a batch that may be in the log, too.
	lostIDCodes = []*kerr.Error{kerr.InvalidProducerIDMapping, kerr.InvalidProducerEpoch, kerr.ProducerFenced}
)

// partition names one.
type partition struct {
	topic string
	id    int32
}

func (p partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// numbers are what a broker knows an idempotent batch by.
type numbers struct {
	partition
	producer int64
	epoch    int16
	first    int32
	count    int32
}

func (n numbers) String() string {
	if n.producer < 0 {
		return fmt.Sprintf("%v %d records", n.partition, n.count)
	}
	return fmt.Sprintf("%v epoch %d sequence %d+%d", n.partition, n.epoch, n.first, n.count)
}

// ledger is what the brokers have seen.
type ledger struct {
	mu       sync.Mutex
	seen     map[numbers]bool
	appended map[numbers]bool
	late     map[partition]map[int64]bool // offsets that were written after the connection of their request was lost
	appends  int
}

func newLedger() *ledger {
	return &ledger{seen: map[numbers]bool{}, appended: map[numbers]bool{}, late: map[partition]map[int64]bool{}}
}

// first tells whether a batch with these numbers comes for the first time.
func (l *ledger) first(n numbers) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.seen[n]
	l.seen[n] = true
	return first
}

// append notes a write, and tells whether the batch was in the log before.
func (l *ledger) append(n numbers, offset int64, late bool) (duplicate bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	duplicate = n.producer >= 0 && l.appended[n]
	l.appended[n] = true
	l.appends++
	if late && !duplicate {
		if l.late[n.partition] == nil {
			l.late[n.partition] = map[int64]bool{}
		}
		for i := range int64(n.count) {
			l.late[n.partition][offset+i] = true
		}
	}
	return duplicate
}

// Places in a record batch's header (KIP-98).
const (
	atCRC      = 17
	atChecked  = 21
	atProducer = 43
	atEpoch    = 51
	atSequence = 53
	atCount    = 57
)

func numbersOf(tp partition, batch []byte) numbers {
	return numbers{
		partition: tp,
		producer:  int64(binary.BigEndian.Uint64(batch[atProducer:])),
		epoch:     int16(binary.BigEndian.Uint16(batch[atEpoch:])),
		first:     int32(binary.BigEndian.Uint32(batch[atSequence:])),
		count:     int32(binary.BigEndian.Uint32(batch[atCount:])),
	}
}

// perPartition gives a batch another producer id for every partition, so that kfake keeps epochs a partition, as Kafka
// does.
func (r *run) perPartition(tp partition, batch []byte) []byte {
	if int64(binary.BigEndian.Uint64(batch[atProducer:])) < 0 || r.coordinator != nil {
		return batch // with a coordinator, an epoch is a transactional id's
	}
	batch = slices.Clone(batch)
	id := int64(binary.BigEndian.Uint64(batch[atProducer:]))
	index := int64(slices.Index(r.sc.topicNames(), tp.topic))*1000 + int64(tp.id) + 1
	// kfake gives ids at random; this many bits of one will do.
	binary.BigEndian.PutUint64(batch[atProducer:], uint64(id&(1<<40-1)|index<<40))
	binary.BigEndian.PutUint32(batch[atCRC:], crc32.Checksum(batch[atChecked:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

// verdict is what happens to one batch of a request.
type verdict struct {
	code   *kerr.Error // nil: the broker's own answer
	append bool
	bad    []kmsg.ProduceResponseTopicPartitionErrorRecord // KIP-467
}

// judge draws what becomes of a batch.
func (p *proxy) judge(n numbers, size int, version int16) verdict {
	f := &p.network.sc.faults
	first := p.network.ledger.first(n)
	if limit := p.network.sc.brokerMaxBytes; limit > 0 && size > limit {
		return verdict{code: kerr.MessageTooLarge}
	}
	if code := p.network.leaders.answerOf(n.partition, p.addr); code != nil {
		p.pause(p.delay()) // at once, a producer without a back-off would try some thousand times
		return verdict{code: code}
	}
	if code := p.network.sc.noBumps; code != nil && n.epoch > 0 {
		p.network.happens("a bumped epoch is refused")
		return verdict{code: code}
	}
	if c := p.network.coordinator; c != nil && c.refuses(n, version) {
		return verdict{append: true} // the coordinator is asked first, and its answer counts
	}
	if p.network.healed() {
		return verdict{append: true}
	}
	switch {
	case p.network.coordinator != nil && p.chance(p.network.sc.txn.faults.abortable):
		p.network.happens("TRANSACTION_ABORTABLE for Produce")
		return verdict{code: kerr.TransactionAbortable}
	case p.chance(f.retriable):
		code := retriableCodes[p.faults.IntN(len(retriableCodes))]
		return verdict{code: code}
	case p.chance(f.afterAppend):
		codes := []*kerr.Error{
			kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError, kerr.UnknownServerError,
			kerr.NetworkException,
		}
		if p.network.sc.acks == -1 {
			codes = append(codes, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition)
		}
		return verdict{code: codes[p.faults.IntN(len(codes))], append: true}
	case p.chance(f.fatal):
		if p.chance(50) {
			return verdict{code: kerr.InvalidRecord, bad: p.badRecords(n.count)}
		}
		return verdict{code: fatalCodes[p.faults.IntN(len(fatalCodes))]}
	case p.chance(f.tooLarge):
		if p.chance(50) {
			return verdict{code: kerr.RecordListTooLarge}
		}
		return verdict{code: kerr.MessageTooLarge}
	case n.producer >= 0 && first && p.chance(f.lostState):
		return verdict{code: lostStateCodes[p.faults.IntN(len(lostStateCodes))]}
	case n.producer >= 0 && p.chance(f.lostID):
		return verdict{code: lostIDCodes[p.faults.IntN(len(lostIDCodes))]}
	case p.chance(f.refusal):
		return verdict{code: kerr.ClusterAuthorizationFailed}
	}
	return verdict{append: true}
}

// badRecords draws which records of a batch are at fault. Sometimes that makes no sense.
func (p *proxy) badRecords(count int32) (bad []kmsg.ProduceResponseTopicPartitionErrorRecord) {
	for range 1 + p.faults.IntN(3) {
		e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		e.RelativeOffset = p.faults.Int32N(count)
		if p.chance(2) {
			e.RelativeOffset = count
		}
		bad = append(bad, e)
	}
	return bad
}

// produce handles a Produce request: faults of its batches, then of the whole.
func (p *proxy) produce(frame []byte) bool {
	f := &p.network.sc.faults
	kreq, header := parse(frame)
	req := kreq.(*kmsg.ProduceRequest)
	acks := req.Acks
	if acks == 0 {
		req.Acks = 1 // so that the broker tells what it did
	}
	healed := p.network.healed()
	if !healed && p.chance(f.lostRequest) {
		p.network.trace("broker %s #%d: request lost", p.addr, p.number)
		return false
	}
	if !healed && acks != 0 && p.chance(f.slow) {
		p.pause(p.delay()) // handled late
	}
	var hang bool
	if !healed && p.chance(f.hang) {
		hang = true
		if p.faults.IntN(2) == 0 { // never handled either, or only when the producer has gone
			p.network.trace("broker %s #%d: hangs", p.addr, p.number)
			<-p.gone
			if !p.chance(p.network.sc.lateWrites) {
				return false
			}
		}
	}

	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	sent := *req
	sent.Topics = nil
	type batchOf struct {
		numbers
		verdict
	}
	judged := map[partition]batchOf{}
	a := answer{}
	for _, t := range req.Topics {
		name := t.Topic
		if req.Version >= 13 {
			name = p.network.topicName(t.TopicID)
		}
		st := t
		st.Partitions = nil
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, b := range t.Partitions {
			tp := partition{name, b.Partition}
			n := numbersOf(tp, b.Records)
			p.network.checkBatch(n, b.Records)
			v := p.judge(n, len(b.Records), req.Version)
			if _, twice := judged[tp]; twice {
				p.network.fail("a request holds partition %v twice", tp)
			}
			judged[tp] = batchOf{n, v}
			if v.append {
				b.Records = p.network.perPartition(tp, b.Records)
				st.Partitions = append(st.Partitions, b)
				continue
			}
			p.network.trace("broker %s #%d: %v refused: %v", p.addr, p.number, n, v.code.Message)
			rt.Partitions = append(rt.Partitions, refusedBatch(b.Partition, v))
			if c := p.network.coordinator; c != nil && req.Version >= 12 && p.chance(50) {
				c.addWithoutWrite(n)
			}
		}
		if len(st.Partitions) > 0 {
			sent.Topics = append(sent.Topics, st)
		}
		if len(rt.Partitions) > 0 {
			addTopic(resp, rt)
		}
	}

	if c := p.network.coordinator; c != nil {
		c.mu.Lock()
		p.verify(&sent, resp)
	}
	got, err := p.append(&sent, header)
	if c := p.network.coordinator; c != nil {
		c.mu.Unlock()
	}
	if err != nil {
		return false
	}
	if got != nil {
		late := p.lost.Load()
		for _, t := range got.Topics {
			name := t.Topic
			if req.Version >= 13 {
				name = p.network.topicName(t.TopicID)
			}
			for i := range t.Partitions {
				rp := &t.Partitions[i]
				b := judged[partition{name, rp.Partition}]
				if rp.ErrorCode == 0 {
					duplicate := p.network.ledger.append(b.numbers, rp.BaseOffset, late)
					p.network.trace("broker %s #%d: %v at offset %d, late %t, duplicate %t, answer %v",
						p.addr, p.number, b.numbers, rp.BaseOffset, late, duplicate, b.code)
					p.network.leaders.written(b.partition, p.addr)
					if duplicate && p.chance(f.duplicateCode) {
						rp.ErrorCode, rp.BaseOffset = kerr.DuplicateSequenceNumber.Code, -1
					}
				} else {
					p.network.leaders.hint(b.partition, rp)
					p.network.trace("broker %s #%d: %v: %v", p.addr, p.number, b.numbers, kerr.ErrorForCode(rp.ErrorCode))
				}
				if b.code != nil {
					rp.ErrorCode, rp.BaseOffset = b.code.Code, -1
				}
				if rp.ErrorCode == 0 || rp.ErrorCode == kerr.DuplicateSequenceNumber.Code {
					a.acked = append(a.acked, b.numbers)
				}
			}
		}
		resp.Brokers = got.Brokers
		for _, t := range got.Topics {
			addTopic(resp, t)
		}
	}

	if acks == 0 {
		for _, t := range resp.Topics {
			for _, rp := range t.Partitions {
				if rp.ErrorCode != 0 {
					return false // all that a broker can tell
				}
			}
		}
		return true
	}
	if healed {
		a.frame = encodeAnswer(frame, resp)
		p.answers <- a
		return true
	}
	return p.answerWithFaults(frame, resp, a, hang)
}

// addTopic adds to an answer, in which each topic stands once.
func addTopic(resp *kmsg.ProduceResponse, t kmsg.ProduceResponseTopic) {
	i := slices.IndexFunc(resp.Topics, func(o kmsg.ProduceResponseTopic) bool { return o.Topic == t.Topic && o.TopicID == t.TopicID })
	if i < 0 {
		resp.Topics = append(resp.Topics, t)
	} else {
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, t.Partitions...)
	}
}

func refusedBatch(id int32, v verdict) kmsg.ProduceResponseTopicPartition {
	rp := kmsg.NewProduceResponseTopicPartition()
	rp.Partition, rp.ErrorCode, rp.BaseOffset, rp.LogAppendTime = id, v.code.Code, -1, -1
	rp.ErrorRecords = v.bad
	return rp
}

// append has the broker append what is left of a request; nothing, if nothing is.
func (p *proxy) append(req *kmsg.ProduceRequest, header []byte) (*kmsg.ProduceResponse, error) {
	if len(req.Topics) == 0 {
		return nil, nil
	}
	raw, err := p.roundTrip(req.AppendTo(header))
	if err != nil {
		return nil, err
	}
	got := req.ResponseKind().(*kmsg.ProduceResponse)
	if err := decodeAnswer(raw, got); err != nil {
		p.network.fail("kfake's answer: %v", err)
		return nil, err
	}
	if c := p.network.coordinator; c != nil {
		for _, t := range got.Topics {
			for _, rp := range t.Partitions {
				c.appended(partition{p.network.topicOf(req.Version, t.Topic, t.TopicID), rp.Partition}, req.Version, rp.ErrorCode)
			}
		}
	}
	return got, nil
}

// topicOf is the topic that a Produce request or its answer names.
func (r *run) topicOf(version int16, name string, id [16]byte) string {
	if version >= 13 {
		return r.topicName(id)
	}
	return name
}

// answerWithFaults is what becomes of an answer on its way.
func (p *proxy) answerWithFaults(frame []byte, resp *kmsg.ProduceResponse, a answer, hang bool) bool {
	f := &p.network.sc.faults
	switch {
	case hang:
		p.network.trace("broker %s #%d: never answers", p.addr, p.number)
		<-p.gone
		return false
	case p.chance(f.lostAnswer):
		p.network.trace("broker %s #%d: answer lost", p.addr, p.number)
		return false
	case p.chance(f.cutAnswer):
		p.network.trace("broker %s #%d: answer cut", p.addr, p.number)
		a.cut = true
	case p.chance(f.slow):
		a.at = time.Now().Add(p.delay())
	case p.chance(f.throttle):
		resp.ThrottleMillis = int32(10 + p.faults.IntN(300))
	case p.chance(f.forgets) && len(resp.Topics) > 0:
		p.network.trace("broker %s #%d: a topic is missing in the answer", p.addr, p.number)
		resp.Topics = resp.Topics[1:]
	}
	a.frame = encodeAnswer(frame, resp)
	p.answers <- a
	return true
}

// delay is mostly short, and sometimes beyond the read time-out.
func (p *proxy) delay() time.Duration {
	if p.faults.IntN(10) == 0 {
		return time.Duration(float64(p.network.sc.readTimeout) * (0.5 + p.faults.Float64()))
	}
	return time.Duration(p.faults.IntN(int(p.network.sc.readTimeout / 10)))
}
