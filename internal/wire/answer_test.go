package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerFrom makes an answer of arbitrary bytes, and its request.
func answerFrom(data []byte, version int16) (*kmsg.ProduceResponse, *ProduceRequest) {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	text := func() *string {
		if next()%2 == 0 {
			return nil
		}
		s := fmt.Sprintf("%0*d", next()+1, 1)
		return &s
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = version
	resp.ThrottleMillis = int32(next() * next())
	r := &ProduceRequest{}
	for t := range next() % 4 {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = fmt.Sprintf("topic-%d", t), [16]byte{byte(t + 1)}
		for p := range next() % 20 {
			a := kmsg.NewProduceResponseTopicPartition()
			a.Partition, a.ErrorCode, a.BaseOffset, a.LogAppendTime = int32(p), int16(next()), int64(next()-1), int64(next()-1)
			a.ErrorMessage = text()
			for range next() % 3 {
				record := kmsg.NewProduceResponseTopicPartitionErrorRecord()
				record.RelativeOffset, record.ErrorMessage = int32(next()), text()
				a.ErrorRecords = append(a.ErrorRecords, record)
			}
			if next()%2 == 1 {
				a.CurrentLeader.LeaderID, a.CurrentLeader.LeaderEpoch = int32(next()), int32(next())
			}
			topic.Partitions = append(topic.Partitions, a)
			r.Partitions = append(r.Partitions, ProducePartition{Topic: topic.Topic, TopicID: topic.TopicID, Partition: a.Partition})
		}
		resp.Topics = append(resp.Topics, topic)
	}
	for range next() % 3 {
		resp.Brokers = append(resp.Brokers, kmsg.ProduceResponseBroker{NodeID: int32(next()), Host: "h", Port: int32(next()), Rack: text()})
	}
	// Brokers may answer in another order.
	for i := range resp.Topics {
		j := next() % len(resp.Topics)
		resp.Topics[i], resp.Topics[j] = resp.Topics[j], resp.Topics[i]
		p := resp.Topics[i].Partitions
		for k := range p {
			l := next() % len(p)
			p[k], p[l] = p[l], p[k]
		}
	}
	return resp, r
}

// compareAnswer compares our decoding with that of kmsg. Of several answers for a partition the last counts.
func compareAnswer(t *testing.T, resp *kmsg.ProduceResponse, r *ProduceRequest) {
	t.Helper()
	want := make([]ProduceAnswer, len(r.Partitions))
	for i := range want {
		want[i] = ProduceAnswer{BaseOffset: -1, AppendTime: -1, LeaderID: -1, LeaderEpoch: -1, Missing: true}
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			i := slices.IndexFunc(r.Partitions, func(q ProducePartition) bool {
				same := q.Topic == topic.Topic
				if resp.Version >= 13 {
					same = q.TopicID == topic.TopicID
				}
				return same && q.Partition == p.Partition
			})
			if i < 0 {
				continue
			}
			want[i] = ProduceAnswer{
				Code: p.ErrorCode, BaseOffset: p.BaseOffset, AppendTime: p.LogAppendTime,
				LeaderID: p.CurrentLeader.LeaderID, LeaderEpoch: p.CurrentLeader.LeaderEpoch,
				Message: messageOf(p), RecordErrors: recordErrorsOf(p),
			}
		}
	}
	if !slices.EqualFunc(r.Answers, want, func(a, b ProduceAnswer) bool { return reflect.DeepEqual(a, b) }) {
		t.Fatalf("v%d: answers\n%+v, want\n%+v", resp.Version, r.Answers, want)
	}
	var nodes []NodeEndpoint
	for _, b := range resp.Brokers {
		rack := ""
		if b.Rack != nil {
			rack = *b.Rack
		}
		nodes = append(nodes, NodeEndpoint{b.NodeID, nameText([]byte(b.Host)), b.Port, nameText([]byte(rack))})
	}
	nodes = nodes[:min(len(nodes), len(r.Partitions))]
	if !slices.Equal(r.Nodes, nodes) {
		t.Fatalf("v%d: nodes %+v, want %+v", resp.Version, r.Nodes, nodes)
	}
}

func recordErrorsOf(p kmsg.ProduceResponseTopicPartition) (errs []RecordError) {
	for _, e := range p.ErrorRecords {
		text := ""
		if e.ErrorMessage != nil {
			text = cutText([]byte(*e.ErrorMessage))
		}
		errs = append(errs, RecordError{e.RelativeOffset, text})
	}
	return errs
}

