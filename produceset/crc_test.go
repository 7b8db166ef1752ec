package produceset

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestJoinSums(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	for _, n := range []int{0, 1, 2, 7, 40, 255, 256, 4095, 65_536, 100_003, 1<<20 - 40, 2_500_000} {
		for _, head := range []int{0, 1, 40} {
			want := crc32.Checksum(data[:head+n], castagnoli)
			first, second := crc32.Checksum(data[:head], castagnoli), crc32.Checksum(data[head:head+n], castagnoli)
			if got := joinSums(first, second, n); got != want {
				t.Errorf("%d and %d bytes: %08x, want %08x", head, n, got, want)
			}
		}
	}
}

func BenchmarkJoinSums(b *testing.B) {
	var sum uint32
	for b.Loop() {
		sum = joinSums(sum, 1, 1<<20-1)
	}
}
