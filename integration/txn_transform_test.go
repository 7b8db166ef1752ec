//go:build unix

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

const transformPartitions = 3

// testTransform has a process read a topic and write what it makes of it to another, the offsets in the same transactions.
// The process is killed in each part of a transaction and started anew, and each of the nodes that are named is killed
// meanwhile. Every message comes out exactly once, in order.
func testTransform(t *testing.T, c *kafkatest.Cluster, messages, batch int, nodes ...int) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	in, out := c.NewTopic(t, transformPartitions, nil), c.NewTopic(t, transformPartitions, nil)
	fillTransform(t, c, in, messages)
	conf := transformConfig{
		Brokers: c.Brokers(), ID: out, Group: out + "-group", In: in, Out: out, Batch: batch,
		// After so many transactions a process is killed. A quarter of all is left for the last one.
		HoldAfter: max(2, messages/batch*3/4/len(transformHolds)),
	}
	start := time.Now()
	say := func(format string, args ...any) {
		t.Logf("%.1f s: %s", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	restart := func(node int) {
		say("restart node %d", node)
		c.Restart(t, node)
		awaitInSync(ctx, t, c, in, out, transactionState, "__consumer_offsets")
	}
	for i, hold := range transformHolds {
		conf.Hold, conf.ByTransact = hold, i%2 == 1
		child := startTransform(ctx, t, conf)
		down := -1
		if i < len(nodes) {
			child.await(ctx, "committed")
			down = nodes[i]
			say("kill node %d", down)
			c.Kill(t, down)
		}
		child.await(ctx, "holds")
		say("kill the process: %s", hold)
		child.kill()
		if down >= 0 {
			restart(down)
		}
	}
	conf.Hold = ""
	child := startTransform(ctx, t, conf)
	awaitOffsets(ctx, t, c, conf.Group, in, messages)
	say("all is read")
	child.end(ctx)
	wantNoOpenTxn(t, c, conf.ID)
	checkTransform(t, readCommitted(t, c, out), messages)
	say("done")
}

// fillTransform writes the numbers to a topic, round robin.
func fillTransform(t *testing.T, c *kafkatest.Cluster, topic string, messages int) {
	t.Helper()
	var all []*sarama.ProducerMessage
	for i := range messages {
		all = append(all, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(i % transformPartitions), Value: sarama.StringEncoder(strconv.Itoa(i)),
		})
	}
	deliver(t, newAsync(t, c, newConfig()), all)
}

func transformed(value []byte) string { return "made of " + string(value) }

// checkTransform looks for each message of the input in the output.
func checkTransform(t *testing.T, records map[int32][]*kgo.Record, messages int) {
	t.Helper()
	for p := range int32(transformPartitions) {
		next := int(p)
		for _, r := range records[p] {
			if want := transformed([]byte(strconv.Itoa(next))); string(r.Value) != want {
				t.Errorf("partition %d, offset %d: %q, want %q", p, r.Offset, r.Value, want)
				break
			}
			next += transformPartitions
		}
		if next < messages {
			t.Errorf("partition %d: %d is missing", p, next)
		}
	}
}

// awaitOffsets waits until a group has committed offsets behind that many messages.
func awaitOffsets(ctx context.Context, t *testing.T, c *kafkatest.Cluster, group, topic string, messages int) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		sum := 0
		offsets := committedOffsets(ctx, t, c, group, topic, 0, 1, 2)
		for _, offset := range offsets {
			sum += int(max(0, offset))
		}
		if sum >= messages {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("the group's offsets are %v, for %d messages: %v", offsets, messages, ctx.Err())
		}
	}
}

// committedOffsets are a group's offsets in a topic, -1 where there is none. It waits while a transaction with offsets is not
// completed. Kafka tells of such a one only where it is asked for the partition by its number.
func committedOffsets(ctx context.Context, t *testing.T, c *kafkatest.Cluster, group, topic string, partitions ...int32) map[int32]int64 {
	t.Helper()
	// Later versions name topics by their ids.
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.MaxVersions(kversion.V3_9_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	inTopic := kmsg.NewOffsetFetchRequestGroupTopic()
	inTopic.Topic, inTopic.Partitions = topic, partitions
	inGroup := kmsg.NewOffsetFetchRequestGroup()
	inGroup.Group, inGroup.Topics = group, append(inGroup.Topics, inTopic)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups, req.RequireStable = append(req.Groups, inGroup), true
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		resp, err := req.RequestWith(ctx, cl)
		if err == nil {
			var offsets map[int32]int64
			if offsets, err = groupOffsets(resp); err == nil {
				return offsets
			}
		}
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			t.Fatalf("offsets of %s: %v", group, err)
		}
		<-ticker.C
	}
}

func groupOffsets(resp *kmsg.OffsetFetchResponse) (map[int32]int64, error) {
	offsets := make(map[int32]int64)
	for _, group := range resp.Groups {
		if err := kerr.ErrorForCode(group.ErrorCode); err != nil {
			return nil, err
		}
		for _, one := range group.Topics {
			for _, p := range one.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, err
				}
				offsets[p.Partition] = p.Offset
			}
		}
	}
	return offsets, nil
}

// transformProcess is the parent's side of a process: this test binary, run as transformMain.
type transformProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	lines  chan string // what it says; closed at its end
	stderr *strings.Builder
}

func startTransform(ctx context.Context, t *testing.T, conf transformConfig) *transformProcess {
	t.Helper()
	text, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), transformEnv+"="+string(text))
	p := &transformProcess{t: t, cmd: cmd, lines: make(chan string, 1000), stderr: new(strings.Builder)}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			select {
			case p.lines <- scanner.Text():
			default: // nobody reads: the parent has seen what it wanted to see
			}
		}
	}()
	return p
}

// await waits until the process says something.
func (p *transformProcess) await(ctx context.Context, what string) {
	p.t.Helper()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the process ended: %v\n%s", p.cmd.Wait(), p.stderr)
			}
			if line == what {
				return
			}
			if line != "committed" {
				p.t.Logf("process: %s", line)
			}
		case <-ctx.Done():
			p.t.Fatalf("the process does not say that it %s: %v", what, ctx.Err())
		}
	}
}

// kill ends the process as a crash does (SIGKILL).
func (p *transformProcess) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	p.drain()
	_ = p.cmd.Wait() // "signal: killed"
}

// end has the process close its producer and its consumer, and waits for that.
func (p *transformProcess) end(ctx context.Context) {
	p.t.Helper()
	if err := p.stdin.Close(); err != nil {
		p.t.Error(err)
	}
	p.drain()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the process: %v\n%s", err, p.stderr)
	}
}

func (p *transformProcess) drain() {
	for line := range p.lines {
		if line != "committed" {
			p.t.Logf("process: %s", line)
		}
	}
}
