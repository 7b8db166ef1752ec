package apitest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Brokers whose answers are meant to do harm. Broker 1 is, and broker 2 is not. Topic "t" has partition 0 at broker 1 and
// partition 1 at broker 2.

// question is a request that broker 1 has got.
type question struct {
	id  int32 // correlation id
	req kmsg.Request
}

// frame is an answer with this body.
func (q question) frame(body []byte) []byte {
	f := binary.BigEndian.AppendUint32(make([]byte, 4, len(body)+9), uint32(q.id))
	if q.req.IsFlexible() && kmsg.Key(q.req.Key()) != kmsg.ApiVersions {
		f = append(f, 0)
	}
	f = append(f, body...)
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	return f
}

// good is the answer that is right.
func (q question) good() []byte { return q.frame(goodAnswer(q.req).AppendTo(nil)) }

// claim is the beginning of an answer of so many bytes.
func (q question) claim(length int) []byte {
	f := q.frame([]byte("0123456789"))
	binary.BigEndian.PutUint32(f, uint32(length))
	return f
}

// twoBrokers is a cluster in a synctest bubble.
type twoBrokers struct {
	key     kmsg.Key
	hostile func(question) (answer []byte, hangUp bool)

	serving sync.WaitGroup
	mu      sync.Mutex
	asked   int // requests with this key that broker 1 has got
}

// Dial implements proxy.Dialer.
func (c *twoBrokers) Dial(_, addr string) (net.Conn, error) {
	node := map[string]int{"one:9092": 1, "two:9092": 2}[addr]
	if node == 0 {
		return nil, fmt.Errorf("lookup %s: no such host", addr)
	}
	ours, theirs := net.Pipe()
	c.serving.Go(func() {
		defer theirs.Close()
		for {
			q, err := readQuestion(theirs)
			if err != nil {
				return
			}
			answer, hangUp := c.answer(node, q)
			if _, err := theirs.Write(answer); err != nil || hangUp {
				return
			}
		}
	})
	return ours, nil
}

func (c *twoBrokers) answer(node int, q question) (answer []byte, hangUp bool) {
	// Any broker is asked for a coordinator, in random order: there broker 2 does harm too.
	if kmsg.Key(q.req.Key()) == c.key && (node == 1 || c.key == kmsg.FindCoordinator) {
		c.mu.Lock()
		c.asked++
		c.mu.Unlock()
		return c.hostile(q)
	}
	return q.good(), false
}

func readQuestion(r io.Reader) (question, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return question{}, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, p); err != nil {
		return question{}, err
	}
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(p)))
	req.SetVersion(int16(binary.BigEndian.Uint16(p[2:])))
	q := question{int32(binary.BigEndian.Uint32(p[4:])), req}
	p = p[10+int(binary.BigEndian.Uint16(p[8:])):]
	if req.IsFlexible() {
		p = p[1:]
	}
	return q, req.ReadFrom(p)
}

