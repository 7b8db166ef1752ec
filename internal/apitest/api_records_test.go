package apitest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRecordsAreWrittenAsGiven(t *testing.T) {
	at := time.Date(2019, 3, 4, 5, 6, 7, 89e6, time.UTC)
	tests := []struct {
		name       string
		msg        sarama.ProducerMessage
		key, value []byte
	}{
		{"key and value", sarama.ProducerMessage{Key: sarama.StringEncoder("k"), Value: sarama.ByteEncoder("v")}, []byte("k"), []byte("v")},
		{"null key", sarama.ProducerMessage{Value: sarama.StringEncoder("v")}, nil, []byte("v")},
		{"tombstone", sarama.ProducerMessage{Key: sarama.StringEncoder("k")}, []byte("k"), nil},
		{"nothing", sarama.ProducerMessage{}, nil, nil},
		{"empty, not null", sarama.ProducerMessage{Key: sarama.StringEncoder(""), Value: sarama.ByteEncoder{}}, []byte{}, []byte{}},
		{"timestamp", sarama.ProducerMessage{Value: sarama.StringEncoder("v"), Timestamp: at}, nil, []byte("v")},
		{"before 1970", sarama.ProducerMessage{Value: sarama.StringEncoder("v"), Timestamp: time.UnixMilli(-5000)}, nil, []byte("v")},
		{"headers", sarama.ProducerMessage{Value: sarama.StringEncoder("v"), Headers: []sarama.RecordHeader{
			{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("null")}, {Key: []byte("empty"), Value: []byte{}}, {Key: []byte("a"), Value: []byte("2")},
		}}, nil, []byte("v")},
		{"unicode and zeros", sarama.ProducerMessage{Key: sarama.StringEncoder("ключ\x00"), Value: sarama.ByteEncoder("\x00\xff\x00")}, []byte("ключ\x00"), []byte("\x00\xff\x00")},
	}
	type private struct{ number int }
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	before := time.Now().Add(-time.Second)
	for i := range tests {
		test := &tests[i]
		test.msg.Topic, test.msg.Metadata = "t", private{i}
		msg := test.msg
		send(p, &msg)
		got := successes(t, p, 1)[0]
		if got != &msg || got.Metadata != (private{i}) {
			t.Errorf("%s: metadata %v", test.name, got.Metadata)
		}
		if !got.Timestamp.Equal(test.msg.Timestamp) {
			t.Errorf("%s: timestamp %v was written into the message", test.name, got.Timestamp)
		}
	}
	after := time.Now().Add(time.Second)
	for i, r := range readTopic(t, c, "t", len(tests)) {
		test := tests[i]
		if !bytes.Equal(r.Key, test.key) || (r.Key == nil) != (test.key == nil) {
			t.Errorf("%s: key %#v", test.name, r.Key)
		}
		if !bytes.Equal(r.Value, test.value) || (r.Value == nil) != (test.value == nil) {
			t.Errorf("%s: value %#v", test.name, r.Value)
		}
		if want := test.msg.Timestamp; !want.IsZero() {
			if !r.Timestamp.Equal(want) {
				t.Errorf("%s: timestamp %v, want %v", test.name, r.Timestamp, want)
			}
		} else if r.Timestamp.Before(before) || r.Timestamp.After(after) {
			t.Errorf("%s: timestamp %v", test.name, r.Timestamp)
		}
		if len(r.Headers) != len(test.msg.Headers) {
			t.Fatalf("%s: headers %v", test.name, r.Headers)
		}
		for j, h := range r.Headers {
			want := test.msg.Headers[j]
			if h.Key != string(want.Key) || !bytes.Equal(h.Value, want.Value) || (h.Value == nil) != (want.Value == nil) {
				t.Errorf("%s: header %q %#v", test.name, h.Key, h.Value)
			}
		}
	}
}

