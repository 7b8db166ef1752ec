package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Answers to small requests. They are kmsg's types, but not read by kmsg: that takes memory for as many elements as a broker
// claims, and a loop of 4,000,000,000 steps for as many tags.

// longestAnswer bounds the answer to a small request of so many bytes.
func longestAnswer(request int) int { return 2*request + 64<<10 }

// readable tells whether readAnswer knows the answer to req.
func readable(req kmsg.Request) bool {
	switch req.(type) {
	case *kmsg.ApiVersionsRequest, *kmsg.FindCoordinatorRequest, *kmsg.InitProducerIDRequest, *kmsg.AddPartitionsToTxnRequest,
		*kmsg.AddOffsetsToTxnRequest, *kmsg.EndTxnRequest, *kmsg.TxnOffsetCommitRequest,
		*kmsg.GetTelemetrySubscriptionsRequest, *kmsg.PushTelemetryRequest:
		return true
	}
	return false
}

// readAnswer reads the answer to req, in the version that req has. Tags that are not known are left out, and texts cut.
func readAnswer(req kmsg.Request, body []byte) (kmsg.Response, error) {
	kresp := req.ResponseKind()
	d := decoder{src: body, flexible: kresp.IsFlexible()}
	version := kresp.GetVersion()
	var tag func(tag int, value []byte)
	switch resp := kresp.(type) {
	case *kmsg.ApiVersionsResponse:
		d.apiVersions(resp)
		tag = func(tag int, value []byte) { d.feature(resp, tag, value) }
	case *kmsg.FindCoordinatorResponse:
		d.coordinators(resp, req.(*kmsg.FindCoordinatorRequest))
	case *kmsg.InitProducerIDResponse:
		resp.ThrottleMillis, resp.ErrorCode = d.int32(), d.int16()
		resp.ProducerID, resp.ProducerEpoch = d.int64(), d.int16()
	case *kmsg.AddPartitionsToTxnResponse:
		if version > 3 {
			d.fail() // it is for brokers among themselves
		}
		resp.ThrottleMillis = d.int32()
		asked := 0
		for _, t := range req.(*kmsg.AddPartitionsToTxnRequest).Topics {
			asked += len(t.Partitions)
		}
		resp.Topics = codes(&d, asked,
			func(partition int32, code int16) kmsg.AddPartitionsToTxnResponseTopicPartition {
				return kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: partition, ErrorCode: code}
			},
			func(topic string, partitions []kmsg.AddPartitionsToTxnResponseTopicPartition) kmsg.AddPartitionsToTxnResponseTopic {
				return kmsg.AddPartitionsToTxnResponseTopic{Topic: topic, Partitions: partitions}
			})
	case *kmsg.AddOffsetsToTxnResponse:
		resp.ThrottleMillis, resp.ErrorCode = d.int32(), d.int16()
	case *kmsg.EndTxnResponse:
		resp.ThrottleMillis, resp.ErrorCode = d.int32(), d.int16()
		if version >= 5 {
			resp.ProducerID, resp.ProducerEpoch = d.int64(), d.int16()
		}
	case *kmsg.TxnOffsetCommitResponse:
		if version > 5 {
			d.fail() // topic ids in place of names
		}
		resp.ThrottleMillis = d.int32()
		asked := 0
		for _, t := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
			asked += len(t.Partitions)
		}
		resp.Topics = codes(&d, asked,
			func(partition int32, code int16) kmsg.TxnOffsetCommitResponseTopicPartition {
				return kmsg.TxnOffsetCommitResponseTopicPartition{Partition: partition, ErrorCode: code}
			},
			func(topic string, partitions []kmsg.TxnOffsetCommitResponseTopicPartition) kmsg.TxnOffsetCommitResponseTopic {
				return kmsg.TxnOffsetCommitResponseTopic{Topic: topic, Partitions: partitions}
			})
	case *kmsg.GetTelemetrySubscriptionsResponse:
		d.subscriptions(resp)
	case *kmsg.PushTelemetryResponse:
		resp.ThrottleMillis, resp.ErrorCode = d.int32(), d.int16()
	default:
		d.fail()
	}
	d.tags(tag)
	if d.bad {
		return nil, malformed(req, len(body))
	}
	return kresp, nil
}

