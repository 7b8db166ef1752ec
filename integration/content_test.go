//go:build unix

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// contentTests are on what is stored and how, which must be the same on each version of Kafka.
var contentTests = []struct {
	name string
	run  func(*testing.T, *kafkatest.Cluster)
}{
	{"Codecs", testCodecs},
	{"IncompressibleIsStoredRaw", testIncompressibleIsStoredRaw},
	{"Acks", testAcks},
	{"KeysHeadersAndTombstones", testKeysHeadersAndTombstones},
	{"Timestamps", testTimestamps},
	{"Appender", testAppender},
	{"LargeMessages", testLargeMessages},
	{"TooLargeFailsAlone", testTooLargeFailsAlone},
	{"UnknownTopicFailsByName", testUnknownTopicFailsByName},
}

// TestContent runs contentTests on the node that all tests share, or with -versions on a node of each version.
func TestContent(t *testing.T) {
	if len(versions) == 0 {
		runContentTests(t, kafka.Get(t))
		return
	}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			c := kafkatest.Start(t, 1, kafkatest.Version(v))
			runMessageTests(t, c)
			runContentTests(t, c)
		})
	}
}

func runContentTests(t *testing.T, c *kafkatest.Cluster) {
	for _, test := range contentTests {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

var codecs = []sarama.CompressionCodec{
	sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
}

func testCodecs(t *testing.T, c *kafkatest.Cluster) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			conf := newConfig()
			conf.Producer.Compression = codec
			var msgs []*sarama.ProducerMessage
			for i := range 5000 {
				msgs = append(msgs, &sarama.ProducerMessage{
					Topic: topic,
					Key:   sarama.StringEncoder(fmt.Sprint(i)),
					Value: sarama.StringEncoder(fmt.Sprintf("message %d, %s", i, strings.Repeat("again and ", i%20))),
				})
			}
			deliver(t, newAsync(t, c, conf), msgs)
			for i, r := range readBack(t, c, topic, len(msgs))[0] {
				key, _ := msgs[i].Key.Encode()
				value, _ := msgs[i].Value.Encode()
				if !bytes.Equal(r.Key, key) || !bytes.Equal(r.Value, value) {
					t.Fatalf("offset %d holds %q=%q, want %q=%q", i, r.Key, r.Value, key, value)
				}
				if got := sarama.CompressionCodec(r.Attrs.CompressionType()); got != codec {
					t.Fatalf("offset %d is stored with %v, want %v", i, got, codec)
				}
			}
		})
	}
}

func testIncompressibleIsStoredRaw(t *testing.T, c *kafkatest.Cluster) {
	for _, codec := range codecs[1:] {
		t.Run(codec.String(), func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			conf := newConfig()
			conf.Producer.Compression = codec
			noise := make([]byte, 10_000)
			random := rand.NewChaCha8([32]byte{1})
			random.Read(noise)
			deliver(t, newAsync(t, c, conf), []*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(noise)}})
			r := readBack(t, c, topic, 1)[0][0]
			if !bytes.Equal(r.Value, noise) {
				t.Error("the value is not what was sent")
			}
			if got := r.Attrs.CompressionType(); got != 0 {
				t.Errorf("stored with codec %d, want none", got)
			}
		})
	}
}

func testAcks(t *testing.T, c *kafkatest.Cluster) {
	for _, test := range []struct {
		name    string
		acks    sarama.RequiredAcks
		offsets bool // Kafka tells them
	}{
		{"none", sarama.NoResponse, false},
		{"leader", sarama.WaitForLocal, true},
		{"all", sarama.WaitForAll, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			conf := newConfig()
			conf.Producer.RequiredAcks = test.acks
			conf.Producer.Idempotent = test.acks == sarama.WaitForAll // the others may not be
			var msgs []*sarama.ProducerMessage
			for i := range 1000 {
				msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))})
			}
			for i, m := range deliver(t, newAsync(t, c, conf), msgs) {
				want := int64(i)
				if !test.offsets {
					want = -1
				}
				if m.Offset != want {
					t.Fatalf("message %d came back with offset %d, want %d", i, m.Offset, want)
				}
			}
			for i, r := range readBack(t, c, topic, len(msgs))[0] {
				if string(r.Value) != fmt.Sprint(i) {
					t.Fatalf("offset %d holds %q", i, r.Value)
				}
			}
		})
	}
}