func TestCodecs(t *testing.T) {
	for _, test := range []struct {
		codec sarama.CompressionCodec
		level int
	}{
		{sarama.CompressionNone, sarama.CompressionLevelDefault},
		{sarama.CompressionGZIP, sarama.CompressionLevelDefault},
		{sarama.CompressionGZIP, 9},
		{sarama.CompressionSnappy, sarama.CompressionLevelDefault},
		{sarama.CompressionLZ4, sarama.CompressionLevelDefault},
		{sarama.CompressionZSTD, sarama.CompressionLevelDefault},
		{sarama.CompressionZSTD, 1},
	} {
		t.Run(fmt.Sprintf("%v level %d", test.codec, test.level), func(t *testing.T) {
			c := newTopicCluster(t, 1, 4)
			w := watch(c)
			conf := testConfig()
			conf.Producer.Compression = test.codec
			conf.Producer.CompressionLevel = test.level
			conf.Producer.Flush.Frequency = hour
			p := newAsync(t, c, conf)
			const n = 2000
			msgs := messages(n, 4)
			for _, msg := range msgs {
				msg.Key = sarama.StringEncoder(strings.Repeat("compressible ", 5))
			}
			p.InputBatch() <- msgs
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			successes(t, p, n)
			for _, req := range w.seen() {
				for _, b := range req.batches {
					if b.codec != test.codec {
						t.Errorf("a batch with %v", b.codec)
					}
					if test.codec != sarama.CompressionNone && b.bytes > 20*b.records {
						t.Errorf("%d records in %d bytes", b.records, b.bytes)
					}
				}
			}
			wantInOrder(t, c, n)
		})
	}
}

func TestBatchThatDoesNotShrinkIsRaw(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		t.Run(codec.String(), func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			w := watch(c)
			conf := testConfig()
			conf.Producer.Compression = codec
			p := newSync(t, c, conf)
			noise := make([]byte, 10_000)
			rng := rand.NewChaCha8([32]byte{})
			_, _ = rng.Read(noise)
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(noise)}); err != nil {
				t.Fatal(err)
			}
			if b := w.seen()[0].batches[0]; b.codec != sarama.CompressionNone {
				t.Errorf("%d bytes with %v", b.bytes, b.codec)
			}
			if r := readTopic(t, c, "t", 1)[0]; !bytes.Equal(r.Value, noise) {
				t.Error("another value")
			}
		})
	}
}

func TestAcks(t *testing.T) {
	for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		t.Run(fmt.Sprint(acks), func(t *testing.T) {
			c := newTopicCluster(t, 2, 2)
			w := watch(c)
			conf := testConfig()
			conf.Producer.RequiredAcks = acks
			p := newAsync(t, c, conf)
			const n = 1000
			go send(p, messages(n, 2)...)
			for _, msg := range successes(t, p, n) {
				if acks == sarama.NoResponse && msg.Offset != -1 {
					t.Fatalf("offset %d, though the broker told none", msg.Offset)
				}
			}
			for _, req := range w.seen() {
				if req.acks != int16(acks) {
					t.Fatalf("a request with acks %d", req.acks)
				}
			}
			wantInOrder(t, c, n)
		})
	}
}

// hasTime makes a cluster answer that its log has its own time. It keeps nothing then.
func hasTime(c *kfake.Cluster, appended time.Time) {
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return answerProduce(kreq, func(p *kmsg.ProduceResponseTopicPartition) { p.LogAppendTime = appended.UnixMilli() }), nil, true
	})
}

// Where the log has its own time, messages get it.
func TestLogAppendTime(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	appended := time.UnixMilli(1_234_567_890_123)
	hasTime(c, appended)
	async := newAsync(t, c, testConfig())
	for _, given := range []time.Time{{}, time.UnixMilli(1000)} {
		msg := message(0, 0)
		msg.Timestamp = given
		send(async, msg)
		if got := successes(t, async, 1)[0].Timestamp; !got.Equal(appended) {
			t.Errorf("timestamp %v, want the log's own", got)
		}
	}
	sync := newSync(t, c, testConfig())
	msg := message(0, 0)
	if _, _, err := sync.SendMessageContext(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if !msg.Timestamp.Equal(appended) {
		t.Errorf("timestamp %v, want the log's own", msg.Timestamp)
	}
}
