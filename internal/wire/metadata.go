package wire

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metadata is an answer to Metadata, with what a producer needs of it.
type Metadata struct {
	Throttle  time.Duration
	Brokers   []MetadataBroker
	ClusterID string // Empty: unknown
	// Topics are those that were asked for and answered, each once. If the request names none, they are those that came
	// without an error, as long as they take only some times the memory of the answer: see fits.
	Topics []MetadataTopic
	Code   int16 // A sarama.KError
}

// MetadataBroker is a broker of the cluster. Addr is fit for errors and logs.
type MetadataBroker struct {
	ID   int32
	Addr string // host:port
	Rack string // Empty: unknown, or not fit for logs
}

// MetadataTopic is one topic of an answer.
type MetadataTopic struct {
	Name       string
	ID         [16]byte // Zero: unknown
	Code       int16    // A sarama.KError
	Partitions []MetadataPartition
}

// MetadataPartition is one partition of a topic.
type MetadataPartition struct {
	ID, Leader int32
	Epoch      int32 // -1: unknown
	Code       int16 // A sarama.KError
}

// mostBrokers bounds the brokers of an answer: each may take 20 times its size in memory.
const mostBrokers = 50_000

// What a broker, a topic and a partition of an answer take in memory, with what package metadata makes of them.
const (
	brokerMemory    = 200
	topicMemory     = 450
	partitionMemory = 40
)

// ReadMetadata reads an answer, v0 to v13, to req in the version that req has. If req names topics, others are passed over.
func ReadMetadata(req *kmsg.MetadataRequest, body []byte) (*Metadata, error) {
	version := req.Version
	d := decoder{src: body, flexible: req.IsFlexible()}
	m := &Metadata{}
	if version >= 3 {
		m.Throttle = time.Duration(d.int32()) * time.Millisecond
	}
	n := d.count(d.byFormat(10, 11))
	if n > mostBrokers {
		return nil, fmt.Errorf("%w: it names %d brokers, at most %d are read", malformed(req, len(body)), n, mostBrokers)
	}
	m.Brokers = make([]MetadataBroker, n)
	for i := range m.Brokers {
		if d.bad {
			break
		}
		b := &m.Brokers[i]
		b.ID = d.int32()
		host := d.string()
		b.Addr = net.JoinHostPort(nameText(host), strconv.Itoa(int(d.int32())))
		if version >= 1 {
			if rack, ok := plainName(d.nullableString()); ok {
				b.Rack = rack
			}
		}
		d.tags(nil)
	}
	if version >= 2 {
		m.ClusterID = nameText(d.nullableString())
	}
	if version >= 1 {
		d.int32() // The controller
	}
	if len(req.Topics) == 0 {
		m.Topics = d.allTopics(version, 3*len(body)+12<<20-n*brokerMemory)
	} else {
		m.Topics = d.askedTopics(version, req.Topics)
	}
	if version >= 8 && version <= 10 {
		d.int32() // Authorized operations
	}
	if version >= 13 {
		m.Code = d.int16() // KIP-1102
	}
	d.tags(nil)
	if d.bad {
		return nil, malformed(req, len(body))
	}
	return m, nil
}

// wanted decides about a topic that has so many partitions, by the answer's claim.
type wanted func(name []byte, code int16, partitions int) bool

// topicCount reads how many topics follow.
func (d *decoder) topicCount() int { return d.count(d.byFormat(8, 10)) }

// topic reads one topic, or passes it over.
func (d *decoder) topic(version int16, want wanted) (t MetadataTopic, ok bool) {
	code := d.int16()
	var name []byte
	if version < 12 {
		name = d.string()
	} else {
		name = d.nullableString()
	}
	var id [16]byte
	if version >= 10 {
		copy(id[:], d.take(16))
	}
	if version >= 1 {
		d.bool() // Internal
	}
	n := d.count(18)
	if ok = !d.bad && want(name, code, n); ok {
		t = MetadataTopic{ID: id, Code: code, Partitions: make([]MetadataPartition, n)}
	}
	for i := 0; i < n && !d.bad; i++ {
		p := d.partition(version)
		if ok {
			t.Partitions[i] = p
		}
	}
	if version >= 8 {
		d.int32() // Authorized operations
	}
	d.tags(nil)
	return t, ok
}

func (d *decoder) partition(version int16) MetadataPartition {
	p := MetadataPartition{Code: d.int16(), ID: d.int32(), Leader: d.int32(), Epoch: -1}
	if version >= 7 {
		p.Epoch = d.int32()
	}
	d.take(4 * d.count(4)) // Replicas
	d.take(4 * d.count(4)) // In sync
	if version >= 5 {
		d.take(4 * d.count(4)) // Offline
	}
	d.tags(nil)
	return p
}

// askedTopics reads the topics that were asked for. If one is answered twice, the first answer counts.
func (d *decoder) askedTopics(version int16, asked []kmsg.MetadataRequestTopic) []MetadataTopic {
	n := d.topicCount()
	names := make(map[string]string, min(n, len(asked)))
	if n > 0 {
		for _, t := range asked {
			if t.Topic != nil {
				names[*t.Topic] = *t.Topic
			}
		}
	}
	topics := make([]MetadataTopic, 0, min(n, len(names)))
	for ; n > 0 && !d.bad; n-- {
		var name string
		t, ok := d.topic(version, func(answered []byte, _ int16, _ int) (ok bool) {
			name, ok = names[string(answered)]
			return ok
		})
		if ok {
			t.Name = name
			topics = append(topics, t)
			delete(names, name)
		}
	}
	return topics
}

// allTopics reads the topics of an answer to a request that names none: for all topics, or for none in a test whose
// sarama.MockBroker answers them nevertheless. What is made of them takes no more memory than budget. It reads twice: the
// first time it only counts.
func (d *decoder) allTopics(version int16, budget int) []MetadataTopic {
	ahead, kept := *d, 0
	want := fits(budget)
	for n := ahead.topicCount(); n > 0 && !ahead.bad; n-- {
		ahead.topic(version, func(name []byte, code int16, partitions int) bool {
			if want(name, code, partitions) {
				kept++
			}
			return false
		})
	}
	if ahead.bad {
		d.fail()
		return nil
	}
	topics := make([]MetadataTopic, 0, kept)
	want = fits(budget)
	for n := d.topicCount(); n > 0; n-- {
		var name string
		t, ok := d.topic(version, func(answered []byte, code int16, partitions int) bool {
			ok := want(answered, code, partitions)
			if ok {
				name = string(answered)
			}
			return ok
		})
		if ok {
			t.Name = name
			topics = append(topics, t)
		}
	}
	return topics
}

// fits wants topics while they fit into the budget. Kafka's own answers do, up to about a hundred thousand topics. What does not
// fit is looked up when it is written to.
func fits(budget int) wanted {
	return func(name []byte, code int16, partitions int) bool {
		cost := topicMemory + partitions*partitionMemory + len(name)
		if code != 0 || partitions == 0 || len(name) == 0 || cost > budget {
			return false
		}
		budget -= cost
		return true
	}
}
