package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// describe writes a topic as "id: partition=leader@epoch …".
func describe(t *Topic) string {
	if t == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", t.ID[0])
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, " %d=%d@%d", p.ID, p.Leader, p.Epoch)
	}
	return b.String()
}

// parse reads what describe writes.
func parse(t *testing.T, s string) *Topic {
	t.Helper()
	if s == "nothing" {
		return nil
	}
	head, rest, _ := strings.Cut(s, ":")
	var id [16]byte
	if _, err := fmt.Sscan(head, &id[0]); err != nil {
		t.Fatal(err)
	}
	var partitions []Partition
	for _, f := range strings.Fields(rest) {
		var p Partition
		if _, err := fmt.Sscanf(f, "%d=%d@%d", &p.ID, &p.Leader, &p.Epoch); err != nil {
			t.Fatalf("%q: %v", f, err)
		}
		partitions = append(partitions, p)
	}
	return newTopic("t", id, partitions)
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name, old, newer, want string
		stale                  bool
	}{
		{"first answer", "nothing", "1: 0=1@5", "1: 0=1@5", false},
		{"higher epoch", "1: 0=1@5", "1: 0=2@6", "1: 0=2@6", false},
		{"same epoch, other leader", "1: 0=1@5", "1: 0=2@5", "1: 0=2@5", false},
		{"older epoch, same id", "1: 0=1@5", "1: 0=2@4", "1: 0=1@5", true},
		{"older for one partition only", "1: 0=1@5 1=1@5", "1: 0=2@4 1=2@6", "1: 0=1@5 1=2@6", true},
		{"older epoch, created anew", "1: 0=1@5", "2: 0=2@0", "2: 0=2@0", false},
		{"fewer partitions, created anew", "1: 0=1@5 1=2@5", "2: 0=2@0", "2: 0=2@0", false},
		{"older epoch, no ids", "0: 0=1@5", "0: 0=2@4", "0: 0=2@4", false},
		{"fewer partitions, no ids", "0: 0=1@5 1=2@5", "0: 0=1@5", "0: 0=1@5", false},
		{"id no longer known", "1: 0=1@5", "0: 0=2@4", "0: 0=2@4", false},
		{"id known at last", "0: 0=1@5", "1: 0=2@4", "1: 0=2@4", false},
		{"no epochs", "1: 0=1@-1", "1: 0=2@-1", "1: 0=2@-1", false},
		{"epoch no longer known", "1: 0=1@5", "1: 0=2@-1", "1: 0=2@-1", false},
		{"epoch known at last", "1: 0=1@-1", "1: 0=2@0", "1: 0=2@0", false},
		{"leader lost, epoch known", "1: 0=1@5", "1: 0=-1@6", "1: 0=-1@6", false},
		{"leader lost, epoch unknown", "1: 0=1@5", "1: 0=-1@-1", "1: 0=-1@5", false},
		{"new partitions", "1: 0=1@5", "1: 0=1@5 1=2@0", "1: 0=1@5 1=2@0", false},
		{"fewer partitions, same id", "1: 0=1@5 1=2@0", "1: 0=1@5", "1: 0=1@5 1=2@0", true},
		{"a gap", "1: 0=1@5 1=2@0 2=1@0", "1: 0=1@5 2=2@1", "1: 0=1@5 1=2@0 2=2@1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, newer := parse(t, tt.old), parse(t, tt.newer)
			got, stale := merge(old, newer)
			if describe(got) != tt.want || stale != tt.stale {
				t.Errorf("merge(%s, %s) = %s, stale %v; want %s, %v", tt.old, tt.newer, describe(got), stale, tt.want, tt.stale)
			}
			if describe(old) != tt.old {
				t.Errorf("old topic was changed to %s", describe(old))
			}
			if tt.want == tt.old && got != old {
				t.Error("nothing changed, but the pointer did")
			}
		})
	}
}

func TestMergeKeepsTheTopicWhereNothingChanged(t *testing.T) {
	for _, id := range []string{"1", "0"} {
		old := parse(t, id+": 0=1@5 1=-1@3")
		if got, stale := merge(old, parse(t, id+": 0=1@5 1=-1@3")); got != old || stale {
			t.Errorf("topic id %s: got another topic, stale %v", id, stale)
		}
	}
}