func messageOf(p kmsg.ProduceResponseTopicPartition) string {
	if p.ErrorMessage != nil && *p.ErrorMessage != "" {
		return cutText([]byte(*p.ErrorMessage))
	}
	for _, record := range p.ErrorRecords {
		if record.ErrorMessage != nil && *record.ErrorMessage != "" {
			return fmt.Sprintf("record %d: %s", record.RelativeOffset, cutText([]byte(*record.ErrorMessage)))
		}
	}
	return ""
}

// FuzzProduceAnswer: we decode every answer that kmsg encodes.
func FuzzProduceAnswer(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x02\x03\x0a\x05\x02\x07\x03abc\xff\xffxyz\x80\x80\x11\x12\x13\x14\x15\x16\x17"))
	f.Add(bytes.Repeat([]byte{19}, 600))
	var d answerDecoder
	f.Fuzz(func(t *testing.T, data []byte) {
		for version := int16(produceMin); version <= produceTopicID; version++ {
			resp, r := answerFrom(data, version)
			body := resp.AppendTo(nil)
			throttle, err := d.decode(r, version, body)
			if err != nil || throttle != time.Duration(resp.ThrottleMillis)*time.Millisecond {
				t.Fatalf("v%d: throttle %v, %v", version, throttle, err)
			}
			read := kmsg.NewPtrProduceResponse()
			read.Version = version
			if err := read.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			compareAnswer(t, read, r)
			// A shorter answer is refused.
			for n := 0; n < len(body); n += 1 + len(body)/30 {
				if _, err := d.decode(r, version, body[:n]); !errors.Is(err, ErrMalformedAnswer) {
					t.Fatalf("v%d: %d of %d bytes: %v", version, n, len(body), err)
				}
			}
		}
	})
}

// FuzzHostileAnswer: arbitrary bytes are decoded as kmsg does, or refused.
func FuzzHostileAnswer(f *testing.F) {
	for version := int16(produceMin); version <= produceTopicID; version++ {
		resp, _ := answerFrom(bytes.Repeat([]byte{7, 3}, 60), version)
		f.Add(version, resp.AppendTo(nil))
	}
	f.Add(int16(9), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3})
	f.Add(int16(3), []byte{0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < produceMin || version > produceTopicID {
			return
		}
		r := &ProduceRequest{}
		for i := range int32(12) {
			r.Partitions = append(r.Partitions, ProducePartition{Topic: "topic-0", TopicID: [16]byte{1}, Partition: i})
		}
		var d answerDecoder
		if _, err := d.decode(r, version, body); err != nil {
			return
		}
		read := kmsg.NewPtrProduceResponse()
		read.Version = version
		if err := read.ReadFrom(body); err != nil {
			t.Fatalf("v%d: kmsg refuses what was accepted: %v", version, err)
		}
		compareAnswer(t, read, r)
	})
}

func TestAnswersForOthersArePassedOver(t *testing.T) {
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = 9
	for _, name := range []string{"other", "b", "a"} {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = name
		for _, p := range []int32{99, 1, 0} {
			a := kmsg.NewProduceResponseTopicPartition()
			a.Partition, a.BaseOffset = p, int64(p)
			topic.Partitions = append(topic.Partitions, a)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	r := &ProduceRequest{
		Partitions: []ProducePartition{{Topic: "a", Partition: 0}, {Topic: "a", Partition: 2}, {Topic: "b", Partition: 1}},
		Answers:    make([]ProduceAnswer, 0, 3),
	}
	memory := &r.Answers[:1][0]
	var d answerDecoder
	if _, err := d.decode(r, 9, resp.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if r.Answers[0].Missing || !r.Answers[1].Missing || r.Answers[2].Missing || r.Answers[2].BaseOffset != 1 {
		t.Errorf("%+v", r.Answers)
	}
	if &r.Answers[0] != memory {
		t.Error("Answers was not reused")
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{4, 1000} {
		for _, order := range []string{"same", "reversed"} {
			b.Run(fmt.Sprintf("partitions=%d/order=%s", n, order), func(b *testing.B) {
				resp := kmsg.NewPtrProduceResponse()
				resp.Version = 12
				topic := kmsg.NewProduceResponseTopic()
				topic.Topic = "topic"
				r := &ProduceRequest{}
				for i := range int32(n) {
					a := kmsg.NewProduceResponseTopicPartition()
					a.Partition = i
					topic.Partitions = append(topic.Partitions, a)
					r.Partitions = append(r.Partitions, ProducePartition{Topic: "topic", Partition: i})
				}
				if order == "reversed" {
					slices.Reverse(topic.Partitions)
				}
				resp.Topics = append(resp.Topics, topic)
				body := resp.AppendTo(nil)
				var d answerDecoder
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.decode(r, 12, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