func malformed(req kmsg.Request, size int) error {
	return fmt.Errorf("%w of %d bytes to %s v%d", ErrMalformedAnswer, size, kmsg.NameForKey(req.Key()), req.GetVersion())
}

// codes reads a code for each partition, by topic, of an answer to a request with so many partitions. More topics are refused:
// each takes several times its least size in memory.
func codes[T, P any](d *decoder, asked int, partition func(id int32, code int16) P, topic func(name string, partitions []P) T) []T {
	n := d.count(d.byFormat(6, 3))
	if n > asked {
		d.fail()
		return nil
	}
	topics := make([]T, 0, n)
	for ; n > 0 && !d.bad; n-- {
		name := string(d.string())
		partitions := make([]P, d.count(d.byFormat(6, 7)))
		for i := range partitions {
			partitions[i] = partition(d.int32(), d.int16())
			d.tags(nil)
		}
		d.tags(nil)
		topics = append(topics, topic(name, partitions))
	}
	return topics
}

func (d *decoder) coordinators(resp *kmsg.FindCoordinatorResponse, req *kmsg.FindCoordinatorRequest) {
	if resp.Version >= 1 {
		resp.ThrottleMillis = d.int32()
	}
	if resp.Version < 4 {
		resp.ErrorCode = d.int16()
		if resp.Version >= 1 {
			resp.ErrorMessage = d.nullableText()
		}
		resp.NodeID, resp.Host, resp.Port = d.int32(), nameText(d.string()), d.int32()
		return
	}
	n := d.count(14)
	if n > len(req.CoordinatorKeys) {
		d.fail()
	}
	for ; n > 0 && !d.bad; n-- {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port = string(d.string()), d.int32(), nameText(d.string()), d.int32()
		c.ErrorCode, c.ErrorMessage = d.int16(), d.nullableText()
		d.tags(nil)
		resp.Coordinators = append(resp.Coordinators, c)
	}
}

func (d *decoder) subscriptions(resp *kmsg.GetTelemetrySubscriptionsResponse) {
	resp.ThrottleMillis, resp.ErrorCode = d.int32(), d.int16()
	copy(resp.ClientInstanceID[:], d.take(len(resp.ClientInstanceID)))
	resp.SubscriptionID = d.int32()
	for _, codec := range d.take(d.count(1)) {
		resp.AcceptedCompressionTypes = append(resp.AcceptedCompressionTypes, int8(codec))
	}
	resp.PushIntervalMillis, resp.TelemetryMaxBytes, resp.DeltaTemporality = d.int32(), d.int32(), d.bool()
	resp.RequestedMetrics = make([]string, d.count(1))
	for i := range resp.RequestedMetrics {
		resp.RequestedMetrics[i] = string(d.string())
	}
}

// nullableText is a text for people, see cutText.
func (d *decoder) nullableText() *string {
	n := d.stringLen()
	if n < 0 {
		return nil
	}
	text := cutText(d.take(n))
	return &text
}

func (d *decoder) apiVersions(resp *kmsg.ApiVersionsResponse) {
	resp.ErrorCode = d.int16()
	n := d.count(d.byFormat(6, 7))
	resp.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, n)
	for i := range n {
		k := &resp.ApiKeys[i]
		k.ApiKey, k.MinVersion, k.MaxVersion = d.int16(), d.int16(), d.int16()
		d.tags(nil)
	}
	if resp.Version >= 1 {
		resp.ThrottleMillis = d.int32()
	}
}

// feature reads a tag of an answer to ApiVersions (KIP-584).
func (d *decoder) feature(resp *kmsg.ApiVersionsResponse, tag int, value []byte) {
	of := decoder{src: value, flexible: true}
	switch tag {
	case 1:
		resp.FinalizedFeaturesEpoch = of.int64()
	case 2:
		n := of.count(6)
		resp.FinalizedFeatures = make([]kmsg.ApiVersionsResponseFinalizedFeature, n)
		for i := range n {
			f := &resp.FinalizedFeatures[i]
			f.Name, f.MaxVersionLevel, f.MinVersionLevel = cutText(of.string()), of.int16(), of.int16()
			of.tags(nil)
		}
	}
	if of.bad {
		d.fail()
	}
}
