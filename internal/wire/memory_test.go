package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var answerMiB = flag.Int("answer-mib", 4, "the size of the answers whose memory is counted")

// allocated is how many bytes of memory were taken while f ran, also if they were given back meanwhile.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// wantBounded checks what an answer took, of which so many bytes have arrived.
func wantBounded(t *testing.T, taken, arrived int) {
	t.Helper()
	t.Logf("%.1f MiB for %.1f MiB", float64(taken)/(1<<20), float64(arrived)/(1<<20))
	if taken > 6*arrived+16<<20 {
		t.Errorf("%d bytes were taken for the %d that arrived", taken, arrived)
	}
}

// filled is head, then as many copies of element as fit into size, then tail.
func filled(size int, head, element, tail []byte) []byte {
	n := max(0, size-len(head)-len(tail)) / len(element)
	return slices.Concat(head, bytes.Repeat(element, n), tail)
}

// counted is filled, with the number of elements in the four bytes at place.
func counted(size, place int, head, element, tail []byte) []byte {
	body := filled(size, head, element, tail)
	binary.BigEndian.PutUint32(body[place:], uint32((len(body)-len(head)-len(tail))/len(element)))
	return body
}

// compact is a number as KIP-482 writes it, in five bytes so that its place is known.
func compact(n int) []byte {
	return []byte{byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n>>21) | 0x80, byte(n >> 28)}
}

// compactly is counted for a compact array.
func compactly(size, place int, head, element, tail []byte) []byte {
	body := filled(size, head, element, tail)
	copy(body[place:], compact((len(body)-len(head)-len(tail))/len(element)+1))
	return body
}

func zeros(n int) []byte { return make([]byte, n) }

// hostileMetadata are bodies of Metadata's answers, each made to take as much memory as it can.
var hostileMetadata = []struct {
	name    string
	version int16
	topics  []string
	body    func(size int) []byte
}{
	{"claims brokers", 0, nil, func(size int) []byte { return filled(size, compactInt32(size-4), []byte{0}, nil) }},
	{"claims brokers, compact", 12, nil, func(size int) []byte {
		return filled(size, append(zeros(4), compact(size-9)...), []byte{0}, nil)
	}},
	{"as many brokers as are read", 0, nil, func(size int) []byte {
		body := append(compactInt32(mostBrokers), zeros(10*mostBrokers)...)
		place := len(body)
		return counted(size, place, append(body, zeros(4)...), tinyTopic(0), nil)
	}},
	{"hosts of control characters", 1, nil, func(size int) []byte {
		element := append(append(append(zeros(4), 0, 75), bytes.Repeat([]byte{1}, 75)...), zeros(6)...)
		return counted(min(size, mostBrokers*len(element)), 0, zeros(4), element, zeros(8))
	}},
	{"racks of control characters", 12, nil, func(size int) []byte {
		element := append(append(append(zeros(4), 1, 0, 0, 0, 0, 71), bytes.Repeat([]byte{1}, 70)...), 0)
		return compactly(min(size, mostBrokers*len(element)), 4, zeros(9), element, []byte{0, 0, 0, 0, 0, 1, 0})
	}},
	{"a cluster id", 12, nil, func(size int) []byte {
		head := append(append(zeros(4), 1), compact(size-16+1)...)
		return filled(size, head, []byte{0x1b}, append(zeros(4), 1, 0))
	}},
	{"claims topics", 12, nil, func(size int) []byte {
		return filled(size, append(append(zeros(4), 1, 0, 0, 0, 0, 0), compact((size-15)/10)...), []byte{0}, nil)
	}},
	{"all topics, small", 0, nil, func(size int) []byte { return counted(size, 4, zeros(8), tinyTopic(0), nil) }},
	{"all topics, small, compact", 12, nil, func(size int) []byte {
		return compactly(size, 10, append(zeros(4), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), tinyTopic(12), zeros(1))
	}},
	{"one topic of many partitions", 0, []string{"a"}, func(size int) []byte {
		return counted(size, 13, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0}, zeros(18), nil)
	}},
	{"one topic that claims partitions", 0, []string{"a"}, func(size int) []byte {
		head := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'a'}
		return filled(size, append(head, compactInt32(size-len(head)-4)...), []byte{0}, nil)
	}},
	{"one topic whose last partition claims replicas", 0, []string{"a"}, func(size int) []byte {
		body := counted(size, 13, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0}, zeros(18), nil)
		copy(body[len(body)-4:], []byte{0x7f, 0xff, 0xff, 0xff}) // replicas of the last
		return body
	}},
	{"one topic again and again", 0, []string{"a"}, func(size int) []byte { return counted(size, 4, zeros(8), tinyTopic(0), nil) }},
	{"topics that were not asked for", 12, []string{"b"}, func(size int) []byte {
		return compactly(size, 10, append(zeros(4), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), tinyTopic(12), zeros(1))
	}},
	{"tags", 12, nil, func(size int) []byte {
		body := append(append(zeros(4), 1, 0, 0, 0, 0, 0, 1), compact((size-16)/2)...)
		return filled(size, body, []byte{5, 0}, nil)
	}},
	{"claims tags", 12, nil, func(size int) []byte {
		body := append(append(zeros(4), 1, 0, 0, 0, 0, 0, 1), compact(1<<32-1)...)
		return filled(size, body, []byte{5, 0}, nil)
	}},
}

