package produceset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// codecs are all codecs with all their levels; of zstd's, one for each level of its encoder.
func codecs() []*Config {
	var all []*Config
	add := func(codec sarama.CompressionCodec, levels ...int) {
		for _, level := range append(levels, sarama.CompressionLevelDefault) {
			all = append(all, &Config{Codec: codec, Level: level, MaxBytes: 1 << 20})
		}
	}
	add(sarama.CompressionNone)
	add(sarama.CompressionGZIP, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	add(sarama.CompressionSnappy, 4)
	add(sarama.CompressionLZ4, 4)
	add(sarama.CompressionZSTD, -5, 1, 3, 7, 11)
	return all
}

// defaults are all codecs at their default level.
func defaults() []*Config {
	return slices.DeleteFunc(codecs(), func(c *Config) bool { return c.Level != sarama.CompressionLevelDefault })
}

func (c *Config) name() string { return fmt.Sprintf("%s/%d", c.Codec, c.Level) }

// lines are n messages of text that compresses.
func lines(n int) (msgs []*sarama.ProducerMessage) {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		msgs = append(msgs, message(
			sarama.StringEncoder(fmt.Sprintf("key-%d", i)),
			sarama.StringEncoder(fmt.Sprintf(`{"user":%d,"action":"click","page":"/products/%d"}`, rng.IntN(1000), rng.IntN(100))),
			sarama.RecordHeader{Key: []byte("trace"), Value: []byte("abc")}))
	}
	return msgs
}

func noise(n int) []byte {
	rng := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	rng.Read(b)
	return b
}

func TestSealEveryCodecAndLevel(t *testing.T) {
	for _, cfg := range codecs() {
		t.Run(cfg.name(), func(t *testing.T) {
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 50, 3000} { // too small to gain, one block, many blocks
				b := New(cfg, 0)
				msgs := lines(n)
				mustAppend(t, b, msgs...)
				raw := b.Bytes()
				d := decode(t, b)
				d.check(t, msgs...)
				// Level 0 of gzip only stores. Level -3 and single records may not gain; all others must.
				if n > 1 && cfg.Codec != sarama.CompressionNone && cfg.Level != 0 && b.WireBytes() > raw*3/4 {
					t.Errorf("%d records: %d bytes of %d", n, b.WireBytes(), raw)
				}
				if compressed := b.WireBytes() < raw; compressed != (d.Attributes != 0) {
					t.Errorf("%d records: %d bytes of %d, attributes %x", n, b.WireBytes(), raw, d.Attributes)
				}
				if b.Bytes() != raw {
					t.Error("Bytes changed")
				}
				b.Release()
			}
		})
	}
}

// A batch that does not get smaller is sent uncompressed, and the pooled compressor still works for the next one.
func TestSealIncompressible(t *testing.T) {
	for _, cfg := range defaults() {
		t.Run(cfg.name(), func(t *testing.T) {
			for range 2 {
				for _, size := range []int{10, 1000, 300_000} {
					b := New(cfg, 0)
					msg := message(nil, sarama.ByteEncoder(noise(size)))
					mustAppend(t, b, msg)
					d := decode(t, b)
					d.check(t, msg)
					if d.Attributes != 0 || b.WireBytes() != b.Bytes() {
						t.Fatalf("%d bytes of %d, attributes %x", b.WireBytes(), b.Bytes(), d.Attributes)
					}
					b.Release()
				}
				b := New(cfg, 0)
				msgs := lines(2000)
				mustAppend(t, b, msgs...)
				decode(t, b).check(t, msgs...)
				b.Release()
			}
		})
	}
}

