package produceset

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// messagesFrom makes messages from any bytes: a few say what a message has, the next ones are its content.
func messagesFrom(data []byte) (msgs []*sarama.ProducerMessage) {
	next := func(n int) []byte {
		n = min(n, len(data))
		b := data[:n:n]
		data = data[n:]
		return b
	}
	number := func() int {
		if b := next(1); len(b) == 1 {
			return int(b[0])
		}
		return 0
	}
	encoder := func(kind int) sarama.Encoder {
		switch kind % 5 {
		case 0:
			return nil
		case 1:
			return sarama.ByteEncoder(nil)
		case 2:
			return sarama.StringEncoder(next(number()))
		case 3:
			return &ownEncoder{bytes: next(number())}
		}
		return sarama.ByteEncoder(next(number()))
	}
	for len(data) > 0 && len(msgs) < 1000 {
		kind := number()
		msg := &sarama.ProducerMessage{Topic: "fuzz", Key: encoder(kind), Value: encoder(kind / 5)}
		for range kind / 25 % 4 {
			h := sarama.RecordHeader{Key: next(number())}
			if n := number(); n > 0 {
				h.Value = next(n - 1)
			}
			msg.Headers = append(msg.Headers, h)
		}
		if kind >= 128 {
			var nanos int64
			for range 8 {
				nanos = nanos<<8 | int64(number())
			}
			msg.Timestamp = time.Unix(nanos>>20, nanos&(1<<20-1)) // seconds before and after the epoch
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

func fuzzSeeds(f *testing.F) {
	f.Add([]byte{0}, uint8(0), uint16(1000))
	f.Add([]byte("\x0c\x03abc\x05hello\x98\x01k\x00\xff\xff\xff\xff\xff\xff\xff\xff"), uint8(1), uint16(500))
	f.Add(noise(2000), uint8(4), uint16(60_000))
	f.Add(make([]byte, 3000), uint8(3), uint16(2000))
	f.Add([]byte("\xff\xff\xff\xff\x00\x00"), uint8(2), uint16(0))
}

// fill appends messages, and returns those that the batch took.
func fill(t *testing.T, data []byte, codec uint8, maxBytes uint16) (*Batch, []*sarama.ProducerMessage) {
	cfg := config(int(maxBytes) + 1)
	cfg.Codec = sarama.CompressionCodec(codec % 5)
	b := New(cfg, int(maxBytes))
	var taken []*sarama.ProducerMessage
	for _, msg := range messagesFrom(data) {
		size := b.Bytes()
		err := b.Append(record(msg), now)
		if errors.Is(err, ErrFull) {
			if b.Len() == 0 || b.Bytes() != size {
				t.Fatalf("full with %d records, %d bytes, before %d", b.Len(), b.Bytes(), size)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Bytes()-size > RecordBound(msg) {
			t.Fatalf("a record of %d bytes, bound %d", b.Bytes()-size, RecordBound(msg))
		}
		if b.Len() > 1 && b.Bytes() > cfg.MaxBytes || b.held() > int(b.charge) {
			t.Fatalf("%d bytes of %d; %d held, %d charged", b.Bytes(), cfg.MaxBytes, b.held(), b.charge)
		}
		taken = append(taken, msg)
	}
	return b, taken
}

func FuzzAppend(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, codec uint8, maxBytes uint16) {
		b, msgs := fill(t, data, codec, maxBytes)
		defer b.Release()
		if len(msgs) > 0 {
			decode(t, b).check(t, msgs...)
		}
		run := fillByRuns(t, data, b.cfg)
		defer run.Release()
		if run.Len() != len(msgs) {
			t.Fatalf("by runs the batch takes %d records, one by one %d", run.Len(), len(msgs))
		}
		if err := run.Seal(); len(msgs) > 0 && (err != nil || !bytes.Equal(written(run), written(b))) {
			t.Fatalf("by runs it is another batch (%v)", err)
		}
	})
}

// fillByRuns is fill with runs, and with a CRC that is computed as they are appended.
func fillByRuns(t *testing.T, data []byte, cfg *Config) *Batch {
	b := New(cfg, 1<<20)
	var recs []flow.Record
	for _, msg := range messagesFrom(data) {
		recs = append(recs, record(msg))
	}
	for i := 0; i < len(recs); {
		i += b.AppendRun(recs[i:], now, len(data)%100)
		if b.held() > int(b.charge) {
			t.Fatalf("%d held, %d charged, after a run", b.held(), b.charge)
		}
		if i == len(recs) {
			break
		}
		if err := b.Append(recs[i], now); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		i++
	}
	return b
}

func FuzzSplit(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, codec uint8, maxBytes uint16) {
		b, msgs := fill(t, data, codec, maxBytes)
		if len(msgs) < 2 {
			b.Release()
			return
		}
		if len(data)%2 == 0 {
			if err := b.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		checkSplit(t, b, msgs)
	})
}

// written is a sealed batch without room and tail.
func written(b *Batch) []byte {
	frame := b.whole()
	return frame[room : len(frame)-tail]
}
