package sink

import (
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactionFeature is the feature whose finalized level tells clients which transactions a cluster has: from 2 on those
// of KIP-890, in which Produce and TxnOffsetCommit add partitions by themselves, and each EndTxn raises the epoch.
const transactionFeature = "transaction.version"

// transaction answers the requests of transactions. The sink is every coordinator, and remembers no
// transaction: it says yes, as a broker does where nothing is wrong.
func (b *Broker) transaction(request kmsg.Request) (kmsg.Response, error) {
	switch request := request.(type) {
	case *kmsg.FindCoordinatorRequest:
		return b.coordinator(request)
	case *kmsg.AddPartitionsToTxnRequest:
		return added(request), nil
	case *kmsg.AddOffsetsToTxnRequest:
		return request.ResponseKind(), nil
	case *kmsg.TxnOffsetCommitRequest:
		return committed(request), nil
	case *kmsg.EndTxnRequest:
		return b.ended(request), nil
	}
	return nil, errors.New("the sink does not answer this request")
}

func (b *Broker) coordinator(request *kmsg.FindCoordinatorRequest) (kmsg.Response, error) {
	host, port, err := b.hostPort()
	if err != nil {
		return nil, err
	}
	response := request.ResponseKind().(*kmsg.FindCoordinatorResponse)
	response.NodeID, response.Host, response.Port = nodeID, host, port
	for _, key := range request.CoordinatorKeys {
		coordinator := kmsg.NewFindCoordinatorResponseCoordinator()
		coordinator.Key, coordinator.NodeID, coordinator.Host, coordinator.Port = key, nodeID, host, port
		response.Coordinators = append(response.Coordinators, coordinator)
	}
	return response, nil
}

func added(request *kmsg.AddPartitionsToTxnRequest) kmsg.Response {
	response := request.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	for _, asked := range request.Topics {
		topic := kmsg.NewAddPartitionsToTxnResponseTopic()
		topic.Topic = asked.Topic
		for _, number := range asked.Partitions {
			partition := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			partition.Partition = number
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

func committed(request *kmsg.TxnOffsetCommitRequest) kmsg.Response {
	response := request.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, asked := range request.Topics {
		topic := kmsg.NewTxnOffsetCommitResponseTopic()
		topic.Topic = asked.Topic
		for _, of := range asked.Partitions {
			partition := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			partition.Partition = of.Partition
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

// ended answers EndTxn. From version 5 on the next transaction has the next epoch, or another id behind the last one.
func (b *Broker) ended(request *kmsg.EndTxnRequest) kmsg.Response {
	response := request.ResponseKind().(*kmsg.EndTxnResponse)
	response.ProducerID, response.ProducerEpoch = request.ProducerID, request.ProducerEpoch+1
	if request.ProducerEpoch >= math.MaxInt16-1 {
		response.ProducerID, response.ProducerEpoch = b.producerID.Add(1), 0
	}
	b.transactions.Add(1)
	return response
}

// finalized adds to an answer of ApiVersions which transactions the cluster has, if that was configured.
func (b *Broker) finalized(response *kmsg.ApiVersionsResponse) {
	if b.config.TransactionVersion == 0 {
		return
	}
	supported := kmsg.NewApiVersionsResponseSupportedFeature()
	supported.Name, supported.MaxVersion = transactionFeature, maxTransactionVersion
	finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
	finalized.Name = transactionFeature
	finalized.MaxVersionLevel, finalized.MinVersionLevel = b.config.TransactionVersion, b.config.TransactionVersion
	response.SupportedFeatures = append(response.SupportedFeatures, supported)
	response.FinalizedFeatures = append(response.FinalizedFeatures, finalized)
	response.FinalizedFeaturesEpoch = 1
}