func goodAnswer(kreq kmsg.Request) kmsg.Response {
	switch resp := kreq.ResponseKind().(type) {
	case *kmsg.ApiVersionsResponse:
		for key, highest := range map[kmsg.Key]int16{
			kmsg.Produce: 11, kmsg.Metadata: 12, kmsg.ApiVersions: 3, kmsg.FindCoordinator: 4, kmsg.InitProducerID: 4,
			kmsg.AddPartitionsToTxn: 3, kmsg.AddOffsetsToTxn: 3, kmsg.EndTxn: 3, kmsg.TxnOffsetCommit: 3,
		} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(key), MaxVersion: highest})
		}
		return resp
	case *kmsg.MetadataResponse:
		resp.ClusterID = kmsg.StringPtr("cluster")
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "one", Port: 9092}, {NodeID: 2, Host: "two", Port: 9092}}
		for _, asked := range kreq.(*kmsg.MetadataRequest).Topics {
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.TopicID = asked.Topic, [16]byte{1}
			for p := range int32(2) {
				partition := kmsg.NewMetadataResponseTopicPartition()
				partition.Partition, partition.Leader = p, p+1
				topic.Partitions = append(topic.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp
	case *kmsg.ProduceResponse:
		for _, asked := range kreq.(*kmsg.ProduceRequest).Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
			for _, p := range asked.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition = p.Partition
				topic.Partitions = append(topic.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp
	case *kmsg.FindCoordinatorResponse:
		resp.NodeID, resp.Host, resp.Port = 1, "one", 9092
		for _, key := range kreq.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: 1, Host: "one", Port: 9092})
		}
		return resp
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID = 7
		return resp
	case *kmsg.AddPartitionsToTxnResponse:
		for _, asked := range kreq.(*kmsg.AddPartitionsToTxnRequest).Topics {
			topic := kmsg.AddPartitionsToTxnResponseTopic{Topic: asked.Topic}
			for _, p := range asked.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p})
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp
	case *kmsg.TxnOffsetCommitResponse:
		for _, asked := range kreq.(*kmsg.TxnOffsetCommitRequest).Topics {
			topic := kmsg.TxnOffsetCommitResponseTopic{Topic: asked.Topic}
			for _, p := range asked.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition})
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp
	default:
		return resp
	}
}

// evil is a text that must be neither in an error nor in a log as it is.
var evil = strings.Repeat("evil\x1b[2J\x00\u202e\n", 1<<20/12)

// evilShort fits into answers to small requests.
var evilShort = evil[:20_000]

// spoil answers with what change makes of the right answer.
func spoil[R kmsg.Response](change func(R)) func(question) ([]byte, bool) {
	return func(q question) ([]byte, bool) {
		resp := goodAnswer(q.req).(R)
		change(resp)
		return q.frame(resp.AppendTo(nil)), false
	}
}

// anyKind are answers that do harm to each kind of request.
var anyKind = map[string]func(question) (answer []byte, hangUp bool){
	"length 0":               func(q question) ([]byte, bool) { return q.claim(0), false },
	"length 3":               func(q question) ([]byte, bool) { return q.claim(3), false },
	"negative length":        func(q question) ([]byte, bool) { return q.claim(-1), false },
	"claims 100 MiB":         func(q question) ([]byte, bool) { return q.claim(100 << 20), false },
	"claims 100 MiB, closes": func(q question) ([]byte, bool) { return q.claim(100 << 20), true },
	"claims 2 GiB":           func(q question) ([]byte, bool) { return q.claim(1<<31 - 1), false },
	"nothing":                func(q question) ([]byte, bool) { return nil, false },
	"closes":                 func(q question) ([]byte, bool) { return nil, true },
	"wrong correlation id":   func(q question) ([]byte, bool) { q.id += 1000; return q.good(), false },
	"nobody asked":           func(q question) ([]byte, bool) { return append(q.good(), q.good()...), false },
	"cut short":              func(q question) ([]byte, bool) { f := q.good(); return f[:len(f)-2], true },
	"no body":                func(q question) ([]byte, bool) { return q.frame(nil), false },
	"half a body": func(q question) ([]byte, bool) {
		body := goodAnswer(q.req).AppendTo(nil)
		return q.frame(body[:len(body)/2]), false
	},
	"zeros":            func(q question) ([]byte, bool) { return q.frame(make([]byte, 100)), false },
	"ones":             func(q question) ([]byte, bool) { return q.frame(bytes.Repeat([]byte{0xff}, 100)), false },
	"large counts":     func(q question) ([]byte, bool) { return q.frame(bytes.Repeat([]byte{0x7f}, 100)), false },
	"200 KiB of zeros": func(q question) ([]byte, bool) { return q.frame(make([]byte, 200<<10)), false },
	"200 KiB of counts": func(q question) ([]byte, bool) {
		return q.frame(append(make([]byte, 6), bytes.Repeat([]byte{0, 0x0f}, 100<<10)...)), false
	},
	"tags": func(q question) ([]byte, bool) {
		body := goodAnswer(q.req).AppendTo(nil)
		return q.frame(append(body[:len(body)-1], 0xff, 0xff, 0xff, 0xff, 0x0f)), false
	},
}

