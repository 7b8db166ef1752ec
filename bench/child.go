package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/bench/sink"
)

// result is what a child has measured; per record where the table says so.
type result struct {
	Client  string
	Records int // of the measured part
	Sent    int // with the warm-up
	Elapsed time.Duration
	CPU     time.Duration
	Mallocs uint64
	Bytes   uint64
	// OwnMallocs and OwnBytes are what making the same records costs without any client.
	OwnMallocs, OwnBytes uint64
	PeakMemory           int64
	IdleMemory           int64         // held by the open client when everything is acknowledged
	P50, P99             time.Duration // of a call, for sync clients
	Commits              int           // of the measured part, for transactional clients
	CommitP50, CommitP99 time.Duration
	SinkCPU              time.Duration // of the sink, warm-up included; filled in by the parent
}

// produce is the child's life: the user's own cost, a warm-up, the measured part, what is held after it.
func produce(r run) (result, error) {
	k := kindOf(r.Client)
	if k == nil {
		return result{}, fmt.Errorf("unknown client %q", r.Client)
	}
	r.payload = newPayload(r.Payload, r.Size, r.Compression != "none", r.Names)
	r.payload.makeKeys(r.Keys)
	res := result{Client: r.Client, Records: r.Records}

	before, err := used()
	if err != nil {
		return res, err
	}
	k.own(r, r.Records)
	after, err := used()
	if err != nil {
		return res, err
	}
	res.OwnMallocs, res.OwnBytes = after.mallocs-before.mallocs, after.bytes-before.bytes

	// What is there without the client, the values among it, is there before and after.
	without := heldMemory()
	c, err := k.open(r)
	if err != nil {
		return res, err
	}
	// The warm-up connects, fills pools, and lets the heap find its size. It ends with every record acknowledged.
	first := warmUp(r.Records)
	if err := c.send(first); err != nil {
		return res, errors.Join(fmt.Errorf("warm-up: %w", err), c.close())
	}
	res.Sent = first + r.Records
	if err := measure(r, c, &res); err != nil {
		return res, errors.Join(err, c.close())
	}
	if t, ok := c.(timed); ok {
		res.P50, res.P99 = percentiles(t.latencies())
	}
	if t, ok := c.(committing); ok {
		taken := t.commits()
		res.Commits = len(taken)
		res.CommitP50, res.CommitP99 = percentiles(taken)
	}
	if h, ok := c.(hoarder); ok {
		h.letGo()
	}
	// Not below zero: what the runtime itself gives back may be more than a client that holds next to nothing has.
	res.IdleMemory = max(0, heldMemory()-without)
	if err := c.close(); err != nil {
		return res, fmt.Errorf("close: %w", err)
	}
	res.PeakMemory, err = peakMemory()
	return res, err
}

// warmUp is how many records are sent before those that are measured.
func warmUp(records int) int { return max(1, records/10) }

// percentiles sorts the times that calls took.
func percentiles(taken []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(taken)
	return taken[len(taken)/2], taken[len(taken)*99/100]
}

// measure sends the records between two readings of the counters.
func measure(r run, c client, res *result) (err error) {
	runtime.GC()
	if r.CPUProfile != "" {
		file, err := os.Create(filepath.Join(r.CPUProfile, fmt.Sprintf("%s-%d.pprof", r.Client, r.Round)))
		if err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	before, err := used()
	if err != nil {
		return err
	}
	if err := c.send(r.Records); err != nil {
		return err
	}
	after, err := used()
	if err != nil {
		return err
	}
	res.Elapsed, res.CPU = after.at.Sub(before.at), after.cpu-before.cpu
	res.Mallocs, res.Bytes = after.mallocs-before.mallocs, after.bytes-before.bytes
	return nil
}

// batchCall is what a sink's process tells when it ends.
type batchCall struct {
	sink.Stats
	CPU time.Duration
}

// serve is the life of the sink's process: it prints its address, and, when its input ends, what it has counted.
func serve(config sink.Config, in io.Reader, out io.Writer) error {
	b, err := sink.Listen(config)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, b.Addr()); err != nil {
		return errors.Join(err, b.Close())
	}
	io.Copy(io.Discard, in)
	if err := b.Close(); err != nil {
		return err
	}
	total, err := used()
	if err != nil {
		return err
	}
	text, err := encode(batchCall{Stats: b.Stats(), CPU: total.cpu})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