func compactInt32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// tinyTopic is topic "a" with one partition, in the fewest bytes.
func tinyTopic(version int16) []byte {
	if version == 0 {
		return append([]byte{0, 0, 0, 1, 'a', 0, 0, 0, 1}, zeros(18)...)
	}
	topic := append([]byte{0, 0, 2, 'a'}, zeros(17)...) // id, internal
	topic = append(append(topic, 2), zeros(14)...)      // one partition: code, id, leader, epoch
	return append(topic, 1, 1, 1, 0 /* tags */, 0, 0, 0, 0, 0 /* tags */)
}

// TestMemoryOfMetadata counts from the socket to what package metadata gets.
func TestMemoryOfMetadata(t *testing.T) {
	for _, test := range hostileMetadata {
		t.Run(test.name, func(t *testing.T) {
			body := test.body(*answerMiB<<20 - 64)
			c, broker := connectTCP(t, testConfig(), 1)
			c.versions = versions{keyMetadata: {test.version, test.version}}
			answer := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
			answer = append(answer, 0, 0, 0, 0)
			if test.version >= 9 {
				answer[3]++
				answer = append(answer, 0)
			}
			binary.BigEndian.PutUint32(answer, uint32(len(answer)-4+len(body)))
			answer = append(answer, body...)
			go func() {
				broker.next()
				_, _ = broker.nc.Write(answer)
			}()
			var m *Metadata
			var err error
			taken := allocated(func() { m, err = c.Metadata(t.Context(), askedFor(test.version, test.topics...)) })
			wantBounded(t, taken, len(answer))
			if err != nil && !errors.Is(err, ErrMalformedAnswer) {
				t.Error(err)
			}
			if err == nil {
				t.Logf("%d brokers, %d topics", len(m.Brokers), len(m.Topics))
			} else {
				t.Log(err)
			}
		})
	}
}

// TestMemoryOfProduceAnswers counts the decoding of answers to a request for ten partitions.
func TestMemoryOfProduceAnswers(t *testing.T) {
	size := *answerMiB << 20
	head := append([]byte{2, 2, 'a', 2}, zeros(4+2+8+8+8)...) // one topic, partition 0
	tail := []byte{0, 0, 0, 0, 0, 0, 0}
	for name, body := range map[string][]byte{
		"record errors":        compactly(size, len(head), append(head, compact(0)...), []byte{0, 0, 0, 1, 0, 0}, append([]byte{0, 0}, tail...)),
		"texts of records":     compactly(size, len(head), append(head, compact(0)...), []byte{0, 0, 0, 1, 6, 1, 2, 3, 4, 5, 0}, append([]byte{0, 0}, tail...)),
		"claims record errors": filled(size, append(head, compact((size-100)/6)...), []byte{0xff}, nil),
		"a message":            filled(size, append(append(head, 1), compact(size-len(head)-13+1)...), []byte{0x1b}, tail),
		"claims topics":        filled(size, compact(size-5), []byte{0}, nil),
		"claims partitions":    filled(size, append([]byte{2, 2, 'a'}, compact(size-8)...), []byte{0}, nil),
		"one partition again and again": compactly(size, 3, append([]byte{2, 2, 'a'}, compact(0)...),
			append(zeros(4+2+8+8+8), 2, 0, 0, 0, 1, 3, 0x1b, 0x1b, 0, 3, 0x1b, 0x1b, 0), append([]byte{0}, tail[:5]...)),
		"nodes":       nodesAnswer(size, 1, 0),
		"nodes, long": nodesAnswer(size, 100, 0),
	} {
		t.Run(name, func(t *testing.T) {
			r := &ProduceRequest{}
			for p := range int32(10) {
				r.Partitions = append(r.Partitions, ProducePartition{Topic: "a", Partition: p})
			}
			var d answerDecoder
			var err error
			taken := allocated(func() { _, err = d.decode(r, 10, body) })
			wantBounded(t, taken+len(body)*5/4+bodyStep, len(body)) // with what reading it takes, see readLarge
			if err != nil && !errors.Is(err, ErrMalformedAnswer) {
				t.Error(err)
			}
			t.Logf("%v, %d record errors, %d nodes", err, len(r.Answers[0].RecordErrors), len(r.Nodes))
		})
	}
}

// nodesAnswer names nodes (KIP-951), with hosts of control characters.
func nodesAnswer(size, host int, extra byte) []byte {
	node := append(append(zeros(4), byte(host+1)), bytes.Repeat([]byte{1}, host)...)
	node = append(node, 0, 0, 0, 0, 1, extra)
	list := compactly(size-30, 0, compact(0), node, nil)
	body := append([]byte{1, 0, 0, 0, 0, 1, 0}, compact(len(list))...)
	return append(body, list...)
}

