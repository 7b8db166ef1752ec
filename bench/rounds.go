package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sluice-kafka/sluice/bench/sink"
)

// target is the broker of one run: it is fresh for each, so that its count is that of the run.
type target interface {
	addrs() []string
	topics() []string
	// finish ends the target and returns the records that it holds, and the CPU that it took where that is known. Of a
	// transactional client's only those count that a reader of committed records is given.
	finish(ctx context.Context, transactional bool) (records int64, cpu time.Duration, err error)
}

// rounds runs every client once a round, A B C A B C, so that whatever slows the machine for a while slows all of them.
func rounds(ctx context.Context, s settings, progress io.Writer) ([]result, error) {
	var results []result
	for round := 1; round <= s.Rounds; round++ {
		for _, name := range s.Clients {
			res, err := once(ctx, s, name, round)
			if ctx.Err() != nil {
				return results, context.Cause(ctx)
			}
			if err != nil {
				return results, fmt.Errorf("round %d, %s: %w", round, name, err)
			}
			fmt.Fprintf(progress, "round %d of %d: %-14s %s records/s\n", round, s.Rounds, name, count(res.rate()))
			results = append(results, res)
		}
	}
	return results, nil
}

// once runs one client, bounded by the time-out, and checks that the broker got what the client says it sent.
func once(ctx context.Context, s settings, name string, round int) (res result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("not done after %v (-timeout)", s.Timeout))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()

	to, err := open(ctx, s)
	if err != nil {
		return res, err
	}
	res, err = child(ctx, run{settings: s, Client: name, Sync: kindOf(name).sync, Transactional: kindOf(name).transactional, Round: round, Addrs: to.addrs(), Names: to.topics()})
	// A target is finished even when the run was not: topics are deleted, processes end.
	records, cpu, ended := to.finish(context.WithoutCancel(ctx), kindOf(name).transactional)
	if err != nil {
		return res, err
	}
	if ended != nil {
		return res, ended
	}
	err = check(&res, records, cpu)
	return res, err
}

// check completes a result with what the broker tells, which must have just the records that were acknowledged.
func check(res *result, records int64, cpu time.Duration) error {
	if sent := int64(res.Sent); res.Client != "channels" && records != sent {
		return fmt.Errorf("the broker has %d records, and %d were acknowledged", records, sent)
	}
	res.SinkCPU = cpu
	return nil
}

// child runs a client in a process of its own.
func child(ctx context.Context, r run) (result, error) {
	argument, err := encode(r)
	if err != nil {
		return result{}, err
	}
	p, err := start(ctx, r.Client, runCommand, argument)
	if err != nil {
		return result{}, err
	}
	line, err := p.line()
	if err != nil {
		return result{}, err
	}
	if err := p.end(); err != nil {
		return result{}, err
	}
	return decode[result](line)
}

// open starts a sink, or makes topics at a real Kafka.
func open(ctx context.Context, s settings) (target, error) {
	names := make([]string, s.Topics)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", topicPrefix, i)
	}
	if len(s.Brokers) > 0 {
		return openKafka(ctx, s, names)
	}
	argument, err := encode(sink.Config{Partitions: s.Partitions, Topics: names, Delay: s.Delay, TransactionVersion: int16(s.TxnVersion)})
	if err != nil {
		return nil, err
	}
	// Not ctx: the sink outlives a client that is killed, and ends with its input.
	p, err := start(context.WithoutCancel(ctx), "sink", sinkCommand, argument)
	if err != nil {
		return nil, err
	}
	addr, err := p.line()
	if err != nil {
		return nil, err
	}
	return &sinkTarget{process: p, addr: addr, names: names}, nil
}

// sinkTarget is a sink in a process of its own, so that its CPU and memory are not the client's.
type sinkTarget struct {
	process *process
	addr    string
	names   []string
}

func (t *sinkTarget) addrs() []string  { return []string{t.addr} }
func (t *sinkTarget) topics() []string { return t.names }

func (t *sinkTarget) finish(context.Context, bool) (int64, time.Duration, error) {
	t.process.stdin.Close()
	line, err := t.process.line()
	if err != nil {
		return 0, 0, err
	}
	if err := t.process.end(); err != nil {
		return 0, 0, err
	}
	counted, err := decode[batchCall](line)
	return counted.Records, counted.CPU, err
}
