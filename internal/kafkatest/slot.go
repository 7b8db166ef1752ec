//go:build unix

package kafkatest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

const (
	maxNodes = 5
	maxSlots = 200

	// The ports are below Linux's range for outgoing connections (from 32768 on). In that range any client could take a
	// node's port during a restart, even one that is dialling this very port.
	firstPort    = 22000
	portsPerSlot = 2 * maxNodes

	// The further listeners' ports follow those of all slots.
	firstListenerPort    = firstPort + maxSlots*portsPerSlot
	listenerPortsPerSlot = maxListeners * maxNodes
)

// slot is a cluster's own folder and blocks of ports on this machine, under one file lock. The lock ends with the test
// binary. So a slot that can be locked is free, and any data in its folder is from a run that was killed.
type slot struct {
	number int
	dir    string
	lock   *os.File
}

// slotRoot is the folder that holds the slots of this user.
func slotRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("sluice-kafkatest-%d", os.Getuid()))
}

// takeSlot takes the first free slot in root and empties its folder. It skips slots whose ports are not free: another
// program has them, or a node of a killed run that is about to die.
func takeSlot(root string, portsFree func(*slot) bool) (*slot, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("kafkatest: folder for the clusters' data: %w", err)
	}
	for number := range maxSlots {
		s := &slot{number: number, dir: filepath.Join(root, fmt.Sprintf("slot-%d", number))}
		lock, err := tryLock(s.dir + ".lock")
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.lock = lock
		if !portsFree(s) {
			if err := lock.Close(); err != nil {
				return nil, fmt.Errorf("kafkatest: slot %d: %w", number, err)
			}
			continue
		}
		if err := errors.Join(os.RemoveAll(s.dir), os.Mkdir(s.dir, 0o700)); err != nil {
			return nil, fmt.Errorf("kafkatest: data folder of slot %d: %w", number, errors.Join(err, lock.Close()))
		}
		return s, nil
	}
	return nil, fmt.Errorf("kafkatest: no free block of ports in %d–%d", firstPort, firstListenerPort+maxSlots*listenerPortsPerSlot-1)
}

func (s *slot) brokerPort(node int) int     { return firstPort + s.number*portsPerSlot + node }
func (s *slot) controllerPort(node int) int { return s.brokerPort(node) + maxNodes }

func (s *slot) listenerPort(listener, node int) int {
	return firstListenerPort + s.number*listenerPortsPerSlot + listener*maxNodes + node
}

// ports are all ports of a slot.
func (s *slot) ports() (all []int) {
	for i := range portsPerSlot {
		all = append(all, s.brokerPort(0)+i)
	}
	for i := range listenerPortsPerSlot {
		all = append(all, s.listenerPort(0, 0)+i)
	}
	return all
}

// portsFree tells whether every port of a slot can be listened on.
func portsFree(s *slot) bool {
	for _, port := range s.ports() {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		if err := l.Close(); err != nil {
			return false
		}
	}
	return true
}

// release removes the folder and gives the slot back. The lock file stays: without it two runs could lock two files of the
// same name.
func (s *slot) release() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

var errLocked = errors.New("locked by another process")

// tryLock locks a file, or returns errLocked. Closing the file unlocks it.
func tryLock(path string) (*os.File, error) {
	return lockFile(path, syscall.LOCK_EX|syscall.LOCK_NB)
}

// waitLock locks a file. It waits while another process has it.
func waitLock(path string) (*os.File, error) {
	return lockFile(path, syscall.LOCK_EX)
}

func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: lock file: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	return nil, fmt.Errorf("kafkatest: lock %s: %w", path, errors.Join(err, f.Close()))
}