// oneKind are answers that do harm to one kind of request.
var oneKind = []struct {
	name string
	key  kmsg.Key
	how  func(question) (answer []byte, hangUp bool)
	// lies: the answer makes sense, so that messages for the good broker may fail with it.
	lies bool
}{
	{"no versions", kmsg.ApiVersions, spoil(func(r *kmsg.ApiVersionsResponse) { r.ApiKeys = nil }), false},
	{"odd versions", kmsg.ApiVersions, spoil(func(r *kmsg.ApiVersionsResponse) {
		for i := range r.ApiKeys {
			r.ApiKeys[i].MinVersion, r.ApiKeys[i].MaxVersion = 32767, -32768
		}
	}), false},
	{"unknown code", kmsg.ApiVersions, spoil(func(r *kmsg.ApiVersionsResponse) { r.ErrorCode = 12345 }), false},
	{"again and again", kmsg.ApiVersions, spoil(func(r *kmsg.ApiVersionsResponse) { r.ErrorCode = 35 }), false},

	{"evil texts", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) {
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Rack = evilShort, &evilShort
		}
		r.Topics = append(r.Topics, kmsg.MetadataResponseTopic{Topic: &evilShort, ErrorCode: 29})
	}), true},
	{"evil cluster", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) { r.ClusterID = &evil }), true},
	{"topics never asked for", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) {
		for i := range 1000 {
			r.Topics = append(r.Topics, kmsg.MetadataResponseTopic{Topic: kmsg.StringPtr(fmt.Sprint("other", i))})
		}
	}), false},
	{"unknown code", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) {
		for i := range r.Topics {
			r.Topics[i].ErrorCode = 12345
		}
	}), false},
	{"odd partitions", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				p.Partition, p.Leader, p.LeaderEpoch = -p.Partition-1, -7, -9
			}
		}
	}), true},
	{"leaders that do not exist", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].Leader, r.Topics[i].Partitions[j].LeaderEpoch = 1<<31-1, 1<<31-1
			}
		}
	}), true},
	{"60,000 brokers", kmsg.Metadata, spoil(func(r *kmsg.MetadataResponse) { r.Brokers = make([]kmsg.MetadataResponseBroker, 60_000) }), false},

	{"evil texts", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) {
		p := &r.Topics[0].Partitions[0]
		p.ErrorCode, p.ErrorMessage = int16(sarama.ErrInvalidRecord), &evil
		p.ErrorRecords = []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 0, ErrorMessage: &evil}}
	}), false},
	{"record errors that are not there", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) {
		p := &r.Topics[0].Partitions[0]
		p.ErrorCode, p.ErrorRecords = 87, make([]kmsg.ProduceResponseTopicPartitionErrorRecord, 100_000)
		for i := range p.ErrorRecords {
			p.ErrorRecords[i].RelativeOffset = int32(i) - 50_000
		}
	}), false},
	{"unknown code", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) { r.Topics[0].Partitions[0].ErrorCode = 12345 }), false},
	{"negative code", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) { r.Topics[0].Partitions[0].ErrorCode = -32768 }), false},
	{"other partitions", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) {
		r.Topics[0].Partitions[0].Partition = 77
		r.Topics = append(r.Topics, kmsg.ProduceResponseTopic{Topic: evil, Partitions: r.Topics[0].Partitions})
	}), false},
	{"no partitions", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) { r.Topics = nil }), false},
	{"odd leader", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) {
		p := &r.Topics[0].Partitions[0]
		p.ErrorCode, p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = 6, 9, 1<<31-1
		for i := range int32(1000) {
			r.Brokers = append(r.Brokers, kmsg.ProduceResponseBroker{NodeID: 9 + i, Host: evilShort, Port: -1, Rack: &evilShort})
		}
	}), false},
	{"a long throttle", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) { r.ThrottleMillis = 1<<31 - 1 }), false},
	{"a negative throttle", kmsg.Produce, spoil(func(r *kmsg.ProduceResponse) { r.ThrottleMillis = -1 << 31 }), false},

	{"unknown code", kmsg.InitProducerID, spoil(func(r *kmsg.InitProducerIDResponse) { r.ErrorCode = 12345 }), false},
	{"odd id", kmsg.InitProducerID, spoil(func(r *kmsg.InitProducerIDResponse) { r.ProducerID, r.ProducerEpoch = -5, -7 }), true},

	{"evil texts", kmsg.FindCoordinator, spoil(func(r *kmsg.FindCoordinatorResponse) {
		r.Coordinators[0].Host, r.Coordinators[0].ErrorMessage, r.Coordinators[0].Key = evilShort, &evilShort, "txn"
	}), true},
	{"evil refusal", kmsg.FindCoordinator, spoil(func(r *kmsg.FindCoordinatorResponse) {
		r.Coordinators[0].ErrorCode, r.Coordinators[0].ErrorMessage = 53, &evilShort
	}), true},
	{"no coordinators", kmsg.FindCoordinator, spoil(func(r *kmsg.FindCoordinatorResponse) { r.Coordinators = nil }), true},
	{"unknown code", kmsg.AddPartitionsToTxn, spoil(func(r *kmsg.AddPartitionsToTxnResponse) {
		r.Topics[0].Partitions[0].ErrorCode = 12345
	}), true},
	{"topics never asked for", kmsg.AddPartitionsToTxn, spoil(func(r *kmsg.AddPartitionsToTxnResponse) {
		r.Topics[0].Topic = evil[:60_000]
	}), true},
	{"unknown code", kmsg.EndTxn, spoil(func(r *kmsg.EndTxnResponse) { r.ErrorCode = 12345 }), true},
}

