package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameRun is a run of frame-sync at topics of a cluster, as a child gets it.
func frameRun(t *testing.T, c *kfake.Cluster, args ...string) run {
	t.Helper()
	args = append(args, "-clients", "frame-sync", "-brokers", strings.Join(c.ListenAddrs(), ","))
	s, err := parse(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.(*kafkaTarget).client.Close() })
	return run{
		settings: s, Client: "frame-sync", Sync: true, Addrs: to.addrs(), Names: to.topics(),
		payload: newPayload(s.Payload, s.Size, false, to.topics()),
	}
}

// TestFrameSyncRecords: what a consumer reads is the values that were to be sent, in every partition, with every codec.
func TestFrameSyncRecords(t *testing.T) {
	for _, codec := range compressions {
		t.Run(codec, func(t *testing.T) {
			c := cluster(t)
			// Calls of 7: the warm-up of 10 ends with 3 records, the measured part with 2.
			r := frameRun(t, c, "-records", "100", "-call", "7", "-senders", "6", "-topics", "2", "-partitions", "3", "-compression", codec)
			client, err := openFrameSync(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{warmUp(r.Records), r.Records} {
				if err := client.send(n); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.close(); err != nil {
				t.Error(err)
			}
			consumer, err := kgo.NewClient(kgo.SeedBrokers(r.Addrs...), kgo.ConsumeTopics(r.Names...))
			if err != nil {
				t.Fatal(err)
			}
			defer consumer.Close()
			for read := 0; read < 110; {
				fetches := consumer.PollFetches(t.Context())
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				for record := range fetches.RecordsAll() {
					read++
					if i := slices.IndexFunc(r.payload.values[:r.Call], func(v []byte) bool { return string(v) == string(record.Value) }); i < 0 {
						t.Fatalf("a record has the value %q", record.Value)
					}
				}
			}
		})
	}
}

// TestFrameSyncPlaces: the senders take the partitions in turn, of all topics, at their leaders.
func TestFrameSyncPlaces(t *testing.T) {
	c := cluster(t)
	r := frameRun(t, c, "-topics", "2", "-partitions", "3")
	places, err := framePlaces(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(places) != 6 {
		t.Fatalf("places are %v", places)
	}
	for i, p := range places {
		if p.topic != r.Names[i%2] || p.partition != int32(i/2) {
			t.Errorf("place %d is %v", i, p)
		}
		if leader := c.LeaderFor(p.topic, p.partition); p.addr != c.ListenAddrs()[leader] {
			t.Errorf("%v is led by node %d, of %v", p, leader, c.ListenAddrs())
		}
	}
	r.Names = []string{"nobody-made-this"}
	if _, err := framePlaces(t.Context(), r); err == nil || !strings.Contains(err.Error(), "no leader of partition 0 of nobody-made-this") {
		t.Errorf("a topic that is not there gives %v", err)
	}
}

// TestFrameSyncRefusals: brokers that do not know yet that they lead are asked again; other errors end the run.
func TestFrameSyncRefusals(t *testing.T) {
	for _, test := range []struct {
		code *kerr.Error
		want string
	}{
		{kerr.UnknownTopicOrPartition, ""},
		{kerr.NotLeaderForPartition, ""},
		{kerr.MessageTooLarge, "frame-sync: partition 0 of "},
	} {
		t.Run(test.code.Message, func(t *testing.T) {
			c := cluster(t)
			r := frameRun(t, c, "-records", "3", "-senders", "1", "-partitions", "1")
			var asked atomic.Int32
			c.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if asked.Add(1) > 2 {
					return nil, nil, false
				}
				response := request.ResponseKind().(*kmsg.ProduceResponse)
				topic := kmsg.NewProduceResponseTopic()
				topic.Topic = r.Names[0]
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.ErrorCode = test.code.Code
				topic.Partitions = append(topic.Partitions, partition)
				response.Topics = append(response.Topics, topic)
				return response, nil, true
			})
			client, err := openFrameSync(r)
			if err != nil {
				t.Fatal(err)
			}
			defer client.close()
			err = client.send(3)
			if test.want == "" && (err != nil || asked.Load() != 5) {
				t.Errorf("send returns %v after %d requests, want 5", err, asked.Load())
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.code.Message)) {
				t.Errorf("send returns %v, want %s and %s in it", err, test.want, test.code.Message)
			}
		})
	}
}

