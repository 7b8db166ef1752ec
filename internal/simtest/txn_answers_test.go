package simtest

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func nameOf(code *kerr.Error) string {
	if code == nil {
		return "done"
	}
	return code.Message
}

// refusal answers with a code; an error whose code is 0 makes a success of it.
func refusal(kreq kmsg.Request, code *kerr.Error) kmsg.Response {
	switch req := kreq.(type) {
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code.Code, -1, -1
		return resp
	case *kmsg.EndTxnRequest:
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code.Code, -1, -1
		return resp
	case *kmsg.AddOffsetsToTxnRequest:
		resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
		resp.ErrorCode = code.Code
		return resp
	case *kmsg.AddPartitionsToTxnRequest:
		resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for i, t := range req.Topics {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = t.Topic
			for j, id := range t.Partitions {
				rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				rp.Partition, rp.ErrorCode = id, code.Code
				// One topic is not allowed; then none is added.
				if code == kerr.TopicAuthorizationFailed && i+j > 0 {
					rp.ErrorCode = kerr.OperationNotAttempted.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	case *kmsg.TxnOffsetCommitRequest:
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
	panic("unreachable")
}

func describe(kreq kmsg.Request) string {
	name := kmsg.NameForKey(kreq.Key())
	switch req := kreq.(type) {
	case *kmsg.InitProducerIDRequest:
		return fmt.Sprintf("%s of epoch %d", name, req.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnRequest:
		return fmt.Sprintf("%s %v epoch %d", name, req.Topics, req.ProducerEpoch)
	case *kmsg.AddOffsetsToTxnRequest:
		return fmt.Sprintf("%s %s epoch %d", name, req.Group, req.ProducerEpoch)
	case *kmsg.TxnOffsetCommitRequest:
		return fmt.Sprintf("%s %s epoch %d member %q generation %d", name, req.Group, req.ProducerEpoch, req.MemberID, req.Generation)
	case *kmsg.EndTxnRequest:
		return fmt.Sprintf("%s commit %t epoch %d", name, req.Commit, req.ProducerEpoch)
	}
	return name
}