// TestLongSmallAnswers: to a small request they end the connection by their length alone, with an error that names it.
func TestLongSmallAnswers(t *testing.T) {
	for _, small := range smallRequests {
		req := small.req()
		name := kmsg.NameForKey(req.Key())
		t.Run(name, func(t *testing.T) {
			c, broker := connectTCP(t, testConfig(), 1)
			c.versions = maps.Clone(c.versions) // which are sarama's: it has no requests for metrics
			c.versions[req.Key()] = versionRange{0, small.highest}
			answer := append(compactInt32(*answerMiB<<20), zeros(*answerMiB<<20)...)
			go func() {
				broker.next()
				_, _ = broker.nc.Write(answer)
			}()
			var err error
			taken := allocated(func() { _, err = c.Request(t.Context(), req) })
			mustError(t, err, ErrMalformedAnswer)
			for _, word := range []string{"fake:9092", name, fmt.Sprint(*answerMiB << 20), "at most "} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in %v", word, err)
				}
			}
			if taken > 1<<20 {
				t.Errorf("%d bytes were taken", taken)
			}
			if <-c.Done(); !errors.Is(c.Err(), ErrMalformedAnswer) {
				t.Error(c.Err())
			}
		})
	}
}

// TestMemoryOfSmallAnswers: the longest that are read, each made to take as much memory as it can. A transaction may add very
// many partitions, so that these answers may be long.
func TestMemoryOfSmallAnswers(t *testing.T) {
	tens := kmsg.AddPartitionsToTxnRequestTopic{Topic: "topic", Partitions: make([]int32, 10)}
	offsets := kmsg.TxnOffsetCommitRequestTopic{Topic: "topic", Partitions: make([]kmsg.TxnOffsetCommitRequestTopicPartition, 10)}
	add := &kmsg.AddPartitionsToTxnRequest{Version: 3}
	commit := &kmsg.TxnOffsetCommitRequest{Version: 3}
	for range 20_000 {
		add.Topics = append(add.Topics, tens)
		commit.Topics = append(commit.Topics, offsets)
	}
	topic := []byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0} // no name, one partition
	for _, test := range []struct {
		name string
		req  kmsg.Request
		body func(size int) []byte
	}{
		{"ApiVersions", &kmsg.ApiVersionsRequest{Version: 3}, func(size int) []byte {
			return compactly(size, 2, append(zeros(2), compact(0)...), zeros(7), zeros(5))
		}},
		{"ApiVersions, features", &kmsg.ApiVersionsRequest{Version: 3}, func(size int) []byte {
			list := compactly(size-30, 0, compact(0), []byte{1, 0, 0, 0, 0, 0}, nil)
			return append(append([]byte{0, 0, 1, 0, 0, 0, 0, 1, 2}, compact(len(list))...), list...)
		}},
		{"FindCoordinator", &kmsg.FindCoordinatorRequest{Version: 4, CoordinatorKeys: []string{"a"}}, func(size int) []byte {
			return compactly(size, 4, append(zeros(4), compact(0)...), append([]byte{1, 0, 0, 0, 0, 1}, zeros(8)...), zeros(1))
		}},
		{"AddPartitionsToTxn", add, func(size int) []byte {
			size = min(size, 10+len(topic)*10*len(add.Topics))
			return compactly(size, 4, append(zeros(4), compact(0)...), topic, zeros(1))
		}},
		{"TxnOffsetCommit", commit, func(size int) []byte {
			size = min(size, 10+len(topic)*10*len(commit.Topics))
			return compactly(size, 4, append(zeros(4), compact(0)...), topic, zeros(1))
		}},
		{"TxnOffsetCommit, one topic", commit, func(size int) []byte {
			return compactly(size, 6, append([]byte{0, 0, 0, 0, 2, 1}, compact(0)...), zeros(7), zeros(2))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			longest := longestAnswer(len(kmsg.NewRequestFormatter().AppendRequest(nil, test.req, 0)))
			body := test.body(longest)
			var err error
			taken := allocated(func() { _, err = readAnswer(test.req, body) })
			wantBounded(t, taken+2*len(body), len(body))
			if err != nil && !errors.Is(err, ErrMalformedAnswer) {
				t.Error(err)
			}
			t.Log(err)
		})
	}
}

// TestMemoryOfAClaim: a frame that claims to be long takes memory by what has arrived. It takes the most for that once a quarter
// of what it claims is there: see readLarge.
func TestMemoryOfAClaim(t *testing.T) {
	for _, arrived := range []int{100, 1 << 20, 24 << 20, 26 << 20} {
		c, broker := connectTCP(t, testConfig(), 1)
		answer := append(compactInt32(int(sarama.MaxResponseSize)), zeros(arrived)...)
		go func() {
			broker.next()
			_, _ = broker.nc.Write(answer)
			broker.nc.Close()
		}()
		var err error
		taken := allocated(func() { _, err = c.Metadata(t.Context(), askedFor(0)) })
		if err == nil {
			t.Error("no error")
		}
		wantBounded(t, taken, arrived)
	}
}
