package brokerproducer

import (
	"testing"
	"time"
)

// What a request may have after requests were acknowledged (positive), closed on (negative), or timed out.
func TestSizes(t *testing.T) {
	const most = 100 << 20
	type step struct {
		size   int
		kind   lossKind // otherLoss: it was acknowledged
		after  time.Duration
		bound  int // then
		number int // of losses that counted
	}
	for name, steps := range map[string][]step{
		"small requests are not suspected": {{60_000, closedByPeer, 0, most, 0}, {60_000, timedOut, 0, most, 0}},
		"a close quarters":                 {{2_400_000, closedByPeer, 0, 600_000, 1}, {600_000, closedByPeer, 0, 150_000, 2}},
		"however large it was":             {{90 << 20, closedByPeer, 0, 1_000_000, 1}},
		"never below the least":            {{70_000, closedByPeer, 0, 32 << 10, 1}},
		"what was taken is not suspected at first": {
			{500_000, otherLoss, 0, most, 0}, {500_000, closedByPeer, 0, most, 1},
		},
		"but twice in a row": {
			{500_000, otherLoss, 0, most, 0}, {400_000, closedByPeer, 0, most, 1},
			{200_000, otherLoss, 0, most, 1}, {400_000, closedByPeer, 0, 100_000, 2},
		},
		"not if as much was taken in between": {
			{500_000, otherLoss, 0, most, 0}, {400_000, closedByPeer, 0, most, 1},
			{400_000, otherLoss, 0, most, 1}, {400_000, closedByPeer, 0, most, 2},
		},
		"nor gone below": {{500_000, otherLoss, 0, most, 0}, {520_000, closedByPeer, 0, 500_000, 1}},
		"it stays for a minute, then grows": {
			{800_000, closedByPeer, 0, 200_000, 1},
			{200_000, otherLoss, 59 * time.Second, 200_000, 1},
			{200_000, otherLoss, time.Second, 225_000, 1},
			{60_000, otherLoss, 0, 225_000, 1}, // not used
		},
		"and for two after the next": {
			{800_000, closedByPeer, 0, 200_000, 1}, {200_000, otherLoss, time.Minute, 225_000, 1},
			{225_000, closedByPeer, 0, 200_000, 2},
			{200_000, otherLoss, 119 * time.Second, 200_000, 2}, {200_000, otherLoss, time.Second, 225_000, 2},
		},
		"a time-out halves, whatever was taken before": {
			{800_000, otherLoss, 0, most, 0}, {800_000, timedOut, 0, 400_000, 1}, {400_000, otherLoss, 0, 450_000, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s sizes
			var now int64
			for i, step := range steps {
				now += int64(step.after)
				if step.kind == otherLoss {
					s.acknowledged(step.size, most, now)
				} else {
					s.lost(step.size, s.number, step.kind, now)
				}
				if s.bound(most) != step.bound || s.number != step.number {
					t.Fatalf("step %d: bound %d number %d, want %d and %d", i, s.bound(most), s.number, step.bound, step.number)
				}
			}
		})
	}
}

// Several requests that are lost with one connection lower the limit once; used for long, it is forgotten.
func TestSizesOfOneLoss(t *testing.T) {
	var s sizes
	for range 5 {
		s.lost(800_000, 0, closedByPeer, 0)
	}
	if got := s.bound(1 << 30); got != 200_000 {
		t.Errorf("bound %d", got)
	}
	for range 100 {
		s.acknowledged(s.bound(1<<20), 1<<20, int64(time.Hour))
	}
	if s.limit != 0 {
		t.Errorf("limit %d", s.limit)
	}
}
