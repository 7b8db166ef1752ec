package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// usage is what a process has used up to a moment.
type usage struct {
	at      time.Time
	cpu     time.Duration // user and system, of all threads: the garbage collector's too
	mallocs uint64
	bytes   uint64 // allocated, whether freed since or not
}

// used reads the counters. It stops the world for a moment, so that it belongs before and after what is measured.
func used() (usage, error) {
	var rusage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &rusage); err != nil {
		return usage{}, fmt.Errorf("getrusage: %w", err)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return usage{
		at:      time.Now(),
		cpu:     time.Duration(rusage.Utime.Nano() + rusage.Stime.Nano()),
		mallocs: mem.Mallocs,
		bytes:   mem.TotalAlloc,
	}, nil
}

// heldMemory returns the bytes of heap and stacks that a process holds when nothing is under way. What sync.Pools keep
// goes only with the second collection.
func heldMemory() int64 {
	runtime.GC()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return int64(mem.HeapInuse + mem.StackInuse)
}

// peakMemory returns the largest resident set that this process has had, in bytes. getrusage's maximum is kept across
// exec on Linux and so begins with the parent's; /proc has the process's own.
func peakMemory() (int64, error) {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range bytes.Lines(status) {
			if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
				kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
				return kib << 10, err
			}
		}
	}
	var rusage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &rusage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	if runtime.GOOS == "darwin" {
		return rusage.Maxrss, nil // bytes there, KiB elsewhere
	}
	return rusage.Maxrss << 10, nil
}
