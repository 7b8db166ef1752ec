package txn

import (
	"slices"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicPartition names a partition.
type topicPartition struct {
	topic     string
	partition int32
}

// member is a member of a consumer group, at one generation. Offsets are sent under the member that they were added with: under
// a later generation, offsets of a partition that the member has lost meanwhile would pass the coordinator's check (KIP-447).
type member struct {
	group, id   string
	generation  int32
	instance    string
	hasInstance bool
}

// checked tells whether the group's coordinator has something to check: it is more than the name of a group.
func (m member) checked() bool { return m.id != "" || m.generation >= 0 || m.hasInstance }

func memberOf(m *sarama.ConsumerGroupMetadata) member {
	key := member{group: m.GroupID, id: m.MemberID, generation: m.GenerationID}
	if m.GroupInstanceID != nil {
		key.instance, key.hasInstance = *m.GroupInstanceID, true
	}
	return key
}

// pendingOffset is an offset that the transaction will commit.
type pendingOffset struct {
	topicPartition
	offset      int64
	leaderEpoch int32
	metadata    *string
}

// pendingOffsets are the offsets of a transaction, by member, in the order of the first call for each.
type pendingOffsets []memberOffsets

type memberOffsets struct {
	member  member
	offsets []pendingOffset
}

// add takes offsets in. A later offset of a partition replaces an earlier one of the same group, whoever added it.
func (p *pendingOffsets) add(m member, offsets map[string][]*sarama.PartitionOffsetMetadata) {
	i := slices.IndexFunc(*p, func(have memberOffsets) bool { return have.member == m })
	if i < 0 {
		i = len(*p)
		*p = append(*p, memberOffsets{member: m})
	}
	for topic, list := range offsets {
		for _, o := range list {
			tp := topicPartition{topic, o.Partition}
			for j := range *p {
				if have := &(*p)[j]; have.member.group == m.group {
					have.offsets = slices.DeleteFunc(have.offsets, func(old pendingOffset) bool { return old.topicPartition == tp })
				}
			}
			added := pendingOffset{tp, o.Offset, o.LeaderEpoch, nil}
			if o.Metadata != nil {
				added.metadata = new(*o.Metadata) // the caller's may change
			}
			(*p)[i].offsets = append((*p)[i].offsets, added)
		}
	}
	*p = slices.DeleteFunc(*p, func(have memberOffsets) bool { return len(have.offsets) == 0 })
}

// commitRequest is the TxnOffsetCommit of one member's offsets.
func (m *memberOffsets) commitRequest(transactionalID string, id Identity) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = transactionalID, m.member.group, id.ID, id.Epoch
	req.Generation, req.MemberID = m.member.generation, m.member.id
	if m.member.hasInstance {
		req.InstanceID = &m.member.instance
	}
	for _, o := range m.offsets {
		i := slices.IndexFunc(req.Topics, func(t kmsg.TxnOffsetCommitRequestTopic) bool { return t.Topic == o.topic })
		if i < 0 {
			i = len(req.Topics)
			topic := kmsg.NewTxnOffsetCommitRequestTopic()
			topic.Topic = o.topic
			req.Topics = append(req.Topics, topic)
		}
		partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset, partition.LeaderEpoch, partition.Metadata = o.partition, o.offset, o.leaderEpoch, o.metadata
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, partition)
	}
	return req
}

// codeOfOffsets is the code that counts in an answer. If it asks for patience, the request is sent whole again: to commit an
// offset twice does no harm.
func codeOfOffsets(kresp kmsg.Response, asked int) sarama.KError {
	var codes []int16
	for _, topic := range kresp.(*kmsg.TxnOffsetCommitResponse).Topics {
		for _, p := range topic.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return worstOf(kmsg.TxnOffsetCommit, asked, codes)
}

// worstOf is the code that counts among those of an answer's partitions: a fatal one, else an abortable one, else the first that
// asks for patience. OPERATION_NOT_ATTEMPTED counts last: it only says that another partition was refused. An answer that leaves out
// some of the partitions that were asked about counts as one to be had again.
func worstOf(key kmsg.Key, asked int, codes []int16) sarama.KError {
	rank := func(code sarama.KError) int {
		switch a := meaningOf(key, code); {
		case a == answerGranted:
			return 0
		case code == sarama.ErrOperationNotAttempted:
			return 1
		case a == answerFatal:
			return 4
		case a == answerAbortable:
			return 3
		}
		return 2
	}
	worst := sarama.ErrNoError
	for _, code := range codes {
		if code := sarama.KError(code); rank(code) > rank(worst) {
			worst = code
		}
	}
	if worst == sarama.ErrNoError && len(codes) < asked {
		return sarama.ErrUnknown
	}
	return worst
}