func testKeysHeadersAndTombstones(t *testing.T, c *kafkatest.Cluster) {
	topic := c.NewTopic(t, 1, nil)
	p := newSync(t, c, newConfig())
	type content struct {
		Key, Value []byte
		Headers    []kgo.RecordHeader
	}
	header := func(key string, value []byte) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: value} }
	tests := []content{
		{Key: nil, Value: []byte("null key")},
		{Key: []byte{}, Value: []byte("empty key")},
		{Key: []byte("tombstone"), Value: nil},
		{Key: []byte("empty value"), Value: []byte{}},
		{Key: nil, Value: nil},
		{Key: []byte("headers"), Value: []byte("v"), Headers: []kgo.RecordHeader{
			header("a", []byte("1")), header("null", nil), header("empty", []byte{}), header("a", []byte("twice")), header("", []byte("no name")),
		}},
	}
	encoder := func(b []byte) sarama.Encoder {
		if b == nil {
			return nil
		}
		return sarama.ByteEncoder(b)
	}
	for _, test := range tests {
		type mark struct{ n int }
		metadata := &mark{7}
		m := &sarama.ProducerMessage{Topic: topic, Key: encoder(test.Key), Value: encoder(test.Value), Metadata: metadata}
		for _, h := range test.Headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		}
		if _, _, err := p.SendMessage(m); err != nil {
			t.Fatal(err)
		}
		if m.Metadata != metadata || metadata.n != 7 {
			t.Errorf("Metadata came back as %v", m.Metadata)
		}
	}
	for i, r := range readBack(t, c, topic, len(tests))[0] {
		if got := (content{r.Key, r.Value, r.Headers}); !reflect.DeepEqual(got, tests[i]) {
			t.Errorf("offset %d holds %#v, want %#v", i, got, tests[i])
		}
	}
}

func testTimestamps(t *testing.T, c *kafkatest.Cluster) {
	createTime := c.NewTopic(t, 1, nil)
	appendTime := c.NewTopic(t, 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	p := newSync(t, c, newConfig())
	given := time.Date(2024, 2, 29, 23, 59, 59, 987_654_321, time.UTC)
	from := time.Now().Truncate(time.Millisecond)
	send := func(topic string, at time.Time) *sarama.ProducerMessage {
		m := &sarama.ProducerMessage{Topic: topic, Timestamp: at}
		if _, _, err := p.SendMessage(m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	send(createTime, given)
	send(createTime, time.Time{})
	appended := send(appendTime, given)
	to := time.Now()

	created := readBack(t, c, createTime, 2)[0]
	if want := given.Truncate(time.Millisecond); !created[0].Timestamp.Equal(want) {
		t.Errorf("a given timestamp is stored as %v, want %v", created[0].Timestamp, want)
	}
	if at := created[1].Timestamp; at.Before(from) || at.After(to) {
		t.Errorf("without one, %v is stored, want a time from %v to %v", at, from, to)
	}
	stored := readBack(t, c, appendTime, 1)[0][0].Timestamp
	if !appended.Timestamp.Equal(stored) || stored.Before(from) || stored.After(to) {
		t.Errorf("the broker's time is %v, and the message came back with %v", stored, appended.Timestamp)
	}
}

func testLargeMessages(t *testing.T, c *kafkatest.Cluster) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			topic := c.NewTopic(t, 1, map[string]string{"max.message.bytes": "1200000"})
			conf := newConfig()
			conf.Producer.Compression = codec
			conf.Producer.MaxMessageBytes = 1_100_000
			var msgs []*sarama.ProducerMessage
			for i := range 20 {
				value := bytes.Repeat([]byte{'a' + byte(i)}, 1<<20)
				msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(value)})
			}
			deliver(t, newAsync(t, c, conf), msgs)
			for i, r := range readBack(t, c, topic, len(msgs))[0] {
				if want := msgs[i].Value.(sarama.ByteEncoder); !bytes.Equal(r.Value, want) {
					t.Fatalf("offset %d holds %d bytes %.3q, want %d bytes %.3q", i, len(r.Value), r.Value, len(want), []byte(want))
				}
			}
		})
	}
}

// testTooLargeFailsAlone: a message that only the broker finds too large takes no other down with it.
func testTooLargeFailsAlone(t *testing.T, c *kafkatest.Cluster) {
	topic := c.NewTopic(t, 1, map[string]string{"max.message.bytes": "100000"})
	conf := newConfig()
	conf.Producer.Compression = sarama.CompressionNone
	p := newSync(t, c, conf)
	var msgs []*sarama.ProducerMessage
	for i := range 10 {
		size := 1000
		if i == 4 {
			size = 200_000
		}
		msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(bytes.Repeat([]byte{'0' + byte(i)}, size))})
	}
	err := p.SendMessages(msgs)
	failed, ok := errors.AsType[sarama.ProducerErrors](err)
	if !ok || len(failed) != 1 || failed[0].Msg != msgs[4] || !errors.Is(failed[0], sarama.ErrMessageSizeTooLarge) {
		t.Errorf("error %v, want one for the message that is too large", err)
	}
	var got []byte
	for _, r := range readBack(t, c, topic, 9)[0] {
		got = append(got, r.Value[0])
	}
	if want := "012356789"; string(got) != want {
		t.Errorf("the log holds %q, want %q", got, want)
	}
}

func testUnknownTopicFailsByName(t *testing.T, c *kafkatest.Cluster) {
	conf := newConfig()
	conf.Metadata.Retry.Max, conf.Metadata.Retry.Backoff = 2, 10*time.Millisecond
	p, err := sluice.New(c.Brokers(), conf, sluice.WithDeliveryTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, _, err = p.SendMessageContext(ctx, &sarama.ProducerMessage{Topic: "no-such-topic"})
	if !errors.Is(err, sarama.ErrUnknownTopicOrPartition) || !strings.Contains(err.Error(), "no-such-topic") {
		t.Errorf("error %v, want %v with the topic's name", err, sarama.ErrUnknownTopicOrPartition)
	}
}