func TestSealGivesBackTheRawBuffer(t *testing.T) {
	cfg := config(1 << 20)
	cfg.Codec = sarama.CompressionZSTD
	b := New(cfg, 0)
	defer b.Release()
	mustAppend(t, b, message(nil, sarama.StringEncoder(strings.Repeat("abcdefgh", 10_000))))
	if b.held() < 80_000 {
		t.Fatalf("%d bytes held", b.held())
	}
	decode(t, b)
	if b.held() > 1024 {
		t.Fatalf("%d bytes held for %d on the wire", b.held(), b.WireBytes())
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		cfg  Config
		says []string
	}{
		"codec":      {Config{Codec: 9, MaxBytes: 1000}, []string{"codec 9"}},
		"gzip level": {Config{Codec: sarama.CompressionGZIP, Level: 42, MaxBytes: 1000}, []string{"gzip", "level", "42"}},
		"max bytes":  {Config{MaxBytes: -1}, []string{"MaxMessageBytes", "-1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.cfg.Validate()
			if _, ok := errors.AsType[sarama.ConfigurationError](err); !ok {
				t.Fatalf("got %v", err)
			}
			for _, s := range test.says {
				if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(s)) {
					t.Errorf("%q is not in %q", s, err)
				}
			}
		})
	}
}

// Seal fails for an unknown codec, and leaves the batch as it was.
func TestSealUnknownCodec(t *testing.T) {
	cfg := config(1 << 20)
	cfg.Codec = 7
	b := New(cfg, 0)
	defer b.Release()
	msg := message(nil, nil)
	mustAppend(t, b, msg)
	if err := b.Seal(); err == nil || !strings.Contains(err.Error(), "codec 7") {
		t.Fatalf("got %v", err)
	}
	if b.whole() != nil || b.Len() != 1 {
		t.Fatal("the batch changed")
	}
}

// Pooled compressors that were made in one bubble work in another one, and outside.
func TestCompressorsCrossBubbles(t *testing.T) {
	// No other test uses this size, so these pools are first filled here.
	msgs := lines(1000)
	var sealed []*Batch
	seal := func() {
		for _, cfg := range defaults() {
			cfg.MaxBytes = 2 << 20
			b := New(cfg, 0)
			mustAppend(t, b, msgs...)
			if err := b.Seal(); err != nil {
				t.Fatal(err)
			}
			sealed = append(sealed, b)
		}
	}
	synctest.Test(t, func(*testing.T) { seal() })
	synctest.Test(t, func(*testing.T) { seal() })
	seal()
	for _, b := range sealed {
		decode(t, b).check(t, msgs...)
		b.Release()
	}
}

// Batches are sealed in parallel, with buffers, slices and compressors from shared pools. No two may ever have the same one.
// The race detector would notice, and so would the check of each batch's content.
func TestBatchesConcurrentSafe(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i, cfg := range slices.Repeat(defaults(), 4) {
				var msgs []*sarama.ProducerMessage
				for j := range 100 {
					msgs = append(msgs, message(sarama.StringEncoder(fmt.Sprintf("%d/%d/%d", g, i, j)),
						sarama.ByteEncoder(strings.Repeat(string(rune('a'+g)), 10*i+j))))
				}
				b := New(cfg, i*1000)
				for _, msg := range msgs {
					if err := b.Append(record(msg), now); err != nil {
						t.Error(err)
						return
					}
				}
				d, err := read(b)
				if err != nil {
					t.Error(err)
					return
				}
				records := b.TakeRecords()
				for j, r := range d.records {
					if string(r.Key) != string(msgs[j].Key.(sarama.StringEncoder)) || !same(r.Value, msgs[j].Value.(sarama.ByteEncoder)) ||
						records[j].Msg != msgs[j] {
						t.Errorf("batch %d/%d, record %d is another's: %q", g, i, j, r.Key)
						return
					}
				}
				flow.PutRun(records)
				b.Release() // not before: d may share its bytes
			}
		})
	}
	wg.Wait()
}

// TestCompress: what is no batch is compressed with each codec, if that makes it smaller. The result is the caller's.
func TestCompress(t *testing.T) {
	data := bytes.Repeat([]byte("org.apache.kafka.producer."), 5000) // beyond a block of snappy
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		first, ok := Compress(codec, data)
		_, again := Compress(codec, bytes.Repeat([]byte("other"), 20000))
		if !ok || !again {
			t.Fatalf("%v: not compressed", codec)
		}
		if got, err := decompress(codec, first, len(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: %d bytes are read back, %v", codec, len(got), err)
		}
		if _, ok := Compress(codec, []byte{1, 2}); ok {
			t.Errorf("%v: two bytes got smaller", codec)
		}
	}
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, 5, -1, 99} {
		if _, ok := Compress(codec, data); ok {
			t.Errorf("there is a codec %d", codec)
		}
	}
}
