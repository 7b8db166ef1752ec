package produceset

import "hash/crc32"

// A batch's CRC-32C (KIP-98) covers its header, which is known last, and the records behind it. The records of a large batch
// are summed as they are appended, while they are in the cache. Later, usually on another processor, it takes two to three
// times as long.
//
// The header's sum is then put in front of that of the records. Sums are polynomials over GF(2): to put one in front of n
// bytes means to multiply it by x^8n, modulo the CRC's polynomial.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumFrom is the size from which that is worth it: to put the header's sum in front takes as long as to sum some KiB.
const sumFrom = 16 << 10

// one is the polynomial 1: the highest bit is the lowest power.
const one = 1 << 31

// shifts are x^8, x^16, x^32, …, which put a sum in front of 1, 2, 4, … bytes.
var shifts = func() (powers [32]uint32) {
	powers[0] = one >> 8
	for i := 1; i < len(powers); i++ {
		powers[i] = timesModulo(powers[i-1], powers[i-1])
	}
	return powers
}()

// timesModulo multiplies two polynomials modulo the one of CRC-32C.
func timesModulo(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 { // from the lowest power up
		if a&one != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1) // times x
	}
	return product
}

// joinSums is the sum of two pieces together; the second one has n bytes.
func joinSums(first, second uint32, n int) uint32 {
	for i := 0; n > 0; i, n = i+1, n>>1 {
		if n&1 != 0 {
			first = timesModulo(shifts[i], first)
		}
	}
	return first ^ second
}

// beginSumming keeps the sum from now on, if it was not kept before.
func (b *Batch) beginSumming() {
	if b.summing {
		return
	}
	b.summing = true
	b.sum, b.summed = b.sumRecords(0), b.end
}

// sumRecords is sum, continued over all that is encoded.
func (b *Batch) sumRecords(sum uint32) uint32 {
	for _, piece := range b.records() {
		sum = crc32.Update(sum, castagnoli, piece)
	}
	return sum
}

// sumUp adds what was encoded since the last call to the sum, if that is kept.
func (b *Batch) sumUp() {
	if b.summing && b.end > b.summed {
		b.sum = crc32.Update(b.sum, castagnoli, b.data[b.summed:b.end])
	}
	b.summed = b.end
}

// checksum is the CRC of a batch. The rest of its header is written.
func (b *Batch) checksum(header []byte) uint32 {
	sum := crc32.Checksum(header[atAttributes:], castagnoli)
	if b.summing {
		return joinSums(sum, b.sum, b.size-headerSize)
	}
	return b.sumRecords(sum)
}
