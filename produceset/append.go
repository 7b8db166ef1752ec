package produceset

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Append encodes one record at the end of the batch. A message without a timestamp gets nowMillis. On any error the batch is
// as it was:
//   - ErrFull: there is no room under MaxBytes. An empty batch never returns it.
//   - An encoder failed or panicked: the error names the topic and whether it was key or value, and wraps the cause.
//   - The batch is sealed, or the record beyond 2 GiB.
//
// Key, headers and value are copied, but for a large value (borrow.go): that must not change as long as the batch may be
// written.
func (b *Batch) Append(rec flow.Record, nowMillis int64) error {
	if b.sealed {
		return errSealed
	}
	msg := rec.Msg
	var f fields
	own := f.lookUp(msg, nowMillis)
	if own {
		room := -1
		if b.count > 0 {
			room = max(b.limit-b.size, 0)
		}
		var err error
		if f.key, f.value, err = encodeOwn(msg, room); err != nil {
			return err
		}
	}
	if !own && b.mayBorrow(&f, &rec) {
		if err := b.borrow(&f, &rec); err != nil {
			return err
		}
	} else if one, run := []fields{f}, []flow.Record{rec}; b.encode(one, run) == 0 {
		if err := b.makeRoom(&f, &rec, nil); err != nil {
			return err
		}
		b.encode(one, run)
	}
	b.sumUp()
	b.payload += int64(rec.Size)
	b.Records = append(flow.Grow(b.Records), rec)
	return nil
}

// lookAhead is how many records AppendRun looks at before it copies any.
const lookAhead = 8

// AppendRun appends the first of recs and returns how many. It stops at the first record that needs Append: one with an
// encoder of the user's own, one that its sender may withdraw, or one that does not fit. It makes room in Records for
// expected ones at once. While it runs, the buffers may be as large as all of recs were charged with.
//
// It looks up several messages before it copies any. A message is two or three objects, each found through the one before
// and seldom in the cache; so the processor waits for many of them at once. Record by record an append took twice as long.
func (b *Batch) AppendRun(recs []flow.Record, nowMillis int64, expected int) (n int) {
	if b.sealed {
		return 0
	}
	var ahead [lookAhead]fields
	for n < len(recs) {
		rest := recs[n:min(n+lookAhead, len(recs))]
		looked, put, large := 0, 0, false
		for looked < len(rest) && !rest[looked].Alone() {
			if own := ahead[looked].lookUp(rest[looked].Msg, nowMillis); own {
				break
			}
			if large = b.mayBorrow(&ahead[looked], &rest[looked]); large {
				break
			}
			looked++
		}
		for put < looked {
			put += b.encode(ahead[put:looked], rest[put:])
			if put < looked && b.makeRoom(&ahead[put], &rest[put], recs[n+put+1:]) != nil {
				break
			}
		}
		if large && put == looked && b.borrow(&ahead[put], &rest[put]) == nil {
			n += put + 1
			continue
		}
		n += put
		if put < len(rest) {
			break
		}
	}
	b.Records = append(flow.Reserve(b.Records, n, max(2*len(b.Records), expected)), recs[:n]...)
	b.payload += sumSizes(recs[:n])
	b.sumUp()
	if n < len(recs) {
		b.fit()
	}
	return n
}

// sumSizes is the sum of the records' Size.
func sumSizes(recs []flow.Record) (sum int64) {
	for i := range recs {
		sum += int64(recs[i].Size)
	}
	return sum
}

// encode writes the first records, as many as fit into the buffer and MaxBytes, and returns how many. If that is not all,
// makeRoom makes room for the next one or says why it can't.
//
// It has the layout of layout.go unrolled, and keeps in registers what changes with each record: to store and load it was
// half of what a small record cost.
func (b *Batch) encode(ahead []fields, recs []flow.Record) (n int) {
	if b.data == nil {
		return 0 // makeRoom begins a batch
	}
	data, end, size, count := b.data, b.end, b.size, b.count
	charge, latest := b.charge, b.maxTimestamp
	for ; n < len(ahead); n++ {
		f := &ahead[n]
		timestampDelta, offsetDelta := zigzag(f.timestamp-b.firstTimestamp), zigzag(int64(count))
		keyLength, valueLength := zigzag(int64(f.key.length)), zigzag(int64(f.value.length))
		body := 1 + varintSize(timestampDelta) + varintSize(offsetDelta) +
			varintSize(keyLength) + len(f.key.view) + varintSize(valueLength) + len(f.value.view) + 1
		if len(f.headers) > 0 {
			body += headersSize(f.headers) - 1
		}
		bodyLength := zigzag(int64(body))
		whole := varintSize(bodyLength) + body
		if end+whole+tail > len(data) || size+whole > b.limit && count > 0 {
			break
		}
		p := data[end : end+whole]
		i := putVarint(p, 0, bodyLength)
		p[i] = 0 // attributes: none are defined
		i = putVarint(p, i+1, timestampDelta)
		i = putVarint(p, i, offsetDelta)
		i = putVarint(p, i, keyLength)
		if len(f.key.view) > 0 {
			i += copy(p[i:], f.key.view)
		}
		i = putVarint(p, i, valueLength)
		i += copy(p[i:], f.value.view)
		if len(f.headers) == 0 {
			p[i] = 0
		} else {
			putHeaders(p, i, f.headers)
		}
		end += whole
		size += whole
		count++
		charge += int64(recs[n].Charge)
		latest = max(latest, f.timestamp)
	}
	b.end, b.size, b.count, b.charge, b.maxTimestamp = end, size, count, charge, latest
	return n
}

// makeRoom makes room for a record, and for those that are about to follow it, as far as their charges go. Its errors are
// Append's.
func (b *Batch) makeRoom(f *fields, rec *flow.Record, following []flow.Record) error {
	_, _, size, err := b.measure(f, rec)
	if err != nil {
		return err
	}
	promised := b.charge + int64(rec.Charge)
	for i := range following {
		promised += int64(following[i].Charge)
	}
	return b.grow(size, promised)
}

// measure returns a record's head, the length in that, and the record's whole size, or why the batch can't take it.
func (b *Batch) measure(f *fields, rec *flow.Record) (head recordHead, length, size int, err error) {
	head = b.nextHead(f.timestamp)
	length, size = head.sizes(f.size())
	if b.size+size > b.limit {
		if b.count > 0 {
			return head, 0, 0, ErrFull
		}
		if promised := int(rec.Size); promised > 0 && size > promised && size > b.cfg.MaxBytes {
			// Its encoder's Length said less than its Encode gave.
			return head, 0, 0, flow.Errorf("a message to topic %q was encoded to %d bytes, more than Producer.MaxMessageBytes, %d: %w",
				rec.Msg.Topic, size, b.cfg.MaxBytes, flow.External(sarama.ErrMessageSizeTooLarge))
		}
	}
	return head, length, size, nil
}

// added takes note of a record that was written outside encode.
func (b *Batch) added(size int, timestamp int64) {
	b.size += size
	b.count++
	b.maxTimestamp = max(b.maxTimestamp, timestamp)
}
