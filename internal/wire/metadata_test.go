package wire

import (
	"errors"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// askedFor is a request of this version for these topics, or for all without any.
func askedFor(version int16, topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	return req
}

var someTopics = []string{"", "a", "b", "topic-of-a-longer-name"}

// randomMetadata has all that an answer can have, and tags that nobody knows.
func randomMetadata(r *rand.Rand, version int16) *kmsg.MetadataResponse {
	text := func() *string {
		if r.IntN(3) == 0 {
			return nil
		}
		s := []string{"", "x", "rack-1", "host.example.org", "::1", "é\x00\xff"}[r.IntN(6)]
		return &s
	}
	str := func() string {
		if s := text(); s != nil {
			return *s
		}
		return ""
	}
	number := func() int32 { return []int32{-1, 0, 1, 9092, 1 << 30, -1 << 31}[r.IntN(6)] }
	numbers := func() (all []int32) {
		for range r.IntN(4) {
			all = append(all, number())
		}
		return all
	}
	tags := func() (t kmsg.Tags) {
		if r.IntN(3) == 0 {
			t.Set(uint32(r.IntN(1000)), make([]byte, r.IntN(200)))
		}
		return t
	}
	m := kmsg.NewPtrMetadataResponse()
	m.Version, m.ThrottleMillis, m.ClusterID, m.ControllerID = version, number(), text(), number()
	m.AuthorizedOperations, m.ErrorCode, m.UnknownTags = number(), int16(number()), tags()
	for range r.IntN(5) {
		m.Brokers = append(m.Brokers, kmsg.MetadataResponseBroker{
			NodeID: number(), Host: str(), Port: number(), Rack: text(), UnknownTags: tags(),
		})
	}
	for range r.IntN(6) {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = &someTopics[r.IntN(len(someTopics))]
		if version >= 12 && r.IntN(5) == 0 {
			topic.Topic = nil
		}
		topic.ErrorCode, topic.TopicID = int16(r.IntN(2)*int(number())), [16]byte{byte(r.IntN(256))}
		topic.IsInternal, topic.AuthorizedOperations, topic.UnknownTags = r.IntN(2) == 0, number(), tags()
		for range r.IntN(20) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.ErrorCode, p.Partition, p.Leader, p.LeaderEpoch = int16(number()), number(), number(), number()
			p.Replicas, p.ISR, p.OfflineReplicas, p.UnknownTags = numbers(), numbers(), numbers(), tags()
			topic.Partitions = append(topic.Partitions, p)
		}
		m.Topics = append(m.Topics, topic)
	}
	return m
}

// wantMetadata is what ReadMetadata makes of what kmsg has decoded.
func wantMetadata(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) *Metadata {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return nameText([]byte(*s))
	}
	rack := func(s *string) string {
		if s == nil || !flow.IsPrintable(*s) || len(*s) > longestName {
			return ""
		}
		return *s
	}
	m := &Metadata{
		Throttle: time.Duration(resp.ThrottleMillis) * time.Millisecond, ClusterID: text(resp.ClusterID), Code: resp.ErrorCode,
		Brokers: []MetadataBroker{}, Topics: []MetadataTopic{},
	}
	for _, b := range resp.Brokers {
		addr := net.JoinHostPort(text(&b.Host), strconv.Itoa(int(b.Port)))
		m.Brokers = append(m.Brokers, MetadataBroker{ID: b.NodeID, Addr: addr, Rack: rack(b.Rack)})
	}
	named := map[string]bool{}
	for _, t := range req.Topics {
		named[*t.Topic] = true
	}
	for _, t := range resp.Topics {
		if len(req.Topics) == 0 && (t.Topic == nil || *t.Topic == "" || t.ErrorCode != 0 || len(t.Partitions) == 0) {
			continue
		}
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		if len(req.Topics) > 0 && !named[name] {
			continue
		}
		delete(named, name)
		topic := MetadataTopic{Name: name, ID: t.TopicID, Code: t.ErrorCode, Partitions: []MetadataPartition{}}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, MetadataPartition{ID: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch, Code: p.ErrorCode})
		}
		m.Topics = append(m.Topics, topic)
	}
	return m
}

