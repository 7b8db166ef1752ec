//go:build unix

package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pollInterval is how often a node is asked whether it is up. Kafka has no event for that.
const pollInterval = 100 * time.Millisecond

func (n *node) dataDir() string    { return filepath.Join(n.dir, "data") }
func (n *node) configFile() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) logFile() string    { return filepath.Join(n.dir, "kafka.log") }
func (n *node) log4jFile() string  { return filepath.Join(n.dir, "log4j2.properties") }

// format writes the nodes' configuration and prepares their data folders, all with the same new cluster id.
func (c *Cluster) format() error {
	var random [16]byte
	rand.Read(random[:]) // never fails
	id := base64.RawURLEncoding.EncodeToString(random[:])
	formats := make([]*process, len(c.nodes))
	var errs []error
	for i, n := range c.nodes {
		err := os.MkdirAll(n.dir, 0o700)
		if err == nil {
			err = os.WriteFile(n.configFile(), []byte(c.nodeProperties(i)), 0o600)
		}
		if err == nil {
			err = os.WriteFile(n.log4jFile(), []byte(log4jProperties), 0o600)
		}
		if err == nil {
			formats[i], err = c.runJava(n, append([]string{"kafka.tools.StorageTool", "format", "--cluster-id=" + id,
				"--config", n.configFile()}, append(c.conf.featureArgs(), c.conf.scramArgs()...)...)...)
		}
		errs = append(errs, err)
	}
	for i, p := range formats {
		if p == nil {
			continue
		}
		<-p.exited
		if p.err != nil {
			errs = append(errs, fmt.Errorf("format node %d: %w", i, p.err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafkatest: %w\n%s", err, c.logTails())
	}
	return nil
}

// launch starts nodes that are down and waits until each answers and knows at least known brokers, itself among them.
func (c *Cluster) launch(nodes []int, known int) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, i := range nodes {
		n := c.nodes[i]
		p, err := c.runJava(n, "kafka.Kafka", n.configFile())
		if err != nil {
			return fmt.Errorf("kafkatest: node %d: %w", i, err)
		}
		n.proc = p
	}
	for _, i := range nodes {
		err := poll(ctx, c.nodes[i], kmsg.NewPtrMetadataRequest(), func(meta *kmsg.MetadataResponse) bool {
			self := false
			for _, b := range meta.Brokers {
				self = self || b.NodeID == int32(i)
			}
			return self && len(meta.Brokers) >= known
		})
		if err != nil {
			return fmt.Errorf("kafkatest: node %d did not come up: %w\n%s", i, err, c.logTails())
		}
	}
	return nil
}

// runJava starts a main class with the node's log file as its output.
func (c *Cluster) runJava(n *node, args ...string) (*process, error) {
	out, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own descriptor
	cmd := exec.Command(c.kafka.java, append([]string{
		fmt.Sprintf("-Xmx%dm", c.conf.heapMiB),
		// A test's broker lives for seconds. With the quick compiler alone it starts in half the time.
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dlog4j2.configurationFile=" + n.log4jFile(),
		"-cp", strings.Join(append([]string{filepath.Join(c.kafka.jars, "*")}, c.conf.classPath...), string(filepath.ListSeparator)),
	}, append(slices.Clone(c.conf.javaArgs), args...)...)...)
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = out, out
	return spawn(cmd)
}

// poll asks a node the same until ready accepts the answer. It fails when the node's process ends.
func poll[R kmsg.Response](ctx context.Context, n *node, req kmsg.Request, ready func(R) bool) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		resp, err := cl.SeedBrokers()[0].Request(ctx, req)
		if err == nil && ready(resp.(R)) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-n.proc.exited:
			return fmt.Errorf("it ended: %w", n.proc.err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// ask sends a request to any node.
func (c *Cluster) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.Request(ctx, req)
}

// pollAll is poll of each node that is up and not paused.
func pollAll[R kmsg.Response](ctx context.Context, c *Cluster, req kmsg.Request, ready func(R) bool) error {
	for i, n := range c.nodes {
		if !n.answers() {
			continue
		}
		if err := poll(ctx, n, req, ready); err != nil {
			return fmt.Errorf("wait for node %d: %w", i, err)
		}
	}
	return nil
}

// logTails is the end of each node's log, for a message about a failure.
func (c *Cluster) logTails() string {
	var b strings.Builder
	for i, n := range c.nodes {
		content, err := os.ReadFile(n.logFile())
		if err != nil {
			fmt.Fprintf(&b, "node %d: %v\n", i, err)
			continue
		}
		fmt.Fprintf(&b, "end of node %d's log:\n%s\n", i, tail(content, 30))
	}
	return b.String()
}

// tail returns the last lines of text.
func tail(text []byte, lines int) []byte {
	text = bytes.TrimRight(text, "\n")
	rest := text
	for range lines {
		i := bytes.LastIndexByte(rest, '\n')
		if i < 0 {
			return text
		}
		rest = rest[:i]
	}
	return text[len(rest)+1:]
}
