package brokerproducer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// Scripts for the loop of a broker producer. Each command is one turn; there are no goroutines. Commands:
//
//	new [linger=D] [bytes=N] [messages=N] [max-messages=N] [max-bytes=N] [retry=N] [timeout=D] [window=N] [acks=1]
//	send p0 1..3           records for a partition arrive
//	end p0                 its partition producer ends the session
//	reopen p0 [verify]     its partition producer sends what came back, through a new session
//	recreate               the topic is deleted and created anew, which the next sessions know
//	wait                   from now on the network goroutine waits with what it gets, as for a dial
//	write                  it writes what it waits with
//	free                   the network goroutine is free for the next request
//	answer r1 p0=A …       the request is answered: ok@40, or an error by its name
//	lost r1                the connection was lost with the request written
//	unsent r1              no connection: not a byte was written
//	denied r1              no connection: the broker refused our credentials
//	conn-lost              the connection was lost with nothing open
//	tick +10ms             time passes
//	expire                 the deadline timer fires
//	urgent, calm           a flush begins, and ends
//	closing, abort         Close begins, and runs out of time
//	release                the pool does not need the broker any more
//
// A request is printed when it crosses the bridge: r1: p0[1..3]. Idempotence is on with a window above 1.
func TestLoopScripts(t *testing.T) {
	flowtest.Run(t, "testdata/*.txt", func(t *testing.T) flowtest.Command {
		var b *bench
		return func(t *testing.T, name string, args []string) string {
			if name == "new" {
				b = newScriptBench(t, args)
				return ""
			}
			b.out.Reset()
			b.do(name, args)
			return b.out.String()
		}
	})
}

