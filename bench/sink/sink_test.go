package sink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// sarama's metrics start one goroutine for the whole process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

func listen(t *testing.T, config Config) *Broker {
	t.Helper()
	b, err := Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

// franz makes a franz-go client whose versions end at those of a Kafka release.
func franz(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.Addr()), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestFranzGetsOffsetsAtEveryVersion(t *testing.T) {
	for version := int16(minProduce); version <= maxProduce; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			b := listen(t, Config{Partitions: 3})
			versions := kversion.Stable()
			versions.SetMaxKeyVersion(int16(kmsg.Produce), version)
			client := franz(t, b, kgo.MaxVersions(versions))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			const each = 50
			var records []*kgo.Record
			for i := range 3 * each {
				records = append(records, &kgo.Record{Topic: "t", Partition: int32(i % 3), Value: make([]byte, i)})
			}
			if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for i, r := range records {
				if want := int64(i / 3); r.Offset != want {
					t.Fatalf("record %d of partition %d has offset %d, want %d", i, r.Partition, r.Offset, want)
				}
			}
			if got := b.Stats().Records; got != 3*each {
				t.Errorf("the sink counts %d records, want %d", got, 3*each)
			}
			for p := range int32(3) {
				if got := b.EndOffset("t", p); got != each {
					t.Errorf("end offset of partition %d is %d, want %d", p, got, each)
				}
			}
		})
	}
}

func TestSaramaGetsOffsets(t *testing.T) {
	for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V2_0_0_0, sarama.V2_8_0_0, sarama.MaxVersion} {
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP} {
			t.Run(fmt.Sprintf("%v %v", version, codec), func(t *testing.T) {
				b := listen(t, Config{Partitions: 2})
				conf := sarama.NewConfig()
				conf.Version, conf.Producer.Compression = version, codec
				conf.Producer.Partitioner = sarama.NewManualPartitioner
				conf.Producer.Return.Successes = true
				producer, err := sarama.NewSyncProducer([]string{b.Addr()}, conf)
				if err != nil {
					t.Fatal(err)
				}
				defer producer.Close()
				for i := range 20 {
					_, offset, err := producer.SendMessage(&sarama.ProducerMessage{
						Topic: "t", Partition: int32(i % 2), Value: sarama.StringEncoder(strings.Repeat("x", 100)),
					})
					if err != nil {
						t.Fatal(err)
					}
					if want := int64(i / 2); offset != want {
						t.Fatalf("message %d has offset %d, want %d", i, offset, want)
					}
				}
				if got := b.Stats().Records; got != 20 {
					t.Errorf("the sink counts %d records, want 20", got)
				}
			})
		}
	}
}

// produceRequest is a request with one batch of n records a partition.
func produceRequest(version int16, acks int16, topic string, id [16]byte, partitions []int32, n int) *kmsg.ProduceRequest {
	request := kmsg.NewPtrProduceRequest()
	request.Version, request.Acks = version, acks
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.TopicID = topic, id
	for _, p := range partitions {
		batch := make([]byte, batchHeader+10)
		binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-batchLengthEnd))
		batch[batchMagicAt] = 2
		binary.BigEndian.PutUint32(batch[batchRecordsAt:], uint32(n))
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = p, batch
		to.Partitions = append(to.Partitions, partition)
	}
	request.Topics = append(request.Topics, to)
	return request
}

// wire is a bare connection that speaks kmsg.
type wire struct {
	t *testing.T
	net.Conn
	formatter *kmsg.RequestFormatter
}

func dial(t *testing.T, b *Broker) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t: t, Conn: conn, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire"))}
}

func (w *wire) send(request kmsg.Request, correlation int32) {
	w.t.Helper()
	if _, err := w.Write(w.formatter.AppendRequest(nil, request, correlation)); err != nil {
		w.t.Fatal(err)
	}
}

