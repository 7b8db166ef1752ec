//go:build unix

package kafkatest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func allFree(*slot) bool { return true }

func take(t *testing.T, root string, free func(*slot) bool) *slot {
	t.Helper()
	s, err := takeSlot(root, free)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSlotsAreExclusiveAndReused(t *testing.T) {
	root := t.TempDir()
	a, b := take(t, root, allFree), take(t, root, allFree)
	if a.number == b.number || a.dir == b.dir || a.brokerPort(0) == b.brokerPort(0) {
		t.Errorf("two clusters share slot %d", a.number)
	}
	if err := a.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a released slot: error %v, want that it doesn't exist", err)
	}
	again := take(t, root, allFree)
	if again.number != a.number {
		t.Errorf("got slot %d, want the released slot %d", again.number, a.number)
	}
	if err := errors.Join(again.release(), b.release()); err != nil {
		t.Fatal(err)
	}
}

func TestSlotOfAKilledRunIsEmptied(t *testing.T) {
	root := t.TempDir()
	dead := take(t, root, allFree)
	left := filepath.Join(dead.dir, "left")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dead.lock.Close(); err != nil { // as the kernel does for a process that is killed
		t.Fatal(err)
	}
	s := take(t, root, allFree)
	if s.dir != dead.dir {
		t.Errorf("got %s, want the folder that was left, %s", s.dir, dead.dir)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed run left: error %v, want that it doesn't exist", err)
	}
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
}

func TestSlotWithPortsInUseIsPassedOver(t *testing.T) {
	s := take(t, t.TempDir(), func(s *slot) bool { return s.number >= 3 })
	if s.number != 3 {
		t.Errorf("got slot %d, want 3, the first with free ports", s.number)
	}
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := takeSlot(t.TempDir(), func(*slot) bool { return false }); err == nil {
		t.Error("a slot was taken though no port is free")
	}
}

func TestNoPortBelongsToTwoSlots(t *testing.T) {
	seen := make(map[int]int)
	for number := range maxSlots {
		s := &slot{number: number}
		ports := s.ports()
		for listener := range maxListeners {
			if port := s.listenerPort(listener, maxNodes-1); !slices.Contains(ports, port) {
				t.Errorf("slot %d: the port %d of listener %d is not among its ports", number, port, listener)
			}
		}
		for _, port := range ports {
			if other, taken := seen[port]; taken || port >= 32768 {
				t.Fatalf("slot %d has the port %d, as has slot %d", number, port, other)
			}
			seen[port] = number
		}
	}
}
