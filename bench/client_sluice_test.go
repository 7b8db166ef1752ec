package main

import (
	"testing"

	"github.com/IBM/sarama"
)

// TestLetGo: a report's slice is cut into those of a call, which are kept until letGo.
func TestLetGo(t *testing.T) {
	b := &sluiceBatch{free: make(chan []*sarama.ProducerMessage, sluiceFree)}
	b.recycle(make([]*sarama.ProducerMessage, 2*sluiceCall+1))
	if kept := len(b.free); kept != 2 {
		t.Errorf("%d slices are kept of two calls' worth", kept)
	}
	b.letGo()
	if kept := len(b.free); kept != 0 {
		t.Errorf("%d slices are kept after letGo", kept)
	}
}