// receive reads one answer, which must be to the correlation id and fill its frame exactly.
func (w *wire) receive(request kmsg.Request, correlation int32) kmsg.Response {
	w.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(w, size[:]); err != nil {
		w.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(w, body); err != nil {
		w.t.Fatal(err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		w.t.Fatalf("answer to %d, want %d", got, correlation)
	}
	response := request.ResponseKind()
	body = body[4:]
	if response.IsFlexible() && request.Key() != int16(kmsg.ApiVersions) {
		body = body[1:]
	}
	if err := response.ReadFrom(body); err != nil {
		w.t.Fatal(err)
	}
	if again := response.AppendTo(nil); len(again) != len(body) {
		w.t.Fatalf("%s v%d: the answer has %d bytes, %d of which mean something",
			kmsg.NameForKey(request.Key()), request.GetVersion(), len(body), len(again))
	}
	return response
}

func TestProduceAnswersAtEveryVersion(t *testing.T) {
	b := listen(t, Config{Partitions: 2, Topics: []string{"t"}})
	w := dial(t, b)
	id := b.topics.byName("t").id
	for version := int16(minProduce); version <= maxProduce; version++ {
		request := produceRequest(version, -1, "t", id, []int32{1, 7}, 5)
		w.send(request, int32(version))
		response := w.receive(request, int32(version)).(*kmsg.ProduceResponse)
		if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 2 {
			t.Fatalf("v%d: answer is %+v", version, response)
		}
		if version < topicIDVersion && response.Topics[0].Topic != "t" {
			t.Errorf("v%d: topic is %q", version, response.Topics[0].Topic)
		}
		if version >= topicIDVersion && response.Topics[0].TopicID != id {
			t.Errorf("v%d: topic id is %v", version, response.Topics[0].TopicID)
		}
		known, unknown := response.Topics[0].Partitions[0], response.Topics[0].Partitions[1]
		if want := 5 * int64(version-minProduce); known.ErrorCode != 0 || known.BaseOffset != want || known.Partition != 1 {
			t.Errorf("v%d: %+v, want base offset %d of partition 1", version, known, want)
		}
		if unknown.ErrorCode != errUnknownTopicOrPartition || unknown.BaseOffset != -1 || unknown.Partition != 7 {
			t.Errorf("v%d: %+v, want UNKNOWN_TOPIC_OR_PARTITION for partition 7", version, unknown)
		}
	}
}

func TestRefusals(t *testing.T) {
	b := listen(t, Config{Partitions: 1})
	for _, test := range []struct {
		name   string
		change func(*kmsg.ProduceRequest)
		want   int16
	}{
		{"topic id never told", func(r *kmsg.ProduceRequest) { r.Version = 13 }, errUnknownTopicID},
		{"negative partition", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = -1 }, errUnknownTopicOrPartition},
		{"null records", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Records = nil }, errCorruptMessage},
		{"no records", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Records[batchRecordsAt+3] = 0 }, errCorruptMessage},
		{"old magic", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Records[batchMagicAt] = 1 }, errCorruptMessage},
		{"batch longer than its field", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Records[batchLengthEnd-1]++ }, errCorruptMessage},
		{"a batch and a tail", func(r *kmsg.ProduceRequest) {
			p := &r.Topics[0].Partitions[0]
			p.Records = append(p.Records, 1, 2, 3)
		}, errCorruptMessage},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := dial(t, b)
			bad := produceRequest(9, -1, "t", [16]byte{1}, []int32{0}, 1)
			test.change(bad)
			w.send(bad, 1)
			response := w.receive(bad, 1).(*kmsg.ProduceResponse)
			if got := response.Topics[0].Partitions[0].ErrorCode; got != test.want {
				t.Errorf("error is %v, want %v", kerr.ErrorForCode(got), kerr.ErrorForCode(test.want))
			}
			// The connection goes on behind it.
			good := produceRequest(9, -1, "t", [16]byte{}, []int32{0}, 1)
			w.send(good, 2)
			response = w.receive(good, 2).(*kmsg.ProduceResponse)
			if got := response.Topics[0].Partitions[0].ErrorCode; got != 0 {
				t.Errorf("the next request gets %v", kerr.ErrorForCode(got))
			}
		})
	}
}

func TestAcksZeroHasNoAnswer(t *testing.T) {
	b := listen(t, Config{Partitions: 1})
	w := dial(t, b)
	silent := produceRequest(9, 0, "t", [16]byte{}, []int32{0}, 3)
	w.send(silent, 1)
	loud := produceRequest(9, 1, "t", [16]byte{}, []int32{0}, 3)
	w.send(loud, 2)
	response := w.receive(loud, 2).(*kmsg.ProduceResponse)
	if got := response.Topics[0].Partitions[0].BaseOffset; got != 3 {
		t.Errorf("base offset is %d, want 3", got)
	}
}

// TestDelayIsPipelined sends everything before it reads anything: with answers in turn, each only after the one
// before was taken, the last would be requests times the delay away.
func TestDelayIsPipelined(t *testing.T) {
	const requests, delay = 50, 200 * time.Millisecond
	b := listen(t, Config{Partitions: 1, Delay: delay})
	w := dial(t, b)
	request := produceRequest(9, -1, "t", [16]byte{}, []int32{0}, 1)
	began := time.Now()
	for i := range int32(requests) {
		w.send(request, i)
	}
	for i := range int32(requests) {
		response := w.receive(request, i).(*kmsg.ProduceResponse)
		if got := response.Topics[0].Partitions[0].BaseOffset; got != int64(i) {
			t.Fatalf("answer %d has base offset %d", i, got)
		}
		if i == 0 && time.Since(began) < delay {
			t.Errorf("the first answer came after %v, before its delay of %v", time.Since(began), delay)
		}
	}
	if took := time.Since(began); took >= requests*delay {
		t.Errorf("%d answers took %v: they were not pipelined", requests, took)
	}
}

func TestCloseDoesNotWaitForDelay(t *testing.T) {
	b := listen(t, Config{Partitions: 1, Delay: time.Hour})
	w := dial(t, b)
	w.send(produceRequest(9, -1, "t", [16]byte{}, []int32{0}, 1), 1)
	if err := b.Close(); err != nil { // a Close that waited would end with the test's own time-out
		t.Error(err)
	}
}

