package metadata

import (
	"runtime"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// What is made of an answer counts as its memory too: package wire takes 1.25 times the answer and 1 MiB to read it, all
// together must stay within 6 times and 16 MiB.
func TestMemoryOfAnAnswer(t *testing.T) {
	const size = 8 << 20
	tiny := kmsg.NewMetadataResponseTopic()
	tiny.Topic, tiny.Partitions = kmsg.StringPtr("a"), make([]kmsg.MetadataResponseTopicPartition, 1)
	large := kmsg.NewMetadataResponseTopic()
	large.Topic = kmsg.StringPtr("a")
	for i := range int32(size / 26) {
		large.Partitions = append(large.Partitions, kmsg.MetadataResponseTopicPartition{Partition: i})
	}
	names := slices.Repeat([]kmsg.MetadataResponseTopic{tiny}, size/27)
	for i := range names {
		names[i].Topic = kmsg.StringPtr(string([]byte{byte('a' + i%26), byte(i >> 8), byte(i >> 16), byte(i)}))
	}
	some := slices.Repeat([]kmsg.MetadataResponseBroker{{Host: "h"}}, 50_000)
	for i := range some {
		some[i].NodeID = int32(i)
	}
	for name, resp := range map[string]*kmsg.MetadataResponse{
		"topics":             {Topics: names},
		"brokers":            {Brokers: some},
		"brokers and topics": {Brokers: some, Topics: names},
		"one topic":          {Version: 7, Topics: []kmsg.MetadataResponseTopic{large}},
	} {
		t.Run(name, func(t *testing.T) {
			body := resp.AppendTo(nil)
			req := newRequest(nil, false)
			if resp.Version > 0 {
				req = newRequest([]string{"a"}, false)
			}
			req.Version = resp.Version
			before, err := wire.ReadMetadata(req, body)
			if err != nil {
				t.Fatal(err)
			}
			var known *Topic
			if len(before.Topics) > 0 {
				known = answeredTopic(&before.Topics[0])
				known.ID[0], known.Partitions[0].Leader = 1, 9
			}
			empty := &snapshot{brokers: map[int32]Broker{}, topics: map[string]*Topic{}}

			var start, end runtime.MemStats
			runtime.ReadMemStats(&start)
			read, err := wire.ReadMetadata(req, body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Version > 0 {
				newer := answeredTopic(&read.Topics[0])
				newer.ID = known.ID
				merge(known, newer)
			} else {
				empty.next(answeredBrokers(read), completeTopics(read))
			}
			runtime.ReadMemStats(&end)
			taken, arrived := int(end.TotalAlloc-start.TotalAlloc)+len(body)*5/4+1<<20, len(body)
			t.Logf("%.1f MiB for %.1f MiB; %d brokers, %d topics", float64(taken)/(1<<20), float64(arrived)/(1<<20), len(read.Brokers), len(read.Topics))
			if taken > 6*arrived+16<<20 {
				t.Errorf("%d bytes were taken for the %d that arrived", taken, arrived)
			}
		})
	}
}
