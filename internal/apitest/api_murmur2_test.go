package apitest

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// TestMurmur2AsJava compares with what Java's own code said: testdata/murmur2/Vectors.java wrote the vectors. franz-go,
// which shares no code with either, must agree.
func TestMurmur2AsJava(t *testing.T) {
	text, err := os.ReadFile("testdata/murmur2/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var counts []int
	for _, word := range strings.Fields(lines[0]) {
		if of, found := strings.CutPrefix(word, "of-"); found {
			counts = append(counts, number(t, of))
		}
	}
	sticky := sluice.NewStickyMurmur2Partitioner("t")
	franz := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	keys, compared := 0, 0
	for _, line := range lines[1:] {
		words := strings.Fields(line)
		key, err := hex.DecodeString(strings.TrimPrefix(words[0], "0x"))
		if err != nil || len(words) != 2+len(counts) {
			t.Fatalf("%q: %v", line, err)
		}
		keys++
		for i, n := range counts {
			want := number(t, words[2+i])
			got, err := sticky.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, int32(n))
			if err != nil || int(got) != want {
				t.Errorf("key %x: partition %d of %d (%v), Java says %d", key, got, n, err, want)
			}
			if theirs := franz.Partition(&kgo.Record{Key: key}, n); theirs != want {
				t.Errorf("key %x: franz-go says partition %d of %d, Java says %d", key, theirs, n, want)
			}
			compared++
		}
	}
	if keys < 100 || compared < 900 {
		t.Errorf("only %d keys and %d partitions", keys, compared)
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