func newScriptBench(t *testing.T, args []string) *bench {
	number := func(name, otherwise string) int {
		n, err := strconv.Atoi(flowtest.Option(args, name, otherwise))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	cfg := newConfig(t, func(conf *sarama.Config) {
		p := &conf.Producer
		p.Flush.Frequency = parse(flowtest.Option(args, "linger", "0s"))
		p.Flush.Bytes, p.Flush.Messages = number("bytes", "0"), number("messages", "0")
		p.Flush.MaxMessages = number("max-messages", "0")
		p.MaxMessageBytes = number("max-bytes", "1000000")
		p.Retry.Max = number("retry", "3")
		if number("acks", "-1") == 1 {
			p.RequiredAcks = sarama.WaitForLocal
		}
	})
	cfg.Shared.DeliveryTimeout = parse(flowtest.Option(args, "timeout", "1m"))
	if cfg.Window = number("window", "1"); cfg.Window > 1 {
		cfg.Identity = func() txn.Identity { return txn.Identity{ID: 7} }
	}
	return newBench(t, cfg)
}

func (b *bench) do(name string, args []string) {
	expired := false
	switch name {
	case "send":
		s := b.open(partition(args[0]), false)
		for _, n := range flowtest.Range(args[1]) {
			s.Send([]flow.Record{b.record(n)})
		}
	case "end":
		b.sessions[partition(args[0])].End()
	case "reopen":
		b.reopen(partition(args[0]), len(args) > 1)
	case "recreate":
		b.topicID++
		return
	case "free":
		b.loop.mailbox.Put(item{kind: itemBridgeFree})
	case "wait":
		b.waits = true
		return
	case "write":
		b.waits = false
		b.write()
	case "answer":
		b.answer(requestNumber(args[0]), nil, true, b.answers(requestNumber(args[0]), args[1:])...)
	case "lost":
		b.answer(requestNumber(args[0]), errors.New("connection lost"), true)
	case "unsent":
		b.answer(requestNumber(args[0]), errors.New("connection refused"), false)
	case "denied":
		b.answer(requestNumber(args[0]), sarama.ErrSASLAuthenticationFailed, false)
	case "conn-lost":
		b.loop.mailbox.Put(item{kind: itemConnLost, err: errors.New("connection lost")})
	case "tick":
		b.now += parse(strings.TrimPrefix(args[0], "+"))
	case "expire":
		expired = true
	case "release":
		b.loop.pool.release(b.loop.Producer, sizes{})
	case "urgent":
		b.loop.Shared.BeginUrgent()
	case "calm":
		b.loop.Shared.EndUrgent()
	case "closing":
		b.loop.Shared.BeginClose()
	case "abort":
		b.loop.Shared.Abort(errors.New("aborted"))
	case "":
		b.print()
		return
	default:
		b.t.Fatalf("no command %q", name)
	}
	b.turn(expired)
}

// print says what the loop holds of each partition.
func (b *bench) print() {
	for _, p := range slices.Sorted(maps.Keys(b.sessions)) {
		s := b.sessions[p]
		fmt.Fprintf(&b.out, "p%d:", p)
		for _, list := range []struct {
			name    string
			batches []*Batch
		}{{"flight", s.flight}, {"ready", s.ready}, {"open", one(s.open)}} {
			if len(list.batches) > 0 {
				fmt.Fprintf(&b.out, " %s%s", list.name, batchNames(list.batches))
			}
		}
		if len(s.records) > 0 {
			b.out.WriteString(" kept " + flowtest.Numbers(s.records))
		}
		switch {
		case s.ending:
			b.out.WriteString(" ending")
		case s.closed:
			b.out.WriteString(" closed")
		case s.queued == lingering:
			b.out.WriteString(" lingers")
		case s.queued == due:
			b.out.WriteString(" due")
		}
		b.out.WriteString("\n")
	}
	if b.loop.stopped {
		b.out.WriteString("the loop ends\n")
	}
	if b.out.Len() == 0 {
		b.out.WriteString("nothing\n")
	}
}

func one(b *Batch) []*Batch {
	if b == nil {
		return nil
	}
	return []*Batch{b}
}

// answerCodes are the errors that scripts name.
var answerCodes = map[string]sarama.KError{
	"not-leader":              sarama.ErrNotLeaderForPartition,
	"timed-out":               sarama.ErrRequestTimedOut,
	"not-enough-replicas":     sarama.ErrNotEnoughReplicas,
	"not-enough-after-append": sarama.ErrNotEnoughReplicasAfterAppend,
	"too-large":               sarama.ErrMessageSizeTooLarge,
	"invalid-record":          87,
	"duplicate":               sarama.ErrDuplicateSequenceNumber,
	"out-of-order":            sarama.ErrOutOfOrderSequenceNumber,
	"unknown-producer":        sarama.ErrUnknownProducerID,
	"unknown-id":              sarama.ErrInvalidProducerIDMapping,
}

func (b *bench) answers(number int, args []string) []wire.ProduceAnswer {
	if number > len(b.requests) || b.requests[number-1] == nil {
		b.t.Fatalf("no request r%d is open; so far:\n%s", number, b.out.String())
	}
	var answers []wire.ProduceAnswer
	for _, batch := range b.requests[number-1].batches {
		text := flowtest.Option(args, fmt.Sprintf("p%d", batch.Partition), "")
		a := wire.ProduceAnswer{BaseOffset: -1, AppendTime: -1, LeaderID: -1, LeaderEpoch: -1}
		if offset, ok := strings.CutPrefix(text, "ok@"); ok {
			a.BaseOffset, _ = strconv.ParseInt(offset, 10, 64)
		} else if text == "appended" {
			a.AppendTime = 1234
		} else if text == "missing" {
			a.Missing = true
		} else if code, known := answerCodes[text]; known {
			a.Code = int16(code)
		} else {
			b.t.Fatalf("no answer %q for p%d", text, batch.Partition)
		}
		answers = append(answers, a)
	}
	return answers
}

func partition(s string) int32 {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "p"))
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func requestNumber(s string) int { return int(partition(strings.TrimPrefix(s, "r"))) }

func parse(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
