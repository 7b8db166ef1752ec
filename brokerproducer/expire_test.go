package brokerproducer

import (
	"runtime"
	"testing"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What expires in one turn may be very much: its cost follows its number.
func TestManyBatchesExpireTogether(t *testing.T) {
	cost := func(n int) uint64 {
		b := newScriptBench(t, []string{"timeout=10s", "max-messages=1"})
		s := b.open(0, false)
		for i := range n {
			s.Send([]flow.Record{b.record(i)})
		}
		b.do("tick", []string{"+10s"})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b.do("expire", nil)
		runtime.ReadMemStats(&after)
		if s.holds() {
			t.Error("something is left")
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if few, many := cost(1000), cost(8000); many > 16*few {
		t.Errorf("1,000 batches take %d bytes, 8,000 take %d", few, many)
	}
}