func TestMetadata(t *testing.T) {
	b := listen(t, Config{Partitions: 3, Topics: []string{"first"}})
	w := dial(t, b)
	for version := int16(0); version <= 13; version++ {
		request := kmsg.NewPtrMetadataRequest()
		request.Version = version
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("second")
		request.Topics = append(request.Topics, topic)
		w.send(request, int32(version))
		response := w.receive(request, int32(version)).(*kmsg.MetadataResponse)
		if len(response.Topics) != 1 || *response.Topics[0].Topic != "second" || len(response.Topics[0].Partitions) != 3 {
			t.Fatalf("v%d: %+v", version, response.Topics)
		}
		for i, p := range response.Topics[0].Partitions {
			if p.Partition != int32(i) || p.Leader != nodeID || version >= 7 && p.LeaderEpoch != leaderEpoch {
				t.Errorf("v%d: partition %d is %+v", version, i, p)
			}
		}
		if version >= 10 && response.Topics[0].TopicID == [16]byte{} {
			t.Errorf("v%d: no topic id", version)
		}
	}

	everything := kmsg.NewPtrMetadataRequest()
	everything.Version, everything.Topics = 12, nil
	w.send(everything, 1)
	var names []string
	for _, topic := range w.receive(everything, 1).(*kmsg.MetadataResponse).Topics {
		names = append(names, *topic.Topic)
	}
	slices.Sort(names)
	if want := []string{"first", "second"}; !slices.Equal(names, want) {
		t.Errorf("all topics are %v, want %v", names, want)
	}

	byID := kmsg.NewPtrMetadataRequest()
	byID.Version = 12
	for _, id := range [][16]byte{b.topics.byName("first").id, {9}} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = id
		byID.Topics = append(byID.Topics, topic)
	}
	w.send(byID, 2)
	topics := w.receive(byID, 2).(*kmsg.MetadataResponse).Topics
	if *topics[0].Topic != "first" || topics[1].ErrorCode != errUnknownTopicID {
		t.Errorf("by id: %+v", topics)
	}
}

func TestApiVersionsBeyondKnown(t *testing.T) {
	b := listen(t, Config{Partitions: 1})
	w := dial(t, b)
	request := kmsg.NewPtrApiVersionsRequest()
	request.Version = 99
	w.send(request, 5)
	request.Version = 0 // the version of the answer, by KIP-511
	response := w.receive(request, 5).(*kmsg.ApiVersionsResponse)
	if response.ErrorCode != errUnsupportedVersion || len(response.ApiKeys) != len(supported) {
		t.Errorf("answer is %+v", response)
	}
}

func TestProducerIDsDiffer(t *testing.T) {
	b := listen(t, Config{Partitions: 1})
	w := dial(t, b)
	request := kmsg.NewPtrInitProducerIDRequest()
	request.Version = 4
	seen := make(map[int64]bool)
	for i := range int32(3) {
		w.send(request, i)
		seen[w.receive(request, i).(*kmsg.InitProducerIDResponse).ProducerID] = true
	}
	if len(seen) != 3 {
		t.Errorf("three requests got the producer ids %v", seen)
	}
}

func TestNonsenseEndsItsConnectionOnly(t *testing.T) {
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 4
	for _, test := range []struct {
		name, want string
		bytes      []byte
	}{
		{"length prefix", "length prefix 2147483647", []byte{0x7f, 0xff, 0xff, 0xff}},
		{"request key", "unknown request key 9999", []byte{0, 0, 0, 8, 0x27, 0x0f, 0, 0, 0, 0, 0, 0}},
		{"long Metadata", "Metadata of 50331638 bytes", []byte{3, 0, 0, 0, 0, 3, 0, 9, 0, 0, 0, 0, 0, 0}},
		{"old Produce", "Produce v2", []byte{0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0}},
		{"field beyond the request", "a field of 9 bytes in the last 0", []byte{0, 0, 0, 10, 0, 0, 0, 3, 0, 0, 0, 0, 0, 9}},
		{"not answered", "Fetch v4", kmsg.NewRequestFormatter().AppendRequest(nil, fetch, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := Listen(Config{Partitions: 1})
			if err != nil {
				t.Fatal(err)
			}
			w := dial(t, b)
			if _, err := w.Write(test.bytes); err != nil {
				t.Fatal(err)
			}
			if n, err := w.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("got an answer to nonsense")
			}
			other := dial(t, b)
			request := produceRequest(9, -1, "t", [16]byte{}, []int32{0}, 1)
			other.send(request, 1)
			other.receive(request, 1)
			if err := b.Close(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Close returns %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, config := range []Config{
		{}, {Partitions: -1}, {Partitions: 1, Delay: -1}, {Partitions: 1, TransactionVersion: -1}, {Partitions: 1, TransactionVersion: 3},
	} {
		if b, err := Listen(config); err == nil {
			b.Close()
			t.Errorf("Listen takes %+v", config)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	b := listen(t, Config{Partitions: 1})
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}