// hostileTimeout is the delivery timeout. All that is waited for ends soon after it.
const hostileTimeout = 20 * time.Second

func TestHostileBroker(t *testing.T) {
	run := func(name string, key kmsg.Key, how func(question) ([]byte, bool), lies bool) {
		t.Run(fmt.Sprint(kmsg.NameForKey(int16(key)), " ", name), func(t *testing.T) {
			switch key {
			case kmsg.FindCoordinator, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn, kmsg.TxnOffsetCommit:
				testHostileCoordinator(t, &twoBrokers{key: key, hostile: how})
			case kmsg.InitProducerID:
				testHostileBroker(t, &twoBrokers{key: key, hostile: how}, lies)
				testHostileCoordinator(t, &twoBrokers{key: key, hostile: how})
			default:
				testHostileBroker(t, &twoBrokers{key: key, hostile: how}, lies)
			}
		})
	}
	for _, key := range []kmsg.Key{
		kmsg.ApiVersions, kmsg.Metadata, kmsg.Produce, kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.AddPartitionsToTxn,
		kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn,
	} {
		for name, how := range anyKind {
			run(name, key, how, false)
		}
	}
	for _, test := range oneKind {
		run(test.name, test.key, test.how, test.lies)
	}
}

func (c *twoBrokers) config() *sarama.Config {
	conf := idempotent(testConfig())
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, c
	conf.Net.ReadTimeout = 3 * time.Second
	conf.Producer.Retry.Backoff, conf.Metadata.Retry.Backoff = time.Second, time.Second
	return conf
}

