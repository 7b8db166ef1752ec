package main

import (
	"fmt"
	"hash/maphash"
	"iter"
	"sync"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// A proof remembers of every acknowledged message where the broker said it is, its place in the input and a digest of
// its content: 16 bytes a message. The messages that are read back are held against it. That shows, for each partition,
// that nothing is missing, changed or there without an acknowledgement, and that the log has the order of the input.
//
// acknowledged may be called concurrently; the other methods are called when all outcomes are known.
type proof struct {
	// withoutOffsets is set for acks none, where the broker tells no offsets: outcomes then stand for offsets, as they
	// come in the order of the partition.
	withoutOffsets bool

	mu         sync.Mutex
	seed       maphash.Seed
	partitions map[int32]*partitionProof
}

type partitionProof struct {
	entries entries // by offset
	next    int64   // the offset that is read back next
	lastSeq int64   // of what was read back last
}

// An entry is an acknowledged message; its seq is 0 where none was acknowledged.
type entry struct {
	seq    int64
	digest uint64
}

// entries grow by blocks of blockSize, so that millions are not copied again and again.
type entries struct {
	blocks [][]entry
	n      int64
}

const blockSize = 1 << 14

func (e *entries) at(i int64) *entry { return &e.blocks[i/blockSize][i%blockSize] }

// set makes v the i-th; i may be beyond the end.
func (e *entries) set(i int64, v entry) {
	for i/blockSize >= int64(len(e.blocks)) {
		e.blocks = append(e.blocks, make([]entry, blockSize))
	}
	*e.at(i) = v
	e.n = max(e.n, i+1)
}

func newProof(acks sarama.RequiredAcks) *proof {
	return &proof{
		withoutOffsets: acks == sarama.NoResponse,
		seed:           maphash.MakeSeed(),
		partitions:     map[int32]*partitionProof{},
	}
}

func (p *proof) partition(n int32) *partitionProof {
	pp := p.partitions[n]
	if pp == nil {
		pp = &partitionProof{}
		p.partitions[n] = pp
	}
	return pp
}

// acknowledged takes in records of a partition with consecutive offsets from base on; it is below 0 if the broker told none.
func (p *proof) acknowledged(partition int32, base int64, records iter.Seq[sluice.Record]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pp := p.partition(partition)
	at := base
	if p.withoutOffsets {
		at = pp.entries.n
	}
	if at < 0 {
		return // the broker knew them already; they are told when they are read back
	}
	for r := range records {
		d := p.digest(r.Key, r.Value)
		for _, h := range r.Headers {
			d = p.digestHeader(d, string(h.Key), h.Value)
		}
		pp.entries.set(at, entry{tag(r.Tag).seq(), d})
		at++
	}
}

// digest tells a null key from an empty one, and a null value too.
func (p *proof) digest(key, value []byte) uint64 {
	d := maphash.Bytes(p.seed, value)
	if value == nil {
		d = ^d
	}
	if key != nil {
		d ^= maphash.Bytes(p.seed, key)*0x9E3779B97F4A7C15 | 1
	}
	return d
}

// digestHeader takes the next header into a digest.
func (p *proof) digestHeader(d uint64, name string, value []byte) uint64 {
	return d*0x9E3779B97F4A7C15 + maphash.String(p.seed, name)*3 + maphash.Bytes(p.seed, value)
}

// readBack checks one record that was read back; the records of a partition come by offset.
func (p *proof) readBack(r *kgo.Record) error {
	pp := p.partition(r.Partition)
	offset := r.Offset
	where := func() string { return fmt.Sprintf("partition %d, offset %d", r.Partition, offset) }
	if offset != pp.next {
		expected := pp.next
		pp.next = offset + 1
		return fmt.Errorf("%s came where offset %d was expected", where(), expected)
	}
	pp.next++
	if offset >= pp.entries.n || pp.entries.at(offset).seq == 0 {
		return fmt.Errorf("%s holds a message that was not acknowledged there", where())
	}
	e := pp.entries.at(offset)
	d := p.digest(r.Key, r.Value)
	for _, h := range r.Headers {
		d = p.digestHeader(d, h.Key, h.Value)
	}
	if e.digest != d {
		return fmt.Errorf("%s does not hold what was written there, message %d", where(), e.seq)
	}
	if e.seq <= pp.lastSeq {
		return fmt.Errorf("%s holds message %d after message %d", where(), e.seq, pp.lastSeq)
	}
	pp.lastSeq = e.seq
	return nil
}

// missing tells what was acknowledged and not read back.
func (p *proof) missing() error {
	for n, pp := range p.partitions {
		if left := pp.entries.n - pp.next; left > 0 {
			return fmt.Errorf("partition %d ends at offset %d, and %d messages were acknowledged after it", n, pp.next, left)
		}
	}
	return nil
}