// compareMetadata reads body as ReadMetadata and as kmsg does.
func compareMetadata(t *testing.T, req *kmsg.MetadataRequest, body []byte) {
	t.Helper()
	got, err := ReadMetadata(req, body)
	if err != nil && !errors.Is(err, ErrMalformedAnswer) {
		t.Fatal(err)
	}
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	if err != nil && mayTakeLong(resp, body) {
		return
	}
	if kmsgs := resp.ReadFrom(body); (kmsgs == nil) != (err == nil) {
		t.Fatalf("v%d: kmsg says %v, we %v", req.Version, kmsgs, err)
	}
	if err != nil {
		return
	}
	if want := wantMetadata(req, resp); !reflect.DeepEqual(got, want) {
		t.Fatalf("v%d:\n%+v, want\n%+v", req.Version, got, want)
	}
}

// mayTakeLong tells whether kmsg may find large numbers in compact form in body. It would take memory for as many elements, or a
// step for each tag, or take a length beyond 1<<31 for null.
func mayTakeLong(resp kmsg.Response, body []byte) bool {
	high := 0
	for _, b := range body {
		if high++; b < 0x80 {
			high = 0
		}
		if high >= 3 {
			return resp.IsFlexible()
		}
	}
	return false
}

// TestMetadataOfEachVersion: random answers are read as kmsg reads them, whatever is asked for, and none that is cut short.
func TestMetadataOfEachVersion(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for version := int16(0); version <= kmsg.NewPtrMetadataRequest().MaxVersion(); version++ {
		for range 300 {
			body := randomMetadata(r, version).AppendTo(nil)
			req := askedFor(version, someTopics[:r.IntN(len(someTopics)+1)]...)
			compareMetadata(t, req, body)
			if _, err := ReadMetadata(req, body[:r.IntN(len(body))]); !errors.Is(err, ErrMalformedAnswer) {
				t.Fatalf("v%d: cut short: %v", version, err)
			}
		}
	}
}

// FuzzMetadata: arbitrary bytes are read as kmsg reads them, or refused where it refuses them.
func FuzzMetadata(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for version := int16(0); version <= kmsg.NewPtrMetadataRequest().MaxVersion(); version++ {
		for range 3 {
			f.Add(version, true, randomMetadata(r, version).AppendTo(nil))
			f.Add(version, false, randomMetadata(r, version).AppendTo(nil))
		}
	}
	f.Add(int16(12), true, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3})
	f.Add(int16(0), true, []byte{0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, version int16, all bool, body []byte) {
		if version < 0 || version > kmsg.NewPtrMetadataRequest().MaxVersion() || len(body) > 64<<10 {
			return
		}
		req := askedFor(version)
		if !all {
			req = askedFor(version, someTopics...)
		}
		compareMetadata(t, req, body)
	})
}

// TestTooManyBrokers: they are refused, and the error says why.
func TestTooManyBrokers(t *testing.T) {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Brokers = make([]kmsg.MetadataResponseBroker, mostBrokers)
	req := askedFor(0)
	if m, err := ReadMetadata(req, resp.AppendTo(nil)); err != nil || len(m.Brokers) != mostBrokers {
		t.Error(err)
	}
	resp.Brokers = make([]kmsg.MetadataResponseBroker, mostBrokers+1)
	_, err := ReadMetadata(req, resp.AppendTo(nil))
	mustError(t, err, ErrMalformedAnswer)
	if !strings.Contains(err.Error(), "50001 brokers") {
		t.Error(err)
	}
}

// TestManyTopics: an answer about all topics of a large cluster is kept whole. Of one of topics that would take much more than
// it does, what does not fit is left out, and nothing else.
func TestManyTopics(t *testing.T) {
	for _, shape := range []struct {
		topics, partitions, replicas int
		whole                        bool
	}{
		{30_000, 6, 3, true}, {30_000, 1, 1, true}, {100_000, 12, 3, true}, {200_000, 1, 1, false},
	} {
		resp := kmsg.NewPtrMetadataResponse()
		resp.Version = 12
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Replicas, p.ISR = make([]int32, shape.replicas), make([]int32, shape.replicas)
		partitions := slices.Repeat([]kmsg.MetadataResponseTopicPartition{p}, shape.partitions)
		for i := range shape.topics {
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.Partitions = kmsg.StringPtr("team.service.event-"+strconv.Itoa(i)), partitions
			resp.Topics = append(resp.Topics, topic)
		}
		m, err := ReadMetadata(askedFor(12), resp.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(m.Topics); (n == shape.topics) != shape.whole || n < 20_000 {
			t.Errorf("%+v: %d topics are kept", shape, n)
		}
		for i, topic := range m.Topics {
			if topic.Name != *resp.Topics[i].Topic || len(topic.Partitions) != shape.partitions {
				t.Fatalf("%+v: topic %d is %q", shape, i, topic.Name)
			}
		}
	}
}
