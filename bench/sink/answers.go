package sink

import (
	"errors"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	nodeID      = 1
	leaderEpoch = 1

	errUnsupportedVersion = 35
)

// supported is what ApiVersions tells: the requests that this broker answers, with its versions.
var supported = []struct {
	key      kmsg.Key
	min, max int16
}{
	{kmsg.Produce, minProduce, maxProduce},
	{kmsg.Metadata, 0, 13},
	{kmsg.ApiVersions, 0, 4},
	{kmsg.InitProducerID, 0, 5},
	{kmsg.FindCoordinator, 0, 6},
	{kmsg.AddPartitionsToTxn, 0, 3}, // newer ones are for brokers
	{kmsg.AddOffsetsToTxn, 0, 4},
	{kmsg.TxnOffsetCommit, 0, 5},
	{kmsg.EndTxn, 0, 5},
}

// answer answers every request but Produce.
func (b *Broker) answer(request kmsg.Request, body []byte) (kmsg.Response, error) {
	versions, ok := request.(*kmsg.ApiVersionsRequest)
	if ok && versions.Version > versions.MaxVersion() {
		// KIP-511: the body of a version that is not known cannot be read; the answer is in version 0.
		return b.versions(0, errUnsupportedVersion), nil
	}
	if !ok && !supports(request) {
		return nil, errors.New("the sink does not answer this request in this version")
	}
	if err := request.ReadFrom(body); err != nil {
		return nil, err
	}
	switch request := request.(type) {
	case *kmsg.ApiVersionsRequest:
		return b.versions(request.Version, 0), nil
	case *kmsg.MetadataRequest:
		return b.metadata(request)
	case *kmsg.InitProducerIDRequest:
		response := request.ResponseKind().(*kmsg.InitProducerIDResponse)
		response.ProducerID, response.ProducerEpoch = b.producerID.Add(1), 0
		return response, nil
	}
	return b.transaction(request)
}

func supports(request kmsg.Request) bool {
	for _, s := range supported {
		if int16(s.key) == request.Key() {
			return s.min <= request.GetVersion() && request.GetVersion() <= s.max
		}
	}
	return false
}

func (b *Broker) versions(version, code int16) kmsg.Response {
	response := kmsg.NewPtrApiVersionsResponse()
	response.Version, response.ErrorCode = version, code
	for _, s := range supported {
		key := kmsg.NewApiVersionsResponseApiKey()
		key.ApiKey, key.MinVersion, key.MaxVersion = int16(s.key), s.min, s.max
		response.ApiKeys = append(response.ApiKeys, key)
	}
	b.finalized(response)
	return response
}

// hostPort is the address as answers tell it.
func (b *Broker) hostPort() (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(b.Addr())
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return host, int32(n), err
}

// metadata answers for any topic that has a name; one asked for by id must have been named before.
func (b *Broker) metadata(request *kmsg.MetadataRequest) (kmsg.Response, error) {
	host, port, err := b.hostPort()
	if err != nil {
		return nil, err
	}
	response := request.ResponseKind().(*kmsg.MetadataResponse)
	node := kmsg.NewMetadataResponseBroker()
	node.NodeID, node.Host, node.Port = nodeID, host, port
	response.Brokers = []kmsg.MetadataResponseBroker{node}
	response.ClusterID, response.ControllerID = new("sink"), nodeID

	if request.Topics == nil || request.Version == 0 && len(request.Topics) == 0 {
		for _, t := range b.topics.all() {
			response.Topics = append(response.Topics, describe(t))
		}
		return response, nil
	}
	for _, asked := range request.Topics {
		if asked.Topic != nil {
			response.Topics = append(response.Topics, describe(b.topics.byName(*asked.Topic)))
		} else if t := b.topics.byID(asked.TopicID); t != nil {
			response.Topics = append(response.Topics, describe(t))
		} else {
			unknown := kmsg.NewMetadataResponseTopic()
			unknown.TopicID, unknown.ErrorCode = asked.TopicID, errUnknownTopicID
			response.Topics = append(response.Topics, unknown)
		}
	}
	return response, nil
}

func describe(t *topic) kmsg.MetadataResponseTopic {
	described := kmsg.NewMetadataResponseTopic()
	described.Topic, described.TopicID = new(t.name), t.id
	for i := range t.next {
		partition := kmsg.NewMetadataResponseTopicPartition()
		partition.Partition, partition.Leader, partition.LeaderEpoch = int32(i), nodeID, leaderEpoch
		partition.Replicas, partition.ISR = []int32{nodeID}, []int32{nodeID}
		described.Partitions = append(described.Partitions, partition)
	}
	return described
}