func TestWithLeader(t *testing.T) {
	for _, tt := range []struct {
		name, old                string
		id                       byte
		partition, leader, epoch int32
		want                     string
		taken                    bool
	}{
		{"higher epoch", "1: 0=1@5 1=1@5", 1, 1, 2, 6, "1: 0=1@5 1=2@6", true},
		{"same epoch", "1: 0=1@5", 1, 0, 2, 5, "1: 0=1@5", false},
		{"lower epoch", "1: 0=1@5", 1, 0, 2, 4, "1: 0=1@5", false},
		{"epoch unknown", "1: 0=1@-1", 1, 0, 2, -1, "1: 0=1@-1", false},
		{"epoch known at last", "1: 0=1@-1", 1, 0, 2, 0, "1: 0=2@0", true},
		{"other topic id", "1: 0=1@5", 2, 0, 2, 6, "1: 0=1@5", false},
		{"topic id unknown", "1: 0=1@5", 0, 0, 2, 6, "1: 0=2@6", true},
		{"topic id not known", "0: 0=1@5", 1, 0, 2, 6, "0: 0=2@6", true},
		{"partition not known", "1: 0=1@5", 1, 1, 2, 6, "1: 0=1@5", false},
		{"no leader", "1: 0=1@5", 1, 0, -1, 6, "1: 0=1@5", false},
		{"to a partition without leader", "1: 0=-1@5", 1, 0, 2, 6, "1: 0=2@6", true},
		{"topic not known", "nothing", 1, 0, 2, 6, "nothing", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old := parse(t, tt.old)
			got, taken := old.withLeader(newLeader{
				topicID: [16]byte{tt.id}, partition: tt.partition, leader: tt.leader, epoch: tt.epoch,
			})
			if describe(got) != tt.want || taken != tt.taken {
				t.Errorf("got %s, taken %v; want %s, %v", describe(got), taken, tt.want, tt.taken)
			}
			if describe(old) != tt.old {
				t.Errorf("old topic was changed to %s", describe(old))
			}
		})
	}
}

func TestAnsweredTopic(t *testing.T) {
	answer := topic(7, 3, 1, -1, 2)
	slices.Reverse(answer.Partitions)
	answer.Partitions[0].ErrorCode = int16(sarama.ErrReplicaNotAvailable) // partition 2 still has its leader
	odd := kmsg.NewMetadataResponseTopicPartition()
	odd.Partition = -4
	answer.Partitions = append(answer.Partitions, odd, answer.Partitions[0])

	answer.Topic = kmsg.StringPtr("t")
	resp := &kmsg.MetadataResponse{Version: 13, Topics: []kmsg.MetadataResponseTopic{answer}}
	req := newRequest([]string{"t"}, false)
	req.Version = 13
	read, err := wire.ReadMetadata(req, resp.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := answeredTopic(&read.Topics[0])
	if got.Name != "t" || describe(got) != "7: 0=1@3 1=-1@3 2=2@3" {
		t.Errorf("got topic %q, %s", got.Name, describe(got))
	}
	if !slices.Equal(got.All, []int32{0, 1, 2}) || !slices.Equal(got.Writable, []int32{0, 2}) {
		t.Errorf("all %v, writable %v", got.All, got.Writable)
	}
	if p, ok := got.Partition(1); !ok || p.Code != sarama.ErrLeaderNotAvailable {
		t.Errorf("partition 1: %+v, %v", p, ok)
	}
}

func TestTopicPartition(t *testing.T) {
	gaps := parse(t, "1: 0=1@0 2=1@0 5=1@0")
	for id := int32(-1); id < 8; id++ {
		want := slices.Contains(gaps.All, id)
		if p, ok := gaps.Partition(id); ok != want || ok && p.ID != id {
			t.Errorf("partition %d: %+v, %v", id, p, ok)
		}
	}
}

func TestNextKeepsTheBrokersOfKnownLeaders(t *testing.T) {
	old := &snapshot{
		brokers: map[int32]Broker{1: {ID: 1, Addr: "a:1"}, 2: {ID: 2, Addr: "b:1"}, 3: {ID: 3, Addr: "c:1"}},
		topics:  map[string]*Topic{"t": parse(t, "1: 0=1@0"), "u": parse(t, "2: 0=3@0")},
	}
	got := old.next(map[int32]Broker{1: {ID: 1, Addr: "a:2"}}, map[string]*Topic{"t": parse(t, "1: 0=1@0 1=9@0 2=-1@0")})
	want := map[int32]Broker{1: {ID: 1, Addr: "a:2"}, 3: {ID: 3, Addr: "c:1"}}
	if !maps.Equal(got.brokers, want) {
		t.Errorf("brokers are %v, want %v", got.brokers, want)
	}
	if len(got.topics) != 2 || describe(got.topics["t"]) != "1: 0=1@0 1=9@0 2=-1@0" || got.topics["u"] == nil {
		t.Errorf("topics are %v", got.topics)
	}
	if len(old.brokers) != 3 || describe(old.topics["t"]) != "1: 0=1@0" {
		t.Error("the old snapshot was changed")
	}
}