// TestFrameSyncAnswers gives a sender answers that a broker must not give.
func TestFrameSyncAnswers(t *testing.T) {
	place := framePlace{topic: "t", partition: 2}
	answer := func(change func(*kmsg.ProduceResponse)) []byte {
		response := kmsg.NewPtrProduceResponse()
		response.Version = frameVersion
		topic := kmsg.NewProduceResponseTopic()
		partition := kmsg.NewProduceResponseTopicPartition()
		topic.Topic, partition.Partition = place.topic, place.partition
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		change(response)
		b := response.AppendTo([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0})
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	good := answer(func(*kmsg.ProduceResponse) {})
	for _, test := range []struct {
		name, want string
		answer     []byte
	}{
		{"good", "", good},
		{"another partition", "answer: of partition 1 of t", answer(func(r *kmsg.ProduceResponse) { r.Topics[0].Partitions[0].Partition = 1 })},
		{"another topic", "answer: of partition 2 of u", answer(func(r *kmsg.ProduceResponse) { r.Topics[0].Topic = "u" })},
		{"no topic", "answer: not of one partition", answer(func(r *kmsg.ProduceResponse) { r.Topics = nil })},
		{"an error", "CORRUPT_MESSAGE", answer(func(r *kmsg.ProduceResponse) { r.Topics[0].Partitions[0].ErrorCode = 2 })},
		{"another request's", "answer to request 9, not to 1", append([]byte{0, 0, 0, 4}, 0, 0, 0, 9)},
		{"nothing behind the id", "answer: a header with tags", []byte{0, 0, 0, 4, 0, 0, 0, 1}},
		{"half an answer", "answer: ", append([]byte{0, 0, 0, 10}, good[4:14]...)},
		{"too short", "answer: length prefix 3", []byte{0, 0, 0, 3, 0, 0, 0}},
		{"too long", "answer: length prefix 2147483647", []byte{0x7f, 0xff, 0xff, 0xff}},
		{"an end within", "answer: unexpected EOF", good[:20]},
		{"an end", "answer: EOF", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				defer theirs.Close()
				var size [4]byte
				io.ReadFull(theirs, size[:])
				io.CopyN(io.Discard, theirs, int64(binary.BigEndian.Uint32(size[:])))
				theirs.Write(test.answer)
			}()
			c := newFrameConn(ours, place, 1, map[int][]byte{1: []byte("a batch")})
			err := c.exchange(c.frame)
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("exchange returns %v, want %q", err, test.want)
			}
		})
	}
}

// TestFrameSyncAllocatesNothing: the floor has no cost of its own.
func TestFrameSyncAllocatesNothing(t *testing.T) {
	place := framePlace{topic: "t"}
	loop := &echo{}
	c := newFrameConn(loop, place, 1, map[int][]byte{1: []byte("a batch")})
	loop.good = c.good
	if n := testing.AllocsPerRun(100, func() {
		if err := c.call(1); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a call allocates %v times", n)
	}
}

// echo is a connection that answers each request at once.
type echo struct {
	net.Conn
	good   []byte
	answer []byte
}

func (e *echo) Write(frame []byte) (int, error) {
	e.answer = binary.BigEndian.AppendUint32(e.answer[:0], uint32(4+len(e.good)))
	e.answer = append(e.answer, frame[frameCorrelationAt:frameCorrelationAt+4]...)
	e.answer = append(e.answer, e.good...)
	return len(frame), nil
}

func (e *echo) Read(b []byte) (int, error) { return copy(b, e.answer), nil }
