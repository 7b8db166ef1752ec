//go:build unix

package kafkatest

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Option changes how a cluster is started.
type Option func(*clusterConfig)

// WithConfig sets a broker property on every node, in place of this package's default or Kafka's.
func WithConfig(key, value string) Option {
	return func(c *clusterConfig) { c.properties[key] = value }
}

// WithHeap sets the heap of each node in MiB; 512 by default.
func WithHeap(mib int) Option {
	return func(c *clusterConfig) { c.heapMiB = mib }
}

// WithClassPath adds folders with classes of the test, such as a metrics reporter. They are compiled against ClassPath.
func WithClassPath(folders ...string) Option {
	return func(c *clusterConfig) { c.classPath = append(c.classPath, folders...) }
}

// ClassPath is where the classes of the nodes' Kafka are, for javac. Without Kafka it skips the test, or fails it, as Start does.
func ClassPath(tb testing.TB, opts ...Option) string {
	tb.Helper()
	kafka, err := installation(newClusterConfig(1, opts).version)
	if err != nil {
		giveUp(tb, err)
	}
	return filepath.Join(kafka.jars, "*")
}

// Feature formats the storage with a feature at a level other than the version's default, like transaction.version at 0.
func Feature(name string, level int) Option {
	return func(c *clusterConfig) { c.features[name] = level }
}

type clusterConfig struct {
	version    string
	heapMiB    int
	properties map[string]string
	features   map[string]int
	listeners  []Listener
	scramUsers map[string]string // passwords
	javaArgs   []string
	classPath  []string
}

func newClusterConfig(nodes int, opts []Option) clusterConfig {
	replicas := fmt.Sprint(min(3, nodes))
	inSync := fmt.Sprint(min(2, nodes))
	c := clusterConfig{version: defaultVersion, heapMiB: 512, features: map[string]int{}, scramUsers: map[string]string{}, properties: map[string]string{
		// A producer must cope with a topic that does not exist, so topics come into being by CreateTopic only.
		"auto.create.topics.enable": "false",

		// Small internal topics: creating fifty partitions takes longer than most tests.
		"offsets.topic.num.partitions":             "1",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "1",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            inSync,
		// How often transactions are looked at that have run into their time-out. The default is 10 s.
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
		"share.coordinator.state.topic.num.partitions":                "1",
		"share.coordinator.state.topic.replication.factor":            replicas,
		"share.coordinator.state.topic.min.isr":                       inSync,
		"group.initial.rebalance.delay.ms":                            "0",
		"log.cleaner.dedupe.buffer.size":                              "4194304", // 128 MiB of heap by default
		"num.network.threads":                                         "2",
		"num.io.threads":                                              "4",
		"background.threads":                                          "2",

		// After this time a killed node is noticed, and may register again. The default is 9 s.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "500",
	}}
	for _, opt := range opts {
		opt(&c)
	}
	return c
}

// nodeProperties is the configuration file of node i: the options, then the properties that connect the cluster.
func (c *Cluster) nodeProperties(i int) string {
	var voters []string
	for j := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", j, c.slot.controllerPort(j)))
	}
	props := maps.Clone(c.conf.properties)
	maps.Copy(props, map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(i),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", c.nodes[i].addr, c.slot.controllerPort(i)),
		"advertised.listeners":           "PLAINTEXT://" + c.nodes[i].addr,
		"controller.listener.names":      "CONTROLLER",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                       c.nodes[i].dataDir(),
	})
	c.addListeners(props, i)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(props[key], `\`, `\\`))
	}
	return b.String()
}

// log4jProperties sends warnings to the standard output, which goes to the node's log file like the Java VM's own output.
const log4jProperties = `status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
`