// testHostileBroker sends to both brokers. Each message has one outcome, in time; those of the good broker are written.
func testHostileBroker(t *testing.T, c *twoBrokers, lies bool) {
	synctest.Test(t, func(t *testing.T) {
		logged := captureLog(t)
		seeds := []string{"one:9092", "two:9092"}
		if lies {
			seeds = seeds[:1] // else broker 2 may answer all look-ups
		}
		p, err := sluice.New(seeds, c.config(), sluice.WithDeliveryTimeout(hostileTimeout))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		const n = 10
		send(p, messages(n, 2)...)
		outcomes := map[*sarama.ProducerMessage]int{}
		for range n {
			select {
			case msg := <-p.Successes():
				outcomes[msg]++
			case failed := <-p.Errors():
				outcomes[failed.Msg]++
				wantHarmless(t, failed.Err.Error())
				if failed.Msg.Partition == 1 && !lies {
					t.Errorf("a message for the good broker failed: %v", failed.Err)
				}
			case <-time.After(2 * hostileTimeout):
				t.Fatalf("%d of %d outcomes", len(outcomes), n)
			}
		}
		if took := time.Since(start); took > hostileTimeout+time.Second {
			t.Errorf("the outcomes took %v", took)
		}
		c.closeAll(t, p)
		if len(outcomes) != n {
			t.Errorf("%d messages have %d outcomes", len(outcomes), n)
		}
		if c.asked == 0 && c.key != kmsg.InitProducerID {
			t.Error("the hostile broker was not asked")
		}
		wantHarmlessLog(t, logged)
	})
}

// testHostileCoordinator sends in a transaction. Begin, send and commit end, in time, each with or without an error.
func testHostileCoordinator(t *testing.T, c *twoBrokers) {
	synctest.Test(t, func(t *testing.T) {
		logged := captureLog(t)
		conf := c.config()
		conf.Producer.Transaction.ID = "txn"
		conf.Producer.Transaction.Timeout = 30 * time.Second
		start := time.Now()
		p, err := sluice.New([]string{"one:9092", "two:9092"}, conf, sluice.WithDeliveryTimeout(hostileTimeout))
		if err != nil {
			wantHarmless(t, err.Error())
			c.serving.Wait()
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), hostileTimeout)
		defer cancel()
		if err := p.BeginTxn(); err == nil {
			const n = 10
			send(p, messages(n, 2)...)
			for i := range n {
				select {
				case <-p.Successes():
				case failed := <-p.Errors():
					wantHarmless(t, failed.Err.Error())
				case <-time.After(2 * hostileTimeout):
					t.Fatalf("%d of %d outcomes", i, n)
				}
			}
			offsets := map[string][]*sarama.PartitionOffsetMetadata{"in": {{Partition: 1, Offset: 5}}}
			if err := p.AddOffsetsToTxn(offsets, "group"); err != nil {
				wantHarmless(t, err.Error())
			}
			if err := p.CommitTxnContext(ctx); err != nil {
				wantHarmless(t, err.Error())
			}
		} else {
			wantHarmless(t, err.Error())
		}
		if took := time.Since(start); took > 3*hostileTimeout {
			t.Errorf("it took %v", took)
		}
		c.closeAll(t, p)
		wantHarmlessLog(t, logged)
	})
}

// closeAll closes the producer, and waits for the brokers' ends of its connections.
func (c *twoBrokers) closeAll(t *testing.T, p *sluice.Producer) {
	ctx, cancel := context.WithTimeout(t.Context(), hostileTimeout)
	defer cancel()
	if err := p.CloseContext(ctx); err != nil {
		wantHarmless(t, err.Error())
		if errs := (sarama.ProducerErrors)(nil); errors.As(err, &errs) && len(errs) > 0 {
			t.Errorf("Close knows of %d more failures", len(errs))
		}
	}
	c.serving.Wait()
}

// wantHarmless checks a text that may hold a broker's.
func wantHarmless(t *testing.T, text string) {
	t.Helper()
	if len(text) > 6000 || strings.ContainsAny(text, "\x1b\x00\u202e") || strings.Contains(text, "\nevil") {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}

func wantHarmlessLog(t *testing.T, l *logLines) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		wantHarmless(t, line)
	}
}
