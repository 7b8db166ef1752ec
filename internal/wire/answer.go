package wire

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// answerDecoder decodes produce answers v3 to v13. It is reused from answer to answer.
type answerDecoder struct {
	index map[int32]int // From a partition to its place in run
	run   []ProducePartition
}

// decode fills in r.Answers and r.Nodes from the body of a produce answer, and returns the throttle time. It skips
// partitions that r does not have.
func (a *answerDecoder) decode(r *ProduceRequest, version int16, body []byte) (throttle time.Duration, err error) {
	d := decoder{src: body, flexible: version >= produceFlexible}
	r.Answers = slices.Grow(r.Answers[:0], len(r.Partitions))[:len(r.Partitions)]
	for i := range r.Answers {
		r.Answers[i] = ProduceAnswer{BaseOffset: -1, AppendTime: -1, LeaderID: -1, LeaderEpoch: -1, Missing: true}
	}
	r.Nodes = r.Nodes[:0]
	a.run = nil

	next := 0 // Where the next topic is if the broker keeps the request's order
	for topics := d.count(d.byFormat(6, 3)); topics > 0 && !d.bad; topics-- {
		var from, n int
		if version >= produceTopicID {
			id := d.take(16)
			from, n = findTopic(r.Partitions, next, version, func(p *ProducePartition) bool { return string(p.TopicID[:]) == string(id) })
		} else {
			name := d.string()
			from, n = findTopic(r.Partitions, next, version, func(p *ProducePartition) bool { return p.Topic == string(name) })
		}
		if n > 0 {
			next = from + n
		}
		a.topic(&d, r.Partitions[from:from+n], r.Answers[from:from+n], version)
	}
	throttle = time.Duration(d.int32()) * time.Millisecond
	d.tags(func(tag int, value []byte) {
		if tag == 0 && !nodeEndpoints(r, value) {
			d.bad, d.src = true, nil
		}
	})
	if d.bad {
		return 0, fmt.Errorf("%w of %d bytes to Produce v%d", ErrMalformedAnswer, len(body), version)
	}
	return max(throttle, 0), nil
}

// findTopic returns the place and length of the run of partitions whose topic matches. It searches from next on first.
func findTopic(partitions []ProducePartition, next int, version int16, match func(*ProducePartition) bool) (from, n int) {
	search := func(from, to int) (int, int) {
		for from < to {
			n := topicRun(partitions[from:], version)
			if match(&partitions[from]) {
				return from, n
			}
			from += n
		}
		return 0, 0
	}
	if from, n = search(next, len(partitions)); n > 0 {
		return from, n
	}
	return search(0, next)
}

// topic reads the answers of one topic. run are the request's partitions of that topic, maybe none.
func (a *answerDecoder) topic(d *decoder, run []ProducePartition, answers []ProduceAnswer, version int16) {
	next := 0
	for n := d.count(22); n > 0 && !d.bad; n-- {
		place := a.place(run, next, d.int32())
		var answer ProduceAnswer
		readPartition(d, &answer, version, place >= 0)
		if place >= 0 {
			answers[place] = answer
			next = place + 1
		}
	}
	d.tags(nil)
}

// place finds a partition in its topic's run. Brokers answer in the request's order or in that of a hash table. The first
// partition out of order makes an index, so that 1,000 of them cost 1,000 steps.
func (a *answerDecoder) place(run []ProducePartition, next int, partition int32) int {
	if next < len(run) && run[next].Partition == partition {
		return next
	}
	if len(run) <= 8 {
		return slices.IndexFunc(run, func(p ProducePartition) bool { return p.Partition == partition })
	}
	if len(a.run) == 0 || &a.run[0] != &run[0] {
		if a.index == nil {
			a.index = make(map[int32]int, len(run))
		}
		clear(a.index)
		for i := range run {
			a.index[run[i].Partition] = i
		}
		a.run = run
	}
	if i, ok := a.index[partition]; ok {
		return i
	}
	return -1
}

// readPartition reads what follows a partition's index. asked says that the request has the partition: else no memory is
// taken.
func readPartition(d *decoder, answer *ProduceAnswer, version int16, asked bool) {
	*answer = ProduceAnswer{LeaderID: -1, LeaderEpoch: -1}
	answer.Code = d.int16()
	answer.BaseOffset = d.int64()
	answer.AppendTime = d.int64()
	if version >= 5 {
		d.int64() // The log's start offset
	}
	if version >= 8 {
		// KIP-467: the records at fault. If the partition has no message, that of the first such record serves.
		n := d.count(6)
		if asked && n > 0 {
			answer.RecordErrors = make([]RecordError, 0, n)
		}
		for ; n > 0 && !d.bad; n-- {
			index, text := d.int32(), d.nullableString()
			d.tags(nil)
			if asked {
				answer.RecordErrors = append(answer.RecordErrors, RecordError{index, cutText(text)})
			}
		}
		if text := d.nullableString(); asked {
			answer.Message = cutText(text)
		}
		for _, e := range answer.RecordErrors {
			if answer.Message == "" && e.Message != "" {
				answer.Message = "record " + strconv.Itoa(int(e.Index)) + ": " + e.Message
			}
		}
	}
	d.tags(func(tag int, value []byte) {
		if tag != 0 {
			return
		}
		// KIP-951: the new leader.
		leader := decoder{src: value, flexible: true}
		answer.LeaderID, answer.LeaderEpoch = leader.int32(), leader.int32()
		leader.tags(nil)
		if leader.bad {
			d.bad, d.src = true, nil
		}
	})
}

// nodeEndpoints reads the addresses of new leaders (KIP-951). No more are kept than the request has partitions.
func nodeEndpoints(r *ProduceRequest, value []byte) bool {
	d := decoder{src: value, flexible: true}
	n := d.count(11)
	r.Nodes = slices.Grow(r.Nodes[:0], min(n, len(r.Partitions)))
	for ; n > 0 && !d.bad; n-- {
		id, host, port, rack := d.int32(), d.string(), d.int32(), d.nullableString()
		d.tags(nil)
		if !d.bad && len(r.Nodes) < len(r.Partitions) {
			r.Nodes = append(r.Nodes, NodeEndpoint{ID: id, Host: nameText(host), Port: port, Rack: nameText(rack)})
		}
	}
	return !d.bad
}
