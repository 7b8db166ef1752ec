package simtest

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readLog fetches each partition's whole log, as the brokers keep it. It is decoded outside of the bubble, since
// decompressors are pooled.
func (r *run) readLog() {
	for _, topic := range r.sc.topicNames() {
		for _, info := range r.cluster.PartitionInfos(topic) {
			tp := partition{topic, info.Partition}
			raw, err := r.fetch(tp, info.Leader)
			if err != nil {
				r.fail("reading %v: %v", tp, err)
			}
			r.log[tp] = raw
		}
	}
}

func (r *run) fetch(tp partition, leader int32) ([]byte, error) {
	got, err := r.fetchFrom(tp, leader, 0)
	return got.RecordBatches, err
}

// fetchFrom fetches with an isolation level: 0 for all that is written, 1 for what is committed.
func (r *run) fetchFrom(tp partition, leader int32, isolation int8) (got kmsg.FetchResponseTopicPartition, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 6
	req.ReplicaID, req.MaxBytes, req.IsolationLevel = -1, 1<<30, isolation
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.PartitionMaxBytes = tp.id, 1<<30
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.Partitions = tp.topic, []kmsg.FetchRequestTopicPartition{rp}
	req.Topics = []kmsg.FetchRequestTopic{rt}

	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if err := r.ask(leader, req, resp); err != nil {
		return got, err
	}
	return resp.Topics[0].Partitions[0], nil
}

// ask sends a request to a broker, past all faults.
func (r *run) ask(node int32, req kmsg.Request, resp kmsg.Response) error {
	conn, err := r.net.virtual.DialContext(context.Background(), "tcp", addr(node))
	if err != nil {
		return err
	}
	defer conn.Close()
	header := binary.BigEndian.AppendUint16(nil, uint16(req.Key()))
	header = binary.BigEndian.AppendUint16(header, uint16(req.GetVersion()))
	header = binary.BigEndian.AppendUint32(header, 1) // correlation id
	header = binary.BigEndian.AppendUint16(header, 0xffff)
	if req.IsFlexible() {
		header = append(header, 0)
	}
	if err := writeFrame(conn, req.AppendTo(header)); err != nil {
		return err
	}
	frame, err := readFrame(conn)
	if err != nil {
		return err
	}
	return decodeAnswer(frame, resp)
}

// decode makes records of a partition's log.
func decode(tp partition, raw []byte) ([]*kgo.Record, error) {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.RecordBatches = tp.id, raw
	rp.HighWatermark, rp.LastStableOffset = 1<<40, 1<<40
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: tp.topic, Partition: tp.id}, &rp, kgo.DefaultDecompressor(), nil)
	return got.Records, got.Err
}
