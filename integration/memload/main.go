//go:build linux

// Command memload is one producer under full load, alone in its process, so that the process's memory is the
// producer's and that of its messages. The memory test runs it and stalls its broker.
//
// It says on its standard output, a line each, when messages are delivered ("running"), when nothing has moved for a
// second ("stalled"), and at the end its peak resident memory in KiB ("peak 123456"). It ends when its standard input
// does.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

var (
	brokers = flag.String("brokers", "", "where Kafka is")
	topic   = flag.String("topic", "", "the topic that is written to")
	value   = flag.Int("value", 100, "bytes of a value")
	budget  = flag.Int64("budget", 64<<20, "buffer memory in bytes")
	profile = flag.String("heapprofile", "", "where to write a heap profile when the broker stalls")
)

// warmUp is how many bytes are delivered before the load counts as running: more than any budget, so that pools and the
// heap have their size.
const warmUp = 100 << 20

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "memload:", err)
		os.Exit(1)
	}
}

func run() error {
	conf := sluice.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Net.ReadTimeout = 3 * time.Second // retries are to be part of it
	p, err := sluice.New(strings.Split(*brokers, ","), conf, sluice.WithBufferMemory(*budget))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sent, settled atomic.Int64
	var stages sync.WaitGroup
	stages.Go(func() {
		defer p.AsyncClose()
		send(ctx, p, &sent)
	})
	stages.Go(func() { awaitStall(ctx, p, &sent, &settled) })
	failed := make(chan error, 1)
	go func() {
		var first error
		for e := range p.Errors() {
			first = errors.Join(first, e)
			settled.Add(1)
			for range p.Errors() { // one is enough to tell
				settled.Add(1)
			}
		}
		failed <- first
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	for range p.Successes() {
		if settled.Add(1) == int64(warmUp / *value) {
			fmt.Println("running")
		}
	}
	stages.Wait()
	if err := <-failed; err != nil {
		return err
	}
	peak, err := peakMemory()
	if err != nil {
		return err
	}
	fmt.Println("delivered", settled.Load())
	fmt.Println("peak", peak)
	return nil
}

// send sends as fast as Input takes it, a new message and a new value each time, as a program does that has them from
// elsewhere.
func send(ctx context.Context, p *sluice.Producer, sent *atomic.Int64) {
	noise := make([]byte, *value+1<<16) // hard to compress, cheap to make
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(noise) // never fails
	for i := 0; ; i++ {
		v := make([]byte, *value)
		copy(v, noise[i%(1<<16):])
		select {
		case p.Input() <- &sarama.ProducerMessage{Topic: *topic, Value: sarama.ByteEncoder(v)}:
			sent.Add(1)
		case <-ctx.Done():
			return
		}
	}
}

// awaitStall waits until nothing has moved for a second.
func awaitStall(ctx context.Context, p *sluice.Producer, sent, settled *atomic.Int64) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before := int64(-1)
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := sent.Load() + settled.Load()
		if now == before && settled.Load() > 0 {
			break
		}
		before = now
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	messages, bytes := p.Buffered()
	fmt.Printf("held %d messages, charged %d KiB, live heap %d KiB\n", messages, bytes>>10, mem.HeapAlloc>>10)
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "memload: heap profile:", err)
		}
	}
	fmt.Println("stalled")
}

// peakMemory is the most that was resident, in KiB. It is not getrusage's: that counts the process before exec too.
func peakMemory() (kib int64, err error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			_, err := fmt.Sscan(rest, &kib)
			return kib, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}
